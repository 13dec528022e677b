//! RTP and RTCP on one port, and media lines on one transport, where the policy passes both peers' wishes on.

use std::slice::from_ref;

use sluice_proto::v1;

use crate::desk::{Desk, daemon, plain};
use crate::phone::{CM_80, Crypto, GCM_256, Phone, address, crypto, description, port};
use crate::support::rtp;

const PORTS: u16 = 26_600;

fn passing() -> v1::SessionPolicy {
    let pass = |security: v1::MediaSecurity| {
        Some(v1::PeerPolicy {
            security: security.into(),
            rtcp_mux: v1::Handling::Pass.into(),
            bundle: v1::Handling::Pass.into(),
            ..Default::default()
        })
    };
    v1::SessionPolicy {
        caller: pass(v1::MediaSecurity::Required),
        callee: pass(v1::MediaSecurity::Plain),
        ..plain()
    }
}

/// An empty receiver report.
fn report(ssrc: u32) -> Vec<u8> {
    let mut report = vec![0x80, 201, 0, 1];
    report.extend(ssrc.to_be_bytes());
    report
}

#[tokio::test]
async fn rtcp_shares_the_port_of_rtp_where_both_peers_want_it() {
    let daemon = daemon("mux", PORTS).await;
    let mut desk = Desk::at(&daemon).await;
    let (mut alice, bob) = (Phone::new(), Phone::new());
    let key = Crypto::new(1, CM_80, 1);
    let offer = alice.sdp_with("RTP/SAVP", from_ref(&key), "a=rtcp-mux\r\n");
    let offered = desk.offer("s", &offer, Some(passing())).await.unwrap();
    assert!(offered.sdp.contains("a=rtcp-mux"), "{}", offered.sdp);
    let answer = bob.sdp_with("RTP/AVP", &[], "a=rtcp-mux\r\n");
    let answered = desk.answer("s", "", &answer, false).await.unwrap();
    assert!(answered.sdp.contains("a=rtcp-mux"), "{}", answered.sdp);
    for packet in bob.begin_plain(0xb, address(&offered.sdp, 0)) {
        assert_eq!(alice.receive(&crypto(&answered.sdp)[0]), packet);
    }
    bob.send_plain(&report(0xb), address(&offered.sdp, 0));
    let protected = alice.receive_plain();
    assert_eq!((protected[1], &protected[4..8]), (201, &0xb_u32.to_be_bytes()[..]), "on the port of RTP");
    assert_eq!(protected.len(), report(0xb).len() + 4 + 10, "SRTCP: index and tag");
    daemon.stop().await;
}

#[tokio::test]
async fn bundled_lines_have_one_leg_a_side_and_each_source_a_context_of_its_own() {
    let daemon = daemon("bundle", PORTS + 200).await;
    let mut desk = Desk::at(&daemon).await;
    let (mut alice, bob) = (Phone::new(), Phone::new());
    let key = Crypto::new(1, CM_80, 1);
    let video = |phone: &Phone, proto: &str, port: u16, more: &str| {
        phone
            .media(proto, &[], more)
            .replace("m=audio", "m=video")
            .replacen(&phone.port().to_string(), &port.to_string(), 1)
            .replace(" 0 8", " 96")
            + "a=rtpmap:96 VP8/90000\r\n"
    };
    let bundled =
        |media: String| description(&media).replacen("a=x-unknown:kept\r\n", "a=group:BUNDLE 0 1\r\n", 1);
    let offer = bundled(
        alice.media("RTP/SAVP", from_ref(&key), "a=rtcp-mux\r\na=mid:0\r\n")
            + &video(&alice, "RTP/SAVP", 0, "a=bundle-only\r\na=rtcp-mux\r\na=mid:1\r\n"),
    );
    let offered = desk.offer("s", &offer, Some(passing())).await.unwrap();
    assert!(offered.sdp.contains("a=group:BUNDLE 0 1"), "{}", offered.sdp);
    let answer = bundled(
        bob.media("RTP/AVP", &[], "a=rtcp-mux\r\na=mid:0\r\n")
            + &video(&bob, "RTP/AVP", bob.port(), "a=rtcp-mux\r\na=mid:1\r\n"),
    );
    let answered = desk.answer("s", "", &answer, false).await.unwrap();
    assert!(answered.sdp.contains("a=group:BUNDLE 0 1"), "{}", answered.sdp);
    assert_eq!(port(&answered.sdp, 0), port(&answered.sdp, 1), "{}", answered.sdp);
    let mut legs: Vec<_> = daemon.legs("s").await.into_iter().map(|leg| leg.id).collect();
    legs.sort();
    assert_eq!(legs, ["main.callee.0", "main.caller.0"]);
    let to = address(&answered.sdp, 0);
    let mut film = rtp(1, 0xaa, 20);
    film[1] = 96;
    alice.send(&key, &rtp(1, 0xa, 20), to);
    assert_eq!(bob.receive_plain(), rtp(1, 0xa, 20));
    // Another SSRC under the same key is another context.
    alice.begin_at(&key, 0xaa, 0);
    alice.send(&key, &film, to);
    assert_eq!(bob.receive_plain(), film);
    assert_ne!(crypto(&answered.sdp)[0].suite, GCM_256, "of the caller's suites");
    daemon.stop().await;
}
