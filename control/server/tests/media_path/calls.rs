//! Whole calls by offers and answers, with scripted peers.

use std::net::{SocketAddr, UdpSocket};

use sluice_keying::dtls_srtp::{Role, Settings};
use sluice_keying::ice::Candidate;
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use sluice_proto::v1::signalling_client::SignallingClient;
use tokio::task::block_in_place;
use tonic::transport::Channel;

use crate::bed::{Bed, begin};
use crate::peer::{Peer, SUITES};
use crate::phone::{CM_80, Crypto, Phone, address, crypto};
use crate::support::{receive, rtp, udp};

/// Who hands in offers and answers.
struct Desk(SignallingClient<Channel>);

impl Desk {
    async fn at(bed: &Bed) -> Self {
        Self(SignallingClient::new(bed.daemon.channel().await))
    }

    async fn offer(&mut self, sdp: &str) -> String {
        self.offer_from("c", v1::CallSide::Unspecified, sdp).await
    }

    async fn offer_from(&mut self, session: &str, from: v1::CallSide, sdp: &str) -> String {
        let request = v1::ProcessOfferRequest {
            session: session.into(),
            from: from.into(),
            sdp: sdp.into(),
            ..Default::default()
        };
        self.0.process_offer(request).await.unwrap().into_inner().sdp
    }

    async fn answer(&mut self, sdp: &str) -> String {
        let request = v1::ProcessAnswerRequest { session: "c".into(), sdp: sdp.into(), ..Default::default() };
        self.0.process_answer(request).await.unwrap().into_inner().sdp
    }
}

/// What a peer says, with checks or without.
fn said(peer: &mut Peer, setup: &str, with_checks: bool, tls_id: &str) -> String {
    let ice = if with_checks {
        let own = peer.own_ice();
        let lines = own.candidates.iter().map(|candidate| format!("a={candidate}\r\n"));
        format!(
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n{}a=end-of-candidates\r\n",
            own.credentials.ufrag,
            *own.credentials.password,
            lines.collect::<String>()
        )
    } else {
        String::new()
    };
    let (port, fingerprint) = (peer.address().port(), peer.fingerprint());
    crate::phone::description(&format!(
        "m=audio {port} UDP/TLS/RTP/SAVP 0 8\r\na=rtcp-mux\r\na=setup:{setup}\r\na=tls-id:{tls_id}\r\n\
         a=fingerprint:{fingerprint}\r\n{ice}"
    ))
}

fn value<'a>(sdp: &'a str, name: &str) -> &'a str {
    let line = sdp.lines().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("a={name} in {sdp}")).trim()
}

/// Has a peer do what an SDP of the gateway's says.
fn go(peer: &mut Peer, sdp: &str, role: Role) {
    let gateway = address(sdp, 0);
    peer.gateway = Some(gateway);
    if sdp.contains("a=ice-ufrag") {
        peer.check(gateway, value(sdp, "ice-ufrag"), value(sdp, "ice-pwd"));
        peer.until("a way", Peer::is_connected);
    }
    peer.handshake(role, &[value(sdp, "fingerprint").to_owned()], &SUITES);
    peer.until_keyed();
}

