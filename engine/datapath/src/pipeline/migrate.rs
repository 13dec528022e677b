//! Legs move to another worker, with their streams, contexts and routes, under running media.
//!
//! ```text
//!  from                                              to
//!  pack: tables → Baggage ── Notice::Adopt ────────▶ unpack: Baggage → tables, sockets, answer
//!  what comes for the legs now ── handoff ─────────▶ after the notice, whatever the order of arrival
//! ```
//!
//! Nothing is copied that could be used twice: contexts travel by value, and the two-time-pad guard knows them as
//! in use all the while. Numbers in the baggage are places in its own lists.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::Arc;

use sluice_classifier::LocalKey;
use sluice_io::{Component, Ingress, PacketIo, Pool, Ring, RingRefused, SocketToken};
use sluice_srtp::MAX_OVERHEAD;

use super::Pipeline;
use super::early::Packed;
use crate::inbox::Notice;
use crate::leg::Leg;
use crate::route::Route;
use crate::stream::{Egress, Held, Phase, Stream, Target};
use crate::ticket::Answer;
use crate::{CommandError, DropReason, LegId};

/// Legs on their way.
pub(crate) struct Baggage {
    legs: Vec<Leg>,
    routes: Vec<Route>,
    streams: Vec<Stream>,
    egress: Vec<Egress>,
    /// Packets on probation, by their streams.
    held: Vec<(usize, Ingress, u64, Box<[u8]>)>,
    /// Packets that wait for their legs' keys, by these legs.
    early: Vec<(u32, Packed)>,
    /// Rings of legs whose peers are local applications, with what is in them.
    rings: Vec<(SocketToken, Box<Ring>)>,
    from: usize,
    answer: Answer,
    /// Why they could not stay where they were sent, if they are on their way back.
    refused: Option<CommandError>,
}

/// New places by old ones.
#[derive(Default)]
struct Places {
    legs: HashMap<u32, u32>,
    routes: HashMap<u32, u32>,
    streams: HashMap<u32, u32>,
    egress: HashMap<u32, u32>,
}

/// Of a place that is not moved, which there is none of.
const NOWHERE: u32 = u32::MAX;

fn change(places: &HashMap<u32, u32>, place: &mut u32) {
    *place = places.get(place).copied().unwrap_or(NOWHERE);
}

fn change_all(places: &HashMap<u32, u32>, list: &mut [u32]) {
    for place in list {
        change(places, place);
    }
}

impl Places {
    fn leg(&self, leg: &mut Leg) {
        change_all(&self.routes, &mut leg.routes_out);
        change_all(&self.routes, &mut leg.routes_in);
        change_all(&self.streams, &mut leg.streams);
        change_all(&self.egress, &mut leg.egress);
    }

    fn route(&self, route: &mut Route) {
        change(&self.legs, &mut route.from);
        change(&self.legs, &mut route.to);
    }

    fn stream(&self, stream: &mut Stream) {
        change(&self.legs, &mut stream.leg);
        for binding in &mut stream.bindings {
            change(&self.routes, &mut binding.route);
            change(&self.legs, &mut binding.to);
            if let Target::Context(context) = &mut binding.target {
                change(&self.egress, context);
            }
        }
        // It is in no batch of its new worker's.
        stream.batch = 0;
    }

    fn egress(&self, egress: &mut Egress) {
        change(&self.legs, &mut egress.source.0);
    }
}

impl Pipeline {
    /// Sends legs to another worker, which answers.
    pub(crate) fn send_off(
        &mut self,
        legs: &[LegId],
        to: usize,
        answer: Answer,
        io: &mut impl PacketIo,
        pool: &mut Pool,
    ) {
        let packed = match self.check_move(legs, to) {
            Err(error) => return answer.give(Err(error)),
            Ok(slots) if to == self.worker || slots.is_empty() => return answer.give(Ok(())),
            Ok(slots) => self.pack(&slots, to, answer, io, pool),
        };
        self.post(to, packed);
    }

    fn post(&self, to: usize, baggage: Baggage) {
        if let Some(inbox) = self.shared.inboxes.get(to) {
            inbox.notices.push(Notice::Adopt(Box::new(baggage)));
            inbox.wake();
        }
    }

