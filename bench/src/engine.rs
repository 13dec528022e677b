//! What Sluice and its peers have in common: the trait they are measured through.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;
use sluice_srtp::Suite;

use crate::packets::{Packet, Session};

/// Suites that are compared; the 32-bit tag costs what the 80-bit one costs.
pub const SUITES: [Suite; 3] = [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm];

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// RTP to SRTP.
    Protect,
    /// SRTP to RTP.
    Unprotect,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Protect, Self::Unprotect];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protect => "protect",
            Self::Unprotect => "unprotect",
        })
    }
}

/// How much of SRTP an engine does. Only like is compared with like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Packet in, packet out: header, index, replay check, crypto.
    Whole,
    /// Cipher and MAC only: IV, rollover counter and key are given.
    Crypto,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "whole",
            Self::Crypto => "crypto",
        })
    }
}

/// An engine, `None` where it lacks the suite, or why it would not start.
pub type Opened = anyhow::Result<Option<Box<dyn Engine>>>;

/// An implementation of SRTP or of its crypto.
#[derive(Clone)]
pub struct Peer {
    /// Short name.
    pub name: &'static str,
    /// Versions of everything that does the work.
    pub version: String,
    /// What it does.
    pub scope: Scope,
    /// Batch sizes that it is measured with.
    pub batches: &'static [usize],
    /// Sessions beyond which it is not measured.
    pub most_sessions: usize,
    /// Sets up an engine with a context per session and direction.
    pub open: fn(Suite, &[Session]) -> Opened,
}

impl Peer {
    /// The largest batch that it is measured with.
    pub fn largest_batch(&self) -> usize {
        self.batches.iter().copied().max().unwrap_or(1)
    }
}

/// Contexts of many sessions, senders' and receivers'.
pub trait Engine {
    /// Protects or unprotects every packet in place, `batch` at a time, and says how long that took.
    /// What does not belong to the engine's work, such as building its lists of jobs where an
    /// application would have them anyway, stays outside of the time.
    fn run(&mut self, direction: Direction, packets: &mut [Packet<'_>], batch: usize) -> Duration;

    /// The result of packet `at` of the last run, for engines that do not work in place.
    fn output<'a>(&'a self, packets: &'a [Packet<'_>], at: usize) -> &'a [u8] {
        &packets[at].buffer[..packets[at].len]
    }
}

/// Times `work` on every packet in turn.
pub fn one_by_one(packets: &mut [Packet<'_>], mut work: impl FnMut(&mut Packet<'_>)) -> Duration {
    let begin = Instant::now();
    for packet in &mut *packets {
        work(black_box(packet));
    }
    begin.elapsed()
}

/// Times `work` on one batch after another.
pub fn in_batches<T>(jobs: &mut [T], batch: usize, mut work: impl FnMut(&mut [T])) -> Duration {
    let begin = Instant::now();
    for jobs in jobs.chunks_mut(batch) {
        work(black_box(jobs));
    }
    begin.elapsed()
}
