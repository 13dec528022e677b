//! A thread that runs the keyers of some legs. What it is told comes by channels; nobody else touches what it has.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, select};
use sluice_datapath::{Command, Component, LegId, LegUpdate, Signalled};
use sluice_keying::ice::Candidate;
use sluice_proto::v1;
use tokio::sync::{mpsc, oneshot};

use super::action::Action;
use super::counters::Counters;
use super::keyer::{Keyer, Shared};
use super::outcome::Outcome;
use super::reason::Reason;
use super::wanted::Wanted;
use crate::gateway::Gateway;

/// Longest sleep of a thread that awaits nothing.
const IDLE: Duration = Duration::from_mins(1);
/// Timers are no finer.
const TICK: Duration = Duration::from_millis(1);
/// Datagrams that are taken before timers are looked at.
const BATCH: usize = 32;

/// What the gateway tells a thread.
pub(super) enum Order {
    /// A leg is to have this handshake and these checks.
    Set(LegId, Box<Wanted>),
    /// More of its peer's candidates, or that there are no more.
    Candidates(LegId, Vec<Candidate>, bool),
    /// It goes, or has neither any more. Who asked is told once its worker was given what its peer is to hear of that.
    Stop(LegId, oneshot::Sender<()>),
    /// How it stands.
    Show(LegId, oneshot::Sender<v1::MediaPath>),
    /// Which of its peer's addresses checks have chosen, by component.
    Chosen(LegId, oneshot::Sender<Vec<(u16, SocketAddr)>>),
    /// Its first media came.
    FirstMedia(LegId, Instant),
    /// The thread ends.
    End,
}

/// A datagram of a handshake or a check.
pub(super) struct Datagram {
    pub(super) leg: LegId,
    pub(super) is_stun: bool,
    pub(super) component: Component,
    pub(super) remote: SocketAddr,
    pub(super) bytes: Box<[u8]>,
}

/// A thread's state.
pub(super) struct Negotiator {
    pub(super) orders: Receiver<Order>,
    pub(super) datagrams: Receiver<Datagram>,
    pub(super) keyers: HashMap<LegId, Keyer>,
    /// When to look at which leg; what a keyer does not want any more is passed over.
    pub(super) timers: BinaryHeap<Reverse<(Instant, LegId)>>,
    pub(super) shared: Shared,
    pub(super) counted_half_open: usize,
    pub(super) gateway: Arc<Gateway>,
    pub(super) outcomes: mpsc::UnboundedSender<Outcome>,
}

impl Negotiator {
    /// Runs until it is told to end.
    pub(super) fn run(mut self) {
        loop {
            let sleep = self
                .timers
                .peek()
                .map_or(IDLE, |Reverse((at, _))| at.saturating_duration_since(Instant::now()));
            select! {
                recv(self.orders) -> order => match order {
                    Ok(Order::End) | Err(_) => return,
                    Ok(order) => self.obey(order),
                },
                recv(self.datagrams) -> datagram => {
                    let Ok(datagram) = datagram else { return };
                    self.take(&datagram);
                    for _ in 1..BATCH {
                        // What signalling says comes before what anybody may send.
                        if !self.orders.is_empty() {
                            break;
                        }
                        let Ok(datagram) = self.datagrams.try_recv() else { break };
                        self.take(&datagram);
                    }
                },
                default(sleep) => {},
            }
            self.expire();
            self.count();
        }
    }

    fn obey(&mut self, order: Order) {
        let now = Instant::now();
        match order {
            Order::Set(leg, wanted) => {
                match self.keyers.get_mut(&leg) {
                    Some(keyer) => keyer.change(*wanted, &mut self.shared, now),
                    None => drop(self.keyers.insert(leg, Keyer::new(leg, *wanted, &mut self.shared, now))),
                }
                self.perform(leg);
            }
            Order::Candidates(leg, candidates, end) => {
                if let Some(keyer) = self.keyers.get_mut(&leg) {
                    keyer.add_candidates(candidates, end, &mut self.shared, now);
                    self.perform(leg);
                }
            }
            Order::Stop(leg, asked) => {
                if let Some(mut keyer) = self.keyers.remove(&leg) {
                    keyer.stop(&mut self.shared, now);
                    self.perform(leg);
                }
                let _ = asked.send(());
            }
            Order::Show(leg, asked) => {
                if let Some(keyer) = self.keyers.get(&leg) {
                    // Who asked may be gone.
                    let _ = asked.send(keyer.shown());
                }
            }
            Order::Chosen(leg, asked) => {
                if let Some(keyer) = self.keyers.get(&leg) {
                    let _ = asked.send(keyer.chosen());
                }
            }
            Order::FirstMedia(leg, at) => {
                let waited = self.keyers.get_mut(&leg).and_then(|keyer| keyer.first_media(at));
                if let Some(waited) = waited {
                    let _ = self.outcomes.send(Outcome::FirstMedia(waited));
                }
            }
            Order::End => {}
        }
    }