    /// Refuses what would tear a route apart, or a shared port.
    fn check_move(&mut self, legs: &[LegId], to: usize) -> Result<Vec<u32>, CommandError> {
        if to >= self.shared.inboxes.len() {
            return Err(CommandError::NoSuchWorker(to));
        }
        let slots: Vec<u32> = legs.iter().map(|leg| Ok(self.leg_mut(*leg)?.0)).collect::<Result<_, _>>()?;
        for slot in &slots {
            let Some(leg) = self.legs.get(*slot) else { continue };
            if leg.port.is_some() {
                return Err(CommandError::OnSharedPort(leg.id));
            }
            for route in leg.routes_out.iter().chain(&leg.routes_in) {
                let Some(route) = self.routes.get(*route) else { continue };
                if !slots.contains(&route.from) || !slots.contains(&route.to) {
                    return Err(CommandError::RouteLeaves { leg: leg.id, route: route.id });
                }
            }
        }
        Ok(slots)
    }

    /// Takes the legs out of all tables.
    fn pack(
        &mut self,
        slots: &[u32],
        to: usize,
        answer: Answer,
        io: &mut impl PacketIo,
        pool: &mut Pool,
    ) -> Baggage {
        let (legs, routes, streams, egress) = Default::default();
        let (from, refused) = (self.worker, None);
        let (held, early, rings) = Default::default();
        let mut baggage =
            Baggage { legs, routes, streams, egress, held, early, rings, from, answer, refused };
        let mut places = Places::default();
        for slot in slots {
            let Some(mut leg) = self.legs.remove(*slot) else { continue };
            if let Some(line) = &mut leg.early {
                let packed = self.pack_early(line, &leg.stats.0.early, pool);
                let place = baggage.legs.len() as u32;
                baggage.early.extend(packed.into_iter().map(|packed| (place, packed)));
            }
            let token = leg.token(Component::Rtp);
            baggage.rings.extend(io.detach_ring(token).map(|ring| (token, ring)));
            self.let_go(*slot, &leg, to, io);
            for route in &leg.routes_out {
                let Some(taken) = self.routes.remove(*route) else { continue };
                self.route_ids.remove(&taken.id);
                places.routes.insert(*route, baggage.routes.len() as u32);
                baggage.routes.push(taken);
            }
            for index in &leg.streams {
                let Some(mut stream) = self.streams.remove(*index) else { continue };
                self.stream_ids.remove(&(*slot, stream.ssrc));
                if let Some(Held { frame, since }) = stream.held.take() {
                    if let Some(ingress) = frame.ingress().copied() {
                        baggage.held.push((baggage.streams.len(), ingress, since, frame.payload().into()));
                    }
                    self.stats.held.sub(1);
                    self.stats.handed_out.add(1);
                    pool.free(frame);
                }
                self.stats.streams.sub(u64::from(stream.phase == Phase::Active));
                places.streams.insert(*index, baggage.streams.len() as u32);
                baggage.streams.push(stream);
            }
            places.legs.insert(*slot, baggage.legs.len() as u32);
            baggage.legs.push(leg);
        }
        self.pack_egress(&mut baggage, &mut places);
        baggage.legs.iter_mut().for_each(|leg| places.leg(leg));
        baggage.routes.iter_mut().for_each(|route| places.route(route));
        baggage.streams.iter_mut().for_each(|stream| places.stream(stream));
        baggage.egress.iter_mut().for_each(|egress| places.egress(egress));
        self.publish_sizes();
        baggage
    }

    /// Contexts for sending, which several legs may have.
    fn pack_egress(&mut self, baggage: &mut Baggage, places: &mut Places) {
        for stream in &baggage.streams {
            for binding in &stream.bindings {
                if let Some(sent) = binding.rewrite {
                    self.renamed.remove(&(binding.to, sent));
                }
                let Target::Context(context) = binding.target else { continue };
                let Some(egress) = self.egress.remove(context) else { continue };
                self.egress_ids.remove(&(egress.key, egress.ssrc));
                places.egress.insert(context, baggage.egress.len() as u32);
                baggage.egress.push(egress);
            }
        }
    }

