//! What comes after the first exchange: lines keep their places, and keys stay where nothing asks for new ones.

use sluice_keying::negotiation::{Agreed, Direction, NegotiationError, Protected};
use sluice_keying::policy::{BestEffortForm, Handling, Security, Side};

use super::support::{CM80, Call, GCM128, Peer, attributes, audio, crypto, lines, sdp};

fn secure_audio(fill: u8) -> String {
    audio("RTP/SAVP", &[&format!("crypto:{}", crypto(1, CM80, fill))])
}

fn first(agreed: &[Option<Agreed>]) -> Agreed {
    agreed[0].clone().expect("the first transport is used")
}

fn call() -> Call {
    Call::new(Security::Required, Security::Required)
}

#[test]
fn the_same_again_changes_nothing() {
    let mut call = call();
    let one = call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    let two = call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    assert_eq!(one.local.sdp(), two.local.sdp(), "o= and its version too");
    assert_eq!(one.made.sdp(), two.made.sdp());
    assert_eq!(one.made.agreed(), two.made.agreed());
    assert_eq!(one.answer.agreed(), two.answer.agreed());
}

#[test]
fn a_new_key_of_one_peer_is_answered_by_a_new_one_and_the_other_peer_hears_nothing() {
    let mut call = call();
    let one = call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    let two = call.exchange(Side::Caller, &secure_audio(b'z'), Peer::Sdes).expect("an exchange");
    assert_eq!(one.local.sdp(), two.local.sdp());
    let (one, two) = (first(&one.made.agreed()), first(&two.made.agreed()));
    assert_ne!(one.inbound, two.inbound);
    assert_ne!(one.outbound, two.outbound);
}

#[test]
fn a_new_address_of_a_peer_changes_that_alone() {
    let mut call = call();
    let one = call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    let moved = secure_audio(b'a').replace("192.0.2.10", "192.0.2.11").replace("4000", "4444");
    let two = call.exchange(Side::Caller, &moved, Peer::Sdes).expect("an exchange");
    assert_eq!(one.local.sdp(), two.local.sdp());
    assert_eq!(one.made.sdp(), two.made.sdp());
    let want = Agreed { remote: Some("192.0.2.11:4444".parse().unwrap()), ..first(&one.made.agreed()) };
    assert_eq!(first(&two.made.agreed()), want);
}

#[test]
fn a_new_address_of_the_gateway_brings_new_keys() {
    let mut call = call();
    let one = call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    call.own[0].remove(0);
    call.own[1].remove(0);
    let two = call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    for (one, two) in [(one.made.agreed(), two.made.agreed()), (one.answer.agreed(), two.answer.agreed())] {
        assert_ne!(first(&one).outbound, first(&two).outbound, "RFC 4568 section 7.1.4");
    }
    let keys = |sdp: &str| lines(sdp, "a=crypto").iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let before = keys(one.local.sdp());
    assert!(keys(two.local.sdp()).iter().all(|line| !before.contains(line)));
}

#[test]
fn new_keys_are_offered_when_they_are_asked_for() {
    let mut call = call();
    let one = call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    call.standing[1] = call.standing[1].rekeyed();
    let (_, local) = call.offer(Side::Caller, &secure_audio(b'a')).expect("an offer");
    let before = lines(one.local.sdp(), "a=crypto");
    let after = lines(local.sdp(), "a=crypto");
    assert_eq!(before.len(), after.len());
    assert!(after.iter().all(|line| !before.contains(line)));
    let version = |sdp: &str| -> u64 { lines(sdp, "o=")[0].split(' ').nth(2).unwrap().parse().unwrap() };
    assert_eq!(version(local.sdp()), version(one.local.sdp()) + 1, "RFC 3264 section 8");
}

#[test]
fn the_callee_offers_again_and_keys_stay() {
    let mut call = call();
    let one = call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    // The callee says the key it answered with, under a tag of its own.
    let suite = first(&one.answer.agreed());
    let Protected::Srtp(keys) = suite.inbound else { panic!("not SRTP") };
    let own = crypto(7, keys[0].suite.name(), b'b');
    let text = sdp("192.0.2.20", &[("audio 6000 RTP/SAVP 0 8 101", attributes(&[&format!("crypto:{own}")]))]);
    let two = call.exchange(Side::Callee, &text, Peer::Sdes).expect("an exchange");
    assert_eq!(first(&two.made.agreed()).outbound, first(&one.answer.agreed()).outbound);
    assert_eq!(lines(two.made.sdp(), "a=crypto:7 ").len(), 1);
    // The caller is offered what it was answered before, first.
    let offered = lines(two.local.sdp(), "a=crypto");
    assert_eq!(offered[0], lines(one.made.sdp(), "a=crypto")[0]);
    assert_eq!(first(&two.answer.agreed()).outbound, first(&one.made.agreed()).outbound);
}

