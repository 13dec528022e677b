//! The thread that takes packets from the rings of taps and puts them in files.
//!
//! There is one for all taps: their files are in one folder, so that one slow disk has all of them wait, and never a
//! worker. A ring that is full loses the newest packets, which are counted.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use sluice_datapath::LegId;
use sluice_mixer_client::Ring;
use sluice_proto::v1;
use tokio::sync::{mpsc, oneshot};

use super::capture::{Capture, Stop, Written};
use super::{Ended, Notice, TapName, headers};
use crate::gateway::Directory;

/// Packets that are gathered before the next look: while media flows no worker has to wake this thread.
const PAUSE: Duration = Duration::from_millis(1);
/// How long packets may stay in memory.
const FLUSH: Duration = Duration::from_millis(500);
/// Packets from one ring before the next has its turn.
const TURN: usize = 256;
/// How often the address of a peer that may move is looked up.
const LOOK: Duration = Duration::from_millis(100);

/// The thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Thread {
    orders: Sender<Order>,
    bell: Arc<OwnedFd>,
}

/// What it is told.
pub(crate) enum Order {
    /// A tap begins.
    Begin { name: TapName, capture: Capture, written: Arc<Written> },
    /// What a leg receives comes by this ring.
    Listen { name: TapName, source: Source },
    /// The leg with this outlet is gone.
    Leave { name: TapName, outlet: LegId },
    /// A tap ends: what is in its rings is written. Its files come back, unless they have failed.
    End { name: TapName, done: oneshot::Sender<Option<Capture>> },
}

/// Where a leg's packets come from and go to, as signalling says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) local_rtp: SocketAddr,
    pub(crate) local_rtcp: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) remote_rtcp: Option<SocketAddr>,
}

/// [`Addresses`] of a leg, which may change.
pub(crate) type SharedAddresses = Arc<Mutex<Addresses>>;

/// What a leg receives.
pub(crate) struct Source {
    /// The leg.
    pub(crate) leg: LegId,
    /// The leg that the ring is of.
    pub(crate) outlet: LegId,
    pub(crate) ring: Ring,
    /// What names it in the file.
    pub(crate) title: String,
    pub(crate) comment: String,
    pub(crate) addresses: SharedAddresses,
}

struct Tap {
    /// Gone once it has failed.
    capture: Option<Capture>,
    written: Arc<Written>,
    /// Why it has, until that was told.
    failed: Option<Stop>,
    inlets: Vec<Inlet>,
    flushed: Instant,
}

struct Inlet {
    source: Source,
    interface: u32,
    peers: Peers,
    looked: Option<Instant>,
}

/// Addresses for headers.
#[derive(Clone, Copy)]
struct Peers {
    rtp: [SocketAddr; 2],
    rtcp: [SocketAddr; 2],
}

impl Thread {
    pub(crate) fn start(
        directory: Arc<Directory>,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> io::Result<Self> {
        let (orders, received) = channel();
        let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let drain =
            Drain { orders: received, bell: Arc::clone(&bell), taps: HashMap::new(), directory, notices };
        std::thread::Builder::new().name("sluice-taps".into()).spawn(move || drain.run())?;
        Ok(Self { orders, bell })
    }

    /// Whether the thread is there to hear it.
    pub(crate) fn tell(&self, order: Order) -> bool {
        let told = self.orders.send(order).is_ok();
        self.ring();
        told
    }

    fn ring(&self) {
        // A counter that is full wakes as well.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // It finds the channel's end only once it is awake.
        let (orders, _) = channel();
        drop(std::mem::replace(&mut self.orders, orders));
        self.ring();
    }
}

struct Drain {
    orders: Receiver<Order>,
    bell: Arc<OwnedFd>,
    taps: HashMap<TapName, Tap>,
    directory: Arc<Directory>,
    notices: mpsc::UnboundedSender<Notice>,
}

impl Drain {
    fn run(mut self) {
        while self.obey() {
            let now = Instant::now();
            let mut busy = false;
            for (name, tap) in &mut self.taps {
                busy |= tap.drain(&self.directory, now);
                if let Some(ended) = tap.flush_by(now) {
                    // Control is gone when the daemon stops.
                    let _ = self.notices.send(Notice::Ended { name: name.clone(), ended });
                }
            }
            if busy {
                std::thread::sleep(PAUSE);
            } else {
                self.wait(now);
            }
        }
        for tap in self.taps.values_mut() {
            tap.drain(&self.directory, Instant::now());
            if let Some(Err(error)) = tap.capture.take().map(Capture::finish) {
                tracing::warn!(%error, "a recording is not whole");
            }
        }
    }