    /// The leg's datagrams go to its new worker from now on.
    fn let_go(&mut self, slot: u32, leg: &Leg, to: usize, io: &mut impl PacketIo) {
        self.leg_ids.remove(&leg.id);
        for component in leg.components() {
            io.unregister(leg.token(*component));
            let local = LocalKey::from(leg.transport(*component).local);
            if self.locals.get(&local) == Some(slot << 1 | *component as u32) {
                self.locals.remove(&local);
            }
            if leg.has_address() {
                self.directory.insert(local, to);
            }
        }
        if let Some(resolver) = &self.shared.resolver {
            // If it finds no room, an address more is watched in vain.
            resolver.request(super::Resolve::Forget { worker: self.worker, leg: leg.id });
        }
    }

    /// Takes legs over, or sends them back.
    pub(crate) fn adopt(&mut self, mut baggage: Baggage, io: &mut impl PacketIo, pool: &mut Pool) {
        self.now = (self.clock)();
        match self.check_room(&baggage).and_then(|()| register(&mut baggage, io)) {
            Ok(()) => self.unpack(baggage, pool),
            Err(error) if baggage.refused.is_none() => {
                let from = std::mem::replace(&mut baggage.from, self.worker);
                for local in locals(&baggage) {
                    self.directory.insert(local, from);
                }
                baggage.refused = Some(error);
                self.post(from, baggage);
            }
            Err(_) => self.abandon(baggage),
        }
    }

    fn check_room(&self, baggage: &Baggage) -> Result<(), CommandError> {
        let limits = &self.limits;
        if self.legs.len() + baggage.legs.len() > limits.legs {
            return Err(CommandError::TooManyLegs(self.legs.len()));
        }
        if self.routes.len() + baggage.routes.len() > limits.routes {
            return Err(CommandError::TooManyRoutes(self.routes.len()));
        }
        let streams = self.streams.len() + baggage.streams.len() > limits.streams;
        let egress = self.egress.len() + baggage.egress.len() > limits.egress_contexts;
        if streams || egress { Err(CommandError::NoRoomForStreams) } else { Ok(()) }
    }

    /// Puts the legs into all tables, which have room.
    fn unpack(&mut self, baggage: Baggage, pool: &mut Pool) {
        let Baggage { legs, routes, streams, egress, held, early, answer, refused, .. } = baggage;
        let mut places = Places::default();
        let mut sockets = Vec::with_capacity(legs.len());
        for (place, leg) in (0..).zip(legs) {
            let Ok(slot) = self.legs.insert(leg) else { continue };
            places.legs.insert(place, slot);
            sockets.push(slot);
        }
        for (place, route) in (0..).zip(routes) {
            let id = route.id;
            let Ok(slot) = self.routes.insert(route) else { continue };
            self.route_ids.insert(id, slot);
            places.routes.insert(place, slot);
        }
        for (place, one) in (0..).zip(egress) {
            let key = (one.key, one.ssrc);
            let Ok(slot) = self.egress.insert(one) else { continue };
            self.egress_ids.insert(key, slot);
            places.egress.insert(place, slot);
        }
        for (place, stream) in (0..).zip(streams) {
            let Ok(slot) = self.streams.insert(stream) else { continue };
            places.streams.insert(place, slot);
        }
        for slot in places.routes.values() {
            self.routes.get_mut(*slot).into_iter().for_each(|route| places.route(route));
        }
        for slot in places.egress.values() {
            self.egress.get_mut(*slot).into_iter().for_each(|egress| places.egress(egress));
        }
        for slot in places.streams.values() {
            self.settle_stream(*slot, &places);
        }
        for slot in sockets {
            self.settle_leg(slot, &places);
        }
        for (place, ingress, since, bytes) in held {
            let stream = places.streams.get(&(place as u32)).copied().unwrap_or(NOWHERE);
            self.hold_again(stream, &ingress, since, &bytes, pool);
        }
        for (place, packed) in early {
            let slot = places.legs.get(&place).copied().unwrap_or(NOWHERE);
            self.keep_again(slot, &packed, pool);
        }
        self.publish_sizes();
        answer.give(refused.map_or(Ok(()), Err));
    }

