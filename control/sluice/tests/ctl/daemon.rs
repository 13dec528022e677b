//! A daemon of the test's own: on loopback by io_uring, its socket in a scratch directory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sluice_tools::demo::process::Process;
use sluice_tools::demo::world::Place;

use crate::support::{Run, SLUICE, command, run, run_with_input};

const LIMIT: Duration = Duration::from_secs(15);

/// A running daemon.
pub(crate) struct Daemon {
    process: Process,
    folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts a daemon and waits until it says that it is ready. It logs all it can.
    pub(crate) fn start() -> Self {
        Self::start_with(tempfile::tempdir().expect("a scratch directory"), "")
    }

    /// The same with more configuration.
    pub(crate) fn start_with(folder: tempfile::TempDir, more: &str) -> Self {
        Self::start_as(folder, |text| text + more)
    }

    /// The same with a configuration that is changed.
    pub(crate) fn start_as(folder: tempfile::TempDir, change: impl FnOnce(String) -> String) -> Self {
        let socket = folder.path().join("sluice.sock");
        let configuration = folder.path().join("sluice.toml");
        std::fs::write(&configuration, change(configuration_text(&socket))).expect("it is written");
        let mut daemon = Self { process: spawn(folder.path()), folder };
        daemon.wait_for_log("ready: ");
        daemon
    }

    /// Starts the next daemon with the same configuration; the last one has ended.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(self.folder.path());
        self.wait_for_log("ready: ");
    }

    /// Waits until the daemon has written this.
    #[track_caller]
    fn wait_for_log(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.process.output().contains(text) {
            let ended = self.process.finished().expect("it can be asked");
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", self.process.output());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its threads: number and name of each.
    pub(crate) fn threads(&self) -> Vec<(i32, String)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("it runs");
        let thread = |task: std::fs::DirEntry| {
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
            Some((task.file_name().to_str()?.parse().ok()?, name.trim_end().to_owned()))
        };
        tasks.flatten().filter_map(thread).collect()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn socket(&self) -> String {
        self.path("sluice.sock").display().to_string()
    }

    /// `sluice ctl WORDS…`, the words separated by blanks.
    #[track_caller]
    pub(crate) fn ctl(&self, words: &str) -> Run {
        self.ctl_with_input(words, b"")
    }

    /// The same with something on standard input.
    #[track_caller]
    pub(crate) fn ctl_with_input(&self, words: &str, input: &[u8]) -> Run {
        let words = words.split_whitespace();
        let mut command = command(["ctl"]);
        run_with_input(command.args(words).env("SLUICE_SOCKET", self.socket()), input)
    }

    /// The same with words that may have blanks in them.
    #[track_caller]
    pub(crate) fn ctl_words(&self, words: &[&str]) -> Run {
        run(command(["ctl"]).args(words).env("SLUICE_SOCKET", self.socket()))
    }

    /// Starts a `sluice ctl` that goes on.
    pub(crate) fn ctl_process(&self, name: &str, words: &str) -> Process {
        let mut command = Place::Here.command(SLUICE);
        command.arg("ctl").args(words.split_whitespace()).env("SLUICE_SOCKET", self.socket());
        Process::spawn(name, command, self.folder.path()).expect("it starts")
    }

    /// Everything the daemon has logged.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// Asks the daemon to end, which it must do by itself and with status 0.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.succeed(LIMIT).expect("it ends in order");
    }

    /// Ends the daemon at once.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}

fn spawn(folder: &std::path::Path) -> Process {
    let mut command = Place::Here.command(SLUICE);
    command.args(["run", "--config"]).arg(folder.join("sluice.toml")).env("SLUICE_LOG", "trace");
    Process::spawn("sluice", command, folder).expect("it starts")
}

/// The configuration of a small daemon.
pub(crate) fn configuration_text(socket: &std::path::Path) -> String {
    format!(
        "[api]\nsocket = {:?}\n[media]\naddresses = [\"127.0.0.1\"]\nports = \"34000-38999\"\n\
         [datapath]\nmode = \"io_uring\"\nworkers = 1\npin = false\nsmall_chunks = 512\nlarge_chunks = 64\n\
         [limits]\nlegs = 64\nroutes = 64\nstreams = 64\n[recording]\nfolder = {:?}\n",
        socket.display().to_string(),
        socket.with_file_name("recordings").display().to_string()
    )
}

/// `sluice run --config FILE WORDS…` that is to end by itself.
#[track_caller]
pub(crate) fn run_daemon(configuration: &std::path::Path, words: &[&str]) -> Run {
    run(command(["run", "--config"]).arg(configuration).args(words))
}
