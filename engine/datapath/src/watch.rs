//! Beside the workers, one thread that watches: next hops of the legs' peers, and whether XDP is still
//! attached.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use sluice_io::{Component, NextHop};

use crate::command::Command;
use crate::event::EventSender;
use crate::inbox::{Envelope, Inbox};
use crate::pipeline::{Resolve, Resolver};
use crate::steering::Interfaces;
use crate::ticket::ticket;
use crate::{Event, LegId};

/// Requests that may wait; a worker whose request finds no room asks again later.
const REQUESTS: usize = 4096;
const TICK: Duration = Duration::from_millis(100);
/// Peers looked up between two looks at the queue of requests: with many legs, a change takes its time to
/// reach all of them, and new ones need not wait for it.
const BUDGET: usize = 512;
/// How often interfaces are looked at.
const INTERFACES: Duration = Duration::from_secs(1);
/// How often all peers are looked up although nothing is known to have changed.
const PEERS: Duration = Duration::from_secs(5);

/// Finds next hops, and notices when they may have changed.
pub(crate) trait Lookup {
    /// The next hop towards `remote` from `local`; `None` while the kernel does not know it.
    fn next_hop(&mut self, local: SocketAddr, remote: SocketAddr) -> Result<Option<NextHop>, String>;
    /// Whether routes, neighbours or links changed since the last call.
    fn changed(&mut self) -> bool;
    /// From now on, nothing that was found before counts.
    fn refresh(&mut self);
}

/// Routes, neighbours and links as netlink tells them.
pub(crate) struct Netlink {
    resolver: sluice_io::netlink::Resolver,
    watcher: sluice_io::netlink::Watcher,
}

impl Netlink {
    /// Finds next hops over these interfaces, in the network namespace of the calling thread.
    pub(crate) fn open(interfaces: &Interfaces) -> Result<Self, sluice_io::netlink::NetlinkError> {
        let allowed = interfaces.0.iter().map(|interface| interface.ifindex).collect();
        // The watcher first, so that no change falls between the two.
        let watcher = sluice_io::netlink::Watcher::open()?;
        Ok(Self { resolver: sluice_io::netlink::Resolver::open(allowed)?, watcher })
    }
}

impl Lookup for Netlink {
    fn next_hop(&mut self, local: SocketAddr, remote: SocketAddr) -> Result<Option<NextHop>, String> {
        self.resolver.next_hop(local, remote).map_err(|error| error.to_string())
    }

    fn changed(&mut self) -> bool {
        self.watcher.changed_for(&self.resolver)
    }

    fn refresh(&mut self) {
        self.resolver.refresh();
    }
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
    told: Told,
}

/// What a worker has as the next hop to a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Not known: it may have one from before it asked anew.
    Unknown,
    This(Option<NextHop>),
}

pub(crate) struct Watch<L> {
    pub(crate) requests: Receiver<Resolve>,
    pub(crate) stop: Receiver<()>,
    pub(crate) lookup: L,
    pub(crate) inboxes: Arc<[Arc<Inbox>]>,
    pub(crate) interfaces: Arc<Interfaces>,
    pub(crate) events: EventSender,
    peers: HashMap<Key, Peer>,
    /// Peers to be looked up anew.
    due: VecDeque<Key>,
    /// Whether something changed since `due` was filled.
    changed: bool,
    /// Whether the last lookup failed.
    failing: bool,
    lost: Vec<bool>,
}

