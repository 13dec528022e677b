//! rtpengine in user space (its own SRTP on OpenSSL), with calls between plain RTP and SDES, or between two suites.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sluice_srtp::Suite;

use super::ng::ask;
use crate::demo::gateway::Key;
use crate::demo::namespace::Namespace;
use crate::demo::process::Process;

/// How long it may take to open its sockets.
const START: Duration = Duration::from_secs(15);
/// Where it is asked.
const CONTROL: u16 = 2223;
/// rtpengine omits padding in its keys.
const UNPADDED_TOO: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One that runs; dropped, it is killed.
pub struct Rtpengine {
    process: Process,
    control: UdpSocket,
}

/// A peer of a call.
pub struct Side {
    /// Where it is.
    pub at: SocketAddr,
    /// The key under which it sends; `None`: plain RTP.
    pub key: Option<Key>,
}

/// A call through it.
pub struct Call {
    /// The port that the caller sends to; RTCP goes to the next.
    pub to_caller: u16,
    /// The listener's.
    pub to_listener: u16,
    /// The key under which it sends to the listener, if the call is keyed there.
    pub listener_key: Option<Key>,
    /// The key under which it sends to the caller.
    pub caller_key: Option<Key>,
}

impl Rtpengine {
    /// Starts it in a namespace, with media at an address of it. `command` makes the command for a program that will
    /// run there; its one media thread is where that command puts it. Log and core go to `directory`.
    pub fn start(
        namespace: &Namespace,
        command: impl FnOnce(&str) -> Command,
        address: IpAddr,
        ports: RangeInclusive<u16>,
        directory: &Path,
    ) -> Result<Self> {
        let mut command = command("rtpengine");
        command.args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=4"]);
        // What was deleted is gone at once, ports and all.
        command.arg("--delete-delay=0");
        command.arg(format!("--interface={address}"));
        command.args([format!("--port-min={}", ports.start()), format!("--port-max={}", ports.end())]);
        let server = SocketAddr::new(address, CONTROL);
        command.args(["--num-threads=1", "--media-num-threads=1"]).arg(format!("--listen-ng={server}"));
        // Should it die, its core is nobody's to clean up.
        command.current_dir(directory);
        let mut process = Process::spawn("rtpengine", command, directory)?;
        process.wait_for_udp(CONTROL, START)?;
        let control = namespace.udp(SocketAddr::new(address, 0))?;
        control.connect(server)?;
        Ok(Self { process, control })
    }

    /// Where it is asked: another socket than that of [`Rtpengine::call`].
    pub fn control(&self, namespace: &Namespace) -> Result<UdpSocket> {
        let server = self.control.peer_addr()?;
        let control = namespace.udp(SocketAddr::new(server.ip(), 0))?;
        control.connect(server)?;
        Ok(control)
    }

    /// Its process's id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The end of what it wrote, for error messages.
    pub fn last_words(&self) -> String {
        self.process.last_words()
    }

    /// Sets up a call: the caller offers its one key, the listener takes up its suite of those that rtpengine offers.
    pub fn call(&self, id: &str, caller: &Side, listener: &Side) -> Result<Call> {
        let negotiate = |command, more: &[(&str, &str)], sdp: &str| -> Result<String> {
            let common = [("command", command), ("call-id", id), ("from-tag", "caller"), ("sdp", sdp)];
            let question = common.into_iter().chain(more.iter().copied()).chain([("DTLS", "off")]).collect();
            ask(&self.control, &question)?.remove("sdp").context("an answer without SDP")
        };
        let to_listener = [("transport-protocol", profile(listener))];
        let offered = negotiate("offer", &to_listener, &sdp(caller, "1"))?;
        let theirs = listener.key.as_ref().map(|key| key_in(&offered, key.suite)).transpose()?;
        let tag = theirs.as_ref().map_or("1", |(tag, _)| tag);
        let answered = negotiate("answer", &[("to-tag", "listener")], &sdp(listener, tag))?;
        let to_caller = caller.key.as_ref().map(|key| key_in(&answered, key.suite)).transpose()?;
        Ok(Call {
            to_caller: media_port(&answered)?,
            to_listener: media_port(&offered)?,
            caller_key: to_caller.map(|(_, key)| key),
            listener_key: theirs.map(|(_, key)| key),
        })
    }
}

fn profile(side: &Side) -> &'static str {
    if side.key.is_some() { "RTP/SAVP" } else { "RTP/AVP" }
}

/// What a side says, its key under a tag (RFC 4568 §9.1).
fn sdp(side: &Side, tag: &str) -> String {
    let (ip, port, profile) = (side.at.ip(), side.at.port(), profile(side));
    let crypto = side.key.as_ref().map_or_else(String::new, |key| {
        format!("a=crypto:{tag} {} inline:{}\r\n", key.suite, BASE64.encode(&key.material))
    });
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} {profile} 0\r\na=rtpmap:0 PCMU/8000\r\n{crypto}"
    )
}

/// Tag and key of the `a=crypto` line for a suite (RFC 4568 §9.1).
fn key_in(sdp: &str, suite: Suite) -> Result<(&str, Key)> {
    let lines = sdp.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    let found = lines
        .map(|line| line.splitn(3, ' ').collect::<Vec<_>>())
        .find(|words| words.get(1).is_some_and(|name| *name == suite.name()));
    let found = found.with_context(|| format!("rtpengine offers no {suite}: {sdp}"))?;
    let inline = found.get(2).and_then(|word| word.strip_prefix("inline:")).context("no inline key")?;
    let material = UNPADDED_TOO.decode(inline.split(['|', ' ']).next().unwrap_or(inline))?;
    let length = suite.key_len() + suite.salt_len();
    ensure!(material.len() == length, "{suite}: a key of {} octets, not {length}", material.len());
    Ok((found[0], Key { suite, material }))
}

fn media_port(sdp: &str) -> Result<u16> {
    let media = sdp.lines().find_map(|line| line.strip_prefix("m=audio ")).context("no media")?;
    Ok(media.split(' ').next().unwrap_or_default().parse()?)
}
