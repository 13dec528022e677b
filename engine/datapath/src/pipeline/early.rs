//! Media before the key that it is under: kept, and played out once the key is there (RFC 5479 R-AVOID-CLIPPING).
//!
//! ```text
//! ingress ─NoInboundKey─▶ kept, oldest out first ─first key, or plain─▶ ingress once more, in order
//! ingress, unprotect         │ └ EarlyMediaFull, EarlyMediaExpired          ▲
//!      └─AuthFailed …, while │                  ─next key───────────────────┘
//!        the leg is rekeying ┘                  ─none comes─▶ AuthFailed …
//! ```
//!
//! A flood of forged packets before the key takes no more than the leg's share of the store, and a tag for each of
//! these once the key is there. What is authentic under the keys that a leg has waits for no other.

use std::time::Duration;

use arrayvec::ArrayVec;
use sluice_io::{Component, Frame, HEADROOM, Ingress, Pool, SMALL};
use sluice_srtp::MAX_OVERHEAD;

use super::{BATCH, Pipeline, Received, Transmit};
use crate::counters::EarlyCounters;
use crate::early::{Line, Waiting};
use crate::leg::Leg;
use crate::rate::Bucket;
use crate::{DropReason, Event, Protection};

/// Of a worker's small chunks the share that early media may take, at the most: the rest is for packets on their way.
const SHARE: u32 = 4;

impl Pipeline {
    /// Drops a packet that its leg has not taken, unless it is for want of a key and the leg keeps such.
    #[cold]
    pub(super) fn turn_away(
        &mut self,
        frame: Frame,
        slot: u32,
        component: Component,
        reason: DropReason,
        pool: &mut Pool,
    ) {
        let keeps = match reason {
            DropReason::NoInboundKey => true,
            reason => may_be_for_want_of_a_key(reason) && self.legs.get(slot).is_some_and(Leg::is_rekeying),
        };
        if keeps {
            self.keep_since(frame, slot, component, (self.now, reason), pool);
        } else {
            self.refuse(frame, slot, reason, pool);
        }
    }

    /// Keeps a packet that came then, and would else be dropped for this reason.
    pub(super) fn keep_since(
        &mut self,
        frame: Frame,
        slot: u32,
        component: Component,
        (since, reason): (u64, DropReason),
        pool: &mut Pool,
    ) {
        if self.legs.get(slot).is_none_or(|leg| leg.early.is_none()) {
            return self.discard(frame, slot, reason, pool);
        }
        self.expire_early(slot, pool);
        let frame = match small(frame, pool) {
            Ok(frame) => frame,
            Err(frame) => return self.discard(frame, slot, DropReason::EarlyMediaFull, pool),
        };
        self.make_room(slot, pool);
        let most = self.most_early(pool);
        let kept = match self.legs.get_mut(slot).and_then(|leg| leg.early.as_mut()) {
            Some(line) if self.early.len() < most && line.len() < line.most => {
                let waiting = Waiting::new(frame, component, since, reason);
                self.early.push(line, waiting).map_err(|back| back.frame)
            }
            _ => Err(frame),
        };
        match kept {
            Ok(()) => self.count_kept(slot),
            Err(frame) => self.discard(frame, slot, DropReason::EarlyMediaFull, pool),
        }
    }

    /// How many packets may be kept for all legs.
    fn most_early(&self, pool: &Pool) -> usize {
        self.limits.early_packets.min((pool.config().small / SHARE) as usize)
    }

    /// Has the leg's oldest packets go if it has as many as it may; if all legs have, that of the one that has most.
    fn make_room(&mut self, slot: u32, pool: &mut Pool) {
        while self
            .legs
            .get(slot)
            .and_then(|leg| leg.early.as_ref())
            .is_some_and(|line| line.len() >= line.most)
        {
            if !self.evict_early(slot, DropReason::EarlyMediaFull, pool) {
                break;
            }
        }
        if self.early.len() >= self.most_early(pool) {
            let fullest = self.early.fullest;
            let other = self.kept_of(fullest) > self.kept_of(slot);
            self.evict_early(if other { fullest } else { slot }, DropReason::EarlyMediaFull, pool);
        }
    }

    fn kept_of(&self, slot: u32) -> u16 {
        self.legs.get(slot).and_then(|leg| leg.early.as_ref()).map_or(0, Line::len)
    }

