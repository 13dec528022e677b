//! Statistics: written by one worker, read by anyone at any time, nobody stops.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use sluice_io::{IoCounters, Path};

use crate::DropReason;
use crate::latency::{Histogram, Latency};

/// A counter with one writer: adding is a load and a store, no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.set(self.get().wrapping_add(count));
    }

    #[inline]
    pub(crate) fn sub(&self, count: u64) {
        self.set(self.get().wrapping_sub(count));
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct DropCounters([Counter; DropReason::COUNT]);

impl Default for DropCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl DropCounters {
    #[inline]
    pub(crate) fn count(&self, reason: DropReason) {
        self.0[reason.index()].add(1);
    }

    fn snapshot(&self) -> Drops {
        Drops(std::array::from_fn(|index| self.0[index].get()))
    }
}

/// How many were dropped, by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drops([u64; DropReason::COUNT]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl Drops {
    /// Dropped for this reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason.index()]
    }

    /// Dropped for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.get(reason))).filter(|&(_, count)| count > 0)
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}

/// Packets and bytes of UDP payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Datagrams.
    pub packets: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct VolumeCounter {
    packets: Counter,
    bytes: Counter,
}

impl VolumeCounter {
    #[inline]
    pub(crate) fn count(&self, bytes: usize) {
        self.packets.add(1);
        self.bytes.add(bytes as u64);
    }

    /// Takes back one that was counted.
    pub(crate) fn take_back(&self, bytes: usize) {
        self.packets.sub(1);
        self.bytes.sub(bytes as u64);
    }

    pub(crate) fn snapshot(&self) -> Volume {
        Volume { packets: self.packets.get(), bytes: self.bytes.get() }
    }
}

/// Media that came before the inbound key that it may be under.
#[derive(Debug, Default)]
pub(crate) struct EarlyCounters {
    pub(crate) held: Counter,
    pub(crate) total: Counter,
    pub(crate) released: Counter,
    pub(crate) evicted: Counter,
}

impl EarlyCounters {
    fn snapshot(&self) -> EarlyCount {
        EarlyCount {
            held: self.held.get(),
            total: self.total.get(),
            released: self.released.get(),
            evicted: self.evicted.get(),
        }
    }
}

/// Media that came before the inbound key that it may be under and was kept for that: before its leg's first
/// ([`crate::EarlyMedia::Hold`]), or while another was on its way ([`crate::LegUpdate::rekeying`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EarlyCount {
    /// Packets kept now.
    pub held: u64,
    /// Packets kept so far.
    pub total: u64,
    /// Packets played out.
    pub released: u64,
    /// Packets dropped before that, of [`DropReason::EarlyMediaFull`], [`DropReason::EarlyMediaExpired`] or
    /// [`DropReason::LegRemoved`]; where another key was on its way and did not come, of what was wrong with them under those
    /// that there were.
    pub evicted: u64,
}

/// Statistics of one leg. Control makes one, gives it to the engine in [`crate::LegSetup`] and reads it
/// whenever it likes; it outlives the leg.
#[derive(Debug, Default)]
pub struct LegStats(pub(crate) CachePadded<LegCounters>);

#[derive(Debug, Default)]
pub(crate) struct LegCounters {
    pub(crate) received_rtp: VolumeCounter,
    pub(crate) received_rtcp: VolumeCounter,
    pub(crate) sent_rtp: VolumeCounter,
    pub(crate) sent_rtcp: VolumeCounter,
    pub(crate) negotiation: Counter,
    pub(crate) injected: Counter,
    pub(crate) streams: Counter,
    pub(crate) first_media_at: Counter,
    pub(crate) last_media_at: Counter,
    /// [`Path`] of the media, plus one; 0 before the first.
    pub(crate) path: Counter,
    pub(crate) clashes: Counter,
    pub(crate) unreachable: Counter,
    pub(crate) early: EarlyCounters,
    pub(crate) dropped: DropCounters,
}

impl LegStats {
    /// A leg's statistics before its first packet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> LegSnapshot {
        let counters = &self.0;
        LegSnapshot {
            received_rtp: counters.received_rtp.snapshot(),
            received_rtcp: counters.received_rtcp.snapshot(),
            sent_rtp: counters.sent_rtp.snapshot(),
            sent_rtcp: counters.sent_rtcp.snapshot(),
            negotiation: counters.negotiation.get(),
            injected: counters.injected.get(),
            streams: counters.streams.get(),
            first_media_at: Some(counters.first_media_at.get()).filter(|&at| at != 0),
            last_media_at: Some(counters.last_media_at.get()).filter(|&at| at != 0),
            path: path_of(counters.path.get()),
            clashes: counters.clashes.get(),
            unreachable: counters.unreachable.get(),
            early: counters.early.snapshot(),
            dropped: counters.dropped.snapshot(),
        }
    }
}

