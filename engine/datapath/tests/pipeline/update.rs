//! Legs that change in mid-call: protection, rtcp-mux, bounds.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use sluice_classifier::Policy;
use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{
    Command, CommandError, Direction, DropReason, Latching, LegId, LegSetup, LegUpdate, OnSsrcClash,
    RouteOptions, Steering,
};
use sluice_io::Component;
use sluice_srtp::ReplayWindow;

use crate::support::*;

fn inbound(leg: u32, inbound: sluice_datapath::Protection) -> LegUpdate {
    LegUpdate { inbound: Some(inbound), ..LegUpdate::new(leg) }
}

fn outbound(leg: u32, outbound: sluice_datapath::Protection) -> LegUpdate {
    LegUpdate { outbound: Some(outbound), ..LegUpdate::new(leg) }
}

#[test]
fn what_is_sent_is_protected_as_the_leg_is_now_and_a_key_that_comes_back_repeats_no_index() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    harness.leg(2, Srtp, Srtp);
    harness.route(1, 1, 2);
    let mut bob = Peer::of(2, 0, 7);
    harness.receive(1, &rtp(7, 65_534));
    let mut protected = Vec::new();
    for sequence in [65_535, 0] {
        protected.extend(harness.receive(1, &rtp(7, sequence)));
    }
    harness.update(outbound(2, Plain));
    for sequence in 1..4 {
        let sent = harness.receive(1, &rtp(7, sequence));
        assert_eq!(sent[0].bytes, rtp(7, sequence));
    }
    harness.update(outbound(2, Srtp));
    assert!(harness.receive(1, &rtp(7, 4)).is_empty(), "nothing in the clear, and no key yet");
    assert_eq!(harness.dropped(DropReason::NoOutboundKey), 1);
    harness.install(2, Direction::Outbound, key(21)).unwrap();
    protected.extend(harness.receive(1, &rtp(7, 5)));
    let heard: Vec<_> = protected.iter().map(|sent| bob.unprotect(&sent.bytes).unwrap()).collect();
    assert_eq!(heard, [65_534, 65_535, 0, 5].map(|sequence| rtp(7, sequence)));
    // A sequence number that was used under the key before is not used again, whatever became of it.
    assert!(harness.receive(1, &rtp(7, 0)).is_empty());
    assert_eq!(harness.dropped(DropReason::IndexUsed), 1);
}

#[test]
fn streams_under_other_ssrcs_keep_their_reports_when_the_leg_changes() {
    let mut harness = Harness::new();
    for leg in [1, 3] {
        harness.leg(leg, Plain, Plain);
    }
    harness.leg(2, Srtp, Srtp);
    for (route, from) in [(1, 1), (2, 3)] {
        let options = RouteOptions {
            ssrcs: vec![(7, 70 + from)],
            on_ssrc_clash: OnSsrcClash::Rewrite,
            ..RouteOptions::default()
        };
        harness.route_with(route, from, 2, options);
        harness.receive(from, &rtp(7, 1));
        harness.receive(from, &rtp(7, 2));
    }
    assert_eq!(harness.stats().egress_contexts, 2);
    harness.update(outbound(2, Plain));
    let ssrcs: HashSet<_> =
        [1, 3].map(|leg| harness.receive(leg, &rtp(7, 3))[0].bytes[8..12].to_vec()).into();
    assert_eq!(ssrcs, HashSet::from([71_u32, 73].map(|ssrc| ssrc.to_be_bytes().to_vec())));
    assert_eq!(harness.stats().egress_contexts, 0);
    harness.update(outbound(2, Srtp));
    harness.install(2, Direction::Outbound, key(22)).unwrap();
    assert_eq!([1, 3].map(|leg| harness.receive(leg, &rtp(7, 4)).len()), [1, 1]);
    assert_eq!((harness.stats().egress_contexts, harness.stats().clashes), (2, 0));
}

