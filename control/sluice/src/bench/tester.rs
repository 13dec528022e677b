//! Generator and sink: as many packets as the device takes or as it is told, and a look at each that comes back.
//!
//! On veth the frames are sent as a driver would hand them over, see [`traffic`](sluice_io::xdp::traffic), so that the
//! device's end does not have to convert socket buffers; on NICs by AF_XDP.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use sluice_classifier::{LegEntry, Policy};
use sluice_io::clock::now;
use sluice_io::live::{LiveIo, Queue};
use sluice_io::xdp::traffic::{Claim, Feed, Sending, live_frames};
use sluice_io::xdp::{Attached, AttachedMode, Options};
use sluice_io::{
    BATCH, Component, FrameBatch, NextHop, PacketIo, Pool, PoolConfig, SocketToken, TxMeta, af_xdp::headers,
};

use super::bed::{Bed, Role, peer_address, queues};
use super::case::Case;
use super::forwarder::Running;
use super::media::Media;
use crate::demo::interrupt;

/// Packets sent together, so that the device sees trains like those of a wire, not of a switch that has saved them up.
const TRAIN: usize = 16;
/// How far behind its schedule the generator may fall before it gives the missed packets up.
const ARREARS: u64 = 64;
/// How long a packet may be under way.
const DRAIN: Duration = Duration::from_millis(250);
const CHUNKS: u32 = 8192;
/// Frames that an end of a veth pair takes before its NAPI comes round: a larger burst loses the rest, however slow the load.
const VETH_RING: u64 = 256;
/// Octets of Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 14 + 20 + 8;

/// How much is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Callers' packets per second.
    Rate(f64),
    /// As fast as the device is: so many packets are under way at any time, counted as listeners get them.
    Window(u64),
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How long it was sent for.
    pub elapsed: Duration,
    /// Packets of callers.
    pub sent: u64,
    /// Packets that the generator gave up, because it was too slow: the load was less than was asked for.
    pub skipped: u64,
    /// Packets to listeners, checked one by one.
    pub good: u64,
    /// Packets to listeners that were not what they should be.
    pub bad: u64,
    /// Packets that listeners should have got and did not.
    pub lost: u64,
    /// From sending to receiving, in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Outcome {
    /// Good packets per second.
    pub fn rate(&self) -> f64 {
        self.good as f64 / self.elapsed.as_secs_f64()
    }
}

/// Generator and sink of a case. It stays on the thread that made it.
pub struct Tester {
    io: LiveIo,
    pool: Pool,
    media: Media,
    _program: Attached,
    live: Option<Live>,
    inlets: Vec<SocketAddr>,
    hop: NextHop,
    fanout: u64,
}

impl Tester {
    /// Takes the tester's interface, for a device that runs. On the thread of the tester's end.
    pub fn open(bed: &Bed, case: &Case, device: &dyn Running) -> Result<Self> {
        let media = Media::new(*case, device.returns_unchanged(), |listener| device.listener_key(listener))?;
        let side = &bed.tester;
        let peers = case.listeners().max(case.calls);
        let options =
            Options { max_legs: (2 * peers).next_power_of_two() as u32, pin: false, ..Options::default() };
        let mut program = Attached::attach(&side.interface, &options)
            .with_context(|| format!("generator and sink need XDP on {}", side.interface))?;
        for (role, peers) in [(Role::Caller, case.calls), (Role::Listener, case.listeners())] {
            for peer in 0..peers {
                program.maps().insert_leg(peer_address(role, peer), LegEntry::new(0, Policy::new()))?;
            }
        }
        let mut pool = Pool::new(PoolConfig { small: CHUNKS, large: 64 })?;
        let mut io = LiveIo::new(&mut pool)?;
        let generic = program.mode() == AttachedMode::Generic;
        for queue in 0..queues(&side.interface) {
            let queue = Queue { ifindex: side.ifindex, queue, generic };
            let socket = io.open_queue(&mut pool, queue)?;
            program.maps().set_socket(queue.queue, socket.as_fd())?;
        }
        io.fill(&mut pool);
        let hop = NextHop {
            ifindex: side.ifindex,
            source: side.mac,
            destination: bed.device.mac,
            vlan: None,
            mtu: 9000,
        };
        let inlets = (0..case.calls).map(|call| device.inlet(call)).collect();
        let fanout = if device.returns_unchanged() { 1 } else { case.fanout as u64 };
        let len = media.packet_len()? + HEADERS;
        let live = bed.veth.then(|| Live::start(side.ifindex, len)).transpose()?;
        Ok(Self { io, pool, media, _program: program, live, inlets, hop, fanout })
    }

