//! In which forms handshakes are offered, alone and beside crypto lines and plain RTP.

use sluice_keying::policy::{BestEffortForm, Keying, Security, Side};

use super::dtls::{call, fingerprint, secure_audio};
use super::support::{CM80, Call, Peer, at, audio, crypto, lines};

#[test]
fn fingerprints_are_taken_under_older_profiles_and_preference_is_the_policys() {
    let both = [&format!("crypto:{}", crypto(1, CM80, b'a')), "setup:actpass", &fingerprint(b'p')];
    let keying = |text: &str, keyings: &[Keying]| {
        let mut call = Call::new(Security::BestEffort, Security::Plain).in_media_path();
        call.policy.keyings = keyings.to_vec();
        let exchange = call.exchange(Side::Caller, text, Peer::Plain).expect(text);
        let text = exchange.made.sdp().to_owned();
        let agreed = exchange.made.agreed();
        let keying = at(&agreed, 0).keying;
        assert_eq!(text.contains("a=crypto"), keying == Keying::Sdes, "{text}");
        assert_eq!(text.contains("a=fingerprint"), keying == Keying::DtlsSrtp, "{text}");
        keying
    };
    let (sdes_first, dtls_first) =
        ([Keying::Sdes, Keying::DtlsSrtp, Keying::None], [Keying::DtlsSrtp, Keying::Sdes, Keying::None]);
    for profile in ["RTP/SAVP", "RTP/SAVPF", "RTP/AVP", "RTP/AVPF"] {
        assert_eq!(keying(&audio(profile, &both[1..]), &sdes_first), Keying::DtlsSrtp, "{profile}");
        assert_eq!(keying(&audio(profile, &both), &sdes_first), Keying::Sdes, "{profile}");
        assert_eq!(keying(&audio(profile, &both), &dtls_first), Keying::DtlsSrtp, "{profile}");
    }
    // A fingerprint that cannot be used leaves plain RTP where that may be, and SDES.
    let weak = "fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB";
    assert_eq!(keying(&audio("RTP/AVP", &[weak]), &dtls_first), Keying::None);
    assert_eq!(keying(&audio("RTP/AVP", &[weak, both[0]]), &dtls_first), Keying::Sdes);
}

#[test]
fn both_keyings_are_offered_on_one_line_only_where_the_policy_says_so() {
    let mut call = call();
    call.policy.callee.keyings = Some(vec![Keying::DtlsSrtp, Keying::Sdes]);
    let (_, local) = call.offer(Side::Caller, &secure_audio()).expect("an offer");
    assert!(!local.sdp().contains("a=crypto"), "{}", local.sdp());
    call.policy.callee.both_keyings = true;
    let (remote, local) = call.offer(Side::Caller, &secure_audio()).expect("an offer");
    assert_eq!(lines(local.sdp(), "m="), ["m=audio 20000 RTP/SAVP 0 8 101"]);
    assert_eq!((lines(local.sdp(), "a=crypto").len(), lines(local.sdp(), "a=fingerprint").len()), (4, 1));
    let suite = lines(local.sdp(), "a=crypto:1 ")[0].split(' ').nth(1).expect("a suite").to_owned();
    let key = format!("crypto:{}", crypto(1, &suite, b'b'));
    let dtls = ["setup:active", &fingerprint(b'q')];
    for (attributes, want) in [
        (vec![key.as_str()], Keying::Sdes),
        (dtls.to_vec(), Keying::DtlsSrtp),
        ([&dtls[..], &[key.as_str()]].concat(), Keying::DtlsSrtp),
    ] {
        let (read, _) = call.answer(&remote, &local, &audio("RTP/SAVP", &attributes)).expect("an answer");
        assert_eq!(at(&read.agreed(), 0).keying, want);
        // What was agreed on is offered again, under the profile it was agreed on with.
        let (_, again) = call.offer(Side::Caller, &secure_audio()).expect("a re-offer");
        assert_eq!(again.sdp().contains("a=crypto"), want == Keying::Sdes);
        assert_eq!(lines(again.sdp(), "m="), ["m=audio 20000 RTP/SAVP 0 8 101"]);
        call.standing = Default::default();
    }
}

