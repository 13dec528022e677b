//! One stream of a capture: its contexts, and what became of its packets.

use std::collections::BTreeMap;

use sluice_classifier::Endpoint;
use sluice_srtp::{Error, Inbound, Job, Kind, MAX_BATCH, Outbound, Suite, protect, unprotect};

use super::keys::KeyRing;

/// What tells streams apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) source: Endpoint,
    pub(super) destination: Endpoint,
    pub(super) ssrc: u32,
}

/// Why a packet was not converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The SRTP library refused it.
    Srtp(Error),
    /// The capture holds only a part of it.
    CutShort,
    /// With tag and MKI it is longer than UDP allows.
    TooLong,
    /// There is no key for its SSRC.
    NoKey,
    /// Another flow sends this SSRC under the same key: a two-time pad.
    SsrcTaken,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Srtp(error) => error.fmt(f),
            Self::CutShort => f.write_str("cut short by the capture's snapshot length"),
            Self::TooLong => f.write_str("too long for UDP once protected"),
            Self::NoKey => f.write_str("no key for this SSRC"),
            Self::SsrcTaken => f.write_str("another flow has this SSRC: one key must not protect both"),
        }
    }
}

/// A media packet on its way through a stream.
pub(super) struct Packet {
    /// Which record of the chunk it is.
    pub(super) record: usize,
    pub(super) kind: Kind,
    /// The packet, then tailroom.
    pub(super) buffer: Vec<u8>,
    pub(super) len: usize,
    pub(super) result: Result<(), Trouble>,
}

/// Counts of a stream.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) rtp: u64,
    pub(super) rtcp: u64,
    /// Packets that were converted.
    pub(super) done: u64,
    /// Packets that were not, by reason.
    pub(super) troubles: BTreeMap<String, u64>,
    /// Of these, packets that are not in the output.
    pub(super) left_out: u64,
}

enum Direction {
    /// RTP and SRTCP apart: an SRTCP packet carries its index and says nothing of the ROC.
    Unprotect {
        rtp: Option<Box<Inbound>>,
        rtcp: Option<Box<Inbound>>,
    },
    Protect(Option<Box<Outbound>>),
}

/// A stream with its state.
pub(super) struct Stream {
    pub(super) name: Name,
    pub(super) tally: Tally,
    /// Rollover counter of the first packet, once known.
    pub(super) roc: Option<u32>,
    pub(super) suite: Option<Suite>,
    direction: Direction,
}

impl Stream {
    /// A stream to be decrypted.
    pub(super) fn to_unprotect(name: Name) -> Self {
        Self::new(name, Direction::Unprotect { rtp: None, rtcp: None })
    }

    /// A stream to be encrypted; without a context its packets are refused.
    pub(super) fn to_protect(name: Name, context: Option<Outbound>, suite: Option<Suite>) -> Self {
        Self { suite, ..Self::new(name, Direction::Protect(context.map(Box::new))) }
    }

    fn new(name: Name, direction: Direction) -> Self {
        Self { name, tally: Tally::default(), roc: None, suite: None, direction }
    }

    /// Whether any packet was converted so far.
    pub(super) const fn proven(&self) -> bool {
        self.tally.done > 0
    }

    /// Whether packets that cannot be converted are kept as they are: when decrypting, what has never
    /// authenticated may be no SRTP at all, or not ours. When encrypting, nothing may stay in the
    /// clear where the output is meant to be encrypted.
    pub(super) fn keeps_refused(&self, keys: &KeyRing) -> bool {
        match self.direction {
            Direction::Unprotect { .. } => !self.proven(),
            Direction::Protect(_) => !keys.has(self.name.ssrc),
        }
    }

