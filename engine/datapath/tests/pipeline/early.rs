//! Media that comes before its leg's first key.

use std::time::Duration;

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{
    Command, Direction, DropReason, EarlyCount, EarlyMedia, Event, Latching, LegSetup, LegUpdate, Limits,
    PortSetup, Protection, RocOnRekey, Sharing, Tuning,
};
use sluice_io::{Component, FrameBatch, Ingress, SMALL};
use sluice_srtp::{KeyId, KeyOptions, MAX_OVERHEAD, MasterKey, Mki, SessionKeys, Suite};

use crate::support::*;

mod rekeying;

const HOLD: EarlyMedia = EarlyMedia::Hold { packets: 8, time: Duration::from_secs(2) };

/// Leg 1 awaits SRTP and has no key yet; what it receives goes to leg 2, which is plain.
fn awaiting(early_media: EarlyMedia) -> Harness {
    let mut harness = Harness::new();
    let setup = LegSetup { early_media, ..harness.setup(1) };
    harness.add(setup);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    harness
}

/// The peer of leg 1, whose key is number 10.
fn alice() -> Peer {
    Peer::of(1, 7, 0)
}

fn bytes(sent: Vec<Sent>) -> Vec<Vec<u8>> {
    sent.into_iter().map(|sent| sent.bytes).collect()
}

fn count(held: u64, total: u64, released: u64, evicted: u64) -> EarlyCount {
    EarlyCount { held, total, released, evicted }
}

#[test]
fn what_was_held_plays_out_in_order_when_the_key_comes_and_is_told() {
    let mut harness = awaiting(HOLD);
    let mut alice = alice();
    let wanted: Vec<_> = [65_534, 65_535, 0, 1].map(|sequence| rtp(7, sequence)).into();
    for packet in &wanted[..2] {
        assert!(harness.receive(1, &alice.protect(packet)).is_empty());
    }
    harness.pass(500 * MILLI);
    let report = rtcp(7, 9);
    for packet in [&report, &wanted[2], &wanted[3]] {
        assert!(harness.receive(1, &alice.protect(packet)).is_empty());
    }
    assert_eq!(harness.stats().early, count(5, 5, 0, 0));
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    let sent = bytes(harness.sent_by_commands());
    assert_eq!(sent, [&wanted[..2], &[report], &wanted[2..]].concat());
    harness.check();
    assert_eq!(harness.stats().early, count(0, 5, 5, 0));
    assert_eq!(bytes(harness.receive(1, &alice.protect(&rtp(7, 2)))), [rtp(7, 2)]);
    let events = harness.events();
    let told = events.iter().find_map(|event| match event {
        Event::EarlyMediaReleased { leg: 1, packets, waited, .. } => Some((*packets, *waited)),
        _ => None,
    });
    assert_eq!(told, Some((5, Duration::from_millis(500))), "{events:?}");
    assert!(matches!(events[0], Event::FirstMedia { leg: 1, ssrc: 7, .. }), "{events:?}");
    assert_eq!(harness.stats().latency.p99().unwrap_or(0), 0, "the peer's delay is none of ours");
}

#[test]
fn a_leg_that_is_asked_to_do_nothing_drops_it_as_ever() {
    let mut harness = awaiting(EarlyMedia::Drop);
    harness.receive(1, &alice().protect(&rtp(7, 1)));
    assert_eq!(harness.dropped(DropReason::NoInboundKey), 1);
    assert_eq!(harness.stats().early, EarlyCount::default());
}

#[test]
fn more_than_may_be_held_pushes_the_oldest_out() {
    let mut harness = awaiting(HOLD);
    let mut alice = alice();
    for sequence in 0..20 {
        harness.receive(1, &alice.protect(&rtp(7, sequence)));
    }
    assert_eq!(
        (harness.stats().early, harness.dropped(DropReason::EarlyMediaFull)),
        (count(8, 20, 0, 12), 12)
    );
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    let wanted: Vec<_> = (12..20).map(|sequence| rtp(7, sequence)).collect();
    assert_eq!(bytes(harness.sent_by_commands()), wanted);
}