fn to_and_fro(alice: &mut Peer, bob: &UdpSocket, to_bob_leg: SocketAddr) {
    for sequence in 0..5 {
        alice.send(&rtp(sequence, 0xa, 100));
        assert_eq!(receive(bob), rtp(sequence, 0xa, 100));
    }
    begin(bob, to_bob_leg);
    for sequence in 2..5 {
        bob.send_to(&rtp(sequence, 0xb, 100), to_bob_leg).unwrap();
    }
    for sequence in 0..5 {
        assert_eq!(alice.receive(), rtp(sequence, 0xb, 100));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_with_checks_and_a_handshake_speaks_to_one_in_the_clear() {
    let bed = Bed::configured("call-plain", "[policy.callee]\nsecurity = \"plain\"\n").await;
    let mut desk = Desk::at(&bed).await;
    let (mut alice, bob) = (Peer::new(), udp());
    let offer = said(&mut alice, "actpass", true, "alices-association-01");
    let offered = desk.offer(&offer).await;
    assert!(!offered.contains("a=fingerprint") && !offered.contains("a=ice"), "{offered}");
    let answer = format!("m=audio {} RTP/AVP 0 8\r\na=rtcp-mux\r\n", bob.local_addr().unwrap().port());
    let answered = desk.answer(&crate::phone::description(&answer)).await;
    assert_eq!(value(&answered, "setup"), "active", "so that the handshake begins at once");
    assert!(answered.contains("a=ice-lite"), "{answered}");
    block_in_place(|| {
        go(&mut alice, &answered, Role::Server);
        to_and_fro(&mut alice, &bob, address(&offered, 0));
    });
    let call = desk.0.get_call(v1::GetCallRequest { session: "c".into() }).await.unwrap().into_inner().call;
    let leg = call.unwrap().branches[0].media[0].caller.clone().unwrap();
    assert_eq!(leg.keying(), v1::Keying::DtlsSrtp);
    assert_eq!(leg.robustness(), v1::RobustnessClass::ActiveSignalingActiveMedia);
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_may_have_a_handshake_hears_plain_rtp_before_the_answer_and_none_from_then_on() {
    let policy = "[policy.early_media]\nmode = \"plain\"\n[policy.caller]\nsecurity = \"best-effort\"\n\
                  [policy.callee]\nsecurity = \"plain\"\n";
    let bed = Bed::configured("call-early", policy).await;
    let mut desk = Desk::at(&bed).await;
    let (mut alice, bob) = (Peer::new(), udp());
    // OSRTP (RFC 8643), without checks.
    let offer = said(&mut alice, "actpass", false, "alices-association-01");
    let offered = desk.offer(&offer.replace("UDP/TLS/RTP/SAVP", "RTP/AVP")).await;
    let to = address(&offered, 0);
    let mut from = None;
    for sequence in 0..2 {
        bob.send_to(&rtp(sequence, 0xe, 100), to).unwrap();
    }
    alice.socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    for sequence in 0..2 {
        let mut buffer = [0; 2048];
        let (len, source) = alice.socket.recv_from(&mut buffer).expect("plain RTP");
        assert_eq!(buffer[..len], rtp(sequence, 0xe, 100));
        from = Some(source);
    }
    let answer = format!("m=audio {} RTP/AVP 0 8\r\na=rtcp-mux\r\n", bob.local_addr().unwrap().port());
    let answered = desk.answer(&crate::phone::description(&answer)).await;
    assert_eq!(from, Some(address(&answered, 0)), "the leg is the one that was there");
    bob.send_to(&rtp(2, 0xe, 100), to).unwrap();
    block_in_place(|| {
        assert!(alice.hears_nothing(), "there is no key yet, and plain RTP is over");
        go(&mut alice, &answered, Role::Server);
        to_and_fro(&mut alice, &bob, to);
    });
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_with_sdes_speaks_to_one_whose_handshake_comes_before_its_answer() {
    let bed = Bed::configured("call-sdes", "[policy.callee]\nkeyings = [\"dtls-srtp\"]\n").await;
    let mut desk = Desk::at(&bed).await;
    let (mut alice, mut bob) = (Phone::new(), Peer::new());
    let key = Crypto::new(1, CM_80, 7);
    let offered = desk.offer(&alice.sdp("RTP/SAVP", std::slice::from_ref(&key))).await;
    assert_eq!(value(&offered, "setup"), "actpass");
    let answer = said(&mut bob, "active", false, "bobs-association-0001");
    block_in_place(|| {
        go(&mut bob, &offered, Role::Client);
        bob.send(&rtp(0, 0xb, 100));
    });
    let answered = desk.answer(&answer).await;
    let ours = crypto(&answered)[0].clone();
    block_in_place(|| {
        assert_eq!(alice.receive(&ours), rtp(0, 0xb, 100), "what came before the answer was held");
        for sequence in 0..5 {
            alice.send(&key, &rtp(sequence, 0xa, 100), address(&answered, 0));
            assert_eq!(bob.receive(), rtp(sequence, 0xa, 100));
            bob.send(&rtp(sequence + 1, 0xb, 100));
            assert_eq!(alice.receive(&ours), rtp(sequence + 1, 0xb, 100));
        }
    });
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_with_handshakes_of_their_own_speak_and_a_re_offer_on_hold_leaves_their_keys() {
    let bed = Bed::configured("call-dtls", TWO_HANDSHAKES).await;
    let mut desk = Desk::at(&bed).await;
    let Two { mut alice, mut bob, offer, answer } = two_speak(&mut desk).await;
    let before = bed.daemon.legs("c").await;
    let hold = offer.replace("a=rtcp-mux", "a=sendonly\r\na=rtcp-mux");
    let offered = desk.offer_from("c", v1::CallSide::Caller, &hold).await;
    assert!(offered.contains("a=sendonly"), "{offered}");
    let held = answer.replace("a=rtcp-mux", "a=recvonly\r\na=rtcp-mux");
    desk.answer(&held).await;
    let after = bed.daemon.legs("c").await;
    assert_eq!(bed.statistics().await.handshakes_completed, 2, "nothing was keyed anew");
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.keys, after.keys);
    }
    block_in_place(|| {
        alice.send(&rtp(100, 0xa, 100));
        assert_eq!(bob.receive(), rtp(100, 0xa, 100));
    });
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_of_a_branch_that_is_dropped_and_of_a_call_that_ends_hear_a_close_notify() {
    for ends in [true, false] {
        let bed = Bed::configured("call-ends", TWO_HANDSHAKES).await;
        let mut desk = Desk::at(&bed).await;
        let Two { mut alice, mut bob, .. } = two_speak(&mut desk).await;
        let session = "c".to_owned();
        if ends {
            desk.0.end_session(v1::EndSessionRequest { session, ..Default::default() }).await.unwrap();
        } else {
            let call = desk.0.get_call(v1::GetCallRequest { session: session.clone() }).await.unwrap();
            let branch = call.into_inner().call.unwrap().branches[0].id.clone();
            let request = v1::DropBranchRequest { session, branch, ..Default::default() };
            assert!(desk.0.drop_branch(request).await.unwrap().into_inner().existed);
        }
        block_in_place(|| {
            for peer in [&mut alice, &mut bob] {
                peer.until("a close_notify", Peer::was_closed);
            }
        });
        bed.daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_re_offer_with_another_association_behind_a_restart_is_keyed_anew_while_media_goes_on() {
    let bed = Bed::configured("call-again", "[policy.callee]\nsecurity = \"plain\"\n").await;
    let mut desk = Desk::at(&bed).await;
    let (mut alice, bob) = (Peer::new(), udp());
    let offered = desk.offer(&said(&mut alice, "actpass", true, "alices-association-01")).await;
    let answer = format!("m=audio {} RTP/AVP 0 8\r\na=rtcp-mux\r\n", bob.local_addr().unwrap().port());
    let answer = crate::phone::description(&answer);
    let first = desk.answer(&answer).await;
    block_in_place(|| {
        go(&mut alice, &first, Role::Server);
        to_and_fro(&mut alice, &bob, address(&offered, 0));
    });
    let again = said(&mut alice, "actpass", true, "alices-association-02").replace("o=- 1 1", "o=- 1 2");
    desk.offer_from("c", v1::CallSide::Caller, &again).await;
    let second = desk.answer(&answer).await;
    for name in ["tls-id", "ice-ufrag", "ice-pwd"] {
        assert_ne!(value(&first, name), value(&second, name), "another {name}");
    }
    assert_eq!(value(&first, "fingerprint"), value(&second, "fingerprint"));
    block_in_place(|| {
        alice.send(&rtp(5, 0xa, 100));
        assert_eq!(receive(&bob), rtp(5, 0xa, 100), "under the keys that there are");
        go(&mut alice, &second, Role::Server);
        for sequence in 6..9 {
            alice.send(&rtp(sequence, 0xa, 100));
            assert_eq!(receive(&bob), rtp(sequence, 0xa, 100));
            bob.send_to(&rtp(sequence, 0xb, 100), address(&offered, 0)).unwrap();
            assert_eq!(alice.receive_any(), (1, rtp(sequence, 0xb, 100)));
        }
    });
    assert_eq!(bed.statistics().await.handshakes_completed, 2);
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fingerprint_that_the_answer_does_not_have_is_refused_in_a_call_as_well() {
    let mut bed = Bed::configured("call-wrong", "[policy.callee]\nkeyings = [\"dtls-srtp\"]\n").await;
    let mut desk = Desk::at(&bed).await;
    let (alice, mut bob) = (Phone::new(), Peer::new());
    let other = Peer::with(crate::peer::endpoint(&Settings::default()));
    let offered = desk.offer(&alice.sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 7)])).await;
    let answer = said(&mut bob, "active", false, "bobs-association-0001");
    block_in_place(|| {
        go(&mut bob, &offered, Role::Client);
        bob.send(&rtp(0, 0xb, 100));
    });
    desk.answer(&answer.replace(&bob.fingerprint(), &other.fingerprint())).await;
    let refused = bed.event(|kind| match kind {
        Kind::CertificateRefused(refused) => Some(refused.clone()),
        _ => None,
    });
    let refused = refused.await;
    assert_eq!((refused.expected, refused.shown), (vec![other.fingerprint()], bob.fingerprint()));
    assert!(block_in_place(|| alice.hears_nothing()));
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_that_trickle_in_before_and_after_the_answer_are_found() {
    let policy = "[policy.caller]\nice = \"full\"\n[policy.callee]\nsecurity = \"plain\"\n";
    let bed = Bed::configured("trickle", policy).await;
    let mut desk = Desk::at(&bed).await;
    let (mut alice, bob) = (Peer::new(), udp());
    let offer = said(&mut alice, "actpass", true, "alices-association-01");
    let candidate = value(&offer, "candidate").to_owned();
    let kept = |line: &&str| !line.starts_with("a=candidate") && !line.starts_with("a=end-of");
    let lines: Vec<_> = offer.lines().filter(kept).chain(["a=ice-options:trickle", ""]).collect();
    let bare = lines.join("\r\n");
    let bare = bare.replace(&format!("m=audio {} ", alice.address().port()), "m=audio 9 ");
    let bare = bare.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
    desk.offer(&bare).await;
    let fragment = format!("m=audio 9 RTP/AVP 0\r\na=candidate:{candidate}\r\na=end-of-candidates\r\n");
    let more = v1::AddCallCandidatesRequest {
        session: "c".into(),
        from: v1::CallSide::Caller.into(),
        fragment,
        ..Default::default()
    };
    desk.0.add_call_candidates(more).await.unwrap();
    let answer = format!("m=audio {} RTP/AVP 0 8\r\na=rtcp-mux\r\n", bob.local_addr().unwrap().port());
    let answered = desk.answer(&crate::phone::description(&answer)).await;
    block_in_place(|| {
        // She has nowhere to check until the gateway does, which has to know her address for that.
        alice.check_with(Vec::new(), value(&answered, "ice-ufrag"), value(&answered, "ice-pwd"), false);
        alice.gateway = Some(address(&answered, 0));
        alice.until("a way", Peer::is_connected);
        alice.handshake(Role::Server, &[value(&answered, "fingerprint").to_owned()], &SUITES);
        alice.until_keyed();
    });
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_nominates_says_in_a_re_offer_what_was_chosen_until_checks_begin_anew() {
    let policy =
        "[policy.caller]\nsecurity = \"plain\"\n[policy.callee]\nkeyings = [\"dtls-srtp\"]\nice = \"full\"\n";
    let bed = Bed::configured("chosen", policy).await;
    let mut desk = Desk::at(&bed).await;
    let (alice, mut bob) = (Phone::new(), Peer::new());
    let offered = desk.offer(&alice.sdp("RTP/AVP", &[])).await;
    assert!(!offered.contains("a=remote-candidates"), "{offered}");
    let answer = said(&mut bob, "active", true, "bobs-association-0001");
    desk.answer(&answer).await;
    block_in_place(|| {
        let gateway = address(&offered, 0);
        let candidates = vec![Candidate::host(1, gateway, u16::MAX)];
        (bob.controls, bob.gateway) = (false, Some(gateway));
        bob.check_with(candidates, value(&offered, "ice-ufrag"), value(&offered, "ice-pwd"), false);
        bob.until("a way", Peer::is_connected);
        bob.handshake(Role::Client, &[value(&offered, "fingerprint").to_owned()], &SUITES);
        bob.until_keyed();
    });
    let again = desk.offer_from("c", v1::CallSide::Caller, &alice.sdp("RTP/AVP", &[])).await;
    let (ip, port) = (bob.address().ip(), bob.address().port());
    assert_eq!(value(&again, "remote-candidates"), format!("1 {ip} {port}"));
    assert_eq!(value(&again, "ice-ufrag"), value(&offered, "ice-ufrag"));
    desk.answer(&answer).await;
    // Other credentials of the peer's are a restart.
    let fresh = bob.own_ice().credentials;
    let (ufrag, password) = (value(&answer, "ice-ufrag"), value(&answer, "ice-pwd"));
    let restarted = answer.replace(ufrag, &fresh.ufrag).replace(password, &fresh.password);
    desk.offer_from("c", v1::CallSide::Callee, &restarted.replace("o=- 1 1", "o=- 1 2")).await;
    desk.answer(&alice.sdp("RTP/AVP", &[])).await;
    let anew = desk.offer_from("c", v1::CallSide::Caller, &alice.sdp("RTP/AVP", &[])).await;
    assert_ne!(value(&anew, "ice-ufrag"), value(&offered, "ice-ufrag"));
    assert!(!anew.contains("a=remote-candidates"), "{anew}");
    bed.daemon.stop().await;
}

/// With handshakes and checks on both sides.
const TWO_HANDSHAKES: &str = "[policy.callee]\nkeyings = [\"dtls-srtp\"]\nice = \"lite\"\n";

/// Two that speak, and what they have said of themselves.
struct Two {
    alice: Peer,
    bob: Peer,
    offer: String,
    answer: String,
}

/// Alice offers, Bob answers, and both make their checks and handshakes.
async fn two_speak(desk: &mut Desk) -> Two {
    let (mut alice, mut bob) = (Peer::new(), Peer::new());
    let offer = said(&mut alice, "actpass", true, "alices-association-01");
    let offered = desk.offer(&offer).await;
    let answer = said(&mut bob, "active", true, "bobs-association-0001");
    let answered = desk.answer(&answer).await;
    block_in_place(|| {
        go(&mut bob, &offered, Role::Client);
        go(&mut alice, &answered, Role::Server);
        speak(&mut alice, &mut bob, 0);
    });
    Two { alice, bob, offer, answer }
}

fn speak(alice: &mut Peer, bob: &mut Peer, from: u16) {
    for sequence in from..from + 5 {
        alice.send(&rtp(sequence, 0xa, 100));
        assert_eq!(bob.receive(), rtp(sequence, 0xa, 100));
        bob.send(&rtp(sequence, 0xb, 100));
        assert_eq!(alice.receive(), rtp(sequence, 0xb, 100));
    }
}
