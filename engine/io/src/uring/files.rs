//! Fixed files: descriptors that the ring knows by number, so that no send has to look one up.

use std::os::fd::RawFd;

use io_uring::squeue::Entry;
use io_uring::{Submitter, opcode, types};
use rustix::process::{Resource, getrlimit};

/// The most sockets that get a number; others work by their descriptors. Each costs the kernel some octets.
const MOST: u64 = 1 << 17;

/// The table of fixed files. A socket's number is its place among the receivers.
pub(super) struct Files {
    size: u32,
}

/// How an operation names a socket.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Fixed(types::Fixed),
    Descriptor(types::Fd),
}

impl Files {
    /// An empty table as large as the kernel allows: no larger than the limit of open files. None where the kernel
    /// has none.
    pub(super) fn register(submitter: &Submitter<'_>) -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(MOST);
        let size = limit.min(MOST) as u32;
        let registered = submitter.register_files_sparse(size).is_ok();
        Self { size: if registered { size } else { 0 } }
    }

    /// Gives the socket the number of its place.
    pub(super) fn set(&self, submitter: &Submitter<'_>, place: u32, fd: RawFd) -> Target {
        let known =
            place < self.size && submitter.register_files_update(place, &[fd]).is_ok_and(|set| set == 1);
        if known { Target::Fixed(types::Fixed(place)) } else { Target::Descriptor(types::Fd(fd)) }
    }

    /// Lets go of a socket: it is closed with the last operation on it.
    pub(super) fn clear(submitter: &Submitter<'_>, target: Target) {
        if let Target::Fixed(types::Fixed(place)) = target {
            // An entry that stays keeps a socket open that nobody reads; its place is overwritten by the next.
            let _ = submitter.register_files_update(place, &[-1]);
        }
    }
}

impl Target {
    /// A multishot receive.
    pub(super) fn receive(self, header: *const libc::msghdr, group: u16) -> Entry {
        match self {
            Self::Fixed(file) => opcode::RecvMsgMulti::new(file, header, group).build(),
            Self::Descriptor(fd) => opcode::RecvMsgMulti::new(fd, header, group).build(),
        }
    }

    /// A send that does not wait.
    pub(super) fn send(self, header: *const libc::msghdr) -> Entry {
        // MSG_DONTWAIT: a full socket buffer drops the packet now instead of delaying those behind it.
        let flags = libc::MSG_DONTWAIT as u32;
        match self {
            Self::Fixed(file) => opcode::SendMsg::new(file, header).flags(flags).build(),
            Self::Descriptor(fd) => opcode::SendMsg::new(fd, header).flags(flags).build(),
        }
    }
}
