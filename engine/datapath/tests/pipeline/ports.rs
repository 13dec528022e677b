//! Legs that share a local port: by address, by SSRC, by what authenticates, by ICE username fragment.

use std::net::SocketAddr;

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{
    Command, CommandError, Direction, DropReason, Event, Latching, LegSetup, Limits, PortSetup, Protection,
    Sharing, Tuning,
};
use sluice_io::Component;

use crate::support::*;

/// A harness with shared port 1, and its address.
fn harness() -> (Harness, SocketAddr) {
    with_port(Harness::new())
}

fn with_port(mut harness: Harness) -> (Harness, SocketAddr) {
    let socket = harness.socket();
    let local = socket.local_addr().unwrap();
    harness.apply(Command::AddPort(PortSetup { port: 1, local, socket })).unwrap();
    (harness, local)
}

fn setup(harness: &mut Harness, leg: u32, local: SocketAddr) -> LegSetup {
    let sharing = Some(Sharing { port: 1, ..Sharing::default() });
    let latching = Latching::NewestAuthenticated;
    LegSetup { local, sharing, latching, outbound: Srtp, ..harness.setup(leg) }
}

/// Adds the leg with its keys, and a route from it to leg 100.
fn add(harness: &mut Harness, setup: LegSetup) {
    let leg = setup.leg;
    harness.add(setup);
    harness.install(leg, Direction::Inbound, key(10 * u64::from(leg))).unwrap();
    harness.install(leg, Direction::Outbound, key(10 * u64::from(leg) + 1)).unwrap();
    harness.route(leg, leg, 100);
    harness.route(1000 + leg, 100, leg);
}

fn listener(harness: &mut Harness) {
    harness.leg(100, Srtp, Plain);
}

#[test]
fn legs_of_one_port_are_told_apart_by_their_peers_addresses() {
    let (mut harness, local) = harness();
    listener(&mut harness);
    for leg in [1, 2] {
        let setup = setup(&mut harness, leg, local);
        add(&mut harness, setup);
    }
    // Both peers have the same SSRC.
    let (mut alice, mut bob) = (Peer::of(1, 7, 50), Peer::of(2, 7, 50));
    for sequence in 0..4 {
        for (peer_of, port) in [(&mut alice, 1001), (&mut bob, 1002)] {
            let sent = harness.receive_at(local, peer(port), &peer_of.protect(&rtp(7, sequence)));
            assert_eq!(sent[0].bytes, rtp(7, sequence));
        }
    }
    let mut mixer = Peer::of(100, 50, 0);
    let sent = harness.receive(100, &mixer.protect(&rtp(50, 1)));
    assert_eq!(sent.iter().map(|sent| sent.meta.remote).collect::<Vec<_>>(), [peer(1001), peer(1002)]);
    assert!(sent.iter().all(|sent| sent.meta.local == local));
    assert_eq!(sent[0].meta.socket, sent[1].meta.socket, "one socket");
    assert_eq!(alice.unprotect(&sent[0].bytes).unwrap(), rtp(50, 1));
    assert_eq!(bob.unprotect(&sent[1].bytes).unwrap(), rtp(50, 1));
    assert_eq!(harness.dropped(DropReason::AuthFailed), 0);
}

#[test]
fn media_from_an_address_that_nobody_knows_is_the_leg_s_to_which_it_is_authentic() {
    let (mut harness, local) = harness();
    listener(&mut harness);
    for leg in 1..=6 {
        let setup = LegSetup { remote: None, ..setup(&mut harness, leg, local) };
        add(&mut harness, setup);
    }
    // All in one batch, and all with one SSRC.
    let mut peers: Vec<_> = (1..=6).map(|leg| Peer::of(leg, 7, 50)).collect();
    let mut batch = Vec::new();
    for (leg, peer_of) in peers.iter_mut().enumerate() {
        for sequence in 0..3 {
            batch.push((peer(2000 + leg as u16), peer_of.protect(&rtp(7, sequence))));
        }
        batch.push((peer(6666), forged(7, leg as u16)));
    }
    let sent = harness.receive_all_at(local, &batch);
    assert_eq!(sent.len(), 18);
    assert_eq!(harness.dropped(DropReason::Unassigned), 6);
    let mut mixer = Peer::of(100, 50, 0);
    let sent = harness.receive(100, &mixer.protect(&rtp(50, 1)));
    for (sent, (leg, peer_of)) in sent.iter().zip(peers.iter_mut().enumerate()) {
        assert_eq!(sent.meta.remote, peer(2000 + leg as u16), "where it was heard from");
        assert_eq!(peer_of.unprotect(&sent.bytes).unwrap(), rtp(50, 1));
    }
    let unassigned = harness.dropped(DropReason::Unassigned);
    for sequence in 10..20 {
        assert!(harness.receive_at(local, peer(6666), &forged(99, sequence)).is_empty());
    }
    assert_eq!(harness.dropped(DropReason::Unassigned), unassigned + 10, "nobody waits, nothing is tried");
}