#[test]
fn best_effort_has_a_form_for_handshakes_too() {
    let offered = |form| {
        let mut call = Call::with_form(Security::BestEffort, form).in_media_path();
        call.policy.callee.keyings = Some(vec![Keying::DtlsSrtp, Keying::None]);
        let (remote, local) = call.offer(Side::Caller, &audio("RTP/AVP", &[])).expect("an offer");
        (call, remote, local)
    };
    let (mut call, remote, local) = offered(BestEffortForm::Osrtp);
    assert_eq!(lines(local.sdp(), "m="), ["m=audio 20000 RTP/AVP 0 8 101"]);
    assert_eq!(lines(local.sdp(), "a=fingerprint").len(), 1);
    let osrtp = audio("RTP/AVP", &["setup:active", &fingerprint(b'q')]);
    let (read, _) = call.answer(&remote, &local, &osrtp).expect("RFC 8643");
    assert_eq!(at(&read.agreed(), 0).keying, Keying::DtlsSrtp);
    let (read, _) = call.answer(&remote, &local, &audio("RTP/AVP", &[])).expect("plain RTP");
    assert_eq!(at(&read.agreed(), 0).keying, Keying::None);

    let (mut call, remote, local) = offered(BestEffortForm::Capabilities);
    let names: Vec<_> =
        local.sdp().lines().skip(6).map(|line| line.split(['/', ' ']).next().unwrap()).collect();
    assert_eq!(names[1..5], ["a=tcap:1", "a=acap:1", "a=acap:2", "a=acap:3"], "{}", local.sdp());
    assert_eq!(lines(local.sdp(), "a=pcfg"), ["a=pcfg:1 t=1 a=1,2,[3]"], "who knows no tls-id may take it");
    assert_eq!(lines(local.sdp(), "a=tcap"), ["a=tcap:1 UDP/TLS/RTP/SAVP"]);
    let taken = |acfg: &str| audio("UDP/TLS/RTP/SAVP", &["setup:active", &fingerprint(b'q'), acfg]);
    // The last one is as linphone has it.
    for right in ["acfg:1 t=1 a=1,2,[3]", "acfg:1 t=1 a=1,2,3", "acfg:1 a=1,2 t=1"] {
        let (read, _) = call.answer(&remote, &local, &taken(right)).expect("RFC 5939");
        assert_eq!(at(&read.agreed(), 0).keying, Keying::DtlsSrtp, "{right}");
    }
    for wrong in ["acfg:1 t=1 a=1", "acfg:1 t=1 a=1,[3]", "acfg:1 t=1", "acfg:1 t=1 a=1|2", "x"] {
        assert!(call.answer(&remote, &local, &taken(wrong)).is_err(), "{wrong}");
    }

    let (_, _, local) = offered(BestEffortForm::DualLines);
    let both = ["m=audio 20000 UDP/TLS/RTP/SAVP 0 8 101", "m=audio 20000 RTP/AVP 0 8 101"];
    assert_eq!(lines(local.sdp(), "m="), both);
    assert!(local.offered()[0].as_ref().is_some_and(|offered| offered.dtls.is_some()));
}

#[test]
fn every_form_of_ours_is_understood_when_a_peer_offers_it() {
    use BestEffortForm::{Capabilities, DualLines, Osrtp};
    for form in [Osrtp, Capabilities, DualLines] {
        let mut one = Call::with_form(Security::BestEffort, form).in_media_path();
        one.policy.callee.keyings = Some(vec![Keying::DtlsSrtp, Keying::None]);
        let (_, offered) = one.offer(Side::Caller, &audio("RTP/AVP", &[])).expect("an offer");
        let mut two = Call::new(Security::BestEffort, Security::Plain).in_media_path();
        let exchange = two.exchange(Side::Caller, offered.sdp(), Peer::Plain).expect("DTLS-SRTP");
        assert_eq!(at(&exchange.made.agreed(), 0).keying, Keying::DtlsSrtp, "{form:?}");
        assert_eq!(lines(exchange.made.sdp(), "a=acfg").len(), usize::from(form == Capabilities));
    }
}
