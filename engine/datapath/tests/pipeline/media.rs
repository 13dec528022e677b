//! Media comes out where it should, as it should.

use sluice_classifier::Verdict;
use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{Command, Direction, DropReason, Event, LegSetup, LegUpdate};
use sluice_io::{Component, NextHop, Path};
use sluice_srtp::{Lifetime, Suite};

use crate::support::*;

#[test]
fn srtp_leaves_as_the_rtp_that_was_protected() {
    let mut harness = Harness::new();
    let stats = harness.leg(1, Srtp, Plain);
    let egress = harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    for sequence in 65_530..65_536 + 10 {
        let packet = rtp(7, sequence as u16);
        let sent = harness.receive(1, &alice.protect(&packet));
        assert_eq!(sent.len(), 1);
        assert_eq!((&sent[0].bytes, sent[0].meta.remote), (&packet, peer(1002)));
        assert_eq!((sent[0].meta.socket.leg, sent[0].meta.socket.component), (2, Component::Rtp));
    }
    assert_eq!(stats.snapshot().received_rtp.packets, 16);
    assert_eq!(egress.snapshot().sent_rtp.packets, 16);
    assert_eq!(stats.snapshot().path, Some(Path::Memory));
}

#[test]
fn srtp_is_encrypted_anew_for_another_suite() {
    let mut harness = Harness::new();
    for leg in [1, 2] {
        let setup = LegSetup { outbound: Srtp, ..harness.setup(leg) };
        harness.add(setup);
    }
    let (gcm, cm) = (key_of(1, Suite::AeadAes256Gcm, Lifetime::MAX), key(2));
    harness.install(1, Direction::Inbound, gcm.clone()).unwrap();
    harness.install(2, Direction::Outbound, cm.clone()).unwrap();
    harness.route(1, 1, 2);
    let (mut alice, mut bob) = (Peer::new(7, &gcm, 0, &gcm), Peer::new(0, &cm, 7, &cm));
    for sequence in 0..100 {
        let sent = harness.receive(1, &alice.protect(&rtp(7, sequence)));
        assert_eq!(bob.unprotect(&sent[0].bytes).unwrap(), rtp(7, sequence));
    }
}

#[test]
fn plain_rtp_is_held_until_its_successor_shows_that_it_is_valid_and_nothing_is_lost() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    harness.leg(2, Plain, Srtp);
    harness.route(1, 1, 2);
    let mut bob = Peer::of(2, 0, 7);
    assert!(harness.receive(1, &rtp(7, 100)).is_empty());
    assert_eq!(harness.stats().held, 1);
    let sent = harness.receive(1, &rtp(7, 101));
    let received: Vec<_> = sent.iter().map(|sent| bob.unprotect(&sent.bytes).unwrap()).collect();
    assert_eq!(received, [rtp(7, 100), rtp(7, 101)], "in order");
    assert_eq!(harness.receive(1, &rtp(7, 103)).len(), 1, "valid now, losses do not matter");
}

#[test]
fn plain_rtp_without_a_successor_is_dropped_after_a_while() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    harness.receive(1, &rtp(7, 100));
    harness.pass(3 * SECOND);
    assert_eq!((harness.stats().held, harness.dropped(DropReason::ProbationExpired)), (0, 1));
    harness.receive(1, &rtp(7, 200));
    harness.receive(1, &rtp(7, 300));
    assert_eq!(harness.dropped(DropReason::Probation), 1, "what is out of sequence takes the place");
}

#[test]
fn one_packet_leaves_along_every_route() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.leg(3, Srtp, Srtp);
    harness.leg(4, Srtp, Srtp);
    for to in 2..=4 {
        harness.route(to, 1, to);
    }
    let (mut alice, mut carol, mut dave) = (Peer::of(1, 7, 0), Peer::of(3, 0, 7), Peer::of(4, 0, 7));
    let sent = harness.receive(1, &alice.protect(&rtp(7, 1)));
    assert_eq!(sent.iter().map(|sent| sent.meta.socket.leg).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(sent[0].bytes, rtp(7, 1));
    assert_eq!(carol.unprotect(&sent[1].bytes).unwrap(), rtp(7, 1));
    assert_eq!(dave.unprotect(&sent[2].bytes).unwrap(), rtp(7, 1));
    assert_eq!((harness.stats().received, harness.stats().copied, harness.stats().sent), (1, 2, 3));
}