#[test]
fn what_was_held_for_too_long_is_dropped_by_and_by_and_never_played_out() {
    let mut harness = awaiting(HOLD);
    let mut alice = alice();
    for sequence in 0..3 {
        harness.receive(1, &alice.protect(&rtp(7, sequence)));
    }
    harness.pass(SECOND);
    harness.receive(1, &alice.protect(&rtp(7, 3)));
    harness.pass(SECOND);
    assert_eq!(harness.stats().early.held, 4, "for two seconds");
    harness.pass(500 * MILLI);
    let expired = harness.dropped(DropReason::EarlyMediaExpired);
    assert_eq!((harness.stats().early, expired), (count(1, 4, 0, 3), 3));
    harness.pass(SECOND);
    assert_eq!(
        (harness.stats().early, harness.dropped(DropReason::EarlyMediaExpired)),
        (count(0, 4, 0, 4), 4)
    );
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    assert!(harness.sent_by_commands().is_empty());
    let released = harness.events().iter().any(|event| matches!(event, Event::EarlyMediaReleased { .. }));
    assert!(!released, "there was nothing to play out");
}

#[test]
fn a_flood_of_forged_packets_takes_no_more_than_the_legs_share_and_ends_as_forged() {
    let mut harness = awaiting(EarlyMedia::Hold { packets: 200, time: Duration::from_secs(2) });
    for ssrc in 0..1000 {
        harness.receive(1, &forged(ssrc, 1));
    }
    assert_eq!(harness.stats().early, count(200, 1000, 0, 800));
    let mut alice = alice();
    for sequence in 0..10 {
        harness.receive(1, &alice.protect(&rtp(7, sequence)));
    }
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    let wanted: Vec<_> = (0..10).map(|sequence| rtp(7, sequence)).collect();
    assert_eq!(bytes(harness.sent_by_commands()), wanted, "although more than a hundred were forged");
    assert_eq!((harness.dropped(DropReason::AuthFailed), harness.stats().streams), (190, 1));
    harness.check();
}

#[test]
fn a_leg_that_turns_out_to_be_plain_plays_it_out_as_plain_rtp() {
    let mut harness = awaiting(HOLD);
    for sequence in 1..4 {
        assert!(harness.receive(1, &rtp(7, sequence)).is_empty());
    }
    harness.update(LegUpdate { inbound: Some(Plain), ..LegUpdate::new(1) });
    let wanted: Vec<_> = (1..4).map(|sequence| rtp(7, sequence)).collect();
    assert_eq!(bytes(harness.sent_by_commands()), wanted);
    assert_eq!(bytes(harness.receive(1, &rtp(7, 4))), [rtp(7, 4)]);
    assert!(
        matches!(harness.install(1, Direction::Inbound, key(10)), Err(error) if error.to_string().contains("plain"))
    );
}

#[test]
fn plain_rtp_is_let_through_until_there_is_a_key_and_never_from_then_on() {
    let mut harness = awaiting(EarlyMedia::Plain);
    harness.receive(1, &rtp(7, 1));
    assert_eq!(harness.receive(1, &rtp(7, 2)).len(), 2, "with the one on probation");
    assert_eq!(bytes(harness.receive(1, &rtp(7, 3))), [rtp(7, 3)]);
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    for sequence in 4..8 {
        assert!(harness.receive(1, &rtp(7, sequence)).is_empty(), "not authentic");
    }
    let mut alice = alice();
    assert_eq!(bytes(harness.receive(1, &alice.protect(&rtp(7, 8)))), [rtp(7, 8)]);
    harness.apply(Command::RetireKey { leg: 1, direction: Direction::Inbound, key: KeyId(10) }).unwrap();
    for sequence in 9..12 {
        assert!(harness.receive(1, &rtp(7, sequence)).is_empty(), "not for want of a key either");
    }
    assert_eq!(harness.dropped(DropReason::NoInboundKey), 3);
}

#[test]
fn plain_rtp_ends_as_well_when_signalling_says_srtp() {
    let mut harness = awaiting(EarlyMedia::Plain);
    harness.receive(1, &rtp(7, 1));
    assert_eq!(harness.receive(1, &rtp(7, 2)).len(), 2, "with the one on probation");
    harness.update(LegUpdate { inbound: Some(Srtp), ..LegUpdate::new(1) });
    assert!(harness.receive(1, &rtp(7, 3)).is_empty());
    assert_eq!(harness.dropped(DropReason::NoInboundKey), 1);
}

