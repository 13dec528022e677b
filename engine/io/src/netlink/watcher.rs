//! Notices that routes, neighbours, links or addresses changed.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::RecvFlags;

use super::NetlinkError;
use crate::poll;

/// Links, neighbours, addresses, routes and rules of IPv4 and IPv6, and next-hop objects (`RTNLGRP_*`).
const GROUPS: [u32; 9] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_NEXTHOP,
];

/// Says that a next hop may have changed and has to be resolved anew; in the network namespace of the
/// thread that opened it.
#[derive(Debug)]
pub struct Watcher {
    socket: Socket,
}

impl Watcher {
    /// Subscribes to the kernel's notifications.
    pub fn open() -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in GROUPS {
                socket.add_membership(group)?;
            }
            Ok(Self { socket })
        };
        open().map_err(NetlinkError::Open)
    }

    /// Whether anything changed since the last call; does not block.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        // What exactly changed does not matter, so that a notification cut short is as good as a whole one.
        let mut message = [0_u8; 64];
        loop {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            match rustix::net::recv(&self.socket, message.as_mut_slice(), flags) {
                // NOBUFS: notifications were lost, since there were many.
                Ok(_) | Err(rustix::io::Errno::NOBUFS) => changed = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return changed,
            }
        }
    }

    /// Waits for a change, at most `timeout`; whether there was one.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        poll::wait(&[self.socket.as_fd()], timeout);
        self.changed()
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
