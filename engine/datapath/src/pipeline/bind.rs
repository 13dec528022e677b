//! Binding a stream to the routes of its leg: when its first packet comes, and after routes or keys of the
//! legs concerned have changed. Here, and nowhere else, contexts for sending come and go.

use std::hash::BuildHasher;
use std::sync::Arc;

use sluice_srtp::{Outbound, Position, RocOnRekey, SessionKeys};

use super::Pipeline;
use crate::expected::further;
use crate::guard::{Guard, Refusal};
use crate::stream::{Binding, Egress, Parked, Target, expiring_below};
use crate::{DropReason, Event, OnSsrcClash, Protection, RouteOptions};

/// How often another SSRC is drawn before a clash is refused after all.
const DRAWS: u32 = 8;

/// A stream to be sent along a route.
struct Wanted {
    stream: u32,
    to: u32,
    /// The leg that receives it, and its SSRC there.
    source: (u32, u32),
    options: Arc<RouteOptions>,
    changes: bool,
}

/// Where the context under which a stream is to be sent comes from.
enum Found {
    /// Other legs that share the key have it already.
    Joined(u32),
    /// The SSRC was taken into use, and perhaps was before.
    Claimed(Option<Parked>),
}

impl Pipeline {
    pub(super) fn is_stale(&self, slot: u32, index: u32) -> bool {
        let (leg, stream) = (self.legs.get(slot), self.streams.get(index));
        leg.zip(stream).is_some_and(|(leg, stream)| leg.version != stream.version)
    }

    #[cold]
    pub(super) fn bind(&mut self, slot: u32, index: u32) {
        let (Some(leg), Some(stream)) = (self.legs.get(slot), self.streams.get_mut(index)) else { return };
        let (version, routes) = (leg.version, leg.routes_out.clone());
        let mut before = std::mem::take(&mut stream.bindings);
        before.sort_unstable_by_key(|binding| binding.route);
        let mut before: Vec<_> = before.into_iter().map(Some).collect();
        let mut bindings = Vec::with_capacity(routes.len());
        for route in routes {
            let place = before.binary_search_by_key(&route, |binding| binding.map_or(0, |b| b.route));
            let known = place.ok().and_then(|place| before[place].take());
            let binding = match known {
                Some(binding) if !matches!(binding.target, Target::Refused(_)) => Some(binding),
                refused => self.bind_route(index, route, refused),
            };
            bindings.extend(binding);
        }
        for binding in before.into_iter().flatten() {
            self.unbind(index, binding);
        }
        self.refresh(index, &mut bindings);
        if let Some(stream) = self.streams.get_mut(index) {
            (stream.bindings, stream.version) = (bindings, version);
        }
    }

    /// Looks at what routes hold back now, and puts bindings of one context beside each other.
    fn refresh(&self, index: u32, bindings: &mut [Binding]) {
        let Some(stream) = self.streams.get(index) else { return };
        let mut shared = false;
        for binding in bindings.iter_mut() {
            let route = self.routes.get(binding.route);
            binding.held_back = route.and_then(|route| route.options.holds_back(stream.ssrc));
            shared |= self.context_of(binding).is_some_and(|egress| egress.shared.is_some());
        }
        if shared {
            bindings.sort_by_key(|binding| match binding.target {
                Target::Context(context) => context,
                Target::Plain | Target::Refused(_) => u32::MAX,
            });
        }
    }

    fn context_of(&self, binding: &Binding) -> Option<&Egress> {
        match binding.target {
            Target::Context(context) => self.egress.get(context),
            Target::Plain | Target::Refused(_) => None,
        }
    }

    fn bind_route(&mut self, index: u32, route: u32, refused: Option<Binding>) -> Option<Binding> {
        let (edge, stream) = (self.routes.get(route)?, self.streams.get(index)?);
        let wanted = Wanted {
            stream: index,
            to: edge.to,
            source: (stream.leg, stream.ssrc),
            options: Arc::clone(&edge.options),
            changes: edge.changes.is_some(),
        };
        let id = edge.id;
        let known_clash = refused.is_some_and(|b| b.target == Target::Refused(DropReason::SsrcClash));
        let (target, sent) = match self.target(&wanted) {
            Ok(found) => found,
            Err(reason) => {
                if reason == DropReason::SsrcClash && !known_clash {
                    self.report_clash(wanted.to, id, wanted.source.1, None);
                }
                (Target::Refused(reason), wanted.source.1)
            }
        };
        if sent != wanted.source.1 && sent != wanted.options.sent_ssrc(wanted.source.1) {
            self.report_clash(wanted.to, id, wanted.source.1, Some(sent));
        }
        let rewrite = (sent != wanted.source.1).then_some(sent);
        let Wanted { to, changes, .. } = wanted;
        Some(Binding { route, to, target, rewrite, changes, held_back: None })
    }

