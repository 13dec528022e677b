//! The state behind the API, and how to find things in it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use sluice_datapath::{Direction, LegId, LegStats, RouteId};
use sluice_proto::v1;
use sluice_srtp::{KeyId, KeyOptions, RocOnRekey, Suite};

use super::rings::Ring;
use super::sending::{Fingerprint, SendingKey};
use super::shared::SharedPorts;
use super::taps::Tap;
use crate::ApiError;
use crate::config::PortRange;
use crate::ports::Ports;

pub(super) struct State {
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) ports: Ports,
    pub(super) shared: SharedPorts,
    load: Vec<Load>,
    next_leg: LegId,
    next_route: RouteId,
}

/// What a worker carries.
#[derive(Clone, Copy, Default)]
struct Load {
    sessions: usize,
    legs: usize,
}

#[derive(Clone)]
pub(super) struct Session {
    pub(super) labels: HashMap<String, String>,
    pub(super) worker: usize,
    pub(super) legs: BTreeMap<String, Leg>,
    pub(super) routes: BTreeMap<String, Route>,
    pub(super) taps: BTreeMap<String, Tap>,
}

#[derive(Clone)]
pub(super) struct Leg {
    pub(super) number: LegId,
    /// As the client gave and changed it.
    pub(super) config: v1::LegConfig,
    pub(super) local_rtp: SocketAddr,
    pub(super) local_rtcp: SocketAddr,
    pub(super) stats: Arc<LegStats>,
    pub(super) keys: Vec<Key>,
    /// Of a leg whose peer is a local application.
    pub(super) ring: Option<Ring>,
    /// What payload types mean, as far as signalling said it.
    pub(super) codecs: Vec<(u8, String)>,
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) number: KeyId,
    pub(super) direction: Direction,
    pub(super) suite: Suite,
    pub(super) options: KeyOptions,
    pub(super) fingerprint: Fingerprint,
    /// Of a key for sending: what keeps others from sending under it.
    pub(super) sending: Option<Arc<SendingKey>>,
    /// Whether other legs of the session may send under it as well.
    pub(super) shared: bool,
    /// How rollover counters go on under it.
    pub(super) roc: RocOnRekey,
    /// When it is to go, if it is; one for sending is of no use from then on.
    pub(super) retiring: Option<Instant>,
}

#[derive(Clone)]
pub(super) struct Route {
    pub(super) number: RouteId,
    pub(super) route: v1::Route,
}

impl State {
    pub(super) fn new(workers: usize, ports: PortRange) -> Self {
        Self {
            sessions: BTreeMap::new(),
            ports: Ports::new(ports),
            shared: SharedPorts::default(),
            load: vec![Load::default(); workers.max(1)],
            next_leg: 1,
            next_route: 1,
        }
    }

    pub(super) fn session(&mut self, id: &str) -> Result<&mut Session, ApiError> {
        self.sessions.get_mut(id).ok_or_else(|| ApiError::not_found("session", "session", id))
    }

    /// The worker with the fewest legs; among those with equally many, the fewest sessions, as their
    /// legs are still to come. A worker that died gets none.
    pub(super) fn home_worker(&self, is_alive: impl Fn(usize) -> bool) -> Option<usize> {
        let alive = self.load.iter().enumerate().filter(|(worker, _)| is_alive(*worker));
        alive.min_by_key(|(_, load)| (load.legs, load.sessions)).map(|(worker, _)| worker)
    }

    pub(super) fn count_sessions(&mut self, worker: usize, change: isize) {
        if let Some(load) = self.load.get_mut(worker) {
            load.sessions = load.sessions.saturating_add_signed(change);
        }
    }

    pub(super) fn count_legs(&mut self, worker: usize, change: isize) {
        if let Some(load) = self.load.get_mut(worker) {
            load.legs = load.legs.saturating_add_signed(change);
        }
    }

    pub(super) fn leg_number(&mut self) -> LegId {
        let number = self.next_leg;
        // Beyond that the engine names ports.
        self.next_leg = (self.next_leg + 1) % sluice_datapath::MAX_NUMBER;
        self.next_leg = self.next_leg.max(1);
        number
    }

    pub(super) fn route_number(&mut self) -> RouteId {
        let number = self.next_route;
        self.next_route = self.next_route.wrapping_add(1).max(1);
        number
    }
}

impl Session {
    pub(super) fn leg(&mut self, field: &'static str, id: &str) -> Result<&mut Leg, ApiError> {
        self.legs.get_mut(id).ok_or_else(|| ApiError::not_found("leg", field, id))
    }
}

impl Key {
    pub(super) fn shown(&self) -> v1::Key {
        v1::Key {
            id: self.id.clone(),
            direction: match self.direction {
                Direction::Inbound => v1::Direction::Inbound,
                Direction::Outbound => v1::Direction::Outbound,
            }
            .into(),
            suite: self.suite.name().to_owned(),
            mki_length: self.options.mki.len() as u32,
            retiring: self.retiring.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(workers: usize) -> State {
        State::new(workers, PortRange { first: 2000, last: 2001 })
    }

    #[test]
    fn sessions_spread_before_they_have_legs() {
        let mut state = state(3);
        let homes = (0..6).map(|_| {
            let home = state.home_worker(|_| true).unwrap();
            state.count_sessions(home, 1);
            home
        });
        assert_eq!(homes.collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        state.count_legs(0, 2);
        state.count_legs(1, 1);
        assert_eq!(state.home_worker(|_| true), Some(2));
    }

    #[test]
    fn a_dead_worker_gets_no_session() {
        let state = state(2);
        assert_eq!(state.home_worker(|worker| worker != 0), Some(1));
        assert_eq!(state.home_worker(|_| false), None);
    }
}
