//! Chromium and a phone without handshakes, and what Chromium says of the keys that it got.

use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_proto::v1::CallSide;
use sluice_tests::signalling::Signalling;
use sluice_tests::site::Site;

use crate::peer::{Peer, tools};
use crate::plain::Phone;
use crate::{CALL, HEARD, PLAIN, PROFILES, SDES, TALK, TONES, WEBRTC, expect_dtls, site, site_with};

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
        let handshake = incoming(&site, &mut chromium, profile.suite, false, false).context(profile.suite)?;
        ensure!(handshake.srtp == profile.chromium, "{handshake:?}");
    }
    Ok(())
}

#[test]
fn chromium_and_a_phone_with_sdes_hear_each_other_whoever_calls() -> Result<()> {
    let tools = tools!(browser);
    let suites = ["AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_80"];
    let there = site(&suites, WEBRTC, SDES)?;
    let mut chromium = tools.chromium(there.peers_namespace(), "chromium", &[])?;
    outgoing(&there, &mut chromium, suites[0], true).context("Chromium calls")?;
    drop((chromium, there));
    let back = site(&suites, SDES, WEBRTC)?;
    let mut chromium = tools.chromium(back.peers_namespace(), "chromium", &[])?;
    incoming(&back, &mut chromium, suites[0], true, false).context("the phone calls").map(drop)
}

#[test]
fn chromium_s_handshake_is_of_the_version_that_the_gateway_has_whoever_begins_it() -> Result<()> {
    let tools = tools!(browser);
    let profile = PROFILES[2];
    for (versions, version) in [("\"1.2\"", "1.2"), ("\"1.3\"", "1.3"), ("\"1.2\", \"1.3\"", "1.3")] {
        for setup in ["active", "passive"] {
            let more = format!("[dtls]\nversions = [{versions}]\n");
            let side = format!("{WEBRTC}dtls_setup = \"{setup}\"\n");
            let site = site_with(&[profile.suite], &side, PLAIN, &more)?;
            let mut chromium = tools.chromium(site.peers_namespace(), "chromium", &[])?;
            let of = || format!("versions {versions}, {setup}");
            let handshake = outgoing(&site, &mut chromium, profile.suite, false).with_context(of)?;
            ensure!(
                handshake.version == version && handshake.srtp == profile.chromium,
                "{handshake:?}: {}",
                of()
            );
        }
    }
    Ok(())
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

/// A phone calls Chromium, or aiortc: that answers a profile with feedback whatever it is offered. Each has to hear the
/// other.
pub(crate) fn incoming(
    site: &Site,
    chromium: &mut Peer,
    suite: &str,
    sdes: bool,
    feedback: bool,
) -> Result<crate::peer::Handshake> {
    let mut api = Signalling::connect(&site.socket())?;
    let mut phone = Phone::new(site, PHONE, TONES[1], sdes)?;
    chromium.open(TONES[0], json!({}))?;
    let offered = api.offer(CALL, "", CallSide::Caller, &phone.offer(feedback), None)?;
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