    /// How the stream is sent, and under which SSRC.
    fn target(&mut self, wanted: &Wanted) -> Result<(Target, u32), DropReason> {
        let leg = self.legs.get(wanted.to).ok_or(DropReason::NoRoute)?;
        let ssrc = wanted.options.sent_ssrc(wanted.source.1);
        if leg.outbound == Protection::Plain {
            return self.note_renamed(wanted, ssrc).map(|()| (Target::Plain, ssrc));
        }
        let keys = leg.outbound_key.clone().ok_or(DropReason::NoOutboundKey)?;
        if self.egress.is_full() {
            return Err(DropReason::EgressTableFull);
        }
        let shared = leg.shares_key.then(|| Arc::clone(&wanted.options));
        let joinable = shared.as_ref().and_then(|options| self.joinable(&keys, ssrc, wanted.source, options));
        let (sent, found) = match joinable {
            Some(context) => (ssrc, Found::Joined(context)),
            None => {
                self.claim(&keys, ssrc, wanted.options.on_ssrc_clash).map_err(|_| DropReason::SsrcClash)?
            }
        };
        if let Err(reason) = self.note_renamed(wanted, sent) {
            if let Found::Claimed(parked) = found {
                give_back(&self.shared.guard, &keys, sent, parked);
            }
            return Err(reason);
        }
        let context = match found {
            Found::Joined(context) => Ok(context),
            Found::Claimed(parked) => self.add_egress(sent, wanted.source, &keys, parked, shared),
        };
        match context {
            Ok(context) => {
                self.take_part(wanted.to, context);
                Ok((Target::Context(context), sent))
            }
            Err(reason) => {
                self.forget_renamed(wanted.to, wanted.source.1, sent);
                Err(reason)
            }
        }
    }

    /// Has RTCP know under which SSRC the stream is sent, if not under its own.
    fn note_renamed(&mut self, wanted: &Wanted, sent: u32) -> Result<(), DropReason> {
        if sent == wanted.source.1 {
            return Ok(());
        }
        if self.renamed.get(&(wanted.to, sent)).is_some() {
            return Err(DropReason::SsrcClash);
        }
        if !self.renamed.insert((wanted.to, sent), wanted.stream) {
            return Err(DropReason::EgressTableFull);
        }
        if let Some(leg) = self.legs.get_mut(wanted.to) {
            leg.rewrites += 1;
        }
        Ok(())
    }

    fn forget_renamed(&mut self, to: u32, ssrc: u32, sent: u32) {
        if sent != ssrc
            && self.renamed.remove(&(to, sent)).is_some()
            && let Some(leg) = self.legs.get_mut(to)
        {
            leg.rewrites -= 1;
        }
    }

    /// A context of the same source whose packets are the very same: what is protected once may be sent to any
    /// number of legs, and nothing else may be protected under its indices.
    fn joinable(
        &self,
        keys: &SessionKeys,
        ssrc: u32,
        source: (u32, u32),
        options: &RouteOptions,
    ) -> Option<u32> {
        let context = self.egress_ids.get(&(keys.id(), ssrc))?;
        let egress = self.egress.get(context)?;
        let same = egress.shared.as_ref().is_some_and(|shared| shared.changes_like(options));
        (same && egress.source == source).then_some(context)
    }

    /// Takes the SSRC, or one drawn by lot, into use under the key.
    fn claim(
        &mut self,
        keys: &SessionKeys,
        ssrc: u32,
        on_clash: OnSsrcClash,
    ) -> Result<(u32, Found), Refusal> {
        let refusal = match self.shared.guard.claim(keys.id(), ssrc) {
            Ok(parked) => return Ok((ssrc, Found::Claimed(parked))),
            Err(refusal) => refusal,
        };
        if on_clash == OnSsrcClash::Refuse {
            return Err(refusal);
        }
        for _ in 0..DRAWS {
            self.draws += 1;
            let drawn = self.random.hash_one(self.draws) as u32;
            if let Ok(parked) = self.shared.guard.claim(keys.id(), drawn) {
                return Ok((drawn, Found::Claimed(parked)));
            }
        }
        Err(refusal)
    }

