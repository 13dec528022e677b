//! Whose address a leg sends to, and who may change it.

use std::sync::Arc;

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{Direction, DropReason, Event, Latching, LegSetup, Protection};
use sluice_io::Component;
use sluice_srtp::{KeyId, KeyOptions, MasterKey, Omit, Rcc, RccMode, SessionKeys, Suite};

use crate::support::*;

/// Leg 1 under test; what leg 2's peer sends goes to it, and so shows its remote address.
fn harness(latching: Latching, inbound: Protection, remote: Option<u16>) -> Harness {
    let mut harness = Harness::new();
    let setup = LegSetup { latching, inbound, remote: remote.map(peer), ..harness.setup(1) };
    harness.add(setup);
    if inbound == Srtp {
        harness.install(1, Direction::Inbound, key(10)).unwrap();
    }
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    harness.route(2, 2, 1);
    harness
}

/// Where leg 1 sends.
fn remote(harness: &mut Harness, peer_of_2: &mut Peer, sequence: u16) -> Option<u16> {
    let sent = harness.receive(2, &peer_of_2.protect(&rtp(50, sequence)));
    sent.first().map(|sent| sent.meta.remote.port())
}

fn moves(harness: &Harness) -> Vec<(Option<u16>, u16)> {
    let moved = |event| match event {
        Event::RemoteChanged { leg: 1, from, to, .. } => Some((from.map(|from| from.port()), to.port())),
        _ => None,
    };
    harness.events().into_iter().filter_map(moved).collect()
}

#[test]
fn a_signalled_address_is_the_only_one_where_learning_is_off() {
    let mut harness = harness(Latching::SignalledOnly, Srtp, Some(1));
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 50, 0));
    assert!(harness.receive_from(1, peer(2), &alice.protect(&rtp(7, 1))).is_empty());
    assert_eq!(harness.dropped(DropReason::UnexpectedSource), 1);
    assert_eq!(harness.receive_from(1, peer(1), &alice.protect(&rtp(7, 2))).len(), 1);
    assert_eq!(remote(&mut harness, &mut bob, 1), Some(1));
    assert!(moves(&harness).is_empty());
}

#[test]
fn packets_without_tags_move_no_leg() {
    let omit = Omit { rtp_authentication: true, ..Omit::default() };
    let rcc = |mode, tag| Some(Rcc::new(mode, 4, tag).unwrap());
    for options in [
        KeyOptions { omit, ..KeyOptions::default() },
        KeyOptions { rcc: rcc(RccMode::One, 14), ..KeyOptions::default() },
        KeyOptions { rcc: rcc(RccMode::Three, 4), ..KeyOptions::default() },
    ] {
        let mut harness = harness(Latching::FirstAuthenticated, Srtp, Some(1));
        let master = MasterKey::from_concatenated(Suite::AesCm128HmacSha1_80, &[7; 30]).unwrap();
        let keys = SessionKeys::derive_with(KeyId(77), &master, &options).unwrap();
        assert!(!keys.authenticates_rtp());
        harness.install(1, Direction::Inbound, Arc::new(keys)).unwrap();
        let mut bob = Peer::of(2, 50, 0);
        assert!(harness.receive_from(1, peer(6666), &rtp(7, 1)).is_empty());
        assert_eq!(harness.dropped(DropReason::UnexpectedSource), 1);
        assert_eq!(remote(&mut harness, &mut bob, 1), Some(1));
        assert!(moves(&harness).is_empty());
    }
}

#[test]
fn authenticated_media_is_taken_from_anywhere_before_signalling_tells_and_teaches_nothing() {
    let mut harness = harness(Latching::SignalledOnly, Srtp, None);
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 50, 0));
    assert_eq!(harness.receive_from(1, peer(2), &alice.protect(&rtp(7, 1))).len(), 1);
    assert_eq!(remote(&mut harness, &mut bob, 1), None);
}

#[test]
fn the_address_follows_authenticated_packets_and_no_others() {
    let mut harness = harness(Latching::NewestAuthenticated, Srtp, None);
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 50, 0));
    harness.receive_from(1, peer(6666), &forged(7, 1));
    assert_eq!(remote(&mut harness, &mut bob, 1), None, "a forged packet teaches nothing");
    let first = alice.protect(&rtp(7, 1));
    harness.receive_from(1, peer(1), &first);
    assert_eq!(remote(&mut harness, &mut bob, 2), Some(1));
    harness.receive_from(1, peer(6666), &forged(7, 2));
    harness.receive_from(1, peer(6666), &first);
    assert_eq!(remote(&mut harness, &mut bob, 3), Some(1), "neither does a replayed one");
    let late = alice.protect(&rtp(7, 2));
    assert_eq!(harness.receive_from(1, peer(2), &alice.protect(&rtp(7, 3))).len(), 1);
    assert_eq!(remote(&mut harness, &mut bob, 4), Some(2), "the peer has moved");
    assert_eq!(harness.receive_from(1, peer(1), &late).len(), 1, "a late packet is good media");
    assert_eq!(remote(&mut harness, &mut bob, 5), Some(2), "but old news");
    assert_eq!(moves(&harness), [(None, 1), (Some(1), 2)]);
}

