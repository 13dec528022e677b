//! From the engine's numbers to the clients' ids: what events need, without the state's lock.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use sluice_datapath::{LegId, RouteId};
use sluice_srtp::KeyId;

/// How long names outlive what they name: events that were on their way still want them.
const AFTERLIFE: Duration = Duration::from_secs(10);

/// What is known of a leg by its number.
#[derive(Clone, Debug)]
pub(crate) struct LegNames {
    pub(crate) session: String,
    pub(crate) leg: String,
    pub(crate) worker: usize,
    /// How often signalling moved the peer.
    signalled: u64,
    /// The peer's address as the worker learnt it, and how often signalling had moved it by then.
    learnt: Option<(SocketAddr, u64)>,
    negotiation: Told,
    /// What of it is the leg's own business in the media path.
    negotiates: Negotiates,
}

/// What a leg negotiates in its media path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Negotiates {
    pub(crate) dtls: bool,
    pub(crate) ice: bool,
}

impl LegNames {
    pub(super) fn new(session: String, leg: String, worker: usize) -> Self {
        Self {
            session,
            leg,
            worker,
            signalled: 0,
            learnt: None,
            negotiation: Told::default(),
            negotiates: Negotiates::default(),
        }
    }

    /// The address that the worker learnt, unless signalling moved the peer since.
    pub(super) fn learnt(&self) -> Option<SocketAddr> {
        self.learnt.filter(|(_, signalled)| *signalled == self.signalled).map(|(remote, _)| remote)
    }
}

/// Negotiation datagrams of a leg that are told of per second: anybody can send them, and watchers have
/// other things to hear.
const NEGOTIATION_PER_SECOND: u32 = 10;

/// Which negotiation datagrams of a leg were told of.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    second: Option<Instant>,
    in_second: u32,
    untold: u64,
}

/// Ids of keys, and since when each goes by its id.
type KeyNames = HashMap<KeyId, (String, Instant)>;

#[derive(Default)]
struct Names {
    /// With each leg its keys.
    legs: HashMap<LegId, (LegNames, KeyNames)>,
    routes: HashMap<RouteId, String>,
    /// What is gone and will be forgotten, oldest first.
    leaving: VecDeque<(Instant, Leaving)>,
}

enum Leaving {
    Leg(LegId),
    Route(RouteId),
    Key(LegId, KeyId),
}

/// Ids by number.
#[derive(Default)]
pub(crate) struct Directory(RwLock<Names>);

impl Directory {
    pub(crate) fn leg(&self, leg: LegId) -> Option<LegNames> {
        self.read(|names| names.legs.get(&leg).map(|(names, _)| names.clone()))
    }

    /// The worker that has a leg.
    pub(crate) fn worker(&self, leg: LegId) -> Option<usize> {
        self.read(|names| Some(names.legs.get(&leg)?.0.worker))
    }

    /// What a leg negotiates in its media path.
    pub(crate) fn what_it_negotiates(&self, leg: LegId) -> Negotiates {
        self.read(|names| names.legs.get(&leg).map(|(names, _)| names.negotiates)).unwrap_or_default()
    }

    /// Where a leg's peer was heard to be, unless signalling moved it since.
    pub(crate) fn learnt_remote(&self, leg: LegId) -> Option<SocketAddr> {
        self.read(|names| names.legs.get(&leg)?.0.learnt())
    }

    pub(crate) fn route(&self, route: RouteId) -> Option<String> {
        self.read(|names| names.routes.get(&route).cloned())
    }

    pub(crate) fn key(&self, leg: LegId, key: KeyId) -> Option<String> {
        self.read(|names| Some(names.legs.get(&leg)?.1.get(&key)?.0.clone()))
    }

    /// Whether a leg has any key.
    pub(crate) fn has_keys(&self, leg: LegId) -> bool {
        self.read(|names| names.legs.get(&leg).is_some_and(|(_, keys)| !keys.is_empty()))
    }

    pub(super) fn add_leg(&self, leg: LegId, names: LegNames) {
        self.write(|all| drop(all.legs.insert(leg, (names, HashMap::new()))));
    }

    pub(super) fn add_route(&self, route: RouteId, id: String) {
        self.write(|all| drop(all.routes.insert(route, id)));
    }

    pub(super) fn add_key(&self, leg: LegId, key: KeyId, id: String) {
        self.write(|all| {
            if let Some((_, keys)) = all.legs.get_mut(&leg) {
                keys.insert(key, (id, Instant::now()));
            }
        });
    }

    /// The leg's keys go with it.
    pub(super) fn remove_leg(&self, leg: LegId) {
        self.write(|all| all.leave(Leaving::Leg(leg), Instant::now()));
    }

    pub(super) fn remove_route(&self, route: RouteId) {
        self.write(|all| all.leave(Leaving::Route(route), Instant::now()));
    }

    pub(super) fn remove_key(&self, leg: LegId, key: KeyId) {
        self.write(|all| all.leave(Leaving::Key(leg, key), Instant::now()));
    }

    /// Remembers where the worker sends now. What it says may come before the answer to the command that
    /// moved the peer, or after; `signalled` tells on which side of it the worker learnt.
    pub(crate) fn learnt(&self, leg: LegId, remote: SocketAddr, signalled: u64) {
        self.write(|all| {
            if let Some((names, _)) = all.legs.get_mut(&leg) {
                names.learnt = Some((remote, signalled));
            }
        });
    }

