//! Where streams stand: told to control, and taken over from elsewhere.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use sluice_srtp::{Position, RocOnRekey, SessionKeys};

use super::Pipeline;
use super::apply::Applied;
use crate::expected::{further, initial_roc};
use crate::stream::Parked;
use crate::{CommandError, Direction, LegId, Protection, StreamPosition};

/// Where nothing can be sent any more: behind the last index of 48 bits, and of 31.
const END: Position = Position { rtp: Some((1 << 48) - 1), rtcp: Some((1 << 31) - 1) };

impl Pipeline {
    /// Tells of all streams that the leg has or remembers, and of all that was sent under its newest key: what
    /// is left out here might be accepted twice elsewhere, or be sent under an index that was used.
    pub(super) fn export_positions(&mut self, id: LegId, into: &Mutex<Vec<StreamPosition>>) -> Applied {
        let guard = Arc::clone(&self.shared.guard);
        let (_, leg) = self.leg_mut(id)?;
        let sent_before = match leg.outbound_key.as_ref().map(|keys| keys.id()) {
            Some(key) => guard.parked(key).map_err(|_| CommandError::KeySpent(key))?,
            None => Vec::new(),
        };
        let (streams, egress) = (leg.streams.clone(), leg.egress.clone());
        let awaited = leg
            .expected
            .iter()
            .map(|(ssrc, awaited)| told(Direction::Inbound, ssrc, awaited.position, awaited.initial_roc));
        let mut found: Vec<_> = awaited.flatten().collect();
        found.extend(streams.iter().filter_map(|index| {
            let stream = self.streams.get(*index)?;
            let context = stream.inbound.as_ref()?;
            told(Direction::Inbound, stream.ssrc, context.position(), initial_roc(context))
        }));
        found.extend(sent_before.into_iter().filter_map(|(ssrc, parked)| {
            let position = parked.map_or(END, |parked| parked.position);
            told(Direction::Outbound, ssrc, position, None)
        }));
        found.extend(egress.iter().filter_map(|context| {
            let egress = self.egress.get(*context)?;
            told(Direction::Outbound, egress.ssrc, egress.outbound.position(), None)
        }));
        *into.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// What is received goes on behind the position, now or when its first packet comes; what is sent goes on
    /// behind it under the leg's newest key.
    pub(super) fn import_positions(&mut self, id: LegId, positions: &[StreamPosition]) -> Applied {
        let keys = self.check_positions(id, positions)?;
        let slot = self.leg_mut(id)?.0;
        for new in positions {
            match (new.direction, &keys) {
                (Direction::Inbound, _) => self.advance_received(slot, new),
                (Direction::Outbound, Some(keys)) => self.advance_sent(id, slot, keys, new)?,
                (Direction::Outbound, None) => {}
            }
        }
        self.leg_mut(id)?.1.bound_memory();
        Ok(())
    }

    /// Everything that can be wrong, so that nothing is done by halves. The key for what is sent.
    fn check_positions(
        &mut self,
        id: LegId,
        positions: &[StreamPosition],
    ) -> Result<Option<Arc<SessionKeys>>, CommandError> {
        let guard = Arc::clone(&self.shared.guard);
        let (slot, leg) = self.leg_mut(id)?;
        let (inbound, outbound, keys) = (leg.signalled_inbound(), leg.outbound, leg.outbound_key.clone());
        let (here, most) = (leg.streams.len() + leg.expected.len(), leg.most_known());
        let forgettable = leg.expected.forgettable();
        for StreamPosition { direction, ssrc, position, .. } in positions {
            let plain = match direction {
                Direction::Inbound => inbound == Protection::Plain,
                Direction::Outbound => outbound == Protection::Plain,
            };
            if plain {
                return Err(CommandError::NotSrtp { leg: id, direction: *direction });
            }
            if position.rtp > END.rtp || position.rtcp > END.rtcp {
                let problem = "have an index of more than 48 bits, or 31 for RTCP";
                return Err(CommandError::InvalidLeg { leg: id, field: "streams", problem });
            }
            if *direction == Direction::Outbound {
                let keys = keys.as_ref().ok_or(CommandError::NoSendingKey(id))?;
                let ours = self.sent_by(slot, keys, *ssrc).is_some();
                if !ours && guard.is_in_use(keys.id(), *ssrc) {
                    return Err(CommandError::SsrcInUse { leg: id, ssrc: *ssrc });
                }
            }
        }
        let received = positions.iter().filter(|new| new.direction == Direction::Inbound);
        let ssrcs: HashSet<u32> = received.map(|new| new.ssrc).collect();
        let awaited = |ssrc: &u32| self.legs.get(slot).and_then(|leg| leg.expected.get(*ssrc));
        let fresh = |ssrc: &&u32| awaited(ssrc).is_none() && self.stream_ids.get(&(slot, **ssrc)).is_none();
        let kept = |ssrc: &&u32| awaited(ssrc).is_some_and(|awaited| awaited.aged_out.is_some());
        // What is told now is not what makes room for it.
        let forgettable = forgettable - ssrcs.iter().filter(kept).count();
        let count = here + ssrcs.iter().filter(fresh).count() - forgettable;
        if count > most {
            return Err(CommandError::TooManyPositions { leg: id, count, most });
        }
        Ok(keys)
    }

    fn advance_received(&mut self, slot: u32, new: &StreamPosition) {
        let stream = self.stream_ids.get(&(slot, new.ssrc)).and_then(|index| self.streams.get_mut(index));
        if let Some(context) = stream.and_then(|stream| stream.inbound.as_mut()) {
            if let Some(roc) = new.initial_roc {
                context.begin_at(roc);
            }
            context.advance(new.position);
        } else if let Some(leg) = self.legs.get_mut(slot) {
            // Where keys have indices of their own, nobody says whose these are: the newest's.
            let own = leg.inbound_keys.iter().skip(1).any(|key| key.roc != RocOnRekey::Keep);
            let from = leg.inbound_keys.last().filter(|_| own).map_or(0, |key| key.serial);
            leg.expected.import(new, [from, leg.keys_so_far]);
        }
    }

    /// The context by which a leg sends an SSRC.
    fn sent_by(&self, slot: u32, keys: &SessionKeys, ssrc: u32) -> Option<u32> {
        let context = self.egress_ids.get(&(keys.id(), ssrc))?;
        self.legs.get(slot)?.egress.contains(&context).then_some(context)
    }

    /// Here the guard has the last word: other legs, on other workers, may have the same key.
    fn advance_sent(&mut self, id: LegId, slot: u32, keys: &SessionKeys, new: &StreamPosition) -> Applied {
        let context = self.sent_by(slot, keys, new.ssrc);
        if let Some(egress) = context.and_then(|context| self.egress.get_mut(context)) {
            egress.outbound.advance(new.position);
            return Ok(());
        }
        let place = |known: Option<&Parked>| {
            let known = known.copied().unwrap_or_default();
            Parked { position: further(known.position, new.position), ..known }
        };
        let imported = self.shared.guard.import(keys.id(), new.ssrc, place);
        imported.map_err(|_| CommandError::SsrcInUse { leg: id, ssrc: new.ssrc })
    }
}

/// A stream of which there is anything to tell.
fn told(
    direction: Direction,
    ssrc: u32,
    position: Position,
    initial_roc: Option<u32>,
) -> Option<StreamPosition> {
    let initial_roc = initial_roc.filter(|_| position.rtp.is_none());
    let stands = position != Position::default() || initial_roc.is_some();
    stands.then_some(StreamPosition { direction, ssrc, position, initial_roc })
}
