//! Two media lines for one medium, a secure one and one of plain RTP, as Sluice offers them by policy: who can have SRTP
//! takes the secure one, who cannot takes the other.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::MediaSecurity::{self, BestEffort, Required};
use sluice_proto::v1::{BestEffortForm, SessionPolicy};
use sluice_tests::baresip::{Phone, Setup};
use sluice_tests::sip::{Relay, Step, Target};
use sluice_tests::site::Site;
use sluice_tests::{START, needs};

use crate::pjsua::{self, Agent};
use crate::{SETUP, only, policy, relay, suites};

/// How long the two talk, and how much of it has to be heard.
const TALK: Duration = Duration::from_secs(2);
const HEARD: f64 = 1.0;
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

const CALLER: Setup = Setup { name: "alice", port: 5070, tone: 440, security: "srtp-mand", answers: "auto" };
const BARESIP: Setup = Setup { name: "bob", port: 5080, tone: 880, ..CALLER };
const PJSUA: pjsua::Setup =
    pjsua::Setup { user: "bob", port: 5080, tone: 880, srtp: "mandatory", suites: &[SUITE] };

#[test]
fn pjsua_takes_the_secure_one_of_two_lines_unless_it_has_no_srtp() -> Result<()> {
    needs!("baresip", "-h");
    let Some(python) = pjsua::python()? else { return Ok(()) };
    for (srtp, secure) in [("mandatory", true), ("optional", true), ("off", false)] {
        let site = Site::new()?;
        let mut callee = Agent::start(&python, &site, pjsua::Setup { srtp, ..PJSUA }, None)?;
        let mut caller = Phone::start(&site, CALLER)?;
        let relay = relay(&site, to_pjsua(&site), two_lines(BestEffort))?;
        talk(&mut caller, &relay, secure)
            .with_context(|| format!("{srtp}: {}", callee.process.last_words()))?;
        callee.process.succeed(START)?;
        callee.expect_heard(CALLER.tone, HEARD).context(srtp)?;
        caller.expect_heard(PJSUA.tone, HEARD).context(srtp)?;
    }
    Ok(())
}

#[test]
fn baresip_takes_the_secure_one_of_two_lines_unless_it_has_no_srtp() -> Result<()> {
    needs!("baresip", "-h");
    for (security, secure) in [("srtp-mand", true), ("", false)] {
        let site = Site::new()?;
        let mut callee = Phone::start(&site, Setup { security, ..BARESIP })?;
        let mut caller = Phone::start(&site, CALLER)?;
        let relay = relay(&site, only(&callee, BARESIP.name), two_lines(BestEffort))?;
        talk(&mut caller, &relay, secure).with_context(|| format!("{security:?}: {}", callee.log()))?;
        callee.expect_heard(CALLER.tone, HEARD).context(security)?;
        caller.expect_heard(BARESIP.tone, HEARD).context(security)?;
    }
    Ok(())
}

#[test]
fn no_line_of_plain_rtp_is_offered_where_srtp_is_required() -> Result<()> {
    needs!("baresip", "-h");
    let Some(python) = pjsua::python()? else { return Ok(()) };
    let site = Site::new()?;
    let callee = Agent::start(&python, &site, pjsua::Setup { srtp: "off", ..PJSUA }, None)?;
    let mut caller = Phone::start(&site, CALLER)?;
    let relay = relay(&site, to_pjsua(&site), two_lines(Required))?;
    caller.dial(PJSUA.user, relay.at)?;
    let transcript = relay.wait(SETUP, |transcript| transcript.ended == 1)?;
    let (_, offered) = transcript.sdps(Step::Offer, "main").context("no offer")?;
    ensure!(profiles(offered) == [("RTP/SAVP", true)], "{offered}");
    ensure!(transcript.told.last() == Some(&488), "{:?}: {}", transcript.told, callee.process.last_words());
    Ok(())
}

/// Sluice's policy of two lines for the callee, whose media has this security.
fn two_lines(callee: MediaSecurity) -> SessionPolicy {
    let mut policy = policy(&[SUITE], Required, callee);
    if let Some(callee) = &mut policy.callee {
        callee.best_effort = BestEffortForm::DualLines as i32;
    }
    policy
}

fn to_pjsua(site: &Site) -> Vec<Target> {
    let at = site.world.peers_at(PJSUA.port);
    vec![Target { branch: "main".to_owned(), user: PJSUA.user.to_owned(), at }]
}

/// A call for a while; fails unless one of two lines is taken: the secure one, or the other.
fn talk(caller: &mut Phone, relay: &Relay, secure: bool) -> Result<()> {
    caller.dial(BARESIP.name, relay.at)?;
    let transcript = relay.wait_for_answer(SETUP)?;
    thread::sleep(TALK);
    caller.command("hangup", "")?;
    let ended = relay.wait(SETUP, |transcript| transcript.ended == 1)?;
    ensure!(ended.trouble().is_empty(), "{:#?}", ended.trouble());
    let of = |step| transcript.sdps(step, "main").with_context(|| format!("no {step:?}"));
    let ((_, offered), (answered, answer)) = (of(Step::Offer)?, of(Step::Answer)?);
    ensure!(profiles(offered) == [("RTP/SAVP", true), ("RTP/AVP", true)], "{offered}");
    ensure!(profiles(answered) == [("RTP/SAVP", secure), ("RTP/AVP", !secure)], "{answered}");
    ensure!(profiles(answer) == [("RTP/SAVP", true)] && suites(answer) == [SUITE], "{answer}");
    Ok(())
}

/// The profile of each media line, and whether it is in use.
fn profiles(sdp: &str) -> Vec<(&str, bool)> {
    let lines = sdp.lines().filter_map(|line| line.strip_prefix("m="));
    let words = lines.map(|line| line.split(' ').skip(1));
    words
        .filter_map(|mut words| Some((words.next()? != "0", words.next()?)))
        .map(|(used, proto)| (proto, used))
        .collect()
}
