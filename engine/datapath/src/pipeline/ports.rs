//! Shared ports: they come and go, and each of their datagrams finds its leg.
//!
//! ```text
//! media: the leg of the 5-tuple that knows the SSRC
//!        else, until one authenticates:  the leg of the 5-tuple → the leg of the SSRC → legs not heard yet
//! STUN:  the leg of the ICE username fragment, else of the 5-tuple
//! DTLS, ZRTP: the leg of the 5-tuple
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use sluice_classifier::{LocalKey, Policy, Verdict, classify, receiver_ufrag};
use sluice_io::{Component, Frame, Ingress, PacketIo, Pool};
use sluice_srtp::Kind;

use super::apply::{Applied, check};
use super::ingress::{may_be_elsewhere, ssrc_of};
use super::{BATCH, Pipeline, Received};
use crate::inbox::News;
use crate::leg::{canonical, same_endpoint};
use crate::port::{MAX_NUMBER, Port, PortSetup, Remote, TRIALS};
use crate::stream::Phase;
use crate::{CommandError, DropReason, LegSetup, PortId, Protection};

/// A place in `locals` is a port's if this is set.
pub(super) const PORT: u32 = 1 << 31;
/// Of a packet that no leg has.
pub(super) const NO_LEG: u32 = u32::MAX;

/// To whom a datagram to a shared port goes.
pub(super) enum Assigned {
    Leg(u32),
    /// It has to be tried.
    Open(Trial),
}

/// A media packet that is the leg's to which it is authentic.
pub(super) struct Trial {
    port: u32,
    source: SocketAddr,
    ssrc: u32,
    kind: Kind,
    by_address: Option<u32>,
    tried: ArrayVec<u32, { TRIALS as usize }>,
    /// Whose failure it is if it is nobody's packet: that of the leg of its address, or of a stream that has had it.
    refusal: Option<(u32, DropReason)>,
}

impl Trial {
    /// Whose failure it is, if it is nobody's packet.
    fn blame(&self) -> (u32, DropReason) {
        self.refusal.unwrap_or((NO_LEG, DropReason::Unassigned))
    }
}

impl Pipeline {
    pub(super) fn add_port(&mut self, setup: &PortSetup, io: &mut impl PacketIo) -> Applied {
        let (id, local) = (setup.port, canonical(setup.local));
        let refuse = |problem| Err(CommandError::InvalidPort { port: id, problem });
        if id >= MAX_NUMBER {
            return refuse("has a number of more than 31 bits");
        }
        if local.ip().is_unspecified() || local.port() == 0 {
            return refuse("has no specific address: give the one that peers send to");
        }
        if self.port_ids.get(&id).is_some() {
            return refuse("exists already; choose another number or remove it first");
        }
        if self.locals.get(&LocalKey::from(local)).is_some() {
            return Err(CommandError::AddressTaken(local));
        }
        if self.ports.is_full() {
            return refuse("is one more than a worker may have");
        }
        let token = Port::token(id);
        sluice_io::queue::widen(&setup.socket, sluice_io::queue::SHARED_QUEUE);
        io.register(token, Arc::clone(&setup.socket))
            .map_err(|error| CommandError::PortSocket { port: id, error: error.to_string() })?;
        let Ok(slot) = self.ports.insert(Port::new(setup, &self.tuning)) else {
            return refuse("is one more than a worker may have");
        };
        // Have room: as many places as ports.
        self.port_ids.insert(id, slot);
        self.locals.insert(LocalKey::from(local), PORT | slot);
        self.steer(token.leg, local, Policy::new());
        self.tell_others(News::Owner { local: LocalKey::from(local), worker: self.worker });
        Ok(())
    }

    pub(super) fn remove_port(&mut self, id: PortId, io: &mut impl PacketIo) -> Applied {
        let refuse = |problem| CommandError::InvalidPort { port: id, problem };
        let slot = self.port_ids.get(&id).ok_or(refuse("does not exist on this worker"))?;
        let port = self.ports.get(slot).ok_or(refuse("does not exist on this worker"))?;
        if port.legs > 0 {
            return Err(refuse("has legs; remove them first"));
        }
        let local = LocalKey::from(port.local);
        self.unsteer(port.local);
        self.tell_others(News::Gone { local, worker: self.worker });
        io.unregister(Port::token(id));
        self.locals.remove(&local);
        self.port_ids.remove(&id);
        self.ports.remove(slot);
        Ok(())
    }

