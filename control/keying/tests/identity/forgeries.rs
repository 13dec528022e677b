//! What was changed, replayed or made up is refused, and told as what it is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey;
use sluice_keying::identity::{Form, IdentityError, Presented, Request, TokenError, VerifierOptions};

use crate::site::{NOW, REQUEST, SDP, Site, URL};

const HEADER: &str =
    "{\"alg\":\"ES256\",\"typ\":\"passport\",\"x5u\":\"https://cert.example.org/passport.cer\"}";
const MKY: &str = "\"mky\":[{\"alg\":\"sha-256\",\"dig\":\"4AADB9B13F82183B540212DF3E5D496B19E57CAB3E4B652E7D463F5442CD54F1\"}]";

/// A token of any header and payload, rightly signed.
fn signed(site: &Site, header: &str, payload: &str) -> String {
    let key = SigningKey::from_pkcs8_pem(&site.credential.key).unwrap();
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature: Signature = key.sign(input.as_bytes());
    format!("{input}.{};info=<{URL}>", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

fn payload(dest: &str, iat: u64, rest: &str, orig: &str) -> String {
    format!("{{\"dest\":{dest},\"iat\":{iat},{rest}\"orig\":{orig}}}")
}

const DEST: &str = "{\"uri\":[\"sip:alice@example.com\"]}";
const ORIG: &str = "{\"tn\":\"12155551212\"}";

#[test]
fn an_altered_request_is_refused_in_either_form() {
    let fingerprint = SDP.replace("4A:AD", "4A:AE");
    let more = format!("{SDP}a=fingerprint:sha-256 00:11\r\n");
    let none = SDP.lines().filter(|line| !line.contains("fingerprint")).collect::<Vec<_>>().join("\r\n");
    for (request, claim) in [
        (Request { sdp: &fingerprint, ..REQUEST }, "mky"),
        (Request { sdp: &more, ..REQUEST }, "mky"),
        (Request { sdp: &none, ..REQUEST }, "mky"),
        (Request { to: "sip:mallory@example.com", ..REQUEST }, "dest"),
        (Request { to: "sips:alice@example.com", ..REQUEST }, "dest"),
        (Request { from: "tel:+12155551213", ..REQUEST }, "orig"),
    ] {
        let site = Site::new();
        assert_eq!(
            site.verify(&request, &site.sign(Form::Full)),
            Err(IdentityError::Mismatch(claim)),
            "{request:?}"
        );
        assert_eq!(
            site.verify(&request, &site.sign(Form::Compact)),
            Err(IdentityError::Signature),
            "{request:?}"
        );
    }
}

#[test]
fn a_rightly_signed_token_that_says_something_else_is_refused() {
    let site = Site::new();
    let mky = format!("{MKY},");
    let good = signed(&site, HEADER, &payload(DEST, NOW, &mky, ORIG));
    assert!(site.verify(&REQUEST, &good).is_ok());
    for (wrong, claim) in [
        (payload(DEST, NOW, "", ORIG), "mky"),
        (payload(DEST, NOW, &mky.replace("4AAD", "4AAE"), ORIG), "mky"),
        (payload("{\"tn\":[\"1\"]}", NOW, &mky, ORIG), "dest"),
        (payload(DEST, NOW, &mky, "{\"tn\":\"12155551213\"}"), "orig"),
        (payload(DEST, NOW, &mky, "{\"uri\":\"12155551212\"}"), "orig"),
    ] {
        assert_eq!(
            site.verify(&REQUEST, &signed(&site, HEADER, &wrong)),
            Err(IdentityError::Mismatch(claim))
        );
    }
    let elsewhere = HEADER.replace("cert.example.org", "cert.example.com");
    let identity = signed(&site, &elsewhere, &payload(DEST, NOW, &mky, ORIG));
    assert_eq!(site.verify(&REQUEST, &identity), Err(IdentityError::Mismatch("x5u")));
}

#[test]
fn several_destinations_and_claims_of_others_are_taken() {
    let site = Site::new();
    let rest = format!("{MKY},\"origid\":\"123e4567\",");
    let dest = "{\"tn\":[\"1\"],\"uri\":[\"sip:alice@example.com\",\"sip:bob@example.com\"]}";
    assert!(site.verify(&REQUEST, &signed(&site, HEADER, &payload(dest, NOW, &rest, ORIG))).is_ok());
}

#[test]
fn no_algorithm_but_es256_is_taken_and_none_least() {
    let site = Site::new();
    let identity = site.sign(Form::Full);
    for alg in ["none", "HS256", "es256", "ES384"] {
        let refused = Err(IdentityError::UnsupportedAlgorithm(alg.to_owned()));
        assert_eq!(site.verify(&REQUEST, &format!("{identity};alg={alg}")), refused);
        let header = HEADER.replace("ES256", alg);
        let mky = format!("{MKY},");
        assert_eq!(site.verify(&REQUEST, &signed(&site, &header, &payload(DEST, NOW, &mky, ORIG))), refused);
    }
    let unsigned = identity.split('.').take(2).collect::<Vec<_>>().join(".");
    let unsigned = format!("{unsigned}.;info=<{URL}>");
    assert_eq!(site.verify(&REQUEST, &unsigned), Err(TokenError::Signature.into()));
}

#[test]
fn a_claim_twice_is_refused_though_the_signature_is_right() {
    let site = Site::new();
    let twice = format!("{MKY},{},", MKY.replace("4AAD", "4AAE"));
    let refused = site.verify(&REQUEST, &signed(&site, HEADER, &payload(DEST, NOW, &twice, ORIG)));
    assert!(
        matches!(refused, Err(IdentityError::Token(TokenError::Json { part: "payload", .. }))),
        "{refused:?}"
    );
}

#[test]
fn extensions_that_must_be_understood_are_passed_over() {
    let site = Site::new();
    let good = site.sign(Form::Full);
    let extended = format!("{good};ppt=shaken");
    let unsupported = IdentityError::UnsupportedType("shaken".to_owned());
    assert_eq!(site.verify(&REQUEST, &extended), Err(unsupported.clone()));
    assert_eq!(unsupported.sip_status(), 428);
    let header = HEADER.replace("\"typ\"", "\"ppt\":\"shaken\",\"typ\"");
    let mky = format!("{MKY},");
    let hidden = signed(&site, &header, &payload(DEST, NOW, &mky, ORIG));
    assert_eq!(site.verify(&REQUEST, &hidden), Err(unsupported));
    // One that is valid is enough, wherever it stands; else the first that was looked at tells why.
    let present = |values: &[&str]| {
        let presented: Vec<_> = values.iter().map(|value| Presented { value, certificates: None }).collect();
        site.verifier.verify(&REQUEST, &presented, NOW).map(|_| ())
    };
    assert_eq!(present(&[&extended, "..x;info=<x:y>"]), Err(TokenError::Base64("signature").into()));
    assert_eq!(present(&[&extended, "garbage", &good]), Ok(()));
    assert_eq!(present(&[]), Err(IdentityError::Missing));
}

#[test]
fn stale_requests_and_those_of_the_future_are_refused() {
    let site = Site::new();
    let at = |form, now| {
        let identity = site.sign(form);
        site.verifier.verify(&REQUEST, &[Presented { value: &identity, certificates: None }], now).map(|_| ())
    };
    for form in [Form::Full, Form::Compact] {
        for now in [NOW + 61, NOW - 61] {
            let refused = at(form, now).unwrap_err();
            assert!(matches!(refused, IdentityError::Stale { seconds: 61, freshness: 60, .. }), "{refused}");
            assert_eq!(refused.sip_status(), 403);
        }
    }
    assert_eq!(at(Form::Full, NOW + 60), Ok(()));
    // A Date of today does not make an old `iat` fresh.
    let mky = format!("{MKY},");
    let old = signed(&site, HEADER, &payload(DEST, NOW - 61, &mky, ORIG));
    assert!(matches!(site.verify(&REQUEST, &old), Err(IdentityError::Stale { field: "iat", .. })));
    let undated = Request { date: None, ..REQUEST };
    assert_eq!(site.verify(&undated, &site.sign(Form::Compact)), Err(IdentityError::NoDate));
}

#[test]
fn nothing_is_used_twice_in_whatever_form_or_with_the_other_signature() {
    let site = Site::new();
    let full = site.sign(Form::Full);
    assert!(site.verify(&REQUEST, &full).is_ok());
    for again in [full.clone(), site.sign(Form::Compact), other_signature(&full)] {
        assert_eq!(site.verify(&REQUEST, &again), Err(IdentityError::Replayed), "{again}");
    }
}

#[test]
fn when_no_more_can_be_remembered_new_ones_are_refused() {
    let site = Site::with(VerifierOptions { remembered: 1, ..VerifierOptions::default() });
    assert!(site.verify(&REQUEST, &site.sign(Form::Full)).is_ok());
    let other = Request { to: "sip:bob@example.com", ..REQUEST };
    let identity = site.signer.sign(&other, Form::Full, NOW).unwrap().identity;
    assert_eq!(site.verify(&other, &identity), Err(IdentityError::TooManyToRemember));
}

#[test]
fn what_is_invalid_takes_no_memory() {
    let site = Site::with(VerifierOptions { remembered: 1, ..VerifierOptions::default() });
    let forged = site.sign(Form::Compact);
    for number in 0..10 {
        let to = format!("sip:bob{number}@example.com");
        assert!(site.verify(&Request { to: &to, ..REQUEST }, &forged).is_err());
    }
    assert!(site.verify(&REQUEST, &forged).is_ok());
}

#[test]
fn every_octet_of_a_token_counts() {
    let site = Site::new();
    let identity = site.sign(Form::Full);
    let token_len = identity.find(';').unwrap();
    for at in 0..token_len {
        let mut changed = identity.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(site.verify(&REQUEST, &changed).is_err(), "octet {at}");
    }
    assert!(site.verify(&REQUEST, &identity).is_ok());
}

/// (r, n − s) for (r, s).
fn other_signature(identity: &str) -> String {
    let (token, rest) = identity.split_once(';').unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let (r, s) = signature.split_scalars();
    let other = Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    assert_ne!(signature, other);
    format!("{input}.{};{rest}", URL_SAFE_NO_PAD.encode(other.to_bytes()))
}
