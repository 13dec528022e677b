use std::net::IpAddr;

use sluice_srtp::KeyOptions;
use zeroize::Zeroizing;

use super::*;
use crate::negotiation::{Agreed, Direction, NegotiatedKey, Protected};
use crate::robustness::Attested;

const TLS: Attested = Attested { hop_confidential: true, identity: crate::robustness::IdentityBinding::None };

#[test]
fn the_default_policy_keeps_its_own_rules() {
    assert_eq!(Policy::default().check(), Ok(()));
}

#[test]
fn a_policy_survives_toml_and_an_empty_one_is_the_default() {
    let mut policy = Policy { fips_only: true, ..Policy::default() };
    policy.callee.security = Security::BestEffort;
    policy.callee.best_effort = BestEffortForm::DualLines;
    policy.callee.address = Some(IpAddr::from([192, 0, 2, 7]));
    policy.callee.lifetime = Some(31);
    policy.caller.lowest_robustness = Some(RobustnessClass::PassiveSignalingPassiveMedia);
    let text = toml::to_string(&policy).unwrap();
    assert!(text.contains("AEAD_AES_256_GCM") && text.contains("dual-lines"), "{text}");
    assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy);
    assert_eq!(toml::from_str::<Policy>("").unwrap(), Policy::default());
}