    /// Whether a leg can be on the port that it names; the port's place.
    pub(super) fn check_sharing(&self, setup: &LegSetup) -> Result<Option<u32>, CommandError> {
        let Some(sharing) = &setup.sharing else { return Ok(None) };
        let id = setup.leg;
        let slot = self.port_ids.get(&sharing.port);
        let port = slot.and_then(|slot| self.ports.get(slot));
        check(id, port.is_some(), "port", "does not exist on the leg's worker")?;
        let (Some(slot), Some(port)) = (slot, port) else { return Ok(None) };
        check(
            id,
            setup.rtcp.is_none(),
            "rtcp",
            "has a port of its own, which a shared one leaves no room for",
        )?;
        let same = same_endpoint(&canonical(setup.local), &port.local);
        check(id, same, "local", "is not the address of the shared port")?;
        check(
            id,
            sharing.ssrcs.len() <= usize::from(setup.max_streams),
            "ssrcs",
            "are more than max_streams",
        )?;
        let ufrag = sharing.ice_ufrag.as_deref();
        let taken = ufrag.is_some_and(|ufrag| port.ufrags.contains_key(ufrag));
        check(id, !taken, "ice_ufrag", "is that of another leg of the port")?;
        if let Some(remote) = setup.remote {
            self.check_remote(NO_LEG, slot, remote)?;
        }
        Ok(Some(slot))
    }

    /// Two legs of one port cannot have one signalled address.
    pub(super) fn check_remote(&self, leg: u32, port: u32, remote: SocketAddr) -> Applied {
        let remote = canonical(remote);
        let other = self.finder.remotes.get(&Remote::new(port, remote)).filter(|other| *other != leg);
        let other = other.and_then(|other| self.legs.get(other)).filter(|other| other.rtp.signalled);
        other.map_or(Ok(()), |other| Err(CommandError::RemoteTaken { remote, leg: other.id }))
    }

    /// The leg is on its port from now on.
    pub(super) fn join_port(&mut self, slot: u32, setup: &LegSetup) {
        let (Some(sharing), Some(place)) = (&setup.sharing, self.legs.get(slot).and_then(|leg| leg.port))
        else {
            return;
        };
        if let Some(port) = self.ports.get_mut(place) {
            port.legs += 1;
            if let Some(ufrag) = &sharing.ice_ufrag {
                port.ufrags.insert(ufrag.clone(), slot);
            }
        }
        self.wait_to_be_heard(slot);
        for ssrc in &sharing.ssrcs {
            self.finder.add_ssrc(place, *ssrc, slot);
        }
        if let Some(leg) = self.legs.get_mut(slot) {
            leg.sharing.clone_from(&setup.sharing);
        }
        self.index_remote(slot);
    }

    pub(super) fn leave_port(&mut self, slot: u32) {
        self.stop_waiting(slot);
        let Some(leg) = self.legs.get_mut(slot) else { return };
        let (Some(place), Some(sharing)) = (leg.port, leg.sharing.take()) else { return };
        if let Some(remote) = leg.indexed.take() {
            self.finder.forget_remote(&Remote::new(place, remote), slot);
        }
        for ssrc in &sharing.ssrcs {
            self.finder.forget_ssrc(place, *ssrc, slot);
        }
        if let Some(port) = self.ports.get_mut(place) {
            port.legs -= 1;
            if let Some(ufrag) = &sharing.ice_ufrag {
                port.ufrags.remove(ufrag);
            }
        }
    }

    /// Has the leg be found by its peer's address as it is now.
    pub(super) fn index_remote(&mut self, slot: u32) {
        let Some(leg) = self.legs.get_mut(slot) else { return };
        let (Some(port), now) = (leg.port, leg.rtp.remote) else { return };
        let before = std::mem::replace(&mut leg.indexed, now);
        if let Some(before) = before {
            self.finder.forget_remote(&Remote::new(port, before), slot);
        }
        if let Some(now) = now {
            self.finder.set_remote(Remote::new(port, now), slot);
        }
    }