    fn count_kept(&mut self, slot: u32) {
        if self.kept_of(slot) > self.kept_of(self.early.fullest) {
            self.early.fullest = slot;
        }
        let leg = self.legs.get(slot).map(|leg| &leg.counters().early);
        for counters in [Some(&self.stats.early), leg].into_iter().flatten() {
            counters.held.add(1);
            counters.total.add(1);
        }
    }

    /// Takes the leg's oldest packet that came before then.
    fn take_early(&mut self, slot: u32, before: u64) -> Option<Waiting> {
        let leg = self.legs.get_mut(slot)?;
        let waiting = self.early.pop_before(leg.early.as_mut()?, before)?;
        self.stats.early.held.sub(1);
        leg.counters().early.held.sub(1);
        Some(waiting)
    }

    /// Whether there was one.
    fn evict_early(&mut self, slot: u32, reason: DropReason, pool: &mut Pool) -> bool {
        let Some(waiting) = self.take_early(slot, u64::MAX) else { return false };
        self.drop_early(waiting, slot, reason, pool);
        true
    }

    fn drop_early(&mut self, waiting: Waiting, slot: u32, reason: DropReason, pool: &mut Pool) {
        self.count_evicted(slot);
        self.discard(waiting.frame, slot, reason, pool);
    }

    fn count_evicted(&self, slot: u32) {
        self.stats.early.evicted.add(1);
        if let Some(leg) = self.legs.get(slot) {
            leg.counters().early.evicted.add(1);
        }
    }

    /// Drops what a leg has kept for as long as it may.
    pub(super) fn expire_early(&mut self, slot: u32, pool: &mut Pool) {
        let Some(line) = self.legs.get(slot).and_then(|leg| leg.early.as_ref()) else { return };
        let Some(before) = self.now.checked_sub(line.longest) else { return };
        while let Some(waiting) = self.take_early(slot, before) {
            self.drop_early(waiting, slot, DropReason::EarlyMediaExpired, pool);
        }
    }

    /// Has a leg hear its peer whose keys did not all come, as it was told that they would.
    pub(super) fn give_up_early(&mut self, slot: u32) {
        let Some(leg) = self.legs.get_mut(slot).filter(|leg| !leg.inbound_keys.is_empty()) else { return };
        leg.early.take_if(|line| line.len() == 0 && !line.rekeying);
    }

    /// Has a leg to which no other keys will come drop what it has kept for these, each packet for what was wrong with it.
    pub(super) fn end_rekeying(&mut self, slot: u32, pool: &mut Pool) {
        if !self.legs.get(slot).is_some_and(Leg::is_rekeying) {
            return;
        }
        while let Some(waiting) = self.take_early(slot, u64::MAX) {
            self.count_evicted(slot);
            self.refuse(waiting.frame, slot, waiting.reason, pool);
        }
        if let Some(leg) = self.legs.get_mut(slot) {
            leg.early = None;
        }
    }

    /// Drops all that a leg has kept, and keeps no more.
    pub(super) fn end_early(&mut self, slot: u32, reason: DropReason, pool: &mut Pool) {
        while self.evict_early(slot, reason, pool) {}
        if let Some(leg) = self.legs.get_mut(slot) {
            leg.early = None;
        }
    }

    /// Has the oldest packets go that are more than the leg may keep.
    pub(super) fn trim_early(&mut self, slot: u32, pool: &mut Pool) {
        let excess = |line: &Line| line.len().saturating_sub(line.most);
        let excess = self.legs.get(slot).and_then(|leg| leg.early.as_ref()).map_or(0, excess);
        for _ in 0..excess {
            self.evict_early(slot, DropReason::EarlyMediaFull, pool);
        }
    }

    /// Takes all that a leg has kept for another worker, where it counts as kept.
    pub(super) fn pack_early(
        &mut self,
        line: &mut Line,
        counters: &EarlyCounters,
        pool: &mut Pool,
    ) -> Vec<Packed> {
        let mut packed = Vec::with_capacity(usize::from(line.len()));
        while let Some(Waiting { frame, component, since, reason, .. }) = self.early.pop(line) {
            for counters in [&self.stats.early, counters] {
                counters.held.sub(1);
                counters.total.sub(1);
            }
            self.stats.handed_out.add(1);
            if let Some(ingress) = frame.ingress().copied() {
                packed.push(Packed { component, ingress, since, reason, bytes: frame.payload().into() });
            }
            pool.free(frame);
        }
        packed
    }

