//! baresip, a user agent on libre with its own SRTP: it plays a tone, and writes what it decoded to a file.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use sluice_tools::demo::process::Process;
use tempfile::TempDir;

use crate::site::Site;
use crate::{START, tones};

/// Where Debian has baresip's modules, whatever the architecture.
const MODULES: &str = "/usr/lib/baresip/modules";
/// How far above a phone's SIP port it takes commands.
const COMMANDS: u16 = 5;

/// How a phone is to be.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Its user.
    pub name: &'static str,
    /// Its SIP port; the one above is for SIP over TLS.
    pub port: u16,
    /// What it plays, in hertz.
    pub tone: u32,
    /// Its media encryption: `srtp-mand`, `srtp`, `dtls_srtp`, or nothing; parameters of the account may follow.
    pub security: &'static str,
    /// `auto`, `early` or `manual`.
    pub answers: &'static str,
}

/// A running phone.
pub struct Phone {
    // Dropped in this order: the process before its files.
    process: Process,
    commands: TcpStream,
    /// Where it takes calls.
    pub at: SocketAddr,
    directory: TempDir,
}

impl Phone {
    /// Starts a phone among the peers of a site.
    pub fn start(site: &Site, setup: Setup) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = site.world.peers_at(setup.port);
        configure(directory.path(), at, site.peers_interface(), setup)?;
        let mut command = site.peers_namespace().command("baresip");
        command.arg("-f").arg(directory.path());
        let mut process = Process::spawn(setup.name, command, directory.path())?;
        process.wait_for_udp(setup.port, START)?;
        let commands = connect(site, site.world.peers_at(setup.port + COMMANDS), &mut process)?;
        Ok(Self { process, commands, at, directory })
    }

    /// Gives it a command, as its menu has them.
    pub fn command(&mut self, command: &str, parameters: &str) -> Result<()> {
        let json = serde_json::json!({ "command": command, "params": parameters }).to_string();
        // A netstring.
        write!(self.commands, "{}:{json},", json.len())?;
        Ok(())
    }

    /// Has it call somebody.
    pub fn dial(&mut self, user: &str, at: SocketAddr) -> Result<()> {
        self.command("dial", &format!("sip:{user}@{at}"))
    }

    /// Everything that it wrote.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Ends it, and with it the files of all its calls.
    pub fn stop(&mut self) {
        self.process.stop(Signal::TERM, Duration::from_secs(2));
    }

    /// What it decoded, a file for each time that it began to; complete once it is stopped.
    pub fn recordings(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.directory.path())? {
            files.push(entry?.path());
        }
        files.retain(|file| file.to_string_lossy().ends_with("-dec.wav"));
        files.sort();
        Ok(files)
    }

    /// Stops it; fails unless it heard a tone for so many seconds, and little else.
    pub fn expect_heard(&mut self, frequency: u32, seconds: f64) -> Result<()> {
        self.stop();
        let recordings = self.recordings()?;
        let recording = recordings.last().with_context(|| format!("it heard nothing:\n{}", self.log()))?;
        tones::expect(recording, frequency, seconds)
    }
}

fn configure(directory: &Path, at: SocketAddr, interface: &str, setup: Setup) -> Result<()> {
    let wav = directory.join("tone.wav");
    tones::write(&wav, setup.tone, 30)?;
    let (wav, path) = (wav.display(), directory.display());
    let rtp = u32::from(setup.port) * 10 % 40_000 + 10_000;
    let mut text = format!(
        "sip_listen {at}\nnet_interface {interface}\ncall_local_timeout 120\ncall_max_calls 4\n\
         rtp_ports {rtp}-{}\naudio_player aubridge,nil\naudio_alert aubridge,nil\naudio_source aufile,{wav}\n\
         ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\naudio_buffer 20-160\n\
         snd_path {path}\nctrl_tcp_listen {}:{}\nmodule_path {MODULES}\n",
        rtp + 99,
        at.ip(),
        at.port() + COMMANDS
    );
    for module in ["g711", "aufile", "aubridge", "sndfile", "srtp", "dtls_srtp", "ctrl_tcp"] {
        writeln!(text, "module {module}.so")?;
    }
    text.push_str("module_app account.so\nmodule_app menu.so\n");
    fs::write(directory.join("config"), text)?;
    let mut account = format!("<sip:{}@{at}>;regint=0;answermode={}", setup.name, setup.answers);
    if !setup.security.is_empty() {
        write!(account, ";mediaenc={}", setup.security)?;
    }
    fs::write(directory.join("accounts"), account + "\n")?;
    // It makes those that are missing, and one of them has a comment that it does not read itself.
    fs::write(directory.join("contacts"), "")?;
    Ok(())
}

fn connect(site: &Site, at: SocketAddr, process: &mut Process) -> Result<TcpStream> {
    let deadline = Instant::now() + START;
    loop {
        match site.peers_namespace().run(|| TcpStream::connect(at))? {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= deadline => {
                bail!("baresip takes no commands: {error}\n{}", process.last_words());
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}