    /// A leg of a port was heard: an SSRC is known to be its.
    pub(super) fn heard(&mut self, slot: u32, ssrc: u32) {
        let Some(place) = self.legs.get(slot).and_then(|leg| leg.port) else { return };
        self.finder.add_ssrc(place, ssrc, slot);
        self.stop_waiting(slot);
    }

    /// The leg tries media from unknown addresses, if it can tell its own.
    pub(super) fn wait_to_be_heard(&mut self, slot: u32) {
        let Some(leg) = self.legs.get_mut(slot).filter(|leg| leg.waiting.is_none()) else { return };
        let Some(port) = leg.port.and_then(|port| self.ports.get_mut(port)) else { return };
        if leg.inbound == Protection::Srtp {
            leg.waiting = Some(port.waiting.len() as u32);
            port.waiting.push(slot);
        }
    }

    pub(super) fn stop_waiting(&mut self, slot: u32) {
        let Some(leg) = self.legs.get_mut(slot) else { return };
        let (Some(place), Some(at)) = (leg.port, leg.waiting.take()) else { return };
        let Some(port) = self.ports.get_mut(place) else { return };
        port.waiting.swap_remove(at as usize);
        let moved = port.waiting.get(at as usize).copied();
        if let Some(moved) = moved.and_then(|moved| self.legs.get_mut(moved)) {
            moved.waiting = Some(at);
        }
    }

    /// An SSRC is the leg's no longer, unless signalling said that it was.
    pub(super) fn unheard(&mut self, slot: u32, ssrc: u32) {
        let Some(leg) = self.legs.get(slot) else { return };
        let (Some(place), Some(sharing)) = (leg.port, &leg.sharing) else { return };
        if !sharing.ssrcs.contains(&ssrc) {
            self.finder.forget_ssrc(place, ssrc, slot);
        }
    }

    /// The leg that is to look at a datagram to a port.
    pub(super) fn assign(&self, place: u32, ingress: &Ingress, datagram: &[u8]) -> Option<Assigned> {
        let by_address = self.finder.remotes.get(&Remote::new(place, ingress.remote));
        let kind = match classify(datagram, &Policy::new()) {
            Verdict::Rtp => Kind::Rtp,
            Verdict::Rtcp => Kind::Rtcp,
            Verdict::Stun => {
                let ufrag = receiver_ufrag(datagram).and_then(|ufrag| std::str::from_utf8(ufrag).ok());
                let port = self.ports.get(place);
                let by_ufrag = ufrag.and_then(|ufrag| port?.ufrags.get(ufrag).copied());
                return by_ufrag.or(by_address).map(Assigned::Leg);
            }
            _ => return by_address.map(Assigned::Leg),
        };
        let ssrc = ssrc_of(datagram, kind)?;
        if let Some(leg) = by_address.filter(|leg| self.stream_ids.get(&(*leg, ssrc)).is_some()) {
            return Some(Assigned::Leg(leg));
        }
        let (source, tried, refusal) = (ingress.remote, ArrayVec::new(), None);
        Some(Assigned::Open(Trial { port: place, source, ssrc, kind, by_address, tried, refusal }))
    }

    /// Gives a packet to the first leg that is to try it.
    pub(super) fn receive_open(
        &mut self,
        frame: Frame,
        mut trial: Trial,
        pool: &mut Pool,
    ) -> Option<Received> {
        let Some((leg, stream, unknown)) = self.admit_next(&frame, &mut trial, pool) else {
            let (leg, reason) = trial.blame();
            self.turn_away(frame, leg, Component::Rtp, reason, pool);
            return None;
        };
        Some(Received {
            leg,
            stream,
            component: Component::Rtp,
            kind: trial.kind,
            source: trial.source,
            wire_len: frame.len(),
            unknown,
            trial: Some(trial),
            pending: true,
            outcome: Ok(()),
            frame,
        })
    }

