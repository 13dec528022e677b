//! Streams that carry on elsewhere, and those that are joined late.

use std::sync::{Arc, Mutex};

use sluice_datapath::Direction::{Inbound, Outbound};
use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{Command, CommandError, DropReason, LegSetup, StreamPosition};
use sluice_srtp::{Lifetime, Position, Suite};

use crate::support::{Harness, Peer, SECOND, key, key_of, rtcp, rtp};

fn export(harness: &mut Harness, leg: u32) -> Vec<StreamPosition> {
    let into = Arc::new(Mutex::new(Vec::new()));
    harness.apply(Command::ExportPositions { leg, into: Arc::clone(&into) }).unwrap();
    let mut found = std::mem::take(&mut *into.lock().unwrap());
    found.sort_by_key(|stream| (stream.direction == Outbound, stream.ssrc));
    found
}

fn import(harness: &mut Harness, leg: u32, streams: &[StreamPosition]) -> Result<(), CommandError> {
    harness.apply(Command::ImportPositions { leg, streams: streams.to_vec() })
}

/// SRTP of leg 1 and plain RTP of leg 3 go to leg 2, as SRTP.
fn machine() -> Harness {
    let mut harness = Harness::new();
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Plain, Srtp);
    harness.leg(3, Plain, Plain);
    harness.route(1, 1, 2);
    harness.route(2, 3, 2);
    harness
}

fn stream(direction: sluice_datapath::Direction, ssrc: u32, rtp: Option<u64>) -> StreamPosition {
    let position = Position { rtp, rtcp: None };
    StreamPosition { direction, ssrc, position, initial_roc: None }
}

#[test]
fn streams_carry_on_where_they_stood_on_another_machine() {
    let (mut first, mut second) = (machine(), machine());
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 0, 7));
    let mut carol = Peer::of(2, 0, 8);
    let mut played = Vec::new();
    for sequence in [65_533, 65_534, 65_535, 0, 1] {
        played.push(alice.protect(&rtp(7, sequence)));
        let sent = first.receive(1, played.last().unwrap());
        bob.unprotect(&sent[0].bytes).unwrap();
        for sent in first.receive(3, &rtp(8, sequence)) {
            carol.unprotect(&sent.bytes).unwrap();
        }
    }
    let report = first.receive(3, &rtcp(8, 9))[0].bytes.clone();
    carol.unprotect(&report).unwrap();

    let (received, sent) = (export(&mut first, 1), export(&mut first, 2));
    assert_eq!(received, [stream(Inbound, 7, Some(1 << 16 | 1))]);
    assert_eq!(sent[0], stream(Outbound, 7, Some(1 << 16 | 1)));
    assert_eq!(sent[1].position, Position { rtp: Some(1 << 16 | 1), rtcp: Some(0) });
    import(&mut second, 1, &received).unwrap();
    import(&mut second, 2, &sent).unwrap();

    for packet in &played {
        assert!(second.receive(1, packet).is_empty(), "replayed on the other machine");
    }
    assert_eq!(second.dropped(DropReason::Replayed), played.len() as u64);
    let next = second.receive(1, &alice.protect(&rtp(7, 2)));
    assert_eq!(bob.unprotect(&next[0].bytes).unwrap(), rtp(7, 2), "the rollover counter goes on");
    // Plain RTP is believed once two packets came in order; none of these is sent under a used index.
    for sequence in [65_534, 65_535, 0, 1] {
        assert!(second.receive(3, &rtp(8, sequence)).is_empty(), "{sequence} was sent before");
    }
    let next = second.receive(3, &rtp(8, 2));
    assert_eq!(carol.unprotect(&next[0].bytes).unwrap(), rtp(8, 2));
    let again = second.receive(3, &rtcp(8, 9));
    assert_eq!(carol.unprotect(&again[0].bytes).unwrap(), rtcp(8, 9), "another SRTCP index");
    // What stood before goes nowhere back, on the machine that it came from either.
    let (now, then) = (export(&mut second, 2), sent);
    import(&mut second, 2, &then).unwrap();
    assert_eq!(export(&mut second, 2), now);
    assert!(second.receive(1, &played[4]).is_empty());
}

