//! Packet memory: [`Pool`] owns it, [`Frame`] owns one chunk of it.

use std::io;
use std::ptr::NonNull;

use crate::mapping::{Mapping, Memory};
use crate::{Ingress, TxMeta};

/// Octets kept free in front of a payload: room for Ethernet, two VLAN tags, IPv6 and UDP headers.
/// It equals the kernel's `XDP_PACKET_HEADROOM`.
pub const HEADROOM: usize = 256;
/// Octets of a small chunk: what AF_XDP takes at most on a machine with 4 KiB pages.
pub const SMALL: usize = 4096;
/// Octets of a large chunk.
pub const LARGE: usize = 16_384;

/// How much memory a [`Pool`] maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Number of 4 KiB chunks, which make the UMEM.
    pub small: u32,
    /// Number of 16 KiB chunks: io_uring's receive buffers, and jumbo datagrams.
    pub large: u32,
}

impl PoolConfig {
    /// The memory that it takes, in bytes, with its books.
    pub const fn bytes(self) -> usize {
        let books = (self.small as usize + self.large as usize) * size_of::<u32>();
        self.small as usize * SMALL + self.large as usize * LARGE + books
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { small: 4096, large: 1024 }
    }
}

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// No chunks at all, or more than can be addressed.
    #[error("a pool holds 1 to 1048576 chunks, not {small} small and {large} large")]
    Size {
        /// Small chunks asked for.
        small: u32,
        /// Large chunks asked for.
        large: u32,
    },
    /// The kernel refused the memory.
    #[error("cannot map {bytes} bytes of packet memory: {source}; configure smaller pools or fewer workers")]
    Map {
        /// Bytes asked for.
        bytes: usize,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// All packet memory of one worker, in one mapping: small chunks first, then large ones.
pub struct Pool {
    mapping: Mapping,
    base: NonNull<u8>,
    bytes: usize,
    config: PoolConfig,
    free_small: Vec<u32>,
    free_large: Vec<u32>,
}

// SAFETY: the pool is the only owner of its mapping's free chunks, and nothing in it is bound to a thread.
unsafe impl Send for Pool {}

impl Pool {
    /// Maps the memory, on huge pages where some were set aside, and keeps it out of core dumps.
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        Self::on_node(config, None)
    }

    /// The same on a NUMA node, as long as that has memory; [`Self::memory`] tells.
    pub fn on_node(config: PoolConfig, node: Option<u32>) -> Result<Self, PoolError> {
        let PoolConfig { small, large } = config;
        if small.saturating_add(large) == 0 || small > 1 << 20 || large > 1 << 20 {
            return Err(PoolError::Size { small, large });
        }
        let bytes = small as usize * SMALL + large as usize * LARGE;
        let mapping = Mapping::new(bytes, node).map_err(|source| PoolError::Map { bytes, source })?;
        Ok(Self {
            base: mapping.base(),
            mapping,
            bytes,
            config,
            free_small: (0..small).rev().collect(),
            free_large: (small..small + large).rev().collect(),
        })
    }

    /// A frame with room for `payload` octets behind the headroom; its length is 0. `None` if no such
    /// chunk is free.
    pub fn alloc(&mut self, payload: usize) -> Option<Frame> {
        if payload <= SMALL - HEADROOM
            && let Some(chunk) = self.free_small.pop()
        {
            return Some(self.frame(chunk));
        }
        if payload > LARGE - HEADROOM { None } else { self.alloc_large() }
    }

    /// A frame over a small chunk, which AF_XDP can send.
    pub fn alloc_small(&mut self) -> Option<Frame> {
        self.free_small.pop().map(|chunk| self.frame(chunk))
    }

    /// A frame over a large chunk.
    pub fn alloc_large(&mut self) -> Option<Frame> {
        self.free_large.pop().map(|chunk| self.frame(chunk))
    }

    /// Takes a frame's chunk back. A frame of another pool is not taken: its chunk stays lost to that pool,
    /// which shows in [`Self::outstanding`].
    #[allow(clippy::needless_pass_by_value, reason = "the caller must not keep the frame")]
    pub fn free(&mut self, frame: Frame) {
        // Numbers alone do not tell pools apart, and a chunk must not be handed out twice.
        let ours = self.base.as_ptr() as usize..self.base.as_ptr() as usize + self.bytes;
        if !ours.contains(&(frame.base.as_ptr() as usize)) {
            return;
        }
        if frame.chunk < self.config.small {
            self.free_small.push(frame.chunk);
        } else {
            self.free_large.push(frame.chunk);
        }
    }

    /// Free chunks, small and large.
    pub fn available(&self) -> (u32, u32) {
        (self.free_small.len() as u32, self.free_large.len() as u32)
    }

    /// Chunks that are with somebody: in frames or with the kernel.
    pub fn outstanding(&self) -> u32 {
        let (small, large) = self.available();
        self.config.small + self.config.large - small - large
    }

    /// How the pool was made.
    pub const fn config(&self) -> PoolConfig {
        self.config
    }

    /// Where the memory lies now.
    pub fn memory(&self) -> Memory {
        self.mapping.memory()
    }

    /// The small chunks' memory: what is registered as UMEM.
    pub(crate) fn umem(&self) -> (NonNull<u8>, usize) {
        (self.base, self.config.small as usize * SMALL)
    }

    /// The frame over a chunk that the caller owns.
    fn frame(&self, chunk: u32) -> Frame {
        let small = self.config.small;
        let (offset, capacity) = if chunk < small {
            (chunk as usize * SMALL, SMALL)
        } else {
            (small as usize * SMALL + (chunk - small) as usize * LARGE, LARGE)
        };
        debug_assert!(offset + capacity <= self.bytes);
        // SAFETY: chunk numbers come from the free lists, so that offset + capacity lies within the mapping.
        let base = unsafe { self.base.add(offset) };
        Frame { base, chunk, capacity, start: HEADROOM, len: 0, ingress: None, egress: None }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Frames point into the mapping. While one is out, leaking is the only sound thing to do.
        if self.outstanding() == 0 {
            // SAFETY: no frame is left to use it, and this is the end of the pool.
            unsafe { self.mapping.unmap() };
        }
    }
}

