//! The provided-buffer ring: chunks of the pool that the kernel receives into.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::address::NAME_LEN;
use crate::{Frame, HEADROOM, LARGE, Pool};

/// The one buffer group of a worker.
pub(super) const GROUP: u16 = 0;
/// `struct io_uring_recvmsg_out` and the source address stand in front of each payload.
const PREFIX: usize = 16 + NAME_LEN;
/// Where the kernel writes in a chunk, so that the payload begins at the headroom's end.
pub(super) const OFFSET: usize = HEADROOM - PREFIX;
/// Kept free behind the payload for what SRTP adds.
const TAILROOM: usize = 192;
const ENTRY: usize = size_of::<BufRingEntry>();

/// Buffers by number: each is a frame while the kernel has it, and empty until it is refilled.
pub(super) struct Buffers {
    ring: NonNull<BufRingEntry>,
    frames: Vec<Option<Frame>>,
    empty: Vec<u16>,
    tail: u16,
}

// SAFETY: the ring's memory is this value's alone on the user side, and not bound to a thread.
unsafe impl Send for Buffers {}

impl Buffers {
    /// Registers a ring of `entries` buffers, a power of two, all still empty.
    pub(super) fn register(submitter: &Submitter<'_>, entries: u16) -> io::Result<Self> {
        let bytes = usize::from(entries) * ENTRY;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0)
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ring = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mmap returned address 0"))?;
        let buffers = Self {
            ring,
            frames: (0..entries).map(|_| None).collect(),
            empty: (0..entries).rev().collect(),
            tail: 0,
        };
        // SAFETY: the mapping holds `entries` entries and is unmapped only after the io_uring is gone
        // (UringIo drops its ring first).
        unsafe { submitter.register_buf_ring_with_flags(at as u64, entries, GROUP, 0)? };
        Ok(buffers)
    }

    /// What it takes.
    pub(super) const fn bytes(entries: usize) -> usize {
        entries * (ENTRY + size_of::<Option<Frame>>() + size_of::<u16>())
    }

    /// Gives the kernel a chunk for every empty buffer while the pool has some; whether all are filled.
    pub(super) fn refill(&mut self, pool: &mut Pool) -> bool {
        let mask = self.frames.len() as u16 - 1;
        while let Some(id) = self.empty.last().copied() {
            let Some(frame) = pool.alloc_large() else { break };
            self.empty.pop();
            // SAFETY: the index is below the ring's length, and entries at and after the tail are ours.
            let entry = unsafe { &mut *self.ring.as_ptr().add(usize::from(self.tail & mask)) };
            // SAFETY: OFFSET lies within the chunk.
            entry.set_addr(unsafe { frame.address().add(OFFSET) } as u64);
            entry.set_len((LARGE - OFFSET - TAILROOM) as u32);
            entry.set_bid(id);
            self.frames[usize::from(id)] = Some(frame);
            self.tail = self.tail.wrapping_add(1);
        }
        // SAFETY: the tail lies in the first entry's reserved field, aligned, and is only written by us.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring.as_ptr()).cast_mut()) };
        // Release: the kernel must see the entries before the tail that covers them.
        tail.store(self.tail, Ordering::Release);
        self.empty.is_empty()
    }

    /// Buffers that the kernel has.
    pub(super) fn filled(&self) -> usize {
        self.frames.len() - self.empty.len()
    }

    /// Takes the frame that the kernel filled.
    pub(super) fn take(&mut self, id: u16) -> Option<Frame> {
        let frame = self.frames.get_mut(usize::from(id))?.take()?;
        self.empty.push(id);
        Some(frame)
    }

    /// Gives all frames back, once the kernel has been told to stop.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        self.frames.iter_mut().filter_map(Option::take).for_each(|frame| pool.free(frame));
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: mapped in register with this length; the io_uring is closed by now.
        unsafe { libc::munmap(self.ring.as_ptr().cast(), self.frames.len() * ENTRY) };
    }
}
