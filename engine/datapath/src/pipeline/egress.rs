//! Last stage: protect what is to be sent, as one batch over all egress legs, and hand it over.

use arrayvec::ArrayVec;
use sluice_io::Pool;
use sluice_srtp::{Error, Job, Kind, protect};

use super::{BATCH, Outgoing, Pipeline, Transmit};
use crate::{Direction, DropReason, Event};

impl Pipeline {
    /// Protects and transmits all that waits to be sent.
    pub(super) fn flush(&mut self, pool: &mut Pool, transmit: &mut impl Transmit) {
        if self.outgoing.is_empty() {
            return;
        }
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let mut results = self.protect(&mut outgoing).into_iter();
        let handed_over_at = (self.clock)();
        for mut packet in outgoing {
            let result = match packet.context {
                Some(_) => results.next().unwrap_or(Err(Error::NoKey)),
                None => Ok(packet.frame.len()),
            };
            match result {
                Ok(len) => {
                    packet.frame.set_len(len);
                    self.count_sent(&packet, handed_over_at);
                    // Has room: as many places as `outgoing`, and empty before.
                    if let Err(frame) = self.tx.push(packet.frame) {
                        self.discard(frame, packet.leg, DropReason::ProtectFailed, pool);
                    }
                }
                Err(error) => self.refuse_outgoing(packet, error, pool),
            }
        }
        if !self.tx.is_empty() {
            transmit(pool, &mut self.tx);
        }
    }

    /// The results of those packets that have a context, in their order.
    fn protect(&mut self, outgoing: &mut ArrayVec<Outgoing, BATCH>) -> ArrayVec<Result<usize, Error>, BATCH> {
        let mut jobs: ArrayVec<Job<'_>, BATCH> = ArrayVec::new();
        for packet in outgoing.iter_mut() {
            if let Some(context) = packet.context {
                let len = packet.frame.len();
                jobs.push(Job::new(context as usize, packet.kind, packet.frame.buffer_mut(), len));
            }
        }
        if !jobs.is_empty() {
            protect(&mut self.egress, &mut jobs);
        }
        jobs.iter().map(|job| job.result.map(|()| job.len)).collect()
    }

    fn count_sent(&mut self, packet: &Outgoing, handed_over_at: u64) {
        self.stats.sent.add(1);
        self.stats.latency.record(handed_over_at.saturating_sub(packet.received_at));
        if let Some(leg) = self.legs.get(packet.leg) {
            let counters = leg.counters();
            match packet.kind {
                Kind::Rtp => counters.sent_rtp.count(packet.frame.len()),
                Kind::Rtcp => counters.sent_rtcp.count(packet.frame.len()),
            }
        }
        let Some(egress) = packet.context.and_then(|context| self.egress.get(context)) else { return };
        let remaining = egress.outbound.remaining();
        if remaining.0 < egress.expiring.0 || remaining.1 < egress.expiring.1 {
            let key = egress.key;
            self.warn_of_expiry(packet.leg, Direction::Outbound, key, remaining.0.min(remaining.1));
        }
    }

    #[cold]
    pub(super) fn warn_of_expiry(
        &mut self,
        slot: u32,
        direction: Direction,
        key: sluice_srtp::KeyId,
        remaining: u64,
    ) {
        let Some(leg) = self.legs.get_mut(slot) else { return };
        if leg.first_expiring(direction, key) {
            let event = Event::KeyExpiring { leg: leg.id, direction, key, remaining, at: self.now };
            self.emit(event);
        }
    }

    #[cold]
    fn refuse_outgoing(&mut self, packet: Outgoing, error: Error, pool: &mut Pool) {
        if error == Error::KeyExpired
            && let Some(key) = packet.context.and_then(|context| self.egress.get(context)).map(|e| e.key)
            && let Some(leg) = self.legs.get_mut(packet.leg)
            && leg.first_expired(Direction::Outbound, key)
        {
            let event = Event::KeyExpired { leg: leg.id, direction: Direction::Outbound, key, at: self.now };
            self.emit(event);
        }
        let reason = match error {
            Error::KeyExpired => DropReason::OutboundKeyExpired,
            Error::IndexReused => DropReason::IndexUsed,
            Error::NoTailroom => DropReason::NoTailroom,
            Error::NoKey => DropReason::NoOutboundKey,
            _ => DropReason::ProtectFailed,
        };
        self.discard(packet.frame, packet.leg, reason, pool);
    }
}
