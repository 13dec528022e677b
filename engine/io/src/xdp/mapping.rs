//! The memory of a BPF map, in ours: both sides read and write it without a system call.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use aya::maps::MapData;

use super::XdpError;

/// A map's memory, from its beginning.
pub(super) struct Mapping {
    at: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is nobody's but this value's; whoever writes to it through `at` says why that is sound.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` of a map that was made with `BPF_F_MMAPABLE`.
    pub(super) fn of(map: &MapData, bytes: usize, action: &'static str) -> Result<Self, XdpError> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        let failed = |source| XdpError::Kernel { action, source };
        if at == libc::MAP_FAILED {
            return Err(failed(io::Error::last_os_error()));
        }
        let at =
            NonNull::new(at.cast()).ok_or_else(|| failed(io::Error::other("mmap returned address 0")))?;
        Ok(Self { at, bytes })
    }

    /// Where the memory begins: on a page.
    pub(super) const fn at(&self) -> NonNull<u8> {
        self.at
    }

    /// A word that both sides only use whole. The offset must be a multiple of 8, within the mapping.
    pub(super) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.bytes);
        // SAFETY: the word lies in the mapping, aligned, and the mapping lives as long as self.
        unsafe { AtomicU64::from_ptr(self.at.add(offset).as_ptr().cast()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: at and bytes are what mmap gave, and whoever used the memory held this value.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.bytes) };
    }
}
