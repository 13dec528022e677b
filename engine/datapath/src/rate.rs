//! Rates over time: what is too fast, what is a burst, what is a lasting change.

use sluice_io::Path;

const SECOND: u64 = 1_000_000_000;

/// A token bucket that holds one second's worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: u32,
    /// Nanoseconds of credit; an event costs `SECOND / per_second`.
    credit: u64,
    filled_at: u64,
}

impl Bucket {
    pub(crate) const fn new(per_second: u32) -> Self {
        Self { per_second, credit: SECOND, filled_at: 0 }
    }

    /// Whether another event is within the rate now.
    #[inline]
    pub(crate) fn has_credit(&mut self, now: u64) -> bool {
        self.fill(now);
        self.per_second != 0 && self.credit >= self.cost()
    }

    /// Counts an event; whether it was within the rate.
    #[inline]
    pub(crate) fn take(&mut self, now: u64) -> bool {
        let within = self.has_credit(now);
        if within {
            self.credit -= self.cost();
        }
        within
    }

    /// Takes back the last [`Bucket::take`].
    pub(crate) fn give_back(&mut self) {
        self.credit = SECOND.min(self.credit + self.cost());
    }

    fn fill(&mut self, now: u64) {
        self.credit = SECOND.min(self.credit.saturating_add(now.saturating_sub(self.filled_at)));
        self.filled_at = now.max(self.filled_at);
    }

    const fn cost(&self) -> u64 {
        SECOND / if self.per_second == 0 { 1 } else { self.per_second as u64 }
    }
}

/// Tells bursts from single events: a burst begins with a second that has at least `threshold` events
/// and ends with one that has fewer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Burst {
    began: u64,
    count: u64,
    active: bool,
}

impl Burst {
    /// Counts an event. When it closes the first second of a burst: how many events that had.
    pub(crate) fn hit(&mut self, now: u64, threshold: u32) -> Option<u64> {
        let ended = self.roll(now, threshold);
        if self.count == 0 {
            self.began = now;
        }
        self.count += 1;
        ended
    }

    /// The same without an event, for when none come any more.
    pub(crate) fn roll(&mut self, now: u64, threshold: u32) -> Option<u64> {
        let passed = now.saturating_sub(self.began);
        if passed < SECOND {
            return None;
        }
        let is_burst = self.count >= u64::from(threshold.max(1));
        let reported = (is_burst && !self.active).then_some(self.count);
        // A whole second without events lies between this one's end and now, or not.
        self.active = is_burst && passed < 2 * SECOND;
        (self.began, self.count) = (now, 0);
        reported
    }
}

/// Things of which the first is told at once, and the others at most once a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notices {
    next_at: u64,
    untold: u64,
}

impl Notices {
    /// Counts one; if it is to be told: how many there were since the last one that was.
    pub(crate) fn count(&mut self, now: u64) -> Option<u64> {
        self.untold += 1;
        if now < self.next_at {
            return None;
        }
        self.next_at = now.saturating_add(SECOND);
        Some(std::mem::take(&mut self.untold))
    }
}

/// Tells a change of path from packets that take different paths side by side (jumbo frames, the moments
/// in which a program is attached): the new path must have carried some packets in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PathTracker {
    current: Option<Path>,
    other: Option<Path>,
    in_a_row: u8,
    changed_at: u64,
}

impl PathTracker {
    const ENOUGH: u8 = 8;
    const PAUSE: u64 = SECOND / 2;

    /// The path before, if this packet shows that it has changed.
    #[inline]
    pub(crate) fn observe(&mut self, path: Path, now: u64) -> Option<Path> {
        if self.current == Some(path) {
            self.in_a_row = 0;
            return None;
        }
        self.observe_other(path, now)
    }

    fn observe_other(&mut self, path: Path, now: u64) -> Option<Path> {
        let Some(current) = self.current else {
            (self.current, self.changed_at) = (Some(path), now);
            return None;
        };
        self.in_a_row = if self.other == Some(path) { self.in_a_row.saturating_add(1) } else { 1 };
        self.other = Some(path);
        if self.in_a_row < Self::ENOUGH || now.saturating_sub(self.changed_at) < Self::PAUSE {
            return None;
        }
        *self = Self { current: Some(path), changed_at: now, ..Self::default() };
        Some(current)
    }

    pub(crate) const fn current(&self) -> Option<Path> {
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_seconds_worth_through_and_refills() {
        let mut bucket = Bucket::new(10);
        assert_eq!((0..20).filter(|_| bucket.take(5)).count(), 10);
        assert!(!bucket.has_credit(5));
        assert_eq!((0..20).filter(|_| bucket.take(5 + SECOND / 2)).count(), 5);
    }

    #[test]
    fn a_bucket_of_rate_zero_lets_nothing_through() {
        assert!(!Bucket::new(0).take(SECOND));
    }

    #[test]
    fn a_burst_is_reported_once_with_the_count_of_its_first_second() {
        let mut burst = Burst::default();
        let reports: Vec<_> = (0..50).filter_map(|n| burst.hit(n * SECOND / 20, 10)).collect();
        assert_eq!(reports, [20]);
        assert_eq!(burst.roll(10 * SECOND, 10), None, "it lasted, and is over now");
        (0..12).for_each(|n| assert_eq!(burst.hit(20 * SECOND + n, 10), None));
        assert_eq!(burst.roll(22 * SECOND, 10), Some(12), "the next one is another");
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_once_a_second_with_their_number() {
        let mut notices = Notices::default();
        let told: Vec<_> = (0..35).filter_map(|n| notices.count(n * SECOND / 10)).collect();
        assert_eq!(told, [1, 10, 10, 10]);
    }

    #[test]
    fn single_failures_are_no_burst() {
        let mut burst = Burst::default();
        assert_eq!((0..30).filter_map(|n| burst.hit(n * SECOND / 3, 10)).count(), 0);
    }

    #[test]
    fn a_path_that_takes_over_is_a_change_and_a_stray_packet_is_not() {
        let mut tracker = PathTracker::default();
        assert_eq!(tracker.observe(Path::XdpNative, 0), None);
        for n in 0..100 {
            let path = if n % 5 == 0 { Path::IoUring } else { Path::XdpNative };
            assert_eq!(tracker.observe(path, SECOND + n), None);
        }
        let changes: Vec<_> =
            (0..20).filter_map(|n| tracker.observe(Path::IoUring, 2 * SECOND + n)).collect();
        assert_eq!(changes, [Path::XdpNative]);
        assert_eq!(tracker.current(), Some(Path::IoUring));
    }
}
