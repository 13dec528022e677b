//! Notices that routes, neighbours, links or addresses changed.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::RecvFlags;

use super::{NetlinkError, Resolver};
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
        self.changed_unless(|_| false)
    }

    /// The same, but for neighbours that are what `resolver` found: those in use are checked every few seconds, and
    /// that would have all peers looked up as often.
    pub fn changed_for(&mut self, resolver: &Resolver) -> bool {
        self.changed_unless(|neighbour| resolver.is_known(neighbour))
    }

    fn changed_unless(&mut self, is_known: impl Fn(&NeighbourMessage) -> bool) -> bool {
        let mut changed = false;
        let mut message = [0_u8; 512];
        loop {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            match rustix::net::recv(&self.socket, message.as_mut_slice(), flags) {
                // What exactly else changed does not matter, so that one cut short is as good as a whole one.
                Ok((_, length)) => {
                    changed |= !neighbour(message.get(..length)).is_some_and(|known| is_known(&known));
                }
                // Notifications were lost, since there were many.
                Err(rustix::io::Errno::NOBUFS) => changed = true,
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

/// The neighbour, if that is all that a notification is about.
fn neighbour(notification: Option<&[u8]>) -> Option<NeighbourMessage> {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(notification?).ok()?;
    match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(neighbour))
            if message.header.length as usize == notification?.len() =>
        {
            Some(neighbour)
        }
        _ => None,
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
