//! The replay list as a sliding window (RFC 3711 §3.3.2, Appendix A).

use crate::{Error, KeyError};

/// How many packet indices the replay list remembers, 64 to 32,768.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayWindow(u32);

impl ReplayWindow {
    /// A window of at least `packets`, rounded up to a multiple of 64.
    pub const fn new(packets: u32) -> Result<Self, KeyError> {
        if packets < 64 || packets > 32_768 {
            return Err(KeyError::ReplayWindow { got: packets });
        }
        Ok(Self(packets.next_multiple_of(64)))
    }

    /// The window in packets.
    pub const fn packets(self) -> u32 {
        self.0
    }
}

impl Default for ReplayWindow {
    /// 128 packets: RFC 3711 §3.3.2 asks for at least 64.
    fn default() -> Self {
        Self(128)
    }
}

/// Bit `i mod size` tells whether index `i` was seen, for the `size` indices up to the highest.
#[derive(Clone)]
pub(crate) struct Replay {
    /// One more than the highest index accepted; 0 before the first.
    end: u64,
    bits: Bits,
}

/// The default window lives inside the context, so that a new stream allocates nothing.
#[derive(Clone)]
enum Bits {
    Small([u64; 2]),
    Large(Box<[u64]>),
}

impl Default for Replay {
    fn default() -> Self {
        Self::new(ReplayWindow::default())
    }
}

impl Replay {
    pub(crate) fn new(window: ReplayWindow) -> Self {
        let bits = match window.0 {
            0..=128 => Bits::Small([0; 2]),
            packets => Bits::Large(vec![0; packets as usize / 64].into()),
        };
        Self { end: 0, bits }
    }

    /// Forgets everything; keeps the memory.
    pub(crate) fn reset(&mut self) {
        self.end = 0;
        self.words().fill(0);
    }

    /// One of the same size that has seen nothing.
    pub(crate) fn emptied(&self) -> Self {
        let mut list = self.clone();
        list.reset();
        list
    }

    pub(crate) const fn highest(&self) -> Option<u64> {
        self.end.checked_sub(1)
    }

    /// Whether no index was accepted yet.
    pub(crate) const fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Says whether `index` may be accepted, changing nothing.
    #[inline]
    pub(crate) fn check(&self, index: u64) -> Result<(), Error> {
        if index >= self.end {
            return Ok(());
        }
        match &self.bits {
            Bits::Small(words) => look(words, self.end, index),
            Bits::Large(words) => look_far(words, self.end, index),
        }
    }

    /// Checks again and remembers `index`: the final verdict.
    #[inline]
    pub(crate) fn commit(&mut self, index: u64) -> Result<(), Error> {
        self.check(index)?;
        match &mut self.bits {
            Bits::Small(words) => mark(words, self.end, index),
            Bits::Large(words) => mark_far(words, self.end, index),
        }
        self.end = self.end.max(index + 1);
        Ok(())
    }

    /// Counts every index up to `highest` as seen.
    pub(crate) fn close(&mut self, highest: u64) {
        self.words().fill(u64::MAX);
        self.end = highest.saturating_add(1);
    }

    fn words(&mut self) -> &mut [u64] {
        match &mut self.bits {
            Bits::Small(words) => words,
            Bits::Large(words) => words,
        }
    }
}

/// The verdict on an index before `end`.
#[inline]
fn look(words: &[u64], end: u64, index: u64) -> Result<(), Error> {
    let size = words.len() as u64 * 64;
    if end - index > size {
        return Err(Error::TooOld);
    }
    let bit = index % size;
    if words[(bit / 64) as usize] >> (bit % 64) & 1 == 1 { Err(Error::Replayed) } else { Ok(()) }
}

/// Forgets what a new highest index pushes out, and sets the bit of `index`.
#[inline]
fn mark(words: &mut [u64], end: u64, index: u64) {
    // In order there is one bit to forget: the one that is set below.
    if index > end {
        forget(words, end, index);
    }
    let bit = index % (words.len() as u64 * 64);
    words[(bit / 64) as usize] |= 1 << (bit % 64);
}

/// Clears the bits of `from` up to before `to`.
#[cold]
fn forget(words: &mut [u64], from: u64, to: u64) {
    let size = words.len() as u64 * 64;
    if to - from >= size {
        return words.fill(0);
    }
    for passed in from..to {
        let bit = passed % size;
        words[(bit / 64) as usize] &= !(1 << (bit % 64));
    }
}

/// [`look`] for windows whose size is known at run time only.
#[cold]
fn look_far(words: &[u64], end: u64, index: u64) -> Result<(), Error> {
    look(words, end, index)
}

/// [`mark`] for windows whose size is known at run time only.
#[cold]
fn mark_far(words: &mut [u64], end: u64, index: u64) {
    mark(words, end, index);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// RFC 3711 §3.3.2 without a bitmap: everything ever accepted.
    #[derive(Default)]
    struct Model(BTreeSet<u64>);

    impl Model {
        fn commit(&mut self, window: u32, index: u64) -> Result<(), Error> {
            let highest = self.0.last().copied().unwrap_or(index);
            if highest >= index + u64::from(window) {
                Err(Error::TooOld)
            } else if self.0.insert(index) {
                Ok(())
            } else {
                Err(Error::Replayed)
            }
        }
    }

    /// Steps around the edges of a window: small ones, and some that leap over it.
    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![
            6 => -3_i64..6,
            3 => -200_i64..200,
            2 => -33_000_i64..33_000,
            1 => prop_oneof![Just(63), Just(64), Just(65), Just(127), Just(128), Just(129), Just(32_768)],
        ];
        prop::collection::vec(step, 1..400)
    }

    proptest! {
        #[test]
        fn window_decides_as_the_set_of_all_indices_does(
            start in prop_oneof![0_u64..300, Just((1 << 48) - 40_000)],
            packets in prop_oneof![Just(64_u32), Just(128), Just(192), Just(1024), Just(32_768)],
            steps in steps(),
        ) {
            let mut window = Replay::new(ReplayWindow::new(packets).unwrap());
            let mut model = Model::default();
            let size = if packets <= 128 { 128 } else { packets };
            let mut index = start;
            for step in steps {
                index = index.saturating_add_signed(step);
                let expected = model.commit(size, index);
                prop_assert_eq!(window.check(index), expected);
                prop_assert_eq!(window.commit(index), expected);
            }
            prop_assert_eq!(window.highest(), model.0.last().copied());
        }
    }

    #[test]
    fn sizes_outside_the_rfc_and_half_the_sequence_space_are_refused() {
        for packets in [0, 63, 32_769, u32::MAX] {
            assert_eq!(ReplayWindow::new(packets), Err(KeyError::ReplayWindow { got: packets }));
        }
        assert_eq!(ReplayWindow::new(64).unwrap().packets(), 64);
        assert_eq!(ReplayWindow::new(32_768).unwrap().packets(), 32_768);
    }

    #[test]
    fn closed_window_takes_only_what_is_new() {
        let mut window = Replay::new(ReplayWindow::default());
        window.close(1000);
        assert_eq!(window.commit(1000), Err(Error::Replayed));
        assert_eq!(window.commit(873), Err(Error::Replayed));
        assert_eq!(window.commit(872), Err(Error::TooOld));
        assert_eq!(window.commit(1001), Ok(()));
    }
}