#[test]
fn a_full_batch_to_many_legs_is_sent_whole() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    for to in 2..=6 {
        harness.leg(to, Srtp, Srtp);
        harness.route(to, 1, to);
    }
    let mut alice = Peer::of(1, 7, 0);
    let batch: Vec<_> = (0..64).map(|n| (1, Component::Rtp, peer(1001), alice.protect(&rtp(7, n)))).collect();
    let sent = harness.receive_batch(&batch);
    assert_eq!(sent.len(), 5 * 64);
    let mut bob = Peer::of(6, 0, 7);
    let to_bob = sent.iter().filter(|sent| sent.meta.socket.leg == 6);
    let received: Vec<_> = to_bob.map(|sent| bob.unprotect(&sent.bytes).unwrap()).collect();
    assert_eq!(received, (0..64).map(|n| rtp(7, n)).collect::<Vec<_>>());
}

#[test]
fn rtcp_follows_the_routes_and_is_protected_by_its_senders_context() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Srtp);
    harness.leg(2, Srtp, Srtp);
    harness.route(1, 1, 2);
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 0, 7));
    for _ in 0..3 {
        let sent = harness.receive(1, &alice.protect(&rtcp(7, 9)));
        assert_eq!(sent[0].meta.socket.component, Component::Rtp, "rtcp-mux");
        assert_eq!(bob.unprotect(&sent[0].bytes).unwrap(), rtcp(7, 9));
    }
    let sent = harness.receive(1, &alice.protect(&rtp(7, 1)));
    assert_eq!(bob.unprotect(&sent[0].bytes).unwrap(), rtp(7, 1), "RTP and RTCP share the context");
}

#[test]
fn without_rtcp_mux_rtcp_has_its_own_port_on_both_sides() {
    let mut harness = Harness::new();
    let setup = LegSetup { rtcp: Some(harness.socket()), ..harness.setup(1) };
    harness.add(setup);
    harness.install(1, Direction::Inbound, key(10)).unwrap();
    let setup = LegSetup { rtcp: Some(harness.socket()), ..harness.setup(2) };
    let local = setup.rtcp.as_ref().unwrap().local_addr().unwrap();
    harness.add(setup);
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    let report = alice.protect(&rtcp(7, 9));
    let sent = harness.receive_batch(&[(1, Component::Rtcp, peer(1002), report)]);
    let meta = sent[0].meta;
    assert_eq!((meta.socket.component, meta.local), (Component::Rtcp, local));
    assert_eq!(meta.remote, peer(1003), "the port after that of RTP, unless signalled");
    let media = alice.protect(&rtp(7, 1));
    assert!(harness.receive_batch(&[(1, Component::Rtcp, peer(1002), media)]).is_empty());
    assert_eq!(harness.dropped(DropReason::PacketType), 1, "the RTCP port takes no RTP");
}

#[test]
fn a_new_key_takes_over_without_a_gap() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Srtp);
    harness.route(1, 1, 2);
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 0, 7));
    let hears = |bob: &mut Peer, sent: Vec<Sent>, sequence| {
        assert_eq!(bob.unprotect(&sent[0].bytes).unwrap(), rtp(7, sequence));
    };
    let sent = harness.receive(1, &alice.protect(&rtp(7, 65_535)));
    hears(&mut bob, sent, 65_535);
    let late = alice.protect(&rtp(7, 2));
    harness.install(1, Direction::Inbound, key(110)).unwrap();
    harness.install(2, Direction::Outbound, key(211)).unwrap();
    bob.install(&key(211));
    alice.rekey_sending(&key(110));
    let sent = harness.receive(1, &alice.protect(&rtp(7, 1)));
    hears(&mut bob, sent, 1);
    let sent = harness.receive(1, &late);
    hears(&mut bob, sent, 2);
    let retire = Command::RetireKey { leg: 1, direction: Direction::Inbound, key: key(10).id() };
    harness.apply(retire).unwrap();
    let sent = harness.receive(1, &alice.protect(&rtp(7, 3)));
    hears(&mut bob, sent, 3);
    assert_eq!(harness.stats().dropped.total(), 0);
}

