//! Anonymous memory: on huge pages where there are, on a NUMA node, and present before it is used.

use std::io;
use std::ptr::NonNull;

/// Huge pages of the size that x86-64 and AArch64 (with pages of 4 KiB) have in common.
const HUGE: usize = 2 << 20;
const MAP_HUGE_2MB: libc::c_int = 21 << 26;
/// `mbind(2)`: on this node while it has memory.
const MPOL_PREFERRED: libc::c_long = 1;
const NODES: usize = 1024;
/// Linux 5.14.
const MADV_POPULATE_WRITE: libc::c_int = 23;

/// Where memory lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The NUMA node of most of it; `None` if the kernel does not tell.
    pub node: Option<u32>,
    /// Octets on other nodes: that one was full, or the kernel did not let us choose.
    pub elsewhere: usize,
    /// Whether it is on huge pages that were set aside (`vm.nr_hugepages`).
    pub huge_pages: bool,
}

/// A mapping that is not undone by itself.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    /// Whole pages of the mapping's kind: `munmap` of huge ones wants that.
    bytes: usize,
    huge: bool,
}

impl Mapping {
    /// Maps at least so many octets, on the node if one is named, and keeps them out of core dumps.
    pub(crate) fn new(bytes: usize, node: Option<u32>) -> io::Result<Self> {
        let rounded = bytes.next_multiple_of(HUGE);
        // Small mappings would leave most of a huge page unused, which somebody set aside for more.
        let huge = (rounded - bytes <= bytes).then(|| Self::with(rounded, true, node));
        match huge {
            Some(Ok(mapping)) => Ok(mapping),
            Some(Err(_)) | None => Self::with(bytes.next_multiple_of(page_size()), false, node),
        }
    }

    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Undoes the mapping.
    ///
    /// # Safety
    /// Nobody may use the memory any more, nor call this twice.
    pub(crate) unsafe fn unmap(&self) {
        // SAFETY: base and bytes are what mmap gave; the caller says that no use is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }

    fn with(bytes: usize, huge: bool, node: Option<u32>) -> io::Result<Self> {
        let flags = if huge { libc::MAP_HUGETLB | MAP_HUGE_2MB } else { 0 };
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mmap returned address 0"))?;
        let mapping = Self { base, bytes, huge };
        if let Some(node) = node {
            mapping.prefer(node);
        }
        // SAFETY: the range was just mapped. Media must not end up in a core dump; failing that is no reason to stop.
        unsafe { libc::madvise(at, bytes, libc::MADV_DONTDUMP) };
        if let Err(error) = mapping.populate() {
            // SAFETY: nobody else knows of the mapping yet.
            unsafe { mapping.unmap() };
            return Err(error);
        }
        Ok(mapping)
    }

    /// Asks for a node. Containers often may not; then the pages are where the thread that touches them first is.
    fn prefer(&self, node: u32) {
        let mut nodes = [0_u64; NODES / 64];
        let Some(word) = nodes.get_mut(node as usize / 64) else { return };
        *word = 1 << (node % 64);
        // The kernel wants one bit more than it looks at.
        let most = NODES + 1;
        // SAFETY: the range is our mapping, and the mask has as many bits as the kernel reads of it.
        unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.base.as_ptr(),
                self.bytes,
                MPOL_PREFERRED,
                nodes.as_ptr(),
                most,
                0_usize,
            )
        };
    }

    /// Has all pages be there, by writing to them: the packet path takes no page faults.
    fn populate(&self) -> io::Result<()> {
        // SAFETY: the range is our mapping.
        let done = unsafe { libc::madvise(self.base.as_ptr().cast(), self.bytes, MADV_POPULATE_WRITE) };
        if done == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
        for offset in (0..self.bytes).step_by(page_size()) {
            // SAFETY: the offset lies in our mapping, of which nobody else knows yet.
            unsafe { self.base.add(offset).write_volatile(0) };
        }
        Ok(())
    }

    /// Where the pages are now.
    pub(crate) fn memory(&self) -> Memory {
        let step = if self.huge { HUGE } else { page_size() };
        let pages: Vec<_> = (0..self.bytes)
            .step_by(step)
            .map(|offset| self.base.as_ptr().wrapping_add(offset).cast::<libc::c_void>())
            .collect();
        let mut status = vec![-1_i32; pages.len()];
        let nowhere = std::ptr::null::<i32>();
        // SAFETY: with no target nodes the call moves nothing; it reads as many addresses and writes as many
        // states as it is told, which both lists have.
        let asked = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0,
                pages.len(),
                pages.as_ptr(),
                nowhere,
                status.as_mut_ptr(),
                0,
            )
        };
        status.retain(|node| *node >= 0);
        let unknown = Memory { huge_pages: self.huge, ..Memory::default() };
        if asked != 0 || status.is_empty() {
            return unknown;
        }
        status.sort_unstable();
        let most = status.chunk_by(|a, b| a == b).max_by_key(|pages| pages.len()).unwrap_or_default();
        let elsewhere = (status.len() - most.len()) * step;
        Memory { node: most.first().map(|node| *node as u32), elsewhere, ..unknown }
    }
}