    fn settle_stream(&mut self, slot: u32, places: &Places) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        places.stream(stream);
        self.stream_ids.insert((stream.leg, stream.ssrc), slot);
        for binding in &stream.bindings {
            if let Some(sent) = binding.rewrite {
                self.renamed.insert((binding.to, sent), slot);
            }
        }
        self.stats.streams.add(u64::from(stream.phase == Phase::Active));
    }

    fn settle_leg(&mut self, slot: u32, places: &Places) {
        let Some(leg) = self.legs.get_mut(slot) else { return };
        places.leg(leg);
        self.leg_ids.insert(leg.id, slot);
        for component in [Component::Rtp, Component::Rtcp] {
            // The resolver tells this worker from now on.
            leg.transport_mut(component).unresolved = true;
        }
        for component in leg.components() {
            let local = LocalKey::from(leg.transport(*component).local);
            self.directory.remove(&local);
            self.locals.insert(local, slot << 1 | *component as u32);
        }
        self.announce(slot);
        self.request_resolution(slot);
    }

    /// A packet on probation goes on waiting.
    fn hold_again(&mut self, index: u32, ingress: &Ingress, since: u64, bytes: &[u8], pool: &mut Pool) {
        self.stats.handed_in.add(1);
        let stream = self.streams.get_mut(index);
        let (Some(stream), Some(mut frame)) = (stream, pool.alloc(bytes.len() + MAX_OVERHEAD)) else {
            return self.stats.dropped.count(DropReason::PoolEmpty);
        };
        frame.fill(bytes);
        frame.set_ingress(*ingress);
        stream.held = Some(Held { frame, since });
        self.stats.held.add(1);
    }

    /// A packet goes on waiting for its leg's key.
    fn keep_again(&mut self, slot: u32, packed: &Packed, pool: &mut Pool) {
        self.stats.handed_in.add(1);
        let Some(mut frame) = pool.alloc(packed.bytes.len() + MAX_OVERHEAD) else {
            return self.count_drop(slot, DropReason::PoolEmpty);
        };
        frame.fill(&packed.bytes);
        frame.set_ingress(packed.ingress);
        self.keep_since(frame, slot, packed.component, (packed.since, packed.reason), pool);
    }

    /// Neither worker has room: the legs end here, and their indices are remembered.
    fn abandon(&mut self, baggage: Baggage) {
        for egress in &baggage.egress {
            self.retire_context(egress);
        }
        let packets = baggage.held.len() + baggage.early.len();
        self.stats.handed_in.add(packets as u64);
        (0..packets).for_each(|_| self.stats.dropped.count(DropReason::LegRemoved));
        for local in locals(&baggage) {
            self.directory.remove(&local);
        }
        let error = baggage.refused.unwrap_or(CommandError::WorkerStopped);
        baggage.answer.give(Err(CommandError::Abandoned(Box::new(error))));
    }

    fn publish_sizes(&self) {
        self.stats.legs.set(self.legs.len() as u64);
        self.stats.routes.set(self.routes.len() as u64);
        self.stats.egress_contexts.set(self.egress.len() as u64);
    }
}

fn locals(baggage: &Baggage) -> impl Iterator<Item = LocalKey> {
    baggage.legs.iter().filter(|leg| leg.has_address()).flat_map(|leg| {
        leg.components().iter().map(|component| LocalKey::from(leg.transport(*component).local))
    })
}

/// Begins to receive on all sockets and from all rings of the legs, or on none.
fn register(baggage: &mut Baggage, io: &mut impl PacketIo) -> Result<(), CommandError> {
    let mut done = Vec::new();
    for leg in &baggage.legs {
        for component in leg.components() {
            let socket: Option<&Arc<UdpSocket>> = leg.socket(*component);
            let Some(socket) = socket else { continue };
            if let Err(error) = io.register(leg.token(*component), Arc::clone(socket)) {
                for token in done {
                    io.unregister(token);
                }
                return Err(CommandError::Register { leg: leg.id, error: error.to_string() });
            }
            done.push(leg.token(*component));
        }
    }
    while let Some((token, ring)) = baggage.rings.pop() {
        if let Err(RingRefused { ring, error }) = io.attach_ring(token, ring) {
            let attached = done.iter().filter_map(|token| Some((*token, io.detach_ring(*token)?)));
            baggage.rings.extend(attached.chain([(token, ring)]));
            for token in done {
                io.unregister(token);
            }
            return Err(CommandError::AttachRing { leg: token.leg, error: error.to_string() });
        }
        done.push(token);
    }
    Ok(())
}
