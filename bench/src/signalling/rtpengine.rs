//! The same calls at rtpengine, by its protocol ng.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sluice_tools::bench::bed::{Bed, DEVICE};
use sluice_tools::peers::ng;
use sluice_tools::peers::rtpengine::Rtpengine;
use tempfile::TempDir;
use tokio::net::UdpSocket;

use super::desk::{Desk, Kind};
use super::sdp::{self, Security};

/// Local ports: four for each call.
const PORTS: std::ops::RangeInclusive<u16> = 10_000..=59_999;
/// Longer than any answer.
const LONGEST: usize = 16_384;

/// The packaged daemon's version, if it is installed.
pub fn installed() -> Option<String> {
    let mut command = std::process::Command::new("rtpengine");
    let output = command.arg("--version").stdin(std::process::Stdio::null()).output().ok()?;
    // It goes to standard output or error, as the release likes.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().find(|line| line.contains("ersion")).map(|line| line.trim().to_owned())
}

/// A running one, on the device's CPU; dropped, it is killed.
pub struct Daemon {
    rtpengine: Rtpengine,
    // Dropped after it.
    _directory: TempDir,
}

impl Daemon {
    /// Starts it.
    pub fn start(bed: &Bed) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let device = &bed.device;
        let command = |program: &str| device.command(program);
        let rtpengine = Rtpengine::start(&device.namespace, command, DEVICE.into(), PORTS, directory.path())?;
        Ok(Self { rtpengine, _directory: directory })
    }

    /// Its process's id.
    pub fn id(&self) -> u32 {
        self.rtpengine.id()
    }

    /// A desk at it; to be called on a Tokio runtime.
    pub fn desk(&self, bed: &Bed) -> Result<Engine> {
        let control = self.rtpengine.control(&bed.device.namespace)?;
        control.set_nonblocking(true)?;
        Ok(Engine { control: Rc::new(UdpSocket::from_std(control)?) })
    }
}

/// A desk at it, with a socket of its own: an answer is that to the last question.
pub struct Engine {
    control: Rc<UdpSocket>,
}

impl Desk for Engine {
    async fn begin(&mut self, kind: Kind, number: u64) -> Result<[Duration; 2]> {
        let sdp = sdp::offer(number, kind.caller, kind.video)?;
        let protocol = match kind.callee {
            Security::Sdes => "RTP/SAVP",
            Security::Plain => "RTP/AVP",
        };
        let more = [("sdp", sdp.as_str()), ("transport-protocol", protocol), ("DTLS", "off")];
        let (offered, offer) = self.ask("offer", number, &more).await?;
        let offered = offered.get("sdp").context("an answer without SDP")?;
        let sdp = sdp::answer(number, offered, kind.callee)?;
        let more = [("sdp", sdp.as_str()), ("to-tag", "callee"), ("DTLS", "off")];
        let (answered, answer) = self.ask("answer", number, &more).await?;
        let answered = answered.get("sdp").context("an answer without SDP")?;
        sdp::check_all(answered, kind.caller, kind.media())?;
        Ok([offer, answer])
    }

    async fn end(&mut self, number: u64) -> Result<Duration> {
        Ok(self.ask("delete", number, &[]).await?.1)
    }
}

impl Engine {
    async fn ask(
        &self,
        command: &str,
        number: u64,
        more: &[(&str, &str)],
    ) -> Result<(BTreeMap<String, String>, Duration)> {
        let id = format!("call-{number}");
        let common = [("command", command), ("call-id", &id), ("from-tag", "caller")];
        let question = common.into_iter().chain(more.iter().copied()).collect();
        let cookie = ng::cookie(&question);
        let datagram = ng::datagram(&cookie, &question);
        let mut answer = vec![0; LONGEST];
        let start = Instant::now();
        self.control.send(datagram.as_bytes()).await?;
        let len = self.control.recv(&mut answer).await?;
        let took = start.elapsed();
        let answer = std::str::from_utf8(answer.get(..len).unwrap_or_default())?;
        Ok((ng::read(&cookie, answer)?, took))
    }
}
