//! One AF_XDP socket: bound to a queue of an interface, over a UMEM that it may share.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::bind::{self, Bound, XskMode};
use super::gather::Gathering;
use super::headers;
use super::pressure::Pressure;
use super::ring::{Layout, Ring};
use sluice_classifier::layout::MAX_FRAME;

use crate::clock::now;
use crate::xdp::Relief;
use crate::{Frame, FrameBatch, Ingress, IoCounters, NextHop, Path, Pool, PoolConfig, SMALL, TxMeta};

const RING: u32 = 1024;
/// How many packets the kernel sends per kick before it says EAGAIN (`XDP_MAX_TX_SKB_BUDGET`, Linux 6.17).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
const TX_BUDGET: u32 = 256;
/// More chunks of the same packet follow (linux/if_xdp.h).
const XDP_PKT_CONTD: u32 = 1;

/// Why there is no AF_XDP socket on a queue.
#[derive(Debug, thiserror::Error)]
pub enum XskError {
    /// The process may not have one.
    #[error("AF_XDP sockets need CAP_NET_RAW ({0}): start sluice as root or with that capability")]
    NotPermitted(io::Error),
    /// The UMEM counts against a limit.
    #[error("the UMEM exceeds the memlock limit ({0}): raise LimitMEMLOCK or grant CAP_IPC_LOCK")]
    Memlock(io::Error),
    /// The interface has no such queue, or no AF_XDP at all.
    #[error("interface {ifindex} has no queue {queue} for AF_XDP ({source})")]
    NoQueue {
        /// The interface.
        ifindex: u32,
        /// The queue.
        queue: u32,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Another socket has the queue.
    #[error("queue {queue} of interface {ifindex} is taken by another AF_XDP socket: stop that program")]
    Busy {
        /// The interface.
        ifindex: u32,
        /// The queue.
        queue: u32,
    },
    /// Anything else.
    #[error("cannot set up an AF_XDP socket: {step}: {source}")]
    Setup {
        /// What was being done.
        step: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// The chunks that the kernel works on, by number: every chunk is either in the pool, in a frame, or here.
pub(crate) struct Umem {
    /// Each with the number of the socket whose rings it is in.
    held: Vec<Option<(u32, Frame)>>,
    /// Sockets there were so far.
    sockets: u32,
}

impl Umem {
    pub(crate) fn new(pool: &Pool) -> Self {
        Self { held: (0..pool.config().small).map(|_| None).collect(), sockets: 0 }
    }

    /// What it takes.
    pub(crate) const fn bytes(pool: PoolConfig) -> usize {
        pool.small as usize * size_of::<Option<(u32, Frame)>>()
    }

    fn hold(&mut self, socket: u32, frame: Frame) -> u64 {
        let address = u64::from(frame.chunk) * SMALL as u64;
        let place = frame.chunk as usize;
        if let Some(slot) = self.held.get_mut(place) {
            *slot = Some((socket, frame));
        }
        address
    }

    fn take(&mut self, address: u64) -> Option<Frame> {
        let (_, frame) = self.held.get_mut((address / SMALL as u64) as usize)?.take()?;
        Some(frame)
    }

    /// Gives back what a closed socket had; how many of those were still to be sent.
    fn reclaim(&mut self, socket: u32, pool: &mut Pool) -> u64 {
        let mut unsent = 0;
        for slot in &mut self.held {
            if let Some((_, frame)) = slot.take_if(|(owner, _)| *owner == socket) {
                unsent += u64::from(frame.egress().is_some());
                pool.free(frame);
            }
        }
        unsent
    }

    /// Gives everything back; only once every socket is closed.
    pub(crate) fn release(self, pool: &mut Pool) {
        self.held.into_iter().flatten().for_each(|(_, frame)| pool.free(frame));
    }
}

/// Whether a socket can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    /// The interface is down, and may come up again.
    Down,
    /// The kernel unbound the socket: its interface is gone.
    Gone,
}

/// A bound socket with its four rings.
pub struct XskSocket {
    fill: Ring<u64>,
    completion: Ring<u64>,
    rx: Ring<libc::xdp_desc>,
    tx: Ring<libc::xdp_desc>,
    // After the rings: their mappings keep the queue busy.
    fd: OwnedFd,
    ifindex: u32,
    queue: u32,
    bound: Bound,
    path: Path,
    /// A packet of several chunks of which the end has not come yet.
    gathering: Gathering,
    queued: u32,
    /// This socket's number in the UMEM.
    number: u32,
    health: Health,
    /// Chunks that the kernel has to receive into or has filled, when all is well.
    level: u32,
    /// Those that it has. They need not be in the fill ring: drivers, and the kernel's own pool, take entries from there
    /// long before something is received into them.
    given: u32,
    pressure: Pressure,
    /// What the kernel dropped, as of the last survey.
    dropped: u64,
}

impl XskSocket {
    /// Opens a socket on a queue. It shares the UMEM of another one of the same interface, or registers the pool's
    /// small chunks anew: those who share a UMEM share a mode, and the modes of interfaces differ. Where the limit
    /// of locked memory does not allow that, it shares another interface's.
    pub(crate) fn open(
        pool: &Pool,
        umem: &mut Umem,
        others: &[Self],
        place: (u32, u32),
        path: Path,
    ) -> Result<Self, XskError> {
        let sibling = others.iter().find(|other| other.ifindex == place.0);
        match (Self::open_over(pool, umem, sibling, place, path), others.first()) {
            (Err(XskError::Memlock(_)), Some(other)) => Self::open_over(pool, umem, Some(other), place, path),
            (outcome, _) => outcome,
        }
    }

    fn open_over(
        pool: &Pool,
        umem: &mut Umem,
        other: Option<&Self>,
        (ifindex, queue): (u32, u32),
        path: Path,
    ) -> Result<Self, XskError> {
        let fd = bind::create()?;
        let raw = fd.as_raw_fd();
        if other.is_none() {
            bind::register_umem(raw, pool)?;
        }
        for option in
            [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING]
        {
            bind::set(raw, option, &RING).map_err(|source| XskError::Setup { step: "ring size", source })?;
        }
        // Older kernels have the fixed budget of 32; EAGAIN is handled anyway.
        let _ = bind::set(raw, XDP_MAX_TX_SKB_BUDGET, &TX_BUDGET);
        let offsets =
            bind::offsets(raw).map_err(|source| XskError::Setup { step: "ring offsets", source })?;
        let mapped = |offset: &libc::xdp_ring_offset, page: u64| Layout {
            producer: offset.producer as usize,
            consumer: offset.consumer as usize,
            flags: offset.flags as usize,
            descriptors: offset.desc as usize,
            page_offset: page as i64,
        };
        let step = |source| XskError::Setup { step: "mapping rings", source };
        let unbound = Bound { mode: XskMode::Copy, multi_buffer: false };
        let mut socket = Self {
            fill: Ring::map(raw, mapped(&offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING), RING).map_err(step)?,
            completion: Ring::map(raw, mapped(&offsets.cr, libc::XDP_UMEM_PGOFF_COMPLETION_RING), RING)
                .map_err(step)?,
            rx: Ring::map(raw, mapped(&offsets.rx, libc::XDP_PGOFF_RX_RING as u64), RING).map_err(step)?,
            tx: Ring::map(raw, mapped(&offsets.tx, libc::XDP_PGOFF_TX_RING as u64), RING).map_err(step)?,
            fd,
            ifindex,
            queue,
            bound: other.map_or(unbound, |other| other.bound),
            path,
            gathering: Gathering::default(),
            queued: 0,
            number: umem.sockets,
            health: Health::Good,
            level: 0,
            given: 0,
            pressure: Pressure::default(),
            dropped: 0,
        };
        match other {
            Some(other) => bind::bind_shared(raw, ifindex, queue, other.fd.as_raw_fd())?,
            None => socket.bound = bind::bind(raw, ifindex, queue, path == Path::XdpGeneric)?,
        }
        umem.sockets += 1;
        Ok(socket)
    }

    /// What it takes, its four rings and their heads included.
    pub(crate) const BYTES: usize =
        size_of::<Self>() + RING as usize * 2 * (size_of::<u64>() + size_of::<libc::xdp_desc>()) + 4 * 4096;

    /// Interface and queue.
    pub const fn place(&self) -> (u32, u32) {
        (self.ifindex, self.queue)
    }

    /// The way of frames between the driver and our memory.
    pub const fn mode(&self) -> XskMode {
        self.bound.mode
    }

    /// Whether packets larger than a chunk come and go, in several.
    pub const fn is_multi_buffer(&self) -> bool {
        self.bound.multi_buffer
    }

    /// Frames that the kernel dropped for want of a chunk or a descriptor, as of the last [`Self::survey`].
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Asks the kernel what it dropped.
    pub(crate) fn survey(&mut self) {
        // The kernel refuses this to nobody; what was known before stays true at the least.
        if let Ok(statistics) = bind::statistics(self.fd.as_raw_fd()) {
            self.dropped = statistics.rx_dropped + statistics.rx_ring_full;
        }
    }

    /// By which RTCP goes past the ring while that is about to overflow.
    pub(crate) fn relieve(&mut self, relief: Relief) {
        self.pressure.relieve(relief);
    }

    /// Whether more comes, or came a moment ago, than is taken.
    pub(crate) const fn is_pressed(&self) -> bool {
        self.pressure.is_on()
    }

    /// Whether its interface is gone, for good.
    pub(crate) fn is_gone(&self) -> bool {
        self.health == Health::Gone
    }

    /// Closes the socket and gives its chunks back; how many frames it had not sent yet.
    pub(crate) fn close(mut self, pool: &mut Pool, umem: &mut Umem) -> u64 {
        let (number, gathering) = (self.number, std::mem::take(&mut self.gathering));
        // First of all: the kernel must have let go of the chunks.
        drop(self);
        gathering.free(pool);
        umem.reclaim(number, pool)
    }

    /// Gives the kernel chunks to receive into, until it has `level` of them, those filled but not yet taken
    /// included, or the pool has no more.
    pub(crate) fn refill(&mut self, pool: &mut Pool, umem: &mut Umem, level: u32) {
        self.level = level.min(RING);
        let want = self.level.saturating_sub(self.given);
        for _ in 0..want {
            // There is room: what is in the ring was given, and that is no more than the ring holds.
            let Some(frame) = pool.alloc_small() else { break };
            let address = umem.hold(self.number, frame);
            self.given += u32::from(self.fill.produce(address));
        }
        if want > 0 {
            self.fill.publish();
        }
        // A driver that works on our memory stops when it finds the ring empty, and says so.
        if want > 0 && self.fill.needs_wakeup() {
            self.ask_for_more();
        }
    }

    /// Appends what arrived to `rx`. While more comes than is taken, `taken` of the queue's RTCP packets come by the
    /// kernel's sockets with each batch.
    pub(crate) fn receive(
        &mut self,
        pool: &mut Pool,
        umem: &mut Umem,
        rx: &mut FrameBatch,
        taken: u64,
        counters: &mut IoCounters,
    ) {
        let received_at = now();
        let free = self.given.saturating_sub(self.rx.ready());
        self.pressure.note((free, self.level), taken, received_at);
        while !rx.is_full() {
            let Some(descriptor) = self.rx.consume() else { break };
            self.given = self.given.saturating_sub(1);
            let Some(mut frame) = umem.take(descriptor.addr) else { continue };
            let start = (descriptor.addr % SMALL as u64) as usize;
            if !frame.set_window(start, descriptor.len as usize) {
                counters.receive_malformed += 1;
                pool.free(frame);
                continue;
            }
            let more = descriptor.options & XDP_PKT_CONTD != 0;
            if more || self.gathering.is_under_way() || frame.len() > MAX_FRAME {
                match self.gathering.add(pool, frame, more, counters) {
                    Some(whole) => frame = whole,
                    None => continue,
                }
            }
            let start = frame.start();
            match sluice_classifier::locate(frame.payload()) {
                Ok(found) if frame.set_window(start + found.payload, found.length) => {
                    counters.received[self.path as usize] += 1;
                    frame.set_ingress(Ingress {
                        local: found.destination.into(),
                        remote: found.source.into(),
                        socket: None,
                        path: self.path,
                        received_at,
                    });
                    if let Err(frame) = rx.push(frame) {
                        pool.free(frame);
                    }
                }
                _ => {
                    counters.receive_malformed += 1;
                    pool.free(frame);
                }
            }
        }
        self.rx.release();
    }

    /// Queues a frame behind its headers. Gives it back if the ring is full, headers do not fit, or it takes several
    /// chunks that are not to be had.
    #[allow(clippy::result_large_err, reason = "the error is the frame itself, which must not be lost")]
    pub(crate) fn send(
        &mut self,
        pool: &mut Pool,
        umem: &mut Umem,
        mut frame: Frame,
        (meta, hop): (&TxMeta, &NextHop),
        counters: &mut IoCounters,
    ) -> Result<(), Frame> {
        let pieces =
            if frame.is_small() { 1 } else { (headers::LONGEST + frame.len()).div_ceil(SMALL) as u32 };
        let can = self.health == Health::Good
            && self.tx.has_room(pieces)
            && (frame.is_small() || (pieces == 1 || self.bound.multi_buffer) && pool.available().0 >= pieces);
        if !can || !headers::prepend(&mut frame, meta, hop) {
            return Err(frame);
        }
        if frame.is_small() {
            self.queue(umem, frame, false);
            return Ok(());
        }
        let mut rest = frame.payload();
        while let (piece @ [_, ..], behind) = rest.split_at(rest.len().min(SMALL)) {
            // There are as many as were asked for.
            let Some(mut chunk) = pool.alloc_small() else { break };
            chunk.set_window(0, piece.len());
            chunk.payload_mut().copy_from_slice(piece);
            if rest.len() == frame.len() {
                // The first stands for the packet, when it is sent and when it is not.
                chunk.set_egress(*meta);
            }
            self.queue(umem, chunk, !behind.is_empty());
            rest = behind;
        }
        counters.split += u64::from(frame.len() > SMALL);
        pool.free(frame);
        Ok(())
    }

    fn queue(&mut self, umem: &mut Umem, frame: Frame, more: bool) {
        let (start, len) = (frame.start() as u64, frame.len() as u32);
        let addr = umem.hold(self.number, frame) + start;
        self.tx.produce(libc::xdp_desc { addr, len, options: if more { XDP_PKT_CONTD } else { 0 } });
        self.queued += 1;
    }

    /// Shows the kernel what was queued, and kicks it if it asks for that.
    pub(crate) fn flush(&mut self) {
        if self.queued == 0 && self.health != Health::Down {
            return;
        }
        self.tx.publish();
        self.queued = 0;
        for _ in 0..4 {
            if !self.tx.needs_wakeup() || self.kick() {
                return;
            }
        }
    }

    /// Takes back the chunks that were sent.
    pub(crate) fn complete(&mut self, pool: &mut Pool, umem: &mut Umem, counters: &mut IoCounters) {
        while let Some(address) = self.completion.consume() {
            let Some(frame) = umem.take(address) else { continue };
            // Of a packet in several chunks only the first counts.
            counters.sent[self.path as usize] += u64::from(frame.egress().is_some());
            pool.free(frame);
        }
        self.completion.release();
    }

    /// Whether the kernel took the kick, or never will; EAGAIN and EBUSY want another.
    fn kick(&mut self) -> bool {
        // SAFETY: an empty send on a socket that we own; no buffer is passed.
        let sent = unsafe {
            libc::sendto(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
        };
        if sent >= 0 {
            self.health = Health::Good;
            return true;
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR) => return false,
            Some(libc::ENETDOWN) => self.health = Health::Down,
            // Not bound any more.
            Some(libc::ENXIO | libc::EBADF | libc::ENODEV) => self.health = Health::Gone,
            _ => {}
        }
        true
    }

    /// Tells the driver that the fill ring has chunks again.
    fn ask_for_more(&self) {
        let (nowhere, flags) = (std::ptr::null_mut(), libc::MSG_DONTWAIT);
        // SAFETY: an empty receive on a socket that we own; no buffer is passed. Nothing depends on the result.
        unsafe {
            libc::recvfrom(self.fd.as_raw_fd(), nowhere, 0, flags, std::ptr::null_mut(), nowhere.cast())
        };
    }
}

impl AsFd for XskSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
