//! Where streams stand: told to control, and taken over from elsewhere.

use std::sync::{Arc, Mutex, PoisonError};

use sluice_srtp::{Outbound, Position, SessionKeys};

use super::Pipeline;
use super::apply::Applied;
use crate::{CommandError, Direction, LegId, Protection, StreamPosition};

impl Pipeline {
    pub(super) fn export_positions(&mut self, id: LegId, into: &Mutex<Vec<StreamPosition>>) -> Applied {
        let (_, leg) = self.leg_mut(id)?;
        let (streams, egress) = (leg.streams.clone(), leg.egress.clone());
        let told = |direction, ssrc, position: Position| {
            let stands = position != Position::default();
            stands.then_some(StreamPosition { direction, ssrc, position, initial_roc: None })
        };
        let received = streams.iter().filter_map(|index| {
            let stream = self.streams.get(*index)?;
            told(Direction::Inbound, stream.ssrc, stream.inbound.as_ref()?.position())
        });
        let sent = egress.iter().filter_map(|context| {
            let egress = self.egress.get(*context)?;
            told(Direction::Outbound, egress.ssrc, egress.outbound.position())
        });
        let found = received.chain(sent).collect();
        *into.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// What is received goes on behind the position, now or when its first packet comes; what is sent goes on
    /// behind it under the leg's newest key.
    pub(super) fn import_positions(&mut self, id: LegId, positions: &[StreamPosition]) -> Applied {
        let keys = self.check_positions(id, positions)?;
        let (slot, leg) = self.leg_mut(id)?;
        for new in positions.iter().filter(|new| new.direction == Direction::Inbound) {
            match leg.expected.iter_mut().find(|known| known.ssrc == new.ssrc) {
                Some(known) => {
                    known.position = further(known.position, new.position);
                    known.initial_roc = new.initial_roc.or(known.initial_roc);
                }
                None => leg.expected.push(*new),
            }
        }
        for new in positions {
            match (new.direction, &keys) {
                (Direction::Inbound, _) => self.advance_received(slot, new),
                (Direction::Outbound, Some(keys)) => self.advance_sent(slot, keys, new),
                (Direction::Outbound, None) => {}
            }
        }
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
        let (inbound, outbound, keys) = (leg.inbound, leg.outbound, leg.outbound_key.clone());
        let known = |new: &&StreamPosition| leg.expected.iter().any(|known| known.ssrc == new.ssrc);
        let more = positions.iter().filter(|new| new.direction == Direction::Inbound && !known(new)).count();
        if leg.expected.len() + more > usize::from(leg.max_streams) {
            let problem = "are more than the leg's max_streams";
            return Err(CommandError::InvalidLeg { leg: id, field: "streams", problem });
        }
        for StreamPosition { direction, ssrc, position, .. } in positions {
            let plain = match direction {
                Direction::Inbound => inbound == Protection::Plain,
                Direction::Outbound => outbound == Protection::Plain,
            };
            if plain {
                return Err(CommandError::NotSrtp { leg: id, direction: *direction });
            }
            if position.rtp.is_some_and(|index| index >= 1 << 48)
                || position.rtcp.is_some_and(|index| index >= 1 << 31)
            {
                let problem = "have an index of more than 48 bits, or 31 for RTCP";
                return Err(CommandError::InvalidLeg { leg: id, field: "streams", problem });
            }
            if *direction == Direction::Outbound {
                let keys = keys.as_ref().ok_or(CommandError::NoSendingKey(id))?;
                let ours = self.egress_ids.get(&(slot, *ssrc)).is_some();
                if !ours && guard.is_in_use(keys.id(), *ssrc) {
                    return Err(CommandError::SsrcInUse { leg: id, ssrc: *ssrc });
                }
            }
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
        }
    }

    fn advance_sent(&mut self, slot: u32, keys: &Arc<SessionKeys>, new: &StreamPosition) {
        let context = self.egress_ids.get(&(slot, new.ssrc));
        if let Some(egress) = context.and_then(|context| self.egress.get_mut(context)) {
            let before = egress.outbound.position();
            let position = further(before, new.position);
            if position != before {
                egress.outbound = Outbound::resume(new.ssrc, Arc::clone(keys), position, 0);
            }
            return;
        }
        self.shared.guard.import(keys.id(), new.ssrc, |known| {
            known.map_or(new.position, |known| further(*known, new.position))
        });
    }
}

/// Of each kind the higher index.
fn further(one: Position, other: Position) -> Position {
    Position { rtp: one.rtp.max(other.rtp), rtcp: one.rtcp.max(other.rtcp) }
}
