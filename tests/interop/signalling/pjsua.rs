//! pjsua2, the user agent library of PJSIP, with AES-256 by SDES (RFC 6188 over RFC 4568).

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::MediaSecurity::{Plain, Required};
use sluice_tests::baresip;
use sluice_tests::sip::{Step, Target, Transcript};
use sluice_tests::site::Site;
use sluice_tests::{START, needs, needs_root, tones, venv};
use sluice_tools::demo::process::Process;
use tempfile::TempDir;

use crate::{SETUP, only, policy, relay, suites};

const PACKAGE: &str = "pjsua2-python==2.15.1.post1\n";
const AES_256: &str = "AES_256_CM_HMAC_SHA1_80";
const AES_256_32: &str = "AES_256_CM_HMAC_SHA1_32";
const AES_128: &str = "AES_CM_128_HMAC_SHA1_80";
/// How long a caller stays, when it offers anew, and how much has to be heard.
const PLAN: [&str; 4] = ["--seconds", "3", "--reinvite", "1.5"];
const HEARD: f64 = 1.8;
/// The same with a second of hold in the middle.
const HOLD: [&str; 6] = ["--seconds", "5", "--hold", "1.5", "--resume", "3"];

#[test]
fn aes_256_of_pjsua_is_plain_rtp_or_aes_128_to_baresip_and_both_hear() -> Result<()> {
    needs!("baresip", "-h");
    let Some(python) = python()? else { return Ok(()) };
    for (security, wanted, answered) in [("srtp-mand", Required, &[AES_128][..]), ("", Plain, &[])] {
        let site = Site::new()?;
        let callee = baresip::Setup { name: "bob", port: 5080, tone: 880, security, answers: "auto" };
        let mut phone = baresip::Phone::start(&site, callee)?;
        // The caller offers AES-256 only.
        let policy = policy(&[AES_256, AES_128], Required, wanted);
        let relay = relay(&site, only(&phone, callee.name), policy)?;
        let call = format!("sip:{}@{}", callee.name, relay.at);
        let mut caller = Agent::start(&python, &site, ALICE, Some((&call, &PLAN)))?;
        let transcript = relay.wait_for_answer(SETUP)?;
        caller.process.succeed(START)?;
        relay.wait(SETUP, |transcript| transcript.ended == 1)?;
        expect_suites(&transcript, [&[AES_256], answered])?;
        caller.expect_heard(callee.tone, HEARD).context("pjsua")?;
        phone.expect_heard(ALICE.tone, HEARD).context("baresip")?;
    }
    Ok(())
}

#[test]
fn two_pjsuas_hear_each_other_under_another_suite_each_through_re_invites() -> Result<()> {
    needs_root!();
    let Some(python) = python()? else { return Ok(()) };
    let site = Site::new()?;
    let mut callee = Agent::start(&python, &site, BOB, None)?;
    let to =
        vec![Target { branch: "main".to_owned(), user: "bob".to_owned(), at: site.world.peers_at(5080) }];
    let relay = relay(&site, to, policy(&[AES_256, AES_256_32], Required, Required))?;
    let call = format!("sip:bob@{}", relay.at);
    let mut caller = Agent::start(&python, &site, ALICE, Some((&call, &PLAN)))?;
    let transcript = relay.wait_for_answer(SETUP)?;
    let renewed = relay.wait(SETUP, |transcript| transcript.sdps(Step::Reanswer, "main").is_some())?;
    ensure!(renewed.trouble().is_empty(), "{:#?}", renewed.trouble());
    for process in [&mut caller.process, &mut callee.process] {
        process.succeed(START)?;
    }
    expect_suites(&transcript, [&[AES_256], &[AES_256_32]])?;
    caller.expect_heard(BOB.tone, HEARD).context("the caller")?;
    callee.expect_heard(ALICE.tone, HEARD).context("the callee")
}

