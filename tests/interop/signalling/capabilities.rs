//! Capability negotiation (RFC 5939) with linphone: RTP as the actual configuration and SRTP as a potential one, offered by
//! it and offered by Sluice.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::MediaSecurity::{self, BestEffort, Plain, Required};
use sluice_proto::v1::{BestEffortForm, Keying, PeerPolicy, SessionPolicy};
use sluice_tests::baresip::{Phone, Setup};
use sluice_tests::needs;
use sluice_tests::sip::{Step, Target, Transcript};
use sluice_tests::site::Site;

use crate::linphone::{self, Linphone};
use crate::{SETUP, only, policy, relay, suites};

/// How long the two talk, and how much of it has to be heard.
const TALK: Duration = Duration::from_secs(2);
const HEARD: f64 = 1.0;
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
const AES_256: &str = "AES_256_CM_HMAC_SHA1_80";

const LINPHONE: linphone::Setup = linphone::Setup {
    name: "alice",
    port: 5070,
    tone: 440,
    encryption: "none",
    capabilities: &["SRTP", "None"],
};
const BARESIP: Setup = Setup { name: "bob", port: 5080, tone: 880, security: "srtp-mand", answers: "auto" };
const PLAIN: Setup = Setup { security: "", ..BARESIP };

#[test]
fn linphone_s_potential_configuration_of_srtp_is_taken_whatever_the_callee_has() -> Result<()> {
    needs!("baresip", "-h");
    needs!("linphonec", "-v");
    let call = calls(LINPHONE, BARESIP, policy(&[SUITE], BestEffort, Required))?;
    let taken = call.expect("a=acfg:1 t=1 a=1", "RTP/SAVP")?;
    ensure!(suites(taken) == [SUITE], "{taken}");
    // Linphone prefers RTP here, and its third crypto line is the first with a suite of the policy's.
    let plain_first = linphone::Setup { capabilities: &["None", "SRTP"], ..LINPHONE };
    let call = calls(plain_first, PLAIN, policy(&[AES_256], BestEffort, Plain))?;
    let taken = call.expect("a=acfg:2 t=2 a=3", "RTP/SAVP")?;
    ensure!(suites(taken) == [AES_256], "{taken}");
    Ok(())
}

#[test]
fn linphone_s_potential_configuration_of_a_handshake_is_taken_where_that_is_preferred() -> Result<()> {
    needs!("baresip", "-h");
    needs!("linphonec", "-v");
    let handshake = linphone::Setup { capabilities: &["SRTP", "DTLS", "None"], ..LINPHONE };
    let mut policy = policy(&[SUITE], BestEffort, Plain);
    by_handshake(policy.caller.as_mut());
    let taken = calls(handshake, PLAIN, policy)?;
    taken.expect("a=acfg:2 t=2 a=5,6,7", "UDP/TLS/RTP/SAVP").map(drop)
}

#[test]
fn linphone_gets_the_rtp_that_it_offers_where_srtp_is_not_wanted() -> Result<()> {
    needs!("baresip", "-h");
    needs!("linphonec", "-v");
    let call = calls(LINPHONE, PLAIN, policy(&[SUITE], Plain, Plain))?;
    let (_, answer) = call.of(Step::Answer)?;
    ensure!(answer.contains(" RTP/AVP ") && suites(answer).is_empty(), "{answer}");
    Ok(())
}

#[test]
fn linphone_takes_the_potential_configuration_of_srtp_that_it_is_offered() -> Result<()> {
    needs!("baresip", "-h");
    needs!("linphonec", "-v");
    for caller in [BARESIP, PLAIN] {
        let call = called(caller, LINPHONE, policy(&[SUITE, AES_256], BestEffort, BestEffort))?;
        let (answered, _) = call.of(Step::Answer)?;
        ensure!(answered.contains(" RTP/SAVP ") && answered.contains("a=acfg:1 "), "{answered}");
        ensure!(suites(answered) == [SUITE], "{answered}");
    }
    Ok(())
}

#[test]
fn linphone_takes_the_potential_configuration_of_a_handshake_that_it_is_offered() -> Result<()> {
    needs!("baresip", "-h");
    needs!("linphonec", "-v");
    let mut policy = policy(&[SUITE], BestEffort, BestEffort);
    by_handshake(policy.callee.as_mut());
    let call = called(PLAIN, linphone::Setup { capabilities: &["DTLS", "None"], ..LINPHONE }, policy)?;
    let (answered, _) = call.of(Step::Answer)?;
    ensure!(answered.contains(" UDP/TLS/RTP/SAVP ") && answered.contains("a=acfg:1 "), "{answered}");
    Ok(())
}

