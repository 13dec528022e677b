//! Keys that change within a call, and what crypto lines ask of a stream's state.

use std::slice::from_ref;

use sluice_proto::v1;
use sluice_proto::v1::CallSide::Caller;

use crate::desk::{Desk, daemon, to_plain};
use crate::phone::{CM_80, Crypto, Phone, address};
use crate::support::rtp;

const PORTS: u16 = 25_000;

/// Whether bob hears alice after she has changed her key in mid-stream, her rollover counter being `roc` then.
async fn heard_after_rekeying(name: &str, first_port: u16, mode: v1::RocOnRekey, roc: u32) -> bool {
    let daemon = daemon(name, first_port).await;
    let mut desk = Desk::at(&daemon).await;
    let (mut alice, bob) = (Phone::new(), Phone::new());
    let old = Crypto::new(1, CM_80, 1);
    let policy = v1::SessionPolicy { roc_on_rekey: mode.into(), ..to_plain() };
    desk.offer("s", &alice.sdp("RTP/SAVP", from_ref(&old)), Some(policy)).await.unwrap();
    let answered = desk.answer("s", "", &bob.sdp("RTP/AVP", &[]), false).await.unwrap();
    let to = address(&answered.sdp, 0);
    // Her sequence numbers wrap around: the rollover counter is 1 from then on.
    for sequence in [65_534, 65_535, 0, 1] {
        alice.send(&old, &rtp(sequence, 0xa, 20), to);
        assert_eq!(bob.receive_plain(), rtp(sequence, 0xa, 20));
    }
    let new = Crypto::new(1, CM_80, 2);
    desk.reoffer("s", Caller, &alice.sdp("RTP/SAVP", from_ref(&new))).await.unwrap();
    desk.answer("s", "", &bob.sdp("RTP/AVP", &[]), false).await.unwrap();
    alice.begin_at(&new, 0xa, roc);
    alice.send(&new, &rtp(2, 0xa, 20), to);
    let heard = !bob.hears_nothing();
    daemon.stop().await;
    heard
}

#[tokio::test]
async fn rollover_counters_go_on_under_a_new_key_as_the_policy_says() {
    use v1::RocOnRekey::{Keep, Reset, TryBoth};
    for (at, (mode, roc, heard)) in [
        (Keep, 1, true),
        (Keep, 0, false),
        (Reset, 0, true),
        // The counter of a first packet may have wrapped around just before it, but no oftener.
        (Reset, 9, false),
        (TryBoth, 1, true),
        (TryBoth, 0, true),
    ]
    .into_iter()
    .enumerate()
    {
        let first_port = PORTS + 200 * u16::try_from(at).unwrap();
        let was = heard_after_rekeying(&format!("roc{at}"), first_port, mode, roc).await;
        assert_eq!(was, heard, "{mode:?}, and the peer is at {roc}");
    }
}

#[tokio::test]
async fn the_window_that_a_peer_asks_for_is_that_of_its_leg() {
    let daemon = daemon("wsh", PORTS + 1400).await;
    let mut desk = Desk::at(&daemon).await;
    let (mut alice, bob) = (Phone::new(), Phone::new());
    let key = Crypto::new(1, CM_80, 1);
    let offer = alice.sdp("RTP/SAVP", from_ref(&key));
    let line = offer.lines().find(|line| line.starts_with("a=crypto:")).unwrap();
    let offer = offer.replace(line, &format!("{line} WSH=2048"));
    desk.offer("s", &offer, Some(to_plain())).await.unwrap();
    let answered = desk.answer("s", "", &bob.sdp("RTP/AVP", &[]), false).await.unwrap();
    let legs = daemon.legs("s").await;
    let leg = legs.iter().find(|leg| leg.id == "main.caller.0").unwrap();
    assert_eq!(leg.config.as_ref().unwrap().replay_window, 2048);
    // What is late by more than the usual 128 packets is still heard.
    let to = address(&answered.sdp, 0);
    let late = {
        // Protected in order, sent out of it.
        let mut elsewhere = Phone::new();
        let sink = Phone::new();
        let sink_at = sink.socket.local_addr().unwrap();
        elsewhere.send(&key, &rtp(10, 0xa, 20), sink_at);
        sink.receive_plain()
    };
    alice.send(&key, &rtp(1500, 0xa, 20), to);
    assert_eq!(bob.receive_plain(), rtp(1500, 0xa, 20));
    alice.send_plain(&late, to);
    assert_eq!(bob.receive_plain(), rtp(10, 0xa, 20));
    daemon.stop().await;
}