/// What [`LegCounters::path`] holds.
pub(crate) const fn path_code(path: Path) -> u64 {
    path as u64 + 1
}

fn path_of(code: u64) -> Option<Path> {
    Path::ALL.into_iter().find(|&path| path_code(path) == code)
}

/// [`LegStats`] as they were at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegSnapshot {
    /// RTP accepted from the peer: authenticated, or past probation where it is plain.
    pub received_rtp: Volume,
    /// RTCP accepted from the peer.
    pub received_rtcp: Volume,
    /// RTP handed to transmission towards the peer, less what the kernel refused since it was too large.
    pub sent_rtp: Volume,
    /// RTCP handed to transmission towards the peer, less the same.
    pub sent_rtcp: Volume,
    /// Negotiation datagrams given to control.
    pub negotiation: u64,
    /// Datagrams that control had sent ([`crate::Command::SendDatagram`]).
    pub injected: u64,
    /// Streams received now.
    pub streams: u64,
    /// `CLOCK_MONOTONIC` nanoseconds of the first media accepted.
    pub first_media_at: Option<u64>,
    /// `CLOCK_MONOTONIC` nanoseconds of the last media accepted.
    pub last_media_at: Option<u64>,
    /// How the media comes in.
    pub path: Option<Path>,
    /// Packets' sources refused or rewritten by the two-time-pad guard on the way out of this leg.
    pub clashes: u64,
    /// ICMP errors that told of datagrams to the peer: it, or a host on the way, did not take them.
    pub unreachable: u64,
    /// Media that came before its inbound key and was kept.
    pub early: EarlyCount,
    /// What was dropped, received for this leg or about to be sent from it.
    pub dropped: Drops,
}

/// Statistics of one worker; see [`WorkerSnapshot`] for what each means.
#[derive(Debug, Default)]
pub struct WorkerStats(CachePadded<WorkerCounters>);

impl std::ops::Deref for WorkerStats {
    type Target = WorkerCounters;

    fn deref(&self) -> &WorkerCounters {
        &self.0
    }
}

/// The counters behind [`WorkerStats`].
#[derive(Debug, Default)]
pub struct WorkerCounters {
    pub(crate) received: Counter,
    pub(crate) injected: Counter,
    pub(crate) copied: Counter,
    pub(crate) handed_in: Counter,
    pub(crate) handed_out: Counter,
    pub(crate) negotiation: Counter,
    pub(crate) sent: Counter,
    pub(crate) held: Counter,
    pub(crate) early: EarlyCounters,
    pub(crate) dropped: DropCounters,
    pub(crate) events_lost: Counter,
    pub(crate) clashes: Counter,
    pub(crate) legs: Counter,
    pub(crate) routes: Counter,
    pub(crate) streams: Counter,
    pub(crate) egress_contexts: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) rounds: Counter,
    pub(crate) commands: Counter,
    pub(crate) latency: Histogram,
    io: PublishedIo,
}

