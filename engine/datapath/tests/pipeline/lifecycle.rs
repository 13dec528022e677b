//! Legs, streams, routes and keys come and go.

use std::time::Duration;

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{
    Command, CommandError, Direction, DropReason, Event, LegSetup, LegUpdate, RocOnRekey, RouteOptions,
    Signalled, Tuning,
};
use sluice_io::Path;
use sluice_srtp::{KeyId, Lifetime, Suite};

use crate::support::*;

#[test]
fn a_stream_starts_stops_and_starts_again_with_its_roc() {
    let mut harness = Harness::new();
    let stats = harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    for sequence in [65_534, 65_535, 0] {
        harness.receive(1, &alice.protect(&rtp(7, sequence)));
    }
    let events = harness.events();
    assert!(matches!(
        events[..],
        [Event::FirstMedia { leg: 1, ssrc: 7, .. }, Event::StreamStarted { leg: 1, ssrc: 7, .. }]
    ));
    harness.pass(40 * SECOND);
    let events = harness.events();
    assert!(matches!(events[..], [Event::StreamStopped { leg: 1, ssrc: 7, packets: 3, bytes: 186, .. }]));
    assert_eq!((harness.stats().streams, stats.snapshot().streams), (0, 0));
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 1))).len(), 1, "ROC 1 outlasted the pause");
    let events = harness.events();
    assert!(matches!(events[..], [Event::StreamStarted { leg: 1, ssrc: 7, .. }]), "{events:?}");
    assert_eq!((harness.stats().streams, stats.snapshot().streams), (1, 1));
}

#[test]
fn stopped_streams_make_room_for_new_ones() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    for generation in 0..5 {
        for ssrc in generation * 8..generation * 8 + 8 {
            let mut alice = Peer::of(1, ssrc, 0);
            harness.receive(1, &alice.protect(&rtp(ssrc, 1)));
        }
        assert_eq!(harness.stats().streams, 8);
        harness.pass(40 * SECOND);
    }
    assert_eq!(harness.dropped(DropReason::StreamLimit), 0);
}

#[test]
fn stale_streams_are_aged_out_and_neither_end_loses_where_it_stood() {
    let tuning = Tuning { stream_forget: Duration::from_mins(2), ..Tuning::default() };
    let mut harness = Harness::with(limits(), tuning);
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Srtp);
    harness.route(1, 1, 2);
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 0, 7));
    let mut played = Vec::new();
    for sequence in [65_534, 65_535, 0] {
        played.push(alice.protect(&rtp(7, sequence)));
        bob.unprotect(&harness.receive(1, played.last().unwrap())[0].bytes).unwrap();
    }
    harness.pass(100 * SECOND);
    assert_eq!(harness.stats().egress_contexts, 1, "stopped, but not yet stale");
    harness.pass(40 * SECOND);
    assert_eq!((harness.stats().streams, harness.stats().egress_contexts), (0, 0));
    let stopped = harness.events().into_iter().filter(|event| matches!(event, Event::StreamStopped { .. }));
    assert_eq!(stopped.count(), 1, "told once");
    for packet in &played {
        assert!(harness.receive(1, packet).is_empty());
    }
    assert_eq!(harness.dropped(DropReason::Replayed), 3);
    let sent = harness.receive(1, &alice.protect(&rtp(7, 1)));
    assert_eq!(bob.unprotect(&sent[0].bytes).unwrap(), rtp(7, 1), "ROC 1 both ways");
}

#[test]
fn idle_plain_streams_are_forgotten_whole() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    harness.leg(2, Plain, Srtp);
    harness.route(1, 1, 2);
    harness.receive(1, &rtp(7, 1));
    harness.receive(1, &rtp(7, 2));
    assert_eq!((harness.stats().streams, harness.stats().egress_contexts), (1, 1));
    harness.pass(40 * SECOND);
    assert_eq!((harness.stats().streams, harness.stats().egress_contexts), (0, 0));
}

#[test]
fn a_removed_leg_takes_everything_with_it() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    harness.leg(2, Plain, Srtp);
    harness.route(1, 1, 2);
    harness.route(2, 2, 1);
    harness.receive(1, &rtp(7, 1));
    harness.receive(1, &rtp(7, 2));
    harness.receive(1, &rtp(8, 1));
    harness.apply(Command::RemoveLeg { leg: 1 }).unwrap();
    let stats = harness.stats();
    assert_eq!((stats.legs, stats.routes, stats.streams, stats.egress_contexts, stats.held), (1, 0, 0, 0, 0));
    assert_eq!(harness.dropped(DropReason::LegRemoved), 1, "the one held");
    let stopped = harness.events().into_iter().filter(|event| matches!(event, Event::StreamStopped { .. }));
    assert_eq!(stopped.count(), 1);
    harness.check();
    harness.leg(1, Plain, Plain);
}

