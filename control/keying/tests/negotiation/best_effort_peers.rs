//! Offers of SRTP beside RTP by peers that others wrote, as they wrote them (`tests/vectors/sdp`): potential configurations
//! of Linphone, two lines of PJSIP.

use sluice_keying::negotiation::{Fault, NegotiationError};
use sluice_keying::policy::{BestEffortForm, Keying, Security, Side};
use sluice_keying::sdp::Sdp;
use sluice_srtp::Suite;

use super::forms::check_answer;
use super::support::{CM80, Call, Peer, at, audio, captured, crypto, lines};

const LINPHONE: [&str; 4] = [
    "linphone-srtp-offer.sdp",
    "linphone-plain-first-offer.sdp",
    "linphone-all-keyings-offer.sdp",
    "linphone-dtls-first-offer.sdp",
];

/// What linphone is answered: the media line's profile, and the configuration that is told.
fn answered(call: &mut Call, name: &str) -> (String, String) {
    let exchange = call.exchange(Side::Caller, &captured(name), Peer::Plain).expect(name);
    let text = exchange.made.sdp();
    let profile = lines(text, "m=")[0].split(' ').nth(2).expect(name).to_owned();
    let keyed = at(&exchange.made.agreed(), 0).keying;
    let wanted = if profile.ends_with("SAVP") {
        text.contains("a=crypto:") != text.contains("a=fingerprint:")
    } else {
        keyed == Keying::None
    };
    assert!(wanted, "{name}: {text}");
    // The other side learns nothing of it.
    assert!(!exchange.local.sdp().contains("cap:") && !exchange.local.sdp().contains("cfg:"), "{name}");
    (profile, lines(text, "a=acfg:").concat())
}

#[test]
fn linphone_gets_srtp_by_whichever_configuration_has_it() {
    for security in [Security::Required, Security::BestEffort] {
        let taken = LINPHONE.map(|name| answered(&mut Call::new(security, Security::Plain), name));
        let configurations = ["a=acfg:1 t=1 a=1", "a=acfg:2 t=2 a=1", "a=acfg:1 t=1 a=1", "a=acfg:2 t=2 a=4"];
        assert_eq!(
            taken,
            configurations.map(|taken| ("RTP/SAVP".to_owned(), taken.to_owned())),
            "{security:?}"
        );
    }
}

#[test]
fn linphone_gets_the_first_of_its_alternatives_that_the_policy_has() {
    let mut call = Call::new(Security::Required, Security::Plain);
    call.policy.suites = vec![Suite::AesCm256HmacSha1_32, Suite::AesCm256HmacSha1_80];
    let exchange = call.exchange(Side::Caller, &captured(LINPHONE[1]), Peer::Plain).expect("SRTP");
    assert_eq!(lines(exchange.made.sdp(), "a=acfg:"), ["a=acfg:2 t=2 a=3"]);
    assert_eq!(lines(exchange.made.sdp(), "a=crypto:3 AES_256_CM_HMAC_SHA1_80 ").len(), 1);
}

#[test]
fn linphone_gets_a_handshake_where_that_is_preferred() {
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    call.policy.caller.keyings = Some(vec![Keying::DtlsSrtp]);
    let taken = [LINPHONE[2], LINPHONE[3]]
        .map(|name| answered(&mut Call::with(call.policy.clone()).in_media_path(), name));
    let configurations = ["a=acfg:2 t=2 a=5,6,7", "a=acfg:1 t=1 a=1,2,3"];
    assert_eq!(taken, configurations.map(|taken| ("UDP/TLS/RTP/SAVP".to_owned(), taken.to_owned())));
}

#[test]
fn linphone_gets_rtp_only_where_srtp_is_not_wanted() {
    for name in LINPHONE {
        let (profile, _) = answered(&mut Call::new(Security::Plain, Security::Plain), name);
        assert_eq!(profile, "RTP/AVP", "{name}");
    }
}

#[test]
fn linphone_s_answer_repeats_all_alternatives_and_the_tag_says_which() {
    let answer = |acfg: &str, tag: u32| {
        let mut call = Call::with_form(Security::BestEffort, BestEffortForm::Capabilities);
        call.policy.suites = vec![Suite::AesCm256HmacSha1_80, Suite::AesCm128HmacSha1_80];
        let (offer, local) = call.offer(Side::Caller, &audio("RTP/AVP", &[])).expect("an offer");
        assert_eq!(lines(local.sdp(), "a=pcfg:"), ["a=pcfg:1 t=1 a=1|2"]);
        let suite = ["AES_256_CM_HMAC_SHA1_80", CM80][tag as usize - 1];
        let text = audio("RTP/SAVP", &[&format!("crypto:{}", crypto(tag, suite, b'b')), acfg]);
        let read = call.answer(&offer, &local, &text).map(|(answer, _)| answer.agreed());
        read.map(|agreed| at(&agreed, 0).keying)
    };
    for tag in [1, 2] {
        // As linphone 5.1 writes it.
        assert_eq!(answer("acfg:1 a=1|2 t=1", tag).expect("the whole configuration"), Keying::Sdes);
    }
    for wrong in [
        "acfg:1 a=1|2|3 t=1",
        "acfg:1 a=2|1 t=1",
        "acfg:2 a=1|2 t=1",
        "acfg:1 a=1|2 t=2",
        "acfg:1 a=-m:1|2 t=1",
    ] {
        let error = answer(wrong, 1).expect_err(wrong);
        let refused = matches!(error, NegotiationError::Media { fault: Fault::ConfigurationNotOffered, .. });
        assert!(refused, "{wrong}: {error}");
    }
}

#[test]
fn of_pjsip_s_two_lines_the_secure_one_is_taken_unless_srtp_is_not_wanted() {
    let text = captured("pjsip-two-lines-offer.sdp");
    for (security, secure) in
        [(Security::Required, true), (Security::BestEffort, true), (Security::Plain, false)]
    {
        let mut call = Call::new(security, Security::Plain);
        let exchange = call.exchange(Side::Caller, &text, Peer::Plain).expect("an exchange");
        assert_eq!(exchange.secure(), (Some(secure), Some(false)), "{security:?}");
        check_answer(&text, &exchange, "pjsip");
        let answer = Sdp::parse(exchange.made.sdp()).expect("the answer");
        let used: Vec<_> = answer.media().iter().map(|media| (media.proto(), media.port() != 0)).collect();
        assert_eq!(used, [("RTP/SAVP", secure), ("RTP/AVP", !secure)], "{security:?}");
        // It is one medium to the other side.
        assert_eq!(lines(exchange.local.sdp(), "m="), ["m=audio 20000 RTP/AVP 0 8 96"]);
    }
}

#[test]
fn pjsip_s_offer_of_the_line_that_was_taken_changes_no_key() {
    let mut call = Call::new(Security::Required, Security::Plain);
    let first =
        call.exchange(Side::Caller, &captured("pjsip-two-lines-offer.sdp"), Peer::Plain).expect("SRTP");
    // Without the format that was not answered, and the line of RTP with port 0.
    let text = captured("pjsip-two-lines-reoffer.sdp");
    let again = call.exchange(Side::Caller, &text, Peer::Plain).expect("SRTP");
    check_answer(&text, &again, "pjsip");
    assert_eq!(again.secure(), (Some(true), Some(false)));
    assert_eq!(lines(again.made.sdp(), "a=crypto:"), lines(first.made.sdp(), "a=crypto:"));
    assert_eq!(lines(again.made.sdp(), "m=audio 0 "), ["m=audio 0 RTP/AVP 0 8 96"]);
}
