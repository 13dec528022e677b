//! A worker's pipeline under a counting allocator.
#![allow(unreachable_pub, reason = "shared by the files of this test")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use sluice_datapath::Protection::{self, Srtp};
use sluice_datapath::{
    Command, Direction, EarlyMedia, EventReceiver, Latching, LegSetup, LegStats, Limits, Origin, Pipeline,
    RocOnRekey, RouteOptions, Shared, Tuning,
};
use sluice_io::memory::{MemoryIo, Wire};
use sluice_io::{Component, FrameBatch, Ingress, Path, Pool, PoolConfig, SocketToken};
use sluice_srtp::{
    Job, KeyId, KeyOptions, Kind, MAX_OVERHEAD, MasterKey, Outbound, ReplayWindow, SessionKeys, Suite,
    protect,
};

pub const PACKETS: u16 = 64;

fn clock() -> u64 {
    1_000_000_000
}

pub fn key(id: u64, suite: Suite) -> Arc<SessionKeys> {
    key_with(id, suite, &KeyOptions::default())
}

pub fn key_with(id: u64, suite: Suite, options: &KeyOptions) -> Arc<SessionKeys> {
    let material = [id as u8; 88];
    let master =
        MasterKey::from_concatenated(suite, &material[..suite.key_len() + suite.salt_len()]).unwrap();
    Arc::new(SessionKeys::derive_with(KeyId(id), &master, options).unwrap())
}

/// Where a leg's peer is.
pub fn peer(leg: u32) -> SocketAddr {
    ([127, 0, 0, 9], 1000 + leg as u16).into()
}

pub struct Bench {
    pub pipeline: Pipeline,
    pub pool: Pool,
    pub io: MemoryIo,
    pub wire: Wire,
    pub sent: usize,
    _events: EventReceiver,
    /// Kept, so that no two legs get one port.
    sockets: Vec<Arc<UdpSocket>>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Limits { legs: 16, routes: 16, streams: 64, egress_contexts: 64, ..Limits::default() })
    }

    pub fn with(limits: Limits) -> Self {
        let (shared, events) = Shared::new(&limits, 1);
        let pipeline = Pipeline::new(0, limits, Tuning::default(), shared, clock);
        let pool = Pool::new(PoolConfig { small: 512, large: 0 }).unwrap();
        let (io, wire) = MemoryIo::new().unwrap();
        Self { pipeline, pool, io, wire, sent: 0, _events: events, sockets: Vec::new() }
    }

    pub fn apply(&mut self, command: Command) {
        self.pipeline.apply(command, &mut self.io, &mut self.pool).unwrap();
    }

    pub fn leg(&mut self, leg: u32, inbound: Protection, outbound: Protection, suite: Suite) {
        self.leg_with(leg, inbound, outbound, suite, &KeyOptions::default());
    }

    pub fn leg_with(
        &mut self,
        leg: u32,
        inbound: Protection,
        outbound: Protection,
        suite: Suite,
        options: &KeyOptions,
    ) {
        let socket = self.socket();
        self.apply(Command::AddLeg(Box::new(setup(leg, socket, inbound, outbound))));
        for (protection, direction, offset) in
            [(inbound, Direction::Inbound, 0), (outbound, Direction::Outbound, 1)]
        {
            if protection == Srtp {
                let keys = vec![key_with(10 * u64::from(leg) + offset, suite, options)];
                self.apply(Command::InstallKeys {
                    leg,
                    direction,
                    keys,
                    shared: false,
                    roc: RocOnRekey::Keep,
                    more_follow: false,
                });
            }
        }
    }

    pub fn route(&mut self, route: u32, from: u32, to: u32) {
        self.route_with(route, from, to, RouteOptions::default());
    }

    pub fn route_with(&mut self, route: u32, from: u32, to: u32, options: RouteOptions) {
        self.apply(Command::AddRoute { route, from, to, options });
    }

    /// A socket that stays.
    pub fn socket(&mut self) -> Arc<UdpSocket> {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        self.sockets.push(Arc::clone(&socket));
        socket
    }

    /// The leg's peer sends.
    pub fn play(&mut self, leg: u32, packets: &[Vec<u8>]) {
        self.play_from(leg, peer(leg), packets);
    }

    /// Somebody sends to a leg's socket.
    pub fn play_from(&mut self, leg: u32, remote: SocketAddr, packets: &[Vec<u8>]) {
        let socket = Some(SocketToken { leg, component: Component::Rtp });
        self.play_by(socket, ([127, 0, 0, 1], 1).into(), remote, packets);
    }

    /// Somebody sends to a local address.
    pub fn play_at(&mut self, local: SocketAddr, remote: SocketAddr, packets: &[Vec<u8>]) {
        self.play_by(None, local, remote, packets);
    }

    fn play_by(
        &mut self,
        socket: Option<SocketToken>,
        local: SocketAddr,
        remote: SocketAddr,
        packets: &[Vec<u8>],
    ) {
        let mut rx = FrameBatch::new();
        for packet in packets {
            let mut frame = self.pool.alloc(packet.len() + MAX_OVERHEAD).unwrap();
            assert!(frame.fill(packet));
            frame.set_ingress(Ingress { local, remote, socket, path: Path::Memory, received_at: clock() });
            assert!(rx.push(frame).is_ok());
        }
        let sent = &mut self.sent;
        let transmit = &mut |pool: &mut Pool, tx: &mut FrameBatch| {
            *sent += tx.len();
            tx.free(pool);
        };
        self.pipeline.process(&mut rx, Origin::Io, &mut self.pool, transmit);
    }

    /// The first packets make streams and contexts, which may allocate; after them nothing does.
    pub fn check(&mut self, leg: u32, first: &[Vec<u8>], then: &[Vec<u8>], sent: usize) {
        self.play(leg, first);
        self.sent = 0;
        let allocations = allocation_counter::measure(|| self.play(leg, then));
        assert_eq!(allocations.count_total, 0, "{allocations:?}");
        assert_eq!(self.sent, sent);
    }
}

