//! Kernel UDP sockets through io_uring: multishot receive into provided buffers, `sendmsg` with a
//! destination. The whole datapath where XDP cannot run, and the way of everything that XDP passes.

mod address;
mod buffers;
mod errors;
mod files;
mod losses;
mod sends;
mod troubles;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use io_uring::squeue::Entry;
use io_uring::types::RecvMsgOut;
use io_uring::{IoUring, cqueue, opcode, types};

use self::address::{NAME_LEN, decode};
use self::buffers::{Buffers, GROUP, OFFSET};
use self::files::{Files, Target};
use self::losses::Losses;
use self::sends::Sends;
use self::troubles::Troubles;
use crate::clock::now;
use crate::{
    Frame, HEADROOM, Ingress, IoCounters, Path, Pool, PoolConfig, SocketToken, Trouble, TxMeta, Waker,
};

const ENTRIES: u32 = 1024;
const SENDS: u32 = 512;
const MIN_BUFFERS: u32 = 16;

/// Why io_uring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UringError {
    /// The kernel does not let this process have a ring.
    #[error(
        "io_uring is not permitted here ({0}): set sysctl kernel.io_uring_disabled=0 and allow io_uring_setup, \
         io_uring_enter and io_uring_register in the container's seccomp profile"
    )]
    NotPermitted(io::Error),
    /// The kernel has no io_uring, or an old one.
    #[error("io_uring of this kernel lacks what is needed ({0}): Linux 6.1 or later is")]
    NotSupported(io::Error),
    /// The pool has too few large chunks to receive into.
    #[error("{0} large chunks are too few to receive into; configure at least 32")]
    TooFewBuffers(u32),
    /// Memory or descriptors ran out.
    #[error("cannot set up io_uring: {0}; look at the memlock and open-files limits")]
    Setup(io::Error),
}

impl From<io::Error> for UringError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted(error),
            Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP) => Self::NotSupported(error),
            _ => Self::Setup(error),
        }
    }
}

/// A socket that is received from.
struct Receiver {
    token: SocketToken,
    /// Kept open; the ring knows it by `target`.
    socket: Arc<UdpSocket>,
    losses: Losses,
    target: Target,
    local: SocketAddr,
    /// Tells completions of this use of the place from those of an earlier one.
    generation: u32,
    closing: bool,
    /// Whether no receive is under way.
    idle: bool,
    /// Whether its queue of errors was not taken to the end, and in which turn something was taken from it last.
    has_more_errors: bool,
    errors_at: u64,
}

/// Completions' user data: what, of which use, which one.
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const CANCEL: u64 = 3;

const fn user_data(what: u64, generation: u32, index: u32) -> u64 {
    what << 56 | (generation as u64 & 0x00ff_ffff) << 32 | index as u64
}

/// One ring with its sockets, buffers and sends. Must stay on the thread that made it.
pub struct UringIo {
    // First, so that it is closed before the memory that the kernel works on goes.
    ring: IoUring,
    /// Tells of completions. The ring's own descriptor does not: with DEFER_TASKRUN it becomes readable only
    /// once the work was run, which nobody does who is asleep in poll(2) (seen on Linux 6.18).
    event: Waker,
    header: Box<libc::msghdr>,
    buffers: Buffers,
    sends: Sends,
    files: Files,
    receivers: Vec<Option<Receiver>>,
    /// Places in `receivers` without one.
    vacant: Vec<u32>,
    by_token: HashMap<SocketToken, u32>,
    /// Places to be armed, the one that waits longest first, with their generation: others may have them by now.
    idle: VecDeque<(u32, u32)>,
    /// The place that was asked last for what it dropped.
    surveyed: usize,
    generation: u32,
    arrived: VecDeque<Frame>,
    spent: Vec<Frame>,
    troubles: Troubles,
    /// Whether a send waits to be tried again.
    again: bool,
    counters: IoCounters,
}

impl UringIo {
    /// What it takes beside the pool, the rings shared with the kernel included: 64 octets for each submission and 16 for
    /// each completion.
    pub(crate) const fn bytes(pool: PoolConfig) -> usize {
        let frames = buffers_of(pool) as usize;
        let rings = ENTRIES as usize * (64 + 4) + ENTRIES as usize * 8 * 16;
        let arrived_and_spent = (2 * frames + SENDS as usize) * size_of::<Frame>();
        rings + arrived_and_spent + Buffers::bytes(frames) + Sends::bytes(SENDS)
    }

