//! Suites and options of keys, through the API and both ways through the engine.

use std::sync::Arc;

use sluice_proto::v1;
use sluice_proto::v1::Direction::{Inbound, Outbound};
use sluice_srtp::{
    Cryptex, DerivationRate, Job, KeyId, KeyOptions, Kind, MAX_OVERHEAD, MasterKey, Omit, Rcc, RccMode,
    SessionKeys, Suite, protect,
};
use tonic::Code;

use crate::support::{Daemon, LegSpec, receive, udp};

/// What a client says, and what the SRTP library is told.
struct Case {
    suite: &'static str,
    say: fn(&mut v1::KeyInstall),
    options: KeyOptions,
}

fn cases() -> Vec<Case> {
    let plain = KeyOptions::default;
    let case = |suite, say, options| Case { suite, say, options };
    let carrying = |mode, tag| Some(Rcc::new(mode, 2, tag).unwrap());
    let mut cases: Vec<Case> =
        Suite::ALL.into_iter().map(|suite| case(suite.name(), |_| (), plain())).collect();
    cases.extend([
        case(
            "AES_CM_128_HMAC_SHA1_80",
            |key| key.key_derivation_rate = 2,
            KeyOptions { derivation_rate: DerivationRate::new(2).unwrap(), ..plain() },
        ),
        case(
            "AES_256_CM_HMAC_SHA1_80",
            |key| key.unencrypted_rtp = true,
            KeyOptions { omit: Omit { rtp_encryption: true, ..Omit::default() }, ..plain() },
        ),
        case(
            "AES_CM_128_HMAC_SHA1_32",
            |key| key.unauthenticated_rtp = true,
            KeyOptions { omit: Omit { rtp_authentication: true, ..Omit::default() }, ..plain() },
        ),
        case(
            "AEAD_AES_256_GCM",
            |key| key.cryptex = v1::Cryptex::On.into(),
            KeyOptions { cryptex: Cryptex::On, ..plain() },
        ),
        case(
            "AEAD_AES_128_GCM",
            |key| key.encrypted_extensions = vec![5],
            KeyOptions { encrypted_extensions: [5].into_iter().collect(), ..plain() },
        ),
        case(
            "AES_CM_128_HMAC_SHA1_80",
            |key| key.roc_carrying = Some(v1::RocCarrying { mode: 2, rate: 2, tag_length: 0 }),
            KeyOptions { rcc: carrying(RccMode::Two, 14), ..plain() },
        ),
        case(
            "AEAD_AES_128_GCM",
            |key| key.roc_carrying = Some(v1::RocCarrying { mode: 3, rate: 2, tag_length: 0 }),
            KeyOptions { rcc: carrying(RccMode::Three, 4), ..plain() },
        ),
    ]);
    cases
}

/// With an extension of one element, 5.
fn packet(sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x90, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xbe, 0xde, 0, 1, 0x51, 7, 8, 0]);
    packet.extend([0x5a; 100]);
    packet
}

