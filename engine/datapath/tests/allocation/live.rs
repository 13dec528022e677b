//! Real sockets: what a worker's thread does from receiving to sending, and while it waits.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_classifier::{LegEntry, Policy};
use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{
    Command, Direction, EarlyMedia, Latching, LegSetup, LegStats, Limits, Origin, Pipeline, RocOnRekey,
    RouteOptions, Shared, Tuning,
};
use sluice_io::live::{LiveIo, Queue};
use sluice_io::netlink::Resolver;
use sluice_io::xdp::{Attached, Options};
use sluice_io::{Component, FrameBatch, NextHop, PacketIo, Path, Pool, PoolConfig, clock};
use sluice_srtp::{ReplayWindow, Suite};

use crate::host::{INTERFACE, Pair};
use crate::support::{PACKETS, key, protected};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;
const PATIENCE: Duration = Duration::from_secs(10);

/// A worker by hand: leg 1 receives SRTP, leg 2 sends it under another key.
struct Worker {
    pipeline: Pipeline,
    pool: Pool,
    io: LiveIo,
    local: SocketAddr,
}

impl Worker {
    /// Legs on this address, with these peers.
    fn new(address: &str, peers: [SocketAddr; 2]) -> Self {
        let limits = Limits { legs: 16, routes: 16, streams: 64, egress_contexts: 64, ..Limits::default() };
        let (shared, _) = Shared::new(&limits, 1);
        let mut pool = Pool::new(PoolConfig { small: 1024, large: 256 }).unwrap();
        let io = LiveIo::new(&mut pool).unwrap();
        let pipeline = Pipeline::new(0, limits, Tuning::default(), shared, clock::now);
        let local = ([0, 0, 0, 0], 0).into();
        let mut worker = Self { pipeline, pool, io, local };
        let locals: Vec<_> = (1..).zip(peers).map(|(leg, peer)| worker.leg(leg, address, peer)).collect();
        worker.local = locals[0];
        worker.apply(Command::AddRoute { route: 1, from: 1, to: 2, options: RouteOptions::default() });
        worker
    }

    fn apply(&mut self, command: Command) {
        self.pipeline.apply(command, &mut self.io, &mut self.pool).unwrap();
    }

    fn leg(&mut self, leg: u32, address: &str, remote: SocketAddr) -> SocketAddr {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let local = socket.local_addr().unwrap();
        self.apply(Command::AddLeg(Box::new(LegSetup {
            leg,
            local,
            rtp: Some(Arc::new(socket)),
            rtcp: None,
            remote: Some(remote),
            rtcp_remote: None,
            latching: Latching::SignalledOnly,
            inbound: if leg == 1 { Srtp } else { Plain },
            outbound: if leg == 2 { Srtp } else { Plain },
            window: ReplayWindow::default(),
            payload_types: None,
            max_streams: 8,
            roc_trials: 0,
            early_media: EarlyMedia::Drop,
            dscp: 46,
            sharing: None,
            stats: Arc::new(LegStats::new()),
        })));
        let direction = if leg == 1 { Direction::Inbound } else { Direction::Outbound };
        let keys = vec![key(u64::from(leg), SUITE)];
        self.apply(Command::InstallKeys {
            leg,
            direction,
            keys,
            shared: false,
            roc: RocOnRekey::Keep,
            more_follow: false,
        });
        local
    }

    fn sent(&self, path: Path) -> u64 {
        self.io.counters().sent[path as usize]
    }

    /// Rounds as a worker's thread has them, until so many packets were sent.
    fn work(&mut self, path: Path, sent: u64) {
        let until = Instant::now() + PATIENCE;
        let mut rx = FrameBatch::new();
        while self.sent(path) < sent && Instant::now() < until {
            let Self { pipeline, pool, io, .. } = self;
            io.receive(pool, &mut rx);
            let idle = rx.is_empty();
            let transmit = &mut |pool: &mut Pool, tx: &mut FrameBatch| io.transmit(pool, tx);
            pipeline.process(&mut rx, Origin::Io, pool, transmit);
            pipeline.keep_house(pool);
            io.survey();
            if idle {
                io.wait(Duration::from_millis(1));
            }
        }
        assert!(self.sent(path) >= sent, "{:?} {:?}", self.io.counters(), self.pipeline.stats().snapshot());
    }

