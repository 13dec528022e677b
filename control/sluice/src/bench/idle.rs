//! How busy a CPU is, by what is left of it.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::demo::namespace::orphan_proof;

/// A process that takes the time of a CPU that nobody else wants (`SCHED_IDLE`), so that what it did not get was work:
/// of threads, of the kernel, of interrupts, whoever's. The CPU never sleeps beside it, as little as a busy gateway's.
#[derive(Debug)]
pub struct IdleMeter {
    soaker: Child,
}

/// A point in time.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Instant,
    idle: u64,
}

impl Reading {
    /// How long after another one this was.
    pub fn since(&self, before: &Self) -> Duration {
        self.at.duration_since(before.at)
    }
}

impl IdleMeter {
    /// Begins on a CPU.
    pub fn start(cpu: usize) -> Result<Self> {
        let mut command = orphan_proof("chrt");
        command.args(["--idle", "0", "taskset", "--cpu-list", &cpu.to_string()]);
        command.args(["sh", "-c", "while :; do :; done"]);
        command.stdout(Stdio::null());
        let soaker = command.spawn().context("cannot run chrt and taskset: install util-linux")?;
        Ok(Self { soaker })
    }

    /// Where the meter stands.
    pub fn read(&self) -> Result<Reading> {
        let path = format!("/proc/{}/schedstat", self.soaker.id());
        let text = fs::read_to_string(&path).with_context(|| format!("the meter ended: {path}"))?;
        let idle = text.split(' ').next().and_then(|word| word.parse().ok());
        Ok(Reading { at: Instant::now(), idle: idle.with_context(|| format!("{path}: {text}"))? })
    }

    /// Nanoseconds of work since `before`.
    pub fn busy_since(&self, before: Reading) -> Result<u64> {
        let now = self.read()?;
        let elapsed = now.since(&before).as_nanos() as u64;
        Ok(elapsed.saturating_sub(now.idle - before.idle))
    }
}

impl Drop for IdleMeter {
    fn drop(&mut self) {
        // It is killed; that it was gone already makes no difference.
        let _ = self.soaker.kill();
        let _ = self.soaker.wait();
    }
}
