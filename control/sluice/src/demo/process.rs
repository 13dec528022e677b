//! Child processes that never outlive their owner, with their output kept for the error message.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::demo::interrupt;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How often to look whether a process ended or a socket came up.
const POLL: Duration = Duration::from_millis(10);

/// A running child; dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output going to `<directory>/<name>.log`.
    pub fn spawn(name: &str, mut command: Command, directory: &Path) -> Result<Self> {
        command.stdin(Stdio::null());
        Self::spawn_logged(name, command, directory)
    }

    /// The same with its standard input a pipe that the caller writes ([`Process::take_stdin`]), and that is open and says
    /// nothing until then: there are programs that an end of their input has stop, or turn in circles.
    pub fn spawn_commanded(name: &str, mut command: Command, directory: &Path) -> Result<Self> {
        command.stdin(Stdio::piped());
        Self::spawn_logged(name, command, directory)
    }

    fn spawn_logged(name: &str, mut command: Command, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stderr(out.try_clone()?).stdout(out);
        Self::start(name, command, log)
    }

    /// Starts `command` with its standard output going to a pipe that the caller reads.
    pub fn spawn_piped(name: &str, mut command: Command, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        Self::start(name, command, log)
    }

    fn start(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        // A group of its own: Ctrl-C at the terminal reaches us, and we end our children in order.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipe of [`Process::spawn_piped`], once.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The pipe of [`Process::spawn_commanded`], once.
    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Sends a signal; a process that is gone already is not an error.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// The exit status if the process has ended.
    pub fn finished(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits up to `limit` for the process to end by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            interrupt::sleep(POLL)?;
        }
    }

    /// Waits for success; anything else is an error with the process's last words.
    pub fn succeed(&mut self, limit: Duration) -> Result<()> {
        match self.wait(limit)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{} ended with {status}:\n{}", self.name, self.last_words()),
            None => bail!("{} is not done after {limit:?}:\n{}", self.name, self.last_words()),
        }
    }

    /// Ends the process: `signal`, again after 50 ms (ffmpeg leaves a blocking read only at the
    /// second), SIGKILL after `grace`.
    pub fn stop(&mut self, signal: Signal, grace: Duration) {
        for patience in [Duration::from_millis(50), grace] {
            self.signal(signal);
            if matches!(self.wait(patience), Ok(Some(_))) {
                return;
            }
        }
        self.kill();
    }

    /// Ends the process by SIGKILL: it gets no chance to clean up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until UDP `port` is bound in the network namespace that the process lives in.
    pub fn wait_for_udp(&mut self, port: u16, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !udp_bound(self.child.id(), port) {
            if let Some(status) = self.finished()? {
                bail!("{} ended with {status}:\n{}", self.name, self.last_words());
            }
            if Instant::now() >= deadline {
                bail!("{} did not open UDP port {port} in {limit:?}", self.name);
            }
            interrupt::sleep(POLL)?;
        }
        Ok(())
    }

    /// Everything the process wrote.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of what the process wrote, for error messages.
    pub fn last_words(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether some socket of the process's network namespace is bound to UDP `port`.
fn udp_bound(pid: u32, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["udp", "udp6"].iter().any(|table| {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        // "  sl  local_address rem_address …", the local address as hexadecimal ADDRESS:PORT.
        let mut locals = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
        locals.any(|local| local.ends_with(&wanted))
    })
}
