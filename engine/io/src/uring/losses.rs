//! What the kernel dropped at UDP sockets because their queues were full.

use std::io;
use std::os::fd::RawFd;

use super::{Receiver, UringIo};

/// Sockets asked in one go: some ten microseconds.
const BUDGET: usize = 64;
/// `SK_MEMINFO_DROPS` of `linux/sock_diag.h`, and how many values there are.
const DROPS: usize = 8;
const VALUES: usize = 9;

impl UringIo {
    /// Asks the kernel what some of the sockets dropped, others the next time.
    pub fn survey(&mut self) {
        for _ in 0..BUDGET.min(self.receivers.len()) {
            self.surveyed = (self.surveyed + 1) % self.receivers.len();
            if let Some(receiver) = &mut self.receivers[self.surveyed] {
                self.counters.socket_dropped += u64::from(receiver.losses.since_last());
            }
        }
    }

    /// A socket is about to be let go.
    pub(super) fn survey_last(&mut self, mut receiver: Receiver) {
        self.counters.socket_dropped += u64::from(receiver.losses.since_last());
    }
}

/// What a socket has dropped.
pub(super) struct Losses {
    fd: RawFd,
    seen: u32,
}

impl Losses {
    /// From now on. The descriptor must stay open as long as this is asked.
    pub(super) fn of(fd: RawFd) -> Self {
        Self { fd, seen: drops(fd).unwrap_or(0) }
    }

    fn since_last(&mut self) -> u32 {
        // A socket that does not tell is taken to have dropped nothing more.
        let now = drops(self.fd).unwrap_or(self.seen);
        now.wrapping_sub(std::mem::replace(&mut self.seen, now))
    }
}

fn drops(fd: RawFd) -> io::Result<u32> {
    let mut values = [0_u32; VALUES];
    let mut len = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most len octets to values, which any octets are valid for.
    let got = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, values.as_mut_ptr().cast(), &raw mut len)
    };
    if got == 0 { Ok(values[DROPS]) } else { Err(io::Error::last_os_error()) }
}
