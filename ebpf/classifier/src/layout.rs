//! What the XDP program and its loader agree on: map names, keys, values, sizes.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::{Endpoint, Policy};

/// The hash map [`LocalKey`] → [`LegEntry`].
pub const LEGS: &str = "LEGS";
/// The XSKMAP: receive queue → AF_XDP socket.
pub const SOCKETS: &str = "SOCKETS";
/// The per-CPU array [`crate::Counter`] → count of frames (`u64`).
pub const COUNTERS: &str = "COUNTERS";
/// The array of [`Relief`], one for each receive queue, which the queue's worker has in its memory.
pub const RELIEF: &str = "RELIEF";
/// The name of the XDP program.
pub const PROGRAM: &str = "sluice";

/// `BPF_F_MMAPABLE`: user space has the map's memory in its own.
pub const MMAPABLE: u32 = 1 << 10;
/// Receive queues that the XSKMAP has room for.
pub const MAX_QUEUES: u32 = 256;
/// Local ports that the map of legs has room for, unless the loader is told otherwise.
pub const MAX_LEGS: u32 = 65_536;

/// The longest frame that is redirected: a chunk of 4 KiB less the 256 octets that the kernel keeps in
/// front of a frame, less as many behind it for what protection appends (tag and MKI, 148 at most).
/// Longer ones reach the leg's kernel socket, unless the sockets take frames in several chunks.
pub const MAX_FRAME: usize = 4096 - 256 - 256;
/// The longest frame that is redirected in several chunks: they are gathered in one of 16 KiB, with the same room
/// in front and behind.
pub const MAX_GATHERED: usize = 16_384 - 256 - 256;

/// A leg's local transport address: the key of the map of legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct LocalKey {
    /// IPv6, or IPv4 mapped into it (`::ffff:a.b.c.d`).
    pub addr: [u8; 16],
    /// UDP port in network byte order.
    pub port: [u8; 2],
    /// Always zero: the kernel compares whole keys.
    pub pad: [u8; 2],
}

impl LocalKey {
    /// The key of an endpoint.
    #[inline(always)]
    pub const fn new(endpoint: &Endpoint) -> Self {
        Self { addr: endpoint.addr, port: endpoint.port.to_be_bytes(), pad: [0; 2] }
    }
}

impl From<SocketAddr> for LocalKey {
    fn from(local: SocketAddr) -> Self {
        Self::new(&Endpoint::from(local))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { addr: ip.octets(), port: address.port() }
    }
}

impl From<Endpoint> for SocketAddr {
    /// IPv4-mapped addresses become IPv4 again.
    fn from(endpoint: Endpoint) -> Self {
        Self::new(Ipv6Addr::from(endpoint.addr).to_canonical(), endpoint.port)
    }
}

/// How many RTCP packets of a receive queue may pass to the kernel's sockets instead of going to the AF_XDP socket's
/// ring. The worker of a queue that comes faster than it works writes it anew with every batch; the program counts it
/// down. A full ring drops the newest, whatever it is, while a leg's own socket has room for its RTCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Relief {
    /// Packets that may still pass; 0: all of the queue's media goes to the ring.
    pub left: u64,
    /// A cache line for each queue: its worker and the kernel write it often.
    pub pad: [u64; 7],
}

/// What the program knows of a leg's local port: the value of the map of legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct LegEntry {
    /// The number of the leg, for those who read the map; the program does not use it.
    pub leg: u32,
    /// The longest frame that is redirected: more than [`MAX_FRAME`] where frames may come in several buffers.
    pub max_frame: u32,
    /// What the port accepts.
    pub policy: Policy,
}

impl LegEntry {
    /// An entry for a leg.
    pub const fn new(leg: u32, policy: Policy) -> Self {
        Self { leg, max_frame: MAX_FRAME as u32, policy }
    }

    /// The same for an interface whose sockets take frames in several chunks.
    #[must_use]
    pub const fn gathered(mut self) -> Self {
        self.max_frame = MAX_GATHERED as u32;
        self
    }
}
