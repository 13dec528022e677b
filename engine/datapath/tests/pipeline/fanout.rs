//! One source, many legs: copies and shared keys, mapped headers, routes that are paused or select.

use std::sync::Arc;

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{
    Command, CommandError, Direction, DropReason, LegSetup, Limits, OnSsrcClash, RouteOptions, Tuning,
};
use sluice_io::Component;
use sluice_srtp::{Error, SessionKeys};

use crate::support::*;

fn large() -> Harness {
    let limits = Limits { legs: 1024, routes: 2048, streams: 2048, egress_contexts: 2048, ..limits() };
    Harness::with(limits, Tuning::default())
}

/// Legs that all send under one key.
fn share(harness: &mut Harness, legs: impl IntoIterator<Item = u32>, keys: &Arc<SessionKeys>) {
    for leg in legs {
        let setup = LegSetup { inbound: Plain, outbound: Srtp, ..harness.setup(leg) };
        harness.add(setup);
        harness.install_shared(leg, keys).unwrap();
    }
}

fn update(harness: &mut Harness, route: u32, options: RouteOptions) {
    harness.apply(Command::UpdateRoute { route, options }).unwrap();
}

#[test]
fn a_thousand_legs_get_what_one_sends_each_under_its_own_key() {
    let mut harness = large();
    harness.leg(1, Srtp, Plain);
    for leg in 2..=1001 {
        harness.leg(leg, Plain, Srtp);
        harness.route(leg, 1, leg);
    }
    let mut alice = Peer::of(1, 7, 0);
    let mut peers: Vec<_> = (2..=1001).map(|leg| Peer::of(leg, 0, 7)).collect();
    for sequence in [65_534, 65_535, 0, 1] {
        let sent = harness.receive(1, &alice.protect(&rtp(7, sequence)));
        assert_eq!(sent.len(), 1000);
        for (sent, (leg, peer)) in sent.iter().zip((2..).zip(&mut peers)) {
            assert_eq!(sent.meta.socket.leg, leg);
            assert_eq!(peer.unprotect(&sent.bytes).unwrap(), rtp(7, sequence));
        }
    }
    let stats = harness.stats();
    assert_eq!((stats.received, stats.copied, stats.sent, stats.egress_contexts), (4, 4 * 999, 4000, 1000));
}

#[test]
fn a_thousand_legs_with_one_key_get_the_same_octets_and_one_index_is_used() {
    let mut harness = large();
    harness.leg(1, Srtp, Plain);
    let keys = key(99);
    share(&mut harness, 2..=1001, &keys);
    for leg in 2..=1001 {
        harness.route(leg, 1, leg);
    }
    let (mut alice, mut anyone) = (Peer::of(1, 7, 0), Peer::new(0, &keys, 7, &keys));
    for sequence in [65_534, 65_535, 0, 1] {
        let sent = harness.receive(1, &alice.protect(&rtp(7, sequence)));
        assert_eq!(sent.len(), 1000);
        assert!(sent.iter().all(|other| other.bytes == sent[0].bytes));
        let mut legs: Vec<_> = sent.iter().map(|sent| sent.meta.remote.port() - 1000).collect();
        legs.sort_unstable();
        assert_eq!(legs, (2..=1001).collect::<Vec<_>>(), "each to its own peer");
        assert_eq!(anyone.unprotect(&sent[0].bytes).unwrap(), rtp(7, sequence));
    }
    let report = |harness: &mut Harness, alice: &mut Peer| harness.receive(1, &alice.protect(&rtcp(7, 9)));
    let (first, second) = (report(&mut harness, &mut alice), report(&mut harness, &mut alice));
    assert!(first.iter().all(|other| other.bytes == first[0].bytes));
    assert_ne!(first[0].bytes, second[0].bytes, "SRTCP indices go on");
    for sent in [&first[0], &second[0]] {
        assert_eq!(anyone.unprotect(&sent.bytes).unwrap(), rtcp(7, 9));
    }
    assert_eq!((harness.stats().egress_contexts, harness.stats().clashes), (1, 0));
}

