//! The end of streams, routes and legs, and what others have to hear of it.

use sluice_classifier::LocalKey;
use sluice_io::{Component, PacketIo, Pool};

use super::{Pipeline, Resolve};
use crate::inbox::{News, Notice};
use crate::stream::Phase;
use crate::{DropReason, Event, LegId, RouteId};

impl Pipeline {
    /// Forgets a stream with all that hangs on it. A packet that it holds is dropped for this reason.
    pub(super) fn evict(&mut self, index: u32, reason: DropReason, pool: &mut Pool) {
        let Some(mut stream) = self.streams.remove(index) else { return };
        self.stream_ids.remove(&(stream.leg, stream.ssrc));
        if stream.phase != Phase::Provisional {
            self.unheard(stream.leg, stream.ssrc);
        }
        for binding in std::mem::take(&mut stream.bindings) {
            self.unbind(index, binding);
        }
        if let Some(held) = stream.held.take() {
            self.stats.held.sub(1);
            self.discard(held.frame, stream.leg, reason, pool);
        }
        if let Some(leg) = self.legs.get_mut(stream.leg) {
            leg.streams.retain(|other| *other != index);
            match stream.inbound {
                // What is refused in its first batch leaves nothing: a peer could fill the memory with it.
                Some(context) if stream.phase == Phase::Provisional => {
                    let spare = leg.makes_spare(stream.ssrc) && !context.authenticated();
                    leg.spare = Some(context).filter(|_| spare);
                }
                Some(context) => {
                    let keys = [leg.carries_on_from(&context), leg.keys_so_far];
                    leg.expected.remember(&context, keys, self.now);
                }
                None => {}
            }
        }
        if stream.phase == Phase::Active {
            self.count_streams(stream.leg, false);
            if stream.started {
                self.report_stopped(stream.leg, stream.ssrc, stream.packets, stream.bytes);
            }
        }
    }

