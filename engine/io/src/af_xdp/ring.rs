//! One single-producer single-consumer ring shared with the kernel (`struct xdp_ring`).

use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Offsets of a ring's parts in its mapping, and where to map it.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) producer: usize,
    pub(super) consumer: usize,
    pub(super) flags: usize,
    pub(super) descriptors: usize,
    pub(super) page_offset: i64,
}

/// A ring of `size` (a power of two) descriptors of type `T`, of which we are one side.
pub(super) struct Ring<T> {
    map: NonNull<u8>,
    bytes: usize,
    layout: Layout,
    size: u32,
    /// Our own index, and the other side's when last looked at.
    ours: u32,
    theirs: u32,
    mapped: bool,
    descriptor: std::marker::PhantomData<T>,
}

// SAFETY: the mapping belongs to this value and to the kernel; nothing in it is bound to a thread.
unsafe impl<T> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// Maps a ring of the AF_XDP socket `fd`.
    pub(super) fn map(fd: RawFd, layout: Layout, size: u32) -> io::Result<Self> {
        let bytes = layout.descriptors + size as usize * size_of::<T>();
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd,
                layout.page_offset,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mmap returned address 0"))?;
        Ok(Self::over(map, bytes, layout, size, true))
    }

    const fn over(map: NonNull<u8>, bytes: usize, layout: Layout, size: u32, mapped: bool) -> Self {
        let descriptor = std::marker::PhantomData;
        Self { map, bytes, layout, size, ours: 0, theirs: 0, mapped, descriptor }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset + 4 <= self.bytes);
        // SAFETY: the kernel's offsets lie in the mapping and are aligned; both sides only use the word
        // atomically; the mapping lives as long as self.
        unsafe { AtomicU32::from_ptr(self.map.add(offset).as_ptr().cast()) }
    }

    fn slot(&self, index: u32) -> *mut T {
        let at = self.layout.descriptors + (index & (self.size - 1)) as usize * size_of::<T>();
        // SAFETY: the masked index is below size, and size descriptors lie in the mapping.
        unsafe { self.map.add(at).as_ptr().cast() }
    }

    /// Whether the kernel wants a system call before it goes on (`XDP_RING_NEED_WAKEUP`).
    pub(super) fn needs_wakeup(&self) -> bool {
        self.word(self.layout.flags).load(Ordering::Relaxed) & 1 != 0
    }

    /// As producer: how many descriptors there is room for.
    pub(super) fn room(&mut self) -> u32 {
        let used = self.ours.wrapping_sub(self.theirs);
        if used == self.size {
            // Acquire: the kernel is done reading the slots before we write over them.
            self.theirs = self.word(self.layout.consumer).load(Ordering::Acquire);
        }
        self.size - self.ours.wrapping_sub(self.theirs)
    }

    /// As producer: whether there is room for so many descriptors.
    pub(super) fn has_room(&mut self, wanted: u32) -> bool {
        if self.size - self.ours.wrapping_sub(self.theirs) < wanted {
            // Acquire: as in room.
            self.theirs = self.word(self.layout.consumer).load(Ordering::Acquire);
        }
        self.size - self.ours.wrapping_sub(self.theirs) >= wanted
    }

    /// As producer: writes a descriptor, seen by the kernel after [`Self::publish`]. Whether it fitted.
    pub(super) fn produce(&mut self, descriptor: T) -> bool {
        if self.room() == 0 {
            return false;
        }
        // SAFETY: the slot is ours until it is published: ours - theirs < size.
        unsafe { self.slot(self.ours).write(descriptor) };
        self.ours = self.ours.wrapping_add(1);
        true
    }

    /// As producer: shows the kernel what was written.
    pub(super) fn publish(&self) {
        // Release: the descriptors are written before the index that covers them.
        self.word(self.layout.producer).store(self.ours, Ordering::Release);
    }

    /// As consumer: the next descriptor, if any.
    pub(super) fn consume(&mut self) -> Option<T> {
        if self.ours == self.theirs {
            // Acquire: the descriptors are written before the index that covers them.
            self.theirs = self.word(self.layout.producer).load(Ordering::Acquire);
            if self.ours == self.theirs {
                return None;
            }
        }
        // SAFETY: ours < theirs, so that the producer has written the slot and will not touch it until released.
        let descriptor = unsafe { self.slot(self.ours).read() };
        self.ours = self.ours.wrapping_add(1);
        Some(descriptor)
    }

    /// As consumer: how many descriptors wait to be consumed.
    pub(super) fn ready(&mut self) -> u32 {
        // Acquire: as in consume.
        self.theirs = self.word(self.layout.producer).load(Ordering::Acquire);
        self.theirs.wrapping_sub(self.ours)
    }

    /// As consumer: lets the producer use the slots again.
    pub(super) fn release(&self) {
        // Release: our reads are over before the producer may write.
        self.word(self.layout.consumer).store(self.ours, Ordering::Release);
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if self.mapped {
            // SAFETY: mapped in map with this length, and nothing else points into it.
            unsafe { libc::munmap(self.map.as_ptr().cast(), self.bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { producer: 0, consumer: 64, flags: 128, descriptors: 192, page_offset: 0 };

    /// Two ends over one memory: in the tests we are the kernel, too.
    fn pair(memory: &mut Vec<u64>, size: u32) -> (Ring<u64>, Ring<u64>) {
        memory.resize((192 + size as usize * 8) / 8, 0);
        let map = NonNull::new(memory.as_mut_ptr().cast()).unwrap();
        let bytes = memory.len() * 8;
        (Ring::over(map, bytes, LAYOUT, size, false), Ring::over(map, bytes, LAYOUT, size, false))
    }

    #[test]
    fn descriptors_arrive_in_order_across_many_turns_of_the_ring() {
        let mut memory = Vec::new();
        let (mut producer, mut consumer) = pair(&mut memory, 8);
        let (mut next_in, mut next_out) = (0_u64, 0_u64);
        for step in 0..10_000_u64 {
            for _ in 0..step % 11 {
                if producer.produce(next_in) {
                    next_in += 1;
                }
            }
            producer.publish();
            for _ in 0..step % 7 {
                if let Some(got) = consumer.consume() {
                    assert_eq!(got, next_out);
                    next_out += 1;
                }
            }
            consumer.release();
        }
        assert!(next_out > 1000 && next_in - next_out <= 8);
    }

    #[test]
    fn nothing_is_seen_before_it_is_published_and_a_full_ring_takes_no_more() {
        let mut memory = Vec::new();
        let (mut producer, mut consumer) = pair(&mut memory, 4);
        assert!((0..4).all(|i| producer.produce(i)));
        assert!(!producer.produce(4));
        assert_eq!((consumer.consume(), consumer.ready()), (None, 0));
        producer.publish();
        assert_eq!(consumer.ready(), 4);
        assert_eq!(consumer.consume(), Some(0));
        assert_eq!(producer.room(), 0, "the slot is not released yet");
        consumer.release();
        assert_eq!((producer.room(), consumer.ready()), (1, 3));
    }

    #[test]
    fn the_rings_ends_may_run_on_two_threads() {
        let mut memory = Vec::new();
        let (mut producer, mut consumer) = pair(&mut memory, 16);
        let sender = std::thread::spawn(move || {
            let mut next = 0;
            while next < 100_000_u64 {
                if producer.produce(next) {
                    next += 1;
                    producer.publish();
                } else {
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < 100_000 {
            match consumer.consume() {
                Some(got) => {
                    assert_eq!(got, expected);
                    expected += 1;
                    consumer.release();
                }
                None => std::thread::yield_now(),
            }
        }
        sender.join().unwrap();
    }
}
