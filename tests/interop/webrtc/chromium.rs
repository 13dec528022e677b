//! Chromium and a phone without handshakes, and what Chromium says of the keys that it got.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_proto::v1::CallSide;
use sluice_tests::signalling::Signalling;
use sluice_tests::site::{PATIENCE, Site};

use crate::peer::{Peer, tools};
use crate::plain::Phone;
use crate::{CALL, HEARD, PLAIN, PROFILES, SDES, TALK, TONES, WEBRTC, expect_dtls, sdp, site, site_with};

/// The phone's port.
const PHONE: u16 = 6000;

#[test]
fn chromium_calls_a_phone_with_plain_rtp_under_each_profile_and_both_hear() -> Result<()> {
    let tools = tools!(browser);
    for profile in PROFILES {
        let site = site(&[profile.suite], WEBRTC, PLAIN)?;
        let mut chromium = tools.chromium(site.peers_namespace(), "chromium", &[])?;
        let handshake = outgoing(&site, &mut chromium, profile.suite, false).context(profile.suite)?;
        ensure!(handshake.srtp == profile.chromium, "{handshake:?}");
    }
    Ok(())
}

#[test]
fn a_phone_with_plain_rtp_calls_chromium_under_each_profile_and_both_hear() -> Result<()> {
    let tools = tools!(browser);
    for profile in PROFILES {
        let site = site(&[profile.suite], PLAIN, WEBRTC)?;
        let mut chromium = tools.chromium(site.peers_namespace(), "chromium", &[])?;
        let handshake = incoming(&site, &mut chromium, profile.suite, false).context(profile.suite)?;
        ensure!(handshake.srtp == profile.chromium, "{handshake:?}");
    }
    Ok(())
}

#[test]
fn chromium_and_a_phone_with_sdes_hear_each_other_whoever_calls() -> Result<()> {
    let tools = tools!(browser);
    let suites = ["AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_80"];
    // Which of them is up to who does not begin: when Chromium calls that is Chromium, whose order is another.
    let [of_gateway, of_chromium] = suites;
    let there = site(&suites, WEBRTC, SDES)?;
    let mut chromium = tools.chromium(there.peers_namespace(), "chromium", &[])?;
    outgoing(&there, &mut chromium, of_chromium, true).context("Chromium calls")?;
    drop((chromium, there));
    let back = site(&suites, SDES, WEBRTC)?;
    let mut chromium = tools.chromium(back.peers_namespace(), "chromium", &[])?;
    incoming(&back, &mut chromium, of_gateway, true).context("the phone calls").map(drop)
}

#[test]
fn chromium_s_handshake_is_of_the_version_that_the_gateway_has_whoever_begins_it() -> Result<()> {
    let tools = tools!(browser);
    let profile = PROFILES[0];
    // A gateway that begins offers 1.2 where it has both: then peers with certificates of RSA can be anybody.
    let cases = [
        ("[\"1.2\"]", "active", "1.2"),
        ("[\"1.2\"]", "passive", "1.2"),
        ("[\"1.3\"]", "active", "1.3"),
        ("[\"1.3\"]", "passive", "1.3"),
        ("[\"1.2\", \"1.3\"]", "active", "1.2"),
        ("[\"1.2\", \"1.3\"]", "passive", "1.3"),
    ];
    for (versions, setup, version) in cases {
        let side = format!("{WEBRTC}dtls_setup = \"{setup}\"\n");
        let site = site_with(&[profile.suite], &side, PLAIN, &format!("[dtls]\nversions = {versions}\n"))?;
        let mut chromium = tools.chromium(site.peers_namespace(), "chromium", &[])?;
        let of = || format!("versions {versions}, {setup}");
        let handshake = outgoing(&site, &mut chromium, profile.suite, false).with_context(of)?;
        ensure!(
            handshake.version == version && handshake.srtp == profile.chromium,
            "{}: {handshake:?}",
            of()
        );
    }
    Ok(())
}

