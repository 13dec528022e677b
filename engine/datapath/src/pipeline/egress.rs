//! Last stage: protect what is to be sent, as one batch over all egress legs, and hand it over.

use arrayvec::ArrayVec;
use sluice_io::{Frame, Pool, TxMeta};
use sluice_srtp::{Error, Job, Kind, protect};

use super::{BATCH, Group, Outgoing, Pipeline, Transmit};
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
                    match packet.group {
                        None => self.hand_over(packet, handed_over_at, pool, transmit),
                        Some(group) => self.distribute(packet, group, handed_over_at, pool, transmit),
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

    /// Counts a packet and puts it with those that are handed over next.
    fn hand_over(&mut self, packet: Outgoing, at: u64, pool: &mut Pool, transmit: &mut impl Transmit) {
        let Outgoing { frame, leg, .. } = &packet;
        let excess = frame.egress().and_then(|meta| Some((*meta, meta.exceeded(frame.len())?)));
        if let Some((meta, mtu)) = excess {
            self.tell_too_big(*leg, meta.packet_len(frame.len()), Some(mtu));
            return self.discard(packet.frame, packet.leg, DropReason::MtuExceeded, pool);
        }
        self.count_sent(&packet, at);
        if self.tx.is_full() {
            transmit(pool, &mut self.tx);
        }
        // Has room: what is handed over is taken.
        if let Err(frame) = self.tx.push(packet.frame) {
            self.discard(frame, packet.leg, DropReason::ProtectFailed, pool);
        }
    }

    /// Sends a packet that was protected once to every leg of its group; the last one gets the packet itself.
    fn distribute(
        &mut self,
        mut packet: Outgoing,
        group: Group,
        at: u64,
        pool: &mut Pool,
        transmit: &mut impl Transmit,
    ) {
        let mut before: Option<(u32, TxMeta)> = None;
        for place in group.places() {
            let Some(binding) = self.binding(group.stream, place) else { continue };
            let meta = match self.prepare(&binding, packet.kind) {
                Ok(meta) => meta,
                Err(reason) => {
                    self.count_drop(binding.to, reason);
                    continue;
                }
            };
            let Some((leg, meta)) = before.replace((binding.to, meta)) else { continue };
            let Some(mut frame) = self.replica(packet.frame.payload(), pool, transmit) else {
                self.count_drop(leg, DropReason::PoolEmpty);
                continue;
            };
            frame.set_egress(meta);
            let copy = Outgoing { frame, leg, group: None, ..packet };
            self.hand_over(copy, at, pool, transmit);
        }
        match before {
            Some((leg, meta)) => {
                packet.leg = leg;
                packet.frame.set_egress(meta);
                self.hand_over(packet, at, pool, transmit);
            }
            None => pool.free(packet.frame),
        }
    }

    /// A copy of what is protected already. If no chunk is free, what waits is handed over first.
    fn replica(&mut self, payload: &[u8], pool: &mut Pool, transmit: &mut impl Transmit) -> Option<Frame> {
        let mut frame = pool.alloc(payload.len()).or_else(|| {
            transmit(pool, &mut self.tx);
            pool.alloc(payload.len())
        })?;
        frame.fill(payload);
        Some(frame)
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
        match packet.group {
            None => self.discard(packet.frame, packet.leg, reason, pool),
            Some(group) => {
                self.count_group(group, reason);
                pool.free(packet.frame);
            }
        }
    }
}