    /// Another worker has the leg.
    pub(super) fn moved(&self, leg: LegId, worker: usize) {
        self.write(|all| {
            if let Some((names, _)) = all.legs.get_mut(&leg) {
                names.worker = worker;
            }
        });
    }

    /// What a leg negotiates in its media path; whether it did nothing of that before.
    pub(super) fn negotiates(&self, leg: LegId, what: Negotiates) -> bool {
        let mut is_new = false;
        self.write(|all| {
            if let Some((names, _)) = all.legs.get_mut(&leg) {
                is_new = std::mem::replace(&mut names.negotiates, what) == Negotiates::default();
            }
        });
        is_new
    }

    /// A leg negotiates nothing any more; whether it did.
    pub(super) fn negotiates_no_more(&self, leg: LegId) -> bool {
        let mut did = false;
        self.write(|all| {
            if let Some((names, _)) = all.legs.get_mut(&leg) {
                did = std::mem::take(&mut names.negotiates) != Negotiates::default();
            }
        });
        did
    }

    /// The worker was told where the peer is, by who found it in the media path.
    pub(crate) fn found(&self, leg: LegId, remote: SocketAddr) {
        self.write(|all| {
            if let Some((names, _)) = all.legs.get_mut(&leg) {
                // For the worker it is as if signalling had said it.
                names.signalled += 1;
                names.learnt = Some((remote, names.signalled));
            }
        });
    }

    /// Signalling moved the peer.
    pub(super) fn signalled(&self, leg: LegId) {
        self.write(|all| {
            if let Some((names, _)) = all.legs.get_mut(&leg) {
                names.signalled += 1;
            }
        });
    }

    /// Whether watchers shall hear of another negotiation datagram of the leg; then also, how many there
    /// were since the last of which they did.
    pub(crate) fn tell_negotiation(&self, leg: LegId) -> Option<u64> {
        let mut tell = None;
        self.write(|all| {
            if let Some((names, _)) = all.legs.get_mut(&leg) {
                tell = names.negotiation.tell(Instant::now());
            }
        });
        tell
    }

    fn read<T>(&self, look: impl FnOnce(&Names) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Names)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Told {
    fn tell(&mut self, now: Instant) -> Option<u64> {
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.in_second) = (Some(now), 0);
        }
        if self.in_second == NEGOTIATION_PER_SECOND {
            self.untold += 1;
            return None;
        }
        self.in_second += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

impl Names {
    fn leave(&mut self, leaving: Leaving, now: Instant) {
        while let Some((since, _)) = self.leaving.front()
            && now.duration_since(*since) > AFTERLIFE
            && let Some((since, gone)) = self.leaving.pop_front()
        {
            self.forget(&gone, since);
        }
        self.leaving.push_back((now, leaving));
    }

    fn forget(&mut self, gone: &Leaving, since: Instant) {
        match gone {
            Leaving::Leg(leg) => drop(self.legs.remove(leg)),
            Leaving::Route(route) => drop(self.routes.remove(route)),
            Leaving::Key(leg, key) => {
                if let Some((_, keys)) = self.legs.get_mut(leg) {
                    // It may have come back since.
                    keys.retain(|number, (_, added)| number != key || *added > since);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outlive_what_they_name_for_a_while() {
        let mut names = Names::default();
        let leg = LegNames::new("s".into(), "a".into(), 0);
        names.legs.insert(1, (leg.clone(), HashMap::new()));
        names.legs.insert(2, (leg, HashMap::new()));
        let start = Instant::now();
        names.leave(Leaving::Leg(1), start);
        names.leave(Leaving::Leg(2), start + AFTERLIFE);
        assert!(names.legs.contains_key(&1), "an event may be on its way");
        names.leave(Leaving::Route(1), start + AFTERLIFE + Duration::from_millis(1));
        assert!(!names.legs.contains_key(&1) && names.legs.contains_key(&2));
    }

    #[test]
    fn what_was_learnt_holds_until_signalling_moves_the_peer_whoever_tells_first() {
        let directory = Directory::default();
        directory.add_leg(1, LegNames::new("s".into(), "a".into(), 0));
        let remote = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let learnt = || directory.leg(1).and_then(|names| names.learnt());
        directory.learnt(1, remote(1), 0);
        assert_eq!(learnt(), Some(remote(1)));
        directory.signalled(1);
        assert_eq!(learnt(), None);
        directory.learnt(1, remote(2), 0);
        assert_eq!(learnt(), None, "learnt before, told after");
        directory.learnt(1, remote(3), 2);
        directory.signalled(1);
        assert_eq!(learnt(), Some(remote(3)), "learnt after, told before");
    }

    #[test]
    fn a_flood_of_negotiation_is_told_in_part_and_the_rest_counted() {
        let (mut told, start) = (Told::default(), Instant::now());
        for _ in 0..NEGOTIATION_PER_SECOND {
            assert_eq!(told.tell(start), Some(0));
        }
        for _ in 0..190 {
            assert_eq!(told.tell(start + Duration::from_millis(999)), None);
        }
        let later = start + Duration::from_secs(1);
        assert_eq!([told.tell(later), told.tell(later)], [Some(190), Some(0)]);
    }
}
