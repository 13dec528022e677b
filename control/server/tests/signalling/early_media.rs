//! Plain RTP before the answer: who hears it, who does not, and what becomes of the legs by which it is heard.

use std::net::{SocketAddr, UdpSocket};
use std::slice::from_ref;

use sluice_proto::v1;
use sluice_proto::v1::MediaSecurity::{BestEffort, Plain, Required};

use crate::desk::{Desk, Left, daemon, reason, towards_callee};
use crate::phone::{CM_80, Crypto, Phone, address, crypto, description, port, proto};
use crate::support::{Daemon, rtp};

const PORTS: u16 = 27_400;

/// Early media of this mode, and what either side's media may be.
fn early(
    mode: v1::EarlyMediaMode,
    caller: v1::MediaSecurity,
    callee: v1::MediaSecurity,
) -> v1::SessionPolicy {
    v1::SessionPolicy {
        early_media: Some(v1::EarlyMedia { mode: mode.into(), ..Default::default() }),
        caller: Some(v1::PeerPolicy { security: caller.into(), ..Default::default() }),
        ..towards_callee(callee)
    }
}

pub fn plain_early(caller: v1::MediaSecurity, callee: v1::MediaSecurity) -> v1::SessionPolicy {
    early(v1::EarlyMediaMode::Plain, caller, callee)
}

/// What a peer answers with to the first line that it was offered.
fn taken(offered: &str, octet: u8) -> Crypto {
    let line = crypto(offered)[0].clone();
    Crypto { key_salt: vec![octet; line.key_salt.len()], ..line }
}

async fn legs(daemon: &Daemon) -> Vec<String> {
    let mut legs: Vec<_> = daemon.legs("s").await.into_iter().map(|leg| leg.id).collect();
    legs.sort();
    legs
}

/// Who hears a packet, and from where it came.
fn heard(phone: &Phone) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 2048];
    let (len, from) = phone.socket.recv_from(&mut buffer).expect("a datagram");
    buffer.truncate(len);
    (buffer, from)
}