#[test]
fn more_legs_than_a_packet_may_try_get_their_turns() {
    let (mut harness, local) = harness();
    listener(&mut harness);
    for leg in 1..=30 {
        let setup = LegSetup { remote: None, ..setup(&mut harness, leg, local) };
        add(&mut harness, setup);
    }
    let mut last = Peer::of(30, 7, 50);
    let heard = (0..10).position(|sequence| {
        !harness.receive_at(local, peer(2000), &last.protect(&rtp(7, sequence))).is_empty()
    });
    assert!(heard.is_some_and(|packets| packets <= 4), "{heard:?} packets of 30 legs' trials");
}

#[test]
fn trials_of_forged_packets_are_limited() {
    let tuning = Tuning { auth_failures_per_second: 5, ..Tuning::default() };
    let (mut harness, local) = with_port(Harness::with(limits(), tuning));
    listener(&mut harness);
    for leg in 1..=8 {
        let setup = LegSetup { remote: None, ..setup(&mut harness, leg, local) };
        add(&mut harness, setup);
    }
    for n in 0..200 {
        harness.receive_at(local, peer(6666), &forged(n, 1));
    }
    assert_eq!((harness.dropped(DropReason::Unassigned), harness.stats().streams), (200, 0));
    let mut alice = Peer::of(3, 7, 50);
    assert!(harness.receive_at(local, peer(2000), &alice.protect(&rtp(7, 1))).is_empty(), "40 a second");
    harness.pass(SECOND);
    assert_eq!(harness.receive_at(local, peer(2000), &alice.protect(&rtp(7, 2))).len(), 1);
}

#[test]
fn a_peer_that_moves_is_known_by_its_ssrc_and_a_signalled_ssrc_needs_no_trial() {
    let (mut harness, local) = harness();
    listener(&mut harness);
    for leg in 1..=20 {
        let sharing = Some(Sharing { port: 1, ssrcs: vec![70 + leg], ..Sharing::default() });
        let setup = LegSetup { remote: None, sharing, ..setup(&mut harness, leg, local) };
        add(&mut harness, setup);
    }
    let mut alice = Peer::of(20, 90, 50);
    for (sequence, port) in [(0, 2000), (1, 2000), (2, 3000), (3, 4000)] {
        let sent = harness.receive_at(local, peer(port), &alice.protect(&rtp(90, sequence)));
        assert_eq!(sent.len(), 1, "from {port}");
    }
    let moves = |event| matches!(event, Event::RemoteChanged { leg: 20, .. });
    assert_eq!(harness.events().into_iter().filter(|event| moves(event.clone())).count(), 3);
    let mut mixer = Peer::of(100, 50, 0);
    let sent = harness.receive(100, &mixer.protect(&rtp(50, 1)));
    assert_eq!(sent[0].meta.remote, peer(4000));
    assert!(harness.receive_at(local, peer(3000), &forged(90, 9)).is_empty());
    let replayed = alice.protect(&rtp(90, 4));
    assert_eq!(harness.receive_at(local, peer(4000), &replayed).len(), 1);
    harness.receive_at(local, peer(6666), &replayed);
    assert_eq!(harness.dropped(DropReason::Replayed), 1, "whoever sends it");
}

#[test]
fn an_address_that_changes_hands_goes_to_who_authenticates() {
    let (mut harness, local) = harness();
    listener(&mut harness);
    for leg in [1, 2] {
        let setup = LegSetup { remote: None, ..setup(&mut harness, leg, local) };
        add(&mut harness, setup);
    }
    let (mut alice, mut bob) = (Peer::of(1, 7, 50), Peer::of(2, 8, 50));
    assert_eq!(harness.receive_at(local, peer(2000), &alice.protect(&rtp(7, 1))).len(), 1);
    assert_eq!(harness.receive_at(local, peer(3000), &bob.protect(&rtp(8, 1))).len(), 1);
    // The NAT gives Alice's address to Bob.
    assert_eq!(harness.receive_at(local, peer(2000), &bob.protect(&rtp(8, 2))).len(), 1);
    assert_eq!(harness.receive_at(local, peer(2000), &bob.protect(&rtp(8, 3))).len(), 1);
    assert_eq!(harness.receive_at(local, peer(3000), &alice.protect(&rtp(7, 2))).len(), 1);
    let mut mixer = Peer::of(100, 50, 0);
    let sent = harness.receive(100, &mixer.protect(&rtp(50, 1)));
    assert_eq!(sent.iter().map(|sent| sent.meta.remote).collect::<Vec<_>>(), [peer(3000), peer(2000)]);
}

