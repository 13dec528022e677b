//! When a worker does not take what comes as fast as it comes: begin and end, as an operator wants to hear of it.

/// For so long nothing may be dropped before an overload is over.
const CALM: u64 = 1_000_000_000;

/// Watches what the kernel dropped at the worker's rings and sockets.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    dropped: u64,
    /// What had been dropped before it began; `None`: all is well.
    before: Option<u64>,
    dropped_at: u64,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The kernel had to drop something.
    Began,
    /// It had not for a while. It dropped so many.
    Ended(u64),
}

impl Overload {
    /// So many were dropped by `now` since the start.
    pub(crate) fn look(&mut self, dropped: u64, now: u64) -> Option<Change> {
        let before = std::mem::replace(&mut self.dropped, dropped);
        if dropped != before {
            self.dropped_at = now;
            return self.before.replace(self.before.unwrap_or(before)).is_none().then_some(Change::Began);
        }
        let began_with = self.before.filter(|_| now.saturating_sub(self.dropped_at) >= CALM)?;
        self.before = None;
        Some(Change::Ended(dropped - began_with))
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.before.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overload_is_one_from_the_first_drop_to_a_second_without_any() {
        let mut overload = Overload::default();
        let mut seen = Vec::new();
        for (tenth, dropped) in
            [(0, 0), (1, 5), (2, 5), (3, 9), (9, 9), (12, 20), (21, 20), (22, 20), (23, 20), (40, 21)]
        {
            seen.extend(overload.look(dropped, tenth * CALM / 10).map(|change| (tenth, change)));
        }
        assert_eq!(seen, [(1, Change::Began), (22, Change::Ended(20)), (40, Change::Began)]);
        assert!(overload.is_on());
    }
}