    /// Plays out what a leg has kept: its key is there, or it is plain. Nothing newer was looked at since.
    pub(super) fn release_early(&mut self, slot: u32, pool: &mut Pool, transmit: &mut impl Transmit) {
        let Some(line) = self.legs.get(slot).and_then(|leg| leg.early.as_ref()) else { return };
        if line.len() == 0 {
            return self.end_early(slot, DropReason::NoInboundKey, pool);
        }
        self.expire_early(slot, pool);
        let Some(leg) = self.legs.get_mut(slot) else { return };
        let Some(mut line) = leg.early.take() else { return };
        if line.rekeying {
            // What streams of the peer's have cost while their key was not there is not theirs to pay.
            let rate = self.tuning.auth_failures_per_second;
            (leg.unknown_from_remote, leg.unknown_from_elsewhere) = (Bucket::new(rate), Bucket::new(rate));
        }
        let oldest = self.early.oldest(&line);
        let mut packets = 0;
        while line.len() > 0 {
            self.batch += 1;
            let mut received: ArrayVec<Received, BATCH> = ArrayVec::new();
            while !received.is_full()
                && let Some(waiting) = self.early.pop(&mut line)
            {
                packets += 1;
                received.extend(self.enter_again(waiting, slot, pool));
            }
            self.finish(received, pool, transmit);
        }
        let Some(leg) = self.legs.get(slot) else { return };
        for counters in [&self.stats.early, &leg.counters().early] {
            counters.held.sub(packets);
            counters.released.add(packets);
        }
        if let Some(oldest) = oldest {
            let waited = Duration::from_nanos(self.now.saturating_sub(oldest));
            self.emit(Event::EarlyMediaReleased { leg: leg.id, packets, waited, at: self.now });
        }
    }

    fn enter_again(&mut self, waiting: Waiting, slot: u32, pool: &mut Pool) -> Option<Received> {
        let Waiting { mut frame, component, .. } = waiting;
        // The time that it waited is no latency of the worker's.
        if let Some(ingress) = frame.ingress().copied() {
            frame.set_ingress(Ingress { received_at: self.now, ..ingress });
        }
        self.sort(frame, slot, component, true, pool)
    }

    /// Whether the leg has anything to play out now.
    pub(super) fn may_release(&self, slot: u32) -> bool {
        self.legs.get(slot).is_some_and(|leg| {
            leg.early.is_some() && (leg.inbound == Protection::Plain || !leg.inbound_keys.is_empty())
        })
    }
}

/// A packet on its way to another worker.
pub(super) struct Packed {
    pub(super) component: Component,
    pub(super) ingress: Ingress,
    pub(super) since: u64,
    pub(super) reason: DropReason,
    pub(super) bytes: Box<[u8]>,
}

/// Whether a packet that is dropped for this reason may be right under a key that is not there yet. Where its sequence
/// number stands, and how long its tag is, is judged before its tag, by the keys that there are.
const fn may_be_for_want_of_a_key(reason: DropReason) -> bool {
    use DropReason::{
        AuthFailed, AuthRateLimited, InboundKeyExpired, InvalidSrtp, Replayed, TooOld, TooShort, UnknownMki,
    };
    matches!(
        reason,
        AuthFailed
            | AuthRateLimited
            | InboundKeyExpired
            | InvalidSrtp
            | Replayed
            | TooOld
            | TooShort
            | UnknownMki
    )
}

/// The packet in a small chunk: large ones are few, and io_uring receives into them.
#[allow(clippy::result_large_err, reason = "the error is the frame itself, which must not be lost")]
fn small(frame: Frame, pool: &mut Pool) -> Result<Frame, Frame> {
    if frame.is_small() {
        return Ok(frame);
    }
    if frame.len() + MAX_OVERHEAD > SMALL - HEADROOM {
        return Err(frame);
    }
    let Some(mut copy) = pool.alloc_small() else { return Err(frame) };
    copy.fill(frame.payload());
    if let Some(ingress) = frame.ingress().copied() {
        copy.set_ingress(ingress);
    }
    pool.free(frame);
    Ok(copy)
}
