use sluice_srtp::{KeyOptions, Omit, Suite};
use zeroize::Zeroizing;

use super::*;
use crate::negotiation::Direction;

const DOCUMENT: &str = include_str!("../../../../docs/robustness.md");

#[test]
fn plain_rtp_is_open_to_whoever_reads_the_media_whatever_signalling_attests() {
    for attested in every_attestation() {
        assert_eq!(classify(Keying::None, &attested), RobustnessClass::NoSignalingPassiveMedia);
    }
}

#[test]
fn the_examples_of_rfc5479_3_have_its_labels() {
    let tls = Attested { hop_confidential: true, ..Attested::default() };
    assert_eq!(classify(Keying::None, &tls).name(), "no-signaling-passive-media");
    assert_eq!(classify(Keying::Sdes, &tls).name(), "passive-signaling-passive-media");
    assert_eq!(classify(Keying::DtlsSrtp, &Attested::default()).name(), "active-signaling-active-media");
    let signed = Attested { identity: IdentityBinding::OfferAndAnswer, ..tls };
    assert_eq!(classify(Keying::DtlsSrtp, &signed).name(), "active-signaling-active-media-detect");
}

#[test]
fn an_identity_on_one_side_only_leaves_the_other_fingerprint_to_an_attacker() {
    let one = Attested { hop_confidential: true, identity: IdentityBinding::One };
    assert_eq!(classify(Keying::DtlsSrtp, &one), RobustnessClass::ActiveSignalingActiveMedia);
}

#[test]
fn signatures_whose_way_is_not_secured_detect_nothing() {
    let open = Attested { hop_confidential: false, identity: IdentityBinding::OfferAndAnswer };
    assert_eq!(classify(Keying::DtlsSrtp, &open), RobustnessClass::ActiveSignalingActiveMedia);
}

#[test]
fn keys_in_sdp_without_tls_are_read_with_the_media_and_no_identity_mends_it() {
    let open = Attested { hop_confidential: false, identity: IdentityBinding::OfferAndAnswer };
    for keying in [Keying::Sdes, Keying::Mikey, Keying::Static] {
        assert_eq!(classify(keying, &open), RobustnessClass::NoSignalingPassiveMedia, "{keying}");
    }
}

#[test]
fn every_keying_has_a_row_that_needs_nothing_and_better_attestation_never_makes_it_worse() {
    for keying in Keying::ALL {
        let bare = |row: &&Row| {
            row.keying == keying && row.identity == IdentityBinding::None && !row.hop_confidential
        };
        assert_eq!(TABLE.iter().filter(bare).count(), 1, "{keying}");
        for worse in every_attestation() {
            for better in every_attestation() {
                if better.hop_confidential >= worse.hop_confidential && better.identity >= worse.identity {
                    assert!(
                        classify(keying, &better) >= classify(keying, &worse),
                        "{keying} {worse:?} {better:?}"
                    );
                }
            }
        }
        let best = every_attestation().map(|attested| classify(keying, &attested)).max();
        assert_eq!(best, Some(best_of(keying)));
    }
}

#[test]
fn names_are_read_back_and_others_refused_with_what_there_is() {
    for class in RobustnessClass::ALL {
        assert_eq!(class.name().parse(), Ok(class));
        assert_eq!(serde_json::to_string(&class).unwrap(), format!("{:?}", class.name()));
    }
    let error = "very-safe".parse::<RobustnessClass>().unwrap_err().to_string();
    assert!(error.contains("active-signaling-active-media-detect"), "{error}");
}

#[test]
fn a_call_is_as_weak_as_its_weakest_leg() {
    let legs = [RobustnessClass::ActiveSignalingActiveMedia, RobustnessClass::PassiveSignalingPassiveMedia];
    assert_eq!(RobustnessClass::weakest(legs), Some(RobustnessClass::PassiveSignalingPassiveMedia));
    assert_eq!(RobustnessClass::weakest([]), None);
}