    /// A context that nobody uses yet.
    fn add_egress(
        &mut self,
        ssrc: u32,
        source: (u32, u32),
        keys: &Arc<SessionKeys>,
        parked: Option<Parked>,
        shared: Option<Arc<RouteOptions>>,
    ) -> Result<u32, DropReason> {
        let Parked { position, used } = parked.unwrap_or_default();
        let outbound = Outbound::resume(ssrc, Arc::clone(keys), position, 0).having_used(used);
        let expiring = expiring_below(keys, self.tuning.key_expiring_percent);
        let egress = Egress { ssrc, source, key: keys.id(), outbound, expiring, users: 0, shared };
        let added = self.egress.insert(egress).ok();
        let indexed = added.filter(|context| self.egress_ids.insert((keys.id(), ssrc), *context));
        if indexed.is_none() {
            if let Some(context) = added {
                self.egress.remove(context);
            }
            give_back(&self.shared.guard, keys, ssrc, parked);
        }
        self.stats.egress_contexts.set(self.egress.len() as u64);
        indexed.ok_or(DropReason::EgressTableFull)
    }

    /// The leg sends by the context from now on.
    fn take_part(&mut self, slot: u32, context: u32) {
        if let (Some(leg), Some(egress)) = (self.legs.get_mut(slot), self.egress.get_mut(context)) {
            leg.egress.push(context);
            egress.users += 1;
        }
    }

    /// Ends a stream's use of a binding. The indices of its context are remembered, in case it comes back.
    pub(super) fn unbind(&mut self, index: u32, binding: Binding) {
        let renamed = binding.rewrite.filter(|sent| self.renamed.get(&(binding.to, *sent)) == Some(index));
        if let Some(sent) = renamed {
            self.renamed.remove(&(binding.to, sent));
            if let Some(leg) = self.legs.get_mut(binding.to) {
                leg.rewrites -= 1;
            }
        }
        if let Target::Context(context) = binding.target {
            self.leave(binding.to, context);
        } else if renamed.is_none() {
            return;
        }
        // Whoever was refused for its sake may try again.
        self.rebind_sources(binding.to);
    }

    /// The leg no longer sends by the context, which goes with its last user.
    fn leave(&mut self, slot: u32, context: u32) {
        if let Some(leg) = self.legs.get_mut(slot) {
            leg.egress.retain(|other| *other != context);
        }
        let Some(egress) = self.egress.get_mut(context) else { return };
        egress.users -= 1;
        if egress.users > 0 {
            return;
        }
        let Some(egress) = self.egress.remove(context) else { return };
        self.egress_ids.remove(&(egress.key, egress.ssrc));
        self.retire_context(&egress);
        self.stats.egress_contexts.set(self.egress.len() as u64);
    }

