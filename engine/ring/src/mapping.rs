//! The shared memory: a memfd that can neither shrink nor grow, mapped.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate,
    memfd_create,
};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use crate::layout::Geometry;
use crate::queue::Words;
use crate::sync::AtomicU64;

/// Why memory that somebody offers is not taken.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its size may change under our hands.
    #[error("the memory is not sealed against shrinking: it is not a gateway's ring")]
    NotSealed,
    /// It says of itself what is not so, or is of another version.
    #[error("the memory is no ring of this version: use a client of the gateway's version")]
    NotARing,
    /// The system.
    #[error("cannot map the ring: {0}")]
    System(#[from] io::Error),
}

/// Has whoever else has the memory take nothing out of it any more (PUNCH_HOLE, MADV_REMOVE), and map it no more for
/// writing; mappings that there are go on. What was taken out until now is put back, as zeroes. An error if it is sealed
/// so that this cannot be.
pub(crate) fn seal(memory: impl AsFd) -> io::Result<()> {
    fcntl_add_seals(&memory, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
    let bytes = fstat(&memory)?.st_size;
    fill(memory, usize::try_from(bytes).map_err(io::Error::other)?)
}

fn fill(memory: impl AsFd, bytes: usize) -> io::Result<()> {
    loop {
        match fallocate(&memory, FallocateFlags::empty(), 0, bytes as u64) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// A mapping of the whole shared memory.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: all that is reached through the pointer are atomics, which threads may share; the mapping is bound to none.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// New memory of zeroes, described as rings of that size, and its descriptor. All of it is there: too little
    /// memory is an error now, and no SIGBUS later. Once somebody else has mapped it, seal it (`seal`).
    pub fn create(geometry: Geometry) -> io::Result<(Arc<Self>, OwnedFd)> {
        let memory = memfd_create(c"sluice-ring", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&memory, geometry.bytes() as u64)?;
        fill(&memory, geometry.bytes())?;
        fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW)?;
        let mapping = Self::map(&memory, geometry.bytes())?;
        geometry.describe(mapping.words());
        Ok((Arc::new(mapping), memory))
    }

    /// The memory behind a descriptor that a gateway sent.
    pub fn open(memory: impl AsFd) -> Result<(Arc<Self>, Geometry), OpenError> {
        let seals = fcntl_get_seals(&memory).map_err(|_| OpenError::NotSealed)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(OpenError::NotSealed);
        }
        let bytes = fstat(&memory).map_err(io::Error::from)?.st_size;
        let bytes = usize::try_from(bytes).map_err(|_| OpenError::NotARing)?;
        if bytes < 4096 || !bytes.is_multiple_of(8) {
            return Err(OpenError::NotARing);
        }
        let mapping = Self::map(&memory, bytes)?;
        let geometry = Geometry::described(mapping.words()).ok_or(OpenError::NotARing)?;
        Ok((Arc::new(mapping), geometry))
    }

    /// The caller has seen to it that the file has so many octets and that it is sealed against having fewer.
    fn map(memory: impl AsFd, bytes: usize) -> io::Result<Self> {
        // Populated: no packet is to wait for a page.
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe {
            mmap(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags, memory, 0)?
        };
        // SAFETY: the range was just mapped. Media must not end up in a core dump; failing that is no reason to stop.
        let _ = unsafe { madvise(at, bytes, Advice::LinuxDontDump) };
        let base = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mmap returned address 0"))?;
        Ok(Self { base, words: bytes / 8 })
    }
}

impl Words for Arc<Mapping> {
    fn words(&self) -> &[AtomicU64] {
        self.as_ref().words()
    }
}

impl Mapping {
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has that many words and lives as long as self; it begins on a page. Its file is sealed
        // against shrinking, so that every word can be reached. Whatever another process writes there, any bits are
        // an AtomicU64, which is what may change under a shared reference.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length are what mmap gave, and nothing borrows from self any more.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), 8 * self.words) };
    }
}
