//! Two peers that each have a handshake of their own with the gateway.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_proto::v1::CallSide;
use sluice_tests::signalling::Signalling;

use crate::peer::{Peer, tools};
use crate::{CALL, HEARD, PROFILES, TALK, TONES, WEBRTC, connect, expect_dtls, sdp, site};

#[test]
fn two_chromiums_hear_each_other_over_two_legs_with_keys_of_their_own() -> Result<()> {
    let tools = tools!(browser);
    let profile = PROFILES[2];
    let mut site = site(&[profile.suite], WEBRTC, WEBRTC)?;
    let mut api = Signalling::connect(&site.socket())?;
    let mut caller = tools.chromium(site.peers_namespace(), "caller", &[])?;
    let mut callee = tools.chromium(site.peers_namespace(), "callee", &[])?;
    caller.open(TONES[0], json!({}))?;
    callee.open(TONES[1], json!({}))?;
    connect(&mut api, &mut caller, &mut callee)?;
    thread::sleep(TALK);
    callee.expect_heard(TONES[0], HEARD)?;
    caller.expect_heard(TONES[1], HEARD)?;
    for (peer, side) in [(&mut caller, CallSide::Caller), (&mut callee, CallSide::Callee)] {
        let handshake = peer.handshake()?;
        ensure!(handshake.srtp == profile.chromium, "{handshake:?}");
        expect_dtls(&mut api, profile.suite, side)?;
    }
    api.end(CALL)?;
    ensure!(site.gateway.statistics()?.legs.is_empty(), "legs of a call that ended");
    Ok(())
}

#[test]
fn chromium_and_aiortc_hear_each_other_each_under_its_own_profile() -> Result<()> {
    let tools = tools!(browser);
    let suites: Vec<_> = PROFILES.iter().rev().map(|profile| profile.suite).collect();
    let site = site(&suites, WEBRTC, WEBRTC)?;
    let mut api = Signalling::connect(&site.socket())?;
    let mut caller = tools.chromium(site.peers_namespace(), "caller", &[])?;
    let mut callee = tools.aiortc(site.peers_namespace(), "callee", &["--profile", PROFILES[0].openssl])?;
    caller.open(TONES[0], json!({}))?;
    callee.open(TONES[1], json!({}))?;
    connect(&mut api, &mut caller, &mut callee)?;
    thread::sleep(TALK);
    callee.expect_heard(TONES[0], HEARD)?;
    caller.expect_heard(TONES[1], HEARD)?;
    expect_dtls(&mut api, PROFILES[0].suite, CallSide::Callee)
}

#[test]
fn video_with_feedback_flows_between_two_chromiums_on_the_transport_of_audio() -> Result<()> {
    let tools = tools!(browser);
    // The peers bundle with each other: the gateway's legs are as many as their transports.
    let side = format!("{WEBRTC}bundle = \"pass\"\n");
    let site = site(&[PROFILES[2].suite, PROFILES[0].suite], &side, &side)?;
    let mut api = Signalling::connect(&site.socket())?;
    let mut caller = tools.chromium(site.peers_namespace(), "caller", &[])?;
    let mut callee = tools.chromium(site.peers_namespace(), "callee", &[])?;
    for (peer, tone) in [(&mut caller, TONES[0]), (&mut callee, TONES[1])] {
        peer.open(tone, json!({ "video": 1 }))?;
    }
    let offer = caller.offer()?;
    let offered = api.offer(CALL, "", CallSide::Caller, &offer, None)?;
    ensure!(sdp::attributes(&offered, "group").iter().any(|group| group.starts_with("BUNDLE")), "{offered}");
    let answer = callee.accept(&offered).with_context(|| offered.clone())?;
    let answered = api.answer(CALL, "", &answer, false)?;
    caller.answer(&answered).with_context(|| answered.clone())?;
    caller.expect_connected()?;
    callee.expect_connected()?;
    for peer in [&mut caller, &mut callee] {
        wait_for_frames(peer, 30)?;
    }
    thread::sleep(TALK);
    callee.expect_heard(TONES[0], HEARD)?;
    caller.expect_heard(TONES[1], HEARD)?;
    // Both hear of each other how their streams arrive: reports, and feedback, cross the gateway.
    for peer in [&mut caller, &mut callee] {
        let reports = peer.reports("remote-inbound-rtp")?;
        ensure!(reports.len() >= 2, "reports on audio and video: {reports:?}");
        let sent = peer.reports("outbound-rtp")?;
        ensure!(
            sent.iter()
                .any(|report| report["kind"] == "video" && report["framesEncoded"].as_u64() > Some(30)),
            "{sent:?}"
        );
    }
    api.end(CALL).map_err(Into::into)
}

/// Waits until a peer has decoded so many frames of video.
fn wait_for_frames(peer: &mut Peer, wanted: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let reports = peer.reports("inbound-rtp")?;
        let frames = reports.iter().find_map(|report| report["framesDecoded"].as_u64()).unwrap_or_default();
        if frames >= wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{frames} frames were decoded: {reports:#?}");
        thread::sleep(Duration::from_millis(100));
    }
}
