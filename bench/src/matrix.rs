//! What is measured: all of it, or a quick part.

use sluice_srtp::Suite;

use crate::engine::{Peer, SUITES};
use crate::packets::{Payload, RING};

/// What a run measures, and how long.
pub struct Matrix {
    /// Suites.
    pub suites: Vec<Suite>,
    /// Numbers of sessions used round-robin.
    pub sessions: Vec<usize>,
    /// Payloads.
    pub payloads: Vec<Payload>,
    /// Batch sizes among those of a peer; empty means all of them.
    pub batches: Vec<usize>,
    /// Turns of every engine; the best stretch of any counts.
    pub rounds: usize,
    /// Timed passes of [`RING`] packets in a turn, a multiple of [`STRETCH`](crate::run::STRETCH).
    pub passes: usize,
}

const SIZES: [Payload; 3] = [Payload::Fixed(20), Payload::Fixed(160), Payload::Fixed(1200)];

impl Matrix {
    /// Everything.
    pub fn full() -> Self {
        Self {
            suites: SUITES.into(),
            sessions: vec![1, 1000, 100_000],
            payloads: [&SIZES[..], &[Payload::Mix]].concat(),
            batches: Vec::new(),
            rounds: 25,
            passes: 32,
        }
    }

    /// Enough for a look: some tens of seconds.
    pub fn quick() -> Self {
        Self {
            suites: SUITES.into(),
            sessions: vec![1000],
            payloads: SIZES.into(),
            batches: vec![1, 32, 64],
            rounds: 15,
            passes: 32,
        }
    }

    /// Batch sizes that `peer` is measured with.
    pub fn batches_of(&self, peer: &Peer) -> impl Iterator<Item = usize> {
        let wanted = |batch: &usize| self.batches.is_empty() || self.batches.contains(batch);
        peer.batches.iter().copied().filter(wanted)
    }

    /// Untimed passes before the timed ones: every session once, so that an engine's contexts are
    /// where a running relay has them after other engines had the caches. With 100 000 sessions
    /// they are in main memory either way.
    pub fn warm_up(sessions: usize) -> usize {
        sessions.div_ceil(RING).clamp(2, 16)
    }
}
