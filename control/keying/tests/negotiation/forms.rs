//! Every form in which SRTP and RTP are offered, against every form in which the other side is to have them.

use sluice_keying::policy::{BestEffortForm, Feedback, Security, Side};
use sluice_keying::sdp::{Sdp, Secured};
use sluice_srtp::Suite;

use super::support::{CM80, Call, Exchange, GCM128, Peer, attributes, audio, crypto, lines, sdp};

/// How callers offer, with whether they can do SRTP and RTP.
const OFFERS: [(&str, bool, bool); 6] = [
    ("plain", false, true),
    ("secure", true, false),
    ("osrtp", true, true),
    ("capabilities", true, true),
    ("dual, secure first", true, true),
    ("dual, plain first", true, true),
];

fn offer(name: &str, feedback: &str) -> String {
    let (plain, secure) = (format!("RTP/AVP{feedback}"), format!("RTP/SAVP{feedback}"));
    let key = format!("crypto:{}", crypto(1, CM80, b'a'));
    let line = |proto: &str| format!("audio 4000 {proto} 0 8 101");
    match name {
        "plain" => audio(&plain, &["rtpmap:101 telephone-event/8000"]),
        "secure" => audio(&secure, &[&key]),
        "osrtp" => audio(&plain, &[&key]),
        "capabilities" => {
            let acap = format!("acap:7 {key}");
            audio(&plain, &[&format!("tcap:3 {secure}"), &acap, "pcfg:2 t=3 a=7"])
        }
        "dual, secure first" => {
            sdp("192.0.2.10", &[(&line(&secure), attributes(&[&key])), (&line(&plain), vec![])])
        }
        _ => sdp("192.0.2.10", &[(&line(&plain), vec![]), (&line(&secure), attributes(&[&key]))]),
    }
}

#[test]
fn srtp_is_taken_of_the_caller_whenever_it_can_and_rtp_only_where_it_may() {
    for feedback in ["", "F"] {
        for (name, can_secure, can_plain) in OFFERS {
            for security in [Security::Required, Security::BestEffort, Security::Plain] {
                let mut call = Call::new(security, Security::Plain);
                let result = call.exchange(Side::Caller, &offer(name, feedback), Peer::Plain);
                let want = match security {
                    Security::Required => can_secure.then_some(true),
                    Security::BestEffort => Some(can_secure),
                    Security::Plain => can_plain.then_some(false),
                };
                let case = format!("{name}{feedback} towards {security:?}");
                match (result, want) {
                    (Ok(exchange), Some(want)) => {
                        assert_eq!(exchange.secure(), (Some(want), Some(false)), "{case}");
                        check_answer(&offer(name, feedback), &exchange, &case);
                    }
                    (Err(error), None) => {
                        let text = error.to_string();
                        assert!(text.contains("media line 0 (audio)"), "{case}: {text}");
                        assert!(text.contains("policy.caller.security"), "{case}: {text}");
                    }
                    (result, want) => {
                        panic!("{case}: {:?}, but wanted {want:?}", result.map(|it| it.secure()))
                    }
                }
            }
        }
    }
}

#[test]
fn plain_rtp_is_taken_before_an_answer_where_policy_and_actual_configuration_have_it() {
    let early = |security, text: &str| {
        let (offer, _) = Call::new(security, Security::Plain).offer(Side::Caller, text).ok()?;
        offer.takes_plain_early(0)?.remote
    };
    let there = Some("192.0.2.10:4000".parse().expect("an address"));
    for (name, ..) in OFFERS {
        let text = offer(name, "");
        assert_eq!(early(Security::Required, &text), None, "{name}");
        let dual = name.starts_with("dual");
        let wanted = there.filter(|_| name != "secure" && !dual);
        assert_eq!(
            early(Security::BestEffort, &text),
            wanted,
            "{name}: of two lines the secure one is taken"
        );
        assert_eq!(early(Security::Plain, &text), there.filter(|_| name != "secure"), "{name}");
    }
    let key = format!("crypto:{}", crypto(1, CM80, b'a'));
    let potential = audio("RTP/SAVP", &[&key, "tcap:1 RTP/AVP", "pcfg:1 t=1"]);
    assert_eq!(early(Security::Plain, &potential), None, "it may not process that (RFC 5939 section 3.9)");
    for (attribute, wanted) in [("sendonly", None), ("inactive", None), ("recvonly", there)] {
        assert_eq!(early(Security::Plain, &audio("RTP/AVP", &[attribute])), wanted, "{attribute}");
    }
    let nowhere = audio("RTP/AVP", &[]).replace("audio 4000", "audio 9");
    assert_eq!(early(Security::Plain, &nowhere), None);
}

