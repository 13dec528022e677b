//! When a flight is sent again.

use std::ffi::{c_int, c_long, c_uint};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use foreign_types_shared::ForeignTypeRef as _;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslRef};
use openssl_sys::SSL;

/// How long a flight is waited for: at first, and at most after it has doubled with each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Until it is sent again for the first time.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

/// OpenSSL has no place left to remember a [`Backoff`] at.
#[derive(Debug)]
pub struct NoTimer(pub ErrorStack);

impl Backoff {
    /// What comes after a number of microseconds; zero is before the first. Both ends fit.
    fn after(self, microseconds: c_uint) -> c_uint {
        let whole = |duration: Duration| c_uint::try_from(duration.as_micros()).unwrap_or(c_uint::MAX);
        match microseconds {
            0 => whole(self.first),
            now => now.saturating_mul(2).min(whole(self.longest)),
        }
    }
}

/// Has a connection wait so long, instead of a second at first and a minute at most.
///
/// # Errors
/// [`NoTimer`] if OpenSSL has no memory for it.
pub fn set_backoff(ssl: &mut SslRef, backoff: Backoff) -> Result<(), NoTimer> {
    let index = if let Some(index) = INDEX.get() {
        *index
    } else {
        let index = Ssl::new_ex_index().map_err(NoTimer)?;
        *INDEX.get_or_init(|| index)
    };
    ssl.set_ex_data(index, backoff);
    // SAFETY: the connection is a living one, exclusively borrowed; the callback keeps to the type that is declared.
    unsafe { DTLS_set_timer_cb(ssl.as_ptr(), Some(next_duration)) };
    Ok(())
}

/// In how long the flight that is under way is to be sent again, by OpenSSL's own clock; none while there is none. Zero is
/// now: OpenSSL does it when it is next asked to read.
pub fn timeout(ssl: &SslRef) -> Option<Duration> {
    let mut left = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: the connection is a living one; this control writes a `timeval` to where it is told, and keeps nothing.
    let running = unsafe {
        openssl_sys::SSL_ctrl(ssl.as_ptr(), DTLS_CTRL_GET_TIMEOUT, 0, ptr::from_mut(&mut left).cast())
    };
    let seconds = u64::try_from(left.tv_sec).unwrap_or_default();
    let microseconds = u64::try_from(left.tv_usec).unwrap_or_default();
    (running == 1 as c_long).then(|| Duration::from_secs(seconds) + Duration::from_micros(microseconds))
}

static INDEX: OnceLock<Index<Ssl, Backoff>> = OnceLock::new();

/// `DTLS_CTRL_GET_TIMEOUT` of `openssl/ssl.h`: what its macro `DTLSv1_get_timeout` is.
const DTLS_CTRL_GET_TIMEOUT: c_int = 73;

unsafe extern "C" {
    /// OpenSSL 1.1.1 and later, not in `openssl-sys`.
    fn DTLS_set_timer_cb(ssl: *mut SSL, callback: Option<extern "C" fn(*mut SSL, c_uint) -> c_uint>);
}

/// OpenSSL asks for the microseconds to wait next.
extern "C" fn next_duration(ssl: *mut SSL, microseconds: c_uint) -> c_uint {
    const SECOND: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_mins(1) };
    // SAFETY: OpenSSL calls with the connection that the callback was set on, which lives as long as the call.
    let ssl = unsafe { SslRef::from_ptr(ssl) };
    let backoff = INDEX.get().and_then(|index| ssl.ex_data(*index)).copied().unwrap_or(SECOND);
    backoff.after(microseconds)
}

#[cfg(test)]
mod tests {
    use openssl::ssl::{SslContext, SslMethod, SslStream};

    use super::*;

    /// Takes everything, gives nothing.
    struct Hole;

    impl std::io::Read for Hole {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::WouldBlock.into())
        }
    }

    impl std::io::Write for Hole {
        fn write(&mut self, datagram: &[u8]) -> std::io::Result<usize> {
            Ok(datagram.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn waiting_doubles_to_an_end() {
        let backoff = Backoff { first: Duration::from_millis(300), longest: Duration::from_secs(1) };
        assert_eq!(
            [0, 300_000, 600_000, 1_000_000].map(|us| backoff.after(us)),
            [300_000, 600_000, 1_000_000, 1_000_000]
        );
    }

    #[test]
    fn a_client_waits_as_long_as_it_is_told() {
        let context = SslContext::builder(SslMethod::dtls()).unwrap().build();
        let mut ssl = Ssl::new(&context).unwrap();
        let backoff = Backoff { first: Duration::from_secs(7), longest: Duration::from_mins(1) };
        set_backoff(&mut ssl, backoff).unwrap();
        assert_eq!(timeout(&ssl), None);
        let mut stream = SslStream::new(ssl, Hole).unwrap();
        assert!(stream.connect().is_err());
        let left = timeout(stream.ssl()).unwrap();
        assert!(left > Duration::from_secs(6) && left <= Duration::from_secs(7), "{left:?}");
    }
}