    /// What a socket takes: its descriptor, its place among the receivers, and in two books that grow by doubling.
    pub(crate) const BYTES_PER_SOCKET: usize = size_of::<[usize; 3]>()
        + 2 * (size_of::<Option<Receiver>>() + size_of::<(u32, u32)>())
        + (size_of::<(SocketToken, u32)>() + 1) * 16 / 7;

    /// Sets the ring up and gives it `pool`'s large chunks to receive into.
    pub fn new(pool: &mut Pool) -> Result<Self, UringError> {
        let entries = buffers_of(pool.config());
        if entries < MIN_BUFFERS {
            return Err(UringError::TooFewBuffers(pool.config().large));
        }
        let ring = open()?;
        let event = Waker::new().map_err(UringError::Setup)?;
        ring.submitter().register_eventfd(event.as_fd().as_raw_fd())?;
        let mut buffers = Buffers::register(&ring.submitter(), entries as u16)?;
        buffers.refill(pool);
        let files = Files::register(&ring.submitter());
        // SAFETY: all-zero is a valid msghdr: null pointers and lengths of 0.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = NAME_LEN as u32;
        Ok(Self {
            ring,
            event,
            header,
            buffers,
            sends: Sends::new(SENDS),
            files,
            receivers: Vec::new(),
            vacant: Vec::new(),
            by_token: HashMap::new(),
            idle: VecDeque::new(),
            surveyed: 0,
            generation: 0,
            arrived: VecDeque::with_capacity(entries as usize),
            spent: Vec::with_capacity((entries + SENDS) as usize),
            troubles: Troubles::new(),
            again: false,
            counters: IoCounters::default(),
        })
    }

    /// Starts receiving on a socket.
    pub fn register(&mut self, token: SocketToken, socket: Arc<UdpSocket>) -> io::Result<()> {
        let local = socket.local_addr()?;
        errors::prepare(&socket, local.is_ipv4())?;
        self.unregister(token);
        self.generation = self.generation.wrapping_add(1);
        let place = self.vacant.pop().unwrap_or(self.receivers.len() as u32);
        let target = self.files.set(&self.ring.submitter(), place, socket.as_raw_fd());
        let generation = self.generation;
        let losses = Losses::of(socket.as_raw_fd());
        let receiver = Receiver {
            token,
            socket,
            losses,
            target,
            local,
            generation,
            closing: false,
            idle: true,
            has_more_errors: false,
            errors_at: 0,
        };
        match self.receivers.get_mut(place as usize) {
            Some(slot) => *slot = Some(receiver),
            None => self.receivers.push(Some(receiver)),
        }
        self.by_token.insert(token, place);
        self.idle.push_back((place, generation));
        self.arm();
        self.submit();
        Ok(())
    }

    /// Stops receiving on a socket. It is closed once the kernel has let go of it.
    pub fn unregister(&mut self, token: SocketToken) {
        let Some(place) = self.by_token.remove(&token) else { return };
        let Some(Some(receiver)) = self.receivers.get_mut(place as usize) else { return };
        if receiver.idle {
            // Sends that still name the socket must reach the kernel before it is closed.
            self.submit();
            return self.vacate(place);
        }
        receiver.closing = true;
        let target = user_data(RECEIVE, receiver.generation, place);
        self.cancel(target);
        self.submit();
    }

    /// Closes a socket on which nothing is under way.
    fn vacate(&mut self, place: u32) {
        let slot = self.receivers.get_mut(place as usize);
        if let Some(receiver) = slot.and_then(Option::take) {
            Files::clear(&self.ring.submitter(), receiver.target);
            self.survey_last(receiver);
            self.vacant.push(place);
        }
    }

    /// Ends a multishot. Should this find no room, the next datagram of the socket brings it here again.
    fn cancel(&mut self, target: u64) {
        let cancel = opcode::AsyncCancel::new(target).build().user_data(user_data(CANCEL, 0, 0));
        self.push(&cancel);
    }

    /// The next datagram that arrived.
    pub fn take(&mut self) -> Option<Frame> {
        self.arrived.pop_front()
    }

    /// Looks after completions and buffers; then [`Self::take`] yields what arrived.
    pub fn turn(&mut self, pool: &mut Pool) {
        self.spent.drain(..).for_each(|frame| pool.free(frame));
        if !self.buffers.refill(pool) {
            self.counters.pool_empty += 1;
        }
        self.take_more_errors();
        self.arm();
        self.submit();
        self.reap();
        self.try_again();
        self.spent.drain(..).for_each(|frame| pool.free(frame));
    }