#[test]
fn srtp_is_agreed_on_with_the_callee_whenever_form_and_peer_allow() {
    use BestEffortForm::{Capabilities, DualLines, Osrtp};
    let secure = |form, peer| match (form, peer) {
        (Osrtp, Peer::Osrtp) | (Capabilities, Peer::Capabilities) => true,
        (DualLines, peer) => peer != Peer::Plain,
        _ => false,
    };
    for (name, ..) in OFFERS {
        for form in [Osrtp, Capabilities, DualLines] {
            for peer in Peer::ALL {
                let case = format!("{name} to {form:?} answered by {peer:?}");
                let mut call = Call::with_form(Security::BestEffort, form);
                let exchange = call.exchange(Side::Caller, &offer(name, ""), peer).expect(&case);
                assert_eq!(exchange.secure().1, Some(secure(form, peer)), "{case}");
                check_answer(&offer(name, ""), &exchange, &case);
            }
        }
    }
}

#[test]
fn where_srtp_is_required_a_callee_without_it_gets_no_medium() {
    for peer in Peer::ALL {
        let mut call = Call::new(Security::BestEffort, Security::Required);
        let exchange = call.exchange(Side::Caller, &offer("plain", "F"), peer).expect("an exchange");
        let want = (peer != Peer::Plain).then_some(true);
        assert_eq!(exchange.secure(), (want.map(|_| false), want), "{peer:?}");
        assert_eq!(lines(exchange.local.sdp(), "m="), ["m=audio 20000 RTP/SAVPF 0 8 101"]);
        let answered =
            if want.is_some() { "m=audio 10000 RTP/AVPF 0 8 101" } else { "m=audio 0 RTP/AVPF 0 8 101" };
        assert_eq!(lines(exchange.made.sdp(), "m="), [answered]);
    }
}

#[test]
fn each_form_is_written_as_its_rfc_has_it() {
    let offered = |form| {
        let mut call = Call::with_form(Security::BestEffort, form);
        call.policy.suites.truncate(2);
        let (_, local) = call.offer(Side::Caller, &offer("plain", "")).expect("an offer");
        let cut = |line: &str| line.split(" inline").next().unwrap_or(line).to_owned();
        local.sdp().lines().skip(5).map(cut).collect::<Vec<_>>()
    };
    let (m, map) = ("m=audio 20000 RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000");
    let crypto = ["a=crypto:1 AEAD_AES_256_GCM", "a=crypto:2 AEAD_AES_128_GCM"];
    assert_eq!(offered(BestEffortForm::Osrtp), [m, map, crypto[0], crypto[1]]);
    assert_eq!(
        offered(BestEffortForm::Capabilities),
        [
            m,
            map,
            "a=tcap:1 RTP/SAVP",
            "a=acap:1 crypto:1 AEAD_AES_256_GCM",
            "a=acap:2 crypto:2 AEAD_AES_128_GCM",
            "a=pcfg:1 t=1 a=1|2"
        ]
    );
    let secure = "m=audio 20000 RTP/SAVP 0 8 101";
    assert_eq!(offered(BestEffortForm::DualLines), [secure, map, crypto[0], crypto[1], m, map]);
}

