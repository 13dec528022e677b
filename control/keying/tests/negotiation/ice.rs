//! Checks that are offered and answered (RFC 8839, RFC 8840, RFC 8445 section 6.1.1).

use std::sync::Arc;

use sluice_keying::ice::AgreedIce;
use sluice_keying::negotiation::{Agreed, Fault, NegotiationError, OwnAddresses, Standing};
use sluice_keying::policy::{Handling, IceUse, Security, Side};

use super::support::{Call, Peer, at, audio, candidate, lines};

const UFRAG: &str = "ice-ufrag:8hhY";
const PASSWORD: &str = "ice-pwd:asd88fgpdd777uzjYhagZg";
const HOST: &str = "candidate:1 1 UDP 2130706431 192.0.2.10 4000 typ host";
const RTCP: &str = "candidate:1 2 UDP 2130706430 192.0.2.10 4001 typ host";

fn call(caller: IceUse, callee: IceUse) -> Call {
    let mut call = Call::new(Security::Plain, Security::Plain).in_media_path();
    (call.policy.caller.ice, call.policy.callee.ice) = (caller, callee);
    call
}

fn with(attributes: &[&str]) -> String {
    audio("RTP/AVP", attributes)
}

fn ice(agreed: &[Option<Agreed>]) -> Option<AgreedIce> {
    at(agreed, 0).ice.clone()
}

/// What the caller's offer comes to.
fn answered(call: &mut Call, text: &str) -> (Option<AgreedIce>, String) {
    let exchange = call.exchange(Side::Caller, text, Peer::Plain).expect(text);
    (ice(&exchange.made.agreed()), exchange.made.sdp().to_owned())
}

/// What a callee answers to an offer of the gateway.
fn callee(attributes: &[&str]) -> String {
    with(attributes).replace("192.0.2.10", "192.0.2.20").replace(" 4000", " 6000").replace(" 4001", " 6001")
}

#[test]
fn ice_is_answered_where_it_is_offered_and_not_offered_by_itself() {
    let mut call = call(IceUse::WhenOffered, IceUse::WhenOffered);
    let exchange =
        call.exchange(Side::Caller, &with(&[UFRAG, PASSWORD, HOST, RTCP]), Peer::Plain).expect("ICE");
    assert!(!exchange.local.sdp().contains("ice-ufrag"), "{}", exchange.local.sdp());
    let agreed = ice(&exchange.made.agreed()).expect("ICE");
    assert!(!agreed.controlling && agreed.own.lite && !agreed.peer.lite && !agreed.peer.more);
    assert_eq!((&*agreed.peer.credentials.ufrag, agreed.peer.candidates.len()), ("8hhY", 2));
    let text = exchange.made.sdp();
    assert_eq!(lines(text, "a=ice-ufrag"), [format!("a=ice-ufrag:{}", agreed.own.credentials.ufrag)]);
    let password = format!("a=ice-pwd:{}", agreed.own.credentials.password.as_str());
    assert_eq!(lines(text, "a=ice-pwd"), [password]);
    assert_eq!(
        lines(text, "a=candidate"),
        [
            "a=candidate:c6336401 1 UDP 2130706431 198.51.100.1 10000 typ host",
            "a=candidate:c6336401 2 UDP 2130706430 198.51.100.1 10001 typ host"
        ]
    );
    assert_eq!(lines(text, "a=ice-options"), ["a=ice-options:ice2 trickle"]);
    assert!(text.find("a=ice-lite").unwrap() < text.find("m=").unwrap(), "ice-lite is the session's: {text}");
    assert_eq!(lines(text, "a=end-of-candidates").len(), 1);
}

#[test]
fn ice_is_left_out_where_the_policy_or_the_peer_or_the_gateway_has_none() {
    let offer = with(&[UFRAG, PASSWORD, HOST, RTCP]);
    let (agreed, text) = answered(&mut call(IceUse::Off, IceUse::Off), &offer);
    assert!(agreed.is_none() && !text.contains("a=ice"), "{text}");
    let mut without = call(IceUse::Lite, IceUse::Lite);
    without.own[0][0].ice = None;
    let (agreed, text) = answered(&mut without, &offer);
    assert!(agreed.is_none() && !text.contains("a=ice") && !text.contains("candidate"), "{text}");
    for half in [with(&[UFRAG, HOST]), with(&[PASSWORD, HOST]), with(&[HOST])] {
        let (agreed, text) = answered(&mut call(IceUse::Lite, IceUse::Off), &half);
        assert!(agreed.is_none() && !text.contains("a=ice"), "{text}");
    }
}