#[test]
fn a_pjsua_call_on_hold_is_silent_and_is_heard_again_after_it() -> Result<()> {
    needs_root!();
    let Some(python) = python()? else { return Ok(()) };
    let mut site = Site::new()?;
    let mut callee = Agent::start(&python, &site, BOB, None)?;
    let to =
        vec![Target { branch: "main".to_owned(), user: "bob".to_owned(), at: site.world.peers_at(5080) }];
    let relay = relay(&site, to, policy(&[AES_256, AES_256_32], Required, Required))?;
    let call = format!("sip:bob@{}", relay.at);
    let mut caller = Agent::start(&python, &site, ALICE, Some((&call, &HOLD)))?;
    relay.wait_for_answer(SETUP)?;
    let held = relay.wait(SETUP, |transcript| transcript.sdps(Step::Reanswer, "main").is_some())?;
    let offer = held.sdps(Step::Reoffer, "main").map(|(_, gave)| gave.to_owned()).unwrap_or_default();
    ensure!(offer.contains("a=sendonly") || offer.contains("a=inactive"), "{offer}");
    thread::sleep(Duration::from_millis(300));
    let mut sent =
        || Ok::<_, anyhow::Error>(site.gateway.leg(&held.sessions[0], "main.caller.0")?.sent_rtp_packets);
    let before = sent()?;
    thread::sleep(Duration::from_millis(500));
    ensure!(before > 0 && before == sent()?, "media to who holds");
    for process in [&mut caller.process, &mut callee.process] {
        process.succeed(START)?;
    }
    let ended = relay.transcript();
    ensure!(ended.trouble().is_empty(), "{:#?}", ended.trouble());
    ensure!(ended.entries.iter().filter(|entry| entry.step == Step::Reanswer).count() == 2, "{ended:#?}");
    // Before and after the hold, but not in it.
    let heard = tones::listen(&tones::read(&caller.recording)?, 880);
    ensure!((2.5..4.2).contains(&heard.tone) && heard.other <= heard.tone / 2.0, "{heard:?}");
    callee.expect_heard(ALICE.tone, HEARD).context("the callee")
}

/// A Python with pjsua2; `None`, loudly, where it cannot be had.
pub(crate) fn python() -> Result<Option<PathBuf>> {
    venv::python(env!("CARGO_TARGET_TMPDIR"), "pjsua2", PACKAGE)
}

/// Fails unless caller and callee used these suites, as their own SDP has them.
fn expect_suites(transcript: &Transcript, [caller, callee]: [&[&str]; 2]) -> Result<()> {
    let of = |step| transcript.sdps(step, "main").context("a call without SDP");
    let ((offered, _), (answered, to_caller)) = (of(Step::Offer)?, of(Step::Answer)?);
    ensure!(suites(offered) == caller && suites(to_caller) == caller, "{offered}\n{to_caller}");
    ensure!(suites(answered) == callee, "{answered}");
    Ok(())
}

/// How a pjsua is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Its user.
    pub(crate) user: &'static str,
    /// Its SIP port.
    pub(crate) port: u16,
    /// What it plays, in hertz.
    pub(crate) tone: u32,
    /// Its SRTP: `mandatory`, `optional` or `off`.
    pub(crate) srtp: &'static str,
    /// The suites that it knows.
    pub(crate) suites: &'static [&'static str],
}

const ALICE: Setup = Setup { user: "alice", port: 5070, tone: 440, srtp: "mandatory", suites: &[AES_256] };
const BOB: Setup = Setup { user: "bob", port: 5080, tone: 880, srtp: "mandatory", suites: &[AES_256_32] };

/// A running pjsua.
pub(crate) struct Agent {
    /// It ends with its call.
    pub(crate) process: Process,
    recording: PathBuf,
    _directory: TempDir,
}

impl Agent {
    /// Starts one among the peers of a site, which takes a call, or makes one by a plan.
    pub(crate) fn start(
        python: &Path,
        site: &Site,
        setup: Setup,
        call: Option<(&str, &[&str])>,
    ) -> Result<Self> {
        let Setup { user, port, .. } = setup;
        let directory = tempfile::tempdir()?;
        let [tune, recording] = ["tone.wav", "heard.wav"].map(|name| directory.path().join(name));
        tones::write(&tune, setup.tone, 30)?;
        let mut command = site.peers_namespace().command(python.to_str().context("no UTF-8")?);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/signalling/pjsua.py"));
        command.args(["--user", user, "--address", &site.world.peers_address.to_string()]);
        command.args(["--port", &port.to_string(), "--rtp", &(30_000 + port).to_string()]);
        command.arg("--play").arg(&tune).arg("--record").arg(&recording);
        command.args(["--srtp", setup.srtp]);
        command.args(setup.suites.iter().flat_map(|suite| ["--suite", suite]));
        if let Some((uri, plan)) = call {
            command.args(["--call", uri]).args(plan);
        }
        let mut process = Process::spawn(user, command, directory.path())?;
        process.wait_for_udp(port, START)?;
        Ok(Self { process, recording, _directory: directory })
    }

    /// Fails unless it heard a tone for so many seconds, and little else.
    pub(crate) fn expect_heard(&self, tone: u32, seconds: f64) -> Result<()> {
        tones::expect(&self.recording, tone, seconds).with_context(|| self.process.last_words())
    }
}