fn page_size() -> usize {
    rustix::param::page_size()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

    /// Huge pages more than there were, as long as this lives.
    struct MorePages(u64);

    impl MorePages {
        fn set_aside(pages: u64) -> Option<Self> {
            let before: u64 = fs::read_to_string(HUGE_PAGES).ok()?.trim().parse().ok()?;
            fs::write(HUGE_PAGES, (before + pages).to_string()).ok()?;
            let raised = Self(before);
            let now: u64 = fs::read_to_string(HUGE_PAGES).ok()?.trim().parse().ok()?;
            (now >= before + pages).then_some(raised)
        }
    }

    impl Drop for MorePages {
        fn drop(&mut self) {
            let _ = fs::write(HUGE_PAGES, self.0.to_string());
        }
    }

    /// Octets of the mapping at this address that are on huge pages.
    fn on_huge_pages(at: *const u8) -> usize {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mapping = maps.split(&format!("{:x}-", at as usize)).nth(1).unwrap_or_default();
        let line = mapping.lines().find_map(|line| line.strip_prefix("Private_Hugetlb:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
        kilobytes.unwrap_or(0) << 10
    }

    #[test]
    fn memory_is_there_and_on_a_node() {
        let mapping = Mapping::new(3 << 20, Some(0)).unwrap();
        let memory = mapping.memory();
        if memory.node.is_none() {
            eprintln!("SKIP: this kernel does not tell where pages are");
        }
        assert_eq!((memory.node.unwrap_or(0), memory.elsewhere), (0, 0));
        // SAFETY: nobody uses it.
        unsafe { mapping.unmap() };
    }

    #[test]
    fn a_node_that_does_not_exist_is_no_reason_to_fail() {
        for node in [63, 900, u32::MAX] {
            let mapping = Mapping::new(1 << 16, Some(node)).unwrap();
            // SAFETY: nobody uses it.
            unsafe { mapping.unmap() };
        }
    }

    #[test]
    fn huge_pages_are_used_where_they_are_whatever_the_size() {
        // As many as this test needs; others that run beside it may take some, and leave it the small ones.
        let Some(_raised) = MorePages::set_aside(24) else {
            eprintln!(
                "SKIP: cannot set huge pages aside here (root, and 48 MiB of free memory in whole pieces)"
            );
            return;
        };
        let odd = (4 << 20) + 4096;
        let mapping = Mapping::new(odd, None).unwrap();
        assert!(mapping.memory().huge_pages, "there are huge pages, and they are not used");
        assert_eq!(on_huge_pages(mapping.base().as_ptr()), odd.next_multiple_of(HUGE));
        // A few small chunks are not worth one.
        let small = Mapping::new(64 << 10, None).unwrap();
        assert!(!small.memory().huge_pages);
        // SAFETY: nobody uses them.
        unsafe {
            mapping.unmap();
            small.unmap();
        }
    }
}
