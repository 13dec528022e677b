//! Nothing is allocated for a packet, whatever its way.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use sluice_datapath::Protection::{self, Plain, Srtp};
use sluice_datapath::{
    Command, Direction, Latching, LegSetup, LegStats, Limits, Origin, Pipeline, RouteOptions, Shared, Tuning,
};
use sluice_io::memory::MemoryIo;
use sluice_io::{Component, FrameBatch, Ingress, Path, Pool, PoolConfig, SocketToken};
use sluice_srtp::{
    Job, KeyId, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Outbound, ReplayWindow, SessionKeys, Suite,
    protect,
};

const PACKETS: u16 = 64;

fn clock() -> u64 {
    1_000_000_000
}

fn key(id: u64, suite: Suite) -> Arc<SessionKeys> {
    let material = [id as u8; 88];
    let master =
        MasterKey::from_concatenated(suite, &material[..suite.key_len() + suite.salt_len()]).unwrap();
    Arc::new(SessionKeys::derive(KeyId(id), &master, Mki::NONE, Lifetime::MAX).unwrap())
}

fn peer(leg: u32) -> SocketAddr {
    ([127, 0, 0, 9], 1000 + leg as u16).into()
}

struct Bench {
    pipeline: Pipeline,
    pool: Pool,
    io: MemoryIo,
    sent: usize,
    /// Kept, so that no two legs get one port.
    sockets: Vec<Arc<UdpSocket>>,
}

impl Bench {
    fn new() -> Self {
        let limits = Limits { legs: 16, routes: 16, streams: 64, egress_contexts: 64, ..Limits::default() };
        let (shared, _) = Shared::new(&limits, 1);
        let pipeline = Pipeline::new(0, limits, Tuning::default(), shared, clock);
        let pool = Pool::new(PoolConfig { small: 512, large: 0 }).unwrap();
        Self { pipeline, pool, io: MemoryIo::new().unwrap().0, sent: 0, sockets: Vec::new() }
    }

    fn apply(&mut self, command: Command) {
        self.pipeline.apply(command, &mut self.io, &mut self.pool).unwrap();
    }

    fn leg(&mut self, leg: u32, inbound: Protection, outbound: Protection, suite: Suite) {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        self.sockets.push(Arc::clone(&socket));
        self.apply(Command::AddLeg(Box::new(LegSetup {
            leg,
            local: socket.local_addr().unwrap(),
            rtp: socket,
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
            stats: Arc::new(LegStats::new()),
        })));
        for (protection, direction, offset) in
            [(inbound, Direction::Inbound, 0), (outbound, Direction::Outbound, 1)]
        {
            if protection == Srtp {
                let keys = vec![key(10 * u64::from(leg) + offset, suite)];
                self.apply(Command::InstallKeys { leg, direction, keys, shared: false });
            }
        }
    }

    fn route(&mut self, route: u32, from: u32, to: u32) {
        self.route_with(route, from, to, RouteOptions::default());
    }

    fn route_with(&mut self, route: u32, from: u32, to: u32, options: RouteOptions) {
        self.apply(Command::AddRoute { route, from, to, options });
    }

    fn play(&mut self, leg: u32, packets: &[Vec<u8>]) {
        let mut rx = FrameBatch::new();
        for packet in packets {
            let mut frame = self.pool.alloc(packet.len() + MAX_OVERHEAD).unwrap();
            assert!(frame.fill(packet));
            frame.set_ingress(Ingress {
                local: ([127, 0, 0, 1], 1).into(),
                remote: peer(leg),
                socket: Some(SocketToken { leg, component: Component::Rtp }),
                path: Path::Memory,
                received_at: clock(),
            });
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
    fn check(&mut self, leg: u32, first: &[Vec<u8>], then: &[Vec<u8>], sent: usize) {
        self.play(leg, first);
        self.sent = 0;
        let allocations = allocation_counter::measure(|| self.play(leg, then));
        assert_eq!(allocations.count_total, 0, "{allocations:?}");
        assert_eq!(self.sent, sent);
    }
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[1; 160]);
    packet
}

fn packets(ssrc: u32) -> Vec<Vec<u8>> {
    (0..PACKETS + 2).map(|sequence| rtp(ssrc, sequence)).collect()
}

fn protected(key: &Arc<SessionKeys>, ssrc: u32) -> Vec<Vec<u8>> {
    let mut context = [Outbound::new(ssrc, Arc::clone(key), 0)];
    let protect_one = |packet: Vec<u8>| {
        let mut buffer = packet.clone();
        buffer.resize(packet.len() + MAX_OVERHEAD, 0);
        let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, packet.len())];
        protect(&mut context[..], &mut jobs);
        let len = jobs[0].len;
        buffer.truncate(len);
        buffer
    };
    packets(ssrc).into_iter().map(protect_one).collect()
}

