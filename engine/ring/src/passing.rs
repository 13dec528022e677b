//! Sockets over which nobody passes descriptors to this process.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `SO_PASSRIGHTS` of Linux 6.16, the same on all architectures but those that number socket options their own way.
const PASS_RIGHTS: libc::c_int = 83;

/// Refuses descriptors that somebody passes over a Unix socket (SCM_RIGHTS): the sender gets an error. Otherwise a
/// receiver that does not want them closes them, in its own thread, and whoever sent them decides how long that takes:
/// a TCP socket that lingers takes as long as it was told to.
///
/// Whether the kernel knows how to; before Linux 6.16 it does not.
pub fn refuse_descriptors(socket: impl AsFd) -> io::Result<bool> {
    let off: libc::c_int = 0;
    let (length, socket) = (size_of_val(&off) as libc::socklen_t, socket.as_fd().as_raw_fd());
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel reads so many octets of `off`, no more.
    let done =
        unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, PASS_RIGHTS, (&raw const off).cast(), length) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOPROTOOPT) { Ok(false) } else { Err(error) }
}
