//! What does not reach its peer: too large for the path, or nobody there.

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{Command, DropReason, Event, LegStats, Unreachable};
use sluice_io::{Component, NextHop, SocketToken, Trouble, TroubleKind};

use crate::support::*;

/// The size of an IPv4 packet with that much SRTP or RTP.
fn packet(payload: usize) -> usize {
    payload + 28
}

fn next_hop(harness: &mut Harness, leg: u32, mtu: u32) {
    let hop = NextHop { ifindex: 3, source: [2; 6], destination: [4; 6], vlan: None, mtu };
    let (component, remote) = (Component::Rtp, peer(1000 + leg as u16));
    harness.apply(Command::SetNextHop { leg, component, remote, next_hop: Some(hop) }).unwrap();
}

fn told_too_big(harness: &Harness) -> Vec<(u32, usize, Option<u32>, u64)> {
    let exceeded = harness.events().into_iter().filter_map(|event| match event {
        Event::MtuExceeded { leg, size, mtu, count, .. } => Some((leg, size, mtu, count)),
        _ => None,
    });
    exceeded.collect()
}

fn trouble(leg: u32, kind: TroubleKind) -> Trouble {
    let socket = SocketToken { leg, component: Component::Rtp };
    Trouble { socket, remote: peer(1000 + leg as u16), kind }
}

fn sent(stats: &LegStats) -> (u64, u64, u64, u64) {
    let stats = stats.snapshot();
    (stats.sent_rtp.packets, stats.sent_rtp.bytes, stats.sent_rtcp.packets, stats.sent_rtcp.bytes)
}

#[test]
fn what_is_larger_than_the_path_takes_is_dropped_and_told_and_the_others_get_theirs() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let (exact, narrow) = (harness.leg(2, Plain, Plain), harness.leg(3, Plain, Plain));
    harness.route(2, 1, 2);
    harness.route(3, 1, 3);
    let clear = rtp(7, 1);
    next_hop(&mut harness, 2, packet(clear.len()) as u32);
    next_hop(&mut harness, 3, packet(clear.len()) as u32 - 1);
    let mut alice = Peer::of(1, 7, 0);
    for sequence in 1..=30 {
        let sent = harness.receive(1, &alice.protect(&rtp(7, sequence)));
        assert_eq!(sent.iter().map(|sent| sent.meta.socket.leg).collect::<Vec<_>>(), [2]);
    }
    // RTCP is smaller.
    assert_eq!(harness.receive(1, &alice.protect(&rtcp(7, 9))).len(), 2);
    assert_eq!((sent(&exact).0, sent(&narrow).0), (30, 0));
    assert_eq!(narrow.snapshot().dropped.get(DropReason::MtuExceeded), 30);
    let mtu = Some(packet(clear.len()) as u32 - 1);
    assert_eq!(told_too_big(&harness), [(3, packet(clear.len()), mtu, 1)], "once a second");
    harness.pass(2 * SECOND);
    harness.receive(1, &alice.protect(&rtp(7, 31)));
    assert_eq!(told_too_big(&harness), [(3, packet(clear.len()), mtu, 30)]);
}

#[test]
fn legs_that_share_a_key_have_paths_of_their_own() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let keys = key(99);
    for leg in 2..5 {
        let setup = sluice_datapath::LegSetup { inbound: Plain, outbound: Srtp, ..harness.setup(leg) };
        harness.add(setup);
        harness.install_shared(leg, &keys).unwrap();
        harness.route(leg, 1, leg);
        next_hop(&mut harness, leg, if leg == 4 { 60 } else { 1500 });
    }
    let sent = harness.receive(1, &Peer::of(1, 7, 0).protect(&rtp(7, 1)));
    assert_eq!((sent.len(), harness.dropped(DropReason::MtuExceeded)), (2, 1));
}

#[test]
fn what_the_kernel_refuses_counts_as_dropped_and_not_as_sent() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let stats = harness.leg(2, Plain, Plain);
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    let (media, report) = (rtp(7, 1), rtcp(7, 9));
    for clear in [&media, &report] {
        assert_eq!(harness.receive(1, &alice.protect(clear)).len(), 1);
    }
    for (clear, left) in [(&media, (0, 0, 1, report.len() as u64)), (&report, (0, 0, 0, 0))] {
        let kind = TroubleKind::TooBig { head: [clear[0], clear[1]], length: clear.len(), mtu: Some(60) };
        harness.pipeline.hear(&trouble(2, kind));
        harness.check();
        assert_eq!(sent(&stats), left);
    }
    assert_eq!(told_too_big(&harness), [(2, packet(media.len()), Some(60), 1)]);
    // Of a leg that is gone by now, and of one that was never here.
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 2))).len(), 1);
    harness.apply(Command::RemoveLeg { leg: 2 }).unwrap();
    let kind = TroubleKind::TooBig { head: [media[0], media[1]], length: media.len(), mtu: None };
    harness.pipeline.hear(&trouble(2, kind));
    harness.check();
    assert_eq!((harness.stats().sent, harness.dropped(DropReason::MtuExceeded)), (0, 3));
}

#[test]
fn an_unreachable_peer_is_counted_told_once_a_second_and_goes_on_to_be_sent_to() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let stats = harness.leg(2, Plain, Plain);
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    let by = Some(peer(9).ip());
    let kind = TroubleKind::Unreachable { why: Unreachable::Port, by };
    for sequence in 1..=10 {
        assert_eq!(harness.receive(1, &alice.protect(&rtp(7, sequence))).len(), 1);
        harness.pipeline.hear(&trouble(2, kind));
    }
    // Of somebody who is not the peer: forged, or the peer moved.
    harness.pipeline.hear(&Trouble { remote: peer(6), ..trouble(2, kind) });
    harness.pipeline.hear(&trouble(77, kind));
    harness.pass(SECOND);
    harness.pipeline.hear(&trouble(2, kind));
    assert_eq!(stats.snapshot().unreachable, 11);
    let told = harness.events().into_iter().filter_map(|event| match event {
        Event::Unreachable { leg, component, remote, why, by, count, .. } => {
            Some((leg, component, remote, why, by, count))
        }
        _ => None,
    });
    let expected = |count| (2, Component::Rtp, peer(1002), Unreachable::Port, by, count);
    assert_eq!(told.collect::<Vec<_>>(), [expected(1), expected(10)]);
    harness.check();
}
