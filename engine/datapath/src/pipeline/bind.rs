//! Binding a stream to the routes of its leg: when its first packet comes, and after routes or keys of the
//! legs concerned have changed. Here, and nowhere else, contexts for sending come and go.

use std::hash::BuildHasher;
use std::sync::Arc;

use sluice_srtp::{Outbound, Position, SessionKeys};

use super::Pipeline;
use crate::expected::further;
use crate::guard::{Guard, Refusal};
use crate::stream::{Binding, Egress, Parked, Target, expiring_below};
use crate::{DropReason, Event, OnSsrcClash, Protection};

/// How often another SSRC is drawn before a clash is refused after all.
const DRAWS: u32 = 8;

impl Pipeline {
    #[inline]
    pub(super) fn bind_if_stale(&mut self, slot: u32, index: u32) {
        let (Some(leg), Some(stream)) = (self.legs.get(slot), self.streams.get(index)) else { return };
        if leg.version != stream.version {
            self.bind(slot, index);
        }
    }

    #[cold]
    fn bind(&mut self, slot: u32, index: u32) {
        let (Some(leg), Some(stream)) = (self.legs.get(slot), self.streams.get_mut(index)) else { return };
        let (version, routes) = (leg.version, leg.routes_out.clone());
        let mut before = std::mem::take(&mut stream.bindings);
        let mut bindings = Vec::with_capacity(routes.len());
        for route in routes {
            let known = before.iter().position(|binding| binding.route == route);
            let known = known.map(|position| before.swap_remove(position));
            let binding = match known {
                Some(binding) if !matches!(binding.target, Target::Refused(_)) => Some(binding),
                refused => self.bind_route(index, route, refused),
            };
            bindings.extend(binding);
        }
        for binding in before {
            self.unbind(binding);
        }
        if let Some(stream) = self.streams.get_mut(index) {
            (stream.bindings, stream.version) = (bindings, version);
        }
    }

    fn bind_route(&mut self, index: u32, route: u32, refused: Option<Binding>) -> Option<Binding> {
        let edge = *self.routes.get(route)?;
        let (stream, leg) = (self.streams.get(index)?, self.legs.get(edge.to)?);
        let binding = |target, rewrite| Some(Binding { route, to: edge.to, target, rewrite });
        if leg.outbound == Protection::Plain {
            return binding(Target::Plain, None);
        }
        let Some(keys) = leg.outbound_key.clone() else {
            return binding(Target::Refused(DropReason::NoOutboundKey), None);
        };
        if self.egress.is_full() {
            return binding(Target::Refused(DropReason::EgressTableFull), None);
        }
        let (from, ssrc) = (stream.leg, stream.ssrc);
        let known_clash = refused.is_some_and(|b| b.target == Target::Refused(DropReason::SsrcClash));
        let Ok((sent, parked)) = self.claim(&keys, ssrc, edge.options.on_ssrc_clash) else {
            if !known_clash {
                self.report_clash(edge.to, edge.id, ssrc, None);
            }
            return binding(Target::Refused(DropReason::SsrcClash), None);
        };
        let rewrite = (sent != ssrc).then_some(sent);
        if rewrite.is_some() {
            self.report_clash(edge.to, edge.id, ssrc, rewrite);
        }
        binding(self.add_egress(edge.to, sent, (from, ssrc), &keys, parked), rewrite)
    }

    /// Takes the SSRC, or one drawn by lot, into use under the key.
    fn claim(
        &mut self,
        keys: &SessionKeys,
        ssrc: u32,
        on_clash: OnSsrcClash,
    ) -> Result<(u32, Option<Parked>), Refusal> {
        let refusal = match self.shared.guard.claim(keys.id(), ssrc) {
            Ok(parked) => return Ok((ssrc, parked)),
            Err(refusal) => refusal,
        };
        if on_clash == OnSsrcClash::Refuse {
            return Err(refusal);
        }
        for _ in 0..DRAWS {
            self.draws += 1;
            let drawn = self.random.hash_one(self.draws) as u32;
            if let Ok(parked) = self.shared.guard.claim(keys.id(), drawn) {
                return Ok((drawn, parked));
            }
        }
        Err(refusal)
    }

    fn add_egress(
        &mut self,
        slot: u32,
        ssrc: u32,
        source: (u32, u32),
        keys: &Arc<SessionKeys>,
        parked: Option<Parked>,
    ) -> Target {
        let Parked { position, used } = parked.unwrap_or_default();
        let outbound = Outbound::resume(ssrc, Arc::clone(keys), position, 0).having_used(used);
        let expiring = expiring_below(keys, self.tuning.key_expiring_percent);
        let egress = Egress { leg: slot, ssrc, source, key: keys.id(), outbound, expiring };
        let is_known = self.egress_ids.get(&(slot, ssrc)).is_some();
        let added = if is_known { None } else { self.egress.insert(egress).ok() };
        let Some(context) = added.filter(|context| self.egress_ids.insert((slot, ssrc), *context)) else {
            if let Some(context) = added {
                self.egress.remove(context);
            }
            give_back(&self.shared.guard, keys, ssrc, parked);
            return Target::Refused(DropReason::EgressTableFull);
        };
        if let Some(leg) = self.legs.get_mut(slot) {
            leg.egress.push(context);
            leg.rewrites += u32::from(ssrc != source.1);
        }
        self.stats.egress_contexts.set(self.egress.len() as u64);
        Target::Context(context)
    }

