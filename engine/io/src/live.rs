//! The real thing: io_uring on kernel sockets, and AF_XDP sockets beside it where XDP runs.

use std::io;
use std::marker::PhantomData;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;

use crate::af_xdp::{Umem, XskError, XskSocket};
use crate::uring::{UringError, UringIo};
use crate::{Frame, FrameBatch, IoCounters, PacketIo, Path, Pool, SocketToken, Trouble, Waker, poll};

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

/// Packet I/O of one worker. It stays on the thread that made it, since only that one may use its io_uring.
pub struct LiveIo {
    uring: UringIo,
    xsks: Vec<XskSocket>,
    umem: Umem,
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
            waker,
            counters: IoCounters::default(),
            thread: PhantomData,
        })
    }

    /// Serves a queue by an AF_XDP socket, whose descriptor belongs into the program's socket map.
    pub fn open_queue(&mut self, pool: &mut Pool, queue: Queue) -> Result<&XskSocket, XskError> {
        let path = if queue.generic { Path::XdpGeneric } else { Path::XdpNative };
        let (place, other) = (self.xsks.len(), self.xsks.first());
        let socket = XskSocket::open(pool, &mut self.umem, other, (queue.ifindex, queue.queue), path)?;
        self.xsks.push(socket);
        self.refill(pool);
        Ok(&self.xsks[place])
    }

    /// The AF_XDP sockets.
    pub fn xsks(&self) -> &[XskSocket] {
        &self.xsks
    }

    /// Closes everything and gives all chunks back.
    pub fn close(self, pool: &mut Pool) {
        let Self { uring, xsks, umem, .. } = self;
        drop(xsks);
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
            let socket = self.xsks.swap_remove(place);
            self.counters.send_failed += socket.close(pool, &mut self.umem);
        }
    }

    /// Hands the frame to the AF_XDP socket of its next hop's interface, or gives it back.
    #[allow(clippy::result_large_err, reason = "the error is the frame itself, which must not be lost")]
    fn send_by_xsk(&mut self, frame: Frame) -> Result<(), Frame> {
        let Some(meta) = frame.egress().copied() else { return Err(frame) };
        let Some(hop) = meta.next_hop.filter(|_| frame.is_small()) else { return Err(frame) };
        if meta.exceeded(frame.len()).is_some() {
            // The kernel's socket refuses it, and tells what the path takes.
            return Err(frame);
        }
        match self.xsks.iter_mut().find(|socket| socket.place().0 == hop.ifindex) {
            Some(socket) => socket.send(&mut self.umem, frame, &meta, &hop),
            None => Err(frame),
        }
    }
}

impl PacketIo for LiveIo {
    fn register(&mut self, token: SocketToken, socket: Arc<UdpSocket>) -> io::Result<()> {
        self.uring.register(token, socket)
    }

    fn unregister(&mut self, token: SocketToken) {
        self.uring.unregister(token);
    }

    fn receive(&mut self, pool: &mut Pool, rx: &mut FrameBatch) {
        // The kernel path first: it carries little beside XDP, and must not starve behind a full ring.
        self.uring.turn(pool);
        let share = if self.xsks.is_empty() { rx.room() } else { rx.room() / 2 };
        for _ in 0..share {
            let Some(frame) = self.uring.take() else { break };
            if let Err(frame) = rx.push(frame) {
                pool.free(frame);
            }
        }
        for socket in &mut self.xsks {
            socket.complete(pool, &mut self.umem, &mut self.counters);
            socket.receive(pool, &mut self.umem, rx, &mut self.counters);
        }
        self.refill(pool);
        // Begin with another socket next time.
        if !self.xsks.is_empty() {
            self.xsks.rotate_left(1);
        }
    }

    fn transmit(&mut self, pool: &mut Pool, tx: &mut FrameBatch) {
        for frame in tx.drain() {
            if let Err(frame) = self.send_by_xsk(frame) {
                self.uring.send(pool, frame);
            }
        }
        for socket in &mut self.xsks {
            socket.flush();
            socket.complete(pool, &mut self.umem, &mut self.counters);
        }
        self.bury(pool);
        self.uring.flush(pool);
    }

    fn wait(&mut self, timeout: Duration) {
        if !self.uring.is_busy() {
            let mut fds: ArrayVec<BorrowedFd<'_>, { MAX_XSKS + 2 }> = ArrayVec::new();
            fds.push(self.waker.as_fd());
            fds.push(self.uring.as_fd());
            fds.extend(self.xsks.iter().take(MAX_XSKS).map(AsFd::as_fd));
            poll::wait(&fds, timeout);
        }
        self.waker.clear();
        self.uring.heard();
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn take_trouble(&mut self) -> Option<Trouble> {
        self.uring.take_trouble()
    }

    fn counters(&self) -> IoCounters {
        let (mut total, uring) = (self.counters, self.uring.counters());
        for (total, uring) in total.received.iter_mut().zip(uring.received) {
            *total += uring;
        }
        for (total, uring) in total.sent.iter_mut().zip(uring.sent) {
            *total += uring;
        }
        IoCounters {
            send_failed: total.send_failed + uring.send_failed,
            send_too_big: total.send_too_big + uring.send_too_big,
            receive_truncated: total.receive_truncated + uring.receive_truncated,
            pool_empty: total.pool_empty + uring.pool_empty,
            buffers_empty: total.buffers_empty + uring.buffers_empty,
            receive_malformed: total.receive_malformed + uring.receive_malformed,
            socket_errors: total.socket_errors + uring.socket_errors,
            ..total
        }
    }
}