/// A leg with its peer.
pub fn setup(leg: u32, socket: Arc<UdpSocket>, inbound: Protection, outbound: Protection) -> LegSetup {
    LegSetup {
        leg,
        local: socket.local_addr().unwrap(),
        rtp: Some(socket),
        rtcp: None,
        remote: Some(peer(leg)),
        rtcp_remote: None,
        latching: Latching::FirstAuthenticated,
        inbound,
        outbound,
        window: ReplayWindow::default(),
        payload_types: None,
        max_streams: 8,
        roc_trials: 0,
        dscp: 0,
        sharing: None,
        early_media: EarlyMedia::Drop,
        stats: Arc::new(LegStats::new()),
    }
}

pub fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[1; 160]);
    packet
}

pub fn packets(ssrc: u32) -> Vec<Vec<u8>> {
    (0..PACKETS + 2).map(|sequence| rtp(ssrc, sequence)).collect()
}

/// A sender report with a block about `about` (RFC 3550 §6.4.1).
pub fn rtcp(ssrc: u32, about: u32) -> Vec<u8> {
    let mut packet = vec![0x81, 200, 0, 12];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[3; 20]);
    packet.extend_from_slice(&about.to_be_bytes());
    packet.extend_from_slice(&[0; 20]);
    packet
}

pub fn reports(ssrc: u32) -> Vec<Vec<u8>> {
    (0..PACKETS + 2).map(|_| rtcp(ssrc, 99)).collect()
}

/// RTP with a header extension of two elements, 1 and 2 (RFC 8285 §4.2).
pub fn extended(ssrc: u32) -> Vec<Vec<u8>> {
    let extend = |mut packet: Vec<u8>| {
        packet[0] |= 0x10;
        packet.splice(12..12, [0xbe, 0xde, 0, 2, 0x12, 1, 2, 3, 0x21, 4, 5, 0]);
        packet
    };
    packets(ssrc).into_iter().map(extend).collect()
}

pub fn protected(key: &Arc<SessionKeys>, ssrc: u32) -> Vec<Vec<u8>> {
    protected_all(key, ssrc, packets(ssrc))
}

pub fn protected_all(key: &Arc<SessionKeys>, ssrc: u32, packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut context = [Outbound::new(ssrc, Arc::clone(key), 0)];
    let protect_one = |packet: Vec<u8>| {
        let kind = if packet[1] == 200 { Kind::Rtcp } else { Kind::Rtp };
        let mut buffer = packet.clone();
        buffer.resize(packet.len() + MAX_OVERHEAD, 0);
        let mut jobs = [Job::new(0, kind, &mut buffer, packet.len())];
        protect(&mut context[..], &mut jobs);
        jobs[0].result.unwrap();
        let len = jobs[0].len;
        buffer.truncate(len);
        buffer
    };
    packets.into_iter().map(protect_one).collect()
}
