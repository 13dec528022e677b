//! What a leg's peer negotiates where media goes: DTLS-SRTP handshakes and ICE connectivity checks.
//!
//! ```text
//!            ┌ events.rs: STUN, DTLS of legs that have a keyer ┐        ┌─▶ worker: datagrams, addresses, keys
//! workers ───┤                                                 ├─▶ negotiator (thread) ─▶ outcomes (task)
//!            └ gateway: a leg is made, changed, gone           ┘        └─▶ state, audit log, events
//! ```
//! A negotiator has the keyers of its legs, by number, and shares nothing: no lock is taken and nothing awaited between a
//! datagram and what comes of it. Keys go to the worker from that thread; what the rest of the gateway is to know of it
//! follows by a queue.

mod action;
mod association;
mod checks;
mod counters;
mod gate;
mod identity;
mod keyer;
mod negotiator;
mod outcome;
mod reason;
mod threads;
mod wanted;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use sluice_datapath::{Component, LegId};
use sluice_keying::ice::Candidate;
use sluice_proto::v1;
use tokio::sync::oneshot;

use self::counters::Counters;
use self::negotiator::{Datagram, Order};
use self::reason::Reason;
use crate::Config;

pub(crate) use self::identity::OwnCertificates;
pub(crate) use self::threads::Threads;
pub(crate) use self::wanted::{Surroundings, Wanted, peer_candidates};

/// Datagrams that wait for one thread; what comes beyond that is dropped and counted.
const INBOX: usize = 8_192;
/// How long a thread is waited for that is to say how a leg stands, or to end what it has.
const PATIENCE: Duration = Duration::from_millis(500);

/// The ways to the threads, and what all know of them.
pub(crate) struct MediaPath {
    inboxes: Vec<Inbox>,
    /// Until the threads run.
    waiting: Mutex<Vec<Seat>>,
    counters: Arc<Counters>,
    pub(crate) certificates: OwnCertificates,
}

struct Inbox {
    orders: Sender<Order>,
    datagrams: Sender<Datagram>,
}

/// The other ends of an [`Inbox`].
struct Seat {
    orders: Receiver<Order>,
    datagrams: Receiver<Datagram>,
}

impl MediaPath {
    /// Ways to threads that are yet to run.
    pub(crate) fn open(config: &Config) -> Result<Self, String> {
        let certificates = OwnCertificates::open(&config.dtls)?;
        let (mut inboxes, mut waiting) = (Vec::new(), Vec::new());
        for _ in 0..config.dtls.threads.0 {
            let (orders, to_obey) = unbounded();
            let (datagrams, to_take) = bounded(INBOX);
            inboxes.push(Inbox { orders, datagrams });
            waiting.push(Seat { orders: to_obey, datagrams: to_take });
        }
        Ok(Self { inboxes, waiting: Mutex::new(waiting), counters: Arc::default(), certificates })
    }

    /// A leg is to have this handshake and these checks.
    pub(crate) fn set(&self, leg: LegId, wanted: Wanted) {
        self.order(leg, Order::Set(leg, Box::new(wanted)));
    }

    /// More of its peer's candidates, or that there are no more.
    pub(crate) fn add_candidates(&self, leg: LegId, candidates: Vec<Candidate>, end: bool) {
        self.order(leg, Order::Candidates(leg, candidates, end));
    }

    /// A leg is about to go, or has neither any more: its peer is told so, as far as there is an association to tell it by.
    pub(crate) fn stop(&self, leg: LegId) -> Stopping {
        let (told, stopping) = oneshot::channel();
        self.order(leg, Order::Stop(leg, told));
        Stopping(stopping)
    }

    /// A leg's first media came.
    pub(crate) fn first_media(&self, leg: LegId) {
        self.order(leg, Order::FirstMedia(leg, Instant::now()));
    }

    /// Asks how a leg stands.
    pub(crate) fn ask(&self, leg: LegId) -> Asked<v1::MediaPath> {
        let (answer, asked) = oneshot::channel();
        self.order(leg, Order::Show(leg, answer));
        Asked(asked)
    }

    /// Asks which addresses of a leg's peer checks have chosen, by component; none while they have not.
    pub(crate) fn ask_for_chosen(&self, leg: LegId) -> Asked<Vec<(u16, SocketAddr)>> {
        let (answer, asked) = oneshot::channel();
        self.order(leg, Order::Chosen(leg, answer));
        Asked(asked)
    }

    /// A datagram of a leg's peer, or of whoever says so.
    pub(crate) fn take(
        &self,
        leg: LegId,
        is_stun: bool,
        component: Component,
        remote: SocketAddr,
        bytes: Box<[u8]>,
    ) {
        let datagram = Datagram { leg, is_stun, component, remote, bytes };
        let taken = self.inbox(leg).is_some_and(|inbox| inbox.datagrams.try_send(datagram).is_ok());
        if !taken {
            self.counters.drops.count(Reason::Busy);
        }
    }

    /// What was done.
    pub(crate) fn statistics(&self) -> v1::MediaPathStatistics {
        self.counters.shown()
    }

    /// How many legs have a handshake or checks.
    pub(crate) fn count(&self, change: i64) {
        self.counters.legs.fetch_add(change as u64, Ordering::Relaxed);
    }

    fn order(&self, leg: LegId, order: Order) {
        // A thread that is gone is so because the daemon stops.
        let _ = self.inbox(leg).map(|inbox| inbox.orders.send(order));
    }

    fn inbox(&self, leg: LegId) -> Option<&Inbox> {
        self.inboxes.get(leg as usize % self.inboxes.len().max(1))
    }
}

/// A question that a thread is to answer.
pub(crate) struct Asked<T>(oneshot::Receiver<T>);

impl<T> Asked<T> {
    /// The answer; none if there is none in time.
    pub(crate) async fn answer(self) -> Option<T> {
        tokio::time::timeout(PATIENCE, self.0).await.ok()?.ok()
    }
}

/// A leg's handshake and checks that a thread is to end.
pub(crate) struct Stopping(oneshot::Receiver<()>);

impl Stopping {
    /// Waits until the workers were given what all their peers are to hear, or until this has taken too long.
    pub(crate) async fn told(all: Vec<Self>) {
        let told = async {
            // The last one first: a thread does one after the other, so that this waits once for each.
            for Self(one) in all.into_iter().rev() {
                let _ = one.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, told).await;
    }
}

/// The gateway's candidates of a leg: its own addresses, and what they are from outside.
pub(crate) fn own_candidates(config: &Config, local: [SocketAddr; 2], rtcp_mux: bool) -> Vec<Candidate> {
    let components = if rtcp_mux || local[0] == local[1] { 1 } else { 2 };
    let outside = |address: IpAddr| {
        let mut external = config.ice.external.iter();
        external.find(|(inside, _)| inside.0 == address).map(|(_, outside)| outside.0)
    };
    let mut candidates = Vec::new();
    for (component, address) in (1..).zip(local).take(components) {
        candidates.push(Candidate::host(component, address, u16::MAX));
        if let Some(outside) = outside(address.ip()) {
            let mapped = SocketAddr::new(outside, address.port());
            candidates.push(Candidate::mapped(component, mapped, address, u16::MAX));
        }
    }
    candidates
}
