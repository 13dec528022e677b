//! Re-INVITEs, and callers that may have SRTP or not.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::MediaSecurity::{self, BestEffort, Required};
use sluice_tests::baresip::{Phone, Setup};
use sluice_tests::needs;
use sluice_tests::sip::{Relay, Step, Transcript};
use sluice_tests::site::Site;

use crate::{SETUP, only, policy, relay, suites};

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
const CALLER: Setup = Setup { name: "alice", port: 5070, tone: 440, security: "srtp-mand", answers: "auto" };
const CALLEE: Setup = Setup { name: "bob", port: 5080, tone: 880, security: "srtp-mand", answers: "auto" };

#[test]
fn a_baresip_call_on_hold_is_silent_and_goes_on_after_it() -> Result<()> {
    needs!("baresip", "-h");
    let mut site = Site::new()?;
    let mut callee = Phone::start(&site, CALLEE)?;
    let mut caller = Phone::start(&site, CALLER)?;
    let relay =
        relay(&site, only(&callee, CALLEE.name), policy(&["AEAD_AES_128_GCM", SUITE], Required, Required))?;
    caller.dial(CALLEE.name, relay.at)?;
    relay.wait_for_answer(SETUP)?;
    thread::sleep(Duration::from_secs(1));

    caller.command("hold", "")?;
    let held = reinvited(&relay, 1)?;
    let (_, offer) = held.sdps(Step::Reoffer, "main").context("no offer")?;
    ensure!(offer.contains("a=sendonly"), "{offer}");
    ensure!(suites(offer)[0] == "AEAD_AES_128_GCM", "{offer}");
    // Nothing is sent to who holds any more.
    thread::sleep(Duration::from_millis(200));
    let session = &held.sessions[0];
    let before = site.gateway.leg(session, "main.caller.0")?.sent_rtp_packets;
    thread::sleep(Duration::from_millis(500));
    let after = site.gateway.leg(session, "main.caller.0")?.sent_rtp_packets;
    ensure!(before > 0 && before == after, "{before} packets, and {after}");

    caller.command("resume", "")?;
    let resumed = reinvited(&relay, 2)?;
    let (_, offer) = resumed.sdps(Step::Reoffer, "main").context("no offer")?;
    ensure!(!offer.contains("a=sendonly"), "{offer}");
    thread::sleep(Duration::from_secs(1));
    // baresip writes no file of what it decodes after a hold, without a gateway neither: pjsua's test listens there.
    let resumed = site.gateway.leg(session, "main.caller.0")?.sent_rtp_packets;
    ensure!(resumed >= after + 25, "{after} packets before, {resumed} after the hold");
    callee.command("hangup", "")?;
    relay.wait(SETUP, |transcript| transcript.ended == 1)?;
    caller.expect_heard(CALLEE.tone, 0.5).context("the caller, before the hold")?;
    callee.expect_heard(CALLER.tone, 0.5).context("the callee, before the hold")
}

#[test]
fn a_caller_who_may_have_srtp_gets_it() -> Result<()> {
    needs!("baresip", "-h");
    // RTP/AVP with a crypto line (RFC 8643).
    let caller = Setup { security: "srtp", ..CALLER };
    let transcript = talk(caller, CALLEE, [BestEffort, Required])?;
    let ((got, _), (_, gave)) = sdps(&transcript)?;
    ensure!(got.contains(" RTP/AVP ") && suites(got) == [SUITE], "{got}");
    ensure!(gave.contains(" RTP/AVP ") && suites(gave) == [SUITE], "{gave}");
    Ok(())
}

#[test]
fn a_callee_who_may_have_srtp_gets_it_and_one_who_cannot_gets_rtp() -> Result<()> {
    needs!("baresip", "-h");
    for (security, answered) in [("srtp", 1), ("", 0)] {
        let callee = Setup { security, ..CALLEE };
        let transcript = talk(CALLER, callee, [Required, BestEffort]).context(security)?;
        let ((_, gave), (got, _)) = sdps(&transcript)?;
        ensure!(gave.contains(" RTP/AVP ") && suites(gave) == [SUITE], "{gave}");
        ensure!(got.contains(" RTP/AVP ") && suites(got).len() == answered, "{got}");
    }
    Ok(())
}

#[test]
fn a_caller_without_srtp_is_refused_where_it_must_be() -> Result<()> {
    needs!("baresip", "-h");
    let site = Site::new()?;
    let callee = Phone::start(&site, Setup { security: "srtp-mand", ..CALLEE })?;
    let mut caller = Phone::start(&site, Setup { security: "", ..CALLER })?;
    let relay = relay(&site, only(&callee, CALLEE.name), policy(&[SUITE], Required, Required))?;
    caller.dial(CALLEE.name, relay.at)?;
    let transcript = relay.wait(SETUP, |transcript| transcript.ended == 1)?;
    let refusal = transcript.entries.iter().find_map(|entry| entry.gave.as_ref().err());
    ensure!(transcript.told == [488] && refusal.is_some(), "{transcript:#?}");
    Ok(())
}

/// Waits until so many re-INVITEs were answered.
fn reinvited(relay: &Relay, times: usize) -> Result<Transcript> {
    let answers = |transcript: &Transcript| {
        transcript.entries.iter().filter(|entry| entry.step == Step::Reanswer).count()
    };
    let transcript = relay.wait(SETUP, |transcript| answers(transcript) == times)?;
    ensure!(transcript.trouble().is_empty(), "{:#?}", transcript.trouble());
    Ok(transcript)
}

/// A call in which each hears the other.
fn talk(caller: Setup, callee: Setup, [calling, called]: [MediaSecurity; 2]) -> Result<Transcript> {
    let site = Site::new()?;
    let mut answers = Phone::start(&site, callee)?;
    let mut calls = Phone::start(&site, caller)?;
    let relay = relay(&site, only(&answers, callee.name), policy(&[SUITE], calling, called))?;
    calls.dial(callee.name, relay.at)?;
    let transcript = relay.wait_for_answer(SETUP)?;
    thread::sleep(Duration::from_secs(2));
    calls.command("hangup", "")?;
    relay.wait(SETUP, |transcript| transcript.ended == 1)?;
    answers.expect_heard(caller.tone, 1.0).context("the callee")?;
    calls.expect_heard(callee.tone, 1.0).context("the caller")?;
    Ok(transcript)
}

type Sdp<'a> = (&'a str, &'a str);

/// The first offer and the first answer, as each came and went.
fn sdps(transcript: &Transcript) -> Result<(Sdp<'_>, Sdp<'_>)> {
    let of = |step| transcript.sdps(step, "main").context("a call without SDP");
    Ok((of(Step::Offer)?, of(Step::Answer)?))
}