    /// Ends the use of a binding's context. Its indices are remembered, in case it comes back.
    pub(super) fn unbind(&mut self, binding: Binding) {
        let Target::Context(context) = binding.target else { return };
        let Some(egress) = self.egress.remove(context) else { return };
        self.egress_ids.remove(&(egress.leg, egress.ssrc));
        let (position, remaining) = (egress.outbound.position(), egress.outbound.remaining());
        if position == Position::default() {
            self.shared.guard.disclaim(egress.key, egress.ssrc);
        } else if remaining.0 == 0 || remaining.1 == 0 {
            self.shared.guard.spend(egress.key, egress.ssrc);
        } else {
            let parked = Parked { position, used: egress.outbound.used() };
            self.shared.guard.release(egress.key, egress.ssrc, parked);
        }
        if let Some(leg) = self.legs.get_mut(egress.leg) {
            leg.egress.retain(|other| *other != context);
            leg.rewrites -= u32::from(egress.ssrc != egress.source.1);
        }
        self.stats.egress_contexts.set(self.egress.len() as u64);
        // Whoever was refused for its sake may try again.
        self.rebind_sources(egress.leg);
    }

    /// Has all streams that are routed to a leg look at their bindings anew.
    pub(super) fn rebind_sources(&mut self, to: u32) {
        let Some(leg) = self.legs.get(to) else { return };
        for position in 0..leg.routes_in.len() {
            let route = self.legs.get(to).and_then(|leg| leg.routes_in.get(position).copied());
            let from = route.and_then(|route| self.routes.get(route)).map(|route| route.from);
            if let Some(leg) = from.and_then(|from| self.legs.get_mut(from)) {
                leg.version = leg.version.wrapping_add(1);
            }
        }
    }

    /// Has every stream that the leg sends go on under another key. One that may not is no longer sent
    /// under its SSRC; its route then decides.
    pub(super) fn switch_key(&mut self, slot: u32, keys: &Arc<SessionKeys>) {
        let contexts = self.legs.get(slot).map(|leg| leg.egress.clone()).unwrap_or_default();
        for context in contexts {
            let Some(egress) = self.egress.get_mut(context) else { continue };
            let position = egress.outbound.position();
            match self.shared.guard.claim(keys.id(), egress.ssrc) {
                Ok(None) => egress.outbound.switch(Arc::clone(keys)),
                Ok(Some(parked)) => {
                    // Under this key it was further once, or was it not: nothing before either is sent.
                    let position = further(position, parked.position);
                    egress.outbound =
                        Outbound::resume(egress.ssrc, Arc::clone(keys), position, 0).having_used(parked.used);
                }
                Err(_) => {
                    self.unbind_source(context);
                    continue;
                }
            }
            if position == Position::default() {
                self.shared.guard.disclaim(egress.key, egress.ssrc);
            } else {
                self.shared.guard.spend(egress.key, egress.ssrc);
            }
            egress.key = keys.id();
            egress.expiring = expiring_below(keys, self.tuning.key_expiring_percent);
        }
        self.rebind_sources(slot);
    }

    /// Takes a context from the stream that it sends.
    pub(super) fn unbind_source(&mut self, context: u32) {
        let Some(source) = self.egress.get(context).map(|egress| egress.source) else { return };
        let stream = self.stream_ids.get(&source).and_then(|index| self.streams.get_mut(index));
        let Some(stream) = stream else { return };
        let bound = stream.bindings.iter_mut().find(|binding| binding.target == Target::Context(context));
        if let Some(binding) = bound {
            let before = *binding;
            binding.target = Target::Refused(DropReason::NoOutboundKey);
            binding.rewrite = None;
            self.unbind(before);
        }
    }

    fn report_clash(&mut self, slot: u32, route: u32, ssrc: u32, rewritten: Option<u32>) {
        self.stats.clashes.add(1);
        let Some(leg) = self.legs.get(slot) else { return };
        leg.counters().clashes.add(1);
        self.emit(Event::SsrcClash { leg: leg.id, route, ssrc, rewritten, at: self.now });
    }
}

fn give_back(guard: &Guard<Parked>, keys: &SessionKeys, ssrc: u32, parked: Option<Parked>) {
    match parked {
        Some(parked) => guard.release(keys.id(), ssrc, parked),
        None => guard.disclaim(keys.id(), ssrc),
    }
}
