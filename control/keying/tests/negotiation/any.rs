//! Whatever peers say: nothing panics, and nothing is agreed on that was not offered or that the policy does not take.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sluice_keying::negotiation::{Agreed, NegotiatedKey, Protected, RemoteOffer, Treatment};
use sluice_keying::policy::{
    BestEffortForm, DtlsSetup, Feedback, ForeignKeying, Handling, IceUse, Keying, Policy, Security, Side,
};
use sluice_keying::sdes::CryptoLine;
use sluice_keying::sdp::{Media, Sdp, Secured};
use sluice_srtp::Suite;

use super::support::{CM32, CM80, Call, GCM128, GCM256, Peer, crypto, index, is_srtp, other, sdp};

const ADDRESSES: [&str; 6] =
    ["192.0.2.10", "192.0.2.20", "0.0.0.0", "2001:db8::7", "gw.example.com", "224.0.0.1/5"];
const PROTOCOLS: [&str; 8] = [
    "RTP/AVP",
    "RTP/AVPF",
    "RTP/SAVP",
    "RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "UDP/TLS/RTP/SAVPF",
    "udptl",
    "TCP/TLS/MSRP",
];
/// What else media lines have, fitting or not.
const ATTRIBUTES: [&str; 50] = [
    "sendonly",
    "recvonly",
    "inactive",
    "sendrecv",
    "rtcp-mux",
    "rtcp-mux-only",
    "bundle-only",
    "rtcp:4001",
    "rtcp:53 IN IP4 192.0.2.9",
    "mid:a",
    "mid:b",
    "mid:c",
    "ssrc:1 cname:x",
    "ssrc:2 cname:y",
    "rtpmap:96 opus/48000/2",
    "rtpmap:97 opus/48000/2",
    "rtpmap:96 H264/90000",
    "fingerprint:sha-1 AA:BB",
    "fingerprint:sha-256 \
     D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F",
    "fingerprint:sha-256 \
     00:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F",
    "setup:actpass",
    "setup:active",
    "setup:passive",
    "setup:holdconn",
    "tls-id:abc3de65cddef001be82",
    "tls-id:abc3de65cddef001be83",
    "ice-ufrag:efgh",
    "ice-pwd:0123456789012345678901",
    "ice-pwd:0123456789012345678902",
    "ice-options:trickle",
    "ice-mismatch",
    "end-of-candidates",
    "candidate:1 1 UDP 1 192.0.2.10 4000 typ host",
    "acap:1 fingerprint:sha-256 \
     D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F",
    "tcap:1 UDP/TLS/RTP/SAVP UDP/TLS/RTP/SAVPF",
    "zrtp-hash:1.10 AABB",
    "key-mgmt:mikey AAAA",
    "ice-ufrag:abcd",
    "candidate:1 1 UDP 1 192.0.2.1 1 typ host",
    "tcap:1 RTP/SAVP RTP/SAVPF",
    "tcap:1 RTP/AVPF",
    "pcfg:1 t=1 a=1",
    "pcfg:2 t=2 a=-m:1|2",
    "pcfg:1 t=1|2 a=1,[2]",
    "acfg:1 t=1 a=1",
    "acfg:1 t=1 a=2",
    "creq:foo",
    "csup:cap-v0",
    "x-unknown:1",
    "label:1",
];

/// What makes every line one that may be keyed by a handshake behind checks.
const AT_SESSION: &str = "a=fingerprint:sha-256 \
    D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\na=ice-lite\r\n\
    a=ice-ufrag:wxyz\r\na=ice-pwd:0123456789012345678903\r\na=group:BUNDLE a b c\r\n";

fn key() -> impl Strategy<Value = String> {
    let suites = select(vec![CM80, CM32, GCM128, GCM256, "F8_128_HMAC_SHA1_80", "UNKNOWN"]);
    let parameters =
        select(vec!["", "", "", " KDR=3", " UNENCRYPTED_SRTCP", " UNENCRYPTED_SRTP", " WSH=128", " X=1"]);
    (1..5_u32, suites, b'a'..b'f', parameters)
        .prop_map(|(tag, suite, fill, parameters)| format!("crypto:{}{parameters}", crypto(tag, suite, fill)))
}