#[test]
fn chromium_is_heard_before_and_after_an_ice_restart() -> Result<()> {
    let tools = tools!(browser);
    let site = site(&[PROFILES[2].suite], WEBRTC, PLAIN)?;
    let mut chromium = tools.chromium(site.peers_namespace(), "chromium", &[])?;
    let mut api = Signalling::connect(&site.socket())?;
    let mut phone = Phone::new(&site, PHONE, TONES[1], false)?;
    chromium.open(TONES[0], json!({}))?;
    let offered = api.offer(CALL, "", CallSide::Caller, &chromium.offer()?, None)?;
    let answered = api.answer(CALL, "", &phone.answer(&offered)?, false)?;
    phone.begin(&offered)?;
    chromium.answer(&answered).with_context(|| answered.clone())?;
    chromium.expect_connected()?;
    thread::sleep(TALK);
    let pair = |chromium: &mut Peer| {
        Ok::<_, anyhow::Error>(chromium.reports("transport")?[0]["selectedCandidatePairChanges"].as_u64())
    };
    let before = pair(&mut chromium)?;

    let again = api.offer(CALL, "", CallSide::Caller, &chromium.restart()?, None)?;
    let renewed = api.answer(CALL, "", &phone.answer(&again)?, false)?;
    let ufrag = |sdp: &str| sdp::attributes(sdp, "ice-ufrag").first().map(|ufrag| (*ufrag).to_owned());
    ensure!(
        ufrag(&renewed) != ufrag(&answered),
        "RFC 8839 section 4.4.1.1.1 wants other credentials: {renewed}"
    );
    ensure!(
        sdp::attributes(&renewed, "fingerprint") == sdp::attributes(&answered, "fingerprint"),
        "the association stays (RFC 8842 section 6): {renewed}"
    );
    chromium.answer(&renewed).with_context(|| renewed.clone())?;
    let deadline = Instant::now() + PATIENCE;
    while pair(&mut chromium)? == before && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    ensure!(pair(&mut chromium)? > before, "no other pair was selected:\n{}", site.gateway.log());
    thread::sleep(TALK);
    // In both parts of the call.
    let of = || format!("{renewed}\n{}", site.gateway.log());
    phone.expect_heard(TONES[0], 2.0 * HEARD).with_context(of)?;
    chromium.expect_heard(TONES[1], 2.0 * HEARD).with_context(of)?;
    api.end(CALL).map_err(Into::into)
}

/// Chromium calls a phone; each has to hear the other.
pub(crate) fn outgoing(
    site: &Site,
    chromium: &mut Peer,
    suite: &str,
    sdes: bool,
) -> Result<crate::peer::Handshake> {
    let mut api = Signalling::connect(&site.socket())?;
    let mut phone = Phone::new(site, PHONE, TONES[1], sdes)?;
    chromium.open(TONES[0], json!({}))?;
    let offered = api.offer(CALL, "", CallSide::Caller, &chromium.offer()?, None)?;
    let answered = api.answer(CALL, "", &phone.answer(&offered)?, false)?;
    phone.begin(&offered).with_context(|| offered.clone())?;
    chromium.answer(&answered).with_context(|| answered.clone())?;
    finish(&mut api, chromium, &mut phone, suite, CallSide::Caller)
        .with_context(|| format!("{answered}\n{}", site.gateway.log()))
}

/// A phone that knows no feedback calls Chromium, or aiortc. Each has to hear the other.
pub(crate) fn incoming(
    site: &Site,
    chromium: &mut Peer,
    suite: &str,
    sdes: bool,
) -> Result<crate::peer::Handshake> {
    let mut api = Signalling::connect(&site.socket())?;
    let mut phone = Phone::new(site, PHONE, TONES[1], sdes)?;
    chromium.open(TONES[0], json!({}))?;
    let offered = api.offer(CALL, "", CallSide::Caller, &phone.offer(), None)?;
    let answer = chromium.accept(&offered).with_context(|| offered.clone())?;
    let answered = api.answer(CALL, "", &answer, false).with_context(|| answer.clone())?;
    phone.begin(&answered)?;
    finish(&mut api, chromium, &mut phone, suite, CallSide::Callee)
        .with_context(|| format!("{offered}\n{}", site.gateway.log()))
}

fn finish(
    api: &mut Signalling,
    peer: &mut Peer,
    phone: &mut Phone<'_>,
    suite: &str,
    side: CallSide,
) -> Result<crate::peer::Handshake> {
    peer.expect_connected()?;
    thread::sleep(TALK);
    phone.expect_heard(TONES[0], HEARD)?;
    peer.expect_heard(TONES[1], HEARD)?;
    expect_dtls(api, suite, side)?;
    let handshake = peer.handshake()?;
    api.end(CALL)?;
    Ok(handshake)
}
