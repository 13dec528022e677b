//! Handshakes that are offered and answered (RFC 5763, RFC 8842): roles, forms, and what is refused.

use sluice_keying::dtls_srtp::Role;
use sluice_keying::negotiation::{Agreed, Fault, NegotiationError, Protected, Treatment};
use sluice_keying::policy::{DtlsSetup, ForeignKeying, Keying, Policy, Rule, Security, Side, fips_approved};
use sluice_keying::robustness::{Attested, IdentityBinding, RobustnessClass, of_agreed};
use sluice_keying::sdp::Setup;
use sluice_srtp::Suite;

use super::support::{CM80, Call, Peer, at, audio, certificate, crypto, lines};

/// What a peer says of itself, with the rest after it.
pub(crate) fn fingerprint(letter: u8) -> String {
    format!("fingerprint:{}", certificate(letter))
}

pub(crate) const TLS_ID: &str = "tls-id:abc3de65cddef001be82";

/// SRTP towards both, by handshakes towards the callee.
pub(crate) fn call() -> Call {
    let mut call = Call::new(Security::Required, Security::Required).in_media_path();
    call.policy.callee.keyings = Some(vec![Keying::DtlsSrtp]);
    call
}

pub(crate) fn secure_audio() -> String {
    audio("RTP/SAVP", &[&format!("crypto:{}", crypto(1, CM80, b'a'))])
}

/// An offer of a handshake.
pub(crate) fn offer(setup: &str) -> String {
    audio("UDP/TLS/RTP/SAVPF", &[&format!("setup:{setup}"), &fingerprint(b'p'), TLS_ID])
}

/// An answer that takes one.
pub(crate) fn answer(setup: &str) -> String {
    let text = audio("UDP/TLS/RTP/SAVP", &[&format!("setup:{setup}"), &fingerprint(b'q'), TLS_ID]);
    text.replace("192.0.2.10", "192.0.2.20").replace("audio 4000", "audio 6000")
}

fn role(agreed: &[Option<Agreed>]) -> Role {
    at(agreed, 0).dtls.as_ref().expect("a handshake").role
}

#[test]
fn an_offer_with_fingerprints_is_answered_by_a_handshake_and_the_other_side_has_crypto_lines() {
    let mut call = Call::new(Security::Required, Security::Required).in_media_path();
    let exchange = call.exchange(Side::Caller, &offer("actpass"), Peer::Sdes).expect("DTLS-SRTP");
    let text = exchange.made.sdp();
    assert_eq!(lines(text, "m="), ["m=audio 10000 UDP/TLS/RTP/SAVPF 0 8 101"]);
    assert_eq!(lines(text, "a=setup"), ["a=setup:active"]);
    assert_eq!(lines(text, "a=fingerprint"), [format!("a=fingerprint:{}", certificate(b'A'))]);
    assert!(!text.contains("a=crypto"), "{text}");
    let agreed = exchange.made.agreed();
    let (agreed, dtls) = (at(&agreed, 0), at(&agreed, 0).dtls.clone().expect("a handshake"));
    assert_eq!((agreed.keying, &agreed.inbound), (Keying::DtlsSrtp, &Protected::InMediaPath));
    assert_eq!(agreed.outbound, Protected::InMediaPath);
    assert_eq!((dtls.role, dtls.association), (Role::Client, 1));
    assert_eq!(dtls.peer.fingerprints, [certificate(b'p')]);
    assert_eq!(dtls.peer.tls_id.as_deref(), Some("abc3de65cddef001be82"));
    assert_eq!(lines(text, "a=tls-id"), [format!("a=tls-id:{}", dtls.own.tls_id)]);
    assert!((20..=255).contains(&dtls.own.tls_id.len()));
    // The other one is offered what the policy has first, which is SDES unless it says otherwise.
    assert_eq!(lines(exchange.local.sdp(), "m="), ["m=audio 20000 RTP/SAVPF 0 8 101"]);
    assert!(!exchange.local.sdp().contains("fingerprint"), "{}", exchange.local.sdp());
    assert_eq!(at(&exchange.answer.agreed(), 0).keying, Keying::Sdes);
}

