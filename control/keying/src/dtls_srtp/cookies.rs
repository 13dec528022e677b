//! What stands before a handshake where no check has shown that the peer receives (RFC 6347 section 4.2.1).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::association::FirstFlight;
use super::hello::{ClientHello, Opening};
use super::wire::{self, DTLS_1_0, DTLS_1_2, DTLS_1_3, Fragment, HELLO_VERIFY_REQUEST};
use super::{DtlsError, Ignored};

/// Asks peers for a cookie before anything is kept or computed for them but one HMAC.
///
/// A peer that speaks DTLS 1.3 alone cannot be asked so: "DTLS 1.3 clients … MUST NOT" take a `HelloVerifyRequest` (RFC 9147
/// section 5.1), and the library's `HelloRetryRequest` is not stateless. Of handshakes with such peers there are at most
/// [`Cookies::MAX_UNPROVEN`] at a time that have not got further. One that speaks 1.2 as well speaks that.
#[derive(Debug)]
pub struct Cookies {
    secret: Secret,
    since: Instant,
    unproven: Arc<AtomicUsize>,
}

/// What is done with a datagram.
#[derive(Debug)]
pub enum Admission {
    /// This goes back to where it came from: it is smaller than what came.
    Reply(Vec<u8>),
    /// The association that this is for takes it by [`Association::admit`](super::Association::admit).
    Admit(FirstFlight),
    /// Nothing.
    Drop(Ignored),
}

/// A place among the handshakes with peers that have not shown that they receive; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Unproven(Arc<AtomicUsize>);

impl Cookies {
    /// Handshakes at a time with peers that have not shown that they receive.
    pub const MAX_UNPROVEN: usize = 64;

    /// A cookie is good for at least so long, and at most twice as long.
    pub const PERIOD: Duration = Duration::from_mins(1);

    /// Draws a secret.
    ///
    /// # Errors
    /// [`DtlsError::Library`] if there is no randomness.
    pub fn new(now: Instant) -> Result<Self, DtlsError> {
        let mut secret = Zeroizing::new([0; 32]);
        openssl::rand::rand_bytes(&mut *secret).map_err(|error| DtlsError::Library(error.to_string()))?;
        Ok(Self { secret: Secret(secret), since: now, unproven: Arc::default() })
    }

    /// Looks at a datagram that came from an address for which there is no handshake.
    pub fn admit(&self, now: Instant, source: SocketAddr, datagram: &[u8]) -> Admission {
        self.try_admit(now, source, datagram).unwrap_or_else(Admission::Drop)
    }

    fn try_admit(&self, now: Instant, source: SocketAddr, datagram: &[u8]) -> Result<Admission, Ignored> {
        let record = wire::records(datagram)?.into_iter().next().ok_or(Ignored::NotDtls)?;
        let fragment = record.fragments()?.into_iter().next().ok_or(Ignored::NoHandshake)?;
        let beginning = fragment.client_random().and_then(|_| Opening::read(fragment.bytes));
        let opening = beginning.ok_or(Ignored::NoHandshake)?;
        let period = self.period(now);
        if opening.cookie.is_empty() && only_dtls13(&fragment) {
            let place = Unproven::take(&self.unproven).ok_or(Ignored::TooManyUnproven)?;
            return Ok(Admission::Admit(FirstFlight::unproven(datagram, place)));
        }
        if self.is_valid(period, source, &opening) {
            return Ok(Admission::Admit(FirstFlight::proven(datagram)));
        }
        // One that is not valid is asked for again: it may be of an earlier period (RFC 6347 section 4.2.1).
        let cookie = self.cookie(period, source, &opening);
        let mut body = DTLS_1_0.to_be_bytes().to_vec();
        body.push(cookie.len() as u8);
        body.extend(cookie);
        // "The server MUST use the record sequence number in the ClientHello as the record sequence number in the
        // HelloVerifyRequest."
        Ok(Admission::Reply(wire::handshake_record(
            DTLS_1_0,
            record.sequence,
            HELLO_VERIFY_REQUEST,
            0,
            &body,
        )))
    }

    fn period(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs() / Self::PERIOD.as_secs()
    }

    /// The last octet of the period, and an HMAC over period, address and what names the handshake: the secret need not
    /// change for old cookies to be worth nothing.
    fn cookie(&self, period: u64, source: SocketAddr, opening: &Opening<'_>) -> Vec<u8> {
        let mut cookie = vec![period as u8];
        cookie.extend(self.secret.sign(period, source, opening));
        cookie
    }

    fn is_valid(&self, period: u64, source: SocketAddr, opening: &Opening<'_>) -> bool {
        let Some((made, _)) = opening.cookie.split_first() else { return false };
        let made =
            [Some(period), period.checked_sub(1)].into_iter().flatten().find(|period| *period as u8 == *made);
        made.is_some_and(|made| self.cookie(made, source, opening).ct_eq(opening.cookie).into())
    }
}