#[test]
fn a_stream_that_runs_already_only_goes_ahead() {
    let mut harness = machine();
    let (mut alice, mut bob) = (Peer::of(1, 7, 0), Peer::of(2, 0, 7));
    let sent = harness.receive(1, &alice.protect(&rtp(7, 5)));
    bob.unprotect(&sent[0].bytes).unwrap();
    import(&mut harness, 1, &[stream(Inbound, 7, Some(20))]).unwrap();
    import(&mut harness, 2, &[stream(Outbound, 7, Some(30))]).unwrap();
    assert!(harness.receive(1, &alice.protect(&rtp(7, 20))).is_empty());
    assert_eq!(harness.dropped(DropReason::Replayed), 1);
    assert!(harness.receive(1, &alice.protect(&rtp(7, 25))).is_empty());
    assert_eq!(harness.dropped(DropReason::IndexUsed), 1);
    let sent = harness.receive(1, &alice.protect(&rtp(7, 31)));
    assert_eq!(bob.unprotect(&sent[0].bytes).unwrap(), rtp(7, 31));
}

#[test]
fn who_joins_late_is_told_the_rollover_counter_or_tries() {
    for (told, trials, heard) in [(None, 0, false), (Some(2), 0, true), (None, 2, true), (None, 1, false)] {
        let mut harness = Harness::new();
        let setup = LegSetup { roc_trials: trials, ..harness.setup(1) };
        harness.add(setup);
        harness.install(1, Inbound, key(10)).unwrap();
        harness.leg(2, Plain, Plain);
        harness.route(1, 1, 2);
        if let Some(roc) = told {
            let late = StreamPosition { initial_roc: Some(roc), ..stream(Inbound, 7, None) };
            import(&mut harness, 1, &[late]).unwrap();
        }
        let mut alice = Peer::of(1, 7, 0).at_roc(2, &key(10));
        for sequence in [40_000, 40_001] {
            let sent = harness.receive(1, &alice.protect(&rtp(7, sequence)));
            assert_eq!(sent.len(), usize::from(heard), "{told:?} {trials}");
        }
    }
}