#[test]
fn who_nominates_follows_from_who_is_lite_and_who_offers() {
    // Of who offers first, whether each end is lite.
    for (ours, theirs, offers, answers) in [
        (IceUse::Lite, false, false, false),
        (IceUse::Lite, true, true, false),
        (IceUse::Full, false, true, false),
        (IceUse::Full, true, true, true),
    ] {
        let lite = if theirs { "ice-lite" } else { "x" };
        let at_session = |text: String| text.replace("t=0 0\r\n", &format!("t=0 0\r\na={lite}\r\n"));
        let offer = at_session(with(&[UFRAG, PASSWORD, HOST, RTCP]));
        let (agreed, text) = answered(&mut call(ours, IceUse::Off), &offer);
        let agreed = agreed.expect("ICE");
        assert_eq!(
            (agreed.controlling, agreed.own.lite, agreed.peer.lite),
            (answers, ours.is_lite(), theirs)
        );
        assert_eq!(text.contains("a=ice-lite"), ours.is_lite());
        let mut call = call(IceUse::Off, ours);
        let (remote, local) = call.offer(Side::Caller, &with(&[])).expect("an offer");
        let answer = at_session(callee(&[UFRAG, PASSWORD, HOST, RTCP]));
        let (read, _) = call.answer(&remote, &local, &answer).expect("an answer");
        assert_eq!(ice(&read.agreed()).expect("ICE").controlling, offers, "{ours:?} {theirs}");
    }
}

#[test]
fn roles_stay_whoever_offers_next() {
    let mut call = call(IceUse::Off, IceUse::Full);
    let (remote, local) = call.offer(Side::Caller, &with(&[])).expect("an offer");
    let (read, _) = call.answer(&remote, &local, &callee(&[UFRAG, PASSWORD, HOST, RTCP])).expect("ICE");
    assert!(ice(&read.agreed()).unwrap().controlling);
    let text = callee(&[UFRAG, PASSWORD, HOST, RTCP]);
    let again = call.exchange(Side::Callee, &text, Peer::Plain).expect("a re-offer");
    assert!(ice(&again.made.agreed()).unwrap().controlling);
    let restart = text.replace("8hhY", "9iiZ").replace("asd88", "bsd88");
    let again = call.exchange(Side::Callee, &restart, Peer::Plain).expect("a restart");
    assert!(ice(&again.made.agreed()).unwrap().controlling, "a restart changes no role");
    let lite = restart.replace("8hhY", "0jjA").replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n");
    call.policy.callee.ice = IceUse::Lite;
    let again = call.exchange(Side::Callee, &lite.replace("9iiZ", "0jjA"), Peer::Plain).expect("lite");
    assert!(!ice(&again.made.agreed()).unwrap().controlling, "both are another kind of agent now");
}

#[test]
fn credentials_stay_until_the_peer_begins_anew() {
    let mut call = call(IceUse::Lite, IceUse::Off);
    let offer = with(&[UFRAG, PASSWORD, HOST, RTCP]);
    let one = answered(&mut call, &offer).0.expect("ICE");
    assert_eq!(answered(&mut call, &(offer.clone() + "a=sendonly\r\n")).0.as_ref(), Some(&one));
    // "it is permissible to use a session-level attribute in one offer": no restart.
    let moved = with(&[HOST, RTCP]).replace("t=0 0\r\n", &format!("t=0 0\r\na={UFRAG}\r\na={PASSWORD}\r\n"));
    assert_eq!(answered(&mut call, &moved).0.as_ref(), Some(&one));
    let restart = offer.replace("8hhY", "9iiZ").replace("asd88", "bsd88");
    let two = answered(&mut call, &restart).0.expect("ICE");
    assert_ne!(two.own.credentials.ufrag, one.own.credentials.ufrag);
    assert_ne!(two.own.credentials.password, one.own.credentials.password);
    assert_eq!(two.peer.credentials.ufrag, "9iiZ");
    // Without ICE for once, and anew.
    assert_eq!(answered(&mut call, &with(&[])).0, None);
    assert_ne!(answered(&mut call, &restart).0.unwrap().own.credentials, two.own.credentials);
}

