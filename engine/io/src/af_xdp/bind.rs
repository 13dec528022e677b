//! The system calls that make an AF_XDP socket: creation, options, binding.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::socket::XskError;
use crate::{Pool, SMALL};

/// A queue stays busy for some 20 ms after its last socket was closed.
const REBIND: Duration = Duration::from_millis(250);
/// Packets in several chunks (linux/if_xdp.h, Linux 6.6).
const XDP_USE_SG: u16 = 1 << 4;

/// The way of frames between a driver and the UMEM, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum XskMode {
    /// The driver reads and writes the UMEM itself.
    ZeroCopy,
    /// The kernel copies between the driver's memory and the UMEM.
    Copy,
    /// The same, behind generic XDP: the kernel has made a socket buffer before.
    Generic,
}

impl XskMode {
    /// A name for tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
            Self::Generic => "generic",
        }
    }
}

/// How a socket was bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) mode: XskMode,
    /// Whether packets come and go in several chunks.
    pub(super) multi_buffer: bool,
}

pub(super) fn create() -> Result<OwnedFd, XskError> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd >= 0 {
        // SAFETY: the descriptor is new and nobody else's.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => XskError::NotPermitted(error),
        _ => XskError::Setup { step: "socket(AF_XDP)", source: error },
    })
}

pub(super) fn register_umem(fd: i32, pool: &Pool) -> Result<(), XskError> {
    let (base, bytes) = pool.umem();
    // SAFETY: all-zero is a valid xdp_umem_reg.
    let mut registration: libc::xdp_umem_reg = unsafe { std::mem::zeroed() };
    registration.addr = base.as_ptr() as u64;
    registration.len = bytes as u64;
    registration.chunk_size = SMALL as u32;
    set(fd, libc::XDP_UMEM_REG, &registration).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOBUFS | libc::ENOMEM) => XskError::Memlock(error),
        _ => XskError::Setup { step: "XDP_UMEM_REG", source: error },
    })
}

/// Binds a socket with a UMEM of its own in the best way that the driver and the kernel take: without copies before
/// with, and with packets of several chunks before without. The driver's own queues know nothing of a program that is
/// attached generically.
pub(super) fn bind(fd: i32, ifindex: u32, queue: u32, generic: bool) -> Result<Bound, XskError> {
    const ALWAYS: u16 = libc::XDP_USE_NEED_WAKEUP;
    let modes = [
        libc::XDP_ZEROCOPY | XDP_USE_SG,
        libc::XDP_ZEROCOPY,
        // Linux 6.6.
        libc::XDP_COPY | XDP_USE_SG,
        libc::XDP_COPY,
    ];
    let modes = if generic { &modes[2..] } else { &modes[..] };
    let mut outcome = None;
    for mode in modes {
        match patiently(|| bind_once(fd, ifindex, queue, mode | ALWAYS, None)) {
            Ok(()) => {
                let mode_of = |zero_copy| match (generic, zero_copy) {
                    (true, _) => XskMode::Generic,
                    (false, true) => XskMode::ZeroCopy,
                    (false, false) => XskMode::Copy,
                };
                let multi_buffer = mode & XDP_USE_SG != 0;
                return Ok(Bound { mode: mode_of(mode & libc::XDP_ZEROCOPY != 0), multi_buffer });
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                return Err(XskError::Busy { ifindex, queue });
            }
            Err(error) => outcome = Some(error),
        }
    }
    Err(refused(ifindex, queue, outcome.unwrap_or_else(|| io::ErrorKind::Unsupported.into())))
}

/// Binds a socket to the UMEM of another one, in whose way it then works: flags would be refused, the wish to be
/// woken up included, which it takes over as well.
pub(super) fn bind_shared(fd: i32, ifindex: u32, queue: u32, other: i32) -> Result<(), XskError> {
    let bound = patiently(|| bind_once(fd, ifindex, queue, libc::XDP_SHARED_UMEM, Some(other)));
    bound.map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => XskError::Busy { ifindex, queue },
        _ => refused(ifindex, queue, error),
    })
}

fn refused(ifindex: u32, queue: u32, source: io::Error) -> XskError {
    match source.raw_os_error() {
        Some(libc::EINVAL | libc::ENODEV) => XskError::NoQueue { ifindex, queue, source },
        _ => XskError::Setup { step: "bind", source },
    }
}

/// Tries again for as long as a queue may be busy after its last socket was closed.
fn patiently(mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let until = Instant::now() + REBIND;
    loop {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

fn bind_once(fd: i32, ifindex: u32, queue: u32, flags: u16, shared: Option<i32>) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shared.unwrap_or(0) as u32,
    };
    let len = size_of_val(&address) as u32;
    // SAFETY: the address is a sockaddr_xdp of the length that is passed, and lives through the call.
    let bound = unsafe { libc::bind(fd, (&raw const address).cast(), len) };
    if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn set<T>(fd: i32, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as u32;
    // SAFETY: the value is a plain struct of the length that is passed, and lives through the call.
    let done = unsafe { libc::setsockopt(fd, libc::SOL_XDP, option, std::ptr::from_ref(value).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn offsets(fd: i32) -> io::Result<libc::xdp_mmap_offsets> {
    get(fd, libc::XDP_MMAP_OFFSETS)
}

pub(super) fn statistics(fd: i32) -> io::Result<libc::xdp_statistics> {
    get(fd, libc::XDP_STATISTICS)
}

/// Reads an option, which must be a plain struct of the kernel's.
fn get<T: Answer>(fd: i32, option: libc::c_int) -> io::Result<T> {
    // SAFETY: Answer is implemented for C structs of integers only, of which all-zero is a valid value.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&value) as u32;
    // SAFETY: the kernel writes at most len octets to value.
    let got = unsafe { libc::getsockopt(fd, libc::SOL_XDP, option, (&raw mut value).cast(), &raw mut len) };
    if got == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// A C struct of integers: any octets are a valid value.
trait Answer {}
impl Answer for libc::xdp_mmap_offsets {}
impl Answer for libc::xdp_statistics {}
