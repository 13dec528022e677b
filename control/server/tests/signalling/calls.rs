//! Whole calls, with media through them.

use std::time::Duration;

use base64::Engine as _;
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use sluice_server::config::AbsolutePath;

use crate::desk::{Desk, Left, daemon, daemon_with, plain, to_plain};
use crate::phone::{CM_80, Crypto, GCM_256, Phone, address, crypto, port, proto};
use crate::support::{Daemon, config, rtp};

const PORTS: u16 = 20_000;

#[tokio::test]
async fn a_call_from_sdes_to_plain_goes_through_both_ways_and_leaves_nothing() {
    let daemon = daemon("sdes-plain", PORTS).await;
    let before = Left::of(&daemon, PORTS).await;
    let mut desk = Desk::at(&daemon).await;
    let (mut alice, bob) = (Phone::new(), Phone::new());
    let key = Crypto::new(7, CM_80, 1);
    let offered =
        desk.offer("s", &alice.sdp("RTP/SAVP", std::slice::from_ref(&key)), Some(to_plain())).await.unwrap();
    assert_eq!((proto(&offered.sdp, 0), crypto(&offered.sdp)), ("RTP/AVP", vec![]));
    assert!(offered.sdp.contains("a=x-unknown:kept"), "{}", offered.sdp);
    assert_eq!(offered.branch, "main");
    let answered = desk.answer("s", "", &bob.sdp("RTP/AVP", &[]), false).await.unwrap();
    let [ours] = crypto(&answered.sdp).try_into().unwrap();
    assert_eq!((proto(&answered.sdp, 0), ours.tag, ours.suite), ("RTP/SAVP", 7, CM_80));
    assert_ne!(ours.key_salt, key.key_salt, "each direction has a key of its own");
    for packet in bob.begin_plain(0xb, address(&offered.sdp, 0)) {
        assert_eq!(alice.receive(&ours), packet);
    }
    for sequence in 2..10 {
        alice.send(&key, &rtp(sequence, 0xa, 160), address(&answered.sdp, 0));
        assert_eq!(bob.receive_plain(), rtp(sequence, 0xa, 160));
        bob.send_plain(&rtp(sequence, 0xb, 160), address(&offered.sdp, 0));
        assert_eq!(alice.receive(&ours), rtp(sequence, 0xb, 160));
    }
    let call = answered.call.unwrap();
    assert_eq!(call.robustness(), v1::RobustnessClass::NoSignalingPassiveMedia);
    let media = &call.branches[0].media[0];
    let (caller, callee) = (media.caller.clone().unwrap(), media.callee.clone().unwrap());
    assert_eq!((caller.leg.as_str(), caller.suite.as_str()), ("main.caller.0", "AES_CM_128_HMAC_SHA1_80"));
    assert_eq!((caller.keying(), callee.keying()), (v1::Keying::Sdes, v1::Keying::None));
    assert!(!caller.explanation.is_empty());
    assert!(desk.end("s").await);
    assert!(!desk.end("s").await, "twice is fine");
    before.again(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn early_media_under_another_suite_is_held_until_the_answer_and_plays_out_in_order() {
    let daemon = daemon("early", PORTS + 200).await;
    let mut desk = Desk::at(&daemon).await;
    let (mut alice, mut bob) = (Phone::new(), Phone::new());
    let key = Crypto::new(1, CM_80, 1);
    let offered = desk.offer("s", &alice.sdp("RTP/SAVP", &[key]), None).await.unwrap();
    let gcm =
        crypto(&offered.sdp).into_iter().find(|line| line.suite == GCM_256).expect("the preferred suite");
    let bobs = Crypto { key_salt: vec![9; 44], ..gcm.clone() };
    for sequence in 0..5 {
        bob.send(&bobs, &rtp(sequence, 0xb, 160), address(&offered.sdp, 0));
    }
    // The answer overtakes none of it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answered = desk.answer("s", "", &bob.sdp("RTP/SAVP", &[bobs]), false).await.unwrap();
    let ours = &crypto(&answered.sdp)[0];
    for sequence in 0..5 {
        assert_eq!(alice.receive(ours), rtp(sequence, 0xb, 160));
    }
    alice.send(&Crypto::new(1, CM_80, 1), &rtp(1, 0xa, 20), address(&answered.sdp, 0));
    assert_eq!(bob.receive(&gcm), rtp(1, 0xa, 20), "under the key that was offered");
    daemon.stop().await;
}

#[tokio::test]
async fn an_offer_of_fifty_crypto_lines_costs_no_key_derivation_until_it_is_answered() {
    let daemon = daemon("compute", PORTS + 400).await;
    let mut desk = Desk::at(&daemon).await;
    let derived = || async {
        let request = v1::GetStatisticsRequest { session: String::new(), workers_only: true };
        daemon.client().await.get_statistics(request).await.unwrap().into_inner().keys_derived
    };
    let (alice, bob) = (Phone::new(), Phone::new());
    let lines: Vec<_> = (1..=50).map(|tag| Crypto::new(tag, CM_80, tag as u8)).collect();
    desk.offer("s", &alice.sdp("RTP/SAVP", &lines), Some(to_plain())).await.unwrap();
    assert_eq!(derived().await, 0);
    desk.answer("s", "", &bob.sdp("RTP/AVP", &[]), false).await.unwrap();
    assert_eq!(derived().await, 2, "one for each direction");
    daemon.stop().await;
}

#[tokio::test]
async fn events_tell_what_becomes_of_a_call() {
    let daemon = daemon("events", PORTS + 600).await;
    let mut desk = Desk::at(&daemon).await;
    let watch = v1::WatchEventsRequest { session: "s".into() };
    let mut events = daemon.client().await.watch_events(watch).await.unwrap().into_inner();
    let (alice, bob) = (Phone::new(), Phone::new());
    let key = Crypto::new(1, CM_80, 1);
    desk.offer("s", &alice.sdp("RTP/SAVP", &[key]), Some(to_plain())).await.unwrap();
    desk.answer("s", "", &bob.sdp("RTP/AVP", &[]), true).await.unwrap();
    desk.select("s", "main").await.unwrap();
    desk.end("s").await;
    let (mut changes, mut suites) = (Vec::new(), Vec::new());
    while changes.last() != Some(&v1::CallChange::Ended) {
        let event = tokio::time::timeout(Duration::from_secs(5), events.message()).await.unwrap();
        let event = event.unwrap().unwrap();
        match event.kind {
            Some(Kind::CallChanged(changed)) => changes.push(changed.change()),
            Some(Kind::Negotiated(negotiated)) => suites.push((event.leg, negotiated.suite)),
            _ => {}
        }
    }
    use v1::CallChange::{BranchCreated, Ended, Progress, Selected};
    assert_eq!(changes, [BranchCreated, Progress, Selected, Ended]);
    let suite = |leg: &str, suite: &str| (leg.to_owned(), suite.to_owned());
    assert_eq!(suites, [suite("main.caller.0", CM_80.name()), suite("main.callee.0", "")]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_call_of_plain_media_goes_through() {
    let daemon = daemon("plain", PORTS + 800).await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, bob) = (Phone::new(), Phone::new());
    let offered = desk.offer("s", &alice.sdp("RTP/AVP", &[]), Some(plain())).await.unwrap();
    let answered = desk.answer("s", "", &bob.sdp("RTP/AVP", &[]), false).await.unwrap();
    for packet in alice.begin_plain(0xa, address(&answered.sdp, 0)) {
        assert_eq!(bob.receive_plain(), packet);
    }
    for sequence in 2..5 {
        alice.send_plain(&rtp(sequence, 0xa, 160), address(&answered.sdp, 0));
        assert_eq!(bob.receive_plain(), rtp(sequence, 0xa, 160));
    }
    assert_ne!(port(&offered.sdp, 0), port(&answered.sdp, 0));
    let legs = daemon.legs("s").await;
    assert!(legs.iter().all(|leg| leg.robustness() == v1::RobustnessClass::NoSignalingPassiveMedia));
    daemon.stop().await;
}

#[tokio::test]
async fn the_class_of_a_call_follows_from_keying_and_what_is_attested_and_is_enforced() {
    let daemon = daemon("class", PORTS + 1000).await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, bob) = (Phone::new(), Phone::new());
    let key = Crypto::new(1, CM_80, 1);
    let floor = v1::RobustnessClass::PassiveSignalingPassiveMedia;
    let policy = v1::SessionPolicy { lowest_robustness: floor.into(), ..Default::default() };
    let attested = |hop_tls| Some(v1::SignallingAttestation { hop_tls, ..Default::default() });
    for (session, caller_tls, callee_tls, taken) in
        [("both", true, true, true), ("one", true, false, false), ("none", false, false, false)]
    {
        let request = v1::ProcessOfferRequest {
            session: session.into(),
            sdp: alice.sdp("RTP/SAVP", std::slice::from_ref(&key)),
            policy: Some(policy.clone()),
            attestation: attested(caller_tls),
            ..Default::default()
        };
        let offered = desk.process_offer(request).await.unwrap();
        let bobs = Crypto { key_salt: vec![9; 30], ..crypto(&offered.sdp)[0].clone() };
        let bobs = Crypto { key_salt: vec![9; bobs.suite.key_len() + bobs.suite.salt_len()], ..bobs };
        let request = v1::ProcessAnswerRequest {
            session: session.into(),
            sdp: bob.sdp("RTP/SAVP", &[bobs]),
            attestation: attested(callee_tls),
            ..Default::default()
        };
        match desk.client.process_answer(request).await {
            Ok(answer) => {
                assert!(taken, "{session}");
                assert_eq!(answer.into_inner().call.unwrap().robustness(), floor);
                let legs = daemon.legs(session).await;
                assert!(legs.iter().all(|leg| leg.robustness() == floor), "{legs:?}");
            }
            Err(refused) => {
                assert!(!taken, "{refused:?}");
                assert_eq!(crate::desk::reason(&refused), "POLICY");
                assert!(refused.message().contains("policy.lowest_robustness"), "{}", refused.message());
                assert_eq!(desk.call(session).await.unwrap().branches[0].state(), v1::BranchState::Offered);
            }
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn keys_that_an_answer_brings_are_audited_by_their_names_and_no_key_is() {
    let (folder, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(folder.path(), "io_uring");
    let path = logs.path().join("audit.jsonl");
    config.audit.file = Some(AbsolutePath(path.clone()));
    let daemon = Daemon::start_with(folder, config).await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, bob) = (Phone::new(), Phone::new());
    let key = Crypto::new(7, CM_80, 0xa7);
    let offer = alice.sdp("RTP/SAVP", std::slice::from_ref(&key));
    desk.offer("s", &offer, Some(to_plain())).await.unwrap();
    let text = || std::fs::read_to_string(&path).unwrap();
    assert_eq!(text(), "", "what is offered is no key yet");
    let answered = desk.answer("s", "", &bob.sdp("RTP/AVP", &[]), false).await.unwrap();
    let lines: Vec<serde_json::Value> =
        text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(line["method"], "sluice.v1.Signalling/ProcessAnswer");
    assert_eq!((&line["session"], &line["outcome"]), (&"s".into(), &"done".into()));
    assert_eq!(line["who"]["pid"], std::process::id());
    let keys = line["keys"].as_array().unwrap();
    let mut told: Vec<_> = keys.iter().map(|key| (key["leg"].as_str(), key["direction"].as_str())).collect();
    told.sort_unstable();
    assert_eq!(told, ["inbound", "outbound"].map(|way| (Some("main.caller.0"), Some(way))));
    let [ours] = crypto(&answered.sdp).try_into().unwrap();
    for secret in [key.key_salt, ours.key_salt] {
        let forms = [base64::prelude::BASE64_STANDARD.encode(&secret), hex::encode(&secret)];
        assert!(forms.iter().all(|form| !text().contains(&form[..12])));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_recording_says_what_payload_types_mean_as_the_answer_does() {
    let folder = |folder: &std::path::Path| format!("[recording]\nfolder = {folder:?}\n");
    let recordings = tempfile::tempdir().unwrap();
    let daemon = daemon_with("codecs", 28_800, |_| folder(recordings.path())).await;
    let mut desk = Desk::at(&daemon).await;
    let (alice, bob) = (Phone::new(), Phone::new());
    let said = |phone: &Phone, formats: &str, maps: &str| {
        phone.sdp_with("RTP/AVP", &[], maps).replacen(" 0 8\r\n", &format!(" {formats}\r\n"), 1)
    };
    let maps = "a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 iLBC/8000\r\n";
    desk.offer("s", &said(&alice, "96 97 0", maps), Some(plain())).await.unwrap();
    let answer = said(&bob, "96 0", "a=rtpmap:96 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\n");
    desk.answer("s", "", &answer, false).await.unwrap();
    let mut recorder = v1::recording_client::RecordingClient::new(daemon.channel().await);
    let file = v1::TapFile { name: "call".into(), ..Default::default() };
    let destination = Some(v1::tap_config::Destination::File(file));
    let config = Some(v1::TapConfig { destination, ..Default::default() });
    let request = v1::StartTapRequest { session: "s".into(), tap: "t".into(), config };
    recorder.start_tap(request).await.unwrap();
    let request = v1::StopTapRequest { session: "s".into(), tap: "t".into() };
    assert_eq!(recorder.stop_tap(request).await.unwrap().into_inner().tapped_legs.len(), 0, "it has ended");
    let written = std::fs::read(recordings.path().join("call.pcapng")).unwrap();
    let written = String::from_utf8_lossy(&written);
    for leg in ["main.caller.0", "main.callee.0"] {
        let comment = format!(
            "session s, leg {leg}, tap t: received by Sluice, decrypted\nrtpmap:0 PCMU/8000\nrtpmap:96 opus/48000/2"
        );
        assert!(written.contains(&comment), "{leg}: {written}");
        assert!(!written.contains("iLBC"), "it was offered, and not agreed on");
    }
    daemon.stop().await;
}