    /// The next leg that is to try a packet, with its stream.
    fn admit_next(
        &mut self,
        frame: &Frame,
        trial: &mut Trial,
        pool: &mut Pool,
    ) -> Option<(u32, u32, Option<bool>)> {
        loop {
            let leg = self.next_candidate(trial)?;
            let by_address = trial.by_address == Some(leg);
            let now = self.now;
            let within = |port: &mut Port| port.trials.take(now);
            if !by_address && !self.ports.get_mut(trial.port).is_some_and(within) {
                return None;
            }
            trial.tried.push(leg);
            let policy = self.legs.get(leg).map(|leg| leg.rtp.policy)?;
            let admitted = match (classify(frame.payload(), &policy), trial.kind) {
                (Verdict::Rtp, Kind::Rtp) | (Verdict::Rtcp, Kind::Rtcp) => {
                    self.admit(frame, leg, Component::Rtp, trial.kind, !by_address, pool)
                }
                (Verdict::Invalid(reason), _) => Err(reason.into()),
                _ => Err(DropReason::Unknown),
            };
            match admitted {
                Ok(admitted) => return Some((leg, admitted.stream, admitted.unknown)),
                Err(reason) if by_address => trial.refusal = Some((leg, reason)),
                // Signalling said that the SSRC is this leg's, which may keep the packet for the key to come.
                Err(reason @ DropReason::NoInboundKey) => {
                    trial.refusal.get_or_insert((leg, reason));
                }
                Err(_) => {}
            }
        }
    }

    /// That of the packet's address, that of its SSRC, then those that were not heard yet and may be heard from
    /// there.
    fn next_candidate(&self, trial: &Trial) -> Option<u32> {
        if trial.tried.is_full() {
            return None;
        }
        let fresh = |leg: &u32| !trial.tried.contains(leg);
        let by_ssrc = || self.finder.ssrcs.get(&(trial.port, trial.ssrc)).filter(fresh);
        if let Some(leg) = trial.by_address.filter(fresh).or_else(by_ssrc) {
            return Some(leg);
        }
        let port = self.ports.get(trial.port)?;
        let (before, from) = port.waiting.split_at_checked(port.turn).unwrap_or((&[], &port.waiting));
        let in_turn = from.iter().chain(before).take(TRIALS as usize);
        let open = |leg: &u32| {
            self.legs.get(*leg).is_some_and(|leg| {
                !leg.inbound_keys.is_empty()
                    && may_be_elsewhere(leg, Component::Rtp, trial.kind, &trial.source)
            })
        };
        in_turn.copied().find(|leg| fresh(leg) && open(leg))
    }

    /// Has other legs try the packets that were not authentic to the legs that tried them first.
    pub(super) fn try_others(&mut self, received: &mut ArrayVec<Received, BATCH>, pool: &mut Pool) {
        if received.iter().all(|packet| packet.trial.is_none()) {
            return;
        }
        loop {
            let mut again = false;
            for packet in received.iter_mut() {
                again |= self.try_another(packet, pool);
            }
            if !again {
                break;
            }
            self.unprotect(received);
        }
        for port in 0..self.ports.bound() {
            if let Some(port) = self.ports.get_mut(port).filter(|port| !port.waiting.is_empty()) {
                port.turn = (port.turn + TRIALS as usize) % port.waiting.len();
            }
        }
    }

    /// Whether another leg is to try the packet.
    fn try_another(&mut self, packet: &mut Received, pool: &mut Pool) -> bool {
        let Err(reason) = packet.outcome else { return false };
        let Some(mut trial) = packet.trial.take() else { return false };
        // A stream takes what another peer sends under the same SSRC for a packet that it has had.
        let known = self.streams.get(packet.stream).is_some_and(|stream| stream.phase != Phase::Provisional);
        let had = known && matches!(reason, DropReason::Replayed | DropReason::TooOld);
        if had || trial.by_address == Some(packet.leg) {
            trial.refusal.get_or_insert((packet.leg, reason));
        }
        let next = self.admit_next(&packet.frame, &mut trial, pool);
        if let Some((leg, stream, unknown)) = next {
            (packet.leg, packet.stream, packet.unknown) = (leg, stream, unknown);
            (packet.outcome, packet.pending, packet.trial) = (Ok(()), true, Some(trial));
            return true;
        }
        let (leg, reason) = trial.blame();
        (packet.leg, packet.outcome) = (leg, Err(reason));
        false
    }
}
