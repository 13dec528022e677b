//! Whatever happens to a call under running media, no packet index of a sender is used for two packets under one key.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sluice_io::memory::{MemoryIo, Wire};
use sluice_srtp::{
    Inbound, Job, KeyId, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Outbound, ReplayWindow, SessionKeys,
    Suite, protect, unprotect,
};

use super::tests::{leg, limits, peer, put, rtp, worker};
use super::*;
use crate::{Direction, LegUpdate, Protection, RocOnRekey, RouteOptions, Shared};

const SOURCES: [u32; 2] = [9, 10];
/// SRTCP's index stands before the tag of 80 bits (RFC 3711 §3.4).
const TRAILER: usize = 14;

#[derive(Clone, Debug)]
enum Step {
    Media {
        source: usize,
        wire: usize,
        ahead: u16,
    },
    Report {
        source: usize,
        wire: usize,
    },
    Move,
    Rekey {
        leg: u32,
        key: u64,
        shared: bool,
        roc: RocOnRekey,
    },
    /// The leg sends in the clear, and SRTP again under that key.
    Pause {
        leg: u32,
        key: u64,
    },
    Update {
        route: u32,
        paused: bool,
        map: Option<(u32, u32)>,
        only: Option<u32>,
    },
    Unroute {
        route: u32,
    },
    Route {
        route: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (source, wire, leg) = (0..2_usize, 0..2_usize, 2..4_u32);
    prop_oneof![
        6 => (source.clone(), wire.clone(), 1..3_u16)
            .prop_map(|(source, wire, ahead)| Step::Media { source, wire, ahead }),
        6 => (source, wire).prop_map(|(source, wire)| Step::Report { source, wire }),
        3 => Just(Step::Move),
        3 => (leg.clone(), 2..6_u64, any::<bool>(), roc())
            .prop_map(|(leg, key, shared, roc)| Step::Rekey { leg, key, shared, roc }),
        1 => (leg.clone(), 2..6_u64).prop_map(|(leg, key)| Step::Pause { leg, key }),
        2 => (leg.clone(), any::<bool>(), prop::option::of((9..11_u32, 9..13_u32)), prop::option::of(9..11_u32))
            .prop_map(|(route, paused, map, only)| Step::Update { route, paused, map, only }),
        1 => leg.clone().prop_map(|route| Step::Unroute { route }),
        1 => leg.prop_map(|route| Step::Route { route }),
    ]
}

fn roc() -> impl Strategy<Value = RocOnRekey> {
    prop::sample::select(vec![RocOnRekey::Keep, RocOnRekey::Reset, RocOnRekey::TryBoth])
}

fn keys(id: u64) -> Arc<SessionKeys> {
    let master = MasterKey::from_concatenated(Suite::AesCm128HmacSha1_80, &[id as u8; 30]).unwrap();
    Arc::new(SessionKeys::derive(KeyId(id), &master, Mki::NONE, Lifetime::MAX).unwrap())
}

fn report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet
}

/// A key's number, an SSRC, whether it is RTCP, and an index of either.
type Place = (u64, u32, bool, u64);

/// Two workers and a call of three legs, of which the first is heard by the others.
struct Call {
    workers: Vec<Worker<MemoryIo>>,
    wires: Vec<Wire>,
    owner: usize,
    local: SocketAddr,
    sends: [Outbound; 2],
    sequences: [u16; 2],
    /// What was sent, and to whom.
    seen: HashMap<Place, (Vec<u8>, Vec<SocketAddr>)>,
}

impl Call {
    fn new() -> Self {
        let (shared, _events) = Shared::new(&limits(), 2);
        let (workers, wires): (Vec<_>, Vec<_>) = (0..2).map(|n| worker(n, &shared)).unzip();
        let (mut one, others) = (leg(1), [leg(2), leg(3)]);
        one.inbound = Protection::Srtp;
        let local = one.local;
        let sends = SOURCES.map(|ssrc| Outbound::new(ssrc, keys(1), 0));
        let (sequences, seen) = ([65_530; 2], HashMap::new());
        let mut call = Self { workers, wires, owner: 0, local, sends, sequences, seen };
        call.command(Command::AddLeg(one));
        for mut other in others {
            other.outbound = Protection::Srtp;
            call.command(Command::AddLeg(other));
        }
        let install = |leg, direction, key| Command::InstallKeys {
            leg,
            direction,
            keys: vec![keys(key)],
            shared: false,
            roc: RocOnRekey::Keep,
            more_follow: false,
        };
        call.command(install(1, Direction::Inbound, 1));
        call.command(install(2, Direction::Outbound, 20));
        call.command(install(3, Direction::Outbound, 30));
        call.route(2);
        call.route(3);
        call
    }

    fn route(&mut self, to: u32) {
        self.command(Command::AddRoute { route: to, from: 1, to, options: RouteOptions::default() });
    }

    /// Many of them are refused, and must then change nothing.
    fn command(&mut self, command: Command) {
        let _ticket = put(&self.workers[self.owner], command);
        self.rounds();
    }

