//! What becomes of datagrams after they were handed over: told to control, and counted anew where they were not sent
//! after all. An ICMP error is a hint that anybody may forge (RFC 8085 §5.2): of "unreachable" it is told, and media goes
//! on. "Too big" the kernel takes for true, as far down as `net.ipv4.route.min_pmtu`, or 1280 octets of IPv6; what is larger
//! is not sent, and counts as dropped.

use std::net::IpAddr;

use sluice_io::{Component, Trouble, TroubleKind, TxMeta, Unreachable};

use super::Pipeline;
use crate::leg::{Leg, canonical, same_endpoint};
use crate::port::{Named, Remote, named};
use crate::{DropReason, Event};

impl Pipeline {
    /// Takes news from packet I/O.
    #[cold]
    pub fn hear(&mut self, trouble: &Trouble) {
        self.now = (self.clock)();
        let slot = self.leg_to(trouble);
        match trouble.kind {
            TroubleKind::TooBig { head, length, mtu } => self.take_back(slot, trouble, head, length, mtu),
            TroubleKind::Unreachable { why, by } => self.tell_unreachable(slot, trouble, why, by),
            TroubleKind::PathMtu(_) => self.look_up_again(slot, trouble),
        }
    }

    /// The leg from which the datagram was sent.
    fn leg_to(&self, trouble: &Trouble) -> Option<u32> {
        match named(trouble.socket) {
            Named::Leg(id) => self.leg_ids.get(&id),
            Named::Port(port) => {
                let place = self.port_ids.get(&port)?;
                self.finder.remotes.get(&Remote::new(place, canonical(trouble.remote)))
            }
        }
    }

    /// The kernel did not send it: it counts as dropped, and not as sent.
    fn take_back(
        &mut self,
        slot: Option<u32>,
        trouble: &Trouble,
        head: [u8; 2],
        length: usize,
        mtu: Option<u32>,
    ) {
        self.stats.sent.sub(1);
        let Some((slot, leg)) = slot.and_then(|slot| Some((slot, self.legs.get(slot)?))) else {
            return self.stats.dropped.count(DropReason::MtuExceeded);
        };
        match head {
            [128..=191, second] if (64..96).contains(&(second & 0x7f)) => {
                leg.counters().sent_rtcp.take_back(length);
            }
            [128..=191, _] => leg.counters().sent_rtp.take_back(length),
            // A negotiation's: not counted by the leg as sent.
            _ => {}
        }
        self.count_drop(slot, DropReason::MtuExceeded);
        self.tell_too_big(slot, TxMeta::packet_len_to(trouble.remote.ip(), length), mtu);
    }

    /// An IP packet of this size is too large for the leg's peer.
    #[cold]
    pub(super) fn tell_too_big(&mut self, slot: u32, size: usize, mtu: Option<u32>) {
        let now = self.now;
        let Some(leg) = self.legs.get_mut(slot) else { return };
        if let Some(count) = leg.too_big.count(now) {
            let event = Event::MtuExceeded { leg: leg.id, size, mtu, count, at: now };
            self.emit(event);
        }
    }

    fn tell_unreachable(
        &mut self,
        slot: Option<u32>,
        trouble: &Trouble,
        why: Unreachable,
        by: Option<IpAddr>,
    ) {
        let now = self.now;
        let Some((component, leg)) = self.peer_of(slot, trouble) else { return };
        leg.counters().unreachable.add(1);
        if let Some(count) = leg.unreachable.count(now) {
            let (leg, remote) = (leg.id, trouble.remote);
            self.emit(Event::Unreachable { leg, component, remote, why, by, count, at: now });
        }
    }

    /// The path takes less than was thought: what AF_XDP may send has to be known.
    fn look_up_again(&mut self, slot: Option<u32>, trouble: &Trouble) {
        let now = self.now;
        let Some((component, leg)) = self.peer_of(slot, trouble) else { return };
        // Each lookup costs the watching thread some time, and anybody may send ICMP.
        if leg.path_changes.count(now).is_some() {
            leg.transport_mut(component).unresolved = true;
            if let Some(slot) = slot {
                self.request_resolution(slot);
            }
        }
    }

    /// The leg, if that is where its datagrams go now: what is told of others is nobody's.
    fn peer_of(&mut self, slot: Option<u32>, trouble: &Trouble) -> Option<(Component, &mut Leg)> {
        let leg = self.legs.get_mut(slot?)?;
        let component = trouble.socket.component;
        let remote = canonical(trouble.remote);
        let is_peer = leg.destination(component).is_some_and(|peer| same_endpoint(&peer, &remote));
        is_peer.then_some((component, leg))
    }
}
