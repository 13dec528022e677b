//! PASSporTs that were used, so that none is used twice while it is fresh (RFC 8224 section 12.1).

use std::collections::HashSet;
use std::mem;

use sha2::{Digest, Sha256};

/// The first half of a SHA-256: nobody finds a second text for it.
type Mark = [u8; 16];

/// A bounded memory of what was used: two generations, of which the younger takes new ones. Each stays for at least
/// one span, and at most two.
#[derive(Debug)]
pub(super) struct Replays {
    /// Seconds for which a PASSporT can be fresh, and so must be remembered.
    span: u64,
    /// Most that either generation holds.
    capacity: usize,
    young: HashSet<Mark>,
    old: HashSet<Mark>,
    /// When the younger generation began.
    began: u64,
}

/// What the memory says of a PASSporT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is new, and now remembered.
    New,
    /// It was used before.
    Before,
    /// It is new, and there is no room to remember it.
    NoRoom,
}

impl Replays {
    pub(super) fn new(freshness: u64, capacity: usize) -> Self {
        // From the first second in which a token of the future is taken to the last in which it is taken late.
        let span = freshness.saturating_mul(2).saturating_add(1);
        Self { span, capacity, young: HashSet::new(), old: HashSet::new(), began: 0 }
    }

    /// Remembers what was signed. The signature itself would not do: ECDSA has a second one for each, (r, n − s).
    pub(super) fn see(&mut self, signing_input: &str, now: u64) -> Seen {
        self.age(now);
        let digest = Sha256::digest(signing_input.as_bytes());
        let mut mark = Mark::default();
        mark.copy_from_slice(&digest[..mem::size_of::<Mark>()]);
        if self.young.contains(&mark) || self.old.contains(&mark) {
            return Seen::Before;
        }
        if self.young.len() >= self.capacity {
            return Seen::NoRoom;
        }
        self.young.insert(mark);
        Seen::New
    }

    fn age(&mut self, now: u64) {
        let age = now.saturating_sub(self.began);
        if age < self.span {
            return;
        }
        self.old =
            if age < self.span.saturating_mul(2) { mem::take(&mut self.young) } else { HashSet::new() };
        self.young.clear();
        self.began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_known_for_as_long_as_it_can_be_fresh() {
        for start in [1_000, 1_060, 1_119, 1_120] {
            let mut replays = Replays::new(60, 10);
            assert_eq!(replays.see("first", 1_000), Seen::New);
            assert_eq!(replays.see("token", start), Seen::New);
            for later in 0..=120 {
                assert_eq!(replays.see("token", start + later), Seen::Before, "{start} + {later}");
                replays.see(&format!("other {later}"), start + later);
            }
        }
    }

    #[test]
    fn the_memory_is_bounded_refuses_what_it_cannot_hold_and_forgets() {
        let mut replays = Replays::new(60, 2);
        assert_eq!(replays.see("a", 1_000), Seen::New);
        assert_eq!(replays.see("b", 1_000), Seen::New);
        assert_eq!(replays.see("c", 1_000), Seen::NoRoom);
        assert_eq!(replays.see("a", 1_000), Seen::Before, "what is known is known all the same");
        assert_eq!(replays.see("c", 1_121), Seen::New);
        assert_eq!(replays.see("a", 1_242 + 121), Seen::New, "it is stale by now, and forgotten");
    }

    #[test]
    fn a_clock_that_is_set_back_forgets_nothing() {
        let mut replays = Replays::new(60, 10);
        assert_eq!(replays.see("a", 5_000), Seen::New);
        assert_eq!(replays.see("a", 100), Seen::Before);
    }
}