#[test]
fn full_batches_to_a_shared_key_are_sent_whole_and_in_order() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let keys = key(99);
    share(&mut harness, 2..=11, &keys);
    for leg in 2..=11 {
        harness.route(leg, 1, leg);
    }
    let mut alice = Peer::of(1, 7, 0);
    let batch: Vec<_> = (0..64).map(|n| (1, Component::Rtp, peer(1001), alice.protect(&rtp(7, n)))).collect();
    let sent = harness.receive_batch(&batch);
    assert_eq!(sent.len(), 640);
    for leg in 2..=11 {
        let mut bob = Peer::new(0, &keys, 7, &keys);
        let to_bob = sent.iter().filter(|sent| sent.meta.remote == peer(1000 + leg));
        let received: Vec<_> = to_bob.map(|sent| bob.unprotect(&sent.bytes).unwrap()).collect();
        assert_eq!(received, (0..64).map(|n| rtp(7, n)).collect::<Vec<_>>());
    }
}

#[test]
fn a_leg_without_an_address_and_a_paused_one_keep_nothing_from_the_others() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let keys = key(99);
    share(&mut harness, 2..=4, &keys);
    let setup = LegSetup { remote: None, inbound: Plain, outbound: Srtp, ..harness.setup(5) };
    harness.add(setup);
    harness.install_shared(5, &keys).unwrap();
    for leg in [5, 2, 3, 4] {
        harness.route(leg, 1, leg);
    }
    let paused = RouteOptions { paused: true, ..RouteOptions::default() };
    update(&mut harness, 3, paused.clone());
    let mut alice = Peer::of(1, 7, 0);
    let sent = harness.receive(1, &alice.protect(&rtp(7, 1)));
    assert_eq!(sent.iter().map(|sent| sent.meta.remote.port()).collect::<Vec<_>>(), [1002, 1004]);
    assert_eq!((harness.dropped(DropReason::NoRemote), harness.dropped(DropReason::RoutePaused)), (1, 1));
    for route in [2, 4, 5] {
        update(&mut harness, route, paused.clone());
    }
    assert!(harness.receive(1, &alice.protect(&rtp(7, 2))).is_empty());
    assert_eq!(harness.dropped(DropReason::RoutePaused), 5);
    assert_eq!(harness.receive(1, &alice.protect(&rtcp(7, 9))).len(), 3, "reports go on");
}

#[test]
fn legs_of_a_shared_key_change_to_another_one_by_one_and_their_indices_go_on() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let (old, new) = (key(98), key(99));
    share(&mut harness, 2..=4, &old);
    for leg in 2..=4 {
        harness.route(leg, 1, leg);
    }
    let mut alice = Peer::of(1, 7, 0);
    let mut bobs: Vec<_> = (2..=4).map(|_| Peer::new(0, &old, 7, &old)).collect();
    let mut sequence = 65_533_u16;
    let mut play = |harness: &mut Harness, bobs: &mut [Peer]| {
        for _ in 0..3 {
            let packet = rtp(7, sequence);
            sequence = sequence.wrapping_add(1);
            for sent in harness.receive(1, &alice.protect(&packet)) {
                let bob = &mut bobs[usize::from(sent.meta.remote.port()) - 1002];
                assert_eq!(bob.unprotect(&sent.bytes).unwrap(), packet);
            }
        }
        harness.stats().egress_contexts
    };
    assert_eq!(play(&mut harness, &mut bobs), 1);
    for (leg, contexts) in [(3, 2), (2, 2), (4, 1)] {
        bobs[leg as usize - 2].install(&new);
        harness.install_shared(leg, &new).unwrap();
        assert_eq!(play(&mut harness, &mut bobs), contexts, "leg {leg}");
    }
    assert_eq!((harness.stats().sent, harness.stats().clashes), (36, 0), "nobody missed a packet");
    harness.apply(Command::RemoveLeg { leg: 2 }).unwrap();
    play(&mut harness, &mut bobs);
    let retire = Command::RetireKey { leg: 3, direction: Direction::Outbound, key: old.id() };
    harness.apply(retire).unwrap();
    harness.install_shared(3, &old).unwrap();
    assert_eq!(play(&mut harness, &mut bobs), 2, "and one may even go back");
    assert_eq!((harness.stats().sent, harness.dropped(DropReason::IndexUsed)), (48, 0));
}