#[test]
fn an_offer_by_handshake_has_the_callees_certificate_and_leaves_the_role_to_it() {
    let mut call = call();
    let (remote, local) = call.offer(Side::Caller, &secure_audio()).expect("an offer");
    let text = local.sdp();
    assert_eq!(lines(text, "m="), ["m=audio 20000 UDP/TLS/RTP/SAVP 0 8 101"]);
    assert_eq!(lines(text, "a=fingerprint"), [format!("a=fingerprint:{}", certificate(b'B'))]);
    assert_eq!(lines(text, "a=setup"), ["a=setup:actpass"]);
    assert_eq!(lines(text, "a=rtcp-mux").len(), 1, "one handshake is enough");
    let offered = local.offered()[0].clone().expect("a transport");
    let dtls = offered.dtls.expect("a handshake");
    assert_eq!((dtls.setup, dtls.standing), (Setup::ActPass, None));
    assert_eq!(lines(text, "a=tls-id"), [format!("a=tls-id:{}", dtls.own.tls_id)]);
    for (setup, role) in [("active", Role::Server), ("passive", Role::Client)] {
        let (read, made) = call.answer(&remote, &local, &answer(setup)).expect("an answer");
        let agreed = read.agreed();
        let agreed = at(&agreed, 0).dtls.as_ref().expect("a handshake");
        assert_eq!((agreed.role, &agreed.own), (role, &dtls.own), "{setup}");
        assert_eq!(agreed.peer.fingerprints, [certificate(b'q')]);
        assert_eq!(at(&made.agreed(), 0).keying, Keying::Sdes, "the caller has crypto lines");
        call.standing = Default::default();
    }
}

#[test]
fn roles_follow_what_the_peer_says_and_else_the_policy() {
    let answered = |setup: &str, policy: DtlsSetup| {
        let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
        call.policy.caller.dtls_setup = policy;
        let exchange = call.exchange(Side::Caller, &offer(setup), Peer::Plain).expect(setup);
        let said = lines(exchange.made.sdp(), "a=setup")[0].to_owned();
        (role(&exchange.made.agreed()), said)
    };
    let active = (Role::Client, "a=setup:active".to_owned());
    let passive = (Role::Server, "a=setup:passive".to_owned());
    assert_eq!(answered("actpass", DtlsSetup::Actpass), active);
    assert_eq!(answered("actpass", DtlsSetup::Active), active);
    assert_eq!(answered("actpass", DtlsSetup::Passive), passive);
    assert_eq!(answered("active", DtlsSetup::Active), passive);
    assert_eq!(answered("passive", DtlsSetup::Passive), active);
    // RFC 4145 section 4: "the default value … is 'active' in the offer".
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    let unsaid = offer("actpass").replace("a=setup:actpass\r\n", "");
    let exchange = call.exchange(Side::Caller, &unsaid, Peer::Plain).expect("a default");
    assert_eq!(role(&exchange.made.agreed()), Role::Server);
}

#[test]
fn an_answer_whose_role_does_not_fit_is_refused() {
    for (policy, got, fits) in [
        (DtlsSetup::Actpass, "actpass", false),
        (DtlsSetup::Active, "active", false),
        (DtlsSetup::Active, "passive", true),
        (DtlsSetup::Passive, "passive", false),
        (DtlsSetup::Passive, "active", true),
    ] {
        let mut call = call();
        call.policy.callee.dtls_setup = policy;
        let (remote, local) = call.offer(Side::Caller, &secure_audio()).expect("an offer");
        let result = call.answer(&remote, &local, &answer(got));
        match result {
            Ok((read, _)) => assert!(fits && role(&read.agreed()) != Role::Server || got == "active"),
            Err(error) => {
                assert!(!fits, "{error}");
                assert!(
                    matches!(error, NegotiationError::Media { fault: Fault::Setup { .. }, .. }),
                    "{error}"
                );
            }
        }
    }
    // Without a word the answerer is passive.
    let mut call = call();
    let (remote, local) = call.offer(Side::Caller, &secure_audio()).expect("an offer");
    let unsaid = answer("active").replace("a=setup:active\r\n", "");
    let (read, _) = call.answer(&remote, &local, &unsaid).expect("a default");
    assert_eq!(role(&read.agreed()), Role::Client);
}

#[test]
fn nothing_is_shaken_where_the_peer_holds_the_connection() {
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    let one = call.exchange(Side::Caller, &offer("holdconn"), Peer::Plain).expect("a hold");
    let agreed = one.made.agreed();
    assert_eq!((&at(&agreed, 0).inbound, &at(&agreed, 0).dtls), (&Protected::InMediaPath, &None));
    assert_eq!(lines(one.made.sdp(), "a=setup"), ["a=setup:holdconn"]);
    let two = call.exchange(Side::Caller, &offer("actpass"), Peer::Plain).expect("a handshake");
    let held = call.exchange(Side::Caller, &offer("holdconn"), Peer::Plain).expect("a hold");
    assert_eq!(at(&held.made.agreed(), 0).dtls, at(&two.made.agreed(), 0).dtls, "keys stay");
}

