//! Sluice's daemon as it is installed, where a bench wants it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sluice_tools::demo::process::Process;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// How long the daemon may take to answer.
const READY: Duration = Duration::from_secs(30);

/// A running one; dropped, it is killed.
pub struct Daemon {
    process: Process,
    directory: TempDir,
}

impl Daemon {
    /// Starts it: `command` says how a program is started where it is to run, `configuration` what it is told, given its
    /// socket as TOML has it.
    pub fn start(
        command: impl FnOnce(&str) -> Command,
        configuration: impl FnOnce(&str) -> Result<String>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let executable = executable()?;
        let executable = executable.to_str().context("the path of sluice is not UTF-8")?;
        let file = directory.path().join("sluice.toml");
        let socket = serde_json::to_string(&directory.path().join("sluice.sock"))?;
        fs::write(&file, configuration(&socket)?)?;
        let mut command = command(executable);
        command.args(["run", "--config"]).arg(&file);
        let process = Process::spawn("sluice", command, directory.path())?;
        Ok(Self { process, directory })
    }

    /// A connection to its API; waits until it listens.
    pub async fn connect(&mut self) -> Result<Channel> {
        let socket = self.directory.path().join("sluice.sock");
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()))?;
        let deadline = Instant::now() + READY;
        loop {
            if let Some(status) = self.process.finished()? {
                bail!("sluice run ended with {status}:\n{}", self.process.last_words());
            }
            match endpoint.connect().await {
                Ok(channel) => return Ok(channel),
                Err(error) if Instant::now() >= deadline => return Err(error).context(self.last_words()),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Its process's id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The end of what it wrote.
    pub fn last_words(&self) -> String {
        self.process.last_words()
    }
}

/// CPU time of all threads of a process.
pub fn cpu_time(process: u32) -> Result<Duration> {
    let tasks = format!("/proc/{process}/task");
    let mut nanoseconds = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("process {process} has ended"))?.flatten() {
        // A thread that ended meanwhile had done little.
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The daemon beside this program, unless `SLUICE_BIN` names another.
fn executable() -> Result<PathBuf> {
    let path = match std::env::var_os("SLUICE_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("sluice"),
    };
    ensure!(path.exists(), "{} is not there: cargo build --release -p sluice", path.display());
    Ok(path)
}