#[test]
fn hold_and_resume_go_through_and_come_back() {
    let mut call = call();
    call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    let held = secure_audio(b'a') + "a=sendonly\r\n";
    let (offer, local) = call.offer(Side::Caller, &held).expect("an offer");
    assert_eq!(lines(local.sdp(), "a=send"), ["a=sendonly"]);
    let answer = Peer::Sdes.answer(local.sdp()) + "a=recvonly\r\n";
    let (answer, made) = call.answer(&offer, &local, &answer).expect("an answer");
    assert_eq!(first(&answer.agreed()).direction, Direction::RecvOnly);
    assert_eq!(first(&made.agreed()).direction, Direction::SendOnly);
    assert_eq!(lines(made.sdp(), "a=recv"), ["a=recvonly"]);
    let resumed = call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    assert_eq!(first(&resumed.made.agreed()).direction, Direction::SendRecv);
}

#[test]
fn a_hold_in_the_old_way_becomes_one_in_the_new() {
    let mut call = call();
    let before = call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    let held = secure_audio(b'a').replace("c=IN IP4 192.0.2.10", "c=IN IP4 0.0.0.0");
    let after = call.exchange(Side::Caller, &held, Peer::Sdes).expect("an exchange");
    assert_eq!(lines(after.local.sdp(), "a=sendonly").len(), 1);
    assert_eq!(lines(after.local.sdp(), "c="), ["c=IN IP4 203.0.113.1"]);
    // Who answers that both ways may receive only.
    assert_eq!(first(&after.answer.agreed()).direction, Direction::RecvOnly);
    assert_eq!(lines(after.made.sdp(), "a=recvonly").len(), 1);
    let agreed = first(&after.made.agreed());
    assert_eq!((agreed.remote, agreed.direction), (None, Direction::SendOnly));
    assert_eq!(agreed.outbound, first(&before.made.agreed()).outbound);
}

/// Audio, and video that is used or not.
fn with_video(audio_port: u16, video_port: u16, fill: u8) -> String {
    let key = |fill| vec![format!("crypto:{}", crypto(1, CM80, fill))];
    sdp(
        "192.0.2.10",
        &[
            (&format!("audio {audio_port} RTP/SAVP 0"), key(fill)),
            (&format!("video {video_port} RTP/SAVP 96"), key(fill + 1)),
        ],
    )
}

#[test]
fn media_come_and_go_and_their_transports_keep_their_numbers() {
    let mut call = call();
    let one =
        sdp("192.0.2.10", &[("audio 4000 RTP/SAVP 0", vec![format!("crypto:{}", crypto(1, CM80, b'a'))])]);
    call.exchange(Side::Caller, &one, Peer::Sdes).expect("audio");
    let two = call.exchange(Side::Caller, &with_video(4000, 4002, b'a'), Peer::Sdes).expect("video too");
    assert_eq!(two.offer.transports(), 2);
    assert_eq!(lines(two.local.sdp(), "m="), ["m=audio 20000 RTP/SAVP 0", "m=video 20002 RTP/SAVP 96"]);
    let three = call.exchange(Side::Caller, &with_video(0, 4002, b'a'), Peer::Sdes).expect("video alone");
    assert!(!three.offer.uses(0) && three.offer.uses(1));
    assert_eq!(lines(three.local.sdp(), "m="), ["m=audio 0 RTP/SAVP 0", "m=video 20002 RTP/SAVP 96"]);
    assert_eq!(lines(three.made.sdp(), "m="), ["m=audio 0 RTP/SAVP 0", "m=video 10002 RTP/SAVP 96"]);
    let agreed = [three.made.agreed(), three.answer.agreed()];
    assert!(agreed.iter().all(|agreed| agreed[0].is_none()));
    assert_eq!(agreed[0][1], two.made.agreed()[1], "the video is as it was");
    let four = call.exchange(Side::Caller, &with_video(4000, 4002, b'a'), Peer::Sdes).expect("audio again");
    assert_eq!(four.offer.transports(), 2);
    assert_ne!(
        first(&four.made.agreed()).outbound,
        first(&two.made.agreed()).outbound,
        "a new stream, a new key"
    );
    assert_ne!(first(&four.answer.agreed()).outbound, first(&two.answer.agreed()).outbound);
}

