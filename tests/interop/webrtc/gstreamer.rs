//! GStreamer's dtlssrtpenc and dtlssrtpdec: a certificate of RSA, DTLS without ICE, no SDP of its own.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_proto::v1::CallSide;
use sluice_tests::needs_root;
use sluice_tests::signalling::Signalling;
use sluice_tests::site::Site;
use std::{env, thread};

use crate::peer::Peer;
use crate::plain::Phone;
use crate::{CALL, DTLS, HEARD, PLAIN, TALK, TONES, expect_dtls, site};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/webrtc/peers/gstreamer.py");
/// Debian's Python: that which has Debian's bindings.
const PYTHON: &str = "/usr/bin/python3";
const PORT: u16 = 4000;
const PHONE: u16 = 6000;
/// The one suite that GStreamer offers and takes, and its name for it.
const SUITE: (&str, &str) = ("AES_CM_128_HMAC_SHA1_80", "SRTP_AES128_CM_SHA1_80");

#[test]
fn gstreamer_calls_a_phone_and_both_hear() -> Result<()> {
    needs_root!();
    let site = site(&[SUITE.0], DTLS, PLAIN)?;
    let Some(mut gstreamer) = start(&site, &[])? else { return Ok(()) };
    let mut phone = Phone::new(&site, PHONE, TONES[1], false)?;
    let mut api = Signalling::connect(&site.socket())?;
    let offered = api.offer(CALL, "", CallSide::Caller, &gstreamer.offer()?, None)?;
    let answered = api.answer(CALL, "", &phone.answer(&offered)?, false)?;
    phone.begin(&offered)?;
    gstreamer.answer(&answered)?;
    finish(&mut api, &mut gstreamer, &mut phone, CallSide::Caller)
        .with_context(|| format!("{answered}\n{}", site.gateway.log()))
}

#[test]
fn a_phone_calls_gstreamer_and_both_hear_whoever_begins_the_handshake() -> Result<()> {
    needs_root!();
    for options in [&[][..], &["--passive"]] {
        let site = site(&[SUITE.0], PLAIN, DTLS)?;
        let Some(mut gstreamer) = start(&site, options)? else { return Ok(()) };
        let mut phone = Phone::new(&site, PHONE, TONES[1], false)?;
        let mut api = Signalling::connect(&site.socket())?;
        let offered = api.offer(CALL, "", CallSide::Caller, &phone.offer(), None)?;
        let answered = api.answer(CALL, "", &gstreamer.accept(&offered)?, false)?;
        phone.begin(&answered)?;
        finish(&mut api, &mut gstreamer, &mut phone, CallSide::Callee)
            .with_context(|| format!("{options:?}: {offered}\n{}", site.gateway.log()))?;
    }
    Ok(())
}

fn finish(api: &mut Signalling, gstreamer: &mut Peer, phone: &mut Phone<'_>, side: CallSide) -> Result<()> {
    gstreamer.expect_connected()?;
    thread::sleep(TALK);
    phone.expect_heard(TONES[0], HEARD)?;
    gstreamer.expect_heard(TONES[1], HEARD)?;
    expect_dtls(api, SUITE.0, side)?;
    ensure!(gstreamer.handshake()?.srtp == SUITE.1, "{:?}", gstreamer.handshake()?);
    api.end(CALL).map_err(Into::into)
}

/// GStreamer with a tone; `None`, loudly, where it, or its bindings for Python, are not installed.
fn start(site: &Site, options: &[&str]) -> Result<Option<Peer>> {
    let imports = "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst; Gst.init(None); \
                   exit(not Gst.ElementFactory.find('dtlssrtpdec'))";
    let mut probe = Command::new(PYTHON);
    probe.args(["-c", imports]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        ensure!(
            env::var_os("CI").is_none(),
            "GStreamer's dtlssrtpdec does not work in Python, and this is CI"
        );
        eprintln!("SKIP: GStreamer's dtlssrtpdec does not work in Python here; `./justw test` installs it");
        return Ok(None);
    }
    let mut command = site.peers_namespace().command(PYTHON);
    command.arg(SCRIPT).args(["--address", &site.world.peers_address.to_string()]);
    command.args(["--port", &PORT.to_string()]).args(options);
    let mut gstreamer = Peer::start("GStreamer", command)?;
    gstreamer.open(TONES[0], json!({}))?;
    Ok(Some(gstreamer))
}
