//! Forged, replayed and unwanted packets cost little and hurt nobody.

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{Command, Direction, DropReason, Event, LegSetup, Limits, Tuning};
use sluice_io::Component;

use crate::support::*;

#[test]
fn a_forged_packet_leaves_no_stream_behind() {
    let mut harness = Harness::new();
    let stats = harness.leg(1, Srtp, Plain);
    for ssrc in 0..50 {
        harness.receive(1, &forged(ssrc, 1));
    }
    assert_eq!(harness.dropped(DropReason::AuthFailed), 50);
    assert_eq!((harness.stats().streams, stats.snapshot().streams), (0, 0));
    let mut alice = Peer::of(1, 7, 0);
    harness.receive(1, &alice.protect(&rtp(7, 1)));
    assert_eq!((harness.stats().streams, stats.snapshot().streams), (1, 1));
}

#[test]
fn a_flood_of_unknown_ssrcs_is_cut_off_and_hurts_neither_old_nor_new_streams_of_the_peer() {
    let mut harness = Harness::new();
    let setup = LegSetup { latching: sluice_datapath::Latching::FirstAuthenticated, ..harness.setup(1) };
    harness.add(setup);
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let (mut old, mut new) = (Peer::of(1, 7, 0), Peer::of(1, 8, 0));
    assert_eq!(harness.receive(1, &old.protect(&rtp(7, 0))).len(), 1);
    for round in 1..50_u16 {
        let mut batch: Vec<_> = (0..62)
            .map(|n| (1, Component::Rtp, peer(6666), forged(0x1000 + u32::from(round) * 64 + n, 1)))
            .collect();
        batch.insert(30, (1, Component::Rtp, peer(1001), old.protect(&rtp(7, round))));
        batch.push((1, Component::Rtp, peer(1001), new.protect(&rtp(8, round))));
        assert_eq!(harness.receive_batch(&batch).len(), 2);
    }
    let (checked, unseen) =
        (harness.dropped(DropReason::AuthFailed), harness.dropped(DropReason::AuthRateLimited));
    assert_eq!(checked + unseen, 49 * 62);
    assert!(checked <= 100, "{checked} MACs were computed within one second");
    assert_eq!(harness.stats().streams, 2);
}

#[test]
fn forged_packets_of_a_known_ssrc_do_not_hurt_it() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    for sequence in 0..100 {
        for ahead in 0..3 {
            assert!(harness.receive(1, &forged(7, sequence + ahead * 1000)).is_empty());
        }
        assert_eq!(harness.receive(1, &alice.protect(&rtp(7, sequence))).len(), 1);
    }
}

#[test]
fn a_replayed_packet_is_dropped_within_a_batch_and_after_it() {
    let mut harness = Harness::new();
    let stats = harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    let packet = alice.protect(&rtp(7, 1));
    let copy = (1, Component::Rtp, peer(1001), packet.clone());
    assert_eq!(harness.receive_batch(&[copy.clone(), copy.clone(), copy]).len(), 1);
    assert!(harness.receive(1, &packet).is_empty());
    assert_eq!(stats.snapshot().dropped.get(DropReason::Replayed), 3);
    for sequence in 2..400 {
        harness.receive(1, &alice.protect(&rtp(7, sequence)));
    }
    harness.receive(1, &packet);
    assert_eq!(harness.dropped(DropReason::TooOld), 1);
}

#[test]
fn bursts_of_forged_and_of_replayed_packets_are_one_event_each() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let mut alice = Peer::of(1, 7, 0);
    let packet = alice.protect(&rtp(7, 1));
    harness.receive(1, &packet);
    harness.events();
    for _ in 0..30 {
        harness.receive(1, &packet);
        harness.receive(1, &forged(7, 2));
        harness.pass(50 * MILLI);
    }
    harness.pass(3 * SECOND);
    let events = harness.events();
    let auth: Vec<_> =
        events.iter().filter(|event| matches!(event, Event::AuthFailureBurst { leg: 1, .. })).collect();
    let replay: Vec<_> =
        events.iter().filter(|event| matches!(event, Event::ReplayBurst { leg: 1, .. })).collect();
    assert!(matches!(auth[..], [Event::AuthFailureBurst { count: 20..=21, .. }]), "{auth:?}");
    assert!(matches!(replay[..], [Event::ReplayBurst { count: 20..=21, .. }]), "{replay:?}");
}

#[test]
fn a_peer_cannot_have_more_streams_than_its_leg_allows() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    for ssrc in 0..12 {
        let mut alice = Peer::of(1, ssrc, 0);
        harness.receive(1, &alice.protect(&rtp(ssrc, 1)));
    }
    assert_eq!((harness.stats().streams, harness.dropped(DropReason::StreamLimit)), (8, 4));
}