    fn rounds(&mut self) {
        for _ in 0..3 {
            for worker in &mut self.workers {
                worker.round();
            }
        }
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Media { source, wire, ahead } => {
                self.sequences[source] = self.sequences[source].wrapping_add(ahead);
                let mut packet = rtp(self.sequences[source]);
                packet[8..12].copy_from_slice(&SOURCES[source].to_be_bytes());
                self.receive(source, wire, Kind::Rtp, &packet);
            }
            Step::Report { source, wire } => self.receive(source, wire, Kind::Rtcp, &report(SOURCES[source])),
            Step::Move => {
                let ticket = put(
                    &self.workers[self.owner],
                    Command::MoveLegs { legs: vec![1, 2, 3], to: 1 - self.owner },
                );
                self.rounds();
                assert_eq!(ticket.wait(Duration::ZERO), Some(Ok(())));
                self.owner = 1 - self.owner;
            }
            Step::Pause { leg, key } => {
                let outbound = |outbound| LegUpdate { outbound: Some(outbound), ..LegUpdate::new(leg) };
                self.command(Command::UpdateLeg(outbound(Protection::Plain)));
                self.command(Command::UpdateLeg(outbound(Protection::Srtp)));
                let direction = Direction::Outbound;
                let (keys, roc) = (vec![keys(key)], RocOnRekey::Reset);
                self.command(Command::InstallKeys {
                    leg,
                    direction,
                    keys,
                    shared: false,
                    roc,
                    more_follow: false,
                });
            }
            Step::Rekey { leg, key, shared, roc } => self.command(Command::InstallKeys {
                leg,
                direction: Direction::Outbound,
                keys: vec![keys(key)],
                shared,
                roc,
                more_follow: false,
            }),
            Step::Update { route, paused, map, only } => {
                let (ssrcs, only) = (Vec::from_iter(map), only.map(|ssrc| vec![ssrc]));
                let options = RouteOptions { paused, only, ssrcs, ..RouteOptions::default() };
                self.command(Command::UpdateRoute { route, options });
            }
            Step::Unroute { route } => self.command(Command::RemoveRoute { route }),
            Step::Route { route } => self.route(route),
        }
    }

    fn receive(&mut self, source: usize, wire: usize, kind: Kind, packet: &[u8]) {
        let mut buffer = [packet, &[0; MAX_OVERHEAD]].concat();
        let mut jobs = [Job::new(source, kind, &mut buffer, packet.len())];
        protect(&mut self.sends[..], &mut jobs);
        let len = jobs[0].len;
        self.wires[wire].send(peer(1), self.local, &buffer[..len]);
        self.rounds();
        let sent: Vec<_> = self.wires.iter().flat_map(Wire::sent).collect();
        for sent in sent {
            self.look_at(kind, sent.meta.remote, &sent.payload);
        }
    }

    /// The same index may be in several datagrams only if they are the same to the octet and go to different peers.
    fn look_at(&mut self, kind: Kind, remote: SocketAddr, packet: &[u8]) {
        let (at, index) = match kind {
            Kind::Rtp => (8, u64::from(u16::from_be_bytes([packet[2], packet[3]]))),
            Kind::Rtcp => {
                let trailer = packet[packet.len() - TRAILER..].first_chunk().unwrap();
                (4, u64::from(u32::from_be_bytes(*trailer) & 0x7fff_ffff))
            }
        };
        let ssrc = u32::from_be_bytes(*packet[at..].first_chunk().unwrap());
        let key = [2, 3, 4, 5, 20, 30].into_iter().find(|key| is_under(*key, kind, ssrc, packet));
        let key = key.expect("a key of the call's");
        let (before, peers) = self
            .seen
            .entry((key, ssrc, kind == Kind::Rtcp, index))
            .or_insert_with(|| (packet.to_vec(), Vec::new()));
        assert_eq!(*before, packet, "index {index} of {ssrc} under key {key} for two packets");
        assert!(!peers.contains(&remote), "index {index} of {ssrc} under key {key} twice to {remote}");
        peers.push(remote);
    }
}

fn is_under(key: u64, kind: Kind, ssrc: u32, packet: &[u8]) -> bool {
    // Sequence numbers begin below 65535: the rollover counter is 0 or 1.
    (0..2).any(|roc| {
        let mut buffer = packet.to_vec();
        let len = buffer.len();
        let mut jobs = [Job::new(0, kind, &mut buffer, len)];
        unprotect(&mut [Inbound::new(ssrc, keys(key), ReplayWindow::default(), roc)][..], &mut jobs);
        jobs[0].result.is_ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_index_of_a_sender_is_used_twice_under_a_key(steps in prop::collection::vec(step(), 1..80)) {
        let mut call = Call::new();
        for step in &steps {
            call.play(step);
        }
        for worker in &call.workers {
            prop_assert_eq!(worker.pipeline.stats().snapshot().unaccounted(), 0);
        }
    }
}
