//! The real thing: io_uring on kernel sockets, AF_XDP sockets beside it where XDP runs, and applications' rings.

use std::io;
use std::marker::PhantomData;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;

use crate::af_xdp::{Umem, XskError, XskSocket};
use crate::ring::{Ring, RingRefused, Rings};
use crate::uring::{UringError, UringIo};
use crate::xdp::Relief;
use crate::{
    Frame, FrameBatch, IoCounters, PacketIo, Path, Pool, PoolConfig, SocketToken, Trouble, Waker, poll,
};

/// Most AF_XDP sockets of one worker.
pub const MAX_XSKS: usize = 64;

/// A queue that a worker is to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Index of the interface.
    pub ifindex: u32,
    /// The queue.
    pub queue: u32,
    /// Whether the XDP program is attached generically (SKB mode).
    pub generic: bool,
}

/// Why a worker's I/O could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// io_uring.
    #[error(transparent)]
    Uring(#[from] UringError),
    /// The waker's eventfd.
    #[error("cannot make an eventfd: {0}; look at the open-files limit")]
    Waker(io::Error),
}

/// What the I/O of a worker takes beside its pool, in bytes, with so many AF_XDP sockets: rings shared with the kernel, and
/// books of the chunks in them.
pub const fn bytes(pool: PoolConfig, xsks: usize) -> usize {
    Umem::bytes(pool) + UringIo::bytes(pool) + xsks * XskSocket::BYTES
}

/// What it takes for each kernel socket, in bytes, without the kernel's own books.
pub const fn bytes_per_socket() -> usize {
    UringIo::BYTES_PER_SOCKET
}

/// Packet I/O of one worker. It stays on the thread that made it, since only that one may use its io_uring.
pub struct LiveIo {
    uring: UringIo,
    xsks: Vec<XskSocket>,
    umem: Umem,
    rings: Rings,
    waker: Waker,
    counters: IoCounters,
    /// Not `Send`.
    thread: PhantomData<*const ()>,
}

impl LiveIo {
    /// Sets up io_uring; AF_XDP sockets are added by [`Self::open_queue`].
    pub fn new(pool: &mut Pool) -> Result<Self, LiveError> {
        let waker = Waker::new().map_err(LiveError::Waker)?;
        let (uring, umem) = (UringIo::new(pool)?, Umem::new(pool));
        Ok(Self {
            uring,
            xsks: Vec::new(),
            umem,
            rings: Rings::default(),
            waker,
            counters: IoCounters::default(),
            thread: PhantomData,
        })
    }

    /// Serves a queue by an AF_XDP socket, whose descriptor belongs into the program's socket map. Once all are open,
    /// [`Self::fill`] is due.
    pub fn open_queue(&mut self, pool: &mut Pool, queue: Queue) -> Result<&XskSocket, XskError> {
        let path = if queue.generic { Path::XdpGeneric } else { Path::XdpNative };
        let place = self.xsks.len();
        let socket = XskSocket::open(pool, &mut self.umem, &self.xsks, (queue.ifindex, queue.queue), path)?;
        self.xsks.push(socket);
        Ok(&self.xsks[place])
    }

    /// Gives the AF_XDP sockets their first chunks to receive into. Not before all of them are open: the shares of those
    /// that came first would be too large for the others to get any.
    pub fn fill(&mut self, pool: &mut Pool) {
        self.refill(pool);
    }

    /// While a queue's media comes faster than it is taken, its RTCP is to go by the kernel's sockets.
    pub fn relieve(&mut self, (ifindex, queue): (u32, u32), relief: Relief) {
        if let Some(socket) = self.xsks.iter_mut().find(|socket| socket.place() == (ifindex, queue)) {
            socket.relieve(relief);
        }
    }

    /// The AF_XDP sockets.
    pub fn xsks(&self) -> &[XskSocket] {
        &self.xsks
    }

    /// Closes everything and gives all chunks back.
    pub fn close(self, pool: &mut Pool) {
        let Self { uring, xsks, mut umem, .. } = self;
        for socket in xsks {
            socket.close(pool, &mut umem);
        }
        umem.release(pool);
        uring.close(pool);
    }

    /// Gives every AF_XDP socket chunks to receive into: half of the small ones, in equal shares, so that the
    /// other half is left for the pipeline and for sending.
    fn refill(&mut self, pool: &mut Pool) {
        let share = pool.config().small / 2 / (self.xsks.len() as u32).max(1);
        self.xsks.iter_mut().for_each(|socket| socket.refill(pool, &mut self.umem, share));
    }

    /// Closes the sockets whose interface is gone.
    fn bury(&mut self, pool: &mut Pool) {
        while let Some(place) = self.xsks.iter().position(XskSocket::is_gone) {
            let mut socket = self.xsks.swap_remove(place);
            socket.survey();
            self.counters.ring_dropped += socket.dropped();
            self.counters.send_failed += socket.close(pool, &mut self.umem);
        }
    }

