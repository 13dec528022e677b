//! First stage: whose is the datagram, what is it, and may it come from there?

use std::net::SocketAddr;

use sluice_classifier::{LocalKey, Verdict, classify};
use sluice_io::{Component, Frame, Ingress, Pool};
use sluice_srtp::{Inbound, Kind, RocOnRekey, rtcp, rtp};

use super::ports::{Assigned, NO_LEG, PORT};
use super::{Origin, Pipeline, Received};
use crate::handoff::Refused;
use crate::leg::Leg;
use crate::port::{Named, named};
use crate::stream::{Phase, Stream};
use crate::{DropReason, Event, Latching, Protection};

impl Pipeline {
    /// Sorts a datagram. Media of a leg goes on to the next stage; all else ends here.
    pub(super) fn ingress(&mut self, frame: Frame, origin: Origin, pool: &mut Pool) -> Option<Received> {
        match origin {
            Origin::Io => self.stats.received.add(1),
            Origin::Worker => self.stats.handed_in.add(1),
        }
        let Some(ingress) = frame.ingress().copied() else {
            self.stats.dropped.count(DropReason::UnknownLeg);
            pool.free(frame);
            return None;
        };
        let (slot, component) = match self.locate(&ingress) {
            Some(Located::Leg(slot, component)) => (slot, component),
            Some(Located::Port(port)) => match self.assign(port, &ingress, frame.payload()) {
                Some(Assigned::Leg(slot)) => (slot, Component::Rtp),
                Some(Assigned::Open(trial)) => return self.receive_open(frame, trial, pool),
                None => {
                    self.discard(frame, NO_LEG, DropReason::Unassigned, pool);
                    return None;
                }
            },
            None => {
                self.foreign(frame, &ingress, pool);
                return None;
            }
        };
        self.sort(frame, slot, component, false, pool)
    }

    /// Looks at a leg's datagram. `limited`: somebody else sees to it that there are not too many forged packets.
    pub(super) fn sort(
        &mut self,
        frame: Frame,
        slot: u32,
        component: Component,
        limited: bool,
        pool: &mut Pool,
    ) -> Option<Received> {
        let Some(source) = frame.ingress().map(|ingress| ingress.remote) else {
            self.discard(frame, slot, DropReason::UnknownLeg, pool);
            return None;
        };
        let leg = self.legs.get(slot);
        let verdict =
            leg.map_or(Verdict::Unknown, |leg| classify(frame.payload(), &leg.transport(component).policy));
        let admitted = match verdict {
            Verdict::Rtp => self.admit(&frame, slot, component, Kind::Rtp, limited, pool),
            Verdict::Rtcp => self.admit(&frame, slot, component, Kind::Rtcp, limited, pool),
            Verdict::Stun | Verdict::Dtls | Verdict::Zrtp => {
                self.negotiate(frame, slot, component, verdict, pool);
                return None;
            }
            Verdict::TurnChannel => Err(DropReason::TurnChannel),
            Verdict::Unknown => Err(DropReason::Unknown),
            Verdict::Invalid(reason) => Err(reason.into()),
        };
        match admitted {
            Ok(Admitted { stream, unknown }) => Some(Received {
                leg: slot,
                stream,
                component,
                kind: if verdict == Verdict::Rtp { Kind::Rtp } else { Kind::Rtcp },
                source,
                wire_len: frame.len(),
                unknown,
                trial: None,
                pending: true,
                outcome: Ok(()),
                frame,
            }),
            Err(reason) => {
                self.turn_away(frame, slot, component, reason, pool);
                None
            }
        }
    }

    /// The leg or port by the socket that the datagram was read from, else by its destination.
    pub(super) fn locate(&self, ingress: &Ingress) -> Option<Located> {
        if let Some(token) = ingress.socket {
            return Some(match named(token) {
                Named::Leg(leg) => Located::Leg(self.leg_ids.get(&leg)?, token.component),
                Named::Port(port) => Located::Port(self.port_ids.get(&port)?),
            });
        }
        let found = self.locals.get(&LocalKey::from(ingress.local))?;
        if found & PORT != 0 {
            return Some(Located::Port(found & !PORT));
        }
        Some(Located::Leg(found >> 1, if found & 1 == 0 { Component::Rtp } else { Component::Rtcp }))
    }

