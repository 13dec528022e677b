//! A clock that goes as tests say. OpenSSL asks the C library for the time: what it is told is this thread's.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

thread_local! {
    /// How far this thread's clock is ahead.
    static AHEAD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// When the tests began.
fn start() -> (Instant, Duration) {
    static START: OnceLock<(Instant, Duration)> = OnceLock::new();
    *START.get_or_init(|| (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap()))
}

/// The time of this thread's clock, which stands still.
pub(crate) fn now() -> Instant {
    start().0 + AHEAD.get()
}

/// Sets it forward.
pub(crate) fn advance_to(instant: Instant) {
    AHEAD.set(AHEAD.get().max(instant - start().0));
}

/// What `libssl` is bound to in place of the C library's.
///
/// # Safety
/// As of `gettimeofday(2)`: the place is one for a `timeval`, or null.
#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(place: *mut [i64; 2], _zone: *mut c_void) -> c_int {
    let time = start().1 + AHEAD.try_with(Cell::get).unwrap_or_default();
    // SAFETY: callers give the place of a `timeval`, which on 64-bit Linux is two such numbers.
    if let Some(place) = unsafe { place.as_mut() } {
        *place = [time.as_secs() as i64, i64::from(time.subsec_micros())];
    }
    0
}