#[test]
fn negotiation_goes_to_control_and_never_along_a_route() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.resize(20, 1);
    let mut zrtp = vec![0x10, 0, 0, 0];
    zrtp.extend_from_slice(b"ZRTP");
    zrtp.resize(28, 0);
    for (bytes, verdict) in
        [(stun, Verdict::Stun), (vec![22, 0xfe, 0xfd], Verdict::Dtls), (zrtp, Verdict::Zrtp)]
    {
        assert!(harness.receive_from(1, peer(4), &bytes).is_empty());
        let expected = Event::Negotiation {
            leg: 1,
            component: Component::Rtp,
            remote: peer(4),
            verdict,
            bytes: bytes.into(),
        };
        assert_eq!(harness.events(), [expected]);
    }
    harness.receive(1, &[0x40, 0, 0, 0]);
    harness.receive(1, &[5, 5]);
    harness.receive(1, &[0x80, 0, 0]);
    assert_eq!(harness.dropped(DropReason::TurnChannel), 1);
    assert_eq!(harness.dropped(DropReason::Unknown), 1);
    assert_eq!(harness.dropped(DropReason::TooShort), 1);
}

#[test]
fn payload_types_that_were_not_agreed_on_are_refused() {
    let mut harness = Harness::new();
    let stats = harness.leg(1, Srtp, Plain);
    let update = LegUpdate { payload_types: Some(Some([1 << 8, 0])), ..LegUpdate::new(1) };
    harness.apply(Command::UpdateLeg(update)).unwrap();
    let mut alice = Peer::of(1, 7, 0);
    harness.receive(1, &alice.protect(&rtp(7, 1)));
    assert_eq!(stats.snapshot().dropped.get(DropReason::PayloadType), 1);
}

#[test]
fn what_cannot_be_sent_on_says_why() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let mut alice = Peer::of(1, 7, 0);
    harness.receive(1, &alice.protect(&rtp(7, 1)));
    assert_eq!(harness.dropped(DropReason::NoRoute), 1);
    let setup = LegSetup { remote: None, ..harness.setup(2) };
    harness.add(setup);
    harness.route(1, 1, 2);
    harness.receive(1, &alice.protect(&rtp(7, 2)));
    assert_eq!(harness.dropped(DropReason::NoRemote), 1);
    let setup = LegSetup { outbound: Srtp, ..harness.setup(3) };
    harness.add(setup);
    harness.receive(3, &rtp(9, 9));
    assert_eq!(harness.dropped(DropReason::NoInboundKey), 1);
    harness.route(2, 1, 3);
    harness.receive(1, &alice.protect(&rtp(7, 3)));
    assert_eq!(harness.dropped(DropReason::NoOutboundKey), 1);
    harness.signal(2, peer(5));
    harness.install(3, Direction::Outbound, key(31)).unwrap();
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 4))).len(), 2, "both mended");
}

#[test]
fn dscp_and_next_hop_travel_with_the_packet_and_a_stale_next_hop_does_not() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let hop = NextHop { ifindex: 3, source: [2; 6], destination: [4; 6], vlan: Some(7), mtu: 1500 };
    let set = |remote| Command::SetNextHop { leg: 2, component: Component::Rtp, remote, next_hop: Some(hop) };
    harness.apply(set(peer(1002))).unwrap();
    harness.apply(Command::UpdateLeg(LegUpdate { dscp: Some(46), ..LegUpdate::new(2) })).unwrap();
    let mut alice = Peer::of(1, 7, 0);
    let meta = harness.receive(1, &alice.protect(&rtp(7, 1)))[0].meta;
    assert_eq!((meta.dscp, meta.next_hop), (46, Some(hop)));
    harness.signal(2, peer(77));
    harness.apply(set(peer(1002))).unwrap();
    let meta = harness.receive(1, &alice.protect(&rtp(7, 2)))[0].meta;
    assert_eq!((meta.remote, meta.next_hop), (peer(77), None));
}
