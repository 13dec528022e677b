//! The Python example: a call leg by leg, between a peer with raw keys and one with SDES.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use sluice_srtp::Suite;
use sluice_tests::needs_root;
use sluice_tests::peer::Peer;
use sluice_tests::rtp::Source;
use sluice_tests::site::{PATIENCE, Site, expect_exactly, stream};
use sluice_tests::{START, venv};
use sluice_tools::demo::gateway::Key;
use sluice_tools::demo::process::Process;

use crate::{keys, suites};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../control/proto/examples/python");
const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../control/proto/proto");
const RAW: u16 = 4000;
const SIP: u16 = 5000;

#[test]
fn the_python_example_s_call_carries_media_between_raw_keys_and_sdes() -> Result<()> {
    needs_root!();
    let requirements = fs::read_to_string(format!("{EXAMPLE}/requirements.txt"))?;
    let Some(python) = venv::python(env!("CARGO_TARGET_TMPDIR"), "grpcio", &requirements)? else {
        return Ok(());
    };
    let mut site = Site::new()?;
    let directory = tempfile::tempdir()?;
    let stubs = stubs(&python, directory.path())?;

    let raw = [Key::random(Suite::AesCm128HmacSha1_80)?, Key::random(Suite::AesCm128HmacSha1_80)?];
    let offered = Key::random(Suite::AesCm256HmacSha1_80)?;
    let [peer, offer] = ["peer.json", "offer.sdp"].map(|name| directory.path().join(name));
    fs::write(&peer, raw_peer(&site, &raw))?;
    fs::write(&offer, sdp_offer(&site, &offered))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(&python).arg(format!("{EXAMPLE}/raw_key_call.py"));
    command.env("PYTHONPATH", stubs).arg("--socket").arg(site.socket());
    command.arg("--raw").arg(&peer).arg("--offer").arg(&offer).args(["--sip-over-tls", "--seconds", "60"]);
    let mut example = Process::spawn("example", command, directory.path())?;

    let answer = answer_of(&mut example)?;
    ensure!(suites(&answer) == [Suite::AesCm256HmacSha1_80.name()], "{answer}");
    let own = keys(&answer).first().context("no key")?.to_string();
    let answered = Key { suite: Suite::AesCm256HmacSha1_80, material: BASE64.decode(own)? };
    let to_sip: SocketAddr = {
        let port = answer.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next());
        (site.world.gateway_address, port.context("no port")?.parse()?).into()
    };
    let to_raw: SocketAddr = {
        let log = example.output();
        let leg = log.lines().find_map(|line| line.strip_prefix("# leg raw: ")?.split(' ').next());
        leg.context("no leg")?.parse()?
    };
    let mut far = Peer::keyed(site.peer(RAW)?.socket, Some(&raw[0]), Some(&raw[1]))?;
    let mut near = Peer::keyed(site.peer(SIP)?.socket, Some(&offered), Some(&answered))?;
    let sent = stream(&mut far, to_raw, &mut Source::new(1, 10), 50)?;
    expect_exactly(&mut near, &sent)?;
    let sent = stream(&mut near, to_sip, &mut Source::new(2, 65_500), 50)?;
    expect_exactly(&mut far, &sent)?;

    // Ctrl-C ends the call.
    example.stop(Signal::INT, PATIENCE);
    let log = example.output();
    // SDES over TLS, as was attested.
    let class = "ROBUSTNESS_CLASS_PASSIVE_SIGNALING_PASSIVE_MEDIA";
    ensure!(log.lines().any(|line| line.starts_with("# leg sip:") && line.ends_with(class)), "{log}");
    ensure!(log.trim_end().ends_with("# session raw-key-call ended"), "{log}");
    ensure!(site.gateway.statistics()?.legs.is_empty(), "legs of a call that ended");
    Ok(())
}

#[test]
fn the_python_example_says_what_is_wrong_and_leaves_nothing_behind() -> Result<()> {
    needs_root!();
    let requirements = fs::read_to_string(format!("{EXAMPLE}/requirements.txt"))?;
    let Some(python) = venv::python(env!("CARGO_TARGET_TMPDIR"), "grpcio", &requirements)? else {
        return Ok(());
    };
    let mut site = Site::new()?;
    let directory = tempfile::tempdir()?;
    let stubs = stubs(&python, directory.path())?;
    let raw = [Key::random(Suite::AesCm128HmacSha1_80)?, Key::random(Suite::AesCm128HmacSha1_80)?];
    let offered = sdp_offer(&site, &Key::random(Suite::AesCm256HmacSha1_80)?);
    let cases = [
        // The daemon's word: a key that is too short for its suite.
        (offered.clone(), raw_peer(&site, &raw).replace("AES_CM_128", "AES_256_CM"), "key of raw"),
        (offered.replace("RTP/SAVP", "RTP/AVP"), raw_peer(&site, &raw), "profile RTP/AVP"),
        (offered.replace("AES_256_CM", "AES_512_CM"), raw_peer(&site, &raw), "no crypto line"),
    ];
    for (sdp, json, says) in cases {
        let [peer, offer] = ["peer.json", "offer.sdp"].map(|name| directory.path().join(name));
        fs::write(&peer, json)?;
        fs::write(&offer, sdp)?;
        let mut command = Command::new(&python);
        command.arg(format!("{EXAMPLE}/raw_key_call.py")).env("PYTHONPATH", &stubs);
        command.arg("--socket").arg(site.socket()).arg("--raw").arg(&peer).arg("--offer").arg(&offer);
        let output = command.output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && words.contains(says), "{says}: {words}");
        ensure!(!words.contains("Traceback"), "{words}");
        ensure!(site.gateway.statistics()?.legs.is_empty(), "legs of a call that failed");
    }
    Ok(())
}

/// The stubs, made as README.md says.
fn stubs(python: &Path, directory: &Path) -> Result<PathBuf> {
    let stubs = directory.join("stubs");
    fs::create_dir(&stubs)?;
    let mut protoc = Command::new(python);
    protoc.args(["-m", "grpc_tools.protoc", "-I", PROTO]);
    protoc.arg(format!("--python_out={}", stubs.display()));
    protoc.arg(format!("--grpc_python_out={}", stubs.display())).arg("sluice/v1/sluice.proto");
    venv::run(&mut protoc)?;
    Ok(stubs)
}

fn raw_peer(site: &Site, [sends, gets]: &[Key; 2]) -> String {
    let peer = serde_json::json!({
        "remote": site.world.peers_at(RAW).to_string(),
        "suite": sends.suite.name(),
        "sends_under": BASE64.encode(&sends.material),
        "gets_under": BASE64.encode(&gets.material),
    });
    peer.to_string()
}

fn sdp_offer(site: &Site, key: &Key) -> String {
    let (address, suite, key) = (site.world.peers_address, key.suite.name(), BASE64.encode(&key.material));
    format!(
        "v=0\r\no=bob 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {SIP} RTP/SAVP 0\r\n\
         a=crypto:1 F8_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n\
         a=crypto:2 {suite} inline:{key}|2^31\r\n"
    )
}

/// The SDP that the example prints between two lines of dashes.
fn answer_of(example: &mut Process) -> Result<String> {
    let deadline = Instant::now() + START;
    loop {
        let output = example.output();
        let parts: Vec<_> = output.split("# --------------------\n").collect();
        if let [_, answer, _] = parts[..] {
            return Ok(answer.to_owned());
        }
        ensure!(example.finished()?.is_none() && Instant::now() < deadline, "no answer: {output}");
        thread::sleep(Duration::from_millis(20));
    }
}