    /// Queues a datagram for sending from a registered socket; [`Self::flush`] sends.
    pub fn send(&mut self, pool: &mut Pool, frame: Frame) {
        if self.sends.is_full() {
            self.flush(pool);
        }
        let socket = frame.egress().copied().and_then(|meta| {
            let place = *self.by_token.get(&meta.socket)?;
            let receiver = self.receivers.get(place as usize)?.as_ref()?;
            Some((meta, receiver.target))
        });
        let Some((meta, target)) = socket else {
            self.counters.send_failed += 1;
            pool.free(frame);
            return;
        };
        self.enqueue(pool, &meta, target, frame);
    }

    fn enqueue(&mut self, pool: &mut Pool, meta: &TxMeta, target: Target, frame: Frame) {
        match self.sends.prepare(target, meta, frame) {
            Ok((number, entry)) => {
                if !self.push(&entry.user_data(user_data(SEND, 0, number))) {
                    self.counters.send_failed += 1;
                    self.spent.extend(self.sends.finish(number));
                }
            }
            Err(frame) => {
                self.counters.send_failed += 1;
                pool.free(frame);
            }
        }
    }

    /// Hands queued sends to the kernel and takes back what it is done with.
    pub fn flush(&mut self, pool: &mut Pool) {
        if self.sends.under_way() > 0 {
            self.submit();
            self.reap();
            self.try_again();
        }
        self.spent.drain(..).for_each(|frame| pool.free(frame));
    }

    /// Has the kernel look at sends that failed through no fault of their own.
    fn try_again(&mut self) {
        // Ends: each send is tried again but a few times.
        while std::mem::take(&mut self.again) {
            self.submit();
            self.reap();
        }
    }

    /// The next piece of news of datagrams that were sent from registered sockets' addresses.
    pub fn take_trouble(&mut self) -> Option<Trouble> {
        self.troubles.take()
    }

    /// Whether there is something to do at once: something arrived that nobody has taken yet, or sockets wait for
    /// their turn.
    pub fn is_busy(&self) -> bool {
        !self.arrived.is_empty() || (!self.idle.is_empty() && self.buffers.filled() > 0)
    }

    /// Becomes readable when there are completions, until [`Self::heard`].
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Forgets what [`Self::as_fd`] told so far; completions are looked at after this.
    pub fn heard(&self) {
        self.event.clear();
    }

    /// Totals of this ring alone.
    pub const fn counters(&self) -> IoCounters {
        self.counters
    }

    /// Closes the ring and gives all its frames back.
    pub fn close(self, pool: &mut Pool) {
        let Self { ring, mut buffers, mut sends, receivers, mut arrived, mut spent, .. } = self;
        // Cancels what is under way and waits for it, so that the kernel no longer writes to chunks.
        let cancelled = ring.submitter().register_sync_cancel(None, types::CancelBuilder::any());
        drop((ring, receivers));
        arrived.drain(..).chain(spent.drain(..)).for_each(|frame| pool.free(frame));
        match cancelled {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {}
            _ => {
                buffers.release(pool);
                (0..SENDS).filter_map(|number| sends.finish(number)).for_each(|frame| pool.free(frame));
            }
        }
    }

    /// Begins to receive on sockets on which nothing is under way: on as many as there are buffers. Were it on more,
    /// in a burst to many sockets each turn would cost as much as there are sockets, for what few buffers hold.
    fn arm(&mut self) {
        for _ in 0..self.buffers.filled() {
            let Some((place, generation)) = self.idle.pop_front() else { return };
            let Some(Some(receiver)) = self.receivers.get_mut(place as usize) else { continue };
            if receiver.generation != generation || receiver.closing {
                continue;
            }
            receiver.idle = false;
            let entry = receiver.target.receive(&raw const *self.header, GROUP);
            if !self.push(&entry.user_data(user_data(RECEIVE, generation, place))) {
                // The kernel takes nothing now; the next turn tries again.
                self.rest(place);
                return;
            }
        }
    }

    /// Nothing is under way on the socket, until it is armed again.
    fn rest(&mut self, place: u32) {
        if let Some(Some(receiver)) = self.receivers.get_mut(place as usize) {
            receiver.idle = true;
            self.idle.push_back((place, receiver.generation));
        }
    }