#[tokio::test]
async fn a_plain_caller_hears_ring_back_before_the_answer_and_srtp_alone_after_it() {
    let daemon = daemon("ring-back", PORTS).await;
    let before = Left::of(&daemon, PORTS).await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, mut bob) = (Phone::new(), Phone::new());
    let offered =
        desk.offer("s", &alice.sdp("RTP/AVP", &[]), Some(plain_early(BestEffort, Required))).await.unwrap();
    assert_eq!(proto(&offered.sdp, 0), "RTP/SAVP");
    let to = address(&offered.sdp, 0);
    let mut sent = bob.begin_plain(0xb, to).to_vec();
    for sequence in 2..6 {
        sent.push(rtp(sequence, 0xb, 20));
        bob.send_plain(&sent[usize::from(sequence)], to);
    }
    let mut from = None;
    for packet in sent {
        let (heard, source) = heard(&alice);
        assert_eq!((heard, *from.get_or_insert(source)), (packet, source), "in order, and from one place");
    }
    let bobs = taken(&offered.sdp, 9);
    let answer = bob.sdp("RTP/SAVP", from_ref(&bobs));
    let answered = desk.answer("s", "", &answer, false).await.unwrap();
    assert_eq!(from, Some(address(&answered.sdp, 0)), "the leg is the one that was there");
    assert_eq!(legs(&daemon).await, ["main.callee.0", "main.caller.0"]);
    bob.send_plain(&rtp(6, 0xb, 20), to);
    bob.send_plain(&rtp(7, 0xb, 20), to);
    assert!(alice.hears_nothing(), "plain RTP is over");
    for sequence in 8..12 {
        bob.send(&bobs, &rtp(sequence, 0xb, 20), to);
        assert_eq!(alice.receive_plain(), rtp(sequence, 0xb, 20));
    }
    for packet in alice.begin_plain(0xa, address(&answered.sdp, 0)) {
        assert_eq!(bob.receive(&crypto(&offered.sdp)[0]), packet);
    }
    desk.end("s").await;
    before.again(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_caller_who_may_have_srtp_hears_plain_rtp_until_she_has_it_and_its_indices_begin_anew() {
    let daemon = daemon("best-effort-early", PORTS + 200).await;
    let mut desk = Desk::at(&daemon).await;
    let (mut alice, bob) = (Phone::new(), Phone::new());
    let key = Crypto::new(1, CM_80, 1);
    let offer = alice.sdp("RTP/AVP", from_ref(&key));
    let line = offer.lines().find(|line| line.starts_with("a=crypto:")).unwrap();
    let offer = offer.replace(line, &format!("{line} WSH=2048"));
    let offered = desk.offer("s", &offer, Some(plain_early(BestEffort, Plain))).await.unwrap();
    let to = address(&offered.sdp, 0);
    let class = v1::RobustnessClass::NoSignalingPassiveMedia;
    assert_eq!(offered.call.unwrap().robustness(), v1::RobustnessClass::Unspecified);
    let leg = daemon.legs("s").await.into_iter().find(|leg| leg.id == "main.caller.0").unwrap();
    assert_eq!((leg.config.unwrap().keying(), leg.robustness), (v1::Keying::None, class.into()));
    // Its sequence numbers begin again meanwhile.
    for sequence in [65_533, 65_534, 65_535, 0, 1] {
        bob.send_plain(&rtp(sequence, 0xb, 20), to);
    }
    for sequence in [65_533, 65_534, 65_535, 0, 1] {
        assert_eq!(alice.receive_plain(), rtp(sequence, 0xb, 20));
    }
    let answered = desk.answer("s", "", &bob.sdp("RTP/AVP", &[]), false).await.unwrap();
    let [ours] = crypto(&answered.sdp).try_into().unwrap();
    for sequence in 2..6 {
        bob.send_plain(&rtp(sequence, 0xb, 20), to);
        assert_eq!(alice.receive(&ours), rtp(sequence, 0xb, 20), "under the key, from rollover counter 0 on");
        alice.send(&key, &rtp(sequence, 0xa, 20), address(&answered.sdp, 0));
        assert_eq!(bob.receive_plain(), rtp(sequence, 0xa, 20));
    }
    let leg = daemon.legs("s").await.into_iter().find(|leg| leg.id == "main.caller.0").unwrap();
    let config = leg.config.unwrap();
    assert_eq!((config.keying(), config.replay_window), (v1::Keying::Sdes, 2048));
    daemon.stop().await;
}

#[tokio::test]
async fn nobody_hears_plain_rtp_early_who_must_have_srtp_or_does_not_say_where() {
    let daemon = daemon("no-early", PORTS + 400).await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, bob) = (Phone::new(), Phone::new());
    let key = [Crypto::new(1, CM_80, 1)];
    let plain = |caller| plain_early(caller, Plain);
    let hold = early(v1::EarlyMediaMode::Hold, Plain, Plain);
    let ice = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n\
               a=candidate:1 1 UDP 2130706431 127.0.0.1 PORT typ host\r\n";
    let ice = ice.replace("PORT", &alice.port().to_string());
    let handshakes = v1::PeerPolicy {
        security: BestEffort.into(),
        keyings: vec![v1::Keying::DtlsSrtp.into(), v1::Keying::None.into()],
        ..Default::default()
    };
    let to_handshakes = v1::SessionPolicy { callee: Some(handshakes), ..plain(Plain) };
    let held = alice.sdp("RTP/AVP", &[]).replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
    let cases = [
        ("srtp required", alice.sdp("RTP/SAVP", &key), plain(Required)),
        ("srtp required in the form of plain RTP", alice.sdp("RTP/AVP", &key), plain(Required)),
        ("srtp offered", alice.sdp("RTP/SAVP", &key), plain(BestEffort)),
        ("early media is held", alice.sdp("RTP/AVP", &[]), hold),
        ("she sends alone", alice.sdp_with("RTP/AVP", &[], "a=sendonly\r\n"), plain(Plain)),
        ("she is found by checks", alice.sdp_with("RTP/AVP", &[], &ice), plain(Plain)),
        ("she has no address", held, plain(Plain)),
        ("the callee may begin a handshake", alice.sdp("RTP/AVP", &[]), to_handshakes),
    ];
    for (case, offer, policy) in cases {
        let offered = desk.offer("s", &offer, Some(policy)).await.unwrap();
        assert_eq!(legs(&daemon).await, ["main.callee.0"], "{case}");
        bob.begin_plain(0xb, address(&offered.sdp, 0));
        assert!(alice.hears_nothing(), "{case}");
        desk.end("s").await;
    }
    desk.offer("s", &alice.sdp("RTP/AVP", &[]), Some(plain_early(Plain, Plain))).await.unwrap();
    assert_eq!(legs(&daemon).await, ["main.callee.0", "main.caller.0"], "who can hear it does");
    // A policy that comes with a later offer holds for the branches that are made from then on.
    desk.answer("s", "main", &bob.sdp("RTP/AVP", &[]), true).await.unwrap();
    let request = v1::ProcessOfferRequest {
        session: "s".into(),
        from: v1::CallSide::Caller.into(),
        sdp: alice.sdp("RTP/SAVP", &key),
        policy: Some(plain(Required)),
        ..Default::default()
    };
    desk.process_offer(request).await.unwrap();
    desk.branch("s", "b").await.unwrap();
    assert_eq!(legs(&daemon).await, ["b.callee.0", "main.callee.0", "main.caller.0"]);
    daemon.stop().await;
}

