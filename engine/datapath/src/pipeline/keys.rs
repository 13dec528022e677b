//! Commands about keys.

use std::sync::Arc;

use sluice_io::Pool;
use sluice_srtp::{KeyId, MAX_KEYS, RocOnRekey, SessionKeys};

use super::Pipeline;
use super::apply::Applied;
use crate::leg::LegKey;
use crate::stream::expiring_below;
use crate::{CommandError, Direction, LegId, Protection};

impl Pipeline {
    pub(super) fn install_inbound(
        &mut self,
        id: LegId,
        keys: &[Arc<SessionKeys>],
        roc: RocOnRekey,
        pool: &mut Pool,
    ) -> Applied {
        let limit = self.limits.keys.clamp(1, MAX_KEYS);
        let percent = self.tuning.key_expiring_percent;
        let (slot, leg) = self.leg_mut(id)?;
        let direction = Direction::Inbound;
        let known = leg.inbound_keys.iter().map(|key| key.keys.id());
        check_new(id, direction, leg.signalled_inbound(), keys, &known)?;
        if leg.inbound_keys.len() + keys.len() > limit {
            return Err(CommandError::TooManyKeys { leg: id, direction, limit });
        }
        if std::mem::take(&mut leg.awaits_srtp) {
            self.switch_inbound(slot, Protection::Srtp, pool);
        }
        let (_, leg) = self.leg_mut(id)?;
        leg.spare = None;
        for keys in keys {
            let serial = leg.keys_so_far;
            leg.inbound_keys.push(LegKey { keys: Arc::clone(keys), roc, serial });
            leg.keys_so_far += 1;
        }
        leg.expiring_below = leg.newest_inbound().map_or((0, 0), |keys| expiring_below(keys, percent));
        for index in leg.streams.clone() {
            let stream = self.streams.get_mut(index);
            if let Some(context) = stream.and_then(|stream| stream.inbound.as_mut()) {
                for keys in keys {
                    context.install_with(Arc::clone(keys), roc);
                }
            }
        }
        Ok(())
    }

    pub(super) fn install_outbound(
        &mut self,
        id: LegId,
        keys: &[Arc<SessionKeys>],
        shared: bool,
        roc: RocOnRekey,
    ) -> Applied {
        let limit = self.limits.keys.max(1);
        let guard = Arc::clone(&self.shared.guard);
        let (slot, leg) = self.leg_mut(id)?;
        let direction = Direction::Outbound;
        let known = leg.outbound_key.iter().map(|keys| keys.id()).chain(leg.superseded.iter().copied());
        check_new(id, direction, leg.outbound, keys, &known)?;
        if let Some(spent) = keys.iter().find(|keys| guard.is_spent(keys.id())) {
            return Err(CommandError::KeySpent(spent.id()));
        }
        let Some(newest) = keys.last().cloned() else { return Err(CommandError::NoKeys(id)) };
        if usize::from(leg.outbound_key.is_some()) + leg.superseded.len() + keys.len() > limit {
            return Err(CommandError::TooManyKeys { leg: id, direction, limit });
        }
        // An earlier key that comes back, as from a request that was repeated late, would end every stream
        // that was sent under it: the key that took its place stays.
        let contexts = leg.egress.clone();
        if !contexts.iter().all(|context| self.may_switch(slot, *context, &newest, shared)) {
            return Err(CommandError::KeySpent(newest.id()));
        }
        let (slot, leg) = self.leg_mut(id)?;
        let before = leg.outbound_key.replace(Arc::clone(&newest));
        leg.shares_key = shared;
        leg.superseded.extend(before.map(|keys| keys.id()));
        leg.superseded.extend(keys[..keys.len() - 1].iter().map(|keys| keys.id()));
        self.switch_key(slot, &newest, shared, roc);
        Ok(())
    }

    pub(super) fn retire_inbound(&mut self, id: LegId, key: KeyId) -> Applied {
        let percent = self.tuning.key_expiring_percent;
        let (_, leg) = self.leg_mut(id)?;
        let before = leg.inbound_keys.len();
        leg.spare = None;
        leg.inbound_keys.retain(|known| known.keys.id() != key);
        if leg.inbound_keys.len() == before {
            return Err(CommandError::UnknownKey { leg: id, direction: Direction::Inbound, key });
        }
        leg.expiring_below = leg.newest_inbound().map_or((0, 0), |keys| expiring_below(keys, percent));
        for index in leg.streams.clone() {
            let stream = self.streams.get_mut(index);
            if let Some(context) = stream.and_then(|stream| stream.inbound.as_mut()) {
                context.retire(key);
            }
        }
        Ok(())
    }

    /// Without its key in use, a leg sends nothing until it gets another.
    pub(super) fn retire_outbound(&mut self, id: LegId, key: KeyId) -> Applied {
        let (slot, leg) = self.leg_mut(id)?;
        if let Some(position) = leg.superseded.iter().position(|known| *known == key) {
            leg.superseded.remove(position);
            return Ok(());
        }
        if leg.outbound_key.take_if(|keys| keys.id() == key).is_none() {
            return Err(CommandError::UnknownKey { leg: id, direction: Direction::Outbound, key });
        }
        for context in leg.egress.clone() {
            self.unbind_source(slot, context);
        }
        self.rebind_sources(slot);
        Ok(())
    }
}

fn check_new(
    leg: LegId,
    direction: Direction,
    protection: Protection,
    keys: &[Arc<SessionKeys>],
    known: &(impl Iterator<Item = KeyId> + Clone),
) -> Applied {
    if protection == Protection::Plain {
        return Err(CommandError::NotSrtp { leg, direction });
    }
    if keys.is_empty() {
        return Err(CommandError::NoKeys(leg));
    }
    for (position, key) in keys.iter().map(|keys| keys.id()).enumerate() {
        let twice = keys[..position].iter().any(|other| other.id() == key);
        if twice || known.clone().any(|other| other == key) {
            return Err(CommandError::KeyExists { leg, direction, key });
        }
    }
    Ok(())
}