#[test]
fn the_callee_adds_a_medium_behind_those_that_are_there() {
    let mut call = call();
    call.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("an exchange");
    let text = sdp(
        "192.0.2.20",
        &[
            ("audio 6000 RTP/SAVP 0 8 101", vec![format!("crypto:{}", crypto(1, CM80, b'b'))]),
            ("video 6002 RTP/SAVP 96", vec![format!("crypto:{}", crypto(1, CM80, b'v'))]),
        ],
    );
    let two = call.exchange(Side::Callee, &text, Peer::Sdes).expect("video too");
    assert_eq!(lines(two.local.sdp(), "m="), ["m=audio 10000 RTP/SAVP 0 8 101", "m=video 10002 RTP/SAVP 96"]);
    // And the caller carries both on.
    let three = call.exchange(Side::Caller, &with_video(4000, 4002, b'a'), Peer::Sdes).expect("both");
    assert_eq!((three.offer.transports(), three.made.agreed().len()), (2, 2));
    assert_eq!(lines(three.local.sdp(), "m="), ["m=audio 20000 RTP/SAVP 0", "m=video 20002 RTP/SAVP 96"]);
}

#[test]
fn a_line_never_goes_away() {
    let mut call = call();
    call.exchange(Side::Caller, &with_video(4000, 4002, b'a'), Peer::Sdes).expect("an exchange");
    let error = call.offer(Side::Caller, &secure_audio(b'a')).expect_err("one line is missing");
    assert_eq!(error, NegotiationError::LinesRemoved { want: 2, got: 1 });
}

#[test]
fn an_answer_given_twice_has_the_same_keys() {
    let mut call = call();
    let (mut offer, local) = call.offer(Side::Caller, &secure_audio(b'a')).expect("an offer");
    let text = Peer::Sdes.answer(local.sdp());
    let (_, early) = call.answer(&offer, &local, &text).expect("a provisional answer");
    offer.answered(&early);
    let (_, last) = call.answer(&offer, &local, &text).expect("the final answer");
    assert_eq!((early.sdp(), early.agreed()), (last.sdp(), last.agreed()));
    // And if the final one is another peer's, towards the caller all the same.
    let other = text.replace("192.0.2.20", "192.0.2.21");
    let (answer, last) = call.answer(&offer, &local, &other).expect("another final answer");
    assert_eq!(first(&answer.agreed()).remote, Some("192.0.2.21:6000".parse().unwrap()));
    assert_eq!(early.agreed(), last.agreed());
}

#[test]
fn branches_of_an_offer_have_nothing_in_common() {
    let mut call = call();
    let (offer, one) = call.offer(Side::Caller, &secure_audio(b'a')).expect("a branch");
    let (_, two) = call.offer(Side::Caller, &secure_audio(b'a')).expect("another branch");
    let keys = |sdp: &str| lines(sdp, "a=crypto").iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let (first_keys, second_keys) = (keys(one.sdp()), keys(two.sdp()));
    assert!(first_keys.iter().all(|line| !second_keys.contains(line)));
    let made = [&one, &two].map(|local| {
        call.standing = Default::default();
        call.answer(&offer, local, &Peer::Sdes.answer(local.sdp())).expect("an answer").1
    });
    assert_ne!(first(&made[0].agreed()).outbound, first(&made[1].agreed()).outbound);
}

#[test]
fn a_downgrade_is_refused_where_srtp_is_required_and_taken_where_it_may() {
    let plain = audio("RTP/AVP", &[]);
    let mut strict = call();
    strict.exchange(Side::Caller, &secure_audio(b'a'), Peer::Sdes).expect("SRTP");
    let error = strict.offer(Side::Caller, &plain).expect_err("a downgrade");
    assert!(error.to_string().contains("policy.caller.security"), "{error}");
    let mut lenient = Call::new(Security::BestEffort, Security::BestEffort);
    lenient.exchange(Side::Caller, &secure_audio(b'a'), Peer::Osrtp).expect("SRTP");
    let exchange = lenient.exchange(Side::Caller, &plain, Peer::Osrtp).expect("RTP");
    assert_eq!(exchange.secure(), (Some(false), Some(true)), "the other side keeps SRTP");
}

