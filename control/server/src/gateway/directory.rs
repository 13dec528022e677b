//! From the engine's numbers to the clients' ids: what events need, without the state's lock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};

use sluice_datapath::{LegId, RouteId};
use sluice_srtp::KeyId;

/// What is known of a leg by its number.
#[derive(Clone, Debug)]
pub(crate) struct LegNames {
    pub(crate) session: String,
    pub(crate) leg: String,
    pub(crate) worker: usize,
    /// The peer's address as the worker learnt it.
    pub(crate) learnt: Option<SocketAddr>,
}

#[derive(Default)]
struct Names {
    legs: HashMap<LegId, LegNames>,
    routes: HashMap<RouteId, String>,
    keys: HashMap<(LegId, KeyId), String>,
}

/// Ids by number.
#[derive(Default)]
pub(crate) struct Directory(RwLock<Names>);

impl Directory {
    pub(crate) fn leg(&self, leg: LegId) -> Option<LegNames> {
        self.read(|names| names.legs.get(&leg).cloned())
    }

    pub(crate) fn route(&self, route: RouteId) -> Option<String> {
        self.read(|names| names.routes.get(&route).cloned())
    }

    pub(crate) fn key(&self, leg: LegId, key: KeyId) -> Option<String> {
        self.read(|names| names.keys.get(&(leg, key)).cloned())
    }

    pub(super) fn add_leg(&self, leg: LegId, names: LegNames) {
        self.write(|all| all.legs.insert(leg, names));
    }

    pub(super) fn add_route(&self, route: RouteId, id: String) {
        self.write(|all| all.routes.insert(route, id));
    }

    pub(super) fn add_key(&self, leg: LegId, key: KeyId, id: String) {
        self.write(|all| all.keys.insert((leg, key), id));
    }

    pub(super) fn remove_leg(&self, leg: LegId) {
        self.write(|all| {
            all.legs.remove(&leg);
            all.keys.retain(|(of, _), _| *of != leg);
        });
    }

    pub(super) fn remove_route(&self, route: RouteId) {
        self.write(|all| all.routes.remove(&route));
    }

    pub(super) fn remove_key(&self, leg: LegId, key: KeyId) {
        self.write(|all| all.keys.remove(&(leg, key)));
    }

    /// Remembers where the worker sends now; `None` forgets it.
    pub(crate) fn learnt(&self, leg: LegId, remote: Option<SocketAddr>) {
        self.write(|all| {
            if let Some(names) = all.legs.get_mut(&leg) {
                names.learnt = remote;
            }
        });
    }

    fn read<T>(&self, look: impl FnOnce(&Names) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Names) -> T) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
