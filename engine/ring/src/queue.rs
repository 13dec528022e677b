//! One ring: a producer and a consumer over words that both see. `tests/ring_model.rs` compiles this file with
//! atomics of loom's.

use super::layout::Lane;
use super::sync::{AtomicU64, Ordering, fence};

/// Memory that two sides have in common.
pub trait Words {
    /// All of it.
    fn words(&self) -> &[AtomicU64];
}

impl Words for std::sync::Arc<[AtomicU64]> {
    fn words(&self) -> &[AtomicU64] {
        self
    }
}

/// The other side wrote what no side would that keeps to the rules: an index that went back or passed ours, or a
/// length beyond the slot. Nothing on the ring can be relied on any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The producer's index.
    #[error("the producer's index {index} is not between {from} and {to}")]
    Tail {
        /// What it says.
        index: u64,
        /// The least that it may be.
        from: u64,
        /// The most that it may be.
        to: u64,
    },
    /// The consumer's index.
    #[error("the consumer's index {index} is not between {from} and {to}")]
    Head {
        /// What it says.
        index: u64,
        /// The least that it may be.
        from: u64,
        /// The most that it may be.
        to: u64,
    },
    /// A packet's length.
    #[error("a packet of {length} octets is in a slot of {room}")]
    Length {
        /// What the slot says.
        length: u64,
        /// Octets that it has room for.
        room: usize,
    },
}

/// Why a packet was not put on a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// The consumer does not keep up.
    #[error("the ring is full: the other side does not keep up")]
    Full,
    /// Larger than a slot.
    #[error("the packet is larger than a slot of the ring")]
    TooLarge,
    /// The consumer broke the ring.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// The end of a ring that puts packets on it.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    lane: Lane,
    /// Packets put so far, and how many of them the consumer has been told of.
    tail: u64,
    published: u64,
    /// Packets that the consumer has taken, when that was last looked at.
    head: u64,
    /// The consumer's sleep from which it was last woken.
    woken: u64,
}

impl<M: Words> Producer<M> {
    /// The producer of a ring on which nothing was ever put.
    pub fn new(memory: M, lane: Lane) -> Self {
        Self { memory, lane, tail: 0, published: 0, head: 0, woken: 0 }
    }

    /// Puts a packet on the ring; the consumer gets to know of it by [`Self::publish`].
    pub fn put(&mut self, packet: &[u8]) -> Result<(), PutError> {
        if packet.len() > self.lane.largest() {
            return Err(PutError::TooLarge);
        }
        if self.tail - self.head >= self.lane.slots {
            self.look_at_head()?;
        }
        if self.tail - self.head >= self.lane.slots {
            return Err(PutError::Full);
        }
        let slot = self.lane.slot(self.memory.words(), self.tail);
        if let Some((length, octets)) = slot.split_first() {
            length.store(packet.len() as u64, Ordering::Relaxed);
            write(octets, packet);
        }
        self.tail += 1;
        Ok(())
    }

    fn look_at_head(&mut self) -> Result<(), Broken> {
        // Acquire: the consumer has read what is written over from here on.
        let index = self.memory.words()[self.lane.head].load(Ordering::Acquire);
        if !(self.head..=self.published).contains(&index) {
            return Err(Broken::Head { index, from: self.head, to: self.published });
        }
        self.head = index;
        Ok(())
    }

    /// Tells the consumer of all that was put on the ring. Whether it sleeps and has to be woken, which is so once
    /// for each sleep.
    #[must_use = "a consumer that sleeps has to be woken"]
    pub fn publish(&mut self) -> bool {
        if self.tail == self.published {
            return false;
        }
        self.published = self.tail;
        let words = self.memory.words();
        words[self.lane.tail].store(self.tail, Ordering::Release);
        // Between this store and the next load, as between the consumer's store of `asleep` and its load of the
        // tail: one of the two sees what the other did.
        fence(Ordering::SeqCst);
        let sleep = words[self.lane.asleep].load(Ordering::Relaxed);
        sleep != 0 && std::mem::replace(&mut self.woken, sleep) != sleep
    }
}