#[test]
fn two_lines_for_a_medium_keep_their_places() {
    let mut call = Call::new(Security::Plain, Security::BestEffort);
    call.policy.callee.best_effort = BestEffortForm::DualLines;
    let plain = audio("RTP/AVP", &[]);
    let one = call.exchange(Side::Caller, &plain, Peer::Plain).expect("RTP");
    let both = ["m=audio 20000 RTP/SAVP 0 8 101", "m=audio 20000 RTP/AVP 0 8 101"];
    assert_eq!(lines(one.local.sdp(), "m="), both);
    assert_eq!(one.secure(), (Some(false), Some(false)));
    // SRTP is tried again, in its place, and taken this time; the other line has gone from then on.
    let two = call.exchange(Side::Caller, &plain, Peer::Sdes).expect("SRTP");
    assert_eq!(lines(two.local.sdp(), "m="), both);
    assert_eq!(two.secure(), (Some(false), Some(true)));
    let three = call.exchange(Side::Caller, &plain, Peer::Sdes).expect("SRTP");
    assert_eq!(lines(three.local.sdp(), "m="), [both[0], "m=audio 0 RTP/AVP 0"]);
    assert_eq!(three.answer.agreed(), two.answer.agreed());
    // The callee offers both of its lines again.
    let text = sdp(
        "192.0.2.20",
        &[
            ("audio 6000 RTP/SAVP 0 8 101", vec![format!("crypto:{}", crypto(1, GCM128, b'b'))]),
            ("audio 0 RTP/AVP 0", vec![]),
        ],
    );
    let four = call.exchange(Side::Callee, &text, Peer::Plain).expect("a re-offer");
    assert_eq!(lines(four.local.sdp(), "m="), ["m=audio 10000 RTP/AVP 0 8 101"], "the caller has one line");
    assert_eq!(lines(four.made.sdp(), "m="), ["m=audio 20000 RTP/SAVP 0 8 101", "m=audio 0 RTP/AVP 0"]);
    assert_eq!(four.offer.transports(), 1);
}

#[test]
fn a_peer_that_takes_both_lines_for_a_medium_gets_one() {
    let mut call = Call::with_form(Security::BestEffort, BestEffortForm::DualLines);
    let (offer, local) = call.offer(Side::Caller, &audio("RTP/AVP", &[])).expect("an offer");
    let suite = lines(local.sdp(), "a=crypto:1 ")[0].split(' ').nth(1).expect("a suite").to_owned();
    let text = sdp(
        "192.0.2.20",
        &[
            ("audio 6000 RTP/SAVP 0 8 101", vec![format!("crypto:{}", crypto(1, &suite, b'b'))]),
            ("audio 6002 RTP/AVP 0 8 101", vec![]),
        ],
    );
    let (answer, _) = call.answer(&offer, &local, &text).expect("an answer");
    assert_eq!(first(&answer.agreed()).remote, Some("192.0.2.20:6000".parse().unwrap()));
    let (_, next) = call.offer(Side::Caller, &audio("RTP/AVP", &[])).expect("an offer");
    assert_eq!(lines(next.sdp(), "m=")[1], "m=audio 0 RTP/AVP 0");
}

#[test]
fn capabilities_are_the_actual_configuration_once_they_are_agreed_on() {
    let mut call = Call::with_form(Security::BestEffort, BestEffortForm::Capabilities);
    let plain = audio("RTP/AVP", &[]);
    let one = call.exchange(Side::Caller, &plain, Peer::Capabilities).expect("SRTP");
    assert_eq!(one.secure().1, Some(true));
    let two = call.exchange(Side::Caller, &plain, Peer::Capabilities).expect("SRTP");
    assert_eq!(lines(two.local.sdp(), "m="), ["m=audio 20000 RTP/SAVP 0 8 101"], "RFC 5939 section 3.6.3");
    assert_eq!(one.answer.agreed(), two.answer.agreed());
}

/// Audio and video in one group.
fn bundled(second: &str) -> String {
    let key = format!("crypto:{}", crypto(1, CM80, b'a'));
    let text = sdp(
        "192.0.2.10",
        &[
            ("audio 4000 RTP/SAVPF 111", attributes(&["mid:0", "rtcp-mux", "ssrc:11 cname:x", &key])),
            (second, attributes(&["mid:1", "rtcp-mux", "bundle-only", "ssrc:22 cname:x"])),
        ],
    );
    text.replace("t=0 0\r\n", "t=0 0\r\na=group:BUNDLE 0 1\r\n")
}