    /// Hands a datagram to the worker that owns its local address. One that was handed here goes on if its leg has
    /// moved since; where the leg is gone, nobody knows of it.
    fn foreign(&mut self, frame: Frame, ingress: &Ingress, pool: &mut Pool) {
        let owner = self.directory.get(&LocalKey::from(ingress.local)).copied();
        let owner = owner.filter(|owner| *owner != self.worker);
        let handed = match owner.and_then(|owner| Some((owner, self.shared.inboxes.get(owner)?))) {
            None => Err(DropReason::UnknownLeg),
            Some((owner, inbox)) => match inbox.handoff.put(ingress, frame.payload()) {
                Ok(()) => Ok(owner),
                Err(Refused::Full) => Err(DropReason::HandoffFull),
                Err(Refused::TooLarge) => Err(DropReason::HandoffTooLarge),
            },
        };
        match handed {
            Ok(owner) => {
                self.stats.handed_out.add(1);
                if !self.to_wake.contains(&owner) {
                    self.to_wake.push(owner);
                }
            }
            Err(reason) => self.stats.dropped.count(reason),
        }
        pool.free(frame);
    }

    /// Gives a negotiation datagram to control.
    fn negotiate(
        &mut self,
        frame: Frame,
        slot: u32,
        component: Component,
        verdict: Verdict,
        pool: &mut Pool,
    ) {
        let now = self.now;
        let (Some(leg), Some(ingress)) = (self.legs.get_mut(slot), frame.ingress()) else {
            return self.discard(frame, slot, DropReason::UnknownLeg, pool);
        };
        let remote = ingress.remote;
        let refused = if frame.len() > self.tuning.negotiation_bytes {
            Some(DropReason::NegotiationTooLarge)
        } else if !leg.negotiation.take(now) {
            Some(DropReason::NegotiationRate)
        } else if self.shared.events.is_more_than_half_full() {
            Some(DropReason::NegotiationQueueFull)
        } else {
            None
        };
        if let Some(reason) = refused {
            return self.discard(frame, slot, reason, pool);
        }
        let event =
            Event::Negotiation { leg: leg.id, component, remote, verdict, bytes: frame.payload().into() };
        if self.shared.events.send(event) {
            self.stats.negotiation.add(1);
            leg.counters().negotiation.add(1);
            pool.free(frame);
        } else {
            self.discard(frame, slot, DropReason::NegotiationQueueFull, pool);
        }
    }

    /// Finds the packet's stream, or makes room for a new one. `limited`: somebody else sees to it that there are not too
    /// many forged packets.
    pub(super) fn admit(
        &mut self,
        frame: &Frame,
        slot: u32,
        component: Component,
        kind: Kind,
        limited: bool,
        pool: &mut Pool,
    ) -> Result<Admitted, DropReason> {
        let source = frame.ingress().ok_or(DropReason::UnknownLeg)?.remote;
        let ssrc = ssrc_of(frame.payload(), kind).ok_or(DropReason::TooShort)?;
        let leg = self.legs.get_mut(slot).ok_or(DropReason::UnknownLeg)?;
        let from_remote = leg.transport(component).is_remote(&source);
        if !from_remote && !may_be_elsewhere(leg, component, kind, &source) {
            return Err(DropReason::UnexpectedSource);
        }
        let is_srtp = leg.inbound == Protection::Srtp;
        if is_srtp && leg.awaits_key() {
            return Err(DropReason::NoInboundKey);
        }
        let found = self.stream_ids.get(&(slot, ssrc));
        if let Some(stream) = found.and_then(|found| self.streams.get_mut(found)) {
            stream.batch = self.batch;
            if !is_srtp || stream.phase != Phase::Provisional {
                return Ok(Admitted { stream: found.unwrap_or_default(), unknown: None });
            }
        }
        // Forged packets of unknown SSRCs cost a MAC each: only so many per second.
        let bucket = if from_remote { &mut leg.unknown_from_remote } else { &mut leg.unknown_from_elsewhere };
        if is_srtp && !limited && !bucket.take(self.now) {
            return Err(DropReason::AuthRateLimited);
        }
        let stream = match found {
            Some(stream) => stream,
            None => self.add_stream(slot, ssrc, pool)?,
        };
        Ok(Admitted { stream, unknown: (is_srtp && !limited).then_some(from_remote) })
    }

    /// A stream that has to prove itself: on an SRTP leg within this batch, by authenticating, and until
    /// then nothing has to make room for it.
    fn add_stream(&mut self, slot: u32, ssrc: u32, pool: &mut Pool) -> Result<u32, DropReason> {
        let victim = self.victim(slot)?;
        if self.provisional.is_full() {
            return Err(DropReason::StreamTableFull);
        }
        let leg = self.legs.get_mut(slot).ok_or(DropReason::UnknownLeg)?;
        let inbound = match leg.inbound {
            Protection::Plain => None,
            Protection::Srtp => Some(new_context(leg, ssrc).ok_or(DropReason::NoInboundKey)?),
        };
        let is_srtp = inbound.is_some();
        let mut stream = Stream::new(slot, ssrc, inbound);
        (stream.batch, stream.last_seen) = (self.batch, self.now);
        let index = self.streams.insert(stream).map_err(|_| DropReason::StreamTableFull)?;
        if !self.stream_ids.insert((slot, ssrc), index) {
            self.streams.remove(index);
            return Err(DropReason::StreamTableFull);
        }
        if is_srtp {
            // Has room, as was just seen.
            let _ = self.provisional.try_push(index);
            return Ok(index);
        }
        if let Some(victim) = victim {
            self.evict(victim, DropReason::ProbationExpired, pool);
        }
        if let Some(leg) = self.legs.get_mut(slot) {
            leg.streams.push(index);
        }
        Ok(index)
    }