#[test]
fn linphone_without_capability_negotiation_takes_the_rtp_that_is_offered_beside_it() -> Result<()> {
    needs!("baresip", "-h");
    needs!("linphonec", "-v");
    let callee = linphone::Setup { capabilities: &[], ..LINPHONE };
    let call = called(BARESIP, callee, policy(&[SUITE], BestEffort, BestEffort))?;
    let (answered, _) = call.of(Step::Answer)?;
    ensure!(answered.contains(" RTP/AVP ") && !answered.contains("a=acfg"), "{answered}");
    ensure!(suites(answered).is_empty(), "{answered}");
    Ok(())
}

/// Has a side be keyed by handshakes, or not at all.
fn by_handshake(side: Option<&mut PeerPolicy>) {
    if let Some(side) = side {
        side.keyings = vec![Keying::DtlsSrtp as i32, Keying::None as i32];
    }
}

/// What went through the relay in a call in which both heard each other.
struct Call(Transcript);

/// A call of a linphone.
fn calls(caller: linphone::Setup, callee: Setup, policy: SessionPolicy) -> Result<Call> {
    let secure = policy.caller.as_ref().is_some_and(|caller| caller.security != MediaSecurity::Plain as i32);
    let site = Site::new()?;
    let mut phone = Phone::start(&site, callee)?;
    let mut linphone = Linphone::start(&site, caller)?;
    let relay = relay(&site, only(&phone, callee.name), policy)?;
    linphone.dial(callee.name, relay.at)?;
    relay.wait_for_answer(SETUP).with_context(|| linphone.log())?;
    if secure {
        // It says once more what was taken, as the actual configuration (RFC 5939 section 3.6.3).
        let again = |transcript: &Transcript| transcript.sdps(Step::Reanswer, "main").is_some();
        relay.wait(SETUP, again).with_context(|| linphone.log())?;
    }
    thread::sleep(TALK);
    phone.command("hangup", "")?;
    let transcript = relay.wait(SETUP, |transcript| transcript.ended == 1)?;
    ensure!(transcript.trouble().is_empty(), "{:#?}", transcript.trouble());
    phone.expect_heard(caller.tone, HEARD).context("baresip")?;
    linphone.expect_heard(callee.tone, HEARD).context("linphone")?;
    Ok(Call(transcript))
}

/// A call to a linphone that is offered SRTP as a potential configuration.
fn called(caller: Setup, callee: linphone::Setup, mut policy: SessionPolicy) -> Result<Call> {
    if let Some(callee) = &mut policy.callee {
        callee.best_effort = BestEffortForm::Capabilities as i32;
    }
    let site = Site::new()?;
    let mut linphone = Linphone::start(&site, callee)?;
    let mut phone = Phone::start(&site, caller)?;
    let to = vec![Target { branch: "main".to_owned(), user: callee.name.to_owned(), at: linphone.at }];
    let relay = relay(&site, to, policy)?;
    phone.dial(callee.name, relay.at)?;
    relay.wait_for_answer(SETUP).with_context(|| linphone.log())?;
    thread::sleep(TALK);
    phone.command("hangup", "")?;
    let transcript = relay.wait(SETUP, |transcript| transcript.ended == 1)?;
    ensure!(transcript.trouble().is_empty(), "{:#?}", transcript.trouble());
    let (_, offered) = transcript.sdps(Step::Offer, "main").context("no offer")?;
    ensure!(offered.contains(" RTP/AVP ") && offered.contains("a=pcfg:1 t=1 a=1"), "{offered}");
    linphone.expect_heard(caller.tone, HEARD).context("linphone")?;
    phone.expect_heard(callee.tone, HEARD).context("baresip")?;
    Ok(Call(transcript))
}

impl Call {
    fn of(&self, step: Step) -> Result<(&str, &str)> {
        self.0.sdps(step, "main").with_context(|| format!("no {step:?}"))
    }

    /// Fails unless RTP was offered with capabilities, and this configuration was taken with its profile. Returns the
    /// answer.
    fn expect(&self, configuration: &str, profile: &str) -> Result<&str> {
        let profile = format!(" {profile} ");
        let ((offered, forwarded), (_, answer)) = (self.of(Step::Offer)?, self.of(Step::Answer)?);
        ensure!(offered.contains(" RTP/AVP ") && offered.contains("a=pcfg:"), "{offered}");
        ensure!(suites(offered).is_empty() && offered.matches("a=tcap:").count() > 1, "{offered}");
        ensure!(!forwarded.contains("a=pcfg:") && !forwarded.contains("a=acap:"), "{forwarded}");
        ensure!(answer.contains(&profile), "{answer}");
        ensure!(answer.lines().any(|line| line == configuration), "{answer}");
        // What was potential is actual from then on.
        let (again, reanswer) = (self.of(Step::Reoffer)?.0, self.of(Step::Reanswer)?.1);
        ensure!(again.contains(&profile) && reanswer.contains(&profile), "{again}\n{reanswer}");
        ensure!(suites(reanswer) == suites(answer), "{answer}\n{reanswer}");
        Ok(answer)
    }
}
