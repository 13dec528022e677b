//! The way of a packet through a worker: a function over memory.
//!
//! ```text
//! FrameBatch ─ingress─▶ Received ─unprotect─▶ Received ─forward─▶ Outgoing ─egress─▶ FrameBatch
//!               │                      │          │ │                   │
//!            Negotiation, hand-off,  AuthFailed  held NoRoute …      KeyExpired …
//!            malformed …             Replayed …
//! ```
//!
//! A frame has one owner and moves by value from stage to stage. Each that goes no further is counted
//! once, under a [`DropReason`].

mod ahead;
mod apply;
mod bind;
mod early;
mod egress;
mod forward;
mod housekeeping;
mod ingress;
mod keys;
mod legs;
mod migrate;
mod ports;
mod positions;
mod trouble;
mod unprotect;
mod update;

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use sluice_classifier::{LocalKey, Policy};
use sluice_io::{Component, Frame, FrameBatch, Pool};
use sluice_srtp::{KeyId, Kind};

use crate::config::{Limits, Tuning};
use crate::early::Store;
use crate::event::{self, EventReceiver, EventSender};
use crate::guard::Guard;
use crate::inbox::Inbox;
use crate::leg::Leg;
use crate::overload::Overload;
use crate::port::{Finder, Port};
use crate::route::Route;
use crate::stream::{Egress, Parked, Stream};
use crate::table::{Index, Slab};
use crate::{DropReason, Event, LegId, WorkerStats};

pub(crate) use self::migrate::Baggage;
use self::ports::Trial;

/// Frames in a batch.
pub(crate) const BATCH: usize = sluice_io::BATCH;

/// Streams of one batch that have to prove themselves: one for each packet, and for each that several legs try.
pub(crate) const PROVISIONAL: usize = 2 * BATCH;
/// Shared ports of a worker.
pub(crate) const MAX_PORTS: usize = 64;

/// Told which local addresses are legs' ports: the XDP program's map.
pub trait Steering: Send + Sync {
    /// Media for the address may be taken past the kernel from now on.
    fn insert(&self, leg: LegId, local: SocketAddr, policy: Policy) -> Result<(), String>;
    /// All is the kernel's again.
    fn remove(&self, local: SocketAddr);
}

/// Told where packets go, so that it can find out the next hop and send [`crate::Command::SetNextHop`].
pub(crate) trait Resolver: Send + Sync {
    /// Whether there was room for the request.
    fn request(&self, request: Resolve) -> bool;
}

/// A request to the [`Resolver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolve {
    /// Find and watch the next hop.
    Watch { worker: usize, leg: LegId, component: Component, local: SocketAddr, remote: SocketAddr },
    /// The leg is gone.
    Forget { worker: usize, leg: LegId },
}

/// What the workers of an engine have in common.
#[derive(Clone)]
pub struct Shared {
    pub(crate) guard: Arc<Guard<Parked>>,
    pub(crate) events: EventSender,
    pub(crate) steering: Option<Arc<dyn Steering>>,
    pub(crate) resolver: Option<Arc<dyn Resolver>>,
    pub(crate) inboxes: Arc<[Arc<Inbox>]>,
}

impl Shared {
    /// For this many workers without XDP, such as in tests and benches.
    pub fn new(limits: &Limits, workers: usize) -> (Self, EventReceiver) {
        let (events, receiver) = event::channel(limits.events.max(1));
        let shared = Self {
            guard: Arc::new(Guard::new(limits.parked_contexts)),
            events,
            steering: None,
            resolver: None,
            inboxes: (0..workers).map(|_| Arc::new(Inbox::new(limits))).collect(),
        };
        (shared, receiver)
    }

    /// The same, telling `steering` of every leg.
    #[must_use]
    pub fn with_steering(mut self, steering: Arc<dyn Steering>) -> Self {
        self.steering = Some(steering);
        self
    }
}

/// Where a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Packet I/O.
    Io,
    /// Another worker, which took this one for the legs' owner.
    Worker,
}

/// All that a worker knows and owns; see the module.
pub struct Pipeline {
    worker: usize,
    legs: Slab<Leg>,
    leg_ids: Index<u32>,
    /// Local address to place in `legs`, times two, plus the component; or to one in `ports`.
    locals: Index<LocalKey>,
    ports: Slab<Port>,
    port_ids: Index<u32>,
    finder: Finder,
    routes: Slab<Route>,
    route_ids: Index<u32>,
    streams: Slab<Stream>,
    /// Leg's place and SSRC.
    stream_ids: Index<(u32, u32)>,
    egress: Slab<Egress>,
    /// Key and SSRC as sent.
    egress_ids: Index<(KeyId, u32)>,
    /// Egress leg's place and SSRC as sent, of streams that are sent under another than their own.
    renamed: Index<(u32, u32)>,
    /// Other workers' local addresses.
    directory: HashMap<LocalKey, usize>,
    early: Store,
    shared: Shared,
    limits: Limits,
    tuning: Tuning,
    clock: fn() -> u64,
    stats: Arc<WorkerStats>,
    random: RandomState,
    draws: u64,
    batch: u64,
    now: u64,
    tx: FrameBatch,
    outgoing: ArrayVec<Outgoing, BATCH>,
    /// Streams that came with this batch and have to prove themselves.
    provisional: ArrayVec<u32, PROVISIONAL>,
    /// Workers that got something in this batch.
    to_wake: Vec<usize>,
    stream_cursor: u32,
    leg_cursor: u32,
    kept_house_at: u64,
    overload: Overload,
}