#[test]
fn a_shared_key_is_no_licence_for_two_sources_or_for_two_shapes_of_one() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(9, Srtp, Plain);
    let keys = key(99);
    share(&mut harness, 2..=3, &keys);
    harness.route(2, 1, 2);
    harness.route(3, 9, 3);
    let (mut alice, mut eve) = (Peer::of(1, 7, 0), Peer::of(9, 7, 0));
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 1))).len(), 1);
    assert!(harness.receive(9, &eve.protect(&rtp(7, 1))).is_empty(), "another source of the SSRC");
    let mapped = RouteOptions { payload_types: vec![(0, 8)], ..RouteOptions::default() };
    harness.route_with(4, 1, 3, mapped.clone());
    let sent = harness.receive(1, &alice.protect(&rtp(7, 2)));
    assert_eq!(sent.iter().map(|sent| sent.meta.remote.port()).collect::<Vec<_>>(), [1002], "another header");
    assert_eq!(harness.dropped(DropReason::SsrcClash), 2);
    update(&mut harness, 2, mapped);
    let sent = harness.receive(1, &alice.protect(&rtp(7, 3)));
    assert_eq!(sent.len(), 2, "the same header again");
    let mut bob = Peer::new(0, &keys, 7, &keys);
    assert_eq!(bob.unprotect(&sent[0].bytes).unwrap()[1], 8);
}

#[test]
fn one_leg_that_does_not_share_its_key_is_sent_to_by_no_other() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let keys = key(99);
    share(&mut harness, [2], &keys);
    let setup = LegSetup { outbound: Srtp, ..harness.setup(3) };
    harness.add(setup);
    harness.install(3, Direction::Outbound, keys).unwrap();
    harness.route(2, 1, 2);
    harness.route(3, 1, 3);
    let mut alice = Peer::of(1, 7, 0);
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 1))).len(), 1);
    assert_eq!(harness.dropped(DropReason::SsrcClash), 1);
}

/// An RTP packet with payload type 96 and two header extension elements, 1 and 2.
fn extended(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = rtp(ssrc, sequence);
    (packet[0], packet[1]) = (0x90, 96);
    packet.splice(12..12, [0xbe, 0xde, 0, 1, 0x10, 0xaa, 0x20, 0xbb]);
    packet
}

#[test]
fn headers_are_mapped_each_route_by_itself() {
    for outbound in [Plain, Srtp] {
        let mut harness = Harness::new();
        harness.leg(1, Srtp, Plain);
        harness.leg(2, Plain, outbound);
        harness.leg(3, Plain, outbound);
        let options = RouteOptions {
            ssrcs: vec![(7, 70)],
            payload_types: vec![(96, 111)],
            extensions: vec![(1, 5), (2, 0)],
            ..RouteOptions::default()
        };
        harness.route_with(2, 1, 2, options);
        harness.route(3, 1, 3);
        let (mut alice, mut bob, mut carol) = (Peer::of(1, 7, 0), Peer::of(2, 0, 70), Peer::of(3, 0, 7));
        let sent = harness.receive(1, &alice.protect(&extended(7, 1)));
        let clear = |peer: &mut Peer, bytes: &[u8]| match outbound {
            Plain => bytes.to_vec(),
            Srtp => peer.unprotect(bytes).unwrap(),
        };
        let mut mapped = extended(70, 1);
        mapped[1] = 111;
        mapped[16..20].copy_from_slice(&[0x50, 0xaa, 0, 0]);
        assert_eq!(clear(&mut bob, &sent[0].bytes), mapped);
        assert_eq!(clear(&mut carol, &sent[1].bytes), extended(7, 1), "the other route changes nothing");
    }
}

