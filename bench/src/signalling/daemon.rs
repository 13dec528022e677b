//! Sluice's daemon as it is installed, on one CPU with all its threads.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sluice_tools::bench::bed::{Bed, DEVICE};
use sluice_tools::demo::process::Process;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// How long the daemon may take to answer.
const READY: Duration = Duration::from_secs(30);

/// The way of packets that the daemon sets calls up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// AF_XDP: each leg is made known to the XDP program as well.
    AfXdp,
    /// io_uring on kernel sockets.
    IoUring,
}

impl Way {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfXdp => "sluice, af_xdp",
            Self::IoUring => "sluice, io_uring",
        }
    }
}

/// A running one; dropped, it is killed.
pub struct Daemon {
    process: Process,
    directory: TempDir,
}

impl Daemon {
    /// Starts it on the device's CPU, in its namespace.
    pub fn start(bed: &Bed, path: Way) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let executable = executable()?;
        let executable = executable.to_str().context("the path of sluice is not UTF-8")?;
        let configuration = directory.path().join("sluice.toml");
        fs::write(&configuration, text(bed, path, &directory.path().join("sluice.sock"))?)?;
        let mut command = bed.device.command(executable);
        command.args(["run", "--config"]).arg(&configuration);
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

fn text(bed: &Bed, path: Way, socket: &Path) -> Result<String> {
    let quoted = |text: &str| serde_json::to_string(text);
    let socket = socket.to_str().context("the socket's path is not UTF-8")?;
    let mut text = String::new();
    writeln!(text, "[api]\nsocket = {}", quoted(socket)?)?;
    writeln!(text, "[media]\naddresses = [\"{DEVICE}\"]\nports = \"10000-59999\"")?;
    let mode = if path == Way::AfXdp { "auto" } else { "io_uring" };
    // All its threads are on its CPU already.
    writeln!(text, "[datapath]\nmode = \"{mode}\"\nworkers = 1\npin = false")?;
    writeln!(text, "[log]\nlevel = \"warn\"")?;
    if path == Way::AfXdp {
        writeln!(text, "[[interface]]\nname = {}", quoted(&bed.device.interface)?)?;
    }
    Ok(text)
}