#[test]
fn an_offer_goes_on_unless_the_gateway_begins_anew() {
    let mut call = call(IceUse::Off, IceUse::Lite);
    let exchange = |call: &mut Call| {
        let (remote, local) = call.offer(Side::Caller, &with(&[])).expect("an offer");
        let offered = local.offered()[0].clone().and_then(|offered| offered.ice).expect("ICE");
        assert_eq!(lines(local.sdp(), "a=ice-ufrag"), [format!("a=ice-ufrag:{}", offered.credentials.ufrag)]);
        call.answer(&remote, &local, &callee(&[UFRAG, PASSWORD, HOST, RTCP])).expect("an answer");
        offered
    };
    let one = exchange(&mut call);
    assert_eq!(exchange(&mut call), one);
    call.standing[1] = Standing::rekeyed(&call.standing[1]);
    let two = exchange(&mut call);
    assert_ne!(two.credentials, one.credentials);
    let mut more = call.own[1][0].ice.as_deref().cloned().expect("candidates");
    more.candidates.push(candidate(1, "203.0.113.2:20000".parse().unwrap()));
    call.own[1][0].ice = Some(Arc::new(more));
    assert_ne!(exchange(&mut call).credentials, two.credentials, "a lite agent must not add candidates");
    let three = exchange(&mut call);
    call.policy.callee.ice = IceUse::Full;
    assert_ne!(exchange(&mut call).credentials, three.credentials, "another kind of agent");
    call.policy.callee.ice = IceUse::WhenOffered;
    assert!(exchange(&mut call).lite, "the peer takes part: it is offered again");
}

#[test]
fn an_address_that_is_no_candidate_has_been_changed_on_the_way() {
    let mismatch = |text: &str| {
        let (agreed, answer) = answered(&mut call(IceUse::Lite, IceUse::Off), text);
        assert_eq!(agreed.is_none(), answer.contains("a=ice-mismatch"), "{answer}");
        assert!(agreed.is_some() || !answer.contains("candidate"), "{answer}");
        agreed.is_none()
    };
    let good = with(&[UFRAG, PASSWORD, HOST, RTCP]);
    assert!(!mismatch(&good));
    assert!(mismatch(&good.replace("audio 4000", "audio 4400")));
    assert!(mismatch(&good.replace("c=IN IP4 192.0.2.10", "c=IN IP4 192.0.2.99")));
    assert!(mismatch(&(good.clone() + "a=rtcp:4003\r\n")));
    assert!(mismatch(&with(&[UFRAG, PASSWORD])), "none at all");
    // Who has no address yet, or a name, or sends more later.
    let none = good.replace("c=IN IP4 192.0.2.10", "c=IN IP4 0.0.0.0").replace("audio 4000", "audio 9");
    assert!(!mismatch(&none));
    assert!(!mismatch(&good.replace("c=IN IP4 192.0.2.10", "c=IN IP4 phone.example.com")));
    assert!(!mismatch(&with(&[UFRAG, PASSWORD, "ice-options:trickle"])));
    assert!(mismatch(&with(&[UFRAG, PASSWORD, "ice-options:trickle", "end-of-candidates"])));
    // With rtcp-mux RTCP's own is not needed.
    assert!(!mismatch(&with(&[UFRAG, PASSWORD, HOST, "rtcp:4003", "rtcp-mux"])));
}

#[test]
fn a_peer_that_answers_otherwise_ends_it() {
    for answer in [
        callee(&[]),
        callee(&["ice-mismatch"]),
        callee(&[UFRAG, PASSWORD, "ice-mismatch"]),
        callee(&[UFRAG, PASSWORD, HOST, RTCP]).replace("audio 6000", "audio 6400"),
    ] {
        let mut call = call(IceUse::Off, IceUse::Full);
        let (remote, local) = call.offer(Side::Caller, &with(&[])).expect("an offer");
        let (read, _) = call.answer(&remote, &local, &answer).expect("an answer");
        assert_eq!(ice(&read.agreed()), None, "{answer}");
        assert!(at(&read.agreed(), 0).remote.is_some());
    }
}

#[test]
fn credentials_that_are_none_are_refused_where_they_would_be_used() {
    for wrong in ["ice-ufrag:8h", "ice-ufrag:8h:Y", "ice-ufrag:8h hY"] {
        let text = with(&[wrong, PASSWORD, HOST]);
        let error = call(IceUse::Lite, IceUse::Off).offer(Side::Caller, &text).expect_err(wrong);
        assert!(matches!(error, NegotiationError::Media { fault: Fault::Ice(_), .. }), "{wrong}: {error}");
        assert!(call(IceUse::Off, IceUse::Off).offer(Side::Caller, &text).is_ok());
    }
    let short = with(&[UFRAG, "ice-pwd:short"]);
    let error = call(IceUse::Lite, IceUse::Off).offer(Side::Caller, &short).expect_err("a short password");
    assert!(!error.to_string().contains("short:"), "{error}");
}