    /// Whether a leg may have another stream, and which of its idle ones would have to go.
    pub(super) fn victim(&self, slot: u32) -> Result<Option<u32>, DropReason> {
        let leg = self.legs.get(slot).ok_or(DropReason::UnknownLeg)?;
        let proven = self.streams.len() - self.provisional.len();
        let full = if leg.streams.len() >= usize::from(leg.max_streams) {
            DropReason::StreamLimit
        } else if proven >= self.limits.streams {
            DropReason::StreamTableFull
        } else {
            return Ok(None);
        };
        let evictable = |index: &&u32| {
            self.streams.get(**index).is_some_and(|stream| {
                let unproven = stream.phase == Phase::Provisional;
                stream.batch != self.batch && (stream.phase == Phase::Stopped || unproven)
            })
        };
        let last_seen = |index: &&u32| self.streams.get(**index).map_or(0, |stream| stream.last_seen);
        let victim = leg.streams.iter().filter(evictable).min_by_key(last_seen);
        victim.copied().map(Some).ok_or(full)
    }
}

pub(super) struct Admitted {
    pub(super) stream: u32,
    pub(super) unknown: Option<bool>,
}

#[derive(Clone, Copy)]
pub(super) enum Located {
    Leg(u32, Component),
    Port(u32),
}

/// Whether a packet from another address than the leg's remote one may be looked at.
pub(super) fn may_be_elsewhere(leg: &Leg, component: Component, kind: Kind, source: &SocketAddr) -> bool {
    let transport = leg.transport(component);
    match (leg.inbound, transport.remote) {
        // An application has put it on the ring before it went; nothing else leads to such a leg.
        (Protection::Plain, None) if leg.is_application() => true,
        // Authentication decides.
        (Protection::Srtp, None) => true,
        (Protection::Srtp, Some(_)) => {
            leg.latching != Latching::SignalledOnly
                && leg.inbound_keys.iter().all(|key| key.keys.authenticates_rtp())
        }
        (Protection::Plain, Some(_)) => false,
        // Probation decides; RTCP has none, and must come from the host from which RTP comes.
        (Protection::Plain, None) => match kind {
            Kind::Rtp => leg.latching.learns(),
            Kind::Rtcp => {
                leg.latching.learns()
                    && leg.rtcp.is_some()
                    && leg.rtp.remote.is_some_and(|rtp| rtp.ip() == source.ip())
            }
        },
    }
}

/// A context that holds all of the leg's keys, the newest first; of a stream that comes back, without those whose packets
/// it can no longer tell from replayed ones.
fn new_context(leg: &mut Leg, ssrc: u32) -> Option<Inbound> {
    let expected = leg.expected.get(ssrc).copied();
    let roc = expected.and_then(|expected| expected.initial_roc).unwrap_or(0);
    let position = expected.map(|expected| expected.position).unwrap_or_default();
    let spare = if leg.makes_spare(ssrc) { leg.spare.take() } else { None };
    if let Some(mut spare) = spare {
        spare.rebind(ssrc);
        spare.begin_at(roc);
        spare.advance(position);
        return Some(spare);
    }
    let (from, until) = expected.map_or((0, 0), |expected| (expected.from, expected.until));
    let mut keys = leg.inbound_keys.iter().filter(|key| key.serial >= from);
    let oldest = keys.next()?;
    let mut context = Inbound::new(ssrc, oldest.keys.clone(), leg.window, roc).trying_rocs(leg.roc_trials);
    context.advance(position);
    if oldest.roc != RocOnRekey::Keep && expected.is_some() && oldest.serial >= until {
        context.install_with(oldest.keys.clone(), oldest.roc);
    }
    for key in keys {
        context.install_with(key.keys.clone(), key.roc);
    }
    Some(context)
}

/// RFC 3550 §5.1 and §6.4.1; both in the clear in SRTP.
pub(super) fn ssrc_of(packet: &[u8], kind: Kind) -> Option<u32> {
    match kind {
        Kind::Rtp => rtp::ssrc(packet),
        Kind::Rtcp => rtcp::sender_ssrc(packet),
    }
}
