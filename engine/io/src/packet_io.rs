//! The one trait that the datapath sees, and what travels beside a frame's bytes.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use crate::{FrameBatch, Pool, Ring, RingRefused, Trouble, Waker};

/// The way a datagram came in or went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Path {
    /// An AF_XDP socket whose program is attached in the driver.
    XdpNative,
    /// An AF_XDP socket behind generic (SKB mode) XDP.
    XdpGeneric,
    /// A kernel UDP socket read and written through io_uring.
    IoUring,
    /// In-process queues: tests, capture files, benches.
    Memory,
    /// A ring in memory that is shared with a local application.
    Ring,
}

impl Path {
    /// All of them, each at its number.
    pub const ALL: [Self; 5] = [Self::XdpNative, Self::XdpGeneric, Self::IoUring, Self::Memory, Self::Ring];
}

/// The two transport components of a leg (RFC 3550 §11: RTP on one port, RTCP on another;
/// RFC 5761 puts both on the RTP component).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Component {
    /// RTP, and RTCP where `rtcp-mux` is in use.
    Rtp = 0,
    /// RTCP on its own port.
    Rtcp = 1,
}

/// Names a kernel socket or a ring towards a [`PacketIo`]: the worker's leg number and the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketToken {
    /// The worker's number of the leg.
    pub leg: u32,
    /// Which of the leg's two sockets.
    pub component: Component,
}

/// Where a received datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Destination of the datagram: the leg's local transport address.
    pub local: SocketAddr,
    /// Source of the datagram.
    pub remote: SocketAddr,
    /// The kernel socket it was read from; `None` from AF_XDP, where `local` names the leg.
    pub socket: Option<SocketToken>,
    /// How it came.
    pub path: Path,
    /// `CLOCK_MONOTONIC` nanoseconds at which the receive call returned it.
    pub received_at: u64,
}

/// A resolved layer-2 next hop, learnt through [`crate::netlink`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The interface that carries the frame (the VLAN's parent if `vlan` is set).
    pub ifindex: u32,
    /// Source MAC address.
    pub source: [u8; 6],
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// 802.1Q tag to put on the frame: VLAN id, 1–4094.
    pub vlan: Option<u16>,
    /// Largest IP packet in bytes that the interface and the path take, as far as the kernel knows.
    pub mtu: u32,
}

/// How a frame is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxMeta {
    /// The kernel socket to send from when no AF_XDP socket can take the frame.
    pub socket: SocketToken,
    /// Source transport address (the leg's local address).
    pub local: SocketAddr,
    /// Destination transport address.
    pub remote: SocketAddr,
    /// Layer-2 next hop; `None` while unresolved: the kernel then resolves and sends.
    pub next_hop: Option<NextHop>,
    /// DSCP code point, 0–63.
    pub dscp: u8,
}

impl TxMeta {
    const UDP: usize = 8;
    const IPV4: usize = 20;
    const IPV6: usize = 40;

    /// Octets of the IP packet that carries so much UDP payload.
    #[inline]
    pub fn packet_len(&self, payload: usize) -> usize {
        Self::packet_len_to(self.remote.ip(), payload)
    }

    /// The same of an IP packet to this address.
    #[inline]
    pub const fn packet_len_to(remote: IpAddr, payload: usize) -> usize {
        let ip = if remote.to_canonical().is_ipv4() { Self::IPV4 } else { Self::IPV6 };
        payload + Self::UDP + ip
    }

    /// The largest IP packet towards the peer, if so much UDP payload makes a larger one. While the next hop is
    /// not known the kernel is asked, which refuses what it would have to fragment.
    #[inline]
    pub fn exceeded(&self, payload: usize) -> Option<u32> {
        let mtu = self.next_hop?.mtu;
        (self.packet_len(payload) > mtu as usize).then_some(mtu)
    }
}

/// Packet I/O of one worker. Implementations: AF_XDP and io_uring together in [`crate::live::LiveIo`],
/// and [`crate::memory::MemoryIo`].
pub trait PacketIo {
    /// Starts receiving on a kernel socket. The socket is bound and non-blocking.
    fn register(&mut self, token: SocketToken, socket: Arc<UdpSocket>) -> std::io::Result<()>;

    /// Stops receiving on a socket or ring and forgets it. Unknown tokens are ignored.
    fn unregister(&mut self, token: SocketToken);

    /// Starts receiving from a ring; what is sent to [`crate::application_address`] of the leg goes there. A ring that
    /// the leg had before is dropped.
    fn attach_ring(&mut self, token: SocketToken, ring: Box<Ring>) -> Result<(), RingRefused>;