#[test]
fn capabilities_of_several_media_have_numbers_of_their_own() {
    let mut call = Call::with_form(Security::BestEffort, BestEffortForm::Capabilities);
    let text = sdp("192.0.2.10", &[("audio 4000 RTP/AVP 0", vec![]), ("video 4002 RTP/AVPF 96", vec![])]);
    let (_, local) = call.offer(Side::Caller, &text).expect("an offer");
    let numbers = |beginning: &str| -> Vec<String> {
        let number = |line: &&str| line[beginning.len()..].split(' ').next().unwrap_or_default().to_owned();
        lines(local.sdp(), beginning).iter().map(number).collect()
    };
    assert_eq!(numbers("a=acap:"), ["1", "2", "3", "4", "5", "6", "7", "8"]);
    assert_eq!(numbers("a=tcap:"), ["1", "5"]);
    assert_eq!(lines(local.sdp(), "a=pcfg:"), ["a=pcfg:1 t=1 a=1|2|3|4", "a=pcfg:1 t=5 a=5|6|7|8"]);
    let exchange = Call::with_form(Security::BestEffort, BestEffortForm::Capabilities)
        .exchange(Side::Caller, &text, Peer::Capabilities)
        .expect("an exchange");
    assert!(exchange.answer.agreed().iter().flatten().all(super::support::is_srtp));
    assert_eq!(exchange.answer.agreed().len(), 2);
}

#[test]
fn the_policys_order_of_suites_decides_among_what_is_offered() {
    let text = audio(
        "RTP/SAVP",
        &[&format!("crypto:{}", crypto(4, CM80, b'a')), &format!("crypto:{}", crypto(9, GCM128, b'c'))],
    );
    let exchange = Call::new(Security::Required, Security::Plain)
        .exchange(Side::Caller, &text, Peer::Plain)
        .expect("an exchange");
    let answered = lines(exchange.made.sdp(), "a=crypto:");
    assert_eq!(answered.len(), 1);
    assert!(answered[0].starts_with("a=crypto:9 AEAD_AES_128_GCM inline:"), "{}", answered[0]);
}

/// What every answer must be, whatever was negotiated.
pub(crate) fn check_answer(offer: &str, exchange: &Exchange, case: &str) {
    let offered = Sdp::parse(offer).expect("the offer");
    let answered = Sdp::parse(exchange.made.sdp()).expect("the answer");
    assert_eq!(offered.media().len(), answered.media().len(), "{case}");
    for (offered, answered) in offered.media().iter().zip(answered.media()) {
        assert_eq!(offered.kind(), answered.kind(), "{case}");
        if answered.port() == 0 {
            assert!(!answered.has("crypto"), "{case}");
            continue;
        }
        assert_ne!(offered.port(), 0, "{case}");
        let potential = offered.value("tcap").and_then(|tcap| tcap.split_once(' ')).map(|(_, proto)| proto);
        let taken = answered.has("acfg");
        let want = if taken { potential } else { Some(offered.proto()) };
        assert_eq!(Some(answered.proto()), want, "{case}");
        let secure = answered.has("crypto");
        match answered.profile().map(|profile| profile.secured) {
            Some(Secured::Srtp) => assert!(secure, "{case}"),
            Some(Secured::Plain) => assert!(!secure || offered.has("crypto"), "{case}"),
            other => panic!("{case}: {other:?}"),
        }
        assert!(answered.all("crypto").count() <= 1, "{case}");
    }
}

