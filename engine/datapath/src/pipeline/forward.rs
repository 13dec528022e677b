//! Third stage: is the source right, is the stream valid, and where do its packets go?

use sluice_io::{Component, Frame, Path, Pool, TxMeta};
use sluice_srtp::rtcp::rewrite_ssrcs;
use sluice_srtp::rtp;
use sluice_srtp::{Kind, MAX_OVERHEAD};

use super::{Group, Outgoing, Pipeline, Received, Transmit};
use crate::counters::path_code;
use crate::probation::{Judgement, Probation};
use crate::stream::{Binding, Held, Phase, Target};
use crate::{Direction, DropReason, Event, Latching, Protection};

/// A packet of a valid stream, in the clear.
struct Media {
    frame: Frame,
    kind: Kind,
    wire_len: usize,
    path: Path,
    received_at: u64,
}

impl Media {
    fn new(frame: Frame, kind: Kind, wire_len: usize) -> Self {
        let (path, received_at) =
            frame.ingress().map_or((Path::Memory, 0), |ingress| (ingress.path, ingress.received_at));
        Self { frame, kind, wire_len, path, received_at }
    }
}

impl Pipeline {
    /// Takes a packet from unprotection to the queue of what is to be sent.
    pub(super) fn forward(&mut self, packet: Received, pool: &mut Pool, transmit: &mut impl Transmit) {
        if let Err(reason) = packet.outcome {
            return self.turn_away(packet.frame, packet.leg, packet.component, reason, pool);
        }
        match self.legs.get(packet.leg).map(|leg| leg.inbound) {
            Some(Protection::Srtp) => self.forward_authenticated(packet, pool, transmit),
            Some(Protection::Plain) => self.forward_plain(packet, pool, transmit),
            None => self.discard(packet.frame, packet.leg, DropReason::LegRemoved, pool),
        }
    }

    fn forward_authenticated(&mut self, packet: Received, pool: &mut Pool, transmit: &mut impl Transmit) {
        if let Err(reason) = self.prove(&packet, pool) {
            return self.discard(packet.frame, packet.leg, reason, pool);
        }
        self.watch_expiry(packet.leg, packet.stream);
        self.follow_authenticated(&packet);
        let media = Media::new(packet.frame, packet.kind, packet.wire_len);
        self.pass_on(packet.leg, packet.stream, media, pool, transmit);
    }

    /// The peer is about to outlive the key that it sends under: control should see to another.
    fn watch_expiry(&mut self, slot: u32, index: u32) {
        let (Some(leg), Some(stream)) = (self.legs.get(slot), self.streams.get(index)) else { return };
        let remaining = stream.inbound.as_ref().and_then(sluice_srtp::Inbound::remaining);
        if let Some((key, rtp, rtcp)) = remaining
            && (rtp < leg.expiring_below.0 || rtcp < leg.expiring_below.1)
        {
            self.warn_of_expiry(slot, Direction::Inbound, key, rtp.min(rtcp));
        }
    }

    /// An authenticated packet from elsewhere moves the leg's remote address, if it may, and if it is the
    /// stream's newest: one that was delayed on the way must not move it back.
    fn follow_authenticated(&mut self, packet: &Received) {
        let Some(leg) = self.legs.get_mut(packet.leg) else { return };
        let transport = leg.transport(packet.component);
        let latched = transport.remote.is_some() && !transport.signalled;
        let settled = latched && leg.latching == Latching::FirstAuthenticated;
        if !leg.latching.learns() || settled || transport.is_remote(&packet.source) {
            return;
        }
        let newest = match packet.kind {
            Kind::Rtcp => true,
            Kind::Rtp => {
                let stream = self.streams.get(packet.stream);
                let position = stream.and_then(|stream| stream.inbound.as_ref()?.position().rtp);
                position.map(|index| index as u16) == sequence_of(packet.frame.payload())
            }
        };
        if newest {
            self.learn_remote(packet.leg, packet.component, packet);
        }
    }

    fn learn_remote(&mut self, slot: u32, component: Component, packet: &Received) {
        // An application that is gone is nowhere to send to.
        let Some(leg) = self.legs.get_mut(slot).filter(|leg| !leg.is_application()) else { return };
        let transport = leg.transport_mut(component);
        let from = transport.remote;
        transport.set_remote(packet.source, false);
        let (leg, signalled) = (leg.id, leg.signalled);
        let event = Event::RemoteChanged { leg, component, from, to: packet.source, signalled, at: self.now };
        self.emit(event);
        self.index_remote(slot);
        self.request_resolution(slot);
    }