#[test]
fn what_is_received_is_judged_as_the_leg_is_now_and_nothing_is_accepted_twice() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    let played: Vec<_> = [65_534, 65_535, 0].map(|sequence| alice.protect(&rtp(7, sequence))).into();
    for packet in &played {
        assert_eq!(harness.receive(1, packet).len(), 1);
    }
    harness.update(inbound(1, Plain));
    harness.receive(1, &rtp(7, 10));
    assert_eq!(harness.receive(1, &rtp(7, 11)).len(), 2);
    harness.update(inbound(1, Srtp));
    assert!(harness.receive(1, &rtp(7, 12)).is_empty());
    assert_eq!(harness.dropped(DropReason::NoInboundKey), 1);
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    for packet in &played {
        assert!(harness.receive(1, packet).is_empty());
    }
    assert_eq!(harness.dropped(DropReason::Replayed), 3);
    assert!(harness.receive(1, &rtp(7, 13)).is_empty(), "plain");
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 1)))[0].bytes, rtp(7, 1), "in its second round");
    assert_eq!(harness.stats().streams, 1);
}

#[test]
fn a_packet_on_probation_does_not_outlast_plain_rtp() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    harness.receive(1, &rtp(7, 1));
    assert_eq!(harness.stats().held, 1);
    harness.update(inbound(1, Srtp));
    assert_eq!((harness.stats().held, harness.dropped(DropReason::NoInboundKey)), (0, 1));
    harness.check();
}

#[test]
fn saying_again_what_is_so_changes_nothing() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Srtp);
    harness.route(1, 1, 2);
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 0, 7));
    for sequence in 1..5 {
        harness.update(LegUpdate { outbound: Some(Plain), ..inbound(1, Srtp) });
        harness.update(LegUpdate { outbound: Some(Srtp), rtcp_mux: Some(true), ..inbound(2, Srtp) });
        let sent = harness.receive(1, &alice.protect(&rtp(7, sequence)));
        assert_eq!(bob.unprotect(&sent[0].bytes).unwrap(), rtp(7, sequence));
    }
}

#[test]
fn rtcp_is_taken_on_both_ports_until_the_answer_and_sent_from_one_after_it() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    for leg in [2, 3] {
        let setup = LegSetup { rtcp: Some(harness.socket()), ..harness.setup(leg) };
        harness.add(setup);
        harness.install(leg, Direction::Inbound, key(10 * u64::from(leg))).unwrap();
    }
    harness.route(1, 2, 3);
    let mut bob = Peer::of(2, 8, 0);
    let mut sent_from = |harness: &mut Harness, component, port| {
        let sent = harness.receive_batch(&[(2, component, peer(port), bob.protect(&rtcp(8, 9)))]);
        let [one] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(one.bytes, rtcp(8, 9));
        (one.meta.socket.component, one.meta.remote.port(), one.meta.local.port())
    };
    // RFC 5761 §5.1.1: the answerer may begin to multiplex before its answer comes.
    let (component, port, own) = sent_from(&mut harness, Component::Rtp, 1002);
    assert_eq!((component, port), (Component::Rtcp, 1004));
    assert_eq!(sent_from(&mut harness, Component::Rtcp, 1003), (component, port, own));
    harness.update(LegUpdate { rtcp_mux: Some(true), ..LegUpdate::new(3) });
    let (component, port, other) = sent_from(&mut harness, Component::Rtp, 1002);
    assert_eq!((component, port), (Component::Rtp, 1003));
    assert_ne!(own, other);
    harness.update(LegUpdate { rtcp_mux: Some(false), ..LegUpdate::new(3) });
    assert_eq!(sent_from(&mut harness, Component::Rtp, 1002), (Component::Rtcp, 1004, own));
    let refused = harness.apply(Command::UpdateLeg(LegUpdate { rtcp_mux: Some(false), ..LegUpdate::new(1) }));
    assert!(
        matches!(refused, Err(CommandError::InvalidLeg { leg: 1, field: "rtcp_mux", .. })),
        "{refused:?}"
    );
}

#[test]
fn a_replay_window_changes_before_the_first_stream_only() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let window =
        |packets| LegUpdate { window: Some(ReplayWindow::new(packets).unwrap()), ..LegUpdate::new(1) };
    // A forgery leaves a context behind, of the window before.
    harness.receive(1, &forged(9, 1));
    harness.update(window(1024));
    let mut alice = Peer::of(1, 7, 0);
    let late = alice.protect(&rtp(7, 1));
    for sequence in [2, 900] {
        assert_eq!(harness.receive(1, &alice.protect(&rtp(7, sequence))).len(), 1);
    }
    assert_eq!(harness.receive(1, &late).len(), 1, "899 packets late");
    harness.update(window(1024));
    let refused = harness.apply(Command::UpdateLeg(window(64)));
    assert!(matches!(refused, Err(CommandError::InvalidLeg { leg: 1, field: "window", .. })), "{refused:?}");
}

