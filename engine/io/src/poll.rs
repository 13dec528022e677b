//! Blocking until any of several descriptors is ready.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use arrayvec::ArrayVec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Most descriptors of one worker: its io_uring, its waker, the doorbells of shared rings and its AF_XDP sockets.
pub(crate) const MAX_FDS: usize = 67;

/// Blocks until one of the first [`MAX_FDS`] descriptors is readable, or until the time is over.
/// For AF_XDP sockets the call also refills the ring (`need_wakeup`).
pub(crate) fn wait(fds: &[BorrowedFd<'_>], timeout: Duration) {
    let mut set: ArrayVec<PollFd<'_>, MAX_FDS> =
        fds.iter().take(MAX_FDS).map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
    // Interrupted is as good as ready: the caller looks at everything anyway.
    let _ = poll(&mut set, Some(&timeout));
}
