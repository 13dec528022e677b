//! The two-time-pad guard: under one key, one SSRC is sent from one context, ever.

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{
    Command, CommandError, Direction, DropReason, Event, LegSetup, Limits, OnSsrcClash, RouteOptions, Tuning,
};
use sluice_srtp::Error;

use crate::support::*;

/// Legs 1 and 2 send to leg 3.
fn two_to_one(options: RouteOptions) -> Harness {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.leg(3, Srtp, Srtp);
    harness.route_with(1, 1, 3, options.clone());
    harness.route_with(2, 2, 3, options);
    harness
}

fn clashes(harness: &Harness) -> Vec<Event> {
    harness.events().into_iter().filter(|event| matches!(event, Event::SsrcClash { .. })).collect()
}

#[test]
fn the_second_source_of_an_ssrc_is_refused_and_reported_once() {
    let mut harness = two_to_one(RouteOptions::default());
    let (mut alice, mut bob, mut carol) = (Peer::of(1, 7, 0), Peer::of(2, 7, 0), Peer::of(3, 0, 7));
    let sent = harness.receive(1, &alice.protect(&rtp(7, 1)));
    assert_eq!(carol.unprotect(&sent[0].bytes).unwrap(), rtp(7, 1));
    for sequence in 500..510 {
        assert!(harness.receive(2, &bob.protect(&rtp(7, sequence))).is_empty());
    }
    assert_eq!(harness.dropped(DropReason::SsrcClash), 10);
    let events = clashes(&harness);
    assert!(matches!(events[..], [Event::SsrcClash { leg: 3, route: 2, ssrc: 7, rewritten: None, .. }]));
    assert_eq!(harness.stats().clashes, 1);
    harness.apply(Command::RemoveRoute { route: 1 }).unwrap();
    let sent = harness.receive(2, &bob.protect(&rtp(7, 511)));
    assert_eq!(carol.unprotect(&sent[0].bytes).unwrap(), rtp(7, 511), "the place is free, the index goes on");
}

#[test]
fn where_the_route_allows_it_the_second_source_gets_another_ssrc_in_rtp_and_rtcp() {
    let mut harness =
        two_to_one(RouteOptions { on_ssrc_clash: OnSsrcClash::Rewrite, ..RouteOptions::default() });
    // Leg 2's peer hears what leg 3's peer says of its stream.
    harness.route(3, 3, 2);
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 7, 0));
    harness.receive(1, &alice.protect(&rtp(7, 1)));
    let sent = harness.receive(2, &bob.protect(&rtp(7, 1)));
    let events = clashes(&harness);
    let [Event::SsrcClash { rewritten: Some(other), route: 2, .. }] = events[..] else {
        panic!("{events:?}")
    };
    assert_ne!(other, 7);
    let mut carol = Peer::of(3, 50, other);
    assert_eq!(carol.unprotect(&sent[0].bytes).unwrap(), rtp(other, 1));
    let sent = harness.receive(2, &bob.protect(&rtcp(7, 50)));
    assert_eq!(carol.unprotect(&sent[0].bytes).unwrap(), rtcp(other, 50), "its own reports");
    let sent = harness.receive(3, &carol.protect(&rtcp(50, other)));
    assert_eq!(sent[0].bytes, rtcp(50, 7), "and the reports on it");
    let mut still = Peer::of(3, 0, 7);
    let sent = harness.receive(1, &alice.protect(&rtp(7, 2)));
    assert_eq!(still.unprotect(&sent[0].bytes).unwrap(), rtp(7, 2), "the first source is as it was");
}

#[test]
fn one_key_on_two_legs_cannot_send_one_ssrc_twice() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    for leg in [2, 3] {
        let setup = LegSetup { outbound: Srtp, ..harness.setup(leg) };
        harness.add(setup);
        harness.install(leg, Direction::Outbound, key(99)).unwrap();
        harness.route(leg, 1, leg);
    }
    let mut alice = Peer::of(1, 7, 0);
    let sent = harness.receive(1, &alice.protect(&rtp(7, 1)));
    assert_eq!(sent.len(), 1);
    assert_eq!(harness.dropped(DropReason::SsrcClash), 1);
}