#[test]
fn the_line_counts_before_the_session() {
    let session = format!("t=0 0\r\na=setup:passive\r\na={}\r\n", fingerprint(b's'));
    let at_session = audio("UDP/TLS/RTP/SAVP", &[]).replace("t=0 0\r\n", &session);
    let at_line = audio("UDP/TLS/RTP/SAVP", &["setup:active", &fingerprint(b'l'), &fingerprint(b'm')])
        .replace("t=0 0\r\n", &session);
    for (text, role, certificates) in
        [(at_session, Role::Client, &b"s"[..]), (at_line, Role::Server, &b"lm"[..])]
    {
        let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
        let exchange = call.exchange(Side::Caller, &text, Peer::Plain).expect("DTLS-SRTP");
        let agreed = exchange.made.agreed();
        let dtls = at(&agreed, 0).dtls.clone().expect("a handshake");
        assert_eq!(dtls.role, role);
        assert_eq!(dtls.peer.fingerprints.len(), certificates.len());
        for letter in certificates {
            assert!(dtls.peer.fingerprints.contains(&certificate(*letter)));
        }
        assert_eq!(
            lines(exchange.made.sdp(), "a=tls-id"),
            Vec::<&str>::new(),
            "who names nothing gets no name"
        );
    }
}

#[test]
fn of_several_hash_functions_weak_ones_never_count() {
    use sluice_keying::dtls_srtp::{Fingerprint, HashFunction};
    let strong = Fingerprint::of(HashFunction::Sha512, b"p");
    let weak = "fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB";
    let several = ["setup:actpass", weak, &fingerprint(b'p'), &format!("fingerprint:{strong}")];
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    let exchange =
        call.exchange(Side::Caller, &audio("UDP/TLS/RTP/SAVP", &several), Peer::Plain).expect("DTLS-SRTP");
    assert_eq!(
        at(&exchange.made.agreed(), 0).dtls.as_ref().unwrap().peer.fingerprints,
        [certificate(b'p'), strong]
    );
    for (attributes, want) in [
        (vec!["setup:actpass", weak], "its hash function is not one of sha-256"),
        (vec!["setup:actpass", "fingerprint:sha-256 AA:BB"], "its octets are not as many"),
        (vec!["setup:actpass"], "without a=fingerprint"),
        (vec!["setup:maybe", &fingerprint(b'p')], "a=setup must be"),
        (vec!["tls-id:short", &fingerprint(b'p')], "a=tls-id must be 20 to 255"),
    ] {
        let error = call.offer(Side::Caller, &audio("UDP/TLS/RTP/SAVP", &attributes)).expect_err(want);
        assert!(error.to_string().contains(want), "{error}");
    }
}

#[test]
fn what_answers_a_handshake_is_one() {
    let refused = |text: &str| {
        let mut call = call();
        let (remote, local) = call.offer(Side::Caller, &secure_audio()).expect("an offer");
        match call.answer(&remote, &local, text) {
            Err(NegotiationError::Media { fault, .. }) => fault,
            other => panic!("{other:?}"),
        }
    };
    let key = format!("crypto:{}", crypto(1, CM80, b'b'));
    let answered = audio("UDP/TLS/RTP/SAVP", &["setup:active"]);
    assert!(matches!(refused(&answered), Fault::NoFingerprint { .. }));
    let answered = audio("UDP/TLS/RTP/SAVP", &["setup:active", "fingerprint:md5 00"]);
    assert!(matches!(refused(&answered), Fault::Fingerprint { .. }));
    let answered = audio("RTP/SAVP", &[&key]);
    assert!(matches!(refused(&answered), Fault::ProfileNotOffered { .. }));
    let answered = audio("UDP/TLS/RTP/SAVP", &["setup:active", &fingerprint(b'q'), &key]);
    assert!(matches!(refused(&answered), Fault::CryptoNotOffered));
}

#[test]
fn a_handshake_needs_a_certificate() {
    let mut call = call();
    call.own[1][0].dtls = None;
    let error = call.offer(Side::Caller, &secure_audio()).expect_err("nothing to show");
    assert_eq!(error, NegotiationError::NoCertificate { transport: 0 });
    // Where there is another keying, that is offered.
    call.policy.callee.keyings = Some(vec![Keying::DtlsSrtp, Keying::Sdes]);
    let (_, local) = call.offer(Side::Caller, &secure_audio()).expect("an offer");
    assert_eq!(lines(local.sdp(), "m="), ["m=audio 20000 RTP/SAVP 0 8 101"]);
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    call.own[0][0].dtls = None;
    let (remote, local) = call.offer(Side::Caller, &offer("actpass")).expect("an offer");
    let error = call.answer(&remote, &local, &Peer::Plain.answer(local.sdp())).expect_err("nothing to show");
    assert_eq!(error, NegotiationError::NoCertificate { transport: 0 });
}