#[test]
fn a_peer_may_be_let_send_more_streams_or_fewer() {
    let mut harness = Harness::new();
    let setup = LegSetup { max_streams: 1, ..harness.setup(1) };
    harness.add(setup);
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    let streams = |max_streams| LegUpdate { max_streams: Some(max_streams), ..LegUpdate::new(1) };
    let hear = |harness: &mut Harness, ssrc| {
        harness.receive(1, &Peer::of(1, ssrc, 0).protect(&rtp(ssrc, 1)));
        harness.stats().streams
    };
    assert_eq!([1, 2].map(|ssrc| hear(&mut harness, ssrc)), [1, 1]);
    harness.update(streams(3));
    assert_eq!([3, 4, 5].map(|ssrc| hear(&mut harness, ssrc)), [2, 3, 3]);
    harness.update(streams(2));
    assert_eq!(hear(&mut harness, 6), 3, "those that are there stay");
    assert!(harness.apply(Command::UpdateLeg(streams(0))).is_err());
}

#[test]
fn latching_changes_for_what_comes_from_then_on() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let mut alice = Peer::of(1, 7, 0);
    harness.receive_from(1, peer(5), &alice.protect(&rtp(7, 1)));
    assert_eq!(harness.dropped(DropReason::UnexpectedSource), 1);
    harness.update(LegUpdate { latching: Some(Latching::NewestAuthenticated), ..LegUpdate::new(1) });
    harness.receive_from(1, peer(5), &alice.protect(&rtp(7, 2)));
    assert_eq!(harness.stats().streams, 1);
}

/// What the XDP program was told last of each address.
#[derive(Default)]
struct Map(Mutex<Vec<(LegId, Policy)>>);

impl Steering for Map {
    fn insert(&self, leg: LegId, _: std::net::SocketAddr, policy: Policy) -> Result<(), String> {
        self.0.lock().unwrap().push((leg, policy));
        Ok(())
    }

    fn remove(&self, _: std::net::SocketAddr) {}
}

#[test]
fn the_xdp_program_judges_packets_as_the_leg_is_now() {
    let map = Arc::new(Map::default());
    let mut harness = Harness::steered(Arc::clone(&map) as Arc<dyn Steering>);
    harness.leg(1, Srtp, Plain);
    harness.update(LegUpdate { payload_types: Some(Some([1, 0])), ..inbound(1, Plain) });
    harness.update(inbound(1, Srtp));
    let last = map.0.lock().unwrap().last().copied();
    assert_eq!(last, Some((1, Policy::new().with_payload_types([1, 0]))));
    let before = map.0.lock().unwrap().iter().rev().nth(1).copied();
    assert_eq!(before, Some((1, Policy::new().plain().with_payload_types([1, 0]))));
}

#[test]
fn a_leg_that_is_silent_hears_its_peer_and_is_sent_negotiations_only() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    harness.leg(2, Plain, Plain);
    harness.route(1, 1, 2);
    harness.route(2, 2, 1);
    // Of a plain stream the second packet shows that it is one (RFC 3550 appendix A.1).
    harness.receive(1, &rtp(7, 0));
    assert!(!harness.receive(1, &rtp(7, 1)).is_empty());
    harness.update(LegUpdate { silent: Some(true), ..LegUpdate::new(2) });
    assert!(harness.receive(1, &rtp(7, 2)).is_empty());
    assert_eq!(harness.dropped(DropReason::NoConsent), 1);
    harness.receive(2, &rtp(8, 0));
    assert!(!harness.receive(2, &rtp(8, 1)).is_empty(), "it is heard");
    harness.update(LegUpdate { silent: Some(false), ..LegUpdate::new(2) });
    assert_eq!(harness.receive(1, &rtp(7, 3)).len(), 1);
}
