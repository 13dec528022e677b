//! baresip with DTLS-SRTP (libre on OpenSSL) and one with SDES, called over the SIP relay.

use std::thread;

use anyhow::{Context, Result, ensure};
use sluice_tests::baresip::{Phone, Setup};
use sluice_tests::needs;
use sluice_tests::sip::{Plan, Relay, Step, Target};
use std::time::Duration;

use crate::{DTLS, HEARD, SDES, TALK, TONES, sdp, site};

/// The port of the SIP relay.
const RELAY: u16 = 5060;
/// How long a call may take to be set up.
const SETUP: Duration = Duration::from_secs(10);
/// The suite of both.
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
const ALICE: Setup = Setup { name: "alice", port: 5070, tone: TONES[0], security: "", answers: "auto" };
const BOB: Setup = Setup { name: "bob", port: 5080, tone: TONES[1], security: "", answers: "auto" };
const MUX: &str = "dtls_srtp;rtcp_mux=yes";
/// What an offer with DTLS comes to: its profile is one with feedback (RFC 4585), which `srtp-mand` refuses.
const SDES_WITH_FEEDBACK: &str = "srtp-mandf";

#[test]
fn baresip_with_dtls_calls_one_with_sdes_and_both_hear() -> Result<()> {
    needs!("baresip", "-h");
    talk([MUX, SDES_WITH_FEEDBACK], [DTLS, SDES])?;
    // What refuses feedback is not offered it.
    talk([MUX, "srtp-mand"], [DTLS, &format!("{SDES}feedback = \"remove\"\n")])
}

#[test]
fn baresip_with_sdes_calls_one_with_dtls_and_both_hear() -> Result<()> {
    needs!("baresip", "-h");
    talk(["srtp-mand", MUX], [SDES, DTLS])
}

#[test]
fn baresip_without_rtcp_mux_has_a_handshake_for_each_port_and_is_heard() -> Result<()> {
    needs!("baresip", "-h");
    talk(["dtls_srtp", SDES_WITH_FEEDBACK], [DTLS, SDES])
}

#[test]
fn two_baresips_with_dtls_hear_each_other_whoever_begins_the_handshakes() -> Result<()> {
    needs!("baresip", "-h");
    // A baresip that is called is always active, also where RFC 4145 section 4.1 has it passive.
    for [caller, callee] in [["active", "actpass"], ["passive", "passive"]] {
        let [caller, callee] = [caller, callee].map(|setup| format!("{DTLS}dtls_setup = \"{setup}\"\n"));
        talk([MUX, MUX], [&caller, &callee]).with_context(|| caller.clone())?;
    }
    Ok(())
}

/// A call of one phone to another; fails unless each hears the other's tone.
fn talk(security: [&'static str; 2], sides: [&str; 2]) -> Result<()> {
    let mut site = site(&[SUITE], sides[0], sides[1])?;
    let mut called = Phone::start(&site, Setup { security: security[1], ..BOB })?;
    let mut calling = Phone::start(&site, Setup { security: security[0], ..ALICE })?;
    let target = Target { branch: "main".to_owned(), user: BOB.name.to_owned(), at: called.at };
    let plan = Plan { targets: vec![target], ..Plan::default() };
    let socket = site.world.peers.udp(site.world.peers_at(RELAY))?;
    let relay = Relay::start(socket, &site.socket(), plan)?;
    calling.dial(BOB.name, relay.at)?;
    let transcript = relay.wait_for_answer(SETUP).with_context(|| calling.log())?;
    thread::sleep(TALK);
    called.command("hangup", "")?;
    let ended = relay.wait(SETUP, |transcript| transcript.ended == 1)?;
    ensure!(ended.trouble().is_empty(), "{:#?}", ended.trouble());
    ensure!(site.gateway.statistics()?.legs.is_empty(), "legs of a call that ended");
    called.expect_heard(ALICE.tone, HEARD).with_context(|| format!("the callee:\n{}", site.gateway.log()))?;
    calling.expect_heard(BOB.tone, HEARD).with_context(|| format!("the caller:\n{}", site.gateway.log()))?;
    for (step, dtls) in
        [(Step::Offer, sides[1].starts_with(DTLS)), (Step::Answer, sides[0].starts_with(DTLS))]
    {
        let (_, gave) = transcript.sdps(step, "main").context("a call without SDP")?;
        let fingerprints = sdp::attributes(gave, "fingerprint");
        ensure!(fingerprints.is_empty() != dtls, "{step:?}: {gave}");
    }
    Ok(())
}