    /// The first packets make streams and contexts; after them nothing is allocated.
    fn check(&mut self, path: Path, sender: &UdpSocket) {
        let media = protected(&key(1, SUITE), 7);
        let (first, then) = media.split_at(2);
        let send = |packets: &[Vec<u8>], to: SocketAddr| {
            for packet in packets {
                assert_eq!(sender.send_to(packet, to).unwrap(), packet.len());
            }
        };
        let before = self.sent(path);
        send(first, self.local);
        self.work(path, before + 2);
        send(then, self.local);
        let goal = before + 2 + u64::from(PACKETS);
        let allocations = allocation_counter::measure(|| self.work(path, goal));
        assert_eq!(allocations.count_total, 0, "{allocations:?}");
        let counters = self.io.counters();
        assert_eq!(counters.received[path as usize], 2 + u64::from(PACKETS), "{counters:?}");
    }

    fn close(self) {
        let Self { mut pool, io, .. } = self;
        io.close(&mut pool);
        assert_eq!(pool.outstanding(), 0);
    }
}

#[test]
fn io_uring_receives_and_sends_without_allocating() {
    let peers: [_; 2] = std::array::from_fn(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let addresses = [0, 1].map(|peer: usize| peers[peer].local_addr().unwrap());
    let mut worker = Worker::new("127.0.0.1:0", addresses);
    worker.check(Path::IoUring, &peers[0]);
    worker.close();
}

#[test]
fn af_xdp_receives_and_sends_without_allocating() {
    let Some(pair) = Pair::new("af_xdp_receives_and_sends_without_allocating", 1500) else { return };
    let peers = Pair::inside(&pair.far, || -> [UdpSocket; 2] {
        std::array::from_fn(|_| UdpSocket::bind("10.77.0.2:0").unwrap())
    });
    let addresses = [0, 1].map(|peer: usize| peers[peer].local_addr().unwrap());
    Pair::inside(&pair.near, || {
        let options = Options { max_legs: 64, ..Options::default() };
        let mut attached = Attached::attach(INTERFACE, &options).unwrap_or_else(|error| panic!("{error}"));
        let mut worker = Worker::new("10.77.0.1:0", addresses);
        let ifindex = attached.ifindex();
        let Worker { pool, io, .. } = &mut worker;
        let mut queue = 0;
        while let Ok(socket) = io.open_queue(pool, Queue { ifindex, queue, generic: false }) {
            attached.maps().set_socket(queue, socket.as_fd()).unwrap();
            io.relieve((ifindex, queue), attached.maps().relief(queue).unwrap());
            queue += 1;
        }
        assert!(queue > 0);
        io.fill(pool);
        attached.maps().insert_leg(worker.local, LegEntry::new(1, Policy::new())).unwrap();
        let next_hop = Some(resolve(ifindex, worker.local, addresses[1]));
        let (component, remote) = (Component::Rtp, addresses[1]);
        worker.apply(Command::SetNextHop { leg: 2, component, remote, next_hop });
        worker.check(Path::XdpNative, &peers[0]);
        drop(attached);
        worker.close();
    });
}

/// The next hop, which the kernel learns from a datagram.
fn resolve(ifindex: u32, local: SocketAddr, remote: SocketAddr) -> NextHop {
    let mut resolver = Resolver::open(vec![ifindex]).unwrap();
    let knock = UdpSocket::bind((local.ip(), 0)).unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        knock.send_to(b"who has?", remote).unwrap();
        if let Some(hop) = resolver.next_hop(local, remote).unwrap() {
            return hop;
        }
        assert!(Instant::now() < until, "never resolved");
        std::thread::sleep(Duration::from_millis(20));
    }
}