#[test]
fn a_leg_that_hears_the_signalled_address_only_cannot_be_had_from_elsewhere() {
    let (mut harness, local) = harness();
    listener(&mut harness);
    let strict = LegSetup { latching: Latching::SignalledOnly, ..setup(&mut harness, 1, local) };
    add(&mut harness, strict);
    let open = LegSetup { remote: None, ..setup(&mut harness, 2, local) };
    add(&mut harness, open);
    let (mut alice, mut bob) = (Peer::of(1, 7, 50), Peer::of(2, 7, 50));
    assert!(harness.receive_at(local, peer(2000), &alice.protect(&rtp(7, 1))).is_empty());
    assert_eq!(harness.receive_at(local, peer(2000), &bob.protect(&rtp(7, 1))).len(), 1);
    assert_eq!(harness.receive_at(local, peer(1001), &alice.protect(&rtp(7, 2))).len(), 1);
}

#[test]
fn plain_legs_are_found_by_address_or_by_a_signalled_ssrc() {
    let (mut harness, local) = harness();
    listener(&mut harness);
    for (leg, remote) in [(1, Some(peer(1001))), (2, None)] {
        let sharing = Some(Sharing { port: 1, ssrcs: vec![70 + leg], ..Sharing::default() });
        let setup =
            LegSetup { inbound: Plain, outbound: Plain, sharing, remote, ..setup(&mut harness, leg, local) };
        harness.add(setup);
        harness.route(leg, leg, 100);
    }
    harness.receive_at(local, peer(1001), &rtp(5, 1));
    assert_eq!(harness.receive_at(local, peer(1001), &rtp(5, 2)).len(), 2);
    harness.receive_at(local, peer(2000), &rtp(72, 1));
    assert_eq!(harness.receive_at(local, peer(2000), &rtp(72, 2)).len(), 2);
    harness.receive_at(local, peer(2000), &rtp(9, 1));
    assert_eq!(harness.receive_at(local, peer(2000), &rtp(9, 2)).len(), 2, "the address is known now");
    harness.receive_at(local, peer(2001), &rtp(10, 1));
    assert_eq!(harness.dropped(DropReason::Unassigned), 1);
}

fn check_for(ufrag: &str) -> Vec<u8> {
    let username = format!("{ufrag}:them");
    let mut message =
        vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 6, 0];
    message.push(username.len() as u8);
    message.extend(username.as_bytes());
    message.resize(message.len().next_multiple_of(4), 0);
    message[3] = (message.len() - 20) as u8;
    message
}

