//! Offers and answers that are refused, by the name of what refuses them.

use sluice_keying::negotiation::{Fault, NegotiationError, RemoteOffer, Treatment};
use sluice_keying::policy::{BestEffortForm, ForeignKeying, Keying, Policy, Rule, Security, Side};

use super::support::{CM32, CM80, Call, GCM128, Peer, attributes, audio, crypto, lines, sdp};

fn fault(error: &NegotiationError) -> &Fault {
    match error {
        NegotiationError::Media { fault, .. } => fault,
        other => panic!("{other} is not of a media line"),
    }
}

fn offer(text: &str, policy: &Policy) -> NegotiationError {
    RemoteOffer::read(text, policy, Side::Caller).expect_err(text)
}

/// A policy of what towards the caller.
fn policy(security: Security) -> Policy {
    Call::new(security, Security::Plain).policy
}

#[test]
fn an_offer_is_refused_with_line_rule_and_remedy() {
    let strict = policy(Security::Required);
    let key = |suite: &str| audio("RTP/SAVP", &[&format!("crypto:{}", crypto(1, suite, b'a'))]);
    let cases: Vec<(String, &Policy, &str)> = vec![
        (audio("RTP/AVP", &[]), &strict, "policy.caller.security"),
        (audio("RTP/SAVP", &[]), &strict, "without a=crypto"),
        (
            key("AES_192_CM_HMAC_SHA1_80").replace("AES_192", "AES_999"),
            &strict,
            "crypto line 1: its suite is not known",
        ),
        (key(CM80).replace(CM80, "F8_128_HMAC_SHA1_80"), &strict, "policy.suites"),
        (
            audio("RTP/SAVP", &["crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA"]),
            &strict,
            "takes a key and salt of 30",
        ),
        (
            audio("RTP/SAVP", &[&format!("crypto:{} UNENCRYPTED_SRTP", crypto(1, CM80, b'a'))]),
            &strict,
            "caller.security",
        ),
        (
            audio("UDP/TLS/RTP/SAVP", &["fingerprint:sha-1 AA"]),
            &strict,
            "hash function is not one of sha-256",
        ),
        (audio("UDP/TLS/RTP/SAVP", &["setup:actpass"]), &strict, "without a=fingerprint"),
        (audio("RTP/SAVP", &["key-mgmt:mikey AAAA"]), &strict, "keyed by mikey"),
        (key(CM80).replace("4000", "4000/2"), &strict, "it has 2 ports"),
        (
            key(CM80).replace("192.0.2.10\r\nt", "gw.example.com\r\nt"),
            &strict,
            "host name \"gw.example.com\"",
        ),
        (key(CM80).replace("192.0.2.10\r\nt", "224.0.0.1/9\r\nt"), &strict, "no unicast address"),
        (key(CM80).replace("c=IN IP4 192.0.2.10\r\n", ""), &strict, "no c= line"),
        (key(CM80).replace("RTP/SAVP", "TCP/RTP/SAVP") + "a=setup:actpass\r\n", &strict, ""),
    ];
    for (text, policy, want) in cases {
        match RemoteOffer::read(&text, policy, Side::Caller) {
            Err(error) => {
                let told = error.to_string();
                assert!(
                    told.starts_with("media line 0 (audio): ") && told.contains(want),
                    "{told} for {text}"
                );
                assert!(!told.contains("inline:"), "no keys in {told}");
            }
            Ok(read) => assert_eq!(read.media()[0].treatment, Treatment::Around, "{text}"),
        }
    }
}

#[test]
fn one_line_may_be_refused_while_another_is_taken() {
    let text = sdp(
        "192.0.2.10",
        &[
            ("audio 4000 RTP/SAVP 0", vec![format!("crypto:{}", crypto(1, CM80, b'a'))]),
            ("video 4002 RTP/AVP 96", vec![]),
        ],
    );
    let mut call = Call::new(Security::Required, Security::Required);
    let exchange = call.exchange(Side::Caller, &text, Peer::Sdes).expect("audio");
    let refusals: Vec<_> = exchange.offer.refusals().map(ToString::to_string).collect();
    assert!(refusals.len() == 1 && refusals[0].starts_with("media line 1 (video): "), "{refusals:?}");
    assert_eq!(lines(exchange.local.sdp(), "m=").len(), 1);
    assert_eq!(lines(exchange.made.sdp(), "m="), ["m=audio 10000 RTP/SAVP 0", "m=video 0 RTP/AVP 96"]);
}