/// The end of a ring that takes packets from it.
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    lane: Lane,
    /// Packets taken so far, and how many of them the producer has been told of.
    head: u64,
    released: u64,
    /// Packets that the producer has put, when that was last looked at.
    tail: u64,
    /// The length of the packet in front, once it was looked at.
    length: usize,
    /// How often this side has gone to sleep, and whether the producer takes it for asleep.
    sleeps: u64,
    armed: bool,
}

impl<M: Words> Consumer<M> {
    /// The consumer of a ring on which nothing was ever put.
    pub fn new(memory: M, lane: Lane) -> Self {
        Self { memory, lane, head: 0, released: 0, tail: 0, length: 0, sleeps: 0, armed: false }
    }

    /// How many packets there may be.
    pub const fn slots(&self) -> usize {
        self.lane.slots as usize
    }

    /// The length of the oldest packet, if there is one.
    pub fn peek(&mut self) -> Result<Option<usize>, Broken> {
        if self.head == self.tail {
            self.look_at_tail()?;
            if self.head == self.tail {
                return Ok(None);
            }
            self.disarm();
        }
        let slot = self.lane.slot(self.memory.words(), self.head);
        // Read once: it may be another the next time.
        let length = slot.first().map_or(0, |length| length.load(Ordering::Relaxed));
        let room = self.lane.largest();
        if length > room as u64 {
            return Err(Broken::Length { length, room });
        }
        self.length = length as usize;
        Ok(Some(self.length))
    }

    fn look_at_tail(&mut self) -> Result<(), Broken> {
        // Acquire: the packets were written before.
        let index = self.memory.words()[self.lane.tail].load(Ordering::Acquire);
        // What was not released yet cannot have been written over.
        let to = self.released + self.lane.slots;
        if !(self.tail..=to).contains(&index) {
            return Err(Broken::Tail { index, from: self.tail, to });
        }
        self.tail = index;
        Ok(())
    }

    /// Copies the packet that [`Self::peek`] found, or as much of it as there is room for.
    pub fn read(&self, into: &mut [u8]) {
        let len = self.length.min(into.len());
        let slot = self.lane.slot(self.memory.words(), self.head);
        if let Some((_, octets)) = slot.split_first() {
            read(octets, &mut into[..len]);
        }
    }

    /// Goes on to the next packet.
    pub fn advance(&mut self) {
        if self.head < self.tail {
            self.head += 1;
        }
    }

    /// Gives the slots of all packets that were taken back to the producer.
    pub fn release(&mut self) {
        if self.head != self.released {
            self.released = self.head;
            self.memory.words()[self.lane.head].store(self.head, Ordering::Release);
        }
    }

    /// Has the producer wake this side from now on. Whether the ring is empty, so that it may sleep; it has to be
    /// asked anew before each sleep.
    pub fn arm(&mut self) -> bool {
        self.armed = true;
        self.sleeps += 1;
        let words = self.memory.words();
        // Another number each time, which only this side writes: a producer tells sleeps apart by it.
        words[self.lane.asleep].store(self.sleeps, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.head == self.tail && words[self.lane.tail].load(Ordering::Relaxed) == self.head
    }

    /// Spares the producer wake-ups, as this side is awake.
    fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.memory.words()[self.lane.asleep].store(0, Ordering::Relaxed);
        }
    }
}

fn write(words: &[AtomicU64], octets: &[u8]) {
    let (whole, rest) = octets.as_chunks::<8>();
    let mut words = words.iter();
    for (octets, word) in whole.iter().zip(words.by_ref()) {
        word.store(u64::from_ne_bytes(*octets), Ordering::Relaxed);
    }
    if let Some(word) = words.next().filter(|_| !rest.is_empty()) {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}

fn read(words: &[AtomicU64], octets: &mut [u8]) {
    let (whole, rest) = octets.as_chunks_mut::<8>();
    let mut words = words.iter();
    for (octets, word) in whole.iter_mut().zip(words.by_ref()) {
        *octets = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    if let Some(word) = words.next().filter(|_| !rest.is_empty()) {
        let last = word.load(Ordering::Relaxed).to_ne_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}
