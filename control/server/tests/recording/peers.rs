//! Taps towards recorders that take SRTP under a key of their own.

use sluice_proto::v1;
use sluice_proto::v1::Direction::{Inbound, Outbound};
use sluice_srtp::Kind as MediaKind;
use tonic::Code;

use crate::bed::{A_KEY, B_KEY, Bed, Sender, inbound, open, peer, to_peer};
use crate::support::{LegSpec, receive, rtp, udp};

const SSRC: u32 = 0xa11ce;

#[tokio::test]
async fn a_recorder_gets_the_copy_under_its_own_key_suite_and_mki() {
    let mut bed = Bed::start("tappeer").await;
    for (suite, octets, mki) in [(crate::SUITE, 30, vec![]), ("AEAD_AES_256_GCM", 44, vec![1, 2, 3, 4])] {
        let recorder = udp();
        let key: Vec<u8> = (0..octets).map(|n| n ^ 0x5a).collect();
        let mut there = peer(&recorder, suite, &key);
        there.key.as_mut().unwrap().mki = mki.clone();
        let tap = bed.tap(suite, to_peer(there, &["a"])).await.unwrap();
        let mut context = inbound(suite, &key, &mki, SSRC);
        let begin = if octets == 30 { 0 } else { 100 };
        for sequence in begin..begin + 30 {
            let plain = bed.a.send(sequence);
            let at_b = receive(&bed.b);
            let copy = receive(&recorder);
            assert_ne!(copy[12..172], at_b[12..172], "another keystream");
            assert_eq!(open(&mut context, MediaKind::Rtp, &copy), Some(plain));
        }
        let shown = bed.stop_tap(suite).await.unwrap();
        assert_eq!((shown.packets, shown.dropped), (30, 0));
        let Some(v1::tap_config::Destination::Peer(peer)) = shown.config.unwrap().destination else {
            panic!()
        };
        assert!(peer.key.unwrap().key_salt.is_empty(), "a key never comes back");
        assert!(!tap.local_rtp.is_empty());
    }
    bed.stop().await;
}

/// RFC 3711 §9.1: one key and one SSRC and two contexts would be a two-time pad.
#[tokio::test]
async fn the_recorder_s_key_is_nobody_else_s() {
    let mut bed = Bed::start("taptwo").await;
    let recorder = udp();
    for key in [B_KEY, A_KEY] {
        let refused = bed.tap("t", to_peer(peer(&recorder, crate::SUITE, &key), &["a"])).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{}", refused.message());
        assert!(refused.message().contains("key"), "{}", refused.message());
    }
    bed.tap("t", to_peer(peer(&recorder, crate::SUITE, &[9; 30]), &["a"])).await.unwrap();
    let other = bed.tap("u", to_peer(peer(&udp(), crate::SUITE, &[9; 30]), &["a"])).await.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition);
    bed.leg("s", "c", LegSpec::srtp()).await.unwrap();
    let refused = bed.key("s", "c", "k", Outbound, crate::SUITE, &[9; 30]).await.unwrap_err();
    assert_eq!(refused.reason, "KEY_IN_USE");
    // A second tap under the key of the first, which is gone, goes on at its indices: none is used twice.
    let mut context = inbound(crate::SUITE, &[9; 30], &[], SSRC);
    let plain = bed.a.send(10);
    assert_eq!(open(&mut context, MediaKind::Rtp, &receive(&recorder)), Some(plain));
    bed.stop_tap("t").await.unwrap();
    bed.tap("v", to_peer(peer(&recorder, crate::SUITE, &[9; 30]), &["a"])).await.unwrap();
    let plain = bed.a.send(11);
    assert_eq!(open(&mut context, MediaKind::Rtp, &receive(&recorder)), Some(plain));
    bed.stop().await;
}

