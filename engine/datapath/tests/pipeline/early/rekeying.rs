//! Media under keys that are on their way to a leg that has others, as of another DTLS association (RFC 8842).

use std::time::Duration;

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{
    Command, Direction, DropReason, EarlyCount, EarlyMedia, Event, Latching, LegSetup, LegUpdate, PortSetup,
    RocOnRekey, Sharing, Tuning,
};
use sluice_srtp::{KeyId, Lifetime, Suite};

use super::{HOLD, alice, awaiting, bytes, count};
use crate::support::*;

/// Leg 1 has key 10 and is about to get key 110.
fn rekeying(early_media: EarlyMedia) -> Harness {
    let mut harness = awaiting(early_media);
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    set(&mut harness, true);
    harness
}

fn set(harness: &mut Harness, rekeying: bool) {
    harness.update(LegUpdate { rekeying: Some(rekeying), ..LegUpdate::new(1) });
}

fn rekey(harness: &mut Harness) -> Vec<Vec<u8>> {
    harness.rekey(1, Direction::Inbound, key(110), RocOnRekey::TryBoth).unwrap();
    harness.check();
    bytes(harness.sent_by_commands())
}

/// Of SSRC 7, under the key to come.
fn renewed() -> Peer {
    Peer::new(7, &key(110), 0, &key(11))
}

#[test]
fn what_is_under_a_key_to_come_waits_for_it_and_what_is_under_the_one_there_goes_on() {
    for goes_on in [true, false] {
        let mut harness = rekeying(HOLD);
        let mut alice = alice();
        let pass = |harness: &mut Harness, packet: &[u8], clear: Vec<u8>| {
            assert_eq!(bytes(harness.receive(1, packet)), [clear]);
        };
        // At the end of the second round of sequence numbers, and at some SRTCP index.
        for sequence in [65_534, 0, 20_000, 40_000, 60_000, 65_530] {
            pass(&mut harness, &alice.protect(&rtp(7, sequence)), rtp(7, sequence));
            pass(&mut harness, &alice.protect(&rtcp(7, 9)), rtcp(7, 9));
        }
        let late = [65_531, 65_532, 65_533].map(|sequence| alice.protect(&rtp(7, sequence)));
        let mut renewed = renewed();
        if goes_on {
            renewed = renewed.at_roc(1, &key(110));
        }
        let wanted = [rtp(7, 65_534), rtcp(7, 9), rtp(7, 65_535), rtp(7, 0), rtcp(7, 9), rtp(7, 1)];
        let under_new: Vec<_> = wanted.iter().map(|packet| renewed.protect(packet)).collect();
        for (packet, (late, sequence)) in under_new.iter().zip(late.iter().zip(65_531..65_533)) {
            assert!(harness.receive(1, packet).is_empty());
            pass(&mut harness, late, rtp(7, sequence));
        }
        harness.pass(500 * MILLI);
        for packet in &under_new[2..] {
            assert!(harness.receive(1, packet).is_empty());
        }
        assert_eq!((harness.stats().early, harness.stats().dropped.total()), (count(6, 6, 0, 0), 0));
        assert_eq!(rekey(&mut harness), wanted, "goes on: {goes_on}");
        assert_eq!((harness.stats().early, harness.stats().dropped.total()), (count(0, 6, 6, 0), 0));
        for packet in &under_new {
            assert!(harness.receive(1, packet).is_empty(), "each index once");
        }
        assert_eq!(harness.stats().early.total, 6, "none waits any more");
        pass(&mut harness, &late[2], rtp(7, 65_533));
        pass(&mut harness, &renewed.protect(&rtp(7, 2)), rtp(7, 2));
        assert_eq!(harness.stats().streams, 1);
        let told = harness.events().into_iter().find_map(|event| match event {
            Event::EarlyMediaReleased { leg: 1, packets, waited, .. } => Some((packets, waited)),
            _ => None,
        });
        assert_eq!(told, Some((6, Duration::from_millis(500))));
    }
}

