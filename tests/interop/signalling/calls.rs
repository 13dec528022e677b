//! Two phones and what is between them: plain RTP on one side, or another suite on each.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::MediaSecurity;
use sluice_tests::baresip::{Phone, Setup};
use sluice_tests::needs;
use sluice_tests::sip::Step;
use sluice_tests::site::Site;

use crate::{SETUP, keys, only, policy, relay, suites};

/// How long the two talk, and how much of it has to be heard.
const TALK: Duration = Duration::from_millis(2500);
const HEARD: f64 = 1.5;
/// What the caller plays, and the callee.
const TONES: [u32; 2] = [440, 880];

const CALLER: Setup =
    Setup { name: "alice", port: 5070, tone: TONES[0], security: "srtp-mand", answers: "auto" };
const CALLEE: Setup =
    Setup { name: "bob", port: 5080, tone: TONES[1], security: "srtp-mand", answers: "auto" };
const PLAIN: &str = "";

/// The suite of the SRTP that baresip offers.
const OFFERED: &str = "AES_CM_128_HMAC_SHA1_80";

#[test]
fn baresip_s_sdes_call_is_heard_by_a_plain_baresip_and_back() -> Result<()> {
    needs!("baresip", "-h");
    let callee = Setup { security: PLAIN, ..CALLEE };
    let sdps = talk(CALLER, callee, &[OFFERED], [MediaSecurity::Required, MediaSecurity::Plain])?;
    ensure!(sdps.offers.1.contains(" RTP/AVP ") && suites(&sdps.offers.1).is_empty(), "{sdps:#?}");
    ensure!(sdps.answers.1.contains(" RTP/SAVP ") && suites(&sdps.answers.1) == [OFFERED], "{sdps:#?}");
    Ok(())
}

#[test]
fn a_plain_baresip_s_call_is_heard_by_one_with_sdes_and_back() -> Result<()> {
    needs!("baresip", "-h");
    let caller = Setup { security: PLAIN, ..CALLER };
    let sdps = talk(caller, CALLEE, &[OFFERED], [MediaSecurity::Plain, MediaSecurity::Required])?;
    ensure!(sdps.offers.1.contains(" RTP/SAVP ") && suites(&sdps.offers.1) == [OFFERED], "{sdps:#?}");
    ensure!(sdps.answers.1.contains(" RTP/AVP ") && suites(&sdps.answers.1).is_empty(), "{sdps:#?}");
    Ok(())
}

#[test]
fn two_baresips_hear_each_other_under_another_suite_each() -> Result<()> {
    needs!("baresip", "-h");
    for suite in ["AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"] {
        let secure = [MediaSecurity::Required; 2];
        let sdps = talk(CALLER, CALLEE, &[suite, OFFERED], secure).context(suite)?;
        ensure!(suites(&sdps.offers.0) == [OFFERED] && suites(&sdps.answers.1) == [OFFERED], "{sdps:#?}");
        ensure!(suites(&sdps.answers.0) == [suite], "{sdps:#?}");
        // Nobody's key crosses the gateway.
        let all = [&sdps.offers.0, &sdps.offers.1, &sdps.answers.0, &sdps.answers.1];
        let mut all: Vec<_> = all.iter().flat_map(|sdp| keys(sdp)).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        ensure!(all.len() == count, "a key is used twice: {sdps:#?}");
    }
    Ok(())
}

/// The SDPs of a call, as they came from a phone and as they went to the other.
#[derive(Debug)]
struct Sdps {
    offers: (String, String),
    answers: (String, String),
}

/// A call from one phone to another; fails unless each hears the other's tone. The callee hangs up.
fn talk(caller: Setup, callee: Setup, suites: &[&str], sides: [MediaSecurity; 2]) -> Result<Sdps> {
    let mut site = Site::new()?;
    let mut called = Phone::start(&site, callee)?;
    let mut calling = Phone::start(&site, caller)?;
    let relay = relay(&site, only(&called, callee.name), policy(suites, sides[0], sides[1]))?;
    calling.dial(callee.name, relay.at)?;
    let transcript = relay.wait_for_answer(SETUP).with_context(|| calling.log())?;
    thread::sleep(TALK);
    called.command("hangup", "")?;
    let ended = relay.wait(SETUP, |transcript| transcript.ended == 1)?;
    ensure!(ended.trouble().is_empty(), "{:#?}", ended.trouble());
    let statistics = site.gateway.statistics()?;
    ensure!(statistics.legs.is_empty(), "legs of a call that ended: {:?}", statistics.legs);
    called.expect_heard(caller.tone, HEARD).context("the callee")?;
    calling.expect_heard(callee.tone, HEARD).context("the caller")?;
    let of = |step| {
        let (got, gave) = transcript.sdps(step, "main").context("a call without SDP")?;
        Ok::<_, anyhow::Error>((got.to_owned(), gave.to_owned()))
    };
    Ok(Sdps { offers: of(Step::Offer)?, answers: of(Step::Answer)? })
}