    /// Hands the frame to the AF_XDP socket of its next hop's interface, or gives it back.
    #[allow(clippy::result_large_err, reason = "the error is the frame itself, which must not be lost")]
    fn send_by_xsk(&mut self, pool: &mut Pool, frame: Frame) -> Result<(), Frame> {
        let Some(meta) = frame.egress().copied() else { return Err(frame) };
        let Some(hop) = meta.next_hop else { return Err(frame) };
        if meta.exceeded(frame.len()).is_some() {
            // The kernel's socket refuses it, and tells what the path takes.
            return Err(frame);
        }
        match self.xsks.iter_mut().find(|socket| socket.place().0 == hop.ifindex) {
            Some(socket) => socket.send(pool, &mut self.umem, frame, (&meta, &hop), &mut self.counters),
            None => Err(frame),
        }
    }
}

/// How much of a batch with room for `room` is for kernel sockets and applications' rings together, so that AF_XDP has
/// the rest.
const fn aside(room: usize, beside_xdp: bool, pressed: bool) -> usize {
    match (beside_xdp, pressed) {
        (false, _) => room,
        // Kernel sockets have RTCP to bring, a packet of which costs as much as ten by AF_XDP.
        (true, true) => room / 4,
        (true, false) => room / 2,
    }
}

impl PacketIo for LiveIo {
    fn register(&mut self, token: SocketToken, socket: Arc<UdpSocket>) -> io::Result<()> {
        self.uring.register(token, socket)
    }

    fn unregister(&mut self, token: SocketToken) {
        self.uring.unregister(token);
        self.rings.end(token);
    }

    fn attach_ring(&mut self, token: SocketToken, ring: Box<Ring>) -> Result<(), RingRefused> {
        self.rings.attach(token, ring)
    }

    fn end_ring(&mut self, token: SocketToken) {
        self.rings.leave(token);
    }

    fn detach_ring(&mut self, token: SocketToken) -> Option<Box<Ring>> {
        self.rings.detach(token)
    }

    fn receive(&mut self, pool: &mut Pool, rx: &mut FrameBatch) {
        // The kernel path first: it carries little beside XDP, and must not starve behind a full ring.
        self.uring.turn(pool);
        let (before, room) = (rx.len(), rx.room());
        let pressed = self.xsks.iter().any(XskSocket::is_pressed);
        let share = aside(room, !self.xsks.is_empty(), pressed);
        for _ in 0..if self.rings.is_empty() { share } else { share / 2 } {
            let Some(frame) = self.uring.take() else { break };
            if let Err(frame) = rx.push(frame) {
                pool.free(frame);
            }
        }
        // What the kernel path leaves of the share that both have.
        let left = share.saturating_sub(rx.len() - before);
        self.rings.receive(pool, rx, left, &mut self.counters);
        // What is taken of RTCP from kernel sockets under pressure, for each socket that lets it pass.
        let taken = (aside(room, true, true) / self.xsks.len().max(1)).max(1) as u64;
        for socket in &mut self.xsks {
            socket.complete(pool, &mut self.umem, &mut self.counters);
            socket.receive(pool, &mut self.umem, rx, taken, &mut self.counters);
        }
        self.refill(pool);
        // Begin with another socket next time.
        if !self.xsks.is_empty() {
            self.xsks.rotate_left(1);
        }
    }

    fn transmit(&mut self, pool: &mut Pool, tx: &mut FrameBatch) {
        for frame in tx.drain() {
            if Rings::takes(&frame) {
                self.rings.send(pool, frame, &mut self.counters);
            } else if let Err(frame) = self.send_by_xsk(pool, frame) {
                self.uring.send(pool, frame);
            }
        }
        for socket in &mut self.xsks {
            socket.flush();
            socket.complete(pool, &mut self.umem, &mut self.counters);
        }
        self.rings.flush();
        self.bury(pool);
        self.uring.flush(pool);
    }

    fn wait(&mut self, timeout: Duration) {
        if !self.uring.is_busy() && self.rings.arm() {
            let mut fds: ArrayVec<BorrowedFd<'_>, { MAX_XSKS + 3 }> = ArrayVec::new();
            fds.push(self.waker.as_fd());
            fds.push(self.uring.as_fd());
            fds.extend(self.rings.doorbells());
            fds.extend(self.xsks.iter().take(MAX_XSKS).map(AsFd::as_fd));
            poll::wait(&fds, timeout);
        }
        self.waker.clear();
        self.uring.heard();
        self.rings.hear();
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn take_trouble(&mut self) -> Option<Trouble> {
        self.uring.take_trouble()
    }

    fn survey(&mut self) {
        self.uring.survey();
        self.xsks.iter_mut().for_each(XskSocket::survey);
    }

    fn counters(&self) -> IoCounters {
        let mut total = self.counters;
        total += self.uring.counters();
        total.ring_dropped += self.xsks.iter().map(XskSocket::dropped).sum::<u64>();
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BATCH;

    #[test]
    fn half_of_a_batch_is_left_for_af_xdp() {
        assert_eq!(aside(BATCH, false, false), BATCH);
        assert_eq!(aside(BATCH, true, false), BATCH / 2);
        assert_eq!(aside(BATCH, true, true), BATCH / 4);
    }
}