#[tokio::test]
async fn every_suite_and_option_goes_through_both_ways() {
    let daemon = Daemon::start("options").await;
    for (number, case) in cases().iter().enumerate() {
        let suite: Suite = case.suite.parse().unwrap();
        let session = format!("s{number}");
        daemon.session(&session).await;
        let (near, far) = (udp(), udp());
        let plain = daemon.leg(&session, "plain", LegSpec::plain().remote(&near)).await.unwrap();
        let srtp = daemon.leg(&session, "srtp", LegSpec::srtp().remote(&far)).await.unwrap();
        daemon.route(&session, "out", "plain", "srtp").await.unwrap();
        daemon.route(&session, "in", "srtp", "plain").await.unwrap();
        let material = |seed| vec![seed + 2 * number as u8; suite.key_len() + suite.salt_len()];
        let install = |direction, seed| {
            let mut key = Daemon::install("srtp", direction, material(seed));
            key.session.clone_from(&session);
            key.suite = case.suite.into();
            (case.say)(&mut key);
            key
        };
        let request = v1::InstallKeysRequest { keys: vec![install(Inbound, 100), install(Outbound, 101)] };
        let results = daemon.client().await.install_keys(request).await.unwrap().into_inner().results;
        for result in results {
            let result = result.result.unwrap();
            assert!(matches!(result, v1::key_result::Result::Key(_)), "{} {result:?}", case.suite);
        }

        let contexts = |seed, ssrc| {
            let master = MasterKey::from_concatenated(suite, &material(seed)).unwrap();
            let keys = Arc::new(SessionKeys::derive_with(KeyId(1), &master, &case.options).unwrap());
            [sluice_srtp::Outbound::new(ssrc, keys, 0)]
        };
        let (mut outward, mut inward) = (contexts(101, 7), contexts(100, 8));
        // A stream in the clear is believed once packets have come in order: all are sent before any is read.
        let what = format!("{} {:?}", case.suite, case.options);
        for sequence in 1..=5 {
            near.send_to(&packet(sequence, 7), &plain.local_rtp).unwrap();
            far.send_to(&protected(&mut inward, &packet(sequence, 8)), &srtp.local_rtp).unwrap();
        }
        for sequence in 1..=5 {
            assert_eq!(receive(&far), protected(&mut outward, &packet(sequence, 7)), "{what}");
            assert_eq!(receive(&near), packet(sequence, 8), "{what}");
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn short_rtcp_tags_go_through_and_are_part_of_what_a_key_is() {
    let daemon = Daemon::start("short-tags").await;
    daemon.session("s").await;
    let (near, far) = (udp(), udp());
    let mux = |peer| LegSpec::srtp().remote(peer).with(|config| config.rtcp_mux = true);
    let local = daemon.leg("s", "a", mux(&near)).await.unwrap().local_rtp;
    daemon.leg("s", "b", mux(&far)).await.unwrap();
    daemon.route("s", "ab", "a", "b").await.unwrap();
    let suite = Suite::AesCm128HmacSha1_32;
    let install = |leg, direction, seed| v1::KeyInstall {
        suite: suite.name().into(),
        short_rtcp_tags: true,
        ..Daemon::install(leg, direction, vec![seed; 30])
    };
    let keys = vec![install("a", Inbound, 1), install("b", Outbound, 2)];
    let results = daemon.client().await.install_keys(v1::InstallKeysRequest { keys }).await.unwrap();
    for result in results.into_inner().results {
        assert!(matches!(result.result, Some(v1::key_result::Result::Key(_))), "{result:?}");
    }
    let contexts = |seed, short_rtcp_tags| {
        let master = MasterKey::from_concatenated(suite, &[seed; 30]).unwrap();
        let options = KeyOptions { short_rtcp_tags, ..KeyOptions::default() };
        let keys = SessionKeys::derive_with(KeyId(1), &master, &options).unwrap();
        [sluice_srtp::Outbound::new(8, Arc::new(keys), 0)]
    };
    let report = [&[0x80, 201, 0, 1][..], &8_u32.to_be_bytes()].concat();
    let whole = protected_as(Kind::Rtcp, &mut contexts(1, false), &report);
    near.send_to(&whole, &local).unwrap();
    near.send_to(&protected_as(Kind::Rtcp, &mut contexts(1, true), &report), &local).unwrap();
    let sent = receive(&far);
    assert_eq!(sent, protected_as(Kind::Rtcp, &mut contexts(2, true), &report));
    assert_eq!(sent.len(), whole.len() - 6, "32 bits, not 80");
    assert_eq!(daemon.drops("a").await.iter().map(|(_, packets)| packets).sum::<u64>(), 1, "the whole one");

    let other = v1::KeyInstall { short_rtcp_tags: false, ..install("a", Inbound, 1) };
    let request = v1::InstallKeysRequest { keys: vec![other] };
    let mut results = daemon.client().await.install_keys(request).await.unwrap().into_inner().results;
    let Some(v1::key_result::Result::Failure(failure)) = results.remove(0).result else { panic!() };
    assert_eq!((failure.code, &*failure.field), (Code::AlreadyExists as i32, "short_rtcp_tags"));
    daemon.stop().await;
}

fn protected(contexts: &mut [sluice_srtp::Outbound; 1], packet: &[u8]) -> Vec<u8> {
    protected_as(Kind::Rtp, contexts, packet)
}

fn protected_as(kind: Kind, contexts: &mut [sluice_srtp::Outbound; 1], packet: &[u8]) -> Vec<u8> {
    let mut buffer = [packet, &[0; MAX_OVERHEAD]].concat();
    let mut jobs = [Job::new(0, kind, &mut buffer, packet.len())];
    protect(&mut contexts[..], &mut jobs);
    assert_eq!(jobs[0].result, Ok(()));
    jobs[0].packet[..jobs[0].len].to_vec()
}

#[tokio::test]
async fn options_that_cannot_be_name_their_field() {
    let daemon = Daemon::start("cannot").await;
    daemon.session("s").await;
    daemon.leg("s", "a", LegSpec::srtp()).await.unwrap();
    type Say = fn(&mut v1::KeyInstall);
    let wrong: [(&str, &str, Say); 11] = [
        ("short_rtcp_tags", "AEAD_AES_128_GCM", |key| key.short_rtcp_tags = true),
        ("key_derivation_rate", "AES_CM_128_HMAC_SHA1_80", |key| key.key_derivation_rate = 3),
        ("unencrypted_rtp", "AEAD_AES_128_GCM", |key| key.unencrypted_rtp = true),
        ("unauthenticated_rtp", "AEAD_AES_128_GCM", |key| key.unauthenticated_rtp = true),
        ("encrypted_extensions", "AEAD_AES_128_GCM", |key| key.encrypted_extensions = vec![1, 256]),
        ("encrypted_extensions", "AEAD_AES_128_GCM", |key| key.encrypted_extensions = vec![0]),
        ("cryptex", "NULL_HMAC_SHA1_80", |key| key.cryptex = v1::Cryptex::Required.into()),
        ("cryptex", "AEAD_AES_128_GCM", |key| key.cryptex = 77),
        ("roc_carrying", "AEAD_AES_128_GCM", |key| {
            key.roc_carrying = Some(v1::RocCarrying { mode: 1, rate: 1, tag_length: 0 });
        }),
        ("packet_indices", "AES_CM_128_HMAC_SHA1_80", |key| {
            key.packet_indices = Some(v1::PacketIndices { from: 2, to: 1 });
        }),
        ("roc_carrying", "AES_CM_128_HMAC_SHA1_80", |key| {
            key.roc_carrying = Some(v1::RocCarrying { mode: 2, rate: 65_536, tag_length: 0 });
        }),
    ];
    for (field, suite, say) in wrong {
        let lengths: Suite = suite.parse().unwrap();
        let mut key = Daemon::install("a", Inbound, vec![1; lengths.key_len() + lengths.salt_len()]);
        key.suite = suite.into();
        say(&mut key);
        let request = v1::InstallKeysRequest { keys: vec![key] };
        let mut results = daemon.client().await.install_keys(request).await.unwrap().into_inner().results;
        let Some(v1::key_result::Result::Failure(failure)) = results.remove(0).result else {
            panic!("{field} of {suite}")
        };
        assert_eq!((failure.code, failure.field.as_str()), (Code::InvalidArgument as i32, field), "{suite}");
        assert!(!failure.remedy.is_empty());
    }
    daemon.stop().await;
}