#[test]
fn candidates_of_no_use_are_passed_over() {
    let candidates = [
        HOST,
        RTCP,
        "candidate:2 1 TCP 1 192.0.2.10 9 typ host tcptype active",
        "candidate:3 1 UDP 1 5c3bfbd4-3d36-4b27-8a5c-1a33e6ae6e5a.local 5000 typ host",
        "candidate:4 3 UDP 1 192.0.2.10 5000 typ host",
        "candidate:5 1 UDP 1 224.0.0.1 5000 typ host",
        "candidate:6 1 UDP 1 192.0.2.10 0 typ host",
        "candidate:7 1 UDP 1 192.0.2.10 5000 typ teleport",
        "candidate:nonsense",
        "candidate:8 1 udp 1677729535 2001:db8::7 5000 typ srflx raddr :: rport 9 generation 0",
    ];
    let text = with(&[&[UFRAG, PASSWORD], &candidates[..]].concat());
    let agreed = answered(&mut call(IceUse::Lite, IceUse::Off), &text).0.expect("ICE");
    let addresses: Vec<_> = agreed.peer.candidates.iter().map(|one| one.address.to_string()).collect();
    assert_eq!(addresses, ["192.0.2.10:4000", "192.0.2.10:4001", "[2001:db8::7]:5000"]);
}

#[test]
fn rtcp_has_candidates_only_without_mux() {
    let mut muxed = call(IceUse::Lite, IceUse::Lite);
    // "The other declines" has no say where checks would have to be made twice.
    (muxed.policy.caller.rtcp_mux, muxed.policy.callee.rtcp_mux) = (Handling::Pass, Handling::Pass);
    let (remote, local) =
        muxed.offer(Side::Caller, &with(&[UFRAG, PASSWORD, HOST, "rtcp-mux"])).expect("an offer");
    assert_eq!(lines(local.sdp(), "a=candidate").len(), 2, "mux is not agreed on yet");
    assert_eq!(lines(local.sdp(), "a=rtcp-mux").len(), 1);
    let declined = callee(&[UFRAG, PASSWORD, HOST, RTCP]);
    let (read, made) = muxed.answer(&remote, &local, &declined).expect("an answer");
    assert_eq!(lines(made.sdp(), "a=candidate").len(), 1);
    assert!(at(&made.agreed(), 0).rtcp_mux && !at(&read.agreed(), 0).rtcp_mux);
    assert_eq!(ice(&read.agreed()).unwrap().own.candidates.len(), 2);
    let taken = callee(&[UFRAG, PASSWORD, HOST, "rtcp-mux"]);
    let (read, _) = muxed.answer(&remote, &local, &taken).expect("an answer");
    assert_eq!(ice(&read.agreed()).unwrap().own.candidates.len(), 1);
    let (_, again) = muxed.offer(Side::Caller, &with(&[])).expect("an offer");
    assert_eq!(lines(again.sdp(), "a=candidate").len(), 1, "it was agreed on");
}

#[test]
fn who_nominates_says_what_was_chosen() {
    let mut call = call(IceUse::Off, IceUse::Full);
    let addresses = call.own[1][0].ice.as_deref().cloned().expect("candidates");
    let selected = vec![(1, "192.0.2.20:6000".parse().unwrap()), (2, "[2001:db8::7]:6001".parse().unwrap())];
    call.own[1][0].ice = Some(Arc::new(OwnAddresses { selected, ..addresses }));
    let (remote, local) = call.offer(Side::Caller, &with(&[])).expect("an offer");
    assert!(!local.sdp().contains("remote-candidates"), "nothing is agreed on yet");
    call.answer(&remote, &local, &callee(&[UFRAG, PASSWORD, HOST, RTCP])).expect("an answer");
    let (_, local) = call.offer(Side::Caller, &with(&[])).expect("a re-offer");
    let want = "a=remote-candidates:1 192.0.2.20 6000 2 2001:db8::7 6001";
    assert_eq!(lines(local.sdp(), "a=remote-candidates"), [want]);
}

#[test]
fn later_candidates_find_their_transport() {
    let text = super::support::sdp(
        "192.0.2.10",
        &[
            ("audio 4000 RTP/AVP 0", super::support::attributes(&["mid:a"])),
            ("video 4002 RTP/AVP 96", super::support::attributes(&["mid:v"])),
        ],
    );
    let mut call = call(IceUse::Lite, IceUse::Lite);
    let exchange = call.exchange(Side::Caller, &text, Peer::Plain).expect("an exchange");
    let standing = exchange.made.standing();
    assert_eq!(standing.transport_of(Some("v"), None), Some(1));
    assert_eq!(standing.transport_of(None, Some(0)), Some(0));
    assert_eq!(standing.transport_of(Some("x"), Some(1)), Some(1));
    assert_eq!(standing.transport_of(Some("x"), None), None);
    assert_eq!(exchange.answer.standing().transport_of(Some("v"), None), Some(1));
    assert_eq!(exchange.local.transport_of(Some("v"), None), Some(1));
    assert_eq!(exchange.local.transport_of(None, Some(7)), None);
}