#[test]
fn media_that_a_suite_or_a_parameter_leaves_in_the_clear_is_as_plain_rtp() {
    let tls = Attested { hop_confidential: true, ..Attested::default() };
    let sealed = key(Suite::AesCm128HmacSha1_80, false);
    let open = RobustnessClass::NoSignalingPassiveMedia;
    let class = |inbound, outbound| of_agreed(&agreed(inbound, outbound), &tls);
    let srtp = |key: &NegotiatedKey| Protected::Srtp(vec![key.clone()]);
    assert_eq!(class(srtp(&sealed), srtp(&sealed)), RobustnessClass::PassiveSignalingPassiveMedia);
    assert_eq!(class(srtp(&sealed), Protected::Plain), open);
    assert_eq!(class(srtp(&key(Suite::NullHmacSha1_80, false)), srtp(&sealed)), open);
    assert_eq!(class(srtp(&sealed), srtp(&key(Suite::AesCm128HmacSha1_80, true))), open);
}

#[test]
fn the_document_shows_the_table_as_it_is() {
    assert_eq!(
        between("<!-- table -->"),
        rendered_table(),
        "docs/robustness.md is not as TABLE: put it there"
    );
    assert_eq!(
        between("<!-- classes -->"),
        rendered_classes(),
        "docs/robustness.md is not as the classes are"
    );
}

#[test]
fn the_document_names_the_suites_that_are_approved() {
    let rendered: Vec<_> = Suite::ALL
        .into_iter()
        .filter(|suite| crate::policy::fips_approved(*suite))
        .map(|suite| format!("- `{suite}`"))
        .collect();
    assert_eq!(between("<!-- fips -->"), rendered.join("\n"));
}

fn rendered_table() -> String {
    let mut lines = vec![
        "| keying | TLS on every hop | identity | class | why |".to_owned(),
        "| --- | --- | --- | --- | --- |".to_owned(),
    ];
    for Row { keying, hop_confidential, identity, class, why } in TABLE {
        let tls = if hop_confidential { "yes" } else { "–" };
        let identity = match identity {
            IdentityBinding::None => "–",
            IdentityBinding::One => "offer or answer",
            IdentityBinding::OfferAndAnswer => "offer and answer",
        };
        lines.push(format!("| `{keying}` | {tls} | {identity} | `{class}` | {why} |"));
    }
    lines.join("\n")
}

fn rendered_classes() -> String {
    let mut lines = vec!["| class | what an attacker needs |".to_owned(), "| --- | --- |".to_owned()];
    lines.extend(RobustnessClass::ALL.map(|class| format!("| `{class}` | {} |", class.explain())));
    lines.join("\n")
}

/// What stands in the document between two of the same marks.
fn between(mark: &str) -> &'static str {
    DOCUMENT.split(mark).nth(1).unwrap_or_else(|| panic!("docs/robustness.md has no {mark}")).trim()
}

fn every_attestation() -> impl Iterator<Item = Attested> {
    let identities = [IdentityBinding::None, IdentityBinding::One, IdentityBinding::OfferAndAnswer];
    identities
        .into_iter()
        .flat_map(|identity| [false, true].map(|hop_confidential| Attested { hop_confidential, identity }))
}

fn key(suite: Suite, rtp_in_the_clear: bool) -> NegotiatedKey {
    let omit = Omit { rtp_encryption: rtp_in_the_clear, ..Omit::default() };
    NegotiatedKey {
        suite,
        key_salt: Zeroizing::new(vec![7; suite.key_len() + suite.salt_len()]),
        options: KeyOptions { omit, ..KeyOptions::default() },
        window: None,
    }
}

fn agreed(inbound: Protected, outbound: Protected) -> Agreed {
    Agreed {
        remote: None,
        remote_rtcp: None,
        rtcp_mux: true,
        keying: Keying::Sdes,
        inbound,
        outbound,
        payload_types: vec![0],
        codecs: vec![],
        ssrcs: vec![],
        direction: Direction::SendRecv,
        dtls: None,
        ice: None,
    }
}