#[test]
fn contradictory_lines_are_refused() {
    let key = format!("crypto:{}", crypto(1, CM80, b'a'));
    let twice = audio("RTP/SAVP", &[&key, &format!("crypto:{}", crypto(1, GCM128, b'c'))]);
    let error = offer(&twice, &policy(Security::Required));
    assert!(error.to_string().contains("have the tag 1"), "{error}");
    let mids = sdp(
        "192.0.2.10",
        &[
            ("audio 4000 RTP/AVP 0", attributes(&["mid:a"])),
            ("video 4002 RTP/AVP 96", attributes(&["mid:a"])),
        ],
    );
    assert!(matches!(offer(&mids, &policy(Security::Plain)), NegotiationError::Sdp(_)));
    let same = audio("RTP/SAVP", &[&format!("{key};inline:{}", &key[key.len() - 40..])]);
    assert!(RemoteOffer::read(&same, &policy(Security::Required), Side::Caller).is_err());
    let rtcp = audio("RTP/AVP", &["rtcp:99999"]);
    assert!(offer(&rtcp, &policy(Security::Plain)).to_string().contains("a=rtcp must be"));
}

#[test]
fn keyings_that_are_not_the_gateways_are_refused_by_rule() {
    let mut policy = policy(Security::BestEffort);
    policy.foreign_keying = ForeignKeying::Refuse;
    policy.keyings = vec![Keying::Sdes, Keying::None];
    for attribute in ["fingerprint:sha-1 AA", "key-mgmt:mikey AAAA", "zrtp-hash:1.10 AA"] {
        let error = offer(&audio("RTP/AVP", &[attribute]), &policy);
        assert_eq!(error.policy().map(|violation| violation.rule), Some(Rule::ForeignKeying), "{error}");
    }
    // With a crypto line beside it the keying is the gateway's.
    let text = audio("RTP/AVP", &["fingerprint:sha-1 AA", &format!("crypto:{}", crypto(1, CM80, b'a'))]);
    assert!(RemoteOffer::read(&text, &policy, Side::Caller).is_ok());
    policy.keyings = vec![Keying::None];
    assert!(RemoteOffer::read(&text, &policy, Side::Caller).is_err(), "SDES is not among the keyings");
}

#[test]
fn fips_leaves_approved_suites_alone() {
    let mut policy = policy(Security::Required);
    policy.fips_only = true;
    policy.suites.push(sluice_srtp::Suite::Aria128CtrHmacSha1_80);
    let text = audio("RTP/SAVP", &[&format!("crypto:{}", crypto(1, "ARIA_128_CTR_HMAC_SHA1_80", b'a'))]);
    let error = offer(&text, &policy);
    assert_eq!(error.policy().map(|violation| violation.rule), Some(Rule::FipsOnly), "{error}");
}

#[test]
fn nothing_is_offered_where_the_policy_leaves_nothing() {
    let mut call = Call::new(Security::BestEffort, Security::Required);
    call.policy.keyings = vec![Keying::None];
    let error = call.offer(Side::Caller, &audio("RTP/AVP", &[])).expect_err("SRTP without a keying");
    assert!(matches!(error, NegotiationError::NothingToOffer(_)), "{error}");
    let mut call = Call::new(Security::BestEffort, Security::Plain);
    call.own[1].clear();
    let error = call.offer(Side::Caller, &audio("RTP/AVP", &[])).expect_err("no address");
    assert_eq!(error, NegotiationError::NoOwnAddress { transport: 0 });
}

/// What an answer to this call's offer is refused with.
fn answer(call: &mut Call, change: impl Fn(&str) -> String) -> NegotiationError {
    let (offer, local) = call.offer(Side::Caller, &audio("RTP/AVP", &[])).expect("an offer");
    let text = change(&Peer::Capabilities.answer(local.sdp()));
    call.answer(&offer, &local, &text).map(|_| ()).expect_err(&text)
}

#[test]
fn an_answer_agrees_on_nothing_that_was_not_offered() {
    let secure = || Call::new(Security::BestEffort, Security::Required);
    let osrtp = || Call::with_form(Security::BestEffort, BestEffortForm::Osrtp);
    let plain = || Call::new(Security::BestEffort, Security::Plain);
    let crypto_line = |text: &str| lines(text, "a=crypto")[0].to_owned();

    let error =
        answer(&mut secure(), |text| text.replace("RTP/SAVP", "RTP/AVP").replace(&crypto_line(text), "a=x"));
    assert!(matches!(fault(&error), Fault::ProfileNotOffered { .. }), "{error}");
    let error = answer(&mut secure(), |text| text.replace(&crypto_line(text), "a=x"));
    assert!(matches!(fault(&error), Fault::NoKeys { .. }), "{error}");
    let error = answer(&mut secure(), |text| text.replace("a=crypto:1 ", "a=crypto:9 "));
    assert!(error.to_string().contains("tag 9, which was not offered"), "{error}");
    let error = answer(&mut secure(), |text| {
        text.replace(&crypto_line(text), &format!("a=crypto:{}", crypto(1, CM32, b'b')))
    });
    assert!(error.to_string().contains("not the suite"), "{error}");
    let error = answer(&mut secure(), |text| format!("{text}{}\r\n", crypto_line(text)));
    assert!(error.to_string().contains("one crypto line"), "{error}");
    let error = answer(&mut secure(), |text| {
        text.replace(&crypto_line(text), &(crypto_line(text) + " UNENCRYPTED_SRTCP"))
    });
    assert!(error.to_string().contains("was not offered"), "{error}");
    let error = answer(&mut secure(), |text| text.replace("m=audio", "m=video"));
    assert!(matches!(fault(&error), Fault::MediaChanged { .. }), "{error}");
    let error = answer(&mut secure(), |text| format!("{text}m=audio 0 RTP/AVP 0\r\n"));
    assert_eq!(error, NegotiationError::LinesDiffer { want: 1, got: 2 });
    let error = answer(&mut secure(), |text| text.replace("SAVP 0 8 101", "SAVP 99"));
    assert!(matches!(fault(&error), Fault::NoFormat), "{error}");

    let error = answer(&mut osrtp(), |text| text.replace("RTP/AVP", "RTP/SAVP"));
    assert!(matches!(fault(&error), Fault::ProfileNotOffered { .. }), "{error}");
    let error = answer(&mut plain(), |text| format!("{text}a=crypto:{}\r\n", crypto(1, CM80, b'b')));
    assert!(matches!(fault(&error), Fault::CryptoNotOffered), "{error}");
    let error = answer(&mut plain(), |text| format!("{text}a=acfg:1\r\n"));
    assert!(matches!(fault(&error), Fault::ConfigurationNotOffered), "{error}");
}