#[test]
fn the_path_of_a_legs_media_is_told_when_it_changes_for_good() {
    let mut harness = Harness::new();
    let stats = harness.leg(1, Srtp, Plain);
    let mut alice = Peer::of(1, 7, 0);
    let mut sequence = 0;
    let mut play = |harness: &mut Harness, path, packets| {
        harness.path = path;
        for _ in 0..packets {
            sequence += 1;
            harness.receive(1, &alice.protect(&rtp(7, sequence)));
            harness.pass(20 * MILLI);
        }
    };
    play(&mut harness, Path::XdpNative, 60);
    play(&mut harness, Path::IoUring, 2);
    play(&mut harness, Path::XdpNative, 60);
    let changes = |harness: &Harness| {
        let change = |event: &Event| matches!(event, Event::PathChange { .. });
        harness.events().into_iter().filter(change).collect::<Vec<_>>()
    };
    assert_eq!(changes(&harness), [], "stray packets are no change");
    play(&mut harness, Path::IoUring, 60);
    let changed = changes(&harness);
    let expected =
        matches!(changed[..], [Event::PathChange { leg: 1, from: Path::XdpNative, to: Path::IoUring, .. }]);
    assert!(expected, "{changed:?}");
    assert_eq!(stats.snapshot().path, Some(Path::IoUring));
}

#[test]
fn a_key_that_nears_its_end_is_announced_and_one_at_its_end_stops() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    let setup = LegSetup { outbound: Srtp, ..harness.setup(2) };
    harness.add(setup);
    let lifetime = Lifetime::new(100, 100).unwrap();
    harness.install(2, Direction::Outbound, key_of(5, Suite::AesCm128HmacSha1_80, lifetime)).unwrap();
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    for sequence in 1..=110 {
        harness.receive(1, &alice.protect(&rtp(7, sequence)));
    }
    let events: Vec<_> = harness.events().into_iter().skip(2).collect();
    let [
        Event::KeyExpiring { leg: 2, direction: Direction::Outbound, key: KeyId(5), remaining: 9, .. },
        Event::KeyExpired { leg: 2, direction: Direction::Outbound, key: KeyId(5), .. },
    ] = events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((harness.stats().sent, harness.dropped(DropReason::OutboundKeyExpired)), (100, 10));
    harness.install(2, Direction::Outbound, key(6)).unwrap();
    assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 111))).len(), 1);
}

#[test]
fn an_inbound_key_is_announced_near_its_end_and_past_it_told_once() {
    let mut harness = Harness::new();
    let setup = harness.setup(1);
    harness.add(setup);
    let short = key_of(10, Suite::AesCm128HmacSha1_80, Lifetime::new(20, 20).unwrap());
    harness.install(1, Direction::Inbound, short).unwrap();
    let mut alice = Peer::of(1, 7, 0);
    for sequence in 1..=25 {
        harness.receive(1, &alice.protect(&rtp(7, sequence)));
    }
    assert_eq!(harness.dropped(DropReason::InboundKeyExpired), 5);
    let events: Vec<_> = harness.events().into_iter().skip(2).collect();
    let [
        Event::KeyExpiring { leg: 1, direction: Direction::Inbound, key: KeyId(10), remaining: 1, .. },
        Event::KeyExpired { leg: 1, direction: Direction::Inbound, key: KeyId(10), .. },
    ] = events[..]
    else {
        panic!("{events:?}")
    };
}