#[test]
fn where_no_key_comes_what_waited_is_dropped_for_what_was_wrong_with_it() {
    let mut harness = rekeying(HOLD);
    let mut alice = alice();
    let first = alice.protect(&rtp(7, 1));
    harness.receive(1, &first);
    for packet in [renewed().protect(&rtp(7, 2)), first, forged(8, 1)] {
        assert!(harness.receive(1, &packet).is_empty());
    }
    assert_eq!((harness.stats().early, harness.stats().dropped.total()), (count(3, 3, 0, 0), 0));
    set(&mut harness, false);
    harness.check();
    assert_eq!(harness.stats().early, count(0, 3, 0, 3));
    assert_eq!((harness.dropped(DropReason::AuthFailed), harness.dropped(DropReason::Replayed)), (2, 1));
    assert_eq!(bytes(harness.receive(1, &alice.protect(&rtp(7, 2)))), [rtp(7, 2)]);
    harness.receive(1, &renewed().protect(&rtp(7, 3)));
    assert_eq!(harness.dropped(DropReason::AuthFailed), 3, "at once again");
    assert!(rekey(&mut harness).is_empty());
    set(&mut harness, false);
}

#[test]
fn forged_packets_push_out_the_oldest_at_most_and_end_as_forged() {
    let mut harness = rekeying(HOLD);
    let mut alice = alice();
    for number in 0..100 {
        harness.receive(1, &forged(100 + number, 1));
        let sequence = number as u16;
        assert_eq!(bytes(harness.receive(1, &alice.protect(&rtp(7, sequence)))), [rtp(7, sequence)]);
    }
    assert_eq!(harness.stats().early, count(8, 100, 0, 92));
    assert_eq!(harness.dropped(DropReason::EarlyMediaFull), 92);
    let mut renewed = renewed();
    for sequence in 100..105 {
        harness.receive(1, &renewed.protect(&rtp(7, sequence)));
    }
    assert_eq!(rekey(&mut harness), (100..105).map(|sequence| rtp(7, sequence)).collect::<Vec<_>>());
    assert_eq!((harness.dropped(DropReason::AuthFailed), harness.stats().streams), (3, 1));
}

#[test]
fn new_streams_wait_beyond_the_rate_of_unknown_ones_and_cost_those_after_them_nothing() {
    let tuning = Tuning { auth_failures_per_second: 2, ..Tuning::default() };
    let mut harness = Harness::with(limits(), tuning);
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    set(&mut harness, true);
    let mut other = Peer::new(8, &key(110), 0, &key(11));
    for sequence in 0..20 {
        assert!(harness.receive(1, &other.protect(&rtp(8, sequence))).is_empty());
    }
    assert_eq!((harness.stats().early.held, harness.stats().dropped.total()), (20, 0));
    assert_eq!(rekey(&mut harness), (0..20).map(|sequence| rtp(8, sequence)).collect::<Vec<_>>());
    let mut third = Peer::new(9, &key(110), 0, &key(11));
    assert_eq!(bytes(harness.receive(1, &third.protect(&rtp(9, 0)))), [rtp(9, 0)]);
}

#[test]
fn what_waited_for_too_long_goes_and_the_leg_goes_on_keeping() {
    let mut harness = rekeying(HOLD);
    let mut renewed = renewed();
    harness.receive(1, &renewed.protect(&rtp(7, 1)));
    harness.pass(3 * SECOND);
    assert_eq!(
        (harness.stats().early, harness.dropped(DropReason::EarlyMediaExpired)),
        (count(0, 1, 0, 1), 1)
    );
    harness.receive(1, &renewed.protect(&rtp(7, 2)));
    assert_eq!(rekey(&mut harness), [rtp(7, 2)]);
}

#[test]
fn a_leg_that_names_no_bounds_has_the_usual_ones_and_other_changes_leave_what_waits() {
    for early_media in [EarlyMedia::Drop, EarlyMedia::Plain, HOLD] {
        let mut harness = rekeying(early_media);
        let mut renewed = renewed();
        for sequence in 0..130 {
            harness.receive(1, &renewed.protect(&rtp(7, sequence)));
        }
        let most = if early_media == HOLD { 8 } else { 128 };
        set(&mut harness, true);
        harness.update(LegUpdate { dscp: Some(46), inbound: Some(Srtp), ..LegUpdate::new(1) });
        harness.signal(1, peer(1001));
        assert_eq!(harness.stats().early, count(most, 130, 0, 130 - most), "{early_media:?}");
        let wanted: Vec<_> = (130 - most as u16..130).map(|sequence| rtp(7, sequence)).collect();
        assert_eq!(rekey(&mut harness), wanted, "{early_media:?}");
    }
}