#[test]
fn each_side_is_offered_feedback_as_its_policy_says_and_answered_in_its_own_profile() {
    use Feedback::{Add, Pass, Remove};
    for (name, ..) in OFFERS {
        for (theirs, policy, ours) in [
            ("", Pass, ""),
            ("F", Pass, "F"),
            ("", Add, "F"),
            ("F", Add, "F"),
            ("", Remove, ""),
            ("F", Remove, ""),
        ] {
            for (security, protocol) in [(Security::Plain, "RTP/AVP"), (Security::Required, "RTP/SAVP")] {
                let case = format!("{name}{theirs}, {policy:?}, {security:?}");
                let mut call = Call::new(Security::BestEffort, security);
                call.policy.callee.feedback = policy;
                let exchange = call.exchange(Side::Caller, &offer(name, theirs), Peer::Sdes).expect(&case);
                let offered = lines(exchange.local.sdp(), "m=");
                assert_eq!(offered[0], format!("m=audio 20000 {protocol}{ours} 0 8 101"), "{case}");
                check_answer(&offer(name, theirs), &exchange, &case);
                let answered = lines(exchange.made.sdp(), "m=").join(" ");
                assert_eq!(answered.contains("AVPF"), theirs == "F", "{case}: {answered}");
            }
        }
    }
}

#[test]
fn potential_configurations_and_second_lines_have_feedback_as_the_first() {
    for (form, peer) in
        [(BestEffortForm::Capabilities, Peer::Capabilities), (BestEffortForm::DualLines, Peer::Sdes)]
    {
        let mut call = Call::with_form(Security::BestEffort, form);
        call.policy.callee.feedback = Feedback::Add;
        let exchange = call.exchange(Side::Caller, &offer("plain", ""), peer).expect("an answer");
        assert_eq!(exchange.secure(), (Some(false), Some(true)), "{form:?}");
        let text = exchange.local.sdp();
        assert!(!text.contains("AVP "), "{form:?}: {text}");
        assert!(text.contains("RTP/SAVPF"), "{form:?}: {text}");
    }
}

#[test]
fn what_is_said_of_feedback_goes_where_its_profile_does() {
    let of_feedback = ["rtcp-fb:96 nack pli", "rtcp-fb:* ccm fir", "rtcp-rsize"];
    let stays = ["rtpmap:96 VP8/90000", "extmap:1 urn:ietf:params:rtp-hdrext:toffset"];
    let key = format!("crypto:{}", crypto(1, CM80, b'a'));
    let all: Vec<&str> = of_feedback.iter().chain(&stays).copied().chain([key.as_str()]).collect();
    let video = |address: &str, proto: &str, said: &[&str]| {
        sdp(address, &[(&format!("video 4000 {proto} 96"), attributes(said))])
    };
    let left = |text: &str| {
        let named = |text: &&str| text.starts_with("a=rtcp-fb") || text.starts_with("a=rtcp-rsize");
        (text.lines().filter(named).count(), lines(text, "a=rtpmap").len() + lines(text, "a=extmap").len())
    };
    // A browser's offer to a phone: without.
    let mut call = Call::new(Security::Required, Security::Required);
    call.policy.suites = vec![Suite::AesCm128HmacSha1_80];
    call.policy.callee.feedback = Feedback::Remove;
    let (_, local) = call.offer(Side::Caller, &video("192.0.2.10", "RTP/SAVPF", &all)).expect("an offer");
    assert_eq!(left(local.sdp()), (0, 2), "{}", local.sdp());
    call.policy.callee.feedback = Feedback::Pass;
    let (_, local) = call.offer(Side::Caller, &video("192.0.2.10", "RTP/SAVPF", &all)).expect("an offer");
    assert_eq!(left(local.sdp()), (3, 2), "{}", local.sdp());
    // A phone's offer to a browser, whose answer says what it would send.
    call.policy.callee.feedback = Feedback::Add;
    let phone = video("192.0.2.10", "RTP/SAVP", &[stays[0], &key]);
    let (offer, local) = call.offer(Side::Caller, &phone).expect("an offer");
    let (_, made) = call.answer(&offer, &local, &video("192.0.2.20", "RTP/SAVPF", &all)).expect("an answer");
    assert_eq!(left(made.sdp()), (0, 2), "{}", made.sdp());
}
