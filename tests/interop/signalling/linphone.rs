//! linphone, a user agent on liblinphone with its own SDP and SIP, on oRTP and libsrtp: it plays a WAV file, and writes what
//! it decoded to another. It is the one that speaks capability negotiation (RFC 5939).

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ChildStdin;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_tests::site::Site;
use sluice_tests::{START, tones};
use sluice_tools::demo::process::Process;
use tempfile::TempDir;

/// How linphonec says that it took the last command that it is given at first.
const READY: &str = "Using wav files instead of soundcard.";
/// How it says that a call is over, and with it the file.
const ENDED: &str = " ended (";

/// How a linphone is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Its user.
    pub(crate) name: &'static str,
    /// Its SIP port.
    pub(crate) port: u16,
    /// What it plays, in hertz.
    pub(crate) tone: u32,
    /// What keys its actual configuration: `none`, `srtp`.
    pub(crate) encryption: &'static str,
    /// What its potential configurations are keyed by, the preferred one first: `SRTP`, `DTLS`, `None`. Without any it
    /// knows no capability negotiation.
    pub(crate) capabilities: &'static [&'static str],
}

/// A running linphonec, which takes every call.
pub(crate) struct Linphone {
    // Dropped in this order: the process before its files.
    process: Process,
    commands: ChildStdin,
    /// Where it takes calls.
    pub(crate) at: SocketAddr,
    recording: PathBuf,
    _directory: TempDir,
}

impl Linphone {
    /// Starts one among the peers of a site.
    pub(crate) fn start(site: &Site, setup: Setup) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let home = directory.path();
        let at = site.world.peers_at(setup.port);
        let [tune, recording] = ["tone.wav", "heard.wav"].map(|name| home.join(name));
        tones::write(&tune, setup.tone, 30)?;
        // Without a place for its database it does not come up.
        fs::create_dir_all(home.join(".local/share/linphone"))?;
        let configuration = home.join("linphonerc");
        fs::write(&configuration, configure(at, setup))?;
        let mut command = site.peers_namespace().command("linphonec");
        command.env("HOME", home).arg("-a").arg("-c").arg(configuration);
        let mut process = Process::spawn_commanded(setup.name, command, home)?;
        process.wait_for_udp(setup.port, START)?;
        let mut commands = process.take_stdin().context("no standard input")?;
        let (tune, wav) = (tune.display(), recording.display());
        write!(commands, "play {tune}\nrecord {wav}\nsoundcard use files\n")?;
        wait_for(&process, READY)?;
        Ok(Self { process, commands, at, recording, _directory: directory })
    }

    /// Has it call somebody.
    pub(crate) fn dial(&mut self, user: &str, at: SocketAddr) -> Result<()> {
        Ok(writeln!(self.commands, "call sip:{user}@{at}")?)
    }

    /// Everything that it wrote.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// Fails unless its call ends, and it heard a tone for so many seconds, and little else.
    pub(crate) fn expect_heard(&mut self, frequency: u32, seconds: f64) -> Result<()> {
        wait_for(&self.process, ENDED)?;
        // It takes two seconds to end by itself.
        self.process.kill();
        tones::expect(&self.recording, frequency, seconds).with_context(|| self.log())
    }
}

/// Waits until a linphonec wrote something.
fn wait_for(process: &Process, words: &str) -> Result<()> {
    let deadline = Instant::now() + START;
    while !process.output().contains(words) {
        ensure!(Instant::now() < deadline, "it does not say {words:?}:\n{}", process.last_words());
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn configure(at: SocketAddr, setup: Setup) -> String {
    let Setup { name, port, encryption, capabilities, .. } = setup;
    let negotiates = u8::from(!capabilities.is_empty());
    let supported: Vec<_> = capabilities.iter().map(|one| format!("LinphoneMediaEncryption{one}")).collect();
    let supported = match supported.as_slice() {
        [] => String::new(),
        some => format!("supported_encryptions={}\n", some.join(",")),
    };
    format!(
        "[sip]\nsip_port={port}\nsip_tcp_port=0\nsip_tls_port=0\nbind_address={ip}\ncontact=sip:{name}@{at}\n\
         use_ipv6=0\nipv6_migration_done=1\nguess_hostname=0\nmedia_encryption={encryption}\n\
         support_capability_negotiations={negotiates}\n{supported}\
         [rtp]\nbind_address={ip}\naudio_rtp_port={rtp}\naudio_jitt_comp=60\naudio_adaptive_jitt_comp_enabled=0\n\
         [sound]\nechocancellation=0\necholimiter=0\nagc=0\n\
         [video]\nenabled=0\ncapture=0\ndisplay=0\nautomatically_initiate=0\nautomatically_accept=0\n",
        ip = at.ip(),
        rtp = 30_000 + port,
    )
}
