//! Fingerprints that somebody between the two has changed.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_proto::v1::CallSide;
use sluice_proto::v1::event::Kind;
use sluice_tests::signalling::Signalling;
use sluice_tests::site::{PATIENCE, Site};
use sluice_tools::demo::namespace::Namespace;

use crate::peer::{Peer, Tools, tools};
use crate::plain::Phone;
use crate::{CALL, PLAIN, PROFILES, TONES, WEBRTC, sdp, site};

/// How long nothing must be heard.
const SILENCE: Duration = Duration::from_millis(2500);
const PHONE: u16 = 6000;

#[test]
fn chromium_whose_certificate_has_another_fingerprint_than_signalled_is_refused_and_nobody_hears_it()
-> Result<()> {
    let tools = tools!(browser);
    refused(&tools, Tools::chromium)
}

#[test]
fn aiortc_whose_certificate_has_another_fingerprint_than_signalled_is_refused_and_nobody_hears_it()
-> Result<()> {
    let tools = tools!();
    refused(&tools, Tools::aiortc)
}

#[test]
fn chromium_refuses_a_gateway_whose_fingerprint_was_changed_on_the_way_and_that_is_an_event() -> Result<()> {
    let tools = tools!(browser);
    let site = site(&[PROFILES[0].suite], WEBRTC, PLAIN)?;
    let mut chromium = tools.chromium(site.peers_namespace(), "chromium", &[])?;
    let mut phone = Phone::new(&site, PHONE, TONES[1], false)?;
    call(&site, &mut chromium, &mut phone, str::to_owned, sdp::forged)?;
    // It says so by an alert.
    expect_event(
        &site,
        |kind| matches!(kind, Kind::HandshakeFailed(failed) if failed.reason.contains("alert")),
    )?;
    expect_silence(&mut chromium, &mut phone)
}

/// How a peer is started.
type Start = fn(&Tools, &Namespace, &str, &[&str]) -> Result<Peer>;

/// Fails unless a peer whose fingerprint was changed on the way is refused, and that is an event.
fn refused(tools: &Tools, start: Start) -> Result<()> {
    let mut site = site(&[PROFILES[0].suite], WEBRTC, PLAIN)?;
    let mut peer = start(tools, site.peers_namespace(), "peer", &[])?;
    let mut phone = Phone::new(&site, PHONE, TONES[1], false)?;
    call(&site, &mut peer, &mut phone, sdp::forged, str::to_owned)?;
    expect_event(&site, |kind| match kind {
        Kind::CertificateRefused(refused) => {
            refused.expected.iter().any(|expected| expected.ends_with(":00") || expected.ends_with(":11"))
                && !refused.expected.contains(&refused.shown)
        }
        _ => false,
    })?;
    expect_silence(&mut peer, &mut phone)?;
    drop(phone);
    let leg = site.gateway.leg(CALL, "main.caller.0")?;
    ensure!(leg.sent_rtp_packets == 0, "media to whom nobody knows: {leg:?}");
    Ok(())
}

/// A call of a peer to a phone, with what happens on the way to the peer's offer, and to the answer.
fn call(
    site: &Site,
    peer: &mut Peer,
    phone: &mut Phone<'_>,
    to_offer: fn(&str) -> String,
    to_answer: fn(&str) -> String,
) -> Result<()> {
    let mut api = Signalling::connect(&site.socket())?;
    peer.open(TONES[0], json!({}))?;
    let offered = api.offer(CALL, "", CallSide::Caller, &to_offer(&peer.offer()?), None)?;
    let answered = api.answer(CALL, "", &phone.answer(&offered)?, false)?;
    phone.begin(&offered)?;
    peer.answer(&to_answer(&answered))
}

fn expect_event(site: &Site, wanted: impl Fn(&Kind) -> bool) -> Result<()> {
    let found = site.gateway.wait_for_event(PATIENCE, |event| event.kind.as_ref().is_some_and(&wanted));
    found
        .map(drop)
        .with_context(|| format!("no such event: {:#?}\n{}", *site.gateway.events(), site.gateway.log()))
}

fn expect_silence(peer: &mut Peer, phone: &mut Phone<'_>) -> Result<()> {
    thread::sleep(SILENCE);
    let state = peer.state()?;
    ensure!(state != "connected", "the peer is connected");
    // A receiver that has nothing may play silence.
    ensure!(
        peer.recording()?.iter().all(|sample| sample.abs() < 50),
        "the peer hears something; it is {state}"
    );
    ensure!(phone.recording().is_empty(), "the phone hears something");
    Ok(())
}