#[test]
fn a_route_that_comes_back_goes_on_at_its_index() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    harness.leg(2, Plain, Srtp);
    harness.route(1, 1, 2);
    let mut bob = Peer::of(2, 0, 7);
    for sequence in [65_533, 65_534, 65_535, 0, 1, 2] {
        for sent in harness.receive(1, &rtp(7, sequence)) {
            bob.unprotect(&sent.bytes).unwrap();
        }
    }
    let report = |harness: &mut Harness| harness.receive(1, &rtcp(7, 9));
    let first = report(&mut harness)[0].bytes.clone();
    bob.unprotect(&first).unwrap();
    harness.apply(Command::RemoveRoute { route: 1 }).unwrap();
    harness.route(2, 1, 2);
    for sequence in [65_534, 0, 2] {
        assert!(harness.receive(1, &rtp(7, sequence)).is_empty(), "sent before");
    }
    assert_eq!(harness.dropped(DropReason::IndexUsed), 3);
    let sent = harness.receive(1, &rtp(7, 3));
    assert_eq!(bob.unprotect(&sent[0].bytes).unwrap(), rtp(7, 3), "ROC 1 goes on");
    let second = report(&mut harness)[0].bytes.clone();
    assert_ne!(first, second, "another SRTCP index");
    bob.unprotect(&second).unwrap();
}

#[test]
fn a_leg_that_comes_back_with_its_key_goes_on_at_its_index() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    harness.leg(2, Plain, Srtp);
    harness.route(1, 1, 2);
    for sequence in 1..=5 {
        harness.receive(1, &rtp(7, sequence));
    }
    harness.apply(Command::RemoveLeg { leg: 2 }).unwrap();
    harness.leg(2, Plain, Srtp);
    harness.route(1, 1, 2);
    assert!(harness.receive(1, &rtp(7, 5)).is_empty());
    assert_eq!(harness.dropped(DropReason::IndexUsed), 1);
    assert_eq!(harness.receive(1, &rtp(7, 6)).len(), 1);
}

#[test]
fn a_key_whose_indices_are_no_longer_known_cannot_send_again() {
    let mut harness = Harness::with(Limits { parked_contexts: 0, ..limits() }, Tuning::default());
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Plain, Srtp);
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    harness.receive(1, &alice.protect(&rtp(7, 1)));
    harness.apply(Command::RemoveLeg { leg: 2 }).unwrap();
    let setup = LegSetup { outbound: Srtp, ..harness.setup(2) };
    harness.add(setup);
    let refused = harness.install(2, Direction::Outbound, key(21));
    assert_eq!(refused, Err(CommandError::KeySpent(key(21).id())));
}

#[test]
fn going_back_to_an_earlier_key_is_refused_and_the_newer_one_goes_on() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Srtp);
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 1))).len(), 1);
    harness.install(2, Direction::Outbound, key(22)).unwrap();
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 2))).len(), 1);
    let retire = Command::RetireKey { leg: 2, direction: Direction::Outbound, key: key(21).id() };
    harness.apply(retire).unwrap();
    let again = harness.install(2, Direction::Outbound, key(21));
    assert_eq!(again, Err(CommandError::KeySpent(key(21).id())));
    let mut bob = Peer::new(0, &key(20), 7, &key(22));
    let sent = harness.receive(1, &alice.protect(&rtp(7, 3)));
    assert_eq!(bob.unprotect(&sent[0].bytes).unwrap(), rtp(7, 3));
    harness.install(2, Direction::Outbound, key(23)).unwrap();
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 4))).len(), 1, "and so does a fresh one");
}

#[test]
fn two_keys_never_share_packets() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Srtp);
    harness.route(1, 1, 2);
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 0, 7));
    harness.install(2, Direction::Outbound, key(22)).unwrap();
    let sent = harness.receive(1, &alice.protect(&rtp(7, 1)));
    assert_eq!(bob.unprotect(&sent[0].bytes), Err(Error::AuthFailed), "only the newest key protects");
    bob.install(&key(22));
    bob.unprotect(&sent[0].bytes).unwrap();
}
