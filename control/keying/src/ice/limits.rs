//! How much an agent keeps, how often it sends, and how long it waits.

use std::time::{Duration, Instant};

/// Candidates of the peer that signalling may bring for one set of credentials; what is above it is refused.
pub const MAX_PEER_CANDIDATES: usize = 50;
/// Pairs that are kept for one set of credentials (RFC 8445 section 6.1.2.5 has 100 as well). A new address of the peer
/// takes the place of the least useful pair.
pub const MAX_PAIRS: usize = 100;
/// Requests that one agent answers per second, and in one go. Browsers send 20 a second.
pub(super) const ANSWERS: u32 = 100;
/// Requests that one agent refuses per second, and in one go; further ones get no response.
pub(super) const REFUSALS: u32 = 5;

/// Ta: no two checks of an agent start within it (RFC 8445 section 14.2).
pub(super) const PACE: Duration = Duration::from_millis(50);
/// The least time until a check is repeated (RFC 8445 section 14.3).
pub(super) const MIN_RTO: Duration = Duration::from_millis(500);
/// How often a check is sent at most: Rc of RFC 8489 section 6.2.1.
pub(super) const MAX_SENT: u32 = 7;
/// For how many RTOs the response to the last one is waited for: Rm there.
pub(super) const LAST_WAIT: u32 = 16;
/// Checks that went out and may still be answered, of one pair.
pub(super) const MAX_OUTSTANDING: usize = 8;

/// Time between two consent checks, before it is made random by a fifth either way (RFC 7675 section 5.1).
pub(super) const CONSENT_INTERVAL: Duration = Duration::from_secs(5);
/// How long consent lasts (RFC 7675 section 5.1).
pub const CONSENT_LIFETIME: Duration = Duration::from_secs(30);
/// After this time without a response to a consent check the selected pair may be given up for another valid one.
pub(super) const SILENCE: Duration = Duration::from_secs(2);
/// How long a pair of higher priority is waited for once one is valid.
pub(super) const NOMINATION_WAIT: Duration = Duration::from_millis(500);
/// For how long after the peer nominated a pair again its nomination of a worse one is not followed: agents of RFC 5245
/// nominate every pair that they check, and use the best.
pub(super) const SETTLING: Duration = Duration::from_millis(500);
/// How long a peer has until checks count as failed: as long as a check can take (RFC 8445 section 14.3, RFC 8863).
pub(super) const PATIENCE: Duration = Duration::from_millis(39_500);
/// The same while signalling may bring more candidates.
pub(super) const TRICKLE_PATIENCE: Duration = Duration::from_mins(2);

/// What may be done at most so and so often.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u32,
    /// In thousandths.
    tokens: u64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, tokens: u64::from(per_second) * 1000, filled: now }
    }

    /// Whether it may be done once more.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).as_millis().min(1000) as u64;
        if elapsed > 0 {
            let full = u64::from(self.per_second) * 1000;
            self.tokens = full.min(self.tokens + elapsed * u64::from(self.per_second));
            self.filled = now;
        }
        let enough = self.tokens >= 1000;
        if enough {
            self.tokens -= 1000;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_rate_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(5, start);
        assert_eq!((0..100).filter(|_| bucket.take(start)).count(), 5);
        let taken = (0..10_000).filter(|ms| bucket.take(start + Duration::from_millis(*ms))).count();
        assert!((49..=50).contains(&taken), "{taken}");
        assert_eq!((0..100).filter(|_| bucket.take(start + Duration::from_hours(1))).count(), 5);
    }
}
