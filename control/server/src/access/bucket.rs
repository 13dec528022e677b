//! How many requests a second a connection may make.

use std::time::{Duration, Instant};

/// A second's worth may come at once.
const BURST: Duration = Duration::from_secs(1);

/// A token bucket, kept as the moment at which it would be full (the generic cell rate algorithm).
#[derive(Debug)]
pub(super) struct Bucket {
    interval: Duration,
    full: Instant,
}

impl Bucket {
    /// A full one of `per_second` tokens, which is also its rate; at least one.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { interval: BURST / per_second.max(1), full: now }
    }

    /// Takes a token, or says after how long there will be one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full = self.full.max(now) + self.interval;
        match (full - now).checked_sub(BURST) {
            Some(early) if !early.is_zero() => Err(early),
            _ => {
                self.full = full;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_passes_at_once_and_then_one_at_a_time() {
        let now = Instant::now();
        let mut bucket = Bucket::new(10, now);
        assert!((0..10).all(|_| bucket.take(now).is_ok()));
        let wait = bucket.take(now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(bucket.take(now + wait / 2).is_err(), "a refusal costs nothing, and gains nothing");
        assert!(bucket.take(now + wait).is_ok() && bucket.take(now + wait).is_err());
        let later = now + Duration::from_mins(1);
        assert!((0..10).all(|_| bucket.take(later).is_ok()) && bucket.take(later).is_err());
    }

    #[test]
    fn one_a_second_is_possible() {
        let now = Instant::now();
        let mut bucket = Bucket::new(1, now);
        assert!(bucket.take(now).is_ok() && bucket.take(now).is_err());
        assert!(bucket.take(now + BURST).is_ok());
    }
}