/// The sole owner of one chunk: payload window, headroom before it, tailroom behind.
///
/// A frame ends by [`Pool::free`] or by going to the kernel in [`crate::PacketIo::transmit`]. Dropping
/// it loses the chunk, which [`Pool::outstanding`] shows.
#[must_use = "give it back with Pool::free"]
pub struct Frame {
    base: NonNull<u8>,
    pub(crate) chunk: u32,
    capacity: usize,
    start: usize,
    len: usize,
    ingress: Option<Ingress>,
    egress: Option<TxMeta>,
}

// SAFETY: a frame is the only way to its chunk, whose mapping outlives it (see Pool::drop).
unsafe impl Send for Frame {}

impl Frame {
    /// The payload.
    pub const fn payload(&self) -> &[u8] {
        // SAFETY: start + len <= capacity is kept by set_window and set_len, the chunk is ours alone and
        // every octet of an anonymous mapping is initialised.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(self.start), self.len) }
    }

    /// The payload, to change.
    pub const fn payload_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in payload; &mut self makes it exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(self.start), self.len) }
    }

    /// The payload and all tailroom behind it.
    pub const fn buffer_mut(&mut self) -> &mut [u8] {
        let len = self.capacity - self.start;
        // SAFETY: as in payload_mut; start <= capacity.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(self.start), len) }
    }

    /// The whole chunk.
    pub(crate) const fn chunk_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in payload_mut, over all of the chunk.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.capacity) }
    }

    /// Octets of payload.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the payload is empty.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Octets that payload and tailroom hold together.
    pub const fn capacity(&self) -> usize {
        self.capacity - self.start
    }

    /// Changes the payload's length, by at most the tailroom: the rest of a larger `len` is cut off.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity());
    }

    /// Makes the payload a copy of `bytes`; whether they fit.
    pub fn fill(&mut self, bytes: &[u8]) -> bool {
        let Some(buffer) = self.buffer_mut().get_mut(..bytes.len()) else { return false };
        buffer.copy_from_slice(bytes);
        self.len = bytes.len();
        true
    }

    /// Where the frame came from.
    pub const fn ingress(&self) -> Option<&Ingress> {
        self.ingress.as_ref()
    }

    /// Says where the frame came from.
    pub const fn set_ingress(&mut self, ingress: Ingress) {
        self.ingress = Some(ingress);
    }

    /// How the frame is to leave.
    pub const fn egress(&self) -> Option<&TxMeta> {
        self.egress.as_ref()
    }

    /// Says how the frame is to leave.
    pub const fn set_egress(&mut self, egress: TxMeta) {
        self.egress = Some(egress);
    }

    /// Whether AF_XDP can send this frame.
    pub const fn is_small(&self) -> bool {
        self.capacity == SMALL
    }

    /// Octets from the chunk's beginning to the payload.
    pub(crate) const fn start(&self) -> usize {
        self.start
    }

    /// Puts the payload window anywhere in the chunk; whether it fits.
    pub(crate) const fn set_window(&mut self, start: usize, len: usize) -> bool {
        let fits = start <= self.capacity && len <= self.capacity - start;
        if fits {
            self.start = start;
            self.len = len;
        }
        fits
    }

    /// Address of the chunk, for the kernel.
    pub(crate) const fn address(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} octets, {:?}, {:?})", self.len, self.ingress, self.egress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_handed_out_once_and_comes_back() {
        let mut pool = Pool::new(PoolConfig { small: 8, large: 4 }).unwrap();
        let mut frames = Vec::new();
        while let Some(mut frame) = pool.alloc(100) {
            let mark = [frames.len() as u8; 300];
            assert!(frame.fill(&mark));
            frames.push(frame);
        }
        assert_eq!((frames.len(), pool.outstanding()), (12, 12));
        for (mark, frame) in frames.iter().enumerate() {
            assert!(frame.payload().iter().all(|octet| usize::from(*octet) == mark));
        }
        for frame in frames {
            pool.free(frame);
        }
        assert_eq!((pool.available(), pool.outstanding()), ((8, 4), 0));
    }

    #[test]
    fn a_length_beyond_the_chunk_is_cut() {
        let mut pool = Pool::new(PoolConfig { small: 1, large: 0 }).unwrap();
        let mut frame = pool.alloc(0).unwrap();
        frame.set_len(usize::MAX);
        assert_eq!(frame.payload().len(), SMALL - HEADROOM);
        assert!(!frame.fill(&[0; SMALL]));
        assert!(!frame.set_window(SMALL, 1));
        assert!(!frame.set_window(10, usize::MAX));
        pool.free(frame);
    }

    #[test]
    fn only_large_chunks_take_jumbo_payloads() {
        let mut pool = Pool::new(PoolConfig { small: 1, large: 1 }).unwrap();
        let frame = pool.alloc(9000).unwrap();
        assert!(!frame.is_small());
        assert!(pool.alloc(9000).is_none());
        assert!(pool.alloc(LARGE).is_none());
        pool.free(frame);
    }

    #[test]
    fn a_frame_of_another_pool_is_not_mixed_in() {
        let config = PoolConfig { small: 2, large: 0 };
        let (mut pool, mut other) = (Pool::new(config).unwrap(), Pool::new(config).unwrap());
        let (mine, foreign) = (pool.alloc(1).unwrap(), other.alloc(1).unwrap());
        pool.free(foreign);
        assert_eq!((pool.outstanding(), other.outstanding()), (1, 1));
        pool.free(mine);
        assert_eq!((pool.available(), other.available()), ((2, 0), (1, 0)));
    }

    #[test]
    fn a_pool_of_nothing_is_refused() {
        assert!(matches!(Pool::new(PoolConfig { small: 0, large: 0 }), Err(PoolError::Size { .. })));
    }
}
