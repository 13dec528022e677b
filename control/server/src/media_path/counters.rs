//! What the threads of handshakes and checks count.

use std::sync::atomic::{AtomicU64, Ordering};

use sluice_datapath::Histogram;
use sluice_proto::v1;

use super::reason::Drops;

/// Counters that all threads share.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(super) legs: AtomicU64,
    pub(super) started: AtomicU64,
    pub(super) completed: AtomicU64,
    pub(super) resumed: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) half_open: AtomicU64,
    pub(super) cookies: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) selected: AtomicU64,
    pub(super) consent_lost: AtomicU64,
    pub(super) drops: Drops,
    /// Written by who follows outcomes alone.
    pub(super) applied: Histogram,
    /// Written by who follows outcomes alone.
    pub(super) first_media: Histogram,
}

/// One more.
pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// As the API shows them.
    pub(crate) fn shown(&self) -> v1::MediaPathStatistics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        v1::MediaPathStatistics {
            legs: get(&self.legs),
            handshakes_started: get(&self.started),
            handshakes_completed: get(&self.completed),
            handshakes_resumed: get(&self.resumed),
            handshakes_failed: get(&self.failed),
            certificates_refused: get(&self.refused),
            associations_closed: get(&self.closed),
            half_open: get(&self.half_open),
            cookies_sent: get(&self.cookies),
            datagrams_sent: get(&self.sent),
            datagrams_received: get(&self.received),
            pairs_selected: get(&self.selected),
            consent_lost: get(&self.consent_lost),
            drops: self.drops.shown(),
            keys_applied: Some(latency(&self.applied)),
            first_media: Some(latency(&self.first_media)),
        }
    }
}

fn latency(histogram: &Histogram) -> v1::LatencyStatistics {
    let measured = histogram.snapshot();
    v1::LatencyStatistics {
        p50_nanoseconds: measured.p50().unwrap_or_default(),
        p99_nanoseconds: measured.p99().unwrap_or_default(),
        count: measured.count(),
    }
}