#[tokio::test]
async fn legs_with_one_ssrc_are_two_streams_to_the_recorder() {
    let mut bed = Bed::start("tapssrc").await;
    let c = udp();
    let c_leg = bed.leg("s", "c", LegSpec::srtp().remote(&c)).await.unwrap();
    bed.key("s", "c", "k", Inbound, crate::SUITE, &[6; 30]).await.unwrap();
    let mut c = Sender::new(c, &c_leg, &[6; 30], SSRC);
    let recorder = udp();
    bed.tap("t", to_peer(peer(&recorder, crate::SUITE, &[9; 30]), &[])).await.unwrap();
    let mut contexts = std::collections::HashMap::new();
    let mut streams = std::collections::HashMap::<u32, Vec<Vec<u8>>>::new();
    for sequence in 0..10 {
        bed.a.send(sequence);
        c.send(sequence + 500);
        for _ in 0..2 {
            let copy = receive(&recorder);
            let ssrc = sluice_srtp::rtp::ssrc(&copy).unwrap();
            let context = contexts.entry(ssrc).or_insert_with(|| inbound(crate::SUITE, &[9; 30], &[], ssrc));
            let plain = open(context, MediaKind::Rtp, &copy).expect("one key, and a context for each");
            streams.entry(ssrc).or_default().push(plain);
        }
    }
    assert_eq!(streams.len(), 2);
    assert!(streams.values().all(|packets| packets.len() == 10));
    assert_eq!(streams[&SSRC][0][12..], rtp(0, SSRC, 160)[12..]);
    bed.stop().await;
}

#[tokio::test]
async fn a_key_that_the_gateway_made_is_told_while_the_tap_runs() {
    let mut bed = Bed::start("tapmade").await;
    let recorder = udp();
    let suite = "AEAD_AES_128_GCM";
    bed.tap("t", to_peer(peer(&recorder, suite, &[]), &["a"])).await.unwrap();
    let ask = v1::DiscloseTapKeyRequest { session: "s".into(), tap: "t".into() };
    let mut client = bed.recorder().await;
    let key = client.disclose_tap_key(ask.clone()).await.unwrap().into_inner().key.unwrap();
    assert_eq!((key.suite.as_str(), key.key_salt.len()), (suite, 28));
    let again = client.disclose_tap_key(ask.clone()).await.unwrap().into_inner().key.unwrap();
    assert_eq!(again.key_salt, key.key_salt);
    let mut context = inbound(suite, &key.key_salt, &[], SSRC);
    let plain = bed.a.send(1);
    assert_eq!(open(&mut context, MediaKind::Rtp, &receive(&recorder)), Some(plain));
    bed.stop_tap("t").await.unwrap();
    let refused = client.disclose_tap_key(ask).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    // One that came from outside does not come back, and two made ones differ.
    bed.tap("given", to_peer(peer(&udp(), crate::SUITE, &[9; 30]), &["a"])).await.unwrap();
    let ask = v1::DiscloseTapKeyRequest { session: "s".into(), tap: "given".into() };
    assert_eq!(client.disclose_tap_key(ask).await.unwrap_err().code(), Code::FailedPrecondition);
    bed.tap("made", to_peer(peer(&udp(), suite, &[]), &["a"])).await.unwrap();
    let ask = v1::DiscloseTapKeyRequest { session: "s".into(), tap: "made".into() };
    assert_ne!(client.disclose_tap_key(ask).await.unwrap().into_inner().key.unwrap().key_salt, key.key_salt);
    bed.stop().await;
}

#[tokio::test]
async fn media_goes_to_a_recorder_in_the_clear_only_where_the_configuration_says_so() {
    let clear = |recorder: &std::net::UdpSocket| v1::TapPeer {
        remote: recorder.local_addr().unwrap().to_string(),
        plain: true,
        rtcp_mux: true,
        ..Default::default()
    };
    let recorder = udp();
    let bed = Bed::start("tapclear").await;
    let refused = bed.tap("t", to_peer(clear(&recorder), &["a"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    bed.stop().await;
    let mut bed = Bed::start_with("tapclear", |config, _| config.recording.plain_peers = true).await;
    bed.tap("t", to_peer(clear(&recorder), &["a"])).await.unwrap();
    let plain = bed.a.send(1);
    assert_eq!(receive(&recorder), plain);
    bed.stop().await;
}