#[test]
fn commands_that_make_no_sense_change_nothing() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let route = |route, from, to| Command::AddRoute { route, from, to, options: RouteOptions::default() };
    let setup = |harness: &mut Harness, change: &dyn Fn(&mut LegSetup)| {
        let mut setup = harness.setup(9);
        change(&mut setup);
        harness.apply(Command::AddLeg(Box::new(setup))).unwrap_err()
    };
    assert_eq!(harness.apply(route(1, 2, 1)), Err(CommandError::RouteExists(1)));
    let duplicate = CommandError::RouteDuplicate { existing: 1, from: 1, to: 2 };
    assert_eq!(harness.apply(route(2, 1, 2)), Err(duplicate));
    assert_eq!(harness.apply(route(2, 1, 8)), Err(CommandError::UnknownLeg(8)));
    assert_eq!(harness.apply(Command::RemoveRoute { route: 2 }), Err(CommandError::UnknownRoute(2)));
    let plain = CommandError::NotSrtp { leg: 1, direction: Direction::Outbound };
    assert_eq!(harness.install(1, Direction::Outbound, key(1)), Err(plain));
    let twice = CommandError::KeyExists { leg: 1, direction: Direction::Inbound, key: KeyId(10) };
    assert_eq!(harness.install(1, Direction::Inbound, key(10)), Err(twice));
    let none = Command::InstallKeys {
        leg: 1,
        direction: Direction::Inbound,
        keys: Vec::new(),
        shared: false,
        roc: RocOnRekey::Keep,
        more_follow: false,
    };
    assert_eq!(harness.apply(none), Err(CommandError::NoKeys(1)));
    let unknown = CommandError::UnknownKey { leg: 1, direction: Direction::Inbound, key: KeyId(3) };
    let retire = Command::RetireKey { leg: 1, direction: Direction::Inbound, key: KeyId(3) };
    assert_eq!(harness.apply(retire), Err(unknown));
    assert_eq!(setup(&mut harness, &|setup| setup.leg = 1), CommandError::LegExists(1));
    for (field, change) in [
        ("local", &(|setup: &mut LegSetup| setup.local = ([0, 0, 0, 0], 5).into()) as &dyn Fn(&mut LegSetup)),
        ("dscp", &|setup| setup.dscp = 64),
        ("max_streams", &|setup| setup.max_streams = 0),
        ("remote", &|setup| setup.remote = Some("[2001:db8::1]:5".parse().unwrap())),
        ("rtcp_remote", &|setup| setup.rtcp_remote = Some(peer(9))),
        ("rtcp", &|setup| setup.rtcp = setup.rtp.clone()),
    ] {
        let error = setup(&mut harness, change);
        let named = matches!(error, CommandError::InvalidLeg { leg: 9, field: found, .. } if found == field);
        assert!(named, "{field}: {error:?}");
    }
    let local = harness.setup(3);
    let (socket, address) = (local.rtp.clone(), local.local);
    harness.add(local);
    let taken = setup(&mut harness, &|setup| (setup.rtp, setup.local) = (socket.clone(), address));
    assert_eq!(taken, CommandError::AddressTaken(address));
    assert_eq!((harness.stats().legs, harness.stats().routes), (3, 1));
}

#[test]
fn an_update_is_applied_whole_or_not_at_all() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let mut alice = Peer::of(1, 7, 0);
    let mut sequence = 0;
    let mut sent = |harness: &mut Harness| {
        sequence += 1;
        let meta = harness.receive(1, &alice.protect(&rtp(7, sequence)))[0].meta;
        (meta.remote, meta.dscp)
    };
    let good = LegUpdate {
        remote: Some(Signalled { rtp: peer(5), rtcp: None }),
        payload_types: Some(Some([1, 0])),
        dscp: Some(46),
        ..LegUpdate::new(2)
    };
    let other_family = Signalled { rtp: peer(6), rtcp: Some("[2001:db8::1]:5".parse().unwrap()) };
    for (bad, field) in [
        (LegUpdate { remote: Some(other_family), ..good }, "remote"),
        (LegUpdate { dscp: Some(64), ..good }, "dscp"),
    ] {
        let error = harness.apply(Command::UpdateLeg(bad)).unwrap_err();
        let named = matches!(error, CommandError::InvalidLeg { leg: 2, field: found, .. } if found == field);
        assert!(named, "{field}: {error:?}");
        assert_eq!(sent(&mut harness), (peer(1002), 0), "{field}");
    }
    harness.apply(Command::UpdateLeg(good)).unwrap();
    assert_eq!(sent(&mut harness), (peer(5), 46));
    let of_no_leg = harness.apply(Command::UpdateLeg(LegUpdate { leg: 8, ..good }));
    assert_eq!(of_no_leg, Err(CommandError::UnknownLeg(8)));
}

#[test]
fn too_many_keys_are_refused_until_old_ones_are_retired() {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Srtp);
    for direction in [Direction::Inbound, Direction::Outbound] {
        let (mut installed, mut refused) = (1, 0);
        for id in 100..110 {
            match harness.install(1, direction, key(id)) {
                Ok(()) => installed += 1,
                Err(CommandError::TooManyKeys { leg: 1, limit: 8, .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((installed, refused), (8, 3));
        harness.apply(Command::RetireKey { leg: 1, direction, key: KeyId(100) }).unwrap();
        harness.install(1, direction, key(110)).unwrap();
    }
}

#[test]
fn a_datagram_of_control_leaves_from_the_legs_socket() {
    let mut harness = Harness::new();
    let stats = harness.leg(1, Srtp, Plain);
    let component = sluice_io::Component::Rtp;
    let send =
        |bytes: usize| Command::SendDatagram { leg: 1, component, remote: peer(5), bytes: vec![1; bytes] };
    harness.apply(send(100)).unwrap();
    assert_eq!(harness.apply(send(60_000)), Err(CommandError::DatagramTooLarge(60_000)));
    assert_eq!((harness.stats().injected, harness.stats().sent, stats.snapshot().injected), (1, 1, 1));
    harness.check();
    let rtcp = Command::SendDatagram {
        leg: 1,
        component: sluice_io::Component::Rtcp,
        remote: peer(5),
        bytes: Vec::new(),
    };
    assert_eq!(harness.apply(rtcp), Err(CommandError::NoRtcpComponent(1)));
}