    /// Sends a few packets of every call, until the device forwards them all: addresses are resolved, streams are known.
    pub fn warm_up(&mut self) -> Result<()> {
        let calls = self.inlets.len() as u64;
        let rounds = (4 * calls).max(256);
        // A kernel socket of the usual room holds some 90 packets: one call's are not more than it takes.
        let window = Load::Window((32 * calls).min(128).max(self.fanout));
        for _ in 0..20 {
            let mut run = Run::new(self)?;
            run.budget = rounds;
            run.go(window, Duration::from_mins(1))?;
            let outcome = run.end()?;
            // One packet that becomes more than a ring holds proves enough if half of them came.
            let bearable = if self.live.is_some() && self.fanout > VETH_RING { outcome.good } else { 0 };
            if outcome.good > 0 && outcome.lost <= bearable {
                return Ok(());
            }
        }
        bail!("the device does not forward what is sent to it")
    }

    fn transmit(&mut self, tx: &mut FrameBatch) -> Result<()> {
        let Some(live) = &mut self.live else {
            self.io.transmit(&mut self.pool, tx);
            return Ok(());
        };
        for mut frame in tx.drain() {
            let meta = frame.egress().copied();
            // What finds no room is lost, and counted as that.
            if meta.is_some_and(|meta| headers::prepend(&mut frame, &meta, &self.hop)) {
                live.feed.push(frame.payload());
            }
            self.pool.free(frame);
        }
        live.feed.publish();
        Ok(live.sending.check()?)
    }

    /// Sends for a time, and says what came.
    pub fn run(&mut self, load: Load, time: Duration) -> Result<Outcome> {
        let mut run = Run::new(self)?;
        run.go(load, time)?;
        run.end()
    }
}

/// Live frames, and the thread that sends them.
struct Live {
    feed: Feed,
    sending: Sending,
}

impl Live {
    fn start(interface: u32, len: usize) -> Result<Self> {
        let (feed, frames) = live_frames(interface, len)?;
        Ok(Self { feed, sending: frames.send(Claim::Leftovers)? })
    }
}

/// A run in progress.
struct Run<'a> {
    tester: &'a mut Tester,
    tx: FrameBatch,
    rx: FrameBatch,
    first: u64,
    budget: u64,
    skipped: u64,
    elapsed: Duration,
    good: u64,
    bad: u64,
    latency: Histogram<u64>,
}

impl<'a> Run<'a> {
    fn new(tester: &'a mut Tester) -> Result<Self> {
        let first = tester.media.sent();
        let latency = Histogram::new_with_bounds(1, 10_000_000_000, 3)?;
        let (tx, rx) = (FrameBatch::new(), FrameBatch::new());
        let (budget, elapsed) = (u64::MAX, Duration::ZERO);
        Ok(Self { tester, tx, rx, first, budget, skipped: 0, elapsed, good: 0, bad: 0, latency })
    }

