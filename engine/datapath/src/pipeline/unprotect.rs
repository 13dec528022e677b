//! Second stage: the whole batch to the SRTP library, and what becomes of packets and streams by it.

use arrayvec::ArrayVec;
use sluice_io::{Frame, Pool};
use sluice_srtp::{Error, Job};

use super::{BATCH, Pipeline, Received};
use crate::rate::Burst;
use crate::stream::Phase;
use crate::{Direction, DropReason, Event};

impl Pipeline {
    /// Authenticates and decrypts the packets of SRTP legs in place.
    pub(super) fn unprotect(&mut self, received: &mut ArrayVec<Received, BATCH>) {
        let mut jobs: ArrayVec<Job<'_>, BATCH> = ArrayVec::new();
        let mut members: ArrayVec<usize, BATCH> = ArrayVec::new();
        for (position, packet) in received.iter_mut().enumerate() {
            if !std::mem::take(&mut packet.pending) {
                continue;
            }
            if self.streams.get(packet.stream).is_some_and(|stream| stream.inbound.is_some()) {
                let len = packet.frame.len();
                jobs.push(Job::new(packet.stream as usize, packet.kind, packet.frame.buffer_mut(), len));
                members.push(position);
            }
        }
        if jobs.is_empty() {
            return;
        }
        sluice_srtp::unprotect(&mut self.streams, &mut jobs);
        let outcomes: ArrayVec<_, BATCH> = jobs.iter().map(|job| (job.result, job.len)).collect();
        drop(jobs);
        for (position, (result, len)) in members.into_iter().zip(outcomes) {
            let packet = &mut received[position];
            match result {
                Ok(()) => packet.frame.set_len(len),
                Err(error) => packet.outcome = Err(reason(error)),
            }
        }
    }

    /// Drops a packet that did not pass, and keeps count of attacks.
    pub(super) fn refuse(&mut self, frame: Frame, slot: u32, reason: DropReason, pool: &mut Pool) {
        let (now, threshold) = (self.now, self.tuning.burst_threshold);
        self.discard(frame, slot, reason, pool);
        let Some(leg) = self.legs.get_mut(slot) else { return };
        let hit = |burst: &mut Burst| burst.hit(now, threshold);
        let event = match reason {
            DropReason::AuthFailed => {
                let count = hit(&mut leg.auth_failures);
                count.map(|count| Event::AuthFailureBurst { leg: leg.id, count, at: now })
            }
            DropReason::Replayed | DropReason::TooOld => {
                hit(&mut leg.replays).map(|count| Event::ReplayBurst { leg: leg.id, count, at: now })
            }
            DropReason::InboundKeyExpired => leg.newest_inbound().map(|keys| keys.id()).and_then(|key| {
                leg.first_expired(Direction::Inbound, key).then_some(Event::KeyExpired {
                    leg: leg.id,
                    direction: Direction::Inbound,
                    key,
                    at: now,
                })
            }),
            _ => None,
        };
        if let Some(event) = event {
            self.emit(event);
        }
    }

    /// A packet of the stream authenticated: it is the peer's, and now something else may have to go.
    pub(super) fn prove(&mut self, packet: &Received, pool: &mut Pool) -> Result<(), DropReason> {
        if let Some(from_remote) = packet.unknown
            && let Some(leg) = self.legs.get_mut(packet.leg)
        {
            let bucket =
                if from_remote { &mut leg.unknown_from_remote } else { &mut leg.unknown_from_elsewhere };
            bucket.give_back();
        }
        if self.streams.get(packet.stream).is_none_or(|stream| stream.phase != Phase::Provisional) {
            return Ok(());
        }
        if let Some(victim) = self.victim(packet.leg)? {
            self.evict(victim, DropReason::StreamLimit, pool);
        }
        self.provisional.retain(|other| *other != packet.stream);
        if let (Some(leg), Some(stream)) =
            (self.legs.get_mut(packet.leg), self.streams.get_mut(packet.stream))
        {
            stream.phase = Phase::Active;
            leg.streams.push(packet.stream);
            leg.arrived(stream.ssrc);
            let ssrc = stream.ssrc;
            self.heard(packet.leg, ssrc);
        }
        self.count_streams(packet.leg, true);
        Ok(())
    }

    /// Forgets the streams of this batch of which nothing authenticated (RFC 5479 A.4.3: a context is
    /// bound to an SSRC late, by the first packet that authenticates).
    pub(super) fn discard_provisional(&mut self, pool: &mut Pool) {
        for index in std::mem::take(&mut self.provisional) {
            self.evict(index, DropReason::AuthFailed, pool);
        }
    }
}

const fn reason(error: Error) -> DropReason {
    match error {
        Error::TooShort => DropReason::TooShort,
        Error::Version => DropReason::Version,
        Error::CsrcCount => DropReason::CsrcCount,
        Error::ExtensionLength => DropReason::ExtensionLength,
        Error::Replayed => DropReason::Replayed,
        Error::TooOld => DropReason::TooOld,
        Error::AuthFailed => DropReason::AuthFailed,
        Error::UnknownMki => DropReason::UnknownMki,
        Error::KeyExpired => DropReason::InboundKeyExpired,
        Error::NoKey => DropReason::NoInboundKey,
        _ => DropReason::InvalidSrtp,
    }
}
