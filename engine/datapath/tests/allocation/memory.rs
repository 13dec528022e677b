//! What legs, streams, contexts, routes and keys take is what is stated of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{
    Command, Direction, Each, EarlyMedia, EngineConfig, Latching, LegSetup, LegStats, Limits, Place,
    PortSetup, RocOnRekey, RouteOptions, Sharing, WorkerMemory,
};
use sluice_srtp::{ReplayWindow, Suite};

use crate::support::*;

const SUITE: Suite = Suite::AesCm128HmacSha1_80;
const MAX_STREAMS: u16 = 4;

fn limits(legs: usize) -> Limits {
    Limits { legs, routes: legs, streams: legs, egress_contexts: legs, ..Limits::default() }
}

/// Bytes that stay allocated after `work`.
fn kept(work: impl FnOnce()) -> u64 {
    u64::try_from(allocation_counter::measure(work).bytes_current).unwrap()
}

/// Where the peer of a leg is: everybody somewhere else.
fn far_peer(leg: u32) -> SocketAddr {
    let ip = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + leg / 30_000));
    SocketAddr::new(ip, (10_000 + leg % 30_000) as u16)
}

/// Pairs of legs, from `first` on: the first of each receives SRTP, the second sends it, each under a key of its own.
fn add_pairs(
    bench: &mut Bench,
    legs: std::ops::Range<u32>,
    shared: Option<&(SocketAddr, Arc<std::net::UdpSocket>)>,
) {
    for leg in legs.clone() {
        let caller = leg % 2 == 0;
        let (local, rtp) = if let Some((local, socket)) = shared {
            (*local, Arc::clone(socket))
        } else {
            let socket = bench.socket();
            (socket.local_addr().unwrap(), socket)
        };
        bench.apply(Command::AddLeg(Box::new(LegSetup {
            leg,
            local,
            rtp: Some(rtp),
            rtcp: None,
            remote: Some(far_peer(leg)),
            rtcp_remote: None,
            latching: Latching::NewestAuthenticated,
            inbound: if caller { Srtp } else { Plain },
            outbound: if caller { Plain } else { Srtp },
            window: ReplayWindow::default(),
            payload_types: None,
            max_streams: MAX_STREAMS,
            roc_trials: 0,
            early_media: EarlyMedia::Drop,
            dscp: 0,
            sharing: shared.map(|_| Sharing { port: 1, ..Sharing::default() }),
            stats: Arc::new(LegStats::new()),
        })));
        let direction = if caller { Direction::Inbound } else { Direction::Outbound };
        let keys = vec![key(1 + u64::from(leg), SUITE)];
        bench.apply(Command::InstallKeys {
            leg,
            direction,
            keys,
            shared: false,
            roc: RocOnRekey::Keep,
            more_follow: false,
        });
    }
    for from in legs.step_by(2) {
        let options = RouteOptions::default();
        bench.apply(Command::AddRoute { route: from, from, to: from + 1, options });
        let packet = protected_all(&key(1 + u64::from(from), SUITE), from, vec![rtp(from, 1)]);
        match shared {
            Some((local, _)) => bench.play_at(*local, far_peer(from), &packet),
            None => bench.play_from(from, far_peer(from), &packet),
        }
    }
}

/// What a pair takes beside its places in the tables.
fn stated_pair() -> u64 {
    let each = Each::of(ReplayWindow::default(), MAX_STREAMS);
    2 * (each.leg + each.key) + each.stream + each.context + each.route
}

#[test]
fn legs_with_ports_of_their_own_take_what_is_stated_and_twice_as_many_twice_that() {
    const LEGS: u32 = 400;
    let mut bench = Bench::with(limits(4 * LEGS as usize));
    let rounds = [0..LEGS, LEGS..2 * LEGS, 2 * LEGS..4 * LEGS];
    let [_, once, twice] = rounds.map(|legs| kept(|| add_pairs(&mut bench, legs, None)));
    let (stated, pairs) = (stated_pair(), u64::from(LEGS / 2));
    eprintln!("a pair of legs: {} bytes, {stated} stated", once / pairs);
    assert!(
        once <= pairs * stated && twice <= 2 * pairs * stated,
        "{once}, {twice}: more than {pairs} × {stated}"
    );
    assert!(2 * once >= pairs * stated, "{once}: less than half of {pairs} × {stated}");
    assert_eq!(bench.pipeline.stats().snapshot().sent, u64::from(2 * LEGS));
}

#[test]
fn a_hundred_thousand_legs_on_a_shared_port_take_what_is_stated() {
    const LEGS: u32 = 100_000;
    let mut bench = None;
    let config = EngineConfig { limits: limits(LEGS as usize), ..EngineConfig::default() };
    let empty = kept(|| bench = Some(Bench::with(config.limits)));
    let mut bench = bench.unwrap();
    let socket = bench.socket();
    let local = socket.local_addr().unwrap();
    bench.apply(Command::AddPort(PortSetup { port: 1, local, socket: Arc::clone(&socket) }));
    let filled = kept(|| add_pairs(&mut bench, 0..LEGS, Some(&(local, socket))));
    let counted = bench.pipeline.stats().snapshot();
    let half = u64::from(LEGS / 2);
    assert_eq!(
        (counted.legs, counted.streams, counted.egress_contexts, counted.sent),
        (2 * half, half, half, half)
    );
    let memory = WorkerMemory::of(&config, 0);
    let stated = memory.tables + memory.queues + half * stated_pair();
    eprintln!(
        "100,000 legs: {} MiB of tables and {} MiB beside, {} MiB stated; places {:?}, {:?}",
        empty >> 20,
        filled >> 20,
        stated >> 20,
        Place::ONE,
        Each::of(ReplayWindow::default(), MAX_STREAMS)
    );
    assert!(empty + filled <= stated, "{empty} + {filled}: more than {stated}");
    // docs/operations.md says so.
    assert!(stated < 512 << 20, "{stated}");
}