    fn forward_plain(&mut self, packet: Received, pool: &mut Pool, transmit: &mut impl Transmit) {
        let (slot, index) = (packet.leg, packet.stream);
        // The first source may have become the leg's remote address within this very batch.
        let transport = self.legs.get(slot).map(|leg| leg.transport(packet.component));
        if transport
            .is_some_and(|transport| transport.remote.is_some() && !transport.is_remote(&packet.source))
        {
            return self.discard(packet.frame, slot, DropReason::UnexpectedSource, pool);
        }
        if packet.kind == Kind::Rtp {
            match self.judge(&packet) {
                Some(Judgement::Accept { releases }) => self.validate(&packet, releases, pool, transmit),
                Some(Judgement::Hold) => return self.hold(packet, pool),
                None => return self.discard(packet.frame, slot, DropReason::Probation, pool),
            }
        } else if transport.is_some_and(|transport| transport.remote.is_none()) {
            self.learn_remote(slot, packet.component, &packet);
        }
        let media = Media::new(packet.frame, packet.kind, packet.wire_len);
        self.pass_on(slot, index, media, pool, transmit);
    }

    /// RFC 3550 A.1; a source that sends from elsewhere before it is valid begins anew.
    fn judge(&mut self, packet: &Received) -> Option<Judgement> {
        let sequence = sequence_of(packet.frame.payload())?;
        let stream = self.streams.get_mut(packet.stream)?;
        let probation = stream.probation.get_or_insert(Probation::new(sequence));
        if stream.source != Some(packet.source) {
            if !probation.is_valid() {
                probation.restart(sequence);
            }
            stream.source = Some(packet.source);
        }
        Some(probation.judge(sequence))
    }

    /// A valid packet of a plain stream: lets what was held go first, and learns the remote address.
    fn validate(&mut self, packet: &Received, releases: bool, pool: &mut Pool, transmit: &mut impl Transmit) {
        let Some(stream) = self.streams.get_mut(packet.stream) else { return };
        let held = if releases { stream.held.take() } else { None };
        let is_new = stream.phase == Phase::Provisional;
        if is_new {
            stream.phase = Phase::Active;
            self.count_streams(packet.leg, true);
        }
        let transport = self.legs.get(packet.leg).map(|leg| leg.transport(packet.component));
        if transport.is_some_and(|transport| transport.remote.is_none()) {
            self.learn_remote(packet.leg, packet.component, packet);
        }
        if let Some(Held { frame, .. }) = held {
            self.stats.held.sub(1);
            let wire_len = frame.len();
            let media = Media::new(frame, Kind::Rtp, wire_len);
            self.pass_on(packet.leg, packet.stream, media, pool, transmit);
        }
    }

    fn hold(&mut self, packet: Received, pool: &mut Pool) {
        let Some(stream) = self.streams.get_mut(packet.stream) else {
            return self.discard(packet.frame, packet.leg, DropReason::Probation, pool);
        };
        stream.last_seen = self.now;
        let before = stream.held.replace(Held { frame: packet.frame, since: self.now });
        self.stats.held.add(1);
        if let Some(before) = before {
            self.stats.held.sub(1);
            self.discard(before.frame, packet.leg, DropReason::Probation, pool);
        }
    }

    /// Sends a packet along every route of its leg. All but the last get copies; legs that share a context
    /// have one between them.
    fn pass_on(
        &mut self,
        slot: u32,
        index: u32,
        media: Media,
        pool: &mut Pool,
        transmit: &mut impl Transmit,
    ) {
        self.note(slot, index, &media);
        if self.is_stale(slot, index) {
            // What waits to be sent knows bindings by their places.
            self.flush(pool, transmit);
            self.bind(slot, index);
        }
        let routes = self.streams.get(index).map_or(0, |stream| stream.bindings.len());
        if routes == 0 {
            return self.discard(media.frame, slot, DropReason::NoRoute, pool);
        }
        self.stats.copied.add(routes as u64 - 1);
        let mut first = 0;
        loop {
            let group = Group { stream: index, first, count: self.run(index, first) };
            first += group.count;
            if first >= routes {
                return self.send(slot, group, media, pool, transmit);
            }
            if !self.is_open(group, media.kind) {
                self.count_closed(group, media.kind);
            } else if let Some(frame) = self.copy(media.frame.payload(), pool, transmit) {
                self.send(slot, group, Media { frame, ..media }, pool, transmit);
            } else {
                self.count_group(group, DropReason::PoolEmpty);
            }
        }
    }