#[test]
fn positions_that_cannot_be_change_nothing() {
    let mut harness = machine();
    let good = stream(Inbound, 1, Some(9));
    let cases = [
        (1, stream(Outbound, 7, Some(1)), "plain RTP"),
        (2, stream(Inbound, 7, Some(1)), "plain RTP"),
        (1, stream(Inbound, 7, Some(1 << 48)), "48 bits"),
        (9, stream(Inbound, 7, None), "does not exist"),
    ];
    for (leg, wrong, why) in cases {
        let error = import(&mut harness, leg, &[good, wrong]).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let many: Vec<_> = (0..33).map(|ssrc| stream(Inbound, ssrc, None)).collect();
    assert!(import(&mut harness, 1, &many).unwrap_err().to_string().contains("max_streams"));
    let setup = LegSetup { inbound: Plain, outbound: Srtp, ..harness.setup(4) };
    harness.add(setup);
    let refused = import(&mut harness, 4, &[stream(Outbound, 7, Some(1))]);
    assert_eq!(refused, Err(CommandError::NoSendingKey(4)));
    // None of the good ones was taken: SSRC 1 begins at its beginning.
    let mut alice = Peer::of(1, 1, 0);
    assert_eq!(harness.receive(1, &alice.protect(&rtp(1, 3))).len(), 1);
}

#[test]
fn what_is_no_longer_sent_is_exported_too() {
    let (mut first, mut second) = (machine(), machine());
    let mut alice = Peer::of(1, 7, 0);
    assert_eq!(first.receive(1, &alice.protect(&rtp(7, 9))).len(), 1);
    first.apply(Command::RemoveRoute { route: 1 }).unwrap();
    let sent = export(&mut first, 2);
    assert_eq!(sent, [stream(Outbound, 7, Some(9))], "its key is the same on the other machine");
    import(&mut second, 2, &sent).unwrap();
    assert_eq!(export(&mut second, 2), sent, "and is told on to the next before anything is sent");
    assert!(second.receive(1, &alice.protect(&rtp(7, 8))).is_empty());
    assert_eq!(second.dropped(DropReason::IndexUsed), 1);
    assert_eq!(second.receive(1, &alice.protect(&rtp(7, 10))).len(), 1);
}

#[test]
fn what_is_yet_to_come_is_exported_too() {
    let mut harness = machine();
    let late = StreamPosition { initial_roc: Some(2), ..stream(Inbound, 8, None) };
    let told = [stream(Inbound, 7, Some(9)), late];
    import(&mut harness, 1, &told).unwrap();
    assert_eq!(export(&mut harness, 1), told);
    // It comes with RTCP first: the rollover counter is still to be used.
    let mut alice = Peer::of(1, 8, 0).at_roc(2, &key(10));
    assert_eq!(harness.receive(1, &alice.protect(&rtcp(8, 9))).len(), 1);
    let report = Position { rtp: None, rtcp: Some(0) };
    assert_eq!(export(&mut harness, 1)[1], StreamPosition { position: report, ..late });
    assert_eq!(harness.receive(1, &alice.protect(&rtp(8, 40_000))).len(), 1);
    assert_eq!(export(&mut harness, 1)[1].position.rtp, Some((2 << 16) + 40_000));
    assert_eq!(export(&mut harness, 1)[1].initial_roc, None);
}

#[test]
fn streams_that_came_leave_room_for_others_to_be_told() {
    let mut harness = machine();
    for ssrc in 100..200 {
        let late = StreamPosition { initial_roc: Some(1), ..stream(Inbound, ssrc, None) };
        import(&mut harness, 1, &[late]).unwrap();
        let mut alice = Peer::of(1, ssrc, 0).at_roc(1, &key(10));
        assert_eq!(harness.receive(1, &alice.protect(&rtp(ssrc, 1))).len(), 1, "SSRC {ssrc}");
        harness.pass(40 * SECOND);
    }
    // Four times as many as the leg may have at a time, of which the oldest are forgotten.
    let known = export(&mut harness, 1);
    assert_eq!(known.len(), 32);
    assert!(known.iter().all(|stream| stream.ssrc >= 168), "{known:?}");
}

#[test]
fn an_import_gives_a_key_no_longer_life() {
    let mut harness = Harness::new();
    harness.leg(1, Plain, Plain);
    let setup = LegSetup { inbound: Plain, outbound: Srtp, ..harness.setup(2) };
    harness.add(setup);
    let lifetime = Lifetime { rtp_packets: 6, ..Lifetime::MAX };
    harness.install(2, Outbound, key_of(21, Suite::AesCm128HmacSha1_80, lifetime)).unwrap();
    harness.route(1, 1, 2);
    let mut sent = 0;
    for sequence in 1..=20 {
        sent += harness.receive(1, &rtp(7, sequence)).len();
        match sequence {
            // The running stream, and one that stopped and came back.
            3 => import(&mut harness, 2, &[stream(Outbound, 7, Some(3))]).unwrap(),
            5 => {
                harness.pass(40 * SECOND);
                let parked = export(&mut harness, 2);
                import(&mut harness, 2, &[stream(Outbound, 7, Some(5))]).unwrap();
                assert_eq!(export(&mut harness, 2), parked);
            }
            _ => {}
        }
    }
    assert_eq!(sent, 6);
    // Nor does the next machine send under what nothing is left of.
    assert_eq!(harness.stats().egress_contexts, 1);
    harness.apply(Command::RemoveRoute { route: 1 }).unwrap();
    let spent = Position { rtp: Some((1 << 48) - 1), rtcp: Some((1 << 31) - 1) };
    assert_eq!(export(&mut harness, 2), [StreamPosition { position: spent, ..stream(Outbound, 7, None) }]);
}