    /// Queues an entry; whether there was room.
    fn push(&mut self, entry: &Entry) -> bool {
        for _ in 0..2 {
            // SAFETY: what entries point to outlives them: the boxed header, the sends' slots and the frames
            // in them stay in place until the completion, and Drop closes the ring before it frees them.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return true;
            }
            self.submit();
        }
        false
    }

    fn submit(&mut self) {
        // EBUSY and EINTR: completions must be reaped first, which every caller does next.
        let _ = self.ring.submit();
    }

    fn reap(&mut self) {
        loop {
            let Some(entry) = self.ring.completion().next() else { return };
            let (data, result, flags) = (entry.user_data(), entry.result(), entry.flags());
            match data >> 56 {
                RECEIVE => self.received(data, result, flags),
                SEND => self.completed(data as u32, result),
                _ => {}
            }
        }
    }

    fn completed(&mut self, number: u32, result: i32) {
        if result >= 0 {
            self.counters.sent[Path::IoUring as usize] += 1;
        } else if !self.failed(number, -result) {
            return;
        }
        self.spent.extend(self.sends.finish(number));
    }

    fn received(&mut self, data: u64, result: i32, flags: u32) {
        let (place, generation) = (data as u32, (data >> 32) as u32 & 0x00ff_ffff);
        let frame = cqueue::buffer_select(flags).and_then(|id| self.buffers.take(id));
        let Some(slot) = self.receivers.get(place as usize) else { return self.spent.extend(frame) };
        let current = slot.as_ref().filter(|known| known.generation & 0x00ff_ffff == generation);
        let Some((token, local, closing)) = current.map(|known| (known.token, known.local, known.closing))
        else {
            return self.spent.extend(frame);
        };
        if !cqueue::more(flags) {
            // The multishot ended: cancelled, out of buffers, or an error of the socket's.
            if closing {
                self.vacate(place);
            } else {
                self.rest(place);
            }
        }
        match -result {
            ..=0 | libc::ECANCELED => {}
            libc::ENOBUFS => self.counters.buffers_empty += 1,
            error => self.receive_failed(place, error),
        }
        if closing && cqueue::more(flags) {
            self.cancel(data);
        }
        let Some(mut frame) = frame else { return };
        if result < 0 || closing {
            return self.spent.push(frame);
        }
        if let Some(remote) = open_message(&self.header, &mut frame, result as usize) {
            frame.set_ingress(Ingress {
                local,
                remote,
                socket: Some(token),
                path: Path::IoUring,
                received_at: now(),
            });
            self.counters.received[Path::IoUring as usize] += 1;
            self.arrived.push_back(frame);
        } else {
            self.counters.receive_truncated += 1;
            self.spent.push(frame);
        }
    }
}

/// Finds source and payload in what the kernel wrote. `None` if the datagram did not fit.
fn open_message(header: &libc::msghdr, frame: &mut Frame, written: usize) -> Option<SocketAddr> {
    let buffer = frame.chunk_mut().get(OFFSET..OFFSET + written)?;
    let message = RecvMsgOut::parse(buffer, header).ok()?;
    if message.is_payload_truncated() {
        return None;
    }
    let (remote, len) = (decode(message.name_data())?, message.payload_data().len());
    frame.set_window(HEADROOM, len).then_some(remote)
}

/// How many chunks the kernel has to receive into. Half stay in the pool: they replace those that are on their way
/// through the pipeline.
const fn buffers_of(pool: PoolConfig) -> u32 {
    match pool.large / 2 {
        0 => 1,
        half => 1 << (if half > 1 << 15 { 15 } else { half.ilog2() }),
    }
}

fn open() -> io::Result<IoUring> {
    // DEFER_TASKRUN keeps the kernel from interrupting the worker; TASKRUN_FLAG tells when to enter it.
    let best = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(ENTRIES * 8)
        .build(ENTRIES);
    match best {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            IoUring::builder().setup_cqsize(ENTRIES * 8).build(ENTRIES)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_ring_says_what_to_do() {
        for (code, advice) in [
            (libc::EPERM, "kernel.io_uring_disabled"),
            (libc::EACCES, "seccomp"),
            (libc::ENOSYS, "Linux 6.1"),
            (libc::ENOMEM, "memlock"),
        ] {
            let error = UringError::from(io::Error::from_raw_os_error(code)).to_string();
            assert!(error.contains(advice), "{error}");
        }
    }
}
