//! What workers and the engine tell control.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError};
use sluice_classifier::Verdict;
use sluice_io::{Component, Path, Unreachable};
use sluice_srtp::KeyId;

use crate::{Direction, LegId, RouteId};

/// What happened. Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first media of a leg was accepted.
    FirstMedia {
        /// Which leg.
        leg: LegId,
        /// The stream.
        ssrc: u32,
        /// How it came.
        path: Path,
        /// When it was received.
        at: u64,
    },
    /// A stream was accepted for the first time.
    StreamStarted {
        /// Which leg.
        leg: LegId,
        /// The stream.
        ssrc: u32,
        /// When.
        at: u64,
    },
    /// A stream was idle for too long, or its leg was removed.
    StreamStopped {
        /// Which leg.
        leg: LegId,
        /// The stream.
        ssrc: u32,
        /// Packets accepted.
        packets: u64,
        /// Bytes accepted (UDP payload).
        bytes: u64,
        /// When.
        at: u64,
    },
    /// Many packets with a wrong tag within a second. One event per burst.
    AuthFailureBurst {
        /// Which leg.
        leg: LegId,
        /// How many in the burst's first second.
        count: u64,
        /// End of that second.
        at: u64,
    },
    /// Many replayed packets within a second. One event per burst.
    ReplayBurst {
        /// Which leg.
        leg: LegId,
        /// How many in the burst's first second.
        count: u64,
        /// End of that second.
        at: u64,
    },
    /// A key nears the end of its lifetime: install another one.
    KeyExpiring {
        /// Which leg.
        leg: LegId,
        /// Which direction.
        direction: Direction,
        /// Which key.
        key: KeyId,
        /// Packets that may still be protected or accepted under it.
        remaining: u64,
        /// When.
        at: u64,
    },
    /// A key's lifetime is over: nothing more is protected or accepted under it.
    KeyExpired {
        /// Which leg.
        leg: LegId,
        /// Which direction.
        direction: Direction,
        /// Which key.
        key: KeyId,
        /// When.
        at: u64,
    },
    /// Two sources use one SSRC under one outbound key.
    SsrcClash {
        /// The leg that sends.
        leg: LegId,
        /// The route of the later source.
        route: RouteId,
        /// The later source's SSRC.
        ssrc: u32,
        /// The SSRC under which it is sent instead; `None`: it is not sent.
        rewritten: Option<u32>,
        /// When.
        at: u64,
    },
    /// A leg's media takes another path now.
    PathChange {
        /// Which leg.
        leg: LegId,
        /// Before.
        from: Path,
        /// Now.
        to: Path,
        /// When.
        at: u64,
    },
    /// A leg's remote address was learnt, or moved.
    RemoteChanged {
        /// Which leg.
        leg: LegId,
        /// Which of its transport components.
        component: Component,
        /// Before.
        from: Option<SocketAddr>,
        /// Now.
        to: SocketAddr,
        /// How often signalling had moved the leg's peer by then: its next word makes this out of date.
        signalled: u64,
        /// When.
        at: u64,
    },
    /// What was kept for a leg's inbound key played out, under the key or, before the first, as plain RTP; what did not
    /// authenticate was dropped.
    EarlyMediaReleased {
        /// Which leg.
        leg: LegId,
        /// How many packets.
        packets: u64,
        /// How long the oldest of them was kept.
        waited: Duration,
        /// When.
        at: u64,
    },
    /// ICMP says that datagrams do not reach a leg's peer. Anybody may forge that: media goes on. At most one event
    /// per second and leg.
    Unreachable {
        /// Which leg.
        leg: LegId,
        /// Which of its transport components.
        component: Component,
        /// The peer's address.
        remote: SocketAddr,
        /// Why.
        why: Unreachable,
        /// Who says so.
        by: Option<IpAddr>,
        /// How many such errors since the last event.
        count: u64,
        /// When.
        at: u64,
    },
    /// Datagrams to a leg's peer are dropped, since they are larger than the path takes. At most one event per
    /// second and leg.
    MtuExceeded {
        /// Which leg.
        leg: LegId,
        /// Octets of the last one's IP packet.
        size: usize,
        /// Largest IP packet that the path takes, as far as that is known.
        mtu: Option<u32>,
        /// How many since the last event.
        count: u64,
        /// When.
        at: u64,
    },
    /// A datagram of a negotiation arrived.
    Negotiation {
        /// Which leg.
        leg: LegId,
        /// Which of its transport components.
        component: Component,
        /// Where it came from.
        remote: SocketAddr,
        /// What it is: STUN, DTLS or ZRTP.
        verdict: Verdict,
        /// UDP payload.
        bytes: Box<[u8]>,
    },
    /// Part of the datapath was lost; media goes on by the way that is left.
    DatapathDegraded {
        /// The interface.
        interface: String,
        /// What was lost.
        reason: String,
    },
    /// Datagrams come faster than a worker takes them: the kernel drops the newest at its rings or sockets.
    OverloadBegan {
        /// Which worker.
        worker: usize,
        /// When.
        at: u64,
    },
    /// A worker has kept up for a second.
    OverloadEnded {
        /// Which worker.
        worker: usize,
        /// What the kernel dropped meanwhile.
        dropped: u64,
        /// When.
        at: u64,
    },
    /// A worker ended although nobody told it to: its legs are without media.
    WorkerDied {
        /// Which worker.
        worker: usize,
        /// What it said.
        reason: String,
    },
}

/// Where a worker puts its events: a bounded queue. An event that finds it full is lost and counted.
#[derive(Clone, Debug)]
pub(crate) struct EventSender(Sender<Event>);

impl EventSender {
    /// Whether the event found room.
    pub(crate) fn send(&self, event: Event) -> bool {
        // Without a receiver nobody wants events: none is lost.
        !matches!(self.0.try_send(event), Err(TrySendError::Full(_)))
    }

    /// Whether what anybody may send, authenticated or not, has had its share: the rest of the queue is for
    /// what the workers have to say.
    pub(crate) fn is_more_than_half_full(&self) -> bool {
        self.0.capacity().is_some_and(|capacity| self.0.len() > capacity / 2)
    }
}

/// Where control takes events from.
#[derive(Clone, Debug)]
pub struct EventReceiver(Receiver<Event>);

impl EventReceiver {
    /// Blocks for the next event; `None` once the engine has shut down and all events are taken.
    pub fn recv(&self) -> Option<Event> {
        self.0.recv().ok()
    }

    /// The next event if there is one within `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        self.0.recv_timeout(timeout)
    }

    /// The next event if there is one now.
    pub fn try_recv(&self) -> Result<Event, TryRecvError> {
        self.0.try_recv()
    }

    /// The events that are there now.
    pub fn drain(&self) -> impl Iterator<Item = Event> + '_ {
        self.0.try_iter()
    }
}

pub(crate) fn channel(capacity: usize) -> (EventSender, EventReceiver) {
    let (sender, receiver) = crossbeam::channel::bounded(capacity);
    (EventSender(sender), EventReceiver(receiver))
}
