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
    highest: Option<u64>,
    bits: Bits,
}

/// The default window lives inside the context, so that a new stream allocates nothing.
#[derive(Clone)]
enum Bits {
    Small([u64; 2]),
    Large(Box<[u64]>),
}

impl Replay {
    pub(crate) fn new(window: ReplayWindow) -> Self {
        let bits = match window.0 {
            0..=128 => Bits::Small([0; 2]),
            packets => Bits::Large(vec![0; packets as usize / 64].into()),
        };
        Self { highest: None, bits }
    }

    /// Forgets everything; keeps the memory.
    pub(crate) fn reset(&mut self) {
        self.highest = None;
        self.words().fill(0);
    }

    pub(crate) const fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Says whether `index` may be accepted, changing nothing.
    pub(crate) fn check(&self, index: u64) -> Result<(), Error> {
        let Some(highest) = self.highest else { return Ok(()) };
        if index > highest {
            return Ok(());
        }
        let words = match &self.bits {
            Bits::Small(words) => &words[..],
            Bits::Large(words) => words,
        };
        let size = words.len() as u64 * 64;
        if highest - index >= size {
            return Err(Error::TooOld);
        }
        let bit = index % size;
        if words[(bit / 64) as usize] >> (bit % 64) & 1 == 1 { Err(Error::Replayed) } else { Ok(()) }
    }

    /// Checks again and remembers `index`: the final verdict.
    pub(crate) fn commit(&mut self, index: u64) -> Result<(), Error> {
        self.check(index)?;
        let highest = self.highest;
        let words = self.words();
        let size = words.len() as u64 * 64;
        match highest {
            Some(highest) if index <= highest => {}
            Some(highest) if index - highest < size => {
                for passed in highest + 1..=index {
                    clear(words, passed % size);
                }
            }
            _ => words.fill(0),
        }
        let bit = index % size;
        words[(bit / 64) as usize] |= 1 << (bit % 64);
        self.highest = Some(highest.map_or(index, |highest| highest.max(index)));
        Ok(())
    }

    /// Counts every index up to `highest` as seen.
    pub(crate) fn close(&mut self, highest: u64) {
        self.words().fill(u64::MAX);
        self.highest = Some(highest);
    }

    fn words(&mut self) -> &mut [u64] {
        match &mut self.bits {
            Bits::Small(words) => words,
            Bits::Large(words) => words,
        }
    }
}

fn clear(words: &mut [u64], bit: u64) {
    words[(bit / 64) as usize] &= !(1 << (bit % 64));
}