#[test]
fn an_actual_configuration_is_one_that_was_offered() {
    let call = || Call::with_form(Security::BestEffort, BestEffortForm::Capabilities);
    let acfg = |text: &str| lines(text, "a=acfg")[0].to_owned();
    for wrong in [
        "a=acfg:2 t=1 a=1",
        "a=acfg:1 t=2 a=1",
        "a=acfg:1 t=1 a=2",
        "a=acfg:1 t=1",
        "a=acfg:x",
        "a=acfg:1 t=1 a=1|2",
    ] {
        let error = answer(&mut call(), |text| text.replace(&acfg(text), wrong));
        assert!(matches!(fault(&error), Fault::ConfigurationNotOffered), "{wrong}: {error}");
    }
    let error = answer(&mut call(), |text| text.replace(&acfg(text), "a=x"));
    assert!(matches!(fault(&error), Fault::NoActualConfiguration { .. }), "{error}");
    let error = answer(&mut call(), |text| text.replace("RTP/SAVP", "RTP/SAVPF"));
    assert!(matches!(fault(&error), Fault::ProfileNotOffered { .. }), "{error}");
    let error = answer(&mut call(), |text| text.replace("RTP/SAVP", "RTP/AVP").replace(&acfg(text), "a=x"));
    assert!(matches!(fault(&error), Fault::CryptoNotOffered), "{error}");
}

#[test]
fn who_gets_its_own_key_back_is_refused() {
    let mut call = Call::new(Security::BestEffort, Security::Required);
    let (offer, local) = call.offer(Side::Caller, &audio("RTP/AVP", &[])).expect("an offer");
    let echo = lines(local.sdp(), "a=crypto:1 ")[0];
    let text = Peer::Sdes.answer(local.sdp());
    let text = text.replace(lines(&text, "a=crypto")[0], echo);
    let error = call.answer(&offer, &local, &text).map(|_| ()).expect_err("an echo");
    assert!(error.to_string().contains("master key is used twice"), "{error}");
}

#[test]
fn a_line_offered_with_port_0_stays_unused() {
    let mut call = Call::new(Security::BestEffort, Security::BestEffort);
    let text = sdp("192.0.2.10", &[("audio 4000 RTP/AVP 0", vec![]), ("video 4002 RTP/AVP 96", vec![])]);
    call.exchange(Side::Caller, &text, Peer::Plain).expect("both");
    let (offer, local) = call.offer(Side::Caller, &text.replace("4002", "0")).expect("audio alone");
    let answer = Peer::Plain.answer(local.sdp()).replace("m=video 0", "m=video 6002");
    let error = call.answer(&offer, &local, &answer).map(|_| ()).expect_err("video is answered");
    assert!(matches!(fault(&error), Fault::NotOffered), "{error}");
}

#[test]
fn a_megabyte_and_ten_thousand_lines_are_refused_without_ado() {
    let policy = policy(Security::BestEffort);
    let large = audio("RTP/AVP", &[&"x".repeat(1 << 20)]);
    assert!(matches!(offer(&large, &policy), NegotiationError::Sdp(_)));
    let many: Vec<_> = (0..10_000).map(|_| ("audio 4000 RTP/AVP 0", Vec::new())).collect();
    assert!(matches!(offer(&sdp("192.0.2.10", &many), &policy), NegotiationError::Sdp(_)));
    // What is just small enough is read in no more time than its size asks for.
    let crypto: Vec<String> = (1..2000).map(|tag| format!("crypto:{}", crypto(tag, CM80, b'a'))).collect();
    let many: Vec<_> = (0..5).map(|_| ("audio 4000 RTP/SAVP 0", crypto.clone())).collect();
    let read = RemoteOffer::read(&sdp("192.0.2.10", &many), &policy, Side::Caller).expect("a large offer");
    assert_eq!(read.transports(), 5);
}