    /// Does what it was told; whether there may be more to come.
    fn obey(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Begin { name, capture, written }) => {
                    let (capture, flushed) = (Some(capture), Instant::now());
                    let tap = Tap { capture, written, failed: None, inlets: Vec::new(), flushed };
                    self.taps.insert(name, tap);
                }
                Ok(Order::Listen { name, source }) => {
                    if let Some(tap) = self.taps.get_mut(&name) {
                        tap.listen(source);
                    }
                }
                Ok(Order::Leave { name, outlet }) => {
                    if let Some(tap) = self.taps.get_mut(&name) {
                        tap.drain(&self.directory, Instant::now());
                        tap.inlets.retain(|inlet| inlet.source.outlet != outlet);
                    }
                }
                Ok(Order::End { name, done }) => {
                    let ended = self.taps.remove(&name);
                    let capture = ended.and_then(|mut tap| {
                        tap.drain(&self.directory, Instant::now());
                        tap.capture
                    });
                    // Whoever wanted to know may be gone.
                    let _ = done.send(capture);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Sleeps until there is something to take, to write, or to be told.
    fn wait(&mut self, now: Instant) {
        let mut idle = true;
        for inlet in self.taps.values_mut().flat_map(|tap| &mut tap.inlets) {
            idle &= inlet.source.ring.arm();
        }
        if !idle {
            return;
        }
        let rings = self.taps.values().flat_map(|tap| &tap.inlets).map(|inlet| inlet.source.ring.as_fd());
        let all = std::iter::once(self.bell.as_fd()).chain(rings);
        let mut set: Vec<_> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let due = self.taps.values().filter_map(Tap::due).min();
        let left = due.map(|due| due.saturating_duration_since(now));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        // Interrupted, it looks once more.
        let _ = poll(&mut set, left.as_ref());
        let woken: Vec<bool> = set.iter().map(|fd| !fd.revents().is_empty()).collect();
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        let mut woken = woken.into_iter().skip(1);
        for tap in self.taps.values_mut() {
            tap.hear(&mut woken, &self.directory);
        }
    }
}

impl Tap {
    fn listen(&mut self, source: Source) {
        let Some(capture) = &mut self.capture else { return };
        let interface = capture.interface(source.title.clone(), source.comment.clone());
        // It is in memory until the next packet, and that one is refused with a reason.
        let interface = interface.unwrap_or(u32::MAX);
        let peers = Peers::of(&lock(&source.addresses), None);
        self.inlets.push(Inlet { source, interface, peers, looked: None });
    }

    /// Takes what there is; whether there was anything.
    fn drain(&mut self, directory: &Directory, now: Instant) -> bool {
        let Self { capture, written, inlets, failed, .. } = self;
        let mut taken = 0;
        for Inlet { source, interface, peers, looked } in inlets {
            let Source { leg, ring, addresses, .. } = source;
            let mut at = None;
            let received = ring.receive(TURN, |packet| {
                let at = *at.get_or_insert_with(|| {
                    if looked.is_none_or(|looked| now.duration_since(looked) >= LOOK) {
                        *looked = Some(now);
                        *peers = Peers::of(&lock(addresses), directory.learnt_remote(*leg));
                    }
                    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
                });
                let Some(files) = capture.as_mut() else { return written.lose(1) };
                let [from, to] = if headers::is_rtcp(packet) { peers.rtcp } else { peers.rtp };
                if let Err(stop) = files.put(*interface, at, from, to, packet) {
                    written.lose(1);
                    *capture = None;
                    failed.get_or_insert(stop);
                }
            });
            // A ring that cannot be is found out once more when it is waited for.
            taken += received.unwrap_or(0);
        }
        taken > 0
    }