#[tokio::test]
async fn each_branch_is_heard_from_a_port_of_its_own_and_the_losers_no_more() {
    let daemon = daemon("early-fork", PORTS + 600).await;
    let before = Left::of(&daemon, PORTS + 600).await;
    let mut desk = Desk::at(&daemon).await;
    let alice = Phone::new();
    let offered = desk.offer("s", &alice.sdp("RTP/AVP", &[]), Some(plain_early(Plain, Plain))).await.unwrap();
    let second = desk.branch("s", "b").await.unwrap();
    let third = desk.branch("s", "c").await.unwrap();
    let offers = [("main", offered.sdp), ("b", second.sdp), ("c", third.sdp)];
    let mut phones = Vec::new();
    for (branch, sdp) in &offers {
        let phone = Phone::new();
        let mut from = Vec::new();
        // All have the same SSRC.
        for packet in phone.begin_plain(0xb, address(sdp, 0)) {
            let (heard, source) = heard(&alice);
            assert_eq!(heard, packet, "{branch}");
            from.push(source);
        }
        phones.push((phone, from[0]));
    }
    let ports: std::collections::HashSet<_> = phones.iter().map(|(_, from)| *from).collect();
    assert_eq!(ports.len(), 3);
    let (bob, from) = &phones[1];
    let answered = desk.answer("s", "b", &bob.sdp("RTP/AVP", &[]), false).await.unwrap();
    assert_eq!(address(&answered.sdp, 0), *from);
    desk.select("s", "b").await.unwrap();
    assert_eq!(legs(&daemon).await, ["b.callee.0", "b.caller.0"]);
    for (at, (phone, _)) in phones.iter().enumerate() {
        phone.send_plain(&rtp(2, 0xb, 20), address(&offers[at].1, 0));
    }
    assert_eq!(heard(&alice), (rtp(2, 0xb, 20), *from));
    assert!(alice.hears_nothing(), "the others are gone");
    desk.end("s").await;
    before.again(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_branch_that_goes_without_an_answer_gives_its_legs_back_on_both_sides() {
    let daemon = daemon("early-gone", PORTS + 800).await;
    let before = Left::of(&daemon, PORTS + 800).await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, bob) = (Phone::new(), Phone::new());
    let policy = v1::SessionPolicy { branch_timeout_seconds: Some(1), ..plain_early(Plain, Plain) };
    let offer = alice.sdp("RTP/AVP", &[]);
    let offered = desk.offer("s", &offer, Some(policy)).await.unwrap();
    for packet in bob.begin_plain(0xb, address(&offered.sdp, 0)) {
        assert_eq!(alice.receive_plain(), packet);
    }
    let forwarded = desk.retarget("s", "forwarded").await.unwrap();
    assert_eq!(legs(&daemon).await, ["forwarded.callee.0", "forwarded.caller.0"]);
    bob.send_plain(&rtp(2, 0xb, 20), address(&offered.sdp, 0));
    assert!(alice.hears_nothing(), "he is not asked any more");
    let carol = Phone::new();
    for packet in carol.begin_plain(0xc, address(&forwarded.sdp, 0)) {
        assert_eq!(alice.receive_plain(), packet);
    }
    desk.reject("s", "forwarded").await.unwrap();
    assert!(legs(&daemon).await.is_empty());
    desk.branch("s", "late").await.unwrap();
    assert_eq!(legs(&daemon).await, ["late.callee.0", "late.caller.0"]);
    // Nobody answers that one, and with it the call is over.
    before.again(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_refused_leaves_what_is_heard_early_as_it_was() {
    let daemon = daemon("early-refused", PORTS + 1000).await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, bob) = (Phone::new(), Phone::new());
    let offered =
        desk.offer("s", &alice.sdp("RTP/AVP", &[]), Some(plain_early(Plain, Required))).await.unwrap();
    let to = address(&offered.sdp, 0);
    for packet in bob.begin_plain(0xb, to) {
        assert_eq!(alice.receive_plain(), packet);
    }
    let before = Left::of(&daemon, PORTS + 1000).await;
    let refused = desk.answer("s", "", &bob.sdp("RTP/SAVP", &[]), false).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_FIELD", "{refused:?}");
    before.again(&daemon).await;
    bob.send_plain(&rtp(2, 0xb, 20), to);
    assert_eq!(alice.receive_plain(), rtp(2, 0xb, 20));
    // An answer that the engine refuses is undone: no two legs may send under one key.
    let bobs = taken(&offered.sdp, 9);
    daemon.session("other").await;
    let srtp = v1::LegConfig {
        inbound: v1::Protection::Srtp.into(),
        outbound: v1::Protection::Srtp.into(),
        ..Default::default()
    };
    let request = v1::CreateLegRequest { session: "other".into(), leg: "thief".into(), config: Some(srtp) };
    daemon.client().await.create_leg(request).await.unwrap();
    let ours = crypto(&offered.sdp)[0].clone();
    let way = v1::Direction::Outbound;
    daemon.key("other", "thief", "k", way, ours.suite.name(), &ours.key_salt).await.unwrap();
    let answer = bob.sdp("RTP/SAVP", from_ref(&bobs));
    let refused = desk.answer("s", "", &answer, false).await.unwrap_err();
    assert_eq!(reason(&refused), "KEY_IN_USE", "{refused:?}");
    for sequence in 3..5 {
        bob.send_plain(&rtp(sequence, 0xb, 20), to);
        assert_eq!(alice.receive_plain(), rtp(sequence, 0xb, 20), "{sequence}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn rtcp_lines_that_are_refused_and_directions_are_as_the_answer_has_them() {
    let daemon = daemon("early-lines", PORTS + 1200).await;
    let before = Left::of(&daemon, PORTS + 1200).await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, second, bob, theirs) = (Phone::new(), Phone::new(), Phone::new(), Phone::new());
    let reports = UdpSocket::bind("127.0.0.1:0").unwrap();
    reports.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let at = format!("a=rtcp:{}\r\n", reports.local_addr().unwrap().port());
    let offer = description(&(alice.media("RTP/AVP", &[], &at) + &second.media("RTP/AVP", &[], "")));
    let offered = desk.offer("s", &offer, Some(plain_early(Plain, Plain))).await.unwrap();
    assert_eq!(legs(&daemon).await.len(), 4);
    let to = address(&offered.sdp, 0);
    for (from, listener, line) in [(&bob, &alice, 0), (&theirs, &second, 1)] {
        for packet in from.begin_plain(0xb, address(&offered.sdp, line)) {
            assert_eq!(listener.receive_plain(), packet);
        }
    }
    let report = [&[0x80, 201, 0, 1][..], &0xb_u32.to_be_bytes()].concat();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(&report, SocketAddr::new(to.ip(), to.port() + 1)).unwrap();
    let mut buffer = [0; 64];
    let len = reports.recv(&mut buffer).expect("a report where a=rtcp says");
    assert_eq!(buffer[..len], report);
    let answer = bob.media("RTP/AVP", &[], "a=recvonly\r\n") + "m=audio 0 RTP/AVP 0\r\n";
    let answered = desk.answer("s", "", &description(&answer), false).await.unwrap();
    assert_eq!((port(&answered.sdp, 1), legs(&daemon).await.len()), (0, 2));
    bob.send_plain(&rtp(2, 0xb, 20), to);
    assert!(alice.hears_nothing(), "he receives alone now");
    for packet in alice.begin_plain(0xa, address(&answered.sdp, 0)) {
        assert_eq!(bob.receive_plain(), packet);
    }
    // A medium that a re-offer adds is heard from the answer on.
    let more =
        alice.media("RTP/AVP", &[], &at) + "m=audio 0 RTP/AVP 0\r\n" + &second.media("RTP/AVP", &[], "");
    desk.reoffer("s", v1::CallSide::Caller, &description(&more)).await.unwrap();
    assert_eq!(legs(&daemon).await, ["main.callee.0", "main.callee.2", "main.caller.0"]);
    desk.end("s").await;
    before.again(&daemon).await;
    daemon.stop().await;
}