#[test]
fn an_address_that_plain_media_showed_is_forgotten_with_it() {
    let mut harness = Harness::new();
    let setup = LegSetup {
        early_media: EarlyMedia::Plain,
        latching: Latching::FirstAuthenticated,
        remote: None,
        ..harness.setup(1)
    };
    harness.add(setup);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 2, 1);
    for sequence in 1..3 {
        harness.receive_from(1, peer(66), &rtp(6, sequence));
    }
    let mut bob = Peer::of(2, 8, 0);
    assert_eq!(harness.receive(2, &bob.protect(&rtp(8, 1)))[0].meta.remote, peer(66));
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    assert!(harness.receive(2, &bob.protect(&rtp(8, 2))).is_empty(), "it was anybody's");
    harness.receive_from(1, peer(77), &alice().protect(&rtp(7, 1)));
    assert_eq!(harness.receive(2, &bob.protect(&rtp(8, 3)))[0].meta.remote, peer(77));
}

#[test]
fn strangers_are_not_heard_before_the_key_either() {
    let mut harness = awaiting(HOLD);
    harness.receive_from(1, peer(66), &alice().protect(&rtp(7, 1)));
    assert_eq!((harness.dropped(DropReason::UnexpectedSource), harness.stats().early.total), (1, 0));
    let malformed = [0x80, 0, 0];
    harness.receive(1, &malformed);
    assert_eq!(harness.stats().early.total, 0, "what is no media is not held");
}

fn marked(id: u64, mki: u8) -> std::sync::Arc<SessionKeys> {
    let material = [id as u8; 30];
    let master = MasterKey::from_concatenated(Suite::AesCm128HmacSha1_80, &material).unwrap();
    let options = KeyOptions { mki: Mki::new(&[mki]).unwrap(), ..KeyOptions::default() };
    std::sync::Arc::new(SessionKeys::derive_with(KeyId(id), &master, &options).unwrap())
}

#[test]
fn what_is_held_waits_for_the_last_of_several_keys() {
    let mut harness = awaiting(HOLD);
    let keys = [marked(1, 0xa), marked(2, 0xb)];
    for (ssrc, key) in [(7, &keys[0]), (8, &keys[1])] {
        harness.receive(1, &Peer::new(ssrc, key, 0, key).protect(&rtp(ssrc, 1)));
    }
    let install = |more_follow: bool, at: usize| Command::InstallKeys {
        leg: 1,
        direction: Direction::Inbound,
        keys: vec![keys[at].clone()],
        shared: false,
        roc: RocOnRekey::Keep,
        more_follow,
    };
    harness.apply(install(true, 0)).unwrap();
    let next = Peer::new(9, &keys[0], 0, &keys[0]).protect(&rtp(9, 1));
    assert!(harness.receive(1, &next).is_empty() && harness.sent_by_commands().is_empty());
    harness.apply(install(false, 1)).unwrap();
    assert_eq!(bytes(harness.sent_by_commands()), [rtp(7, 1), rtp(8, 1), rtp(9, 1)]);
}

#[test]
fn a_leg_is_not_deaf_for_ever_if_the_keys_that_were_to_follow_do_not() {
    let mut harness = awaiting(HOLD);
    let mut alice = alice();
    harness.receive(1, &alice.protect(&rtp(7, 1)));
    let (direction, roc) = (Direction::Inbound, RocOnRekey::Keep);
    let keys = vec![key(10)];
    let install = Command::InstallKeys { leg: 1, direction, keys, shared: false, roc, more_follow: true };
    harness.apply(install).unwrap();
    assert!(harness.receive(1, &alice.protect(&rtp(7, 2))).is_empty());
    harness.pass(3 * SECOND);
    assert_eq!(harness.stats().early, count(0, 2, 0, 2));
    assert_eq!(bytes(harness.receive(1, &alice.protect(&rtp(7, 3)))), [rtp(7, 3)]);
}

#[test]
fn a_last_key_that_is_refused_lets_go_what_is_held_for_the_others() {
    let mut harness = awaiting(HOLD);
    harness.receive(1, &alice().protect(&rtp(7, 1)));
    let install = |more_follow| Command::InstallKeys {
        leg: 1,
        direction: Direction::Inbound,
        keys: vec![key(10)],
        shared: false,
        roc: RocOnRekey::Keep,
        more_follow,
    };
    harness.apply(install(true)).unwrap();
    assert!(harness.apply(install(false)).is_err(), "twice the same");
    assert_eq!(harness.sent_by_commands().len(), 1);
}