#[test]
fn a_bundle_that_passes_has_one_transport() {
    let mut call = call();
    for peer in [&mut call.policy.caller, &mut call.policy.callee] {
        (peer.bundle, peer.rtcp_mux) = (Handling::Pass, Handling::Pass);
    }
    let (offer, local) = call.offer(Side::Caller, &bundled("video 0 RTP/SAVPF 96")).expect("an offer");
    assert_eq!(offer.transports(), 1);
    assert_eq!(lines(local.sdp(), "m="), ["m=audio 20000 RTP/SAVPF 111", "m=video 0 RTP/SAVPF 96"]);
    assert_eq!(lines(local.sdp(), "a=group"), ["a=group:BUNDLE 0 1"]);
    assert_eq!(lines(local.sdp(), "a=bundle-only").len(), 1);
    let suite = lines(local.sdp(), "a=crypto:1 ")[0].split(' ').nth(1).expect("a suite").to_owned();
    let key = format!("crypto:{}", crypto(1, &suite, b'b'));
    let text = sdp(
        "192.0.2.20",
        &[
            ("audio 6000 RTP/SAVPF 111", attributes(&["mid:0", "rtcp-mux", "ssrc:33 cname:y", &key])),
            ("video 6000 RTP/SAVPF 96", attributes(&["mid:1", "rtcp-mux", "ssrc:44 cname:y"])),
        ],
    )
    .replace("t=0 0\r\n", "t=0 0\r\na=group:BUNDLE 0 1\r\n");
    let (answer, made) = call.answer(&offer, &local, &text).expect("an answer");
    let agreed = first(&answer.agreed());
    assert_eq!((agreed.payload_types, agreed.ssrcs, agreed.rtcp_mux), (vec![111, 96], vec![33, 44], true));
    assert_eq!(lines(made.sdp(), "m="), ["m=audio 10000 RTP/SAVPF 111", "m=video 10000 RTP/SAVPF 96"]);
    assert_eq!(lines(made.sdp(), "a=group"), ["a=group:BUNDLE 0 1"]);
    assert_eq!(lines(made.sdp(), "a=crypto").len(), 1, "keys are the transport's");
    assert_eq!(first(&made.agreed()).ssrcs, [11, 22]);
    let (_, again) = call.offer(Side::Caller, &bundled("video 4000 RTP/SAVPF 96")).expect("an offer");
    assert_eq!(lines(again.sdp(), "m="), ["m=audio 20000 RTP/SAVPF 111", "m=video 20000 RTP/SAVPF 96"]);
    assert_eq!(lines(again.sdp(), "a=bundle-only").len(), 0);
}

#[test]
fn a_bundle_that_ends_here_is_told_to_neither_peer() {
    let mut call = call();
    let exchange =
        call.exchange(Side::Caller, &bundled("video 0 RTP/SAVPF 96"), Peer::Sdes).expect("an exchange");
    for text in [exchange.local.sdp(), exchange.made.sdp()] {
        assert!(!text.contains("BUNDLE") && !text.contains("bundle-only"), "{text}");
    }
    assert_eq!(lines(exchange.made.sdp(), "m=")[1], "m=video 0 RTP/SAVPF 96");
    assert!(!exchange.local.sdp().contains("rtcp-mux"), "rtcp-mux ends here too");
    assert!(exchange.made.sdp().contains("a=rtcp-mux\r\n"), "and who offers it gets it");
}

#[test]
fn a_line_that_leaves_its_group_gets_a_transport_of_its_own() {
    let mut call = call();
    for peer in [&mut call.policy.caller, &mut call.policy.callee] {
        (peer.bundle, peer.rtcp_mux) = (Handling::Pass, Handling::Pass);
    }
    call.exchange(Side::Caller, &bundled("video 0 RTP/SAVPF 96"), Peer::Sdes).expect("an exchange");
    let apart = bundled("video 4002 RTP/SAVPF 96")
        .replace("a=group:BUNDLE 0 1\r\n", "")
        .replace("a=bundle-only\r\n", "");
    let apart = apart + &format!("a=crypto:{}\r\n", crypto(1, CM80, b'v'));
    let two = call.exchange(Side::Caller, &apart, Peer::Sdes).expect("an exchange");
    assert_eq!(two.offer.transports(), 2);
    assert!(two.answer.agreed().iter().all(Option::is_some));
}