#[test]
fn srtp_to_rtp_and_to_srtp_with_fan_out_allocates_nothing() {
    for suite in Suite::ALL {
        let mut bench = Bench::new();
        bench.leg(1, Srtp, Plain, suite);
        bench.leg(2, Srtp, Plain, suite);
        bench.leg(3, Srtp, Srtp, suite);
        bench.leg(4, Srtp, Srtp, Suite::AeadAes128Gcm);
        for to in 2..=4 {
            bench.route(to, 1, to);
        }
        let media = protected(&key(10, suite), 7);
        bench.check(1, &media[..2], &media[2..], 3 * usize::from(PACKETS));
    }
}

#[test]
fn a_shared_key_and_mapped_headers_allocate_nothing() {
    let suite = Suite::AeadAes128Gcm;
    let mut bench = Bench::new();
    bench.leg(1, Srtp, Plain, suite);
    let mapped = RouteOptions {
        ssrcs: vec![(7, 70)],
        payload_types: vec![(0, 8)],
        extensions: vec![(1, 2)],
        ..RouteOptions::default()
    };
    for leg in 2..=9 {
        bench.leg(leg, Plain, Srtp, suite);
        let retire =
            Command::RetireKey { leg, direction: Direction::Outbound, key: KeyId(10 * u64::from(leg) + 1) };
        bench.apply(retire);
        let keys = vec![key(99, suite)];
        bench.apply(Command::InstallKeys { leg, direction: Direction::Outbound, keys, shared: true });
        bench.route_with(leg, 1, leg, mapped.clone());
    }
    let paused = RouteOptions { paused: true, ..mapped };
    bench.apply(Command::UpdateRoute { route: 9, options: paused });
    let media = protected(&key(10, suite), 7);
    bench.check(1, &media[..2], &media[2..], 7 * usize::from(PACKETS));
}

#[test]
fn rtp_to_srtp_allocates_nothing() {
    let mut bench = Bench::new();
    bench.leg(1, Plain, Plain, Suite::AesCm128HmacSha1_80);
    bench.leg(2, Plain, Srtp, Suite::AesCm128HmacSha1_80);
    bench.route(1, 1, 2);
    let media = packets(7);
    bench.check(1, &media[..2], &media[2..], usize::from(PACKETS));
}

#[test]
fn forged_replayed_and_malformed_packets_allocate_nothing() {
    let mut bench = Bench::new();
    bench.leg(1, Srtp, Plain, Suite::AesCm128HmacSha1_80);
    bench.leg(2, Srtp, Plain, Suite::AesCm128HmacSha1_80);
    bench.route(1, 1, 2);
    let media = protected(&key(10, Suite::AesCm128HmacSha1_80), 7);
    let media = &media[..usize::from(PACKETS)];
    bench.check(1, media, media, 0);
    let forged: Vec<_> = (0..u32::from(PACKETS)).map(|ssrc| rtp(1000 + ssrc, 1)).collect();
    bench.check(1, &[], &forged, 0);
    let malformed: Vec<_> = (0..PACKETS).map(|n| vec![0x9f, n as u8, 0, 1]).collect();
    bench.check(1, &[], &malformed, 0);
}