    fn take(&mut self, datagram: &Datagram) {
        let Datagram { leg, is_stun, component, remote, bytes } = datagram;
        let Some(keyer) = self.keyers.get_mut(leg) else {
            // It went while the datagram was on its way here.
            return self.shared.counters.drops.count(Reason::NoAssociation);
        };
        keyer.take(*is_stun, *component, *remote, bytes, &mut self.shared, Instant::now());
        self.perform(*leg);
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, leg))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(keyer) = self.keyers.get_mut(&leg) else { continue };
            // An earlier entry may stand for what it wants now.
            if keyer.armed == Some(at) {
                keyer.armed = None;
                keyer.expire(&mut self.shared, now);
                self.perform(leg);
            }
        }
    }

    /// Does what the keyer of a leg wants, and has it woken when it wants to be.
    fn perform(&mut self, leg: LegId) {
        if let Some(keyer) = self.keyers.get_mut(&leg)
            && let Some(wake) = keyer.wake
        {
            // However often a machine asks for what is past, others have their turn.
            let at = wake.max(Instant::now() + TICK);
            if keyer.armed.is_none_or(|armed| at < armed) {
                keyer.armed = Some(at);
                self.timers.push(Reverse((at, leg)));
            }
        }
        if self.shared.actions.is_empty() {
            return;
        }
        let Some(worker) = self.gateway.directory.worker(leg) else { return self.shared.actions.clear() };
        // The worker knows of keys and addresses before the peer hears that it may use them.
        let mut actions = std::mem::take(&mut self.shared.actions);
        actions.sort_by_key(|action| matches!(action, Action::Send { .. }));
        for action in actions {
            match action {
                Action::Send { component, remote, bytes } => {
                    let command = Command::SendDatagram { leg, component, remote, bytes };
                    if !matches!(self.gateway.try_send(worker, command), Ok(Ok(_))) {
                        self.shared.counters.drops.count(Reason::WorkerBusy);
                    }
                }
                Action::Install { keys, roc, number, finished } => {
                    let given = Box::new(self.gateway.give_negotiated(leg, worker, &keys, roc, number));
                    let _ = self.outcomes.send(Outcome::Keys { given, leg, finished });
                }
                Action::Towards { rtp, rtcp } => {
                    let remote = Some(Signalled { rtp, rtcp });
                    let update = LegUpdate { remote, ..LegUpdate::new(leg) };
                    self.update(leg, worker, update, Some(rtp));
                }
                Action::Silence(silent) => {
                    let update = LegUpdate { silent: Some(silent), ..LegUpdate::new(leg) };
                    self.update(leg, worker, update, None);
                }
                Action::Rekeying(rekeying) => self.await_keys(leg, worker, rekeying),
                Action::Tell(kind) => drop(self.outcomes.send(Outcome::Tell(leg, kind))),
            }
        }
    }

    /// Has a worker keep what comes under keys that are on their way, or no more.
    fn await_keys(&self, leg: LegId, worker: usize, rekeying: bool) {
        let update = LegUpdate { rekeying: Some(rekeying), ..LegUpdate::new(leg) };
        if !rekeying {
            return self.update(leg, worker, update, None);
        }
        // Of a leg without keys, its early media says what becomes of what comes before the first.
        if !self.gateway.directory.has_keys(leg) {
            return;
        }
        // If it waited for room it might come after the keys, and nothing would end what it begins.
        if !matches!(self.gateway.try_send(worker, Command::UpdateLeg(update)), Ok(Ok(_))) {
            tracing::debug!(leg, "the worker is too busy to keep what overtakes another association's keys");
        }
    }

    fn update(&self, leg: LegId, worker: usize, update: LegUpdate, moved: Option<SocketAddr>) {
        let outcome = match self.gateway.try_send(worker, Command::UpdateLeg(update)) {
            Ok(Ok(ticket)) => Outcome::Updated { leg, ticket, moved },
            // Its queue is full: whoever follows outcomes has the patience.
            Ok(Err(_)) => Outcome::Late { leg, update, moved },
            Err(_) => return,
        };
        let _ = self.outcomes.send(outcome);
    }

    /// Tells the counters what is this thread's share.
    fn count(&mut self) {
        let half_open = self.shared.gate.half_open();
        let counters: &Counters = &self.shared.counters;
        let change = (half_open as i64).wrapping_sub(self.counted_half_open as i64);
        if change != 0 {
            counters.half_open.fetch_add(change as u64, Ordering::Relaxed);
            self.counted_half_open = half_open;
        }
    }
}