    /// A stream is idle. What nothing authenticates is forgotten; a context stays, so that packets which come
    /// late from before a pause are told from those played again, until the stream is aged out.
    pub(super) fn stop(&mut self, index: u32, pool: &mut Pool) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        if stream.inbound.is_none() {
            return self.evict(index, DropReason::ProbationExpired, pool);
        }
        if stream.phase != Phase::Active {
            return;
        }
        stream.phase = Phase::Stopped;
        let (leg, started) = (stream.leg, std::mem::take(&mut stream.started));
        let (ssrc, packets, bytes) = (stream.ssrc, stream.packets, stream.bytes);
        self.count_streams(leg, false);
        if started {
            self.report_stopped(leg, ssrc, packets, bytes);
        }
    }

    fn report_stopped(&self, slot: u32, ssrc: u32, packets: u64, bytes: u64) {
        if let Some(leg) = self.legs.get(slot) {
            self.emit(Event::StreamStopped { leg: leg.id, ssrc, packets, bytes, at: self.now });
        }
    }

    pub(super) fn count_streams(&self, slot: u32, more: bool) {
        let leg = self.legs.get(slot).map(|leg| &leg.counters().streams);
        for counter in [Some(&self.stats.streams), leg].into_iter().flatten() {
            if more { counter.add(1) } else { counter.sub(1) }
        }
    }

    pub(super) fn remove_route(&mut self, id: RouteId) -> bool {
        let Some(slot) = self.route_ids.remove(&id) else { return false };
        let Some(route) = self.routes.remove(slot) else { return false };
        self.stats.routes.set(self.routes.len() as u64);
        if let Some(to) = self.legs.get_mut(route.to) {
            to.routes_in.retain(|other| *other != slot);
        }
        let Some(from) = self.legs.get_mut(route.from) else { return true };
        from.routes_out.retain(|other| *other != slot);
        from.version = from.version.wrapping_add(1);
        self.unbind_route(route.from, slot);
        true
    }

    /// Has the streams of a leg no longer be sent along a route.
    pub(super) fn unbind_route(&mut self, from: u32, route: u32) {
        let Some(leg) = self.legs.get(from) else { return };
        for index in leg.streams.clone() {
            let Some(stream) = self.streams.get_mut(index) else { continue };
            let bound = stream.bindings.iter().position(|binding| binding.route == route);
            if let Some(binding) = bound.map(|position| stream.bindings.remove(position)) {
                self.unbind(index, binding);
            }
        }
    }

    /// The XDP map first, so that nothing is taken past the kernel for a leg that is no more.
    pub(super) fn remove_leg(&mut self, id: LegId, io: &mut impl PacketIo, pool: &mut Pool) -> bool {
        let Some(slot) = self.leg_ids.get(&id) else { return false };
        self.retract(slot);
        let Some(leg) = self.legs.get(slot) else { return false };
        for component in leg.components().iter().filter(|_| leg.port.is_none()) {
            io.unregister(leg.token(*component));
        }
        self.end_early(slot, DropReason::LegRemoved, pool);
        let Some(leg) = self.legs.get(slot) else { return false };
        let routes: Vec<u32> = leg.routes_out.iter().chain(&leg.routes_in).copied().collect();
        for index in leg.streams.clone() {
            self.evict(index, DropReason::LegRemoved, pool);
        }
        for route in routes {
            if let Some(id) = self.routes.get(route).map(|route| route.id) {
                self.remove_route(id);
            }
        }
        self.leave_port(slot);
        self.leg_ids.remove(&id);
        if let Some(leg) = self.legs.remove(slot).filter(|leg| leg.port.is_none()) {
            for component in leg.components() {
                self.locals.remove(&LocalKey::from(leg.transport(*component).local));
            }
        }
        self.stats.legs.set(self.legs.len() as u64);
        if let Some(resolver) = &self.shared.resolver {
            // If it finds no room, an address more is watched in vain.
            resolver.request(Resolve::Forget { worker: self.worker, leg: id });
        }
        true
    }

    /// Tells XDP and the other workers of the leg's local addresses, if it has any of its own.
    pub(super) fn announce(&self, slot: u32) {
        let Some(leg) = self.legs.get(slot).filter(|leg| leg.has_address()) else { return };
        for component in leg.components() {
            let transport = leg.transport(*component);
            self.steer(leg.id, transport.local, transport.policy);
            let local = LocalKey::from(transport.local);
            self.tell_others(News::Owner { local, worker: self.worker });
        }
    }

    fn retract(&self, slot: u32) {
        let Some(leg) = self.legs.get(slot).filter(|leg| leg.has_address()) else { return };
        for component in leg.components() {
            let local = leg.transport(*component).local;
            self.unsteer(local);
            self.tell_others(News::Gone { local: LocalKey::from(local), worker: self.worker });
        }
    }

    pub(super) fn steer(&self, leg: LegId, local: std::net::SocketAddr, policy: sluice_classifier::Policy) {
        let Some(steering) = &self.shared.steering else { return };
        if let Err(reason) = steering.insert(leg, local, policy) {
            let reason = format!("leg {leg}: media for {local} goes by its kernel socket: {reason}");
            self.emit(Event::DatapathDegraded { interface: String::new(), reason });
        }
    }

    pub(super) fn unsteer(&self, local: std::net::SocketAddr) {
        if let Some(steering) = &self.shared.steering {
            steering.remove(local);
        }
    }

    pub(super) fn tell_others(&self, news: News) {
        for (worker, inbox) in self.shared.inboxes.iter().enumerate() {
            if worker != self.worker {
                inbox.notices.push(Notice::News(news));
            }
        }
    }

    /// What another worker tells of its local addresses.
    pub(crate) fn heed(&mut self, news: News) {
        match news {
            // It may be old news by now.
            News::Owner { local, .. } if self.locals.get(&local).is_some() => {}
            News::Owner { local, worker } => {
                self.directory.insert(local, worker);
            }
            News::Gone { local, worker } => {
                if self.directory.get(&local) == Some(&worker) {
                    self.directory.remove(&local);
                }
            }
        }
    }

    /// Has the next hops of addresses that are new looked up.
    pub(super) fn request_resolution(&mut self, slot: u32) {
        let Some(leg) = self.legs.get_mut(slot).filter(|leg| !leg.is_application()) else { return };
        for component in [Component::Rtp, Component::Rtcp] {
            let (id, destination) = (leg.id, leg.destination(component));
            if component == Component::Rtcp && leg.rtcp.is_none() {
                continue;
            }
            let transport = leg.transport_mut(component);
            let Some(remote) = destination.filter(|_| transport.unresolved) else { continue };
            let request =
                Resolve::Watch { worker: self.worker, leg: id, component, local: transport.local, remote };
            let heard = self.shared.resolver.as_ref().is_none_or(|resolver| resolver.request(request));
            transport.unresolved = !heard;
        }
    }
}
