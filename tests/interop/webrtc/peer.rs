//! Peers with a PeerConnection: processes that take commands and answer them, a line of JSON each.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use sluice_tests::{tones, venv};
use sluice_tools::demo::namespace::Namespace;
use tempfile::TempDir;

/// How long a command may take: the first waits for Chromium to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long checks and handshakes may take.
const SETUP: Duration = Duration::from_secs(15);
/// Browsers that will do, the smallest first.
const CHROMIUMS: [&str; 3] = ["chromium-headless-shell", "chromium", "google-chrome"];
const FIREFOXES: [&str; 2] = ["firefox-esr", "firefox"];
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/webrtc/peers");

/// What peers are made of.
pub(crate) struct Tools {
    python: PathBuf,
    browser: Option<&'static str>,
}

/// A browser that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Browser {
    Chromium,
    Firefox,
}

impl Browser {
    /// Programs that will do.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Chromium => &CHROMIUMS,
            Self::Firefox => &FIREFOXES,
        }
    }
}

impl Tools {
    /// What there is; `None`, loudly, without aiortc, or without a browser where one is needed.
    pub(crate) fn find(browser: Option<Browser>) -> Result<Option<Self>> {
        let requirements = fs::read_to_string(format!("{SCRIPTS}/requirements.txt"))?;
        let Some(python) = venv::python(env!("CARGO_TARGET_TMPDIR"), "webrtc", &requirements)? else {
            return Ok(None);
        };
        let runs = |program: &&str| {
            let mut command = Command::new(program);
            command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let programs = browser.map(Browser::programs).unwrap_or_default();
        let found = programs.iter().copied().find(runs);
        if browser.is_some() && found.is_none() {
            ensure!(env::var_os("CI").is_none(), "none of {programs:?} works, and this is CI");
            eprintln!("SKIP: none of {programs:?} is installed here; `./justw test-browser` installs one");
            return Ok(None);
        }
        Ok(Some(Self { python, browser: found }))
    }

    /// Chromium with flags more than it needs.
    pub(crate) fn chromium(&self, at: &Namespace, name: &str, flags: &[&str]) -> Result<Peer> {
        let browser = self.browser.context("no browser was asked for")?;
        let flags = flags.iter().map(|flag| format!("--flag={flag}"));
        let arguments: Vec<_> = [format!("--executable={browser}")].into_iter().chain(flags).collect();
        self.peer(at, name, "chromium.py", &arguments)
    }

    /// Firefox.
    pub(crate) fn firefox(&self, at: &Namespace, name: &str) -> Result<Peer> {
        let browser = self.browser.context("no browser was asked for")?;
        self.peer(at, name, "firefox.py", &[format!("--executable={browser}")])
    }

    /// aiortc with the options of its script.
    pub(crate) fn aiortc(&self, at: &Namespace, name: &str, options: &[&str]) -> Result<Peer> {
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        self.peer(at, name, "aiortc_peer.py", &options)
    }

    /// Chromium on a page.
    pub(crate) fn page(&self, at: &Namespace, url: &str) -> Result<Peer> {
        let browser = self.browser.context("no browser was asked for")?;
        self.peer(at, "page", "page.py", &[format!("--executable={browser}"), format!("--url={url}")])
    }

    fn peer(&self, at: &Namespace, name: &str, script: &str, arguments: &[String]) -> Result<Peer> {
        let mut command = at.command(self.python.to_str().context("no UTF-8")?);
        command.arg(format!("{SCRIPTS}/{script}")).args(arguments);
        Peer::start(name, command)
    }
}

/// A running peer; dropped, it is killed.
pub(crate) struct Peer {
    name: String,
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
    directory: TempDir,
}

impl Peer {
    /// Starts a script of a peer.
    pub(crate) fn start(name: &str, mut command: Command) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = File::create(directory.path().join("log"))?;
        command.env("PEER_FOLDER", directory.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let commands = child.stdin.take().context("no pipe")?;
        let lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Ok(Self { name: name.to_owned(), child, commands, answers, directory })
    }

    /// Begins a new call: an audio track with a tone, and what else is in `more`.
    pub(crate) fn open(&mut self, tone: u32, more: Value) -> Result<()> {
        let mut command = json!({ "do": "open", "tone": tone });
        if let (Some(command), Value::Object(more)) = (command.as_object_mut(), more) {
            command.extend(more);
        }
        self.ask(&command).map(drop)
    }

    /// Its offer, with all its candidates.
    pub(crate) fn offer(&mut self) -> Result<String> {
        self.sdp(&json!({ "do": "offer" }))
    }