    fn go(&mut self, load: Load, time: Duration) -> Result<()> {
        let (start, until) = (now(), now() + time.as_nanos() as u64);
        let mut heard_at = start;
        // Packets of a window that will not come any more.
        let mut written_off = 0;
        loop {
            let at = now();
            if at >= until || self.sent() >= self.budget || interrupt::requested() {
                break;
            }
            let due = match load {
                Load::Rate(rate) => self.due((at - start) as f64 * rate / 1e9),
                Load::Window(window) => {
                    let under_way = self.expected().saturating_sub(self.good + self.bad + written_off);
                    if under_way > 0 && at - heard_at > DRAIN.as_nanos() as u64 / 5 {
                        written_off += under_way;
                        heard_at = at;
                    }
                    (window.saturating_sub(under_way)).div_ceil(self.tester.fanout)
                }
            };
            let due = due.min(self.budget - self.sent());
            self.send(due as usize)?;
            if self.receive() {
                heard_at = now();
            } else if due < TRAIN as u64 {
                self.tester.io.wait(pause(load));
            }
        }
        self.elapsed = Duration::from_nanos(now() - start);
        Ok(())
    }

    /// Waits for what is under way, and counts what did not come.
    fn end(mut self) -> Result<Outcome> {
        let deadline = now() + DRAIN.as_nanos() as u64;
        while self.good + self.bad < self.expected() && now() < deadline {
            if !self.receive() {
                self.tester.io.wait(Duration::from_millis(1));
            }
        }
        if interrupt::requested() {
            bail!("interrupted");
        }
        let lost = self.expected().saturating_sub(self.good);
        Ok(Outcome {
            elapsed: self.elapsed,
            sent: self.sent(),
            skipped: self.skipped,
            good: self.good,
            bad: self.bad,
            lost,
            latency: self.latency,
        })
    }

    fn sent(&self) -> u64 {
        self.tester.media.sent() - self.first
    }

    /// Packets that listeners are to get.
    fn expected(&self) -> u64 {
        self.sent() * self.tester.fanout
    }

    /// How many packets are due by the schedule; what is too long overdue never will be sent.
    fn due(&mut self, scheduled: f64) -> u64 {
        let due = (scheduled as u64).saturating_sub(self.sent() + self.skipped);
        let missed = due.saturating_sub(ARREARS);
        self.skipped += missed;
        due - missed
    }

    fn send(&mut self, count: usize) -> Result<()> {
        let mut left = count;
        while left > 0 {
            for _ in 0..left.min(TRAIN).min(BATCH) {
                let Some(frame) = self.tester.pool.alloc_small() else { break };
                if let Err(frame) = self.tx.push(frame) {
                    self.tester.pool.free(frame);
                }
            }
            if self.tx.is_empty() {
                // Everything is under way: take what came first.
                break;
            }
            left -= self.tx.len();
            let mut calls = arrayvec::ArrayVec::<usize, BATCH>::new();
            self.tester.media.make(&mut self.tx, now(), |call| calls.push(call));
            for (frame, call) in self.tx.iter_mut().zip(calls) {
                frame.set_egress(TxMeta {
                    socket: SocketToken { leg: 0, component: Component::Rtp },
                    local: peer_address(Role::Caller, call),
                    remote: self.tester.inlets[call],
                    next_hop: Some(self.tester.hop),
                    dscp: 0,
                });
            }
            self.tester.transmit(&mut self.tx)?;
            self.receive();
        }
        Ok(())
    }

    /// Whether anything came.
    fn receive(&mut self) -> bool {
        self.tester.io.receive(&mut self.tester.pool, &mut self.rx);
        if self.rx.is_empty() {
            return false;
        }
        let latency = &mut self.latency;
        let arrived = self.tester.media.take(&mut self.rx, &mut self.tester.pool, |nanoseconds| {
            latency.saturating_record(nanoseconds);
        });
        self.good += arrived.good;
        self.bad += arrived.bad;
        true
    }
}

/// How long to wait when there is nothing to do: until the next train is due.
fn pause(load: Load) -> Duration {
    match load {
        Load::Rate(rate) => Duration::from_secs_f64((TRAIN as f64 / 2.0 / rate).clamp(5e-6, 1e-3)),
        Load::Window(_) => Duration::from_millis(1),
    }
}