    /// A context goes; where it stood is remembered.
    pub(super) fn retire_context(&self, egress: &Egress) {
        let (position, remaining) = (egress.outbound.position(), egress.outbound.remaining());
        if position == Position::default() {
            self.shared.guard.disclaim(egress.key, egress.ssrc);
        } else if remaining.0 == 0 || remaining.1 == 0 {
            self.shared.guard.spend(egress.key, egress.ssrc);
        } else {
            let parked = Parked { position, used: egress.outbound.used() };
            self.shared.guard.release(egress.key, egress.ssrc, parked);
        }
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
    pub(super) fn switch_key(&mut self, slot: u32, keys: &Arc<SessionKeys>, shared: bool, roc: RocOnRekey) {
        let contexts = self.legs.get(slot).map(|leg| leg.egress.clone()).unwrap_or_default();
        for context in contexts {
            let Some(egress) = self.egress.get(context) else { continue };
            let (ssrc, source, position) = (egress.ssrc, egress.source, egress.outbound.position());
            let alone = egress.users == 1;
            let route = self.binding_to(slot, context).map(|binding| binding.route);
            let route = route.and_then(|route| self.routes.get(route));
            let options = route.map(|route| Arc::clone(&route.options)).unwrap_or_default();
            if shared && let Some(other) = self.joinable(keys, ssrc, source, &options) {
                self.change_context(slot, context, other);
                continue;
            }
            let Ok(parked) = self.shared.guard.claim(keys.id(), ssrc) else {
                self.unbind_source(slot, context);
                continue;
            };
            let shared = shared.then_some(options);
            // Nothing was ever sent under this key and SSRC, so that no index of theirs is used.
            let anew = roc == RocOnRekey::Reset && parked.is_none();
            if alone {
                self.switch_in_place(context, keys, parked, shared, anew);
                continue;
            }
            // The legs that stay with the old key go on without this one.
            let Parked { position: before, used } = parked.unwrap_or_default();
            let parked = (!anew).then(|| Parked { position: further(position, before), used });
            match self.add_egress(ssrc, source, keys, parked, shared) {
                Ok(other) => self.change_context(slot, context, other),
                Err(_) => self.unbind_source(slot, context),
            }
        }
        self.rebind_sources(slot);
    }

    fn switch_in_place(
        &mut self,
        context: u32,
        keys: &Arc<SessionKeys>,
        parked: Option<Parked>,
        shared: Option<Arc<RouteOptions>>,
        anew: bool,
    ) {
        let Some(egress) = self.egress.get_mut(context) else { return };
        let position = egress.outbound.position();
        match parked {
            None if anew => egress.outbound.restart(Arc::clone(keys)),
            None => egress.outbound.switch(Arc::clone(keys)),
            Some(parked) => {
                // Under this key it was further once, or was it not: nothing before either is sent.
                let position = further(position, parked.position);
                egress.outbound =
                    Outbound::resume(egress.ssrc, Arc::clone(keys), position, 0).having_used(parked.used);
            }
        }
        if position == Position::default() {
            self.shared.guard.disclaim(egress.key, egress.ssrc);
        } else {
            self.shared.guard.spend(egress.key, egress.ssrc);
        }
        self.egress_ids.remove(&(egress.key, egress.ssrc));
        // Has room: one was just removed.
        self.egress_ids.insert((keys.id(), egress.ssrc), context);
        (egress.key, egress.shared) = (keys.id(), shared);
        egress.expiring = expiring_below(keys, self.tuning.key_expiring_percent);
    }

    /// Whether what a leg sends by a context can go on under these keys.
    pub(super) fn may_switch(&self, slot: u32, context: u32, keys: &SessionKeys, shared: bool) -> bool {
        let Some(egress) = self.egress.get(context) else { return true };
        let stream = self.stream_ids.get(&egress.source).and_then(|index| self.streams.get(index));
        let target = Target::Context(context);
        let mut bindings = stream.into_iter().flat_map(|stream| &stream.bindings);
        let binding = bindings.find(|binding| binding.to == slot && binding.target == target);
        let route = binding.and_then(|binding| self.routes.get(binding.route));
        let joins =
            |options: &RouteOptions| self.joinable(keys, egress.ssrc, egress.source, options).is_some();
        self.shared.guard.may_claim(keys.id(), egress.ssrc)
            || shared && route.is_some_and(|route| joins(&route.options))
    }

    /// The leg's binding that has the context.
    fn binding_to(&mut self, slot: u32, context: u32) -> Option<&mut Binding> {
        let source = self.egress.get(context)?.source;
        let stream = self.streams.get_mut(self.stream_ids.get(&source)?)?;
        let target = Target::Context(context);
        stream.bindings.iter_mut().find(|binding| binding.to == slot && binding.target == target)
    }

    /// Has the leg send by another context what it sent by this one.
    fn change_context(&mut self, slot: u32, from: u32, to: u32) {
        if let Some(binding) = self.binding_to(slot, from) {
            binding.target = Target::Context(to);
            self.take_part(slot, to);
        }
        self.leave(slot, from);
    }

    /// Takes a context from the stream that a leg sends by it.
    pub(super) fn unbind_source(&mut self, slot: u32, context: u32) {
        let index = self.egress.get(context).and_then(|egress| self.stream_ids.get(&egress.source));
        let Some(binding) = self.binding_to(slot, context) else { return };
        let before = *binding;
        binding.target = Target::Refused(DropReason::NoOutboundKey);
        binding.rewrite = None;
        self.unbind(index.unwrap_or_default(), before);
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