#[test]
fn what_waits_for_a_key_never_plays_out_as_plain_rtp() {
    let mut harness = rekeying(HOLD);
    harness.receive(1, &renewed().protect(&rtp(7, 1)));
    harness.update(LegUpdate { inbound: Some(Plain), ..LegUpdate::new(1) });
    assert!(harness.sent_by_commands().is_empty());
    assert_eq!((harness.stats().early, harness.dropped(DropReason::AuthFailed)), (count(0, 1, 0, 1), 1));
    harness.receive(1, &rtp(6, 1));
    assert_eq!(harness.receive(1, &rtp(6, 2)).len(), 2, "with the one on probation");
}

#[test]
fn a_leg_without_a_key_does_as_its_early_media_says() {
    let mut harness = awaiting(EarlyMedia::Drop);
    set(&mut harness, true);
    harness.receive(1, &renewed().protect(&rtp(7, 1)));
    assert_eq!((harness.dropped(DropReason::NoInboundKey), harness.stats().early.total), (1, 0));
    // One that lost its key on the way waits for the next.
    let mut harness = rekeying(HOLD);
    harness.apply(Command::RetireKey { leg: 1, direction: Direction::Inbound, key: KeyId(10) }).unwrap();
    harness.receive(1, &renewed().protect(&rtp(7, 1)));
    assert_eq!(rekey(&mut harness), [rtp(7, 1)]);
}

#[test]
fn a_suite_of_shorter_tags_and_a_key_that_is_used_up_are_waited_for_as_well() {
    let before = key_of(10, Suite::AeadAes128Gcm, Lifetime { rtp_packets: 1, ..Lifetime::MAX });
    let mut harness = awaiting(HOLD);
    harness.install(1, Direction::Inbound, before.clone()).unwrap();
    set(&mut harness, true);
    let mut alice = Peer::new(7, &before, 0, &before);
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 1))).len(), 1);
    let mut renewed = renewed();
    let short = &rtp(7, 2)[..14];
    for packet in [short, &rtp(7, 3)] {
        assert!(harness.receive(1, &renewed.protect(packet)).is_empty());
    }
    assert_eq!(harness.stats().early.held, 2);
    assert_eq!(rekey(&mut harness), [short.to_vec(), rtp(7, 3)]);
}

#[test]
fn on_a_shared_port_it_waits_at_the_leg_of_its_address() {
    let mut harness = Harness::new();
    let socket = harness.socket();
    let local = socket.local_addr().unwrap();
    harness.apply(Command::AddPort(PortSetup { port: 1, local, socket })).unwrap();
    harness.leg(100, Srtp, Plain);
    for leg in [1, 2] {
        let sharing = Some(Sharing { port: 1, ssrcs: Vec::new(), ice_ufrag: None });
        let remote = Some(peer(1000 + leg as u16));
        let setup = LegSetup { local, sharing, remote, latching: Latching::Never, ..harness.setup(leg) };
        harness.add(setup);
        harness.route(leg, leg, 100);
        harness.install(leg, Direction::Inbound, key(10 * u64::from(leg))).unwrap();
    }
    set(&mut harness, true);
    let (mut alice, mut renewed) = (alice(), renewed());
    assert_eq!(harness.receive_at(local, peer(1001), &alice.protect(&rtp(7, 1))).len(), 1);
    for sequence in 2..5 {
        assert!(harness.receive_at(local, peer(1001), &renewed.protect(&rtp(7, sequence))).is_empty());
    }
    harness.receive_at(local, peer(1002), &forged(7, 1));
    assert_eq!((harness.stats().early.held, harness.dropped(DropReason::AuthFailed)), (3, 1));
    assert_eq!(rekey(&mut harness), (2..5).map(|sequence| rtp(7, sequence)).collect::<Vec<_>>());
}

#[test]
fn a_leg_that_goes_while_it_is_rekeyed_gives_back_what_waits() {
    let mut harness = rekeying(HOLD);
    harness.receive(1, &renewed().protect(&rtp(7, 1)));
    harness.apply(Command::RemoveLeg { leg: 1 }).unwrap();
    harness.check();
    assert_eq!(harness.dropped(DropReason::LegRemoved), 1);
    assert_eq!(harness.stats().early, EarlyCount { held: 0, total: 1, released: 0, evicted: 1 });
}