#[test]
fn reports_name_streams_as_their_reader_knows_them() {
    for outbound in [Plain, Srtp] {
        let mut harness = Harness::new();
        harness.leg(1, Srtp, outbound);
        harness.leg(2, Srtp, outbound);
        let there = RouteOptions { ssrcs: vec![(7, 70)], ..RouteOptions::default() };
        harness.route_with(1, 1, 2, there);
        let back = RouteOptions { ssrcs: vec![(50, 51)], ..RouteOptions::default() };
        harness.route_with(2, 2, 1, back);
        let (mut alice, mut bob) = (Peer::of(1, 7, 51), Peer::of(2, 50, 70));
        harness.receive(1, &alice.protect(&rtp(7, 1)));
        harness.receive(2, &bob.protect(&rtp(50, 1)));
        let sent = harness.receive(1, &alice.protect(&rtcp(7, 51)));
        let clear = |peer: &mut Peer, bytes: &[u8]| match outbound {
            Plain => bytes.to_vec(),
            Srtp => peer.unprotect(bytes).unwrap(),
        };
        assert_eq!(clear(&mut bob, &sent[0].bytes), rtcp(70, 50));
        let sent = harness.receive(2, &bob.protect(&rtcp(50, 70)));
        assert_eq!(clear(&mut alice, &sent[0].bytes), rtcp(51, 7));
    }
}

/// A sender report with a description and a goodbye of two sources, of which one may never have been heard.
fn farewell(sender: u32, other: u32) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let mut compound = words(&[0x80c8_0006, sender, 1, 2, 3, 4, 5]);
    compound.extend(words(&[0x82ca_0006, sender, 0x0103_6161, 0x6100_0000, other, 0x0103_6262, 0x6200_0000]));
    compound.extend(words(&[0x82cb_0002, sender, other]));
    compound
}

#[test]
fn sources_that_were_not_heard_yet_or_no_longer_are_mapped_in_descriptions_and_goodbyes_too() {
    for outbound in [Plain, Srtp] {
        let mut harness = Harness::new();
        harness.leg(1, Srtp, Plain);
        harness.leg(2, Plain, outbound);
        harness.leg(3, Plain, outbound);
        let maps = RouteOptions { ssrcs: vec![(7, 70), (8, 80)], ..RouteOptions::default() };
        harness.route_with(2, 1, 2, maps);
        harness.route(3, 1, 3);
        let (mut alice, mut bob, mut carol) = (Peer::of(1, 7, 0), Peer::of(2, 0, 70), Peer::of(3, 0, 7));
        let clear = |peer: &mut Peer, bytes: &[u8]| match outbound {
            Plain => bytes.to_vec(),
            Srtp => peer.unprotect(bytes).unwrap(),
        };
        for _ in 0..2 {
            let sent = harness.receive(1, &alice.protect(&farewell(7, 8)));
            assert_eq!(clear(&mut bob, &sent[0].bytes), farewell(70, 80));
            assert_eq!(clear(&mut carol, &sent[1].bytes), farewell(7, 8), "the other route maps nothing");
            harness.receive(1, &Peer::of(1, 8, 0).protect(&rtp(8, 1)));
        }
    }
}

#[test]
fn a_mapping_that_changes_takes_the_stream_along() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Plain, Srtp);
    harness.route(2, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    let (mut before, mut after) = (Peer::of(2, 0, 7), Peer::of(2, 0, 70));
    let sent = harness.receive(1, &alice.protect(&rtp(7, 65_535)));
    before.unprotect(&sent[0].bytes).unwrap();
    update(&mut harness, 2, RouteOptions { ssrcs: vec![(7, 70)], ..RouteOptions::default() });
    let sent = harness.receive(1, &alice.protect(&rtp(7, 0)));
    assert_eq!(after.unprotect(&sent[0].bytes).unwrap(), rtp(70, 0));
    update(&mut harness, 2, RouteOptions { payload_types: vec![(0, 8)], ..RouteOptions::default() });
    let sent = harness.receive(1, &alice.protect(&rtp(7, 1)));
    let clear = before.unprotect(&sent[0].bytes).unwrap();
    assert_eq!((clear[1], &clear[2..]), (8, &rtp(7, 1)[2..]), "the SSRC that was used before goes on");
}