    /// Converts the stream's packets of a chunk in place.
    pub(super) fn convert(&mut self, keys: &KeyRing, packets: &mut [Packet]) {
        for packet in packets.iter() {
            match packet.kind {
                Kind::Rtp => self.tally.rtp += 1,
                Kind::Rtcp => self.tally.rtcp += 1,
            }
        }
        match &mut self.direction {
            Direction::Unprotect { rtp, rtcp } => {
                for kind in [Kind::Rtp, Kind::Rtcp] {
                    let context = if kind == Kind::Rtp { &mut *rtp } else { &mut *rtcp };
                    let found = decrypt(self.name.ssrc, keys, kind, context, packets);
                    if kind == Kind::Rtp && found.is_some() {
                        self.roc = found;
                    }
                }
                let context = rtp.as_deref().or(rtcp.as_deref());
                self.suite = self.suite.or_else(|| suite_of(context?));
            }
            Direction::Protect(context) => encrypt(context.as_deref_mut(), packets),
        }
        for packet in packets.iter() {
            match packet.result {
                Ok(()) => self.tally.done += 1,
                Err(trouble) => *self.tally.troubles.entry(trouble.to_string()).or_default() += 1,
            }
        }
    }
}

fn suite_of(context: &Inbound) -> Option<Suite> {
    context.usage().find(|(_, packets)| *packets > 0).map(|(keys, _)| keys.suite())
}

/// Decrypts the packets of one kind. Until the first of them authenticates, every rollover counter that
/// the stream may have begun at is tried; returns the one that was found.
fn decrypt(
    ssrc: u32,
    keys: &KeyRing,
    kind: Kind,
    context: &mut Option<Box<Inbound>>,
    packets: &mut [Packet],
) -> Option<u32> {
    let mut pending: Vec<&mut Packet> =
        packets.iter_mut().filter(|packet| packet.kind == kind && packet.result.is_ok()).collect();
    let mut found = None;
    let mut next = 0;
    while context.is_none() && next < pending.len() {
        let packet = &mut *pending[next];
        packet.result = Err(Trouble::NoKey);
        for (roc, candidate) in keys.inbound(ssrc) {
            let mut candidate = [candidate];
            run(packets_of(&mut [packet]), |jobs| unprotect(&mut candidate[..], jobs));
            if packet.result.is_ok() {
                let [candidate] = candidate;
                *context = Some(Box::new(candidate));
                found = Some(roc);
                break;
            }
            // Only a wrong tag can come from a wrong ROC; an SRTCP tag does not depend on it.
            if kind == Kind::Rtcp || packet.result != Err(Trouble::Srtp(Error::AuthFailed)) {
                break;
            }
        }
        next += 1;
    }
    if let Some(context) = context {
        let contexts = std::slice::from_mut(&mut **context);
        run(pending.into_iter().skip(next), |jobs| unprotect(contexts, jobs));
    }
    found
}

fn encrypt(context: Option<&mut Outbound>, packets: &mut [Packet]) {
    let Some(context) = context else { return };
    let contexts = std::slice::from_mut(context);
    run(packets.iter_mut().filter(|packet| packet.result.is_ok()), |jobs| protect(contexts, jobs));
}

fn packets_of<'a, 'b>(
    packets: &'a mut [&'b mut Packet],
) -> impl Iterator<Item = &'a mut Packet> + use<'a, 'b> {
    packets.iter_mut().map(|packet| &mut **packet)
}

/// Runs packets through the library in its batches, in order.
fn run<'a>(packets: impl Iterator<Item = &'a mut Packet>, mut each: impl FnMut(&mut [Job<'_>])) {
    let mut packets = packets.peekable();
    while packets.peek().is_some() {
        let mut batch: Vec<_> = packets.by_ref().take(MAX_BATCH).collect();
        let mut jobs: Vec<_> =
            batch.iter_mut().map(|packet| Job::new(0, packet.kind, &mut packet.buffer, packet.len)).collect();
        each(&mut jobs);
        let done: Vec<_> = jobs.iter().map(|job| (job.len, job.result)).collect();
        for (packet, (len, result)) in batch.into_iter().zip(done) {
            packet.result = result.map_err(Trouble::Srtp);
            if result.is_ok() {
                packet.len = len;
            }
        }
    }
}
