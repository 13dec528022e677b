//! A phone without handshakes, of two ffmpegs: one plays a tone and one listens, behind one socket. Its media is plain RTP,
//! or SRTP by SDES.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use sluice_srtp::Suite;
use sluice_tests::site::Site;
use sluice_tests::{START, tones};
use sluice_tools::demo::gateway::Key;
use sluice_tools::demo::process::Process;
use tempfile::TempDir;

use crate::sdp;

/// The suite of SDES: ffmpeg's best.
pub(crate) const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// Above the phone's own port: where its ffmpegs are, on loopback with the phone's address.
const LISTENS: u16 = 10;
const PLAYS: u16 = 20;

/// A phone on PCMU.
pub(crate) struct Phone<'a> {
    // Dropped in this order: the processes before their files.
    player: Option<Process>,
    listener: Option<Process>,
    splices: Vec<Splice>,
    site: &'a Site,
    at: SocketAddr,
    tone: u32,
    key: Option<Key>,
    directory: TempDir,
}

impl<'a> Phone<'a> {
    /// A phone on an even port that plays a tone, with SDES or with plain RTP.
    pub(crate) fn new(site: &'a Site, port: u16, tone: u32, sdes: bool) -> Result<Self> {
        let key = sdes.then(|| Key::random(Suite::AesCm128HmacSha1_80)).transpose()?;
        let (at, directory) = (site.world.peers_at(port), tempfile::tempdir()?);
        Ok(Self { player: None, listener: None, splices: Vec::new(), site, at, tone, key, directory })
    }

    /// Its offer, without feedback (RFC 4585).
    pub(crate) fn offer(&self) -> String {
        self.describe(self.profile(), "1")
    }

    /// Its answer: of whatever profile is offered (RFC 3264 section 6.1), as it minds no feedback.
    pub(crate) fn answer(&self, offered: &str) -> Result<String> {
        let media = offered.lines().find_map(|line| line.strip_prefix("m=audio ")).context("no audio")?;
        let profile = media.split(' ').nth(1).context("no profile")?;
        let tag = crypto(offered).and_then(|line| line.split(' ').next());
        Ok(self.describe(profile, tag.unwrap_or("1")))
    }

    fn describe(&self, profile: &str, tag: &str) -> String {
        let key = self.key.as_ref().map(|key| BASE64.encode(&key.material));
        describe(self.at, profile, key.as_deref().map(|key| (tag, key)))
    }

    /// Without feedback.
    fn profile(&self) -> &'static str {
        if self.key.is_some() { "RTP/SAVP" } else { "RTP/AVP" }
    }

    /// Plays, and listens, as the other side's SDP says.
    pub(crate) fn begin(&mut self, theirs: &str) -> Result<()> {
        let to = sdp::destination(theirs)?;
        for (above, to) in [(0, to), (1, SocketAddr::new(to.ip(), to.port() + 1))] {
            let outside = self.site.world.peers.udp(self.port(above))?;
            self.splices.push(Splice::start(
                outside,
                to,
                self.port(LISTENS + above),
                self.port(PLAYS + above),
            )?);
        }
        self.listener = Some(self.listen(theirs)?);
        self.player = Some(self.play()?);
        Ok(())
    }

    /// Fails unless a tone was heard for so many seconds, and little else.
    pub(crate) fn expect_heard(&mut self, frequency: u32, seconds: f64) -> Result<()> {
        let listener = self.listener.as_mut().context("it never listened")?;
        listener.stop(Signal::TERM, Duration::from_secs(2));
        let words = listener.last_words();
        tones::expect(&self.heard(), frequency, seconds)
            .with_context(|| format!("the phone; ffmpeg says: {words}"))
    }

    /// What it has heard, if anything.
    pub(crate) fn recording(&mut self) -> Vec<i16> {
        if let Some(listener) = &mut self.listener {
            listener.stop(Signal::TERM, Duration::from_secs(2));
        }
        tones::read(&self.heard()).unwrap_or_default()
    }

    fn listen(&self, theirs: &str) -> Result<Process> {
        let key = match &self.key {
            None => None,
            Some(_) => Some(("1", key_of(theirs).context("no crypto line of the suite")?)),
        };
        let file = self.directory.path().join("listens.sdp");
        fs::write(&file, describe(self.port(LISTENS), self.profile(), key))?;
        let mut command = self.site.peers_namespace().command("ffmpeg");
        command.args(["-nostdin", "-y", "-v", "error", "-protocol_whitelist", "file,udp,rtp,srtp", "-i"]);
        command.arg(file).args(["-c:a", "pcm_s16le", "-ar", "8000", "-ac", "1", "-flush_packets", "1"]);
        command.arg(self.heard());
        let mut process = Process::spawn("listener", command, self.directory.path())?;
        process.wait_for_udp(self.port(LISTENS).port(), START)?;
        Ok(process)
    }

    fn play(&self) -> Result<Process> {
        let mut command = self.site.peers_namespace().command("ffmpeg");
        // At a quarter of full scale, as the others play.
        let tone = format!("sine=frequency={}:sample_rate=8000:samples_per_frame=160", self.tone);
        command.args(["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", &tone, "-af", "volume=2"]);
        command.args(["-c:a", "pcm_mulaw", "-f", "rtp"]);
        let mut scheme = "rtp";
        if let Some(key) = &self.key {
            scheme = "srtp";
            command.args(["-srtp_out_suite", SUITE, "-srtp_out_params", &BASE64.encode(&key.material)]);
        }
        let (to, from) = (self.at, self.port(PLAYS).port());
        command.arg(format!("{scheme}://{to}?pkt_size=172&localrtpport={from}&localrtcpport={}", from + 1));
        Process::spawn("player", command, self.directory.path())
    }

    fn port(&self, above: u16) -> SocketAddr {
        SocketAddr::new(self.at.ip(), self.at.port() + above)
    }

    fn heard(&self) -> PathBuf {
        self.directory.path().join("heard.wav")
    }
}

/// Says `a=sendrecv`, which is understood (RFC 8866 section 6.7.1): aiortc sends nothing without it.
fn describe(at: SocketAddr, profile: &str, crypto: Option<(&str, &str)>) -> String {
    let (address, port) = (at.ip(), at.port());
    let line = |(tag, key)| format!("a=crypto:{tag} {SUITE} inline:{key}\r\n");
    let crypto = crypto.map(line).unwrap_or_default();
    format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} {profile} 0\r\n\
         a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n{crypto}"
    )
}

/// The key of the first crypto line of the suite.
fn key_of(sdp: &str) -> Option<&str> {
    crypto(sdp)?.split("inline:").nth(1)?.split(['|', ' ']).next()
}

/// The first crypto line of the suite.
fn crypto(sdp: &str) -> Option<&str> {
    sdp::attributes(sdp, "crypto").into_iter().find(|line| line.split(' ').nth(1) == Some(SUITE))
}

/// A socket that a sender and a receiver share: what `plays` sends to it goes on to `to`, everything else to `listens`.
struct Splice {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Splice {
    fn start(socket: UdpSocket, to: SocketAddr, listens: SocketAddr, plays: SocketAddr) -> Result<Self> {
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let ends = Arc::<AtomicBool>::default();
        let until = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !until.load(Ordering::Relaxed) {
                // An unreachable port of before is an error here; it is for nobody.
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let _ = socket.send_to(&buffer[..length], if from == plays { to } else { listens });
            }
        });
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