    /// Writes what has waited long enough. Why the tap has to end, if it has: told once.
    fn flush_by(&mut self, now: Instant) -> Option<Ended> {
        if let Some(capture) = &mut self.capture
            && capture.is_dirty()
            && now.duration_since(self.flushed) >= FLUSH
        {
            self.flushed = now;
            if let Err(stop) = capture.flush() {
                self.capture = None;
                self.failed.get_or_insert(stop);
            }
        }
        let stop = self.failed.take()?;
        let end = match stop {
            Stop::Full => v1::TapEnd::Limit,
            Stop::Storage { .. } => v1::TapEnd::Storage,
        };
        Some(Ended { end, detail: stop.to_string() })
    }

    fn due(&self) -> Option<Instant> {
        let dirty = self.capture.as_ref().is_some_and(Capture::is_dirty);
        dirty.then(|| self.flushed + FLUSH)
    }

    /// Looks which rings are over: their leg sends no more, and a descriptor that is always readable would keep the
    /// thread from sleeping.
    fn hear(&mut self, woken: &mut impl Iterator<Item = bool>, directory: &Directory) {
        let rings = self.inlets.iter_mut().map(|inlet| &mut inlet.source.ring);
        let over: Vec<_> = rings.zip(woken).map(|(ring, woken)| woken && ring.disarm().is_err()).collect();
        if over.contains(&true) {
            self.drain(directory, Instant::now());
            let mut over = over.into_iter();
            self.inlets.retain(|_| !over.next().unwrap_or(false));
        }
    }
}

impl Peers {
    /// Source and destination of what is received. A peer that nobody has heard of yet has no address.
    fn of(addresses: &Addresses, learnt: Option<SocketAddr>) -> Self {
        let Addresses { local_rtp, local_rtcp, remote, remote_rtcp } = *addresses;
        let nowhere = match local_rtp {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let rtp = learnt.or(remote).unwrap_or(SocketAddr::new(nowhere, 0));
        // RFC 3550 §11: RTCP is on the next port, but with rtcp-mux, or where it was signalled to be.
        let mux = local_rtp == local_rtcp || rtp.port() == 0;
        let beside = SocketAddr::new(rtp.ip(), if mux { rtp.port() } else { rtp.port().saturating_add(1) });
        let rtcp = remote_rtcp.filter(|_| !mux).unwrap_or(beside);
        Self { rtp: [rtp, local_rtp], rtcp: [rtcp, local_rtcp] }
    }
}

/// No code that runs under the lock panics, so that what a poisoned lock holds is whole.
pub(crate) fn lock(addresses: &Mutex<Addresses>) -> std::sync::MutexGuard<'_, Addresses> {
    addresses.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn packets_are_between_the_addresses_that_are_known() {
        let (rtp, rtcp) = (at("192.0.2.1:5004"), at("192.0.2.1:5005"));
        let told = Addresses { local_rtp: rtp, local_rtcp: rtcp, remote: None, remote_rtcp: None };
        let nobody = Peers::of(&told, None);
        assert_eq!((nobody.rtp, nobody.rtcp), ([at("0.0.0.0:0"), rtp], [at("0.0.0.0:0"), rtcp]));
        let signalled = Addresses { remote: Some(at("198.51.100.7:6000")), ..told };
        let peers = Peers::of(&signalled, None);
        assert_eq!(peers.rtp, [at("198.51.100.7:6000"), rtp]);
        assert_eq!(peers.rtcp, [at("198.51.100.7:6001"), rtcp]);
        let learnt = Peers::of(&signalled, Some(at("203.0.113.9:7000")));
        assert_eq!(learnt.rtp[0], at("203.0.113.9:7000"), "where it was heard from");
        let apart = Addresses { remote_rtcp: Some(at("198.51.100.8:1")), ..signalled };
        assert_eq!(Peers::of(&apart, None).rtcp[0], at("198.51.100.8:1"));
        let mux = Addresses { local_rtcp: rtp, ..signalled };
        assert_eq!(Peers::of(&mux, None).rtcp, [at("198.51.100.7:6000"), rtp]);
    }
}