#[test]
fn two_sources_mapped_to_one_ssrc_of_a_leg_are_a_clash_with_and_without_srtp() {
    for outbound in [Plain, Srtp] {
        let mut harness = Harness::new();
        harness.leg(1, Srtp, Plain);
        harness.leg(2, Srtp, Plain);
        harness.leg(3, Plain, outbound);
        let to_70 = |ssrc| RouteOptions { ssrcs: vec![(ssrc, 70)], ..RouteOptions::default() };
        harness.route_with(1, 1, 3, to_70(7));
        harness.route_with(2, 2, 3, to_70(8));
        let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 8, 0));
        assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 1))).len(), 1);
        assert!(harness.receive(2, &bob.protect(&rtp(8, 1))).is_empty());
        assert_eq!(harness.dropped(DropReason::SsrcClash), 1);
        harness.apply(Command::RemoveRoute { route: 1 }).unwrap();
        assert_eq!(harness.receive(2, &bob.protect(&rtp(8, 2))).len(), 1, "its place is free");
    }
}

#[test]
fn a_paused_route_and_one_that_selects_hold_rtp_back_and_let_rtcp_pass() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Plain, Srtp);
    let only = |ssrcs: &[u32]| RouteOptions { only: Some(ssrcs.to_vec()), ..RouteOptions::default() };
    harness.route_with(2, 1, 2, only(&[8]));
    let (mut low, mut high) = (Peer::of(1, 7, 0), Peer::of(1, 8, 0));
    let (mut hears_low, mut hears_high) = (Peer::of(2, 0, 7), Peer::of(2, 0, 8));
    assert!(harness.receive(1, &low.protect(&rtp(7, 1))).is_empty());
    let sent = harness.receive(1, &high.protect(&rtp(8, 1)));
    hears_high.unprotect(&sent[0].bytes).unwrap();
    assert_eq!(harness.receive(1, &low.protect(&rtcp(7, 50))).len(), 1);
    update(&mut harness, 2, only(&[7]));
    assert!(harness.receive(1, &high.protect(&rtp(8, 2))).is_empty());
    let sent = harness.receive(1, &low.protect(&rtp(7, 2)));
    hears_low.unprotect(&sent[0].bytes).unwrap();
    assert_eq!(harness.dropped(DropReason::NotSelected), 2);
    update(&mut harness, 2, RouteOptions { paused: true, ..RouteOptions::default() });
    for sequence in 3..70_u16 {
        assert!(harness.receive(1, &low.protect(&rtp(7, sequence))).is_empty());
    }
    assert_eq!(harness.dropped(DropReason::RoutePaused), 67);
    update(&mut harness, 2, RouteOptions::default());
    let sent = harness.receive(1, &low.protect(&rtp(7, 70)));
    assert_eq!(hears_low.unprotect(&sent[0].bytes).unwrap(), rtp(7, 70), "and goes on");
    let unknown = Command::UpdateRoute { route: 77, options: RouteOptions::default() };
    assert_eq!(harness.apply(unknown), Err(CommandError::UnknownRoute(77)));
}

#[test]
fn a_shared_stream_whose_ssrc_clashes_may_be_sent_under_another() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(9, Srtp, Plain);
    let keys = key(99);
    share(&mut harness, 2..=3, &keys);
    let rewrite = || RouteOptions { on_ssrc_clash: OnSsrcClash::Rewrite, ..RouteOptions::default() };
    for (route, from, to) in [(1, 1, 2), (2, 1, 3), (3, 9, 2), (4, 9, 3)] {
        harness.route_with(route, from, to, rewrite());
    }
    let (mut alice, mut eve) = (Peer::of(1, 7, 0), Peer::of(9, 7, 0));
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 1))).len(), 2);
    let sent = harness.receive(9, &eve.protect(&rtp(7, 1)));
    assert_eq!(sent.len(), 2);
    let mut others: Vec<u32> = Vec::new();
    for sent in &sent {
        let ssrc = u32::from_be_bytes(sent.bytes[8..12].try_into().unwrap());
        let mut bob = Peer::new(0, &keys, ssrc, &keys);
        assert_eq!(bob.unprotect(&sent.bytes).unwrap(), rtp(ssrc, 1));
        others.push(ssrc);
    }
    assert!(!others.contains(&7) && others[0] != others[1], "{others:?}");
    let mut wrong = Peer::new(0, &key(98), others[0], &key(98));
    assert_eq!(wrong.unprotect(&sent[0].bytes), Err(Error::AuthFailed));
}