/// Worker, leg and component.
type Key = (usize, LegId, Component);

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
        Self {
            requests,
            stop,
            lookup,
            inboxes,
            interfaces,
            events,
            peers: HashMap::new(),
            due: VecDeque::new(),
            changed: false,
            failing: false,
            lost,
        }
    }

    /// Watches until told to stop.
    pub(crate) fn run(&mut self) {
        let (mut interfaces_at, mut peers_at) = (Instant::now(), Instant::now());
        loop {
            match self.requests.recv_timeout(if self.due.is_empty() { TICK } else { Duration::ZERO }) {
                Ok(request) => self.heed(request),
                Err(RecvTimeoutError::Timeout) => {}
                // No worker is left to ask; only the order to stop remains to be waited for.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
            if !matches!(self.stop.try_recv(), Err(TryRecvError::Empty)) {
                return;
            }
            if interfaces_at.elapsed() >= INTERFACES {
                interfaces_at = Instant::now();
                self.check_interfaces();
            }
            if peers_at.elapsed() >= PEERS {
                peers_at = Instant::now();
                self.changed = true;
            }
            self.look_up_due();
        }
    }

    pub(crate) fn heed(&mut self, request: Resolve) {
        match request {
            Resolve::Watch { worker, leg, component, local, remote } => {
                let key = (worker, leg, component);
                self.peers.insert(key, Peer { local, remote, told: Told::Unknown });
                self.lookup.refresh();
                self.resolve(key);
            }
            Resolve::Forget { worker, leg } => {
                // By key: a walk over the peers of 100,000 legs for each that goes would hold up those that come.
                for component in [Component::Rtp, Component::Rtcp] {
                    self.peers.remove(&(worker, leg, component));
                }
            }
        }
    }

    /// Looks up a part of the peers whose next hop may have changed.
    fn look_up_due(&mut self) {
        self.changed |= self.lookup.changed();
        if self.due.is_empty() && std::mem::take(&mut self.changed) {
            self.due.extend(self.peers.keys());
            self.lookup.refresh();
        }
        for key in self.due.drain(..BUDGET.min(self.due.len())).collect::<Vec<_>>() {
            self.resolve(key);
        }
    }

    fn resolve(&mut self, key: Key) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let found = self.lookup.next_hop(peer.local, peer.remote);
        let failure = found.as_ref().err().cloned();
        let next_hop = found.unwrap_or_default();
        if peer.told != Told::This(next_hop) {
            let (worker, leg, component) = key;
            let command = Command::SetNextHop { leg, component, remote: peer.remote, next_hop };
            let Some(inbox) = self.inboxes.get(worker) else { return };
            // Nobody waits for the answer: if the leg is gone, so is the wish.
            let (_, answer) = ticket();
            if inbox.commands.push(Envelope { command: Box::new(command), answer }).is_ok() {
                peer.told = Told::This(next_hop);
                inbox.wake();
            } else {
                self.changed = true;
            }
        }
        self.report(failure);
    }

    /// Tells of the first failure in a row.
    fn report(&mut self, failure: Option<String>) {
        let is_first = failure.is_some() && !self.failing;
        self.failing = failure.is_some();
        if let Some(reason) = failure.filter(|_| is_first) {
            let reason =
                format!("next hops cannot be looked up, what is sent goes by kernel sockets: {reason}");
            self.events.send(Event::DatapathDegraded { interface: String::new(), reason });
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

    #[derive(Default)]
    struct Table {
        hops: HashMap<SocketAddr, NextHop>,
        changed: bool,
        broken: bool,
    }

    impl Lookup for Table {
        fn next_hop(&mut self, _: SocketAddr, remote: SocketAddr) -> Result<Option<NextHop>, String> {
            if self.broken { Err("broken".into()) } else { Ok(self.hops.get(&remote).copied()) }
        }

        fn changed(&mut self) -> bool {
            std::mem::take(&mut self.changed)
        }

        fn refresh(&mut self) {}
    }

    fn hop(last: u8) -> NextHop {
        NextHop { ifindex: 3, source: [2; 6], destination: [2, 0, 0, 0, 0, last], vlan: None, mtu: 1500 }
    }

    struct Setting {
        watch: Watch<Table>,
        inboxes: Arc<[Arc<Inbox>]>,
        events: crate::EventReceiver,
    }

    fn setting(commands: usize) -> Setting {
        let limits = Limits { commands, ..Limits::default() };
        let inboxes: Arc<[Arc<Inbox>]> = [Arc::new(Inbox::new(&limits))].into();
        let (sender, events) = crate::event::channel(4);
        let (_, receiver) = requests();
        let (_, stop) = crossbeam::channel::bounded(1);
        let interfaces = Arc::new(Interfaces::default());
        let table = Table::default();
        let watch = Watch::new(receiver, stop, table, Arc::clone(&inboxes), interfaces, sender);
        Setting { watch, inboxes, events }
    }

    impl Setting {
        fn watch(&mut self, leg: LegId) {
            let component = Component::Rtp;
            self.watch.heed(Resolve::Watch { worker: 0, leg, component, local: local(), remote: remote() });
        }

        fn change(&mut self, hop: NextHop) {
            self.watch.lookup.hops.insert(remote(), hop);
            self.watch.lookup.changed = true;
            self.watch.look_up_due();
        }

        /// The next hop that the worker was told of next, and for which leg.
        fn told(&self) -> Option<(LegId, Option<NextHop>)> {
            match *self.inboxes[0].commands.pop()?.command {
                Command::SetNextHop { leg, next_hop, .. } => Some((leg, next_hop)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn local() -> SocketAddr {
        ([192, 0, 2, 1], 4000).into()
    }

    fn remote() -> SocketAddr {
        ([192, 0, 2, 2], 5000).into()
    }

    #[test]
    fn workers_hear_of_a_next_hop_once_it_is_known_and_whenever_it_changes() {
        let mut setting = setting(8);
        setting.watch(1);
        assert_eq!(setting.told(), Some((1, None)), "whatever it had before");
        setting.change(hop(1));
        assert_eq!(setting.told(), Some((1, Some(hop(1)))));
        setting.watch.look_up_due();
        assert_eq!(setting.told(), None, "nothing changed");
        setting.change(hop(2));
        assert_eq!(setting.told(), Some((1, Some(hop(2)))));
        setting.watch.heed(Resolve::Forget { worker: 0, leg: 1 });
        setting.change(hop(3));
        assert_eq!(setting.told(), None);
    }

    #[test]
    fn a_worker_that_asks_anew_hears_that_its_next_hop_is_gone() {
        let mut setting = setting(8);
        setting.watch.lookup.hops.insert(remote(), hop(1));
        setting.watch(1);
        assert_eq!(setting.told(), Some((1, Some(hop(1)))));
        setting.watch.lookup.hops.clear();
        setting.watch(1);
        assert_eq!(setting.told(), Some((1, None)));
        setting.change(hop(1));
        assert_eq!(setting.told(), Some((1, Some(hop(1)))));
    }

    #[test]
    fn a_worker_whose_queue_is_full_hears_later() {
        let mut setting = setting(1);
        setting.watch(1);
        setting.watch(2);
        assert_eq!((setting.told(), setting.told()), (Some((1, None)), None));
        setting.change(hop(1));
        let first = setting.told().unwrap().0;
        assert_eq!(setting.told(), None);
        setting.watch.look_up_due();
        assert_eq!(setting.told(), Some((3 - first, Some(hop(1)))));
    }

    #[test]
    fn a_failing_lookup_is_reported_once_and_the_kernel_sends() {
        let mut setting = setting(8);
        setting.watch(1);
        setting.change(hop(1));
        assert_eq!(setting.told(), Some((1, None)));
        assert_eq!(setting.told(), Some((1, Some(hop(1)))));
        setting.watch.lookup.broken = true;
        for _ in 0..3 {
            setting.change(hop(1));
        }
        assert_eq!(setting.told(), Some((1, None)));
        assert_eq!(setting.events.drain().count(), 1);
    }
}