fn attribute() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(ATTRIBUTES.to_vec()).prop_map(str::to_owned),
        4 => key(),
        1 => (1..4_u32, key()).prop_map(|(number, key)| format!("acap:{number} {key}")),
    ]
}

fn media() -> impl Strategy<Value = (String, Vec<String>)> {
    let formats = select(vec!["0", "0 8", "96", "97 0", "96 97 101"]);
    let protocol = prop_oneof![4 => select(PROTOCOLS[..4].to_vec()), 1 => select(PROTOCOLS.to_vec())];
    let port = prop_oneof![6 => Just(4000_u16), 1 => Just(0), 1 => Just(9)];
    (select(vec!["audio", "audio", "video"]), port, protocol, formats, vec(attribute(), 0..7)).prop_map(
        |(kind, port, proto, formats, attributes)| (format!("{kind} {port} {proto} {formats}"), attributes),
    )
}

fn description() -> impl Strategy<Value = String> {
    let address = prop_oneof![8 => Just(ADDRESSES[0]), 1 => select(ADDRESSES.to_vec())];
    let session = prop_oneof![
        6 => Just(""),
        1 => Just("a=group:BUNDLE a b\r\n"),
        1 => Just("a=sendonly\r\n"),
        1 => Just("a=tcap:1 RTP/SAVP\r\na=group:LS a c\r\n"),
        1 => Just("a=fingerprint:sha-1 AA:BB\r\n"),
        2 => Just(AT_SESSION),
    ];
    (address, session, vec(media(), 0..4)).prop_map(|(address, session, media)| {
        let media: Vec<_> = media.iter().map(|(m, attributes)| (m.as_str(), attributes.clone())).collect();
        sdp(address, &media).replacen("t=0 0\r\n", &format!("t=0 0\r\n{session}"), 1)
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let security = || select(vec![Security::Required, Security::BestEffort, Security::Plain]);
    let form =
        || select(vec![BestEffortForm::Osrtp, BestEffortForm::Capabilities, BestEffortForm::DualLines]);
    let foreign = select(vec![ForeignKeying::Remove, ForeignKeying::Pass, ForeignKeying::Refuse]);
    let suites = select(vec![
        vec![Suite::AeadAes256Gcm, Suite::AesCm128HmacSha1_80],
        vec![Suite::AesCm128HmacSha1_32],
        vec![Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm],
    ]);
    let ice = || select(vec![IceUse::WhenOffered, IceUse::Off, IceUse::Lite, IceUse::Full]);
    let setup = || select(vec![DtlsSetup::Actpass, DtlsSetup::Active, DtlsSetup::Passive]);
    let media_path = (ice(), ice(), setup(), setup(), any::<bool>(), any::<bool>());
    let feedback = || select(vec![Feedback::Pass, Feedback::Add, Feedback::Remove]);
    let passes = (any::<bool>(), any::<bool>(), feedback(), feedback());
    ((security(), security()), (form(), form()), foreign, passes, suites, media_path).prop_map(
        |(
            security,
            form,
            foreign,
            (mux, bundle, a_fb, b_fb),
            suites,
            (a_ice, b_ice, a_setup, b_setup, both, dtls),
        )| {
            let mut policy = Policy { foreign_keying: foreign, suites, ..Policy::default() };
            (policy.caller.security, policy.callee.security) = security;
            (policy.caller.best_effort, policy.callee.best_effort) = form;
            (policy.caller.ice, policy.callee.ice) = (a_ice, b_ice);
            (policy.caller.dtls_setup, policy.callee.dtls_setup) = (a_setup, b_setup);
            (policy.caller.feedback, policy.callee.feedback) = (a_fb, b_fb);
            (policy.caller.both_keyings, policy.callee.both_keyings) = (both, both);
            policy.callee.keyings = dtls.then(|| vec![Keying::DtlsSrtp, Keying::Sdes, Keying::None]);
            let handling = |pass| if pass { Handling::Pass } else { Handling::Terminate };
            for peer in [&mut policy.caller, &mut policy.callee] {
                (peer.rtcp_mux, peer.bundle) = (handling(mux), handling(bundle));
            }
            policy
        },
    )
}

/// How an offer is answered.
#[derive(Clone, Debug)]
enum Answer {
    /// As a peer would.
    By(Peer),
    /// As a peer would, with an attribute more on each line.
    With(Peer, String),
    /// By anything.
    Any(String),
}

fn answer() -> impl Strategy<Value = Answer> {
    let peer = || prop_oneof![2 => Just(Peer::Dtls), 3 => select(Peer::ALL.to_vec())];
    prop_oneof![
        3 => peer().prop_map(Answer::By),
        2 => (peer(), attribute()).prop_map(|(peer, attribute)| Answer::With(peer, attribute)),
        1 => description().prop_map(Answer::Any),
    ]
}

impl Answer {
    fn text(&self, offer: &str) -> String {
        match self {
            Self::By(peer) => peer.answer(offer),
            Self::With(peer, attribute) => format!("{}a={attribute}\r\n", peer.answer(offer)),
            Self::Any(text) => text.clone(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 1500 }))]

    #[test]
    fn nothing_is_agreed_on_that_was_not_offered(
        policy in policy(),
        steps in vec((any::<bool>(), description(), answer()), 1..4),
    ) {
        let mut call = Call::with(policy).in_media_path();
        for (callee, text, answer) in steps {
            let from = if callee { Side::Callee } else { Side::Caller };
            let Ok((offer, local)) = call.offer(from, &text) else { continue };
            check_offered(&call.policy, other(from), local.sdp());
            check_reread(local.sdp());
            let answered = answer.text(local.sdp());
            let Ok((answer, made)) = call.answer(&offer, &local, &answered) else { continue };
            let (theirs, ours) = (answer.agreed(), made.agreed());
            prop_assert_eq!(theirs.len(), ours.len());
            for (transport, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
                prop_assert_eq!(theirs.is_some(), ours.is_some(), "transport {}", transport);
                let (Some(theirs), Some(ours)) = (theirs, ours) else { continue };
                check_policy(&call.policy, other(from), theirs);
                check_policy(&call.policy, from, ours);
                check_keys(theirs, ours);
                prop_assert_eq!(theirs.direction, ours.direction.reversed());
            }
            check_answer(&text, made.sdp());
        }
    }
}

/// The gateway offers what the policy takes, and each key once.
fn check_offered(policy: &Policy, side: Side, text: &str) {
    let offered = Sdp::parse(text).expect("the gateway's offer");
    let mut keys = HashSet::new();
    let gateway = if index(side) == 0 { "198.51.100.1" } else { "203.0.113.1" };
    for (line, media) in offered.media().iter().enumerate() {
        let Some(profile) = media.profile() else { continue };
        if media.port() == 0
            || offered.connection(line).is_none_or(|connection| connection.address != gateway)
        {
            continue;
        }
        let security = policy.peer(side).security;
        let keyed = media.has("crypto") || media.has("fingerprint");
        assert!(security != Security::Required || profile.secured != Secured::Plain, "{text}");
        assert!(security != Security::Plain || (profile.secured == Secured::Plain && !keyed), "{text}");
        assert!(profile.secured != Secured::DtlsSrtp || !media.has("crypto"), "{text}");
        for line in crypto_lines(media) {
            assert!(line.suite().is_some_and(|suite| policy.suites.contains(&suite)), "{text}");
            assert!(keys.insert(line.value().split_once("inline:").expect("a key").1.to_owned()), "{text}");
        }
    }
}

/// What the gateway wrote it can read, with a policy that takes all.
fn check_reread(text: &str) {
    let mut policy = Policy::default();
    policy.caller.security = Security::BestEffort;
    policy.foreign_keying = ForeignKeying::Pass;
    let written = Sdp::parse(text).expect("the gateway's offer");
    match RemoteOffer::read(text, &policy, Side::Caller) {
        Ok(read) => {
            for (written, read) in written.media().iter().zip(read.media()) {
                let unused = matches!(read.treatment, Treatment::Unused);
                assert!(written.has("bundle-only") || unused == (written.port() == 0), "{text}");
                let keyed = written.has("crypto") || written.has("fingerprint");
                assert!(!matches!(read.treatment, Treatment::Refused(_)) || !keyed, "{text}");
            }
        }
        // Only a line that goes by the gateway can have what it would not take itself.
        Err(error) => {
            let connections = (0..written.media().len()).filter_map(|line| written.connection(line));
            let mut around = connections.filter(|c| !["198.51.100.1", "203.0.113.1"].contains(&c.address));
            assert!(around.next().is_some(), "{error}: {text}");
        }
    }
}

fn check_policy(policy: &Policy, side: Side, agreed: &Agreed) {
    match policy.peer(side).security {
        Security::Required => assert!(is_srtp(agreed)),
        Security::Plain => assert!(!is_srtp(agreed)),
        Security::BestEffort => {}
    }
    let dtls = [&agreed.inbound, &agreed.outbound].map(|protected| *protected == Protected::InMediaPath);
    assert_eq!(dtls, [agreed.keying == Keying::DtlsSrtp; 2]);
    assert!(agreed.dtls.is_none() || dtls[0]);
    if let Some(dtls) = &agreed.dtls {
        assert!(!dtls.peer.fingerprints.is_empty() && dtls.own.fingerprints.len() == 1);
        assert!(!dtls.suites.is_empty() && dtls.suites.iter().all(|suite| policy.suites.contains(suite)));
    }
    if let Some(ice) = &agreed.ice {
        assert!(policy.peer(side).ice != IceUse::Off && ice.own.lite == policy.peer(side).ice.is_lite());
        assert!(ice.own.lite || !ice.peer.lite || ice.controlling);
    }
    for key in keys(&agreed.inbound).chain(keys(&agreed.outbound)) {
        assert!(policy.suites.contains(&key.suite), "{:?}", key.suite);
    }
}

/// No key of the gateway's protects twice, nor is it a peer's.
fn check_keys(theirs: &Agreed, ours: &Agreed) {
    let own: Vec<_> = keys(&theirs.outbound).chain(keys(&ours.outbound)).collect();
    for (at, key) in own.iter().enumerate() {
        assert!(own[..at].iter().all(|other| other.key_salt != key.key_salt));
        let peers = keys(&theirs.inbound).chain(keys(&ours.inbound));
        assert!(peers.into_iter().all(|peer| peer.key_salt != key.key_salt));
    }
}

fn keys(protected: &Protected) -> impl Iterator<Item = &NegotiatedKey> {
    match protected {
        Protected::Plain | Protected::InMediaPath => [].iter(),
        Protected::Srtp(keys) => keys.iter(),
    }
}

/// The gateway's answer says nothing that its peer did not offer.
fn check_answer(offer: &str, answer: &str) {
    let (offered, answered) =
        (Sdp::parse(offer).expect("read before"), Sdp::parse(answer).expect("the gateway's"));
    assert_eq!(offered.media().len(), answered.media().len(), "{answer}");
    for (line, (o, a)) in offered.media().iter().zip(answered.media()).enumerate() {
        assert_eq!(o.kind(), a.kind());
        // What goes by the gateway is between the peers.
        if a.port() == 0
            || answered.connection(line).is_none_or(|c| !["198.51.100.1", "203.0.113.1"].contains(&c.address))
        {
            continue;
        }
        let capabilities = offered.session().all("tcap").chain(o.all("tcap")).map(|tcap| tcap.text());
        let profiles: Vec<_> =
            capabilities.flat_map(|text| text.split(' ').skip(1)).chain([o.proto()]).collect();
        assert!(profiles.contains(&a.proto()), "{offer} {answer}");
        assert!(!a.has("acfg") || o.has("pcfg"), "{offer} {answer}");
        assert!(!a.has("rtcp-mux") || offer.contains("a=rtcp-mux"), "{offer} {answer}");
        let lines = crypto_lines(o);
        for line in crypto_lines(a) {
            let same = |other: &CryptoLine| (other.tag(), other.suite()) == (line.tag(), line.suite());
            // In a group the keys are those of its first line.
            let grouped = offer.contains("BUNDLE");
            assert!(grouped || lines.iter().any(same), "{offer} {answer}");
        }
        assert!(a.all("crypto").count() <= 1, "{answer}");
    }
}

/// Crypto lines, those in capabilities too.
fn crypto_lines(media: &Media) -> Vec<CryptoLine> {
    let own = media.all("crypto").map(|attribute| attribute.text());
    let capabilities = media.all("acap").filter_map(|attribute| attribute.text().split_once(" crypto:"));
    own.chain(capabilities.map(|(_, value)| value))
        .filter_map(|value| CryptoLine::parse(value).ok())
        .collect()
}