#[test]
fn connectivity_checks_find_their_leg_by_its_fragment() {
    let (mut harness, local) = harness();
    for leg in [1, 2] {
        let sharing =
            Some(Sharing { port: 1, ice_ufrag: Some(format!("frag{leg}").into()), ..Sharing::default() });
        let setup = LegSetup { remote: None, sharing, ..setup(&mut harness, leg, local) };
        harness.add(setup);
    }
    harness.receive_at(local, peer(2000), &check_for("frag2"));
    harness.receive_at(local, peer(2000), &check_for("other"));
    harness.receive_at(local, peer(2000), &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    let [Event::Negotiation { leg: 2, remote, .. }] = &harness.events()[..] else { panic!() };
    assert_eq!((*remote, harness.dropped(DropReason::Unassigned)), (peer(2000), 2));
    // Control checked it, and says that the peer is there: DTLS from there is the leg's now.
    harness.signal(2, peer(2000));
    harness.receive_at(local, peer(2000), &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert!(matches!(harness.events()[..], [Event::Negotiation { leg: 2, .. }]));
    harness.apply(Command::RemoveLeg { leg: 2 }).unwrap();
    harness.receive_at(local, peer(2000), &check_for("frag2"));
    assert_eq!(harness.dropped(DropReason::Unassigned), 3);
}

#[test]
fn what_cannot_share_is_refused_and_changes_nothing() {
    let (mut harness, local) = harness();
    let first = setup(&mut harness, 1, local);
    harness.add(LegSetup {
        sharing: Some(Sharing { port: 1, ice_ufrag: Some("f".into()), ..Sharing::default() }),
        ..first
    });
    let field = |harness: &mut Harness, change: &dyn Fn(&mut LegSetup)| {
        let mut setup = LegSetup { remote: Some(peer(9)), ..setup(harness, 2, local) };
        change(&mut setup);
        match harness.apply(Command::AddLeg(Box::new(setup))) {
            Err(CommandError::InvalidLeg { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    let rtcp = harness.socket();
    assert_eq!(field(&mut harness, &|leg| leg.sharing.as_mut().unwrap().port = 9), "port");
    assert_eq!(field(&mut harness, &|leg| leg.rtcp = Some(rtcp.clone())), "rtcp");
    assert_eq!(field(&mut harness, &|leg| leg.local = peer(1)), "local");
    assert_eq!(field(&mut harness, &|leg| leg.sharing.as_mut().unwrap().ssrcs = vec![0; 9]), "ssrcs");
    assert_eq!(
        field(&mut harness, &|leg| leg.sharing.as_mut().unwrap().ice_ufrag = Some("f".into())),
        "ice_ufrag"
    );
    let same = LegSetup { remote: Some(peer(1001)), ..setup(&mut harness, 2, local) };
    let taken = CommandError::RemoteTaken { remote: peer(1001), leg: 1 };
    assert_eq!(harness.apply(Command::AddLeg(Box::new(same))), Err(taken));
    assert!(matches!(
        harness.apply(Command::RemovePort { port: 1 }),
        Err(CommandError::InvalidPort { port: 1, .. })
    ));
    harness.apply(Command::RemoveLeg { leg: 1 }).unwrap();
    harness.apply(Command::RemovePort { port: 1 }).unwrap();
    harness.receive_at(local, peer(1001), &rtp(7, 1));
    assert_eq!(harness.dropped(DropReason::UnknownLeg), 1);
}

/// What 100,000 legs on one port cost; docs/scaling.md says so.
#[test]
fn a_hundred_thousand_legs_on_one_port_find_their_media() {
    const LEGS: u32 = 100_000;
    let limits = Limits {
        legs: LEGS as usize + 1,
        routes: LEGS as usize,
        streams: LEGS as usize,
        egress_contexts: 16,
        ..limits()
    };
    let (mut harness, local) = with_port(Harness::with(limits, Tuning::default()));
    harness.leg(LEGS, Srtp, Plain);
    let socket = harness.socket();
    let shared = key(3);
    let at = |leg: u32| SocketAddr::from(([10, 0, (leg >> 16) as u8, 1], (leg & 0xffff).max(1) as u16));
    let blank = setup(&mut harness, 0, local);
    for leg in 0..LEGS {
        let setup = LegSetup {
            leg,
            remote: Some(at(leg)),
            outbound: Protection::Plain,
            rtp: Some(socket.clone()),
            sharing: blank.sharing.clone(),
            stats: std::sync::Arc::default(),
            rtcp: None,
            max_streams: 1,
            ..blank
        };
        // Addresses whose port is 0 were moved to port 1.
        let added = harness.apply(Command::AddLeg(Box::new(setup)));
        assert!(added.is_ok() || leg % 65_536 == 1, "{leg}: {added:?}");
    }
    for leg in (0..LEGS).step_by(997) {
        let at = at(leg);
        let Ok(()) = harness.install(leg, Direction::Inbound, shared.clone()) else { continue };
        harness.route(leg, leg, LEGS);
        let mut alice = Peer::new(leg, &shared, 0, &shared);
        let sent = harness.receive_at(local, at, &alice.protect(&rtp(leg, 1)));
        assert_eq!(sent.len(), 1, "{leg}");
    }
    assert_eq!(harness.dropped(DropReason::Unassigned), 0);
}

#[test]
fn datagrams_of_a_port_s_kernel_socket_find_their_leg_as_well() {
    let (mut harness, local) = harness();
    listener(&mut harness);
    let setup = setup(&mut harness, 1, local);
    add(&mut harness, setup);
    let mut alice = Peer::of(1, 7, 50);
    let port = sluice_datapath::MAX_NUMBER | 1;
    let packet = alice.protect(&rtp(7, 1));
    let sent = harness.receive_batch(&[(port, Component::Rtp, peer(1001), packet)]);
    assert_eq!(sent.len(), 1);
}