#[test]
fn the_first_authenticated_packet_settles_the_address_until_signalling_speaks_again() {
    for signalled in [None, Some(9)] {
        let mut harness = harness(Latching::FirstAuthenticated, Srtp, signalled);
        let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 50, 0));
        harness.receive_from(1, peer(6666), &forged(7, 1));
        assert_eq!(remote(&mut harness, &mut bob, 1), signalled, "a forged packet teaches nothing");
        assert_eq!(harness.receive_from(1, peer(1), &alice.protect(&rtp(7, 1))).len(), 1);
        assert_eq!(remote(&mut harness, &mut bob, 2), Some(1));
        assert_eq!(harness.receive_from(1, peer(2), &alice.protect(&rtp(7, 2))).len(), 1, "good media");
        assert_eq!(remote(&mut harness, &mut bob, 3), Some(1), "but it moves nothing");
        harness.signal(1, peer(3));
        assert_eq!(remote(&mut harness, &mut bob, 4), Some(3));
        harness.receive_from(1, peer(4), &alice.protect(&rtp(7, 3)));
        assert_eq!(remote(&mut harness, &mut bob, 5), Some(4), "the first after that");
        assert_eq!(moves(&harness), [(signalled, 1), (Some(3), 4)]);
    }
}

#[test]
fn where_nothing_is_learnt_authenticated_media_from_elsewhere_is_heard() {
    let mut harness = harness(Latching::Never, Srtp, Some(1));
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 50, 0));
    assert_eq!(harness.receive_from(1, peer(2), &alice.protect(&rtp(7, 1))).len(), 1);
    assert!(harness.receive_from(1, peer(2), &forged(7, 2)).is_empty());
    assert_eq!(remote(&mut harness, &mut bob, 1), Some(1));
    assert!(moves(&harness).is_empty());
    let mut plain = self::harness(Latching::Never, Plain, Some(1));
    plain.receive_from(1, peer(2), &rtp(7, 1));
    assert_eq!(plain.dropped(DropReason::UnexpectedSource), 1, "which says nothing of plain media");
}

#[test]
fn a_plain_leg_learns_the_first_source_that_passes_probation_and_keeps_it() {
    let mut harness = harness(Latching::FirstAuthenticated, Plain, None);
    let mut bob = Peer::of(2, 50, 0);
    harness.receive_from(1, peer(1), &rtp(7, 1));
    harness.receive_from(1, peer(6666), &rtp(7, 2));
    assert_eq!(remote(&mut harness, &mut bob, 1), None, "two sources make no sequence");
    harness.receive_from(1, peer(1), &rtp(7, 2));
    let sent = harness.receive_from(1, peer(1), &rtp(7, 3));
    assert_eq!(sent.len(), 2);
    assert_eq!(remote(&mut harness, &mut bob, 2), Some(1));
    assert!(harness.receive_from(1, peer(6666), &rtp(7, 4)).is_empty());
    assert!(harness.receive_from(1, peer(6666), &rtp(8, 1)).is_empty());
    assert_eq!(harness.dropped(DropReason::UnexpectedSource), 2);
    assert_eq!(moves(&harness), [(None, 1)]);
}

#[test]
fn a_plain_leg_with_a_signalled_address_learns_nothing() {
    let mut harness = harness(Latching::FirstAuthenticated, Plain, Some(1));
    for sequence in 1..5 {
        assert!(harness.receive_from(1, peer(2), &rtp(7, sequence)).is_empty());
    }
    assert_eq!(harness.dropped(DropReason::UnexpectedSource), 4);
}

#[test]
fn a_plain_leg_that_may_not_learn_takes_nothing_before_signalling_tells() {
    let mut harness = harness(Latching::SignalledOnly, Plain, None);
    harness.receive_from(1, peer(1), &rtp(7, 1));
    harness.receive_from(1, peer(1), &rtp(7, 2));
    assert_eq!(harness.dropped(DropReason::UnexpectedSource), 2);
}

#[test]
fn what_is_learnt_tells_which_word_of_signalling_it_follows() {
    let mut harness = harness(Latching::NewestAuthenticated, Srtp, Some(1));
    let mut alice = Peer::of(1, 7, 0);
    harness.receive_from(1, peer(2), &alice.protect(&rtp(7, 1)));
    harness.signal(1, peer(3));
    harness.receive_from(1, peer(4), &alice.protect(&rtp(7, 2)));
    let told = |event| match event {
        Event::RemoteChanged { to, signalled, .. } => Some((to.port(), signalled)),
        _ => None,
    };
    let told: Vec<_> = harness.events().into_iter().filter_map(told).collect();
    assert_eq!(told, [(2, 0), (4, 1)]);
}

#[test]
fn rtcp_on_its_own_port_is_learnt_apart() {
    let mut harness = Harness::new();
    let latching = Latching::FirstAuthenticated;
    let setup = LegSetup { latching, remote: None, rtcp: Some(harness.socket()), ..harness.setup(1) };
    harness.add(setup);
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    harness.leg(2, Srtp, Plain);
    harness.route(2, 2, 1);
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 50, 0));
    harness.receive_from(1, peer(30), &alice.protect(&rtp(7, 1)));
    let sent = harness.receive(2, &bob.protect(&rtcp(50, 7)));
    assert_eq!(sent[0].meta.remote, peer(31), "the port after, while nobody told");
    harness.receive_batch(&[(1, Component::Rtcp, peer(40), alice.protect(&rtcp(7, 50)))]);
    let sent = harness.receive(2, &bob.protect(&rtcp(50, 7)));
    assert_eq!(sent[0].meta.remote, peer(40));
    let sent = harness.receive(2, &bob.protect(&rtp(50, 1)));
    assert_eq!(sent[0].meta.remote, peer(30));
}
