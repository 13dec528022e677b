//! Cryptographic contexts: all SRTP state of one SSRC in one direction (RFC 3711 §3.2).

use std::sync::Arc;

use sluice_kernels::prefetch;

use crate::index::INDEX_END;
use crate::{Error, Kind, SessionKeys};

/// Master keys that one context can hold at a time: the newest and those not retired yet.
pub const MAX_KEYS: usize = 16;
/// SRTCP indices have 31 bits (RFC 3711 §3.4).
pub(crate) const RTCP_INDEX_END: u64 = 1 << 31;

/// A table of contexts, named by number. Several jobs of one batch may name the same context.
pub trait Contexts<C> {
    /// The context of that number.
    fn get(&self, index: usize) -> Option<&C>;
    /// The context of that number, to change.
    fn get_mut(&mut self, index: usize) -> Option<&mut C>;
    /// Asks the CPU to have the context at hand soon. A batch asks for all of its contexts first.
    fn prefetch(&self, index: usize) {
        if let Some(context) = self.get(index) {
            prefetch(context);
        }
    }
}

impl<C> Contexts<C> for [C] {
    fn get(&self, index: usize) -> Option<&C> {
        <[C]>::get(self, index)
    }

    fn get_mut(&mut self, index: usize) -> Option<&mut C> {
        <[C]>::get_mut(self, index)
    }
}

/// Where a stream stands: enough to carry on elsewhere (RFC 3711 §3.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Highest RTP packet index so far: ROC in the upper 32 of 48 bits.
    pub rtp: Option<u64>,
    /// Highest SRTCP index so far.
    pub rtcp: Option<u64>,
}

impl Position {
    /// The rollover counter.
    pub fn roc(&self) -> u32 {
        self.rtp.map_or(0, |index| (index >> 16) as u32)
    }
}

/// How rollover counters go on under a new master key, as peers differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RocOnRekey {
    /// The index goes on: it is the stream's, whatever its key (RFC 3711 §3.3.1, §3.4).
    #[default]
    Keep,
    /// It begins anew under each key: the sequence number goes on, the rollover counter and the SRTCP index are 0.
    Reset,
    /// Of what is received, the one of both that authenticates counts.
    TryBoth,
}

/// Why a packet has no index: it lies after the last one, or else it has the reason `before`.
#[cold]
pub(crate) fn no_index(highest: Option<u64>, before: Error) -> Error {
    if highest.is_some_and(|highest| highest >= INDEX_END / 2) { Error::KeyExpired } else { before }
}

/// A key in a context with what it has done there.
pub(crate) struct Held {
    pub(crate) keys: Arc<SessionKeys>,
    pub(crate) rtp: u64,
    pub(crate) rtcp: u64,
}

impl Held {
    pub(crate) const fn new(keys: Arc<SessionKeys>) -> Self {
        Self { keys, rtp: 0, rtcp: 0 }
    }

    pub(crate) fn left(&self, kind: Kind) -> u64 {
        let used = match kind {
            Kind::Rtp => self.rtp,
            Kind::Rtcp => self.rtcp,
        };
        self.keys.direction(kind).lifetime.saturating_sub(used)
    }

    pub(crate) const fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Rtp => self.rtp += 1,
            Kind::Rtcp => self.rtcp += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::replay::Replay;
    use crate::{Inbound, Outbound};

    #[test]
    fn a_stream_is_its_replay_lists_and_at_most_64_bytes() {
        let list = size_of::<Replay>() - size_of::<u64>();
        assert!(size_of::<Inbound>() <= 64 + 2 * list, "{}", size_of::<Inbound>());
        assert!(size_of::<Outbound>() <= 64 + list, "{}", size_of::<Outbound>());
    }
}