    /// Gives the leg's ring up, whose application is gone: once all that it has put there is received, and on another
    /// thread, as that takes as long as it is large.
    fn end_ring(&mut self, token: SocketToken);

    /// Gives the leg's ring back, with all that is in it.
    fn detach_ring(&mut self, token: SocketToken) -> Option<Box<Ring>>;

    /// Appends received datagrams to `rx` until it is full or nothing is left; never blocks.
    /// Each frame's payload is the UDP payload and its [`crate::Frame::ingress`] is set.
    fn receive(&mut self, pool: &mut Pool, rx: &mut FrameBatch);

    /// Sends every frame of `tx` (payload: the UDP payload, [`crate::Frame::egress`]: how) and takes
    /// them all; chunks return to `pool` when the kernel is done with them. A frame that cannot
    /// be sent is counted in [`PacketIo::counters`] and freed.
    fn transmit(&mut self, pool: &mut Pool, tx: &mut FrameBatch);

    /// Blocks until there is something to receive, a [`Waker`] fired, or `timeout` passed.
    fn wait(&mut self, timeout: Duration);

    /// A handle by which another thread ends [`PacketIo::wait`].
    fn waker(&self) -> Waker;

    /// Asks the kernel what it dropped because nobody took it in time, of some sockets at a time. To be called every few
    /// milliseconds; costs a few system calls.
    fn survey(&mut self);

    /// What this worker's I/O has done so far.
    fn counters(&self) -> IoCounters;

    /// The next piece of news of datagrams that were handed over. Few are kept; of those that are lost only the
    /// counters know.
    fn take_trouble(&mut self) -> Option<Trouble> {
        None
    }
}

/// Totals since start; the worker copies them into its published statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Datagrams received, indexed by [`Path`] as `usize`.
    pub received: [u64; Path::ALL.len()],
    /// Datagrams sent, indexed by [`Path`] as `usize`.
    pub sent: [u64; Path::ALL.len()],
    /// Frames that could not be sent: ring full or send error.
    pub send_failed: u64,
    /// Frames that were not sent since they are larger than the path or the ring takes, beside those of which
    /// [`PacketIo::take_trouble`] tells.
    pub send_too_big: u64,
    /// Received datagrams cut off because they are larger than a chunk; dropped.
    pub receive_truncated: u64,
    /// Times that receiving paused because the pool had no free chunk.
    pub pool_empty: u64,
    /// Times that a kernel socket's datagrams had to wait because all buffers to receive into were full.
    pub buffers_empty: u64,
    /// Frames delivered by AF_XDP in which no UDP datagram was found; dropped.
    pub receive_malformed: u64,
    /// Errors that kernel sockets were told of (ICMP unreachable and the like).
    pub socket_errors: u64,
    /// Frames that the kernel dropped because an AF_XDP socket had no chunk or no descriptor free for them, as of the last
    /// [`PacketIo::survey`].
    pub ring_dropped: u64,
    /// Datagrams that the kernel dropped because the queue of their UDP socket was full, as of the last
    /// [`PacketIo::survey`] that got to the socket, and since it was registered.
    pub socket_dropped: u64,
    /// Datagrams received by AF_XDP in several chunks and put together.
    pub gathered: u64,
    /// Datagrams received by AF_XDP in several chunks and dropped: no large chunk was free, or they are larger.
    pub gather_failed: u64,
    /// Datagrams sent by AF_XDP in several chunks.
    pub split: u64,
    /// Packets for local applications that did not keep up.
    pub ring_full: u64,
    /// Packets for local applications that no slot of their ring is large enough for.
    pub ring_too_large: u64,
}

impl IoCounters {
    /// What the kernel dropped because this worker did not take it in time.
    pub const fn overflowed(&self) -> u64 {
        self.ring_dropped + self.socket_dropped
    }
}

impl std::ops::AddAssign for IoCounters {
    fn add_assign(&mut self, other: Self) {
        for path in 0..self.received.len() {
            self.received[path] += other.received[path];
            self.sent[path] += other.sent[path];
        }
        self.send_failed += other.send_failed;
        self.send_too_big += other.send_too_big;
        self.receive_truncated += other.receive_truncated;
        self.pool_empty += other.pool_empty;
        self.buffers_empty += other.buffers_empty;
        self.receive_malformed += other.receive_malformed;
        self.socket_errors += other.socket_errors;
        self.ring_dropped += other.ring_dropped;
        self.socket_dropped += other.socket_dropped;
        self.gathered += other.gathered;
        self.gather_failed += other.gather_failed;
        self.split += other.split;
        self.ring_full += other.ring_full;
        self.ring_too_large += other.ring_too_large;
    }
}
