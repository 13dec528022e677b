//! Statistics.

use std::sync::atomic::Ordering;

use sluice_datapath::{Drops, EarlyCount, Path, WorkerSnapshot};
use sluice_proto::v1;

use super::{Gateway, path_name};
use crate::ApiError;

impl Gateway {
    pub(crate) async fn statistics(
        &self,
        session: &str,
        workers_only: bool,
    ) -> Result<v1::Statistics, ApiError> {
        let snapshots = self.with_engine(sluice_datapath::Engine::stats).ok_or_else(super::stopping)?;
        let workers = snapshots.iter().enumerate().map(|(index, worker)| shown(index as u32, worker));
        let workers = workers.collect();
        let mut state = self.state.lock().await;
        if !session.is_empty() {
            state.session(session)?;
        }
        let mut legs = Vec::new();
        let wanted = state.sessions.iter().filter(|(id, _)| session.is_empty() || *id == session);
        for (id, session) in wanted.filter(|_| !workers_only) {
            for (leg, state) in &session.legs {
                let counted = state.stats.snapshot();
                legs.push(v1::LegStatistics {
                    session: id.clone(),
                    leg: leg.clone(),
                    received_rtp_packets: counted.received_rtp.packets,
                    received_rtp_bytes: counted.received_rtp.bytes,
                    received_rtcp_packets: counted.received_rtcp.packets,
                    sent_rtp_packets: counted.sent_rtp.packets,
                    sent_rtp_bytes: counted.sent_rtp.bytes,
                    sent_rtcp_packets: counted.sent_rtcp.packets,
                    negotiation: counted.negotiation,
                    streams: counted.streams,
                    ssrc_clashes: counted.clashes,
                    path: Self::path_of(&state.stats),
                    drops: drops(&counted.dropped),
                    unreachable: counted.unreachable,
                    early_media: Some(early_media(&counted.early)),
                    ring: state.ring.as_ref().map(super::rings::Ring::shown),
                });
            }
        }
        let counters = self.with_engine(sluice_datapath::Engine::xdp_counters).ok_or_else(super::stopping)?;
        let xdp = counters.into_iter().map(|(interface, counters)| {
            let seen = counters.iter().filter(|(_, frames)| *frames > 0);
            let counts = seen.map(|(counter, frames)| v1::XdpCount { name: counter.name().into(), frames });
            v1::XdpStatistics { interface, counts: counts.collect() }
        });
        Ok(v1::Statistics {
            workers,
            legs,
            xdp: xdp.collect(),
            keys_derived: self.keys_derived.load(Ordering::Relaxed),
            calls: self.calls.len() as u64,
            media_path: Some(self.media_path.statistics()),
        })
    }
}

fn shown(index: u32, worker: &WorkerSnapshot) -> v1::WorkerStatistics {
    let io = &worker.io;
    let paths = Path::ALL.into_iter().map(|path| v1::PathCount {
        path: path_name(path).to_owned(),
        received: io.received[path as usize],
        sent: io.sent[path as usize],
    });
    v1::WorkerStatistics {
        index,
        received: worker.received,
        sent: worker.sent,
        copied: worker.copied,
        negotiation: worker.negotiation,
        handed_in: worker.handed_in,
        handed_out: worker.handed_out,
        events_lost: worker.events_lost,
        ssrc_clashes: worker.clashes,
        legs: worker.legs,
        routes: worker.routes,
        streams: worker.streams,
        drops: drops(&worker.dropped),
        paths: paths.filter(|path| path.received + path.sent > 0).collect(),
        latency_p50_nanoseconds: worker.latency.p50().unwrap_or_default(),
        latency_p99_nanoseconds: worker.latency.p99().unwrap_or_default(),
        latency_count: worker.latency.count(),
        send_failed: io.send_failed,
        send_too_big: io.send_too_big,
        receive_truncated: io.receive_truncated,
        pool_empty: io.pool_empty,
        receive_malformed: io.receive_malformed,
        socket_errors: io.socket_errors,
        gathered: io.gathered,
        gather_failed: io.gather_failed,
        split: io.split,
        egress_contexts: worker.egress_contexts,
        buffers_empty: io.buffers_empty,
        ring_dropped: io.ring_dropped,
        socket_dropped: io.socket_dropped,
        overloaded: worker.overloaded,
        injected: worker.injected,
        held: worker.held,
        ring_full: io.ring_full,
        ring_too_large: io.ring_too_large,
        early_media: Some(early_media(&worker.early)),
    }
}

const fn early_media(counted: &EarlyCount) -> v1::EarlyMediaStatistics {
    let EarlyCount { held, total, released, evicted } = *counted;
    v1::EarlyMediaStatistics { held, total, released, evicted }
}

fn drops(drops: &Drops) -> Vec<v1::DropCount> {
    let counted = drops.iter().filter(|(_, packets)| *packets > 0);
    counted
        .map(|(reason, packets)| v1::DropCount {
            reason: reason.name().to_owned(),
            packets,
            description: reason.description().trim().to_owned(),
        })
        .collect()
}
