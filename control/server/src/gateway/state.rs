//! The state behind the API, and how to find things in it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use sluice_datapath::{Direction, LegId, LegStats, RouteId};
use sluice_proto::v1;
use sluice_srtp::{KeyId, Suite};

use crate::ApiError;
use crate::config::PortRange;
use crate::ports::Ports;

pub(super) struct State {
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) ports: Ports,
    pub(super) fingerprints: Fingerprints,
    /// Legs on each worker.
    load: Vec<usize>,
    next_leg: LegId,
    next_route: RouteId,
}

#[derive(Clone)]
pub(super) struct Session {
    pub(super) labels: HashMap<String, String>,
    pub(super) worker: usize,
    pub(super) legs: BTreeMap<String, Leg>,
    pub(super) routes: BTreeMap<String, Route>,
}

#[derive(Clone)]
pub(super) struct Leg {
    pub(super) number: LegId,
    /// As the client gave it.
    pub(super) config: v1::LegConfig,
    pub(super) local_rtp: SocketAddr,
    pub(super) local_rtcp: SocketAddr,
    pub(super) stats: Arc<LegStats>,
    pub(super) keys: Vec<Key>,
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) number: KeyId,
    pub(super) direction: Direction,
    pub(super) suite: Suite,
    pub(super) mki: Vec<u8>,
    pub(super) fingerprint: Fingerprint,
    pub(super) retiring: bool,
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
            fingerprints: Fingerprints::default(),
            load: vec![0; workers.max(1)],
            next_leg: 1,
            next_route: 1,
        }
    }

    pub(super) fn session(&mut self, id: &str) -> Result<&mut Session, ApiError> {
        self.sessions.get_mut(id).ok_or_else(|| ApiError::not_found("session", "session", id))
    }

    /// The worker with the fewest legs.
    pub(super) fn home_worker(&self) -> usize {
        let least = self.load.iter().enumerate().min_by_key(|(_, legs)| **legs);
        least.map_or(0, |(worker, _)| worker)
    }

    pub(super) fn count_legs(&mut self, worker: usize, change: isize) {
        if let Some(load) = self.load.get_mut(worker) {
            *load = load.saturating_add_signed(change);
        }
    }

    pub(super) fn leg_number(&mut self) -> LegId {
        let number = self.next_leg;
        self.next_leg = self.next_leg.wrapping_add(1).max(1);
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
            mki_length: self.mki.len() as u32,
            retiring: self.retiring,
        }
    }
}

/// Tells equal key material from different without keeping it: 128 bits under keys of this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(u64, u64);

/// Who sends under which key, so that no key is used for sending in two places (RFC 3711 §9.1).
#[derive(Default)]
pub(super) struct Fingerprints {
    hashers: (RandomState, RandomState),
    numbers: HashMap<Fingerprint, KeyId>,
    /// The leg that sends under the key now.
    sending: HashMap<Fingerprint, LegId>,
    next: u64,
}

impl Fingerprints {
    pub(super) fn of(&self, suite: Suite, material: &[u8]) -> Fingerprint {
        let of = |hasher: &RandomState| hasher.hash_one((suite, material));
        Fingerprint(of(&self.hashers.0), of(&self.hashers.1))
    }

    /// The key's number. Equal material keeps its number, by which the engine knows which indices it
    /// was used for.
    pub(super) fn number(&mut self, fingerprint: Fingerprint) -> KeyId {
        let next = &mut self.next;
        *self.numbers.entry(fingerprint).or_insert_with(|| {
            *next += 1;
            KeyId(*next)
        })
    }

    /// Marks the key as sent under by `leg`, or says which leg does already.
    pub(super) fn claim(&mut self, fingerprint: Fingerprint, leg: LegId) -> Result<(), LegId> {
        if let Some(other) = self.sending.get(&fingerprint) {
            return Err(*other);
        }
        self.sending.insert(fingerprint, leg);
        Ok(())
    }

    pub(super) fn release(&mut self, fingerprint: Fingerprint) {
        self.sending.remove(&fingerprint);
    }
}
