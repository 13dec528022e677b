//! Beside the workers, one thread that watches: next hops of the legs' peers, and whether XDP is still
//! attached.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use sluice_io::{Component, NextHop};

use crate::command::{Command, ticket};
use crate::event::EventSender;
use crate::inbox::{Envelope, Inbox};
use crate::pipeline::{Resolve, Resolver};
use crate::steering::Interfaces;
use crate::{Event, LegId};

/// Requests that may wait; a worker whose request finds no room asks again later.
const REQUESTS: usize = 4096;
const TICK: Duration = Duration::from_millis(100);
/// How often everything is looked up although nothing is known to have changed.
const PERIOD: Duration = Duration::from_secs(1);

/// Finds next hops, and notices when they may have changed.
pub(crate) trait Lookup {
    /// The next hop towards `remote` from `local`; `None` while the kernel does not know it.
    fn next_hop(&mut self, local: SocketAddr, remote: SocketAddr) -> Option<NextHop>;
    /// Whether routes, neighbours or links changed since the last call.
    fn changed(&mut self) -> bool;
}

/// The workers' way to the watching thread.
pub(crate) struct Requests(Sender<Resolve>);

impl Resolver for Requests {
    fn request(&self, request: Resolve) -> bool {
        self.0.try_send(request).is_ok()
    }
}

pub(crate) fn requests() -> (Requests, Receiver<Resolve>) {
    let (sender, receiver) = crossbeam::channel::bounded(REQUESTS);
    (Requests(sender), receiver)
}

/// What a leg's component sends to, and what the worker was told of it.
struct Peer {
    local: SocketAddr,
    remote: SocketAddr,
    /// `None`: nothing yet, which is the same to the worker as an unresolved next hop.
    told: Option<NextHop>,
}

pub(crate) struct Watch<L> {
    pub(crate) requests: Receiver<Resolve>,
    pub(crate) stop: Receiver<()>,
    pub(crate) lookup: L,
    pub(crate) inboxes: Arc<[Arc<Inbox>]>,
    pub(crate) interfaces: Arc<Interfaces>,
    pub(crate) events: EventSender,
    peers: HashMap<(usize, LegId, Component), Peer>,
    lost: Vec<bool>,
}

impl<L: Lookup> Watch<L> {
    pub(crate) fn new(
        requests: Receiver<Resolve>,
        stop: Receiver<()>,
        lookup: L,
        inboxes: Arc<[Arc<Inbox>]>,
        interfaces: Arc<Interfaces>,
        events: EventSender,
    ) -> Self {
        let lost = vec![false; interfaces.0.len()];
        Self { requests, stop, lookup, inboxes, interfaces, events, peers: HashMap::new(), lost }
    }

    /// Watches until told to stop.
    pub(crate) fn run(&mut self) {
        let mut looked_at = Instant::now();
        loop {
            match self.requests.recv_timeout(TICK) {
                Ok(request) => self.heed(request),
                Err(RecvTimeoutError::Timeout) => {}
                // No worker is left to ask; only the order to stop remains to be waited for.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
            if !matches!(self.stop.try_recv(), Err(crossbeam::channel::TryRecvError::Empty)) {
                return;
            }
            let due = looked_at.elapsed() >= PERIOD;
            if due {
                looked_at = Instant::now();
                self.check_interfaces();
            }
            let changed = self.lookup.changed();
            self.resolve_all(due || changed);
        }
    }

    pub(crate) fn heed(&mut self, request: Resolve) {
        match request {
            Resolve::Watch { worker, leg, component, local, remote } => {
                let key = (worker, leg, component);
                self.peers.insert(key, Peer { local, remote, told: None });
                self.resolve(key);
            }
            Resolve::Forget { worker, leg } => {
                self.peers.retain(|key, _| (key.0, key.1) != (worker, leg));
            }
        }
    }

    /// Looks up the peers that are unresolved, or all.
    fn resolve_all(&mut self, all: bool) {
        let due = |peer: &Peer| all || peer.told.is_none();
        let keys: Vec<_> = self.peers.iter().filter(|(_, peer)| due(peer)).map(|(key, _)| *key).collect();
        for key in keys {
            self.resolve(key);
        }
    }

    fn resolve(&mut self, key: (usize, LegId, Component)) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let next_hop = self.lookup.next_hop(peer.local, peer.remote);
        if next_hop == peer.told {
            return;
        }
        let (worker, leg, component) = key;
        let command = Command::SetNextHop { leg, component, remote: peer.remote, next_hop };
        let Some(inbox) = self.inboxes.get(worker) else { return };
        // Nobody waits: if the leg is gone, so is the wish.
        let (_, answer) = ticket();
        if inbox.commands.push(Envelope { command: Box::new(command), answer }).is_ok() {
            peer.told = next_hop;
            inbox.wake();
        }
    }

    fn check_interfaces(&mut self) {
        for (interface, lost) in self.interfaces.0.iter().zip(&mut self.lost) {
            let is_lost = !interface.is_attached();
            if is_lost && !*lost {
                let reason = "the XDP program was detached or the interface is gone; media goes by the \
                              legs' kernel sockets until the engine starts anew";
                self.events.send(Event::DatapathDegraded {
                    interface: interface.name.clone(),
                    reason: reason.into(),
                });
            }
            *lost = is_lost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    struct Table(HashMap<SocketAddr, NextHop>);

    impl Lookup for Table {
        fn next_hop(&mut self, _: SocketAddr, remote: SocketAddr) -> Option<NextHop> {
            self.0.get(&remote).copied()
        }

        fn changed(&mut self) -> bool {
            false
        }
    }

    fn hop(last: u8) -> NextHop {
        NextHop { ifindex: 3, source: [2; 6], destination: [2, 0, 0, 0, 0, last], vlan: None, mtu: 1500 }
    }

    #[test]
    fn workers_hear_of_a_next_hop_once_it_is_known_and_whenever_it_changes() {
        let limits = Limits { commands: 8, ..Limits::default() };
        let inboxes: Arc<[Arc<Inbox>]> = [Arc::new(Inbox::new(&limits))].into();
        let (events, _receiver) = crate::event::channel(4);
        let (_requests, receiver) = requests();
        let (_stop, stop) = crossbeam::channel::bounded(1);
        let table = Table(HashMap::new());
        let interfaces = Arc::new(Interfaces::default());
        let mut watch = Watch::new(receiver, stop, table, Arc::clone(&inboxes), interfaces, events);
        let (local, remote) = (([192, 0, 2, 1], 4000).into(), ([192, 0, 2, 2], 5000).into());
        let told = || {
            let envelope = inboxes[0].commands.pop()?;
            match *envelope.command {
                Command::SetNextHop { next_hop, .. } => next_hop,
                other => panic!("{other:?}"),
            }
        };
        watch.heed(Resolve::Watch { worker: 0, leg: 1, component: Component::Rtp, local, remote });
        assert_eq!(told(), None);
        watch.lookup.0.insert(remote, hop(1));
        watch.resolve_all(false);
        assert_eq!(told(), Some(hop(1)));
        watch.lookup.0.insert(remote, hop(2));
        watch.resolve_all(true);
        assert_eq!(told(), Some(hop(2)));
        watch.heed(Resolve::Forget { worker: 0, leg: 1 });
        watch.lookup.0.insert(remote, hop(3));
        watch.resolve_all(true);
        assert_eq!(told(), None);
    }
}