    /// Its offer with an ICE restart.
    pub(crate) fn restart(&mut self) -> Result<String> {
        self.sdp(&json!({ "do": "offer", "restart": true }))
    }

    /// Its answer to an offer.
    pub(crate) fn accept(&mut self, sdp: &str) -> Result<String> {
        self.sdp(&json!({ "do": "accept", "sdp": sdp }))
    }

    /// Takes the answer to its offer.
    pub(crate) fn answer(&mut self, sdp: &str) -> Result<()> {
        self.ask(&json!({ "do": "answer", "sdp": sdp })).map(drop)
    }

    /// The reports of its statistics that have this type.
    pub(crate) fn reports(&mut self, kind: &str) -> Result<Vec<Value>> {
        let reports = self.ask(&json!({ "do": "stats" }))?;
        Ok(reports[kind].as_array().cloned().unwrap_or_default())
    }

    /// What its transport is protected by.
    pub(crate) fn handshake(&mut self) -> Result<Handshake> {
        let reports = self.ask(&json!({ "do": "stats" }))?;
        // aiortc has a transport for each medium, and no ciphers in its own reports.
        let report = reports["dtls"].get(0).unwrap_or(&reports["transport"][0]);
        let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
        let version = match text("tlsVersion").as_str() {
            "FEFC" | "DTLSv1.3" => "1.3".to_owned(),
            "FEFD" | "DTLSv1.2" => "1.2".to_owned(),
            other => other.to_owned(),
        };
        Ok(Handshake { srtp: text("srtpCipher"), cipher: text("dtlsCipher"), version })
    }

    /// Where it stands: `new`, `connecting`, `connected`, `failed` and so on.
    pub(crate) fn state(&mut self) -> Result<String> {
        let states = self.ask(&json!({ "do": "states" }))?;
        Ok(states["connection"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until its checks and its handshake are done.
    pub(crate) fn expect_connected(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETUP;
        loop {
            let states = self.ask(&json!({ "do": "states" }))?;
            if states["connection"] == "connected" {
                return Ok(());
            }
            if states["connection"] == "failed" || Instant::now() >= deadline {
                bail!("{} is not connected: {states}\n{}", self.name, self.log());
            }
            thread::sleep(Duration::from_millis(30));
        }
    }

    /// What it decoded of its current call.
    pub(crate) fn recording(&mut self) -> Result<Vec<i16>> {
        let file = self.directory.path().join("heard.wav");
        self.ask(&json!({ "do": "record", "file": file }))?;
        tones::read(&file)
    }

    /// Fails unless it heard a tone for so many seconds, and little else.
    pub(crate) fn expect_heard(&mut self, frequency: u32, seconds: f64) -> Result<()> {
        let file = self.directory.path().join("heard.wav");
        self.ask(&json!({ "do": "record", "file": file }))?;
        tones::expect(&file, frequency, seconds).with_context(|| self.name.clone())
    }

    /// Everything that it wrote beside its answers.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Has a command done; what it says, or what it says is wrong.
    pub(crate) fn ask(&mut self, command: &Value) -> Result<Value> {
        writeln!(self.commands, "{command}")
            .with_context(|| format!("{} ended:\n{}", self.name, self.log()))?;
        let line = self.answers.recv_timeout(PATIENCE);
        let line =
            line.with_context(|| format!("{} has no answer to {command}:\n{}", self.name, self.log()))?;
        let mut answer: Value = serde_json::from_str(&line)?;
        match answer["error"].as_str() {
            Some(error) => Err(anyhow!("{}: {error}", self.name)),
            None => Ok(answer["ok"].take()),
        }
    }

    fn sdp(&mut self, command: &Value) -> Result<String> {
        Ok(self.ask(command)?.as_str().context("no SDP")?.to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a peer says of its handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// The profile of SRTP, by a name of the peer's.
    pub srtp: String,
    /// The cipher suite of DTLS.
    pub cipher: String,
    /// `1.2` or `1.3`.
    pub version: String,
}

/// Ends a test, loudly, without the rights or the tools that it needs; otherwise they are its value.
macro_rules! tools {
    (browser) => {
        crate::peer::tools!(@ Some(crate::peer::Browser::Chromium))
    };
    (firefox) => {
        crate::peer::tools!(@ Some(crate::peer::Browser::Firefox))
    };
    () => {
        crate::peer::tools!(@ None)
    };
    (@ $browser:expr) => {{
        sluice_tests::needs_root!();
        let Some(tools) = crate::peer::Tools::find($browser)? else { return Ok(()) };
        tools
    }};
}
pub(crate) use tools;