#[test]
fn a_worker_cannot_have_more_streams_than_its_table_holds() {
    let mut harness = Harness::with(Limits { streams: 10, ..limits() }, Tuning::default());
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    for leg in [1, 2] {
        for ssrc in 0..8 {
            let mut peer = Peer::of(leg, ssrc, 0);
            harness.receive(leg, &peer.protect(&rtp(ssrc, 1)));
        }
    }
    assert_eq!((harness.stats().streams, harness.dropped(DropReason::StreamTableFull)), (10, 6));
}

#[test]
fn spoofed_plain_rtp_cannot_keep_the_peer_out() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    harness.leg(2, Plain, Plain);
    harness.route(1, 1, 2);
    for ssrc in 100..140 {
        assert!(harness.receive(1, &rtp(ssrc, 9)).is_empty());
    }
    assert!(harness.stats().held <= 8);
    harness.receive(1, &rtp(7, 1));
    assert_eq!(harness.receive(1, &rtp(7, 2)).len(), 2);
}

#[test]
fn negotiation_is_limited_in_rate_and_size() {
    let tuning = Tuning { negotiation_per_second: 10, ..Tuning::default() };
    let mut harness = Harness::with(limits(), tuning);
    let stats = harness.leg(1, Srtp, Plain);
    for _ in 0..50 {
        harness.receive(1, &[22, 0xfe, 0xfd]);
    }
    harness.receive(1, &[22; 3000]);
    assert_eq!((harness.stats().negotiation, stats.snapshot().negotiation), (10, 10));
    assert_eq!(harness.dropped(DropReason::NegotiationRate), 40);
    assert_eq!(harness.dropped(DropReason::NegotiationTooLarge), 1);
}

#[test]
fn events_that_nobody_takes_are_counted_and_packets_go_on() {
    let mut harness = Harness::with(Limits { events: 2, ..limits() }, Tuning::default());
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    for ssrc in 0..8 {
        let mut alice = Peer::of(1, ssrc, 0);
        assert_eq!(harness.receive(1, &alice.protect(&rtp(ssrc, 1))).len(), 1);
    }
    assert_eq!(harness.stats().events_lost, 7, "eight streams and the first media, two places");
    harness.receive(1, &[22, 0xfe, 0xfd]);
    assert_eq!(harness.dropped(DropReason::NegotiationQueueFull), 1);
}

#[test]
fn negotiation_leaves_room_in_the_queue_to_what_workers_have_to_say() {
    let mut harness = Harness::with(Limits { events: 8, ..limits() }, Tuning::default());
    let stats = harness.leg(1, Srtp, Plain);
    for _ in 0..20 {
        harness.receive(1, &[22, 0xfe, 0xfd]);
    }
    assert_eq!((stats.snapshot().negotiation, harness.dropped(DropReason::NegotiationQueueFull)), (5, 15));
    harness.receive(1, &Peer::of(1, 7, 0).protect(&rtp(7, 1)));
    assert_eq!(harness.stats().events_lost, 0);
    let told = harness.events();
    assert!(told.iter().any(|event| matches!(event, Event::StreamStarted { ssrc: 7, .. })), "{told:?}");
}

#[test]
fn datagrams_of_unknown_legs_are_counted() {
    let mut harness = Harness::new();
    harness.receive(99, &rtp(1, 1));
    assert_eq!(harness.dropped(DropReason::UnknownLeg), 1);
    harness.leg(1, Srtp, Plain);
    harness.apply(Command::RemoveLeg { leg: 1 }).unwrap();
    harness.receive(1, &rtp(1, 1));
    assert_eq!(harness.dropped(DropReason::UnknownLeg), 2);
}

#[test]
fn forged_packets_do_not_drive_out_streams_that_pause() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let mut peers: Vec<_> = (0..8).map(|ssrc| Peer::of(1, ssrc, 0)).collect();
    let mut play = |harness: &mut Harness, sequence| -> usize {
        let packets = peers.iter_mut().zip(0..).map(|(peer, ssrc)| peer.protect(&rtp(ssrc, sequence)));
        packets.map(|packet| harness.receive(1, &packet).len()).sum()
    };
    assert_eq!(play(&mut harness, 65_535) + play(&mut harness, 0), 16);
    harness.pass(40 * SECOND);
    for ssrc in 100..150 {
        harness.receive(1, &forged(ssrc, 1));
    }
    assert_eq!(play(&mut harness, 1), 8, "their rollover counters are still known");
}
