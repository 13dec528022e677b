//! Keys that change, with rollover counters that go on or begin anew; and several keys at once.

use std::sync::Arc;
use std::time::Duration;

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{Command, Direction, DropReason, RocOnRekey, Tuning};
use sluice_srtp::{Inbound, KeyId, KeyOptions, MasterKey, Mki, Outbound, ReplayWindow, SessionKeys, Suite};

use crate::support::*;

/// Leg 1 receives under key 10, leg 2 sends under key 21, in the second round of sequence numbers.
fn call() -> (Harness, Peer, Peer) {
    let tuning = Tuning { stream_forget: Duration::from_mins(2), ..Tuning::default() };
    let mut harness = Harness::with(limits(), tuning);
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Srtp);
    harness.route(1, 1, 2);
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 0, 7));
    for sequence in [65_534, 65_535, 0] {
        play(&mut harness, &mut alice, &mut bob, sequence);
    }
    (harness, alice, bob)
}

fn play(harness: &mut Harness, alice: &mut Peer, bob: &mut Peer, sequence: u16) {
    let sent = harness.receive(1, &alice.protect(&rtp(7, sequence)));
    assert_eq!(bob.unprotect(&sent[0].bytes).unwrap(), rtp(7, sequence));
}

/// A peer that begins anew with each key.
fn anew(ssrc: u32, keys: &Arc<SessionKeys>) -> Peer {
    Peer::new(ssrc, keys, ssrc, keys)
}

#[test]
fn a_peer_that_begins_anew_with_a_key_is_understood_if_told_or_tried() {
    for roc in [RocOnRekey::Reset, RocOnRekey::TryBoth] {
        let (mut harness, mut alice, mut bob) = call();
        harness.rekey(1, Direction::Inbound, key(110), roc).unwrap();
        play(&mut harness, &mut alice, &mut bob, 1);
        let mut renewed = anew(7, &key(110));
        let first = renewed.protect(&rtp(7, 2));
        let sent = harness.receive(1, &first);
        assert_eq!(bob.unprotect(&sent[0].bytes).unwrap(), rtp(7, 2), "{roc:?}");
        assert!(harness.receive(1, &first).is_empty(), "{roc:?}: once");
        harness.apply(Command::RetireKey { leg: 1, direction: Direction::Inbound, key: KeyId(10) }).unwrap();
        assert!(harness.receive(1, &first).is_empty(), "{roc:?}: once");
        play(&mut harness, &mut renewed, &mut bob, 3);
        assert_eq!(harness.stats().streams, 1);
    }
}

#[test]
fn what_is_sent_begins_anew_under_a_new_key_and_goes_on_under_one_that_comes_back() {
    let (mut harness, mut alice, _) = call();
    harness.rekey(2, Direction::Outbound, key(22), RocOnRekey::Reset).unwrap();
    let mut bob = anew(7, &key(22));
    play(&mut harness, &mut alice, &mut bob, 1);
    assert!(harness.rekey(2, Direction::Outbound, key(21), RocOnRekey::Reset).is_err(), "spent");
    play(&mut harness, &mut alice, &mut bob, 2);
    // The stream ends and comes back, and with it the key, after another.
    harness.apply(Command::RemoveRoute { route: 1 }).unwrap();
    harness.rekey(2, Direction::Outbound, key(23), RocOnRekey::Reset).unwrap();
    harness.apply(Command::RetireKey { leg: 2, direction: Direction::Outbound, key: KeyId(22) }).unwrap();
    harness.rekey(2, Direction::Outbound, key(22), RocOnRekey::Reset).unwrap();
    harness.route(1, 1, 2);
    assert!(harness.receive(1, &alice.protect(&rtp(7, 3))).len() == 1);
    // Nor by a leg that changes keys while it sends: 22 is at 3 now, and stays there.
    harness.apply(Command::RemoveRoute { route: 1 }).unwrap();
    harness.route(1, 1, 2);
    play(&mut harness, &mut alice, &mut bob, 4);
}

#[test]
fn what_is_sent_goes_on_if_both_are_to_be_tried() {
    let (mut harness, mut alice, mut bob) = call();
    harness.rekey(2, Direction::Outbound, key(22), RocOnRekey::TryBoth).unwrap();
    bob.install(&key(22));
    play(&mut harness, &mut alice, &mut bob, 1);
}

#[test]
fn legs_that_share_a_key_begin_anew_together() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    for leg in [2, 3] {
        harness.leg(leg, Plain, Srtp);
        harness.route(leg, 1, leg);
        harness.install_shared(leg, &key(50)).unwrap();
    }
    for sequence in [65_534, 65_535, 0] {
        harness.receive(1, &rtp(7, sequence));
    }
    let shared = |leg| Command::InstallKeys {
        leg,
        direction: Direction::Outbound,
        keys: vec![key(51)],
        shared: true,
        roc: RocOnRekey::Reset,
        more_follow: false,
    };
    for leg in [2, 3] {
        harness.apply(shared(leg)).unwrap();
        if leg == 2 {
            harness.receive(1, &rtp(7, 1));
        }
    }
    let sent = harness.receive(1, &rtp(7, 2));
    let [one, other] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(one.bytes, other.bytes);
    assert_eq!(anew(7, &key(51)).unprotect(&one.bytes).unwrap(), rtp(7, 2));
    assert_eq!(harness.stats().egress_contexts, 1);
}

