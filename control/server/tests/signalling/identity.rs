//! Identities that come with calls, and those that go out with them (RFC 8224).

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use tonic::Code;

use crate::desk::{Desk, daemon, daemon_with, reason};
use crate::phone::{CM_80, Crypto, Phone, crypto};

const PORTS: u16 = 24_000;
const FROM: &str = "sip:+12155551212@example.com;user=phone";
const TO: &str = "sip:bob@example.com";
const URL: &str = "https://cert.example.org/passport.cer";
/// TNAuthList: `[1] { "12155551000", 1000 }` (RFC 8226 section 9).
const NUMBERS: &[u8] = b"\x30\x15\xa1\x13\x30\x11\x16\x0b12155551000\x02\x02\x03\xe8";

/// Makes an authority and a signer under it; the configuration that signs with it and trusts it.
fn identity(folder: &Path) -> String {
    let authority = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = ca.self_signed(&authority).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::default();
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let oid = [1, 3, 6, 1, 5, 5, 7, 1, 26];
    leaf.custom_extensions = vec![CustomExtension::from_oid_content(&oid, NUMBERS.to_vec())];
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, authority)).unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    write("anchors.pem", root.pem());
    write("certificate.pem", leaf.pem());
    write("key.pem", key.serialize_pem());
    let path = folder.display();
    format!(
        "[identity]\nanchors = \"{path}/anchors.pem\"\n[identity.sign]\nkey = \"{path}/key.pem\"\n\
         certificate = \"{path}/certificate.pem\"\nurl = \"{URL}\"\n"
    )
}

fn asked(session: &str, sdp: String) -> v1::ProcessOfferRequest {
    v1::ProcessOfferRequest { session: session.into(), sdp, ..Default::default() }
}

#[tokio::test]
async fn a_signed_offer_is_verified_where_it_arrives_and_what_was_changed_on_its_way_is_not() {
    let mut certificate = String::new();
    let daemon = daemon_with("identity", PORTS, |folder| {
        let text = identity(folder);
        certificate = std::fs::read_to_string(folder.join("certificate.pem")).unwrap();
        text
    })
    .await;
    let mut desk = Desk::at(&daemon).await;
    let mut events = daemon
        .client()
        .await
        .watch_events(v1::WatchEventsRequest { session: "in".into() })
        .await
        .unwrap()
        .into_inner();
    let alice = Phone::new();
    let offer = alice.sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]);
    let sign = v1::IdentityRequest { from: FROM.into(), to: TO.into(), date: String::new() };
    let signed = desk
        .process_offer(v1::ProcessOfferRequest { sign: Some(sign), ..asked("out", offer) })
        .await
        .unwrap();
    let header = signed.identity.expect("it was asked for");

    let attest = |identity: &str, from: &str| v1::SignallingAttestation {
        identities: vec![v1::SignedBy { identity: identity.into(), certificate: certificate.clone() }],
        from: from.into(),
        to: TO.into(),
        date: header.date.clone(),
        ..Default::default()
    };
    let request = v1::ProcessOfferRequest {
        attestation: Some(attest(&header.identity, FROM)),
        ..asked("in", signed.sdp.clone())
    };
    let call = desk.process_offer(request).await.unwrap().call.unwrap();
    let verified = call.caller_identity.expect("one came");
    assert!(verified.verified, "{}", verified.reason);
    assert_eq!((verified.origin.as_str(), verified.certificate_url.as_str()), ("12155551212", URL));
    assert!(!verified.covers_keys, "keys in SDP have no fingerprints that a signature could cover");
    let told = events.message().await.unwrap().unwrap().kind.unwrap();
    assert!(matches!(&told, Kind::IdentityVerified(told) if told.origin == "12155551212"), "{told:?}");

    for (session, attestation) in [
        ("other", attest(&header.identity, "sip:+12155551213@example.com;user=phone")),
        ("broken", attest(&header.identity.replacen('.', ".A", 1), FROM)),
    ] {
        let request =
            v1::ProcessOfferRequest { attestation: Some(attestation), ..asked(session, signed.sdp.clone()) };
        let call = desk.process_offer(request).await.unwrap().call.unwrap();
        let refused = call.caller_identity.expect("one came");
        assert!(!refused.verified && !refused.reason.is_empty(), "{refused:?}");
        assert!((400..500).contains(&refused.sip_status), "{refused:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn an_answer_is_signed_and_verified_like_an_offer() {
    let mut certificate = String::new();
    let daemon = daemon_with("answers", PORTS + 200, |folder| {
        let text = identity(folder);
        certificate = std::fs::read_to_string(folder.join("certificate.pem")).unwrap();
        text
    })
    .await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, bob) = (Phone::new(), Phone::new());
    // Two gateways in a row: the second one's answer is what the first one gets.
    let first =
        desk.process_offer(asked("a", alice.sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]))).await.unwrap();
    let second = desk.process_offer(asked("b", first.sdp)).await.unwrap();
    let offered = crypto(&second.sdp)[0].clone();
    let len = offered.suite.key_len() + offered.suite.salt_len();
    let answer = bob.sdp("RTP/SAVP", &[Crypto { key_salt: vec![9; len], ..offered }]);
    let sign = v1::IdentityRequest { from: FROM.into(), to: TO.into(), date: String::new() };
    let request =
        v1::ProcessAnswerRequest { session: "b".into(), sdp: answer, sign: Some(sign), ..Default::default() };
    let signed = desk.client.process_answer(request).await.unwrap().into_inner();
    let header = signed.identity.expect("it was asked for");
    let attestation = v1::SignallingAttestation {
        identities: vec![v1::SignedBy { identity: header.identity, certificate }],
        from: FROM.into(),
        to: TO.into(),
        date: header.date,
        ..Default::default()
    };
    let request = v1::ProcessAnswerRequest {
        session: "a".into(),
        sdp: signed.sdp,
        attestation: Some(attestation),
        ..Default::default()
    };
    let call = desk.client.process_answer(request).await.unwrap().into_inner().call.unwrap();
    let verified = call.branches[0].callee_identity.clone().expect("one came");
    assert!(verified.verified, "{}", verified.reason);
    daemon.stop().await;
}

#[tokio::test]
async fn without_a_key_nothing_is_signed_and_the_refusal_says_what_to_set() {
    let daemon = daemon("unsigned", PORTS + 400).await;
    let mut desk = Desk::at(&daemon).await;
    let offer = Phone::new().sdp("RTP/SAVP", &[Crypto::new(1, CM_80, 1)]);
    let sign = v1::IdentityRequest { from: FROM.into(), to: TO.into(), date: String::new() };
    let request = v1::ProcessOfferRequest { sign: Some(sign), ..asked("s", offer) };
    let refused = desk.process_offer(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "NO_SIGNING_KEY"));
    assert_eq!(desk.call("s").await.unwrap_err().code(), Code::NotFound, "no half-made call");
    daemon.stop().await;
}