#[test]
fn keys_and_names_that_are_unknown_are_refused() {
    for (text, told) in [
        ("suite = []", "suite"),
        ("suites = [\"AES_CM_512\"]", "AES_CM_512"),
        ("keyings = [\"carrier-pigeon\"]", "carrier-pigeon"),
        ("[caller]\nsecure = true", "secure"),
        ("[early_media]\nseconds = 2", "seconds"),
    ] {
        let error = toml::from_str::<Policy>(text).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        let error = toml::from_str::<PolicyOverrides>(text).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn names_in_the_configuration_are_those_that_are_shown() {
    for keying in Keying::ALL {
        assert_eq!(serde_json::to_string(&keying).unwrap(), format!("\"{keying}\""));
    }
    for security in [Security::Required, Security::BestEffort, Security::Plain] {
        assert_eq!(serde_json::to_string(&security).unwrap(), format!("\"{security}\""));
    }
}

#[test]
fn what_is_out_of_range_or_twice_is_told_by_its_name() {
    let wrong = |text: &str| toml::from_str::<Policy>(text).unwrap().check().unwrap_err();
    assert_eq!(wrong("suites = []"), PolicyError::NoSuites(Side::Caller));
    assert_eq!(wrong("keyings = []"), PolicyError::NoKeyings);
    assert_eq!(wrong("keyings = [\"sdes\", \"sdes\"]"), PolicyError::RepeatedKeying(Keying::Sdes));
    let twice = wrong("suites = [\"AEAD_AES_128_GCM\", \"AEAD_AES_256_GCM\", \"AEAD_AES_128_GCM\"]");
    assert_eq!(twice, PolicyError::RepeatedSuite(Suite::AeadAes128Gcm));
    assert_eq!(wrong("caller.mki_length = 129"), PolicyError::MkiLength { side: Side::Caller, length: 129 });
    assert_eq!(wrong("callee.lifetime = 49"), PolicyError::Lifetime { side: Side::Callee, exponent: 49 });
    assert_eq!(wrong("callee.lifetime = 0"), PolicyError::Lifetime { side: Side::Callee, exponent: 0 });
    assert_eq!(wrong("early_media.packets = 0"), PolicyError::EarlyMediaPackets(0));
    assert_eq!(wrong("early_media.packets = 1025"), PolicyError::EarlyMediaPackets(1025));
    assert_eq!(wrong("early_media.milliseconds = 10001"), PolicyError::EarlyMediaMilliseconds(10_001));
    assert_eq!(wrong("branch_timeout_seconds = 0"), PolicyError::BranchTimeout(0));
    assert_eq!(wrong("branch_timeout_seconds = 3601"), PolicyError::BranchTimeout(3601));
    assert!(wrong("callee.lifetime = 49").to_string().contains("policy.callee.lifetime"));
}

#[test]
fn bounds_themselves_are_taken() {
    let text = "branch_timeout_seconds = 3600\n[caller]\nmki_length = 128\nlifetime = 48\n\
                [early_media]\npackets = 1024\nmilliseconds = 10000";
    assert_eq!(toml::from_str::<Policy>(text).unwrap().check(), Ok(()));
}

#[test]
fn a_policy_that_contradicts_itself_is_refused() {
    let wrong = |text: &str| toml::from_str::<Policy>(text).unwrap().check().unwrap_err();
    let floor = RobustnessClass::PassiveSignalingPassiveMedia;
    let below = wrong("lowest_robustness = \"passive-signaling-passive-media\"\ncallee.security = \"plain\"");
    assert_eq!(below, PolicyError::PlainBelowFloor { side: Side::Callee, security: Security::Plain, floor });
    let below = wrong(
        "[callee]\nsecurity = \"best-effort\"\nlowest_robustness = \"passive-signaling-passive-media\"",
    );
    assert_eq!(
        below,
        PolicyError::PlainBelowFloor { side: Side::Callee, security: Security::BestEffort, floor }
    );
    let early = "lowest_robustness = \"passive-signaling-passive-media\"\nearly_media.mode = \"plain\"";
    assert_eq!(wrong(early), PolicyError::EarlyMediaBelowFloor { side: Side::Caller, floor });
    assert_eq!(
        wrong("keyings = [\"sdes\", \"none\"]\nlowest_robustness = \"active-signaling-active-media\""),
        PolicyError::FloorOutOfReach {
            side: Side::Caller,
            floor: RobustnessClass::ActiveSignalingActiveMedia,
            best: floor
        }
    );
    assert_eq!(
        wrong("keyings = [\"sdes\"]\ncaller.security = \"plain\""),
        PolicyError::PlainWithoutKeying { side: Side::Caller, security: Security::Plain }
    );
    assert_eq!(
        wrong("keyings = [\"none\"]"),
        PolicyError::SrtpWithoutKeying { side: Side::Caller, security: Security::Required }
    );
    assert_eq!(
        wrong("fips_only = true\nsuites = [\"AEAD_ARIA_256_GCM\", \"NULL_HMAC_SHA1_80\"]"),
        PolicyError::NoApprovedSuite
    );
}

#[test]
fn a_plain_gateway_needs_no_suite() {
    let text = "suites = []\nkeyings = [\"none\"]\ncaller.security = \"plain\"\ncallee.security = \"plain\"";
    assert_eq!(toml::from_str::<Policy>(text).unwrap().check(), Ok(()));
}

#[test]
fn a_suite_is_refused_by_the_rule_that_lacks_it() {
    let mut policy = Policy::default();
    assert_eq!(policy.refuses_suite(Suite::AeadAes256Gcm), None);
    let violation = policy.refuses_suite(Suite::AeadAria256Gcm).unwrap();
    assert_eq!(violation.rule, Rule::Suites);
    assert!(violation.to_string().starts_with("policy.suites refuses it: AEAD_ARIA_256_GCM"), "{violation}");
    policy.suites.push(Suite::AeadAria256Gcm);
    assert_eq!(policy.refuses_suite(Suite::AeadAria256Gcm), None);
    policy.fips_only = true;
    assert_eq!(policy.refuses_suite(Suite::AeadAria256Gcm).unwrap().rule, Rule::FipsOnly);
    assert!(!policy.usable_suites().any(|suite| suite == Suite::AeadAria256Gcm));
    assert_eq!(policy.usable_suites().next(), Some(Suite::AeadAes256Gcm), "preference is kept");
}

#[test]
fn approved_suites_encrypt_and_are_of_aes() {
    for suite in Suite::ALL {
        let aes = suite.name().contains("AES") && suite.encrypts();
        assert_eq!(fips_approved(suite), aes, "{suite}");
    }
}

#[test]
fn a_keying_is_refused_by_name() {
    let mut policy = Policy::default();
    let violation = policy.refuses_keying(Side::Caller, Keying::Zrtp).unwrap();
    assert_eq!(violation.rule, Rule::Keyings);
    assert!(
        violation.reason.contains("zrtp") && violation.reason.contains("sdes, dtls-srtp, none"),
        "{violation}"
    );
    assert_eq!(policy.refuses_keying(Side::Caller, Keying::Sdes), None);
    assert_eq!(policy.refuses_keying(Side::Caller, Keying::DtlsSrtp), None);
    policy.callee.keyings = Some(vec![Keying::DtlsSrtp, Keying::None]);
    let violation = policy.refuses_keying(Side::Callee, Keying::Sdes).unwrap();
    assert_eq!(violation.rule.to_string(), "policy.callee.keyings");
    assert_eq!(policy.refuses_keying(Side::Caller, Keying::Sdes), None);
}

#[test]
fn a_keying_that_is_always_below_the_lowest_class_is_refused() {
    let policy =
        Policy { lowest_robustness: RobustnessClass::ActiveSignalingActiveMedia, ..Policy::default() };
    assert_eq!(policy.check(), Ok(()), "DTLS-SRTP reaches it");
    let violation = policy.refuses_keying(Side::Caller, Keying::Sdes).unwrap();
    assert_eq!(violation.rule, Rule::LowestRobustness);
    assert_eq!(policy.refuses_keys(Side::Caller), None);
    let only = Policy { keyings: vec![Keying::Sdes], ..policy };
    assert_eq!(only.refuses_keys(Side::Caller).unwrap().rule, Rule::LowestRobustness);
}

#[test]
fn handshakes_agree_on_suites_that_have_profiles() {
    let mut policy = Policy { suites: Suite::ALL.to_vec(), ..Policy::default() };
    assert!(policy.dtls_suites().all(Suite::encrypts));
    assert_eq!(policy.dtls_suites().count(), 6);
    assert_eq!(policy.refuses_dtls(Side::Caller), None);
    policy.suites = vec![Suite::AesCm256HmacSha1_80];
    assert_eq!(policy.refuses_dtls(Side::Caller).unwrap().rule, Rule::Suites);
    policy = Policy { suites: vec![Suite::AesCm256HmacSha1_80], fips_only: true, ..policy };
    assert_eq!(policy.refuses_dtls(Side::Caller).unwrap().rule, Rule::FipsOnly);
}

#[test]
fn a_sides_own_keyings_are_held_against_its_other_rules() {
    let wrong = |text: &str| toml::from_str::<Policy>(text).unwrap().check().unwrap_err();
    assert_eq!(wrong("callee.keyings = []"), PolicyError::NoPeerKeyings(Side::Callee));
    assert_eq!(
        wrong("callee.keyings = [\"sdes\", \"sdes\"]"),
        PolicyError::RepeatedPeerKeying { side: Side::Callee, keying: Keying::Sdes }
    );
    assert_eq!(
        wrong("[callee]\nkeyings = [\"sdes\"]\nboth_keyings = true"),
        PolicyError::NotBothKeyings(Side::Callee)
    );
    assert_eq!(
        wrong("[callee]\nkeyings = [\"sdes\"]\nsecurity = \"best-effort\""),
        PolicyError::PlainWithoutKeying { side: Side::Callee, security: Security::BestEffort }
    );
    let webrtc = "[callee]\nkeyings = [\"dtls-srtp\"]\nice = \"lite\"\ndtls_setup = \"passive\"";
    let policy = toml::from_str::<Policy>(webrtc).unwrap();
    assert_eq!(policy.check(), Ok(()));
    let session = PolicyOverrides { keyings: Some(vec![Keying::Sdes]), ..PolicyOverrides::default() };
    assert_eq!(policy.with(&session).unwrap().keyings_of(Side::Callee), [Keying::Sdes]);
}

#[test]
fn short_tags_are_those_of_the_suites_that_have_them() {
    let peer = PeerPolicy { short_rtcp_tags: true, ..PeerPolicy::default() };
    for suite in Suite::ALL {
        let Protected::Srtp(mut keys) = agreed(Keying::Sdes, suite).inbound else { unreachable!() };
        peer.adapt(&mut keys[0]);
        let short = suite.name().ends_with("_32");
        assert_eq!(keys[0].options.short_rtcp_tags, short, "{suite}");
        PeerPolicy::default().adapt(&mut keys[0]);
        assert_eq!(keys[0].options.short_rtcp_tags, short, "{suite}");
    }
}

#[test]
fn plain_rtp_is_refused_by_security_then_keyings_then_the_lowest_class() {
    let mut policy = Policy::default();
    assert_eq!(policy.refuses_plain(Side::Callee).unwrap().rule, Rule::Security(Side::Callee));
    policy.callee.security = Security::BestEffort;
    assert_eq!(policy.refuses_plain(Side::Callee), None);
    assert!(policy.refuses_plain(Side::Caller).unwrap().to_string().starts_with("policy.caller.security"));
    policy.lowest_robustness = RobustnessClass::PassiveSignalingPassiveMedia;
    assert_eq!(policy.refuses_plain(Side::Callee).unwrap().rule, Rule::LowestRobustness);
    policy.keyings = vec![Keying::Sdes];
    assert_eq!(policy.refuses_plain(Side::Callee).unwrap().rule, Rule::Keyings);
}

#[test]
fn a_sides_own_lowest_class_counts_before_the_general_one_both_ways() {
    let mut policy =
        Policy { lowest_robustness: RobustnessClass::ActiveSignalingActiveMedia, ..Policy::default() };
    policy.caller.lowest_robustness = Some(RobustnessClass::PassiveSignalingPassiveMedia);
    let class = RobustnessClass::PassiveSignalingPassiveMedia;
    assert_eq!(policy.refuses_robustness(Side::Caller, class), None);
    assert_eq!(policy.refuses_robustness(Side::Callee, class).unwrap().rule, Rule::LowestRobustness);
    let violation = policy.refuses_robustness(Side::Caller, RobustnessClass::NoSignalingActiveMedia).unwrap();
    assert_eq!(violation.rule.to_string(), "policy.caller.lowest_robustness");
}

#[test]
fn what_was_negotiated_is_held_against_every_rule() {
    let mut policy = Policy::default();
    let srtp = agreed(Keying::Sdes, Suite::AesCm128HmacSha1_80);
    assert_eq!(policy.refuses_agreed(Side::Caller, &srtp, &TLS), None);

    let other = agreed(Keying::Sdes, Suite::AeadAria128Gcm);
    assert_eq!(policy.refuses_agreed(Side::Caller, &other, &TLS).unwrap().rule, Rule::Suites);
    let zrtp = agreed(Keying::Zrtp, Suite::AesCm128HmacSha1_80);
    assert_eq!(policy.refuses_agreed(Side::Caller, &zrtp, &TLS).unwrap().rule, Rule::Keyings);
    let half = Agreed { outbound: Protected::Plain, ..srtp.clone() };
    assert_eq!(policy.refuses_agreed(Side::Caller, &half, &TLS).unwrap().rule, Rule::Security(Side::Caller));

    policy.lowest_robustness = RobustnessClass::PassiveSignalingPassiveMedia;
    assert_eq!(policy.refuses_agreed(Side::Caller, &srtp, &TLS), None);
    let violation = policy.refuses_agreed(Side::Caller, &srtp, &Attested::default()).unwrap();
    assert_eq!(violation.rule, Rule::LowestRobustness);
    assert!(violation.reason.contains("no-signaling-passive-media"), "{violation}");

    policy.caller.security = Security::Plain;
    assert_eq!(policy.refuses_agreed(Side::Caller, &srtp, &TLS).unwrap().rule, Rule::Security(Side::Caller));
}

#[test]
fn a_session_says_what_differs_and_no_more() {
    let mut policy = Policy { fips_only: true, ..Policy::default() };
    policy.callee.mki_length = 4;
    let session =
        toml::from_str("callee.security = \"best-effort\"\nsuites = [\"AEAD_AES_128_GCM\"]").unwrap();
    let merged = policy.with(&session).unwrap();
    let mut expected = policy.clone();
    expected.callee.security = Security::BestEffort;
    expected.suites = vec![Suite::AeadAes128Gcm];
    assert_eq!(merged, expected);
    assert_eq!(policy.with(&PolicyOverrides::default()), Ok(policy));
}

#[test]
fn a_sessions_lowest_class_is_that_of_both_sides_unless_it_says_otherwise() {
    let mut policy = Policy::default();
    policy.caller.lowest_robustness = Some(RobustnessClass::NoSignalingPassiveMedia);
    let floor = RobustnessClass::PassiveSignalingPassiveMedia;
    let session = PolicyOverrides { lowest_robustness: Some(floor), ..PolicyOverrides::default() };
    let merged = policy.with(&session).unwrap();
    assert_eq!((merged.floor(Side::Caller), merged.floor(Side::Callee)), (floor, floor));
}

#[test]
fn a_session_cannot_have_a_policy_that_contradicts_itself() {
    let session =
        toml::from_str("keyings = [\"sdes\"]\nlowest_robustness = \"active-signaling-active-media-detect\"")
            .unwrap();
    assert!(matches!(Policy::default().with(&session), Err(PolicyError::FloorOutOfReach { .. })));
    let session = toml::from_str("callee.mki_length = 200").unwrap();
    assert!(matches!(Policy::default().with(&session), Err(PolicyError::MkiLength { .. })));
}

fn agreed(keying: Keying, suite: Suite) -> Agreed {
    let key = NegotiatedKey {
        suite,
        key_salt: Zeroizing::new(vec![7; suite.key_len() + suite.salt_len()]),
        options: KeyOptions::default(),
        window: None,
    };
    Agreed {
        remote: None,
        remote_rtcp: None,
        rtcp_mux: true,
        keying,
        inbound: Protected::Srtp(vec![key.clone()]),
        outbound: Protected::Srtp(vec![key]),
        payload_types: vec![0],
        codecs: vec![],
        ssrcs: vec![],
        direction: Direction::SendRecv,
        dtls: None,
        ice: None,
    }
}