#[test]
fn a_stream_that_comes_back_between_two_keys_accepts_nothing_twice() {
    for (roc, reset) in [(RocOnRekey::Reset, true), (RocOnRekey::TryBoth, true), (RocOnRekey::TryBoth, false)]
    {
        let (mut harness, mut alice, _) = call();
        let old = alice.protect(&rtp(7, 1));
        harness.receive(1, &old);
        harness.rekey(1, Direction::Inbound, key(110), roc).unwrap();
        if reset {
            alice = anew(7, &key(110));
        } else {
            alice.rekey_sending(&key(110));
        }
        let played: Vec<_> =
            [rtp(7, 2), rtcp(7, 9), rtp(7, 3)].iter().map(|packet| alice.protect(packet)).collect();
        for packet in &played {
            assert_eq!(harness.receive(1, packet).len(), 1, "{roc:?} {reset}");
        }
        harness.pass(140 * SECOND);
        assert_eq!(harness.stats().egress_contexts, 0, "aged out");
        for packet in played.iter().chain([&old]) {
            assert!(harness.receive(1, packet).is_empty(), "{roc:?} {reset}");
        }
        assert_eq!(harness.receive(1, &alice.protect(&rtp(7, 4))).len(), 1, "{roc:?} {reset}");
    }
}

#[test]
fn a_key_that_came_while_a_stream_was_away_may_begin_anew() {
    for roc in [RocOnRekey::Reset, RocOnRekey::TryBoth] {
        for retired in [false, true] {
            let (mut harness, mut alice, _) = call();
            let old = alice.protect(&rtp(7, 1));
            harness.receive(1, &old);
            harness.pass(140 * SECOND);
            harness.rekey(1, Direction::Inbound, key(110), roc).unwrap();
            if retired {
                let retire = Command::RetireKey { leg: 1, direction: Direction::Inbound, key: KeyId(10) };
                harness.apply(retire).unwrap();
            }
            let mut renewed = anew(7, &key(110));
            assert_eq!(harness.receive(1, &renewed.protect(&rtp(7, 2))).len(), 1, "{roc:?} {retired}");
            assert!(harness.receive(1, &old).is_empty(), "{roc:?} {retired}");
            assert_eq!(harness.receive(1, &renewed.protect(&rtp(7, 3))).len(), 1, "{roc:?} {retired}");
        }
    }
}

fn marked(id: u64, mki: u8) -> Arc<SessionKeys> {
    let material = [id as u8; 30];
    let master = MasterKey::from_concatenated(Suite::AesCm128HmacSha1_80, &material).unwrap();
    let options = KeyOptions { mki: Mki::new(&[mki]).unwrap(), ..KeyOptions::default() };
    Arc::new(SessionKeys::derive_with(KeyId(id), &master, &options).unwrap())
}

/// RFC 4568 §6.1: several master keys in one crypto attribute, told apart by their MKIs; the sender may go from one to
/// another at any packet, and back.
#[test]
fn a_peer_may_go_from_one_mki_to_another_in_mid_stream() {
    let mut harness = Harness::new();
    let setup = harness.setup(1);
    harness.add(setup);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 1, 2);
    let keys = [marked(1, 0xa), marked(2, 0xb), marked(3, 0xc)];
    for keys in &keys {
        harness.install(1, Direction::Inbound, Arc::clone(keys)).unwrap();
    }
    let mut alice = Peer::new(7, &keys[0], 0, &keys[0]);
    for (sequence, which) in
        (65_530..=65_535).chain(0..12).zip([0, 0, 1, 1, 2, 0, 2, 1, 1, 1, 0, 2, 0, 1, 2, 2, 1, 0])
    {
        alice.rekey_sending(&keys[which]);
        let packet = alice.protect(&rtp(7, sequence));
        let sent = harness.receive(1, &packet);
        assert_eq!(sent[0].bytes, rtp(7, sequence), "{sequence} under key {which}");
        assert!(harness.receive(1, &packet).is_empty(), "{sequence} again");
    }
    let unknown = marked(4, 0xd);
    alice.rekey_sending(&unknown);
    assert!(harness.receive(1, &alice.protect(&rtp(7, 20))).is_empty());
    assert_eq!((harness.dropped(DropReason::UnknownMki), harness.dropped(DropReason::Replayed)), (1, 18));
}

/// What this file says of a peer that begins anew is what a context of its own does.
#[test]
fn beginning_anew_is_being_new() {
    let mut restarted = Outbound::new(7, key(1), 9);
    restarted.restart(key(2));
    let fresh = Outbound::new(7, key(2), 0);
    assert_eq!((restarted.position(), restarted.used()), (fresh.position(), fresh.used()));
    assert_eq!(restarted.index_of(44), Ok(44));
    assert_eq!(Inbound::new(7, key(2), ReplayWindow::default(), 0).position(), fresh.position());
}