#[test]
fn suites_are_those_of_the_policy_that_have_profiles() {
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    call.policy.suites = vec![Suite::AesCm256HmacSha1_80, Suite::AeadAria128Gcm, Suite::AeadAes128Gcm];
    let exchange = call.exchange(Side::Caller, &offer("actpass"), Peer::Plain).expect("DTLS-SRTP");
    assert_eq!(at(&exchange.made.agreed(), 0).dtls.as_ref().unwrap().suites, [Suite::AeadAes128Gcm]);
    call.policy.suites = vec![Suite::AesCm256HmacSha1_80];
    let error = call.offer(Side::Caller, &offer("actpass")).expect_err("no profile");
    assert_eq!(error.policy().map(|violation| violation.rule), Some(Rule::Suites), "{error}");
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    call.policy.fips_only = true;
    let exchange = call.exchange(Side::Caller, &offer("actpass"), Peer::Plain).expect("DTLS-SRTP");
    let agreed = exchange.made.agreed();
    let suites = &at(&agreed, 0).dtls.as_ref().unwrap().suites;
    assert!(suites.len() == 4 && suites.iter().all(|suite| fips_approved(*suite)));
}

#[test]
fn keyings_that_a_side_does_not_have_are_refused_or_go_by_the_gateway() {
    let mut policy = Policy { keyings: vec![Keying::Sdes], ..Policy::default() };
    let read = |policy: &Policy| {
        sluice_keying::negotiation::RemoteOffer::read(&offer("actpass"), policy, Side::Caller)
    };
    let error = read(&policy).expect_err("SDES alone");
    assert_eq!(error.policy().map(|violation| violation.rule), Some(Rule::Keyings), "{error}");
    policy.foreign_keying = ForeignKeying::Pass;
    assert_eq!(read(&policy).expect("it passes").media()[0].treatment, Treatment::Around);
    policy.caller.keyings = Some(vec![Keying::DtlsSrtp]);
    assert_eq!(read(&policy).expect("it is the side's").media()[0].treatment, Treatment::Gateway);
    policy.caller.security = Security::Plain;
    policy.keyings.push(Keying::None);
    policy.caller.keyings = None;
    assert!(read(&Policy { foreign_keying: ForeignKeying::Refuse, ..policy }).is_err());
}

#[test]
fn the_class_of_a_handshake_depends_on_what_is_attested() {
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    let exchange = call.exchange(Side::Caller, &offer("actpass"), Peer::Plain).expect("DTLS-SRTP");
    let agreed = exchange.made.agreed();
    let agreed = at(&agreed, 0);
    let bound = Attested { hop_confidential: true, identity: IdentityBinding::OfferAndAnswer };
    assert_eq!(of_agreed(agreed, &Attested::default()), RobustnessClass::ActiveSignalingActiveMedia);
    assert_eq!(of_agreed(agreed, &bound), RobustnessClass::ActiveSignalingActiveMediaDetect);
    let mut policy = call.policy.clone();
    policy.caller.lowest_robustness = Some(RobustnessClass::ActiveSignalingActiveMediaDetect);
    assert_eq!(policy.refuses_agreed(Side::Caller, agreed, &bound), None);
    let violation = policy.refuses_agreed(Side::Caller, agreed, &Attested::default()).expect("below it");
    assert_eq!(violation.rule, Rule::PeerLowestRobustness(Side::Caller));
    policy.caller.lowest_robustness = None;
    policy.suites.pop();
    let violation = policy.refuses_agreed(Side::Caller, agreed, &bound).expect("a suite less");
    assert_eq!(violation.rule, Rule::Suites);
    // What is below the lowest class whatever is attested is not taken where something better is offered.
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    call.policy.caller.lowest_robustness = Some(RobustnessClass::ActiveSignalingActiveMedia);
    let key = format!("crypto:{}", crypto(1, CM80, b'a'));
    let text = audio("RTP/SAVP", &[&key, "setup:actpass", &fingerprint(b'p')]);
    let exchange = call.exchange(Side::Caller, &text, Peer::Plain).expect("DTLS-SRTP");
    assert_eq!(at(&exchange.made.agreed(), 0).keying, Keying::DtlsSrtp);
}

#[test]
fn short_rtcp_tags_are_those_of_the_side_that_has_them() {
    let mut call = Call::new(Security::Required, Security::Required);
    call.policy.caller.short_rtcp_tags = true;
    call.policy.suites = vec![Suite::AesCm128HmacSha1_32];
    let text = audio("RTP/SAVP", &[&format!("crypto:{}", crypto(1, "AES_CM_128_HMAC_SHA1_32", b'a'))]);
    let exchange = call.exchange(Side::Caller, &text, Peer::Sdes).expect("SRTP");
    let short = |agreed: &[Option<Agreed>]| {
        [&at(agreed, 0).inbound, &at(agreed, 0).outbound].map(|protected| match protected {
            Protected::Srtp(keys) => keys[0].options.short_rtcp_tags,
            _ => panic!("no SRTP"),
        })
    };
    assert_eq!(short(&exchange.made.agreed()), [true, true]);
    assert_eq!(short(&exchange.answer.agreed()), [false, false]);
}