#[test]
fn a_leg_that_goes_gives_back_what_it_holds() {
    let mut harness = awaiting(HOLD);
    let stats = {
        let setup = LegSetup { early_media: HOLD, ..harness.setup(3) };
        harness.add(setup)
    };
    for leg in [1, 3] {
        harness.receive(leg, &forged(7, 1));
    }
    harness.apply(Command::RemoveLeg { leg: 3 }).unwrap();
    assert_eq!(harness.dropped(DropReason::LegRemoved), 1);
    assert_eq!((stats.snapshot().early, harness.stats().early), (count(0, 1, 0, 1), count(1, 2, 0, 1)));
    harness.check();
    // The rest goes with the worker, as the harness asserts.
}

#[test]
fn changing_what_becomes_of_early_media_changes_what_is_held() {
    let mut harness = awaiting(HOLD);
    let held = |harness: &mut Harness| {
        (0..6).for_each(|sequence| drop(harness.receive(1, &forged(7, sequence))));
        harness.stats().early.held
    };
    assert_eq!(held(&mut harness), 6);
    let change = |early_media| LegUpdate { early_media: Some(early_media), ..LegUpdate::new(1) };
    harness.update(change(EarlyMedia::Hold { packets: 2, time: Duration::from_secs(1) }));
    assert_eq!((harness.stats().early.held, harness.dropped(DropReason::EarlyMediaFull)), (2, 4));
    harness.update(change(EarlyMedia::Drop));
    assert_eq!((harness.stats().early.held, harness.dropped(DropReason::EarlyMediaFull)), (0, 6));
    assert_eq!(held(&mut harness), 0);
    harness.update(change(HOLD));
    assert_eq!(held(&mut harness), 6);
    for (packets, time) in [(0, 1), (1025, 1), (1, 0), (1, 11)] {
        let update = change(EarlyMedia::Hold { packets, time: Duration::from_secs(time) });
        assert!(harness.apply(Command::UpdateLeg(update)).is_err(), "{packets} {time}");
    }
}

#[test]
fn a_leg_that_becomes_srtp_again_holds_again_and_one_that_lost_its_keys_does_not() {
    let mut harness = awaiting(HOLD);
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    harness.apply(Command::RetireKey { leg: 1, direction: Direction::Inbound, key: KeyId(10) }).unwrap();
    harness.receive(1, &forged(7, 1));
    assert_eq!((harness.stats().early.held, harness.dropped(DropReason::NoInboundKey)), (0, 1));
    for inbound in [Plain, Srtp] {
        harness.update(LegUpdate { inbound: Some(inbound), ..LegUpdate::new(1) });
    }
    harness.receive(1, &alice().protect(&rtp(7, 1)));
    assert_eq!(harness.stats().early.held, 1);
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    assert_eq!(bytes(harness.sent_by_commands()), [rtp(7, 1)]);
}

#[test]
fn all_legs_together_hold_no_more_than_the_workers_share_and_none_at_the_cost_of_quiet_ones() {
    let limits = Limits { legs: 64, early_packets: 40, ..limits() };
    let mut harness = Harness::with(limits, Tuning::default());
    for leg in 1..=3 {
        let early_media = EarlyMedia::Hold { packets: 100, time: Duration::from_secs(2) };
        let setup = LegSetup { early_media, ..harness.setup(leg) };
        harness.add(setup);
    }
    for sequence in 0..200 {
        harness.receive(1, &forged(7, sequence));
    }
    assert_eq!(harness.stats().early, count(40, 200, 0, 160));
    for leg in [2, 3] {
        let mut peer = Peer::of(leg, leg, 0);
        for sequence in 0..5 {
            harness.receive(leg, &peer.protect(&rtp(leg, sequence)));
        }
    }
    assert_eq!(harness.stats().early.held, 40);
    for leg in [2, 3] {
        harness.install(leg, Direction::Inbound, key(10 * u64::from(leg))).unwrap();
    }
    assert_eq!(harness.stats().early, count(30, 210, 10, 170), "the flood made room");
}