/// The key of the cookies.
struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    fn sign(&self, period: u64, source: SocketAddr, opening: &Opening<'_>) -> [u8; 32] {
        let mut hmac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of any length");
        hmac.update(&period.to_be_bytes());
        match source {
            SocketAddr::V4(source) => hmac.update(&source.ip().octets()),
            SocketAddr::V6(source) => hmac.update(&source.ip().octets()),
        }
        hmac.update(&source.port().to_be_bytes());
        hmac.update(&opening.version.to_be_bytes());
        hmac.update(opening.random);
        hmac.update(opening.session_id);
        hmac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Unproven {
    fn take(places: &Arc<AtomicUsize>) -> Option<Self> {
        let next = |taken: usize| (taken < Cookies::MAX_UNPROVEN).then_some(taken + 1);
        places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(Self(Arc::clone(places)))
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a client would not understand a `HelloVerifyRequest`.
fn only_dtls13(fragment: &Fragment<'_>) -> bool {
    let hello = fragment.is_whole().then(|| ClientHello::read(fragment.bytes)).flatten();
    hello.is_some_and(|hello| hello.versions.contains(&DTLS_1_3) && !hello.versions.contains(&DTLS_1_2))
}

#[cfg(test)]
mod tests {
    use super::super::hello::tests::body;
    use super::super::wire::{CLIENT_HELLO, handshake_record, records};
    use super::*;

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn hello(random: u8, cookie: &[u8], sequence: u64) -> Vec<u8> {
        handshake_record(
            DTLS_1_0,
            sequence,
            CLIENT_HELLO,
            u16::from(!cookie.is_empty()),
            &body(random, cookie, &[]),
        )
    }

    /// The cookie that is asked for.
    fn asked(cookies: &Cookies, now: Instant, from: SocketAddr, datagram: &[u8]) -> Vec<u8> {
        let Admission::Reply(reply) = cookies.admit(now, from, datagram) else { panic!("no reply") };
        assert!(reply.len() <= datagram.len(), "nothing is amplified");
        let record = records(&reply).unwrap()[0];
        assert_eq!(record.sequence, records(datagram).unwrap()[0].sequence);
        let fragment = record.fragments().unwrap()[0];
        assert_eq!(fragment.message, HELLO_VERIFY_REQUEST);
        fragment.bytes[3..].to_vec()
    }

    #[test]
    fn who_brings_the_cookie_back_is_admitted() {
        let start = Instant::now();
        let cookies = Cookies::new(start).unwrap();
        let cookie = asked(&cookies, start, source(1), &hello(1, &[], 7));
        let admitted = |after, from, random| {
            matches!(cookies.admit(start + after, from, &hello(random, &cookie, 8)), Admission::Admit(_))
        };
        assert!(admitted(Duration::ZERO, source(1), 1));
        assert!(admitted(Cookies::PERIOD, source(1), 1));
        assert!(!admitted(Cookies::PERIOD * 2, source(1), 1), "too late");
        assert!(!admitted(Cookies::PERIOD * 256, source(1), 1), "much too late");
        assert!(!admitted(Duration::ZERO, source(2), 1), "from elsewhere");
        assert!(!admitted(Duration::ZERO, source(1), 2), "another handshake");
    }

    #[test]
    fn a_wrong_cookie_is_asked_for_again() {
        let start = Instant::now();
        let cookies = Cookies::new(start).unwrap();
        assert_eq!(asked(&cookies, start, source(1), &hello(1, &[0; 33], 7)).len(), 33);
    }

    #[test]
    fn what_begins_nothing_is_dropped() {
        let start = Instant::now();
        let cookies = Cookies::new(start).unwrap();
        for datagram in [&[][..], &[22; 40], &handshake_record(DTLS_1_2, 0, 11, 0, &[0; 64])] {
            assert!(matches!(cookies.admit(start, source(1), datagram), Admission::Drop(_)));
        }
    }

    #[test]
    fn who_cannot_be_asked_has_few_places() {
        let start = Instant::now();
        let cookies = Cookies::new(start).unwrap();
        let body = body(1, &[], &[(43, &[2, 0xfe, 0xfc])]);
        let hello = handshake_record(DTLS_1_2, 0, CLIENT_HELLO, 0, &body);
        let mut admitted: Vec<_> =
            (0..Cookies::MAX_UNPROVEN).map(|_| cookies.admit(start, source(1), &hello)).collect();
        assert!(admitted.iter().all(|admission| matches!(admission, Admission::Admit(_))));
        assert!(matches!(cookies.admit(start, source(1), &hello), Admission::Drop(Ignored::TooManyUnproven)));
        admitted.pop();
        assert!(matches!(cookies.admit(start, source(1), &hello), Admission::Admit(_)));
    }
}