impl WorkerStats {
    pub(crate) fn publish_io(&self, io: &IoCounters) {
        let published = &self.0.io;
        for (slot, value) in published.received.iter().zip(io.received) {
            slot.set(value);
        }
        for (slot, value) in published.sent.iter().zip(io.sent) {
            slot.set(value);
        }
        published.send_failed.set(io.send_failed);
        published.send_too_big.set(io.send_too_big);
        published.receive_truncated.set(io.receive_truncated);
        published.pool_empty.set(io.pool_empty);
        published.buffers_empty.set(io.buffers_empty);
        published.receive_malformed.set(io.receive_malformed);
        published.socket_errors.set(io.socket_errors);
        published.ring_dropped.set(io.ring_dropped);
        published.socket_dropped.set(io.socket_dropped);
        published.gathered.set(io.gathered);
        published.gather_failed.set(io.gather_failed);
        published.split.set(io.split);
        published.ring_full.set(io.ring_full);
        published.ring_too_large.set(io.ring_too_large);
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> WorkerSnapshot {
        let counters = &self.0;
        WorkerSnapshot {
            received: counters.received.get(),
            injected: counters.injected.get(),
            copied: counters.copied.get(),
            handed_in: counters.handed_in.get(),
            handed_out: counters.handed_out.get(),
            negotiation: counters.negotiation.get(),
            sent: counters.sent.get(),
            held: counters.held.get(),
            early: counters.early.snapshot(),
            dropped: counters.dropped.snapshot(),
            events_lost: counters.events_lost.get(),
            clashes: counters.clashes.get(),
            legs: counters.legs.get(),
            routes: counters.routes.get(),
            streams: counters.streams.get(),
            egress_contexts: counters.egress_contexts.get(),
            overloaded: counters.overloaded.get() != 0,
            rounds: counters.rounds.get(),
            commands: counters.commands.get(),
            latency: counters.latency.snapshot(),
            io: counters.io.snapshot(),
        }
    }
}

#[derive(Debug, Default)]
struct PublishedIo {
    received: [Counter; Path::ALL.len()],
    sent: [Counter; Path::ALL.len()],
    send_failed: Counter,
    send_too_big: Counter,
    receive_truncated: Counter,
    pool_empty: Counter,
    buffers_empty: Counter,
    receive_malformed: Counter,
    socket_errors: Counter,
    ring_dropped: Counter,
    socket_dropped: Counter,
    gathered: Counter,
    gather_failed: Counter,
    split: Counter,
    ring_full: Counter,
    ring_too_large: Counter,
}

impl PublishedIo {
    fn snapshot(&self) -> IoCounters {
        IoCounters {
            received: std::array::from_fn(|path| self.received[path].get()),
            sent: std::array::from_fn(|path| self.sent[path].get()),
            send_failed: self.send_failed.get(),
            send_too_big: self.send_too_big.get(),
            receive_truncated: self.receive_truncated.get(),
            pool_empty: self.pool_empty.get(),
            buffers_empty: self.buffers_empty.get(),
            receive_malformed: self.receive_malformed.get(),
            socket_errors: self.socket_errors.get(),
            ring_dropped: self.ring_dropped.get(),
            socket_dropped: self.socket_dropped.get(),
            gathered: self.gathered.get(),
            gather_failed: self.gather_failed.get(),
            split: self.split.get(),
            ring_full: self.ring_full.get(),
            ring_too_large: self.ring_too_large.get(),
        }
    }
}

/// [`WorkerStats`] as they were at one moment. Between two rounds of the worker,
/// `received + injected + copied + handed_in = sent + dropped + negotiation + handed_out + held + early.held`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSnapshot {
    /// Datagrams that packet I/O delivered.
    pub received: u64,
    /// Datagrams that control had sent.
    pub injected: u64,
    /// Copies that fan-out asked for: one less than the routes of each packet.
    pub copied: u64,
    /// Datagrams taken over from other workers.
    pub handed_in: u64,
    /// Datagrams handed to the workers that own their legs.
    pub handed_out: u64,
    /// Datagrams given to control.
    pub negotiation: u64,
    /// Datagrams handed to transmission, less those that the kernel refused since they were too large.
    pub sent: u64,
    /// Datagrams held for probation now.
    pub held: u64,
    /// Media that came before its inbound key and was kept; what other workers handed over counts here
    /// as well.
    pub early: EarlyCount,
    /// Datagrams and copies dropped.
    pub dropped: Drops,
    /// Events for which the queue to control had no room.
    pub events_lost: u64,
    /// Sources refused or rewritten by the two-time-pad guard.
    pub clashes: u64,
    /// Legs now.
    pub legs: u64,
    /// Routes now.
    pub routes: u64,
    /// Streams received now.
    pub streams: u64,
    /// Contexts for sending now.
    pub egress_contexts: u64,
    /// Whether the kernel has to drop what this worker does not take in time, or had to within the last second.
    pub overloaded: bool,
    /// Rounds of the worker's loop; one that stands still while legs exist is stuck.
    pub rounds: u64,
    /// Commands applied.
    pub commands: u64,
    /// From reception to hand-over to transmission.
    pub latency: Latency,
    /// What packet I/O counted.
    pub io: IoCounters,
}

impl WorkerSnapshot {
    /// Datagrams unaccounted for: not zero is a fault of the engine (unless a round is under way).
    pub fn unaccounted(&self) -> i64 {
        let came = self.received + self.injected + self.copied + self.handed_in;
        let kept = self.held + self.early.held;
        let went = self.sent + self.dropped.total() + self.negotiation + self.handed_out + kept;
        came.wrapping_sub(went) as i64
    }
}
