//! Third stage: is the source right, is the stream valid, and where do its packets go?

use sluice_io::{Component, Frame, Path, Pool, TxMeta};
use sluice_srtp::rtcp::rewrite_ssrcs;
use sluice_srtp::rtp;
use sluice_srtp::{Kind, MAX_OVERHEAD};

use super::{Outgoing, Pipeline, Received, Transmit};
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
            return self.refuse(packet.frame, packet.leg, reason, pool);
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
        if leg.latching == Latching::Never || leg.transport(packet.component).is_remote(&packet.source) {
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
        let Some(leg) = self.legs.get_mut(slot) else { return };
        let transport = leg.transport_mut(component);
        let from = transport.remote;
        transport.set_remote(packet.source, false);
        let (leg, signalled) = (leg.id, leg.signalled);
        let event = Event::RemoteChanged { leg, component, from, to: packet.source, signalled, at: self.now };
        self.emit(event);
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

    /// Sends a packet along every route of its leg. All routes but the last get copies.
    fn pass_on(
        &mut self,
        slot: u32,
        index: u32,
        media: Media,
        pool: &mut Pool,
        transmit: &mut impl Transmit,
    ) {
        self.note(slot, index, &media);
        self.bind_if_stale(slot, index);
        let routes = self.streams.get(index).map_or(0, |stream| stream.bindings.len());
        if routes == 0 {
            return self.discard(media.frame, slot, DropReason::NoRoute, pool);
        }
        self.stats.copied.add(routes as u64 - 1);
        for route in 0..routes - 1 {
            self.send_copy(index, route, &media, pool, transmit);
        }
        let Some(binding) = self.binding(index, routes - 1) else {
            return self.discard(media.frame, slot, DropReason::NoRoute, pool);
        };
        match self.prepare(&binding, media.kind) {
            Ok(meta) => self.send(slot, &binding, meta, media, pool, transmit),
            Err(reason) => self.discard(media.frame, binding.to, reason, pool),
        }
    }

    fn binding(&self, index: u32, route: usize) -> Option<Binding> {
        self.streams.get(index)?.bindings.get(route).copied()
    }

    fn send_copy(
        &mut self,
        index: u32,
        route: usize,
        media: &Media,
        pool: &mut Pool,
        transmit: &mut impl Transmit,
    ) {
        let Some(stream) = self.streams.get(index) else { return };
        let slot = stream.leg;
        let Some(binding) = self.binding(index, route) else {
            return self.count_drop(slot, DropReason::NoRoute);
        };
        let meta = match self.prepare(&binding, media.kind) {
            Ok(meta) => meta,
            Err(reason) => return self.count_drop(binding.to, reason),
        };
        let payload = media.frame.payload();
        let Some(mut frame) = pool.alloc(payload.len() + MAX_OVERHEAD) else {
            return self.count_drop(binding.to, DropReason::PoolEmpty);
        };
        frame.fill(payload);
        let copy = Media { frame, ..*media };
        self.send(slot, &binding, meta, copy, pool, transmit);
    }

    /// Whether and how a packet can be sent along a route.
    fn prepare(&self, binding: &Binding, kind: Kind) -> Result<TxMeta, DropReason> {
        if let Target::Refused(reason) = binding.target {
            return Err(reason);
        }
        let leg = self.legs.get(binding.to).ok_or(DropReason::NoRoute)?;
        let component = match kind {
            Kind::Rtp => Component::Rtp,
            Kind::Rtcp => leg.rtcp_component(),
        };
        let transport = leg.transport(component);
        Ok(TxMeta {
            socket: leg.token(component),
            local: transport.local,
            remote: leg.destination(component).ok_or(DropReason::NoRemote)?,
            next_hop: transport.next_hop,
            dscp: leg.dscp,
        })
    }

    fn send(
        &mut self,
        from: u32,
        binding: &Binding,
        meta: TxMeta,
        media: Media,
        pool: &mut Pool,
        transmit: &mut impl Transmit,
    ) {
        let Media { mut frame, kind, received_at, .. } = media;
        frame.set_egress(meta);
        match kind {
            Kind::Rtp => {
                if let Some(ssrc) = binding.rewrite {
                    rtp::rewrite_ssrc(frame.payload_mut(), ssrc);
                }
            }
            Kind::Rtcp => self.rewrite_rtcp(frame.payload_mut(), from, binding),
        }
        let context = match binding.target {
            Target::Context(context) => Some(context),
            Target::Plain | Target::Refused(_) => None,
        };
        if self.outgoing.is_full() {
            self.flush(pool, transmit);
        }
        self.outgoing.push(Outgoing { frame, leg: binding.to, kind, context, received_at });
    }

    /// Keeps RTCP consistent with rewritten SSRCs: those of the leg's own streams as the egress leg's peer
    /// knows them, and those that the leg's peer knows as their own sender does.
    fn rewrite_rtcp(&self, compound: &mut [u8], from: u32, binding: &Binding) {
        let rewrites = |slot| self.legs.get(slot).map_or(0, |leg| leg.rewrites);
        let (sent, received) = (rewrites(binding.to) > 0, rewrites(from) > 0);
        if !sent && !received {
            return;
        }
        rewrite_ssrcs(compound, |ssrc| {
            let renamed = || {
                let stream = self.streams.get(self.stream_ids.get(&(from, ssrc))?)?;
                stream.bindings.iter().find(|other| other.route == binding.route)?.rewrite
            };
            let original = || {
                let context = self.egress.get(self.egress_ids.get(&(from, ssrc))?)?;
                let (leg, original) = context.source;
                (leg == binding.to && original != ssrc).then_some(original)
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