#[test]
fn what_is_held_is_in_a_small_chunk_or_not_at_all() {
    let mut harness = awaiting(HOLD);
    let large = |harness: &mut Harness, bytes: &[u8]| {
        let mut frame = harness.pool.alloc_large().unwrap();
        assert!(frame.fill(bytes));
        frame.set_ingress(Ingress {
            local: ([127, 0, 0, 1], 1).into(),
            remote: peer(1001),
            socket: Some(sluice_io::SocketToken { leg: 1, component: Component::Rtp }),
            path: harness.path,
            received_at: SECOND,
        });
        let mut rx = FrameBatch::new();
        rx.push(frame).unwrap();
        harness.process(&mut rx)
    };
    let packet = alice().protect(&rtp(7, 1));
    large(&mut harness, &packet);
    let large_left = harness.pool.available().1;
    assert_eq!((harness.stats().early.held, large_left), (1, 16));
    let mut jumbo = forged(7, 2);
    jumbo.resize(SMALL, 0);
    assert!(jumbo.len() + MAX_OVERHEAD > SMALL);
    large(&mut harness, &jumbo);
    assert_eq!((harness.stats().early.held, harness.dropped(DropReason::EarlyMediaFull)), (1, 1));
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    assert_eq!(bytes(harness.sent_by_commands()), [rtp(7, 1)]);
}

#[test]
fn rtcp_on_its_own_port_is_held_in_its_place() {
    let mut harness = Harness::new();
    let setup = LegSetup { early_media: HOLD, rtcp: Some(harness.socket()), ..harness.setup(1) };
    harness.add(setup);
    let setup = LegSetup { rtcp: Some(harness.socket()), ..harness.setup(2) };
    harness.add(setup);
    harness.route(1, 1, 2);
    let mut alice = alice();
    let packets = [(Component::Rtp, 1001, rtp(7, 1)), (Component::Rtcp, 1002, rtcp(7, 9))];
    for (component, port, packet) in packets.clone().into_iter().chain([(Component::Rtp, 1001, rtp(7, 2))]) {
        let packet = alice.protect(&packet);
        assert!(harness.receive_batch(&[(1, component, peer(port), packet)]).is_empty());
    }
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    let sent = harness.sent_by_commands();
    let ports: Vec<_> = sent.iter().map(|sent| sent.meta.remote.port()).collect();
    assert_eq!(ports, [1002, 1003, 1002]);
}

#[test]
fn on_a_shared_port_it_is_held_by_the_leg_of_its_address_or_of_its_signalled_ssrc() {
    let mut harness = Harness::new();
    let socket = harness.socket();
    let local = socket.local_addr().unwrap();
    harness.apply(Command::AddPort(PortSetup { port: 1, local, socket })).unwrap();
    harness.leg(100, Srtp, Plain);
    for leg in [1, 2] {
        let sharing = Some(Sharing { port: 1, ssrcs: vec![70 + leg], ice_ufrag: None });
        let remote = (leg == 1).then(|| peer(1001));
        let latching = Latching::NewestAuthenticated;
        let setup = LegSetup { local, sharing, latching, remote, early_media: HOLD, ..harness.setup(leg) };
        harness.add(setup);
        harness.route(leg, leg, 100);
    }
    let mut peers = [Peer::of(1, 5, 0), Peer::of(2, 72, 0)];
    harness.receive_at(local, peer(1001), &peers[0].protect(&rtp(5, 1)));
    harness.receive_at(local, peer(44), &peers[1].protect(&rtp(72, 1)));
    harness.receive_at(local, peer(45), &forged(9, 1));
    assert_eq!((harness.stats().early.held, harness.dropped(DropReason::Unassigned)), (2, 1));
    for (leg, wanted) in [(2, rtp(72, 1)), (1, rtp(5, 1))] {
        harness.install(leg, Direction::Inbound, key(10 * u64::from(leg))).unwrap();
        assert_eq!(bytes(harness.sent_by_commands()), [wanted]);
    }
    assert_eq!(bytes(harness.receive_at(local, peer(44), &peers[1].protect(&rtp(72, 2)))), [rtp(72, 2)]);
}

#[test]
fn early_media_of_a_plain_leg_is_no_matter() {
    for early_media in [HOLD, EarlyMedia::Plain] {
        let mut harness = Harness::new();
        let setup = LegSetup { early_media, inbound: Protection::Plain, ..harness.setup(1) };
        harness.add(setup);
        harness.leg(2, Srtp, Plain);
        harness.route(1, 1, 2);
        harness.receive(1, &rtp(7, 1));
        assert_eq!(harness.receive(1, &rtp(7, 2)).len(), 2, "with the one on probation");
        assert!(harness.install(1, Direction::Inbound, key(10)).is_err());
    }
}