    /// How many bindings from this one on have one context.
    fn run(&self, index: u32, first: usize) -> usize {
        let bindings = self.streams.get(index).map(|stream| stream.bindings.as_slice()).unwrap_or_default();
        let Some(Binding { target: target @ Target::Context(_), .. }) = bindings.get(first) else { return 1 };
        bindings[first..].iter().take_while(|binding| binding.target == *target).count()
    }

    pub(super) fn binding(&self, index: u32, place: usize) -> Option<Binding> {
        self.streams.get(index)?.bindings.get(place).copied()
    }

    /// Whether a packet can be sent along any of the routes.
    fn is_open(&self, group: Group, kind: Kind) -> bool {
        group.places().any(|place| {
            self.binding(group.stream, place).is_some_and(|binding| self.prepare(&binding, kind).is_ok())
        })
    }

    /// Counts a packet that can be sent along none of the routes.
    fn count_closed(&self, group: Group, kind: Kind) {
        for binding in group.places().filter_map(|place| self.binding(group.stream, place)) {
            if let Err(reason) = self.prepare(&binding, kind) {
                self.count_drop(binding.to, reason);
            }
        }
    }

    /// Counts a packet that was to be sent along all of the routes.
    pub(super) fn count_group(&self, group: Group, reason: DropReason) {
        for binding in group.places().filter_map(|place| self.binding(group.stream, place)) {
            self.count_drop(binding.to, reason);
        }
    }

    /// A copy with room for protection. If no chunk is free, what waits is sent first.
    fn copy(&mut self, payload: &[u8], pool: &mut Pool, transmit: &mut impl Transmit) -> Option<Frame> {
        let room = payload.len() + MAX_OVERHEAD;
        let mut frame = pool.alloc(room).or_else(|| {
            self.flush(pool, transmit);
            pool.alloc(room)
        })?;
        frame.fill(payload);
        Some(frame)
    }

    /// Whether and how a packet can be sent along a route.
    pub(super) fn prepare(&self, binding: &Binding, kind: Kind) -> Result<TxMeta, DropReason> {
        if let Target::Refused(reason) = binding.target {
            return Err(reason);
        }
        let leg = self.legs.get(binding.to).ok_or(DropReason::NoRoute)?;
        let component = match (kind, binding.held_back) {
            (Kind::Rtp, Some(reason)) => return Err(reason),
            (Kind::Rtp, None) => Component::Rtp,
            (Kind::Rtcp, _) => leg.rtcp_component(),
        };
        if leg.silent {
            return Err(DropReason::NoConsent);
        }
        let transport = leg.transport(component);
        Ok(TxMeta {
            socket: leg.token(component),
            local: transport.local,
            remote: leg.destination(component).ok_or_else(|| leg.unreachable())?,
            next_hop: transport.next_hop,
            dscp: leg.dscp,
        })
    }

    /// Queues a packet for the legs of a group, which is one leg but where a key is shared.
    fn send(&mut self, from: u32, group: Group, media: Media, pool: &mut Pool, transmit: &mut impl Transmit) {
        let Media { mut frame, kind, received_at, .. } = media;
        let Some(binding) = self.binding(group.stream, group.first) else {
            return self.discard(frame, from, DropReason::NoRoute, pool);
        };
        if group.count == 1 {
            match self.prepare(&binding, kind) {
                Ok(meta) => frame.set_egress(meta),
                Err(reason) => return self.discard(frame, binding.to, reason, pool),
            }
        } else if !self.is_open(group, kind) {
            self.count_closed(group, kind);
            return pool.free(frame);
        }
        if let Err(reason) = self.change_headers(&mut frame, kind, from, &binding) {
            self.count_group(group, reason);
            return pool.free(frame);
        }
        let context = match binding.target {
            Target::Context(context) => Some(context),
            Target::Plain | Target::Refused(_) => None,
        };
        if self.outgoing.is_full() {
            self.flush(pool, transmit);
        }
        let group = (group.count > 1).then_some(group);
        self.outgoing.push(Outgoing { frame, leg: binding.to, kind, context, received_at, group });
    }

