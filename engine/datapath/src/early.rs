//! Media that came before the key that it is under, in one store for all legs of a worker: memory is set aside at start,
//! and there is one bound for all.

use sluice_io::{Component, Frame};

use crate::DropReason;
use crate::table::Slab;

const NONE: u32 = u32::MAX;

/// A packet that waits.
pub(crate) struct Waiting {
    pub(crate) frame: Frame,
    pub(crate) component: Component,
    /// When it came.
    pub(crate) since: u64,
    /// Why it would be dropped if it did not wait.
    pub(crate) reason: DropReason,
    next: u32,
}

impl Waiting {
    pub(crate) const fn new(frame: Frame, component: Component, since: u64, reason: DropReason) -> Self {
        Self { frame, component, since, reason, next: NONE }
    }
}

/// The packets of one leg, oldest first.
#[derive(Debug)]
pub(crate) struct Line {
    first: u32,
    last: u32,
    len: u16,
    /// How many it may have, and for how long, in nanoseconds.
    pub(crate) most: u16,
    pub(crate) longest: u64,
    /// Whether only those wait that are authentic under none of the keys that there are: others are on their way.
    pub(crate) rekeying: bool,
}

impl Line {
    pub(crate) const fn new(most: u16, longest: u64) -> Self {
        Self { first: NONE, last: NONE, len: 0, most, longest, rekeying: false }
    }

    pub(crate) const fn len(&self) -> u16 {
        self.len
    }
}

/// All packets that wait.
pub(crate) struct Store {
    slots: Slab<Waiting>,
    /// The leg that had more than others, when it last got one: others are not to go without for its sake.
    pub(crate) fullest: u32,
}

impl Store {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { slots: Slab::new(capacity), fullest: NONE }
    }

    /// What it takes.
    pub(crate) const fn bytes(capacity: usize) -> usize {
        Slab::<Waiting>::bytes(capacity)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Puts a packet last; gives it back if there is no room.
    #[allow(clippy::result_large_err, reason = "the error is the packet itself, which must not be lost")]
    pub(crate) fn push(&mut self, line: &mut Line, waiting: Waiting) -> Result<(), Waiting> {
        let place = self.slots.insert(waiting)?;
        match self.slots.get_mut(line.last) {
            Some(last) => last.next = place,
            None => line.first = place,
        }
        line.last = place;
        line.len += 1;
        Ok(())
    }

    /// Takes the oldest packet.
    pub(crate) fn pop(&mut self, line: &mut Line) -> Option<Waiting> {
        let waiting = self.slots.remove(line.first)?;
        line.first = waiting.next;
        line.len -= 1;
        if line.len == 0 {
            line.last = NONE;
        }
        Some(waiting)
    }

    /// The same, if it came before `since`.
    pub(crate) fn pop_before(&mut self, line: &mut Line, since: u64) -> Option<Waiting> {
        let oldest = self.slots.get(line.first)?;
        if oldest.since < since { self.pop(line) } else { None }
    }

    /// When the oldest packet came.
    pub(crate) fn oldest(&self, line: &Line) -> Option<u64> {
        self.slots.get(line.first).map(|waiting| waiting.since)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use sluice_io::{Pool, PoolConfig};

    use super::*;

    proptest! {
        #[test]
        fn lines_of_one_store_are_queues(operations in prop::collection::vec((0..3_usize, any::<bool>()), 0..200)) {
            let mut pool = Pool::new(PoolConfig { small: 16, large: 0 }).unwrap();
            let mut store = Store::new(8);
            let mut lines = [(); 3].map(|()| (Line::new(8, 0), VecDeque::new()));
            for (step, (which, push)) in (0..).zip(operations) {
                let (line, model) = &mut lines[which];
                if push {
                    let frame = pool.alloc(10).unwrap();
                    let full = store.len() == 8;
                    let reason = DropReason::NoInboundKey;
                    match store.push(line, Waiting::new(frame, Component::Rtp, step, reason)) {
                        Ok(()) => model.push_back(step),
                        Err(back) => {
                            prop_assert!(full);
                            pool.free(back.frame);
                        }
                    }
                } else {
                    prop_assert_eq!(store.oldest(line), model.front().copied());
                    prop_assert!(store.pop_before(line, model.front().copied().unwrap_or(0)).is_none());
                    let popped = store.pop(line);
                    prop_assert_eq!(popped.as_ref().map(|waiting| waiting.since), model.pop_front());
                    if let Some(waiting) = popped {
                        pool.free(waiting.frame);
                    }
                }
                prop_assert_eq!(usize::from(line.len()), model.len());
                prop_assert_eq!(store.len() as u32, pool.outstanding());
            }
            for (line, _) in &mut lines {
                while let Some(waiting) = store.pop(line) {
                    pool.free(waiting.frame);
                }
            }
            prop_assert_eq!(pool.outstanding(), 0);
        }
    }
}
