//! Peers that key themselves in the media path, through a real daemon: browsers, SIP phones and media stacks that others
//! wrote. What the receiver decoded is the judge.
//!
//! Chromium, Firefox and aiortc are processes that take their offers and answers as lines of JSON; baresip calls through the SIP relay
//! of `sluice_tests::sip`; GStreamer and openssl have no SDP, and get one made for them. Each test has namespaces and a
//! daemon of its own.

mod aiortc;
mod baresip;
mod bridged;
mod chromium;
mod firefox;
mod gstreamer;
mod harness;
mod hostile;
mod lossy;
mod openssl;
mod page;
mod peer;
mod plain;
mod sdp;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::{CallSide, DtlsState};
use sluice_tests::signalling::Signalling;
use sluice_tests::site::Site;

use peer::Peer;

/// How long the two of a call talk, and how much of it has to be heard.
const TALK: Duration = Duration::from_millis(2500);
const HEARD: f64 = 1.5;
/// What a caller plays, and a callee: whole periods in the windows that are listened to.
const TONES: [u32; 2] = [440, 880];
/// The session of every call.
const CALL: &str = "call";

/// Profiles of DTLS-SRTP: the suite's name, and the names that browsers and OpenSSL give it.
#[derive(Clone, Copy, Debug)]
struct Profile {
    suite: &'static str,
    chromium: &'static str,
    openssl: &'static str,
}

const PROFILES: [Profile; 3] = [
    Profile {
        suite: "AES_CM_128_HMAC_SHA1_80",
        chromium: "SRTP_AES128_CM_HMAC_SHA1_80",
        openssl: "SRTP_AES128_CM_SHA1_80",
    },
    Profile {
        suite: "AEAD_AES_128_GCM",
        chromium: "SRTP_AEAD_AES_128_GCM",
        openssl: "SRTP_AEAD_AES_128_GCM",
    },
    Profile {
        suite: "AEAD_AES_256_GCM",
        chromium: "SRTP_AEAD_AES_256_GCM",
        openssl: "SRTP_AEAD_AES_256_GCM",
    },
];

/// What a side of a call is to be, as the configuration has it.
const DTLS: &str = "security = \"required\"\nkeyings = [\"dtls-srtp\"]\n";
/// The same with ICE, which browsers do not go without, and feedback, with which aiortc answers whatever it is offered.
const WEBRTC: &str =
    "security = \"required\"\nkeyings = [\"dtls-srtp\"]\nice = \"lite\"\nfeedback = \"add\"\n";
const SDES: &str = "security = \"required\"\nkeyings = [\"sdes\"]\n";
const PLAIN: &str = "security = \"plain\"\n";

/// A site whose policy has these suites, and these for caller and callee.
fn site(suites: &[&str], caller: &str, callee: &str) -> Result<Site> {
    site_with(suites, caller, callee, "")
}

/// The same with more of a configuration.
fn site_with(suites: &[&str], caller: &str, callee: &str, more: &str) -> Result<Site> {
    let suites = serde_json::to_string(suites)?;
    let policy = format!("[policy]\nsuites = {suites}\n[policy.caller]\n{caller}[policy.callee]\n{callee}");
    Site::configured(&format!("{policy}{more}"))
}

/// A call of one peer to another.
fn connect(api: &mut Signalling, caller: &mut Peer, callee: &mut Peer) -> Result<()> {
    let offer = caller.offer()?;
    let offered = api.offer(CALL, "", CallSide::Caller, &offer, None).with_context(|| offer.clone())?;
    let answer = callee.accept(&offered).with_context(|| offered.clone())?;
    let answered = api.answer(CALL, "", &answer, false).with_context(|| answer.clone())?;
    caller.answer(&answered).with_context(|| answered.clone())?;
    caller.expect_connected().with_context(|| format!("the caller, with the answer\n{answered}"))?;
    callee.expect_connected().with_context(|| format!("the callee, with the offer\n{offered}"))
}

/// Fails unless a leg's keys came by a handshake and are for this suite.
fn expect_dtls(api: &mut Signalling, suite: &str, side: CallSide) -> Result<()> {
    let leg = if side == CallSide::Caller { "main.caller.0" } else { "main.callee.0" };
    let leg = api.leg(CALL, leg)?;
    let path = leg.media_path.as_ref().context("no handshake")?;
    ensure!(path.dtls_state() == DtlsState::Established && path.explanation.is_empty(), "{path:?}");
    ensure!(path.profile == suite && path.forward_secret, "{path:?}");
    Ok(())
}