    /// Makes the packet what the route's peer is to get, but for its protection.
    fn change_headers(
        &self,
        frame: &mut Frame,
        kind: Kind,
        from: u32,
        binding: &Binding,
    ) -> Result<(), DropReason> {
        if kind == Kind::Rtcp {
            self.rewrite_rtcp(frame.payload_mut(), from, binding);
            return Ok(());
        }
        if let Some(ssrc) = binding.rewrite {
            rtp::rewrite_ssrc(frame.payload_mut(), ssrc);
        }
        let changes = self.routes.get(binding.route).filter(|_| binding.changes);
        if let Some(changes) = changes.and_then(|route| route.changes.as_ref()) {
            let len = frame.len();
            let changed = changes.apply(frame.buffer_mut(), len);
            frame.set_len(changed.map_err(|error| match error {
                sluice_srtp::Error::NoTailroom => DropReason::NoTailroom,
                _ => DropReason::ProtectFailed,
            })?);
        }
        Ok(())
    }

    /// Keeps RTCP consistent with rewritten SSRCs: those of the leg's own streams as the egress leg's peer
    /// knows them, and those that the leg's peer knows as their own sender does (RFC 3550 §7.2).
    fn rewrite_rtcp(&self, compound: &mut [u8], from: u32, binding: &Binding) {
        let rewrites = |slot| self.legs.get(slot).map_or(0, |leg| leg.rewrites);
        let maps = self.routes.get(binding.route).map(|route| route.options.as_ref());
        let maps = maps.filter(|options| !options.ssrcs.is_empty());
        let (sent, received) = (rewrites(binding.to) > 0 || maps.is_some(), rewrites(from) > 0);
        if !sent && !received {
            return;
        }
        rewrite_ssrcs(compound, |ssrc| {
            let renamed = || {
                let Some(stream) = self.stream_ids.get(&(from, ssrc)) else {
                    // It was not heard yet, or no longer is: a goodbye, or a description.
                    return maps.map(|options| options.sent_ssrc(ssrc)).filter(|sent| *sent != ssrc);
                };
                let bindings = &self.streams.get(stream)?.bindings;
                bindings.iter().find(|other| other.route == binding.route)?.rewrite
            };
            let original = || {
                let stream = self.streams.get(self.renamed.get(&(from, ssrc))?)?;
                (stream.leg == binding.to).then_some(stream.ssrc)
            };
            sent.then(renamed).flatten().or_else(|| received.then(original).flatten())
        });
    }

    /// Counts an accepted packet and tells what is new about it.
    fn note(&mut self, slot: u32, index: u32, media: &Media) {
        let now = self.now;
        let (Some(leg), Some(stream)) = (self.legs.get_mut(slot), self.streams.get_mut(index)) else {
            return;
        };
        stream.packets += 1;
        stream.bytes += media.wire_len as u64;
        stream.last_seen = now;
        let counters = &leg.stats.0;
        if media.kind == Kind::Rtcp {
            counters.received_rtcp.count(media.wire_len);
            return;
        }
        counters.received_rtp.count(media.wire_len);
        counters.last_media_at.set(media.received_at);
        let changed = leg.path.observe(media.path, now);
        if stream.started && stream.phase == Phase::Active && changed.is_none() {
            return;
        }
        let started = !stream.started;
        let came_back = stream.phase == Phase::Stopped;
        (stream.started, stream.phase) = (true, Phase::Active);
        let (id, ssrc) = (leg.id, stream.ssrc);
        let first = counters.first_media_at.get() == 0;
        if first {
            counters.first_media_at.set(media.received_at.max(1));
        }
        counters.path.set(leg.path.current().map_or(0, path_code));
        if first {
            self.emit(Event::FirstMedia { leg: id, ssrc, path: media.path, at: media.received_at });
        }
        if came_back {
            self.count_streams(slot, true);
        }
        if started {
            self.emit(Event::StreamStarted { leg: id, ssrc, at: media.received_at });
        }
        if let Some(from) = changed {
            self.emit(Event::PathChange { leg: id, from, to: media.path, at: now });
        }
    }
}

fn sequence_of(packet: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?))
}