/// A media packet whose leg and stream are known.
struct Received {
    frame: Frame,
    leg: u32,
    stream: u32,
    component: Component,
    kind: Kind,
    source: SocketAddr,
    /// Bytes as received.
    wire_len: usize,
    /// A new SSRC's packet: whether it came from the leg's remote address.
    unknown: Option<bool>,
    /// Which other legs may try it.
    trial: Option<Trial>,
    /// Whether it is yet to be unprotected.
    pending: bool,
    outcome: Result<(), DropReason>,
}

/// A packet to be sent.
struct Outgoing {
    frame: Frame,
    leg: u32,
    kind: Kind,
    context: Option<u32>,
    received_at: u64,
    /// Of a packet to legs that share a key: all of them.
    group: Option<Group>,
}

/// Bindings of a stream that have one context: their packets are protected once and sent to each.
#[derive(Clone, Copy)]
struct Group {
    stream: u32,
    first: usize,
    count: usize,
}

impl Group {
    fn places(self) -> std::ops::Range<usize> {
        self.first..self.first + self.count
    }
}

/// Takes frames to be sent; all of them.
pub trait Transmit: FnMut(&mut Pool, &mut FrameBatch) {}
impl<T: FnMut(&mut Pool, &mut FrameBatch)> Transmit for T {}

impl Pipeline {
    /// A worker without legs. `clock` gives `CLOCK_MONOTONIC` nanoseconds.
    pub fn new(worker: usize, limits: Limits, tuning: Tuning, shared: Shared, clock: fn() -> u64) -> Self {
        let workers = shared.inboxes.len();
        Self {
            worker,
            legs: Slab::new(limits.legs),
            leg_ids: Index::new(limits.legs),
            locals: Index::new(2 * limits.legs + MAX_PORTS),
            ports: Slab::new(MAX_PORTS),
            port_ids: Index::new(MAX_PORTS),
            finder: Finder::new(limits.legs, limits.streams),
            routes: Slab::new(limits.routes),
            route_ids: Index::new(limits.routes),
            // Beside the streams there is room for those of a batch that still have to prove themselves.
            streams: Slab::new(limits.streams + PROVISIONAL),
            stream_ids: Index::new(limits.streams + PROVISIONAL),
            egress: Slab::new(limits.egress_contexts),
            egress_ids: Index::new(limits.egress_contexts),
            renamed: Index::new(limits.egress_contexts),
            directory: HashMap::new(),
            early: Store::new(limits.early_packets),
            shared,
            limits,
            tuning,
            clock,
            stats: Arc::new(WorkerStats::default()),
            random: RandomState::new(),
            draws: 0,
            batch: 0,
            now: clock(),
            tx: FrameBatch::new(),
            outgoing: ArrayVec::new(),
            provisional: ArrayVec::new(),
            to_wake: Vec::with_capacity(workers),
            stream_cursor: 0,
            leg_cursor: 0,
            kept_house_at: 0,
            overload: Overload::default(),
        }
    }

    /// Takes every frame of `rx` through all stages. Frames to be sent go to `transmit`, in batches; the
    /// others go back to `pool`.
    pub fn process(
        &mut self,
        rx: &mut FrameBatch,
        origin: Origin,
        pool: &mut Pool,
        transmit: &mut impl Transmit,
    ) {
        if rx.is_empty() {
            return;
        }
        self.batch += 1;
        self.now = (self.clock)();
        self.look_ahead(rx);
        let mut received: ArrayVec<Received, BATCH> = ArrayVec::new();
        for frame in rx.drain() {
            received.extend(self.ingress(frame, origin, pool));
        }
        self.finish(received, pool, transmit);
        self.wake_owners();
    }

    /// Takes media of known legs through the stages that are left.
    fn finish(
        &mut self,
        mut received: ArrayVec<Received, BATCH>,
        pool: &mut Pool,
        transmit: &mut impl Transmit,
    ) {
        self.unprotect(&mut received);
        self.try_others(&mut received, pool);
        self.look_ahead_along_routes(&received);
        for packet in received {
            self.forward(packet, pool, transmit);
        }
        self.discard_provisional(pool);
        self.flush(pool, transmit);
    }

    /// The worker's statistics.
    pub fn stats(&self) -> &Arc<WorkerStats> {
        &self.stats
    }

    fn emit(&self, event: Event) {
        if !self.shared.events.send(event) {
            self.stats.events_lost.add(1);
        }
    }

    /// Counts a drop without a frame: that of a copy that was never made.
    fn count_drop(&self, leg: u32, reason: DropReason) {
        self.stats.dropped.count(reason);
        if let Some(leg) = self.legs.get(leg) {
            leg.count_drop(reason);
        }
    }

    fn discard(&self, frame: Frame, leg: u32, reason: DropReason, pool: &mut Pool) {
        self.count_drop(leg, reason);
        pool.free(frame);
    }

    fn wake_owners(&mut self) {
        for worker in self.to_wake.drain(..) {
            if let Some(inbox) = self.shared.inboxes.get(worker) {
                inbox.wake();
            }
        }
    }
}
