//! What has to happen although no packet comes: idle streams, probation that ends, bursts that are over.

use sluice_io::Pool;

use super::Pipeline;
use crate::overload::Change;
use crate::stream::Phase;
use crate::{DropReason, Event};

/// Entries looked at in one go, so that a full table never delays packets.
const BUDGET: u32 = 256;
const INTERVAL: u64 = 10_000_000;

impl Pipeline {
    /// Looks after a part of the tables, if enough time has passed since the last part; whether it had.
    pub fn keep_house(&mut self, pool: &mut Pool) -> bool {
        self.now = (self.clock)();
        if self.now.saturating_sub(self.kept_house_at) < INTERVAL {
            return false;
        }
        self.kept_house_at = self.now;
        for _ in 0..BUDGET.min(self.streams.bound()) {
            self.stream_cursor = (self.stream_cursor + 1) % self.streams.bound();
            self.look_after_stream(self.stream_cursor, pool);
        }
        for _ in 0..BUDGET.min(self.legs.bound()) {
            self.leg_cursor = (self.leg_cursor + 1) % self.legs.bound();
            self.look_after_leg(self.leg_cursor, pool);
        }
        true
    }

    /// Tells of an overload that begins or ends, by what the kernel has dropped so far.
    pub(crate) fn watch_overload(&mut self, dropped: u64) {
        let (worker, at) = (self.worker, self.now);
        match self.overload.look(dropped, at) {
            Some(Change::Began) => self.emit(Event::OverloadBegan { worker, at }),
            Some(Change::Ended(dropped)) => self.emit(Event::OverloadEnded { worker, dropped, at }),
            None => {}
        }
        self.stats.overloaded.set(u64::from(self.overload.is_on()));
    }

    fn look_after_stream(&mut self, index: u32, pool: &mut Pool) {
        let crowded = self.streams.len() * 8 > self.limits.streams * 7;
        let Some(stream) = self.streams.get_mut(index) else { return };
        let probation = self.tuning.probation.as_nanos() as u64;
        if stream.held.as_ref().is_some_and(|held| self.now.saturating_sub(held.since) > probation)
            && let Some(held) = stream.held.take()
        {
            let leg = stream.leg;
            self.stats.held.sub(1);
            return self.discard(held.frame, leg, DropReason::ProbationExpired, pool);
        }
        let silence = u128::from(self.now.saturating_sub(stream.last_seen));
        let idle = silence > self.tuning.stream_idle.as_nanos();
        let stale = silence > self.tuning.stream_forget.as_nanos();
        match stream.phase {
            Phase::Stopped if crowded || stale => self.evict(index, DropReason::LegRemoved, pool),
            Phase::Active | Phase::Provisional if idle => self.stop(index, pool),
            _ => {}
        }
    }

    fn look_after_leg(&mut self, slot: u32, pool: &mut Pool) {
        self.expire_early(slot, pool);
        self.give_up_early(slot);
        let (now, threshold) = (self.now, self.tuning.burst_threshold);
        let Some(leg) = self.legs.get_mut(slot) else { return };
        let id = leg.id;
        let failures = leg.auth_failures.roll(now, threshold);
        let replays = leg.replays.roll(now, threshold);
        let unresolved = leg.rtp.unresolved || leg.rtcp.as_ref().is_some_and(|rtcp| rtcp.unresolved);
        if let Some(count) = failures {
            self.emit(Event::AuthFailureBurst { leg: id, count, at: now });
        }
        if let Some(count) = replays {
            self.emit(Event::ReplayBurst { leg: id, count, at: now });
        }
        if unresolved {
            self.request_resolution(slot);
        }
    }

    /// Gives back every frame that is held: the worker ends.
    pub fn clear(&mut self, pool: &mut Pool) {
        for slot in 0..self.legs.bound() {
            self.end_early(slot, DropReason::LegRemoved, pool);
        }
        for index in 0..self.streams.bound() {
            let Some(stream) = self.streams.get_mut(index) else { continue };
            let leg = stream.leg;
            if let Some(held) = stream.held.take() {
                self.stats.held.sub(1);
                self.discard(held.frame, leg, DropReason::LegRemoved, pool);
            }
        }
    }
}
