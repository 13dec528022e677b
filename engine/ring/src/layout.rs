//! Where everything is in the shared memory, in words of 8 octets of the machine's byte order.
//!
//! ```text
//! line 0          magic, version, slots, octets of a slot, octets in all
//! lines 1 to 3    ring to the application: tail │ head │ the number of its consumer's sleep, 0: awake
//! lines 4 to 6    ring to the gateway: the same
//! octet 4096      slots of the ring to the application: each length, octets
//! and then        slots of the ring to the gateway
//! ```
//!
//! A line has 128 octets, as caches fetch two of 64 at a time: what one side writes and the other reads stands alone.

use super::sync::{AtomicU64, Ordering};

/// "SluiceRg", read as a number: an application of another byte order finds another one.
const MAGIC: u64 = u64::from_be_bytes(*b"SluiceRg");
/// Changes whenever this file's diagram does.
const VERSION: u64 = 1;
const LINE: usize = 16;
const SLOTS_AT: usize = 512;
/// Octets of a slot before the packet: its length.
const SLOT_HEADER: usize = 8;

/// The ring on which the gateway puts packets.
pub const TO_APPLICATION: usize = 0;
/// The ring on which the application puts packets.
pub const TO_GATEWAY: usize = 1;

/// How large both rings of a shared memory are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    slots: usize,
    slot_bytes: usize,
}

/// Sizes that no ring has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The number of slots.
    #[error("{0} slots: a ring has a power of two of them, 2 to 65536")]
    Slots(usize),
    /// Their size.
    #[error("slots of {0} octets: they have 64 to 8192, a multiple of 8")]
    SlotBytes(usize),
}

/// Two rings of 1 MiB: 10 s of a voice stream each, and packets as large as Ethernet has.
impl Default for Geometry {
    fn default() -> Self {
        Self { slots: 512, slot_bytes: 2048 }
    }
}

impl Geometry {
    /// Rings of `slots` packets, a power of two from 2 to 65536, of up to `slot_bytes - 8` octets; `slot_bytes` is a
    /// multiple of 8 from 64 to 8192.
    pub const fn new(slots: usize, slot_bytes: usize) -> Result<Self, GeometryError> {
        if !slots.is_power_of_two() || slots < 2 || slots > 1 << 16 {
            return Err(GeometryError::Slots(slots));
        }
        if !slot_bytes.is_multiple_of(8) || slot_bytes < 64 || slot_bytes > 1 << 13 {
            return Err(GeometryError::SlotBytes(slot_bytes));
        }
        Ok(Self { slots, slot_bytes })
    }

    /// Packets that a ring holds.
    pub const fn slots(self) -> usize {
        self.slots
    }

    /// Octets of a slot.
    pub const fn slot_bytes(self) -> usize {
        self.slot_bytes
    }

    /// Octets of the largest packet.
    pub const fn largest(self) -> usize {
        self.slot_bytes - SLOT_HEADER
    }

    /// Octets of the whole memory.
    pub const fn bytes(self) -> usize {
        8 * SLOTS_AT + 2 * self.slots * self.slot_bytes
    }

    /// One of the two rings: [`TO_APPLICATION`] or [`TO_GATEWAY`].
    pub const fn lane(self, ring: usize) -> Lane {
        let control = LINE * (1 + 3 * ring);
        let slot_words = self.slot_bytes / 8;
        Lane {
            tail: control,
            head: control + LINE,
            asleep: control + 2 * LINE,
            first: SLOTS_AT + ring * self.slots * slot_words,
            slots: self.slots as u64,
            slot_words,
        }
    }

    /// Writes the first line, once.
    pub(crate) fn describe(self, words: &[AtomicU64]) {
        for (word, value) in words.iter().zip(self.first_line()) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// What the first line says, if the memory is what it says.
    pub(crate) fn described(words: &[AtomicU64]) -> Option<Self> {
        let line: Vec<u64> = words.get(..5)?.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        let [slots, slot_bytes] = [line[2], line[3]].map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        let geometry = Self::new(slots, slot_bytes).ok()?;
        let same = line == geometry.first_line() && geometry.bytes() == 8 * words.len();
        same.then_some(geometry)
    }

    const fn first_line(self) -> [u64; 5] {
        [MAGIC, VERSION, self.slots as u64, self.slot_bytes as u64, self.bytes() as u64]
    }
}

/// Where a ring is, in words from the memory's beginning.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    pub(crate) tail: usize,
    pub(crate) head: usize,
    pub(crate) asleep: usize,
    first: usize,
    pub(crate) slots: u64,
    slot_words: usize,
}

impl Lane {
    /// The slot of the packet of that number.
    pub(crate) fn slot<'a>(&self, words: &'a [AtomicU64], number: u64) -> &'a [AtomicU64] {
        let from = self.first + (number & (self.slots - 1)) as usize * self.slot_words;
        words.get(from..from + self.slot_words).unwrap_or_default()
    }

    /// Octets of the largest packet.
    pub(crate) const fn largest(&self) -> usize {
        8 * self.slot_words - SLOT_HEADER
    }
}
