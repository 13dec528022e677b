//! Commands: each is applied whole or not at all.

use std::net::SocketAddr;
use std::sync::Arc;

use sluice_classifier::LocalKey;
use sluice_io::{Component, FrameBatch, NextHop, PacketIo, Pool, Ring, TxMeta, ring_address};

use super::Pipeline;
use crate::leg::{Leg, canonical, same_endpoint};
use crate::port::MAX_NUMBER;
use crate::route::Route;
use crate::{
    Command, CommandError, Direction, DropReason, EarlyMedia, LegId, LegSetup, Protection, RouteId,
    RouteOptions,
};

pub(super) type Applied = Result<(), CommandError>;

impl Pipeline {
    /// Applies a command between batches.
    pub fn apply(&mut self, command: Command, io: &mut impl PacketIo, pool: &mut Pool) -> Applied {
        self.stats.commands.add(1);
        self.now = (self.clock)();
        match command {
            Command::AddLeg(setup) => self.add_leg(&setup, io),
            Command::MoveLegs { legs, to } => {
                let (ticket, answer) = crate::ticket::ticket();
                self.send_off(&legs, to, answer, io, pool);
                // Without an answer they are on their way.
                ticket.wait(std::time::Duration::ZERO).unwrap_or(Ok(()))
            }
            Command::AddPort(setup) => self.add_port(&setup, io),
            Command::RemovePort { port } => self.remove_port(port, io),
            Command::RemoveLeg { leg } => {
                let removed = self.remove_leg(leg, io, pool);
                removed.then_some(()).ok_or(CommandError::UnknownLeg(leg))
            }
            Command::UpdateLeg(update) => self.update_leg(update, io, pool),
            Command::SetNextHop { leg, component, remote, next_hop } => {
                self.set_next_hop(leg, component, remote, next_hop)
            }
            Command::AttachRing { leg, ring } => self.attach_ring(leg, ring, io),
            Command::DetachRing { leg } => {
                let (_, leg) = self.leg_mut(leg)?;
                leg.set_present(false);
                io.end_ring(leg.token(Component::Rtp));
                Ok(())
            }
            Command::InstallKeys { leg, direction: Direction::Inbound, keys, roc, more_follow, .. } => {
                let installed = self.install_inbound(leg, &keys, roc, pool);
                // Whatever became of the last of several keys: those before it are there.
                if !more_follow {
                    self.play_out(leg, io, pool);
                }
                installed
            }
            Command::InstallKeys { leg, direction: Direction::Outbound, keys, shared, roc, .. } => {
                self.install_outbound(leg, &keys, shared, roc)
            }
            Command::RetireKey { leg, direction, key } => match direction {
                Direction::Inbound => self.retire_inbound(leg, key),
                Direction::Outbound => self.retire_outbound(leg, key),
            },
            Command::ExportPositions { leg, into } => self.export_positions(leg, &into),
            Command::ImportPositions { leg, streams } => self.import_positions(leg, &streams),
            Command::AddRoute { route, from, to, options } => self.add_route(route, from, to, options),
            Command::UpdateRoute { route, options } => self.update_route(route, options),
            Command::RemoveRoute { route } => {
                self.remove_route(route).then_some(()).ok_or(CommandError::UnknownRoute(route))
            }
            Command::SendDatagram { leg, component, remote, bytes } => {
                self.send_datagram(leg, component, remote, &bytes, io, pool)
            }
        }
    }

    pub(super) fn leg_mut(&mut self, id: LegId) -> Result<(u32, &mut Leg), CommandError> {
        let slot = self.leg_ids.get(&id);
        let leg = slot.and_then(|slot| Some((slot, self.legs.get_mut(slot)?)));
        leg.ok_or(CommandError::UnknownLeg(id))
    }

    fn add_leg(&mut self, setup: &LegSetup, io: &mut impl PacketIo) -> Applied {
        let id = setup.leg;
        if self.leg_ids.get(&id).is_some() {
            return Err(CommandError::LegExists(id));
        }
        let rtcp_local = check_setup(setup)?;
        let port = self.check_sharing(setup)?;
        let own = if port.is_none() { [Some(setup.local), rtcp_local] } else { [None; 2] };
        for local in own.into_iter().flatten() {
            if self.locals.get(&LocalKey::from(canonical(local))).is_some() {
                return Err(CommandError::AddressTaken(local));
            }
        }
        if self.legs.is_full() {
            return Err(CommandError::TooManyLegs(self.legs.len()));
        }
        let mut leg = Leg::new(setup, rtcp_local.map(canonical), &self.tuning);
        leg.port = port;
        let mut locals: Vec<_> = Vec::new();
        if port.is_none() {
            register(setup, &leg, io)?;
            locals.extend(leg.components().iter().map(|c| (*c, LocalKey::from(leg.transport(*c).local))));
        }
        let slot = match self.legs.insert(leg) {
            Ok(slot) => slot,
            Err(leg) => {
                for (component, _) in &locals {
                    io.unregister(leg.token(*component));
                }
                return Err(CommandError::TooManyLegs(self.legs.len()));
            }
        };
        // Have room: as many places as legs.
        self.leg_ids.insert(id, slot);
        for (component, local) in locals {
            self.locals.insert(local, slot << 1 | component as u32);
        }
        self.stats.legs.set(self.legs.len() as u64);
        self.join_port(slot, setup);
        self.announce(slot);
        self.request_resolution(slot);
        Ok(())
    }

    fn attach_ring(&mut self, id: LegId, ring: Box<Ring>, io: &mut impl PacketIo) -> Applied {
        let (_, leg) = self.leg_mut(id)?;
        check(id, leg.is_application(), "ring", "is for a leg whose peer is a local application")?;
        let token = leg.token(Component::Rtp);
        let attached = io.attach_ring(token, ring);
        leg.set_present(attached.is_ok());
        attached.map_err(|refused| CommandError::AttachRing { leg: id, error: refused.error.to_string() })
    }

    /// Plays out what the leg has kept until now, if it is known how that is protected.
    pub(super) fn play_out(&mut self, id: LegId, io: &mut impl PacketIo, pool: &mut Pool) {
        let Some(slot) = self.leg_ids.get(&id).filter(|slot| self.may_release(*slot)) else { return };
        let mut transmit = |pool: &mut Pool, tx: &mut FrameBatch| io.transmit(pool, tx);
        self.release_early(slot, pool, &mut transmit);
    }

    fn set_next_hop(
        &mut self,
        id: LegId,
        component: Component,
        remote: SocketAddr,
        next_hop: Option<NextHop>,
    ) -> Applied {
        let (_, leg) = self.leg_mut(id)?;
        let destination = leg.destination(component);
        if destination.is_some_and(|destination| same_endpoint(&destination, &remote)) {
            leg.transport_mut(component).next_hop = next_hop;
        }
        Ok(())
    }

    fn add_route(&mut self, id: RouteId, from: LegId, to: LegId, options: RouteOptions) -> Applied {
        if self.route_ids.get(&id).is_some() {
            return Err(CommandError::RouteExists(id));
        }
        options.check(id)?;
        let from_slot = self.leg_mut(from)?.0;
        let to_slot = self.leg_mut(to)?.0;
        let routes = self.legs.get(from_slot).map(|leg| leg.routes_out.as_slice()).unwrap_or_default();
        let same =
            routes.iter().find_map(|route| self.routes.get(*route).filter(|other| other.to == to_slot));
        if let Some(&Route { id: existing, .. }) = same {
            return Err(CommandError::RouteDuplicate { existing, from, to });
        }
        let route = Route::new(id, from_slot, to_slot, options);
        let slot = self.routes.insert(route).map_err(|_| CommandError::TooManyRoutes(self.routes.len()))?;
        // Has room: as many places as routes.
        self.route_ids.insert(id, slot);
        self.leg_mut(to)?.1.routes_in.push(slot);
        let (_, leg) = self.leg_mut(from)?;
        leg.routes_out.push(slot);
        leg.version = leg.version.wrapping_add(1);
        self.stats.routes.set(self.routes.len() as u64);
        Ok(())
    }

    fn update_route(&mut self, id: RouteId, options: RouteOptions) -> Applied {
        options.check(id)?;
        let slot = self.route_ids.get(&id).ok_or(CommandError::UnknownRoute(id))?;
        let route = self.routes.get_mut(slot).ok_or(CommandError::UnknownRoute(id))?;
        let (from, same) = (route.from, route.options.maps_like(&options));
        route.set_options(options);
        if !same {
            self.unbind_route(from, slot);
        }
        if let Some(leg) = self.legs.get_mut(from) {
            leg.version = leg.version.wrapping_add(1);
        }
        Ok(())
    }

    fn send_datagram(
        &mut self,
        id: LegId,
        component: Component,
        remote: SocketAddr,
        bytes: &[u8],
        io: &mut impl PacketIo,
        pool: &mut Pool,
    ) -> Applied {
        let (slot, leg) = self.leg_mut(id)?;
        if component == Component::Rtcp && leg.rtcp.is_none() {
            return Err(CommandError::NoRtcpComponent(id));
        }
        let transport = leg.transport(component);
        let next_hop = transport.next_hop.filter(|_| transport.is_remote(&remote));
        let meta =
            TxMeta { socket: leg.token(component), local: transport.local, remote, next_hop, dscp: leg.dscp };
        let Some(mut frame) = pool.alloc(bytes.len()) else {
            let too_large = bytes.len() > sluice_io::LARGE - sluice_io::HEADROOM;
            let error = CommandError::DatagramTooLarge(bytes.len());
            return Err(if too_large { error } else { CommandError::PoolEmpty });
        };
        frame.fill(bytes);
        frame.set_egress(meta);
        leg.counters().injected.add(1);
        self.stats.injected.add(1);
        if let Some(mtu) = meta.exceeded(bytes.len()) {
            self.tell_too_big(slot, meta.packet_len(bytes.len()), Some(mtu));
            self.discard(frame, slot, DropReason::MtuExceeded, pool);
            return Ok(());
        }
        self.stats.sent.add(1);
        let mut tx = FrameBatch::new();
        // Has room: it is empty.
        if let Err(frame) = tx.push(frame) {
            pool.free(frame);
        }
        io.transmit(pool, &mut tx);
        Ok(())
    }
}

pub(super) const WRONG_FAMILY: &str = "is IPv4 where the local address is IPv6, or the other way round";

pub(super) fn check(leg: LegId, holds: bool, field: &'static str, problem: &'static str) -> Applied {
    if holds { Ok(()) } else { Err(CommandError::InvalidLeg { leg, field, problem }) }
}

/// Refuses what cannot work; the local address of RTCP on its own port.
fn check_setup(setup: &LegSetup) -> Result<Option<SocketAddr>, CommandError> {
    let id = setup.leg;
    check(id, id < MAX_NUMBER, "leg", "is a number of more than 31 bits")?;
    let family = canonical(setup.local).is_ipv4();
    check(
        id,
        !setup.local.ip().is_unspecified(),
        "local",
        "is a wildcard; give the address that peers send to",
    )?;
    check(id, setup.local.port() != 0, "local", "has port 0; bind the socket first")?;
    check(id, setup.dscp < 64, "dscp", "is more than 63")?;
    check(id, setup.max_streams > 0, "max_streams", "is 0; the peer could send nothing")?;
    check_early(id, setup.early_media)?;
    for (remote, field) in [(setup.remote, "remote"), (setup.rtcp_remote, "rtcp_remote")] {
        let Some(remote) = remote else { continue };
        check(id, canonical(remote).is_ipv4() == family, field, WRONG_FAMILY)?;
        check(id, remote.port() != 0, field, "has port 0")?;
        check(id, !remote.ip().is_unspecified(), field, "is a wildcard")?;
    }
    if setup.rtp.is_none() {
        return check_application(setup);
    }
    let Some(socket) = &setup.rtcp else {
        check(id, setup.rtcp_remote.is_none(), "rtcp_remote", "is given although rtcp-mux is in use")?;
        return Ok(None);
    };
    let bound = socket.local_addr();
    let bound = bound.map_err(|error| CommandError::Register { leg: id, error: error.to_string() })?;
    check(id, canonical(bound).is_ipv4() == family, "rtcp", WRONG_FAMILY)?;
    let local =
        if bound.ip().is_unspecified() { SocketAddr::new(setup.local.ip(), bound.port()) } else { bound };
    check(id, local != setup.local, "rtcp", "is the socket of RTP; leave it out for rtcp-mux")?;
    Ok(Some(local))
}

/// Refuses more early media than a leg may keep.
pub(super) fn check_early(id: LegId, early_media: EarlyMedia) -> Applied {
    let EarlyMedia::Hold { packets, time } = early_media else { return Ok(()) };
    let packets = (1..=EarlyMedia::MOST_PACKETS).contains(&packets);
    check(id, packets, "early_media", "holds no packets, or more than 1024")?;
    let time = !time.is_zero() && time <= EarlyMedia::LONGEST;
    check(id, time, "early_media", "is held for no time, or for more than 10 s")
}

/// Refuses what a leg cannot be whose peer is a local application.
fn check_application(setup: &LegSetup) -> Result<Option<SocketAddr>, CommandError> {
    let id = setup.leg;
    check(id, setup.local == ring_address(id), "local", "is not that of the leg's ring")?;
    check(id, setup.rtcp.is_none(), "rtcp", "is a socket, and a ring has none")?;
    let told = setup.remote.or(setup.rtcp_remote);
    check(id, told.is_none(), "remote", "is that of a local application")?;
    check(id, setup.sharing.is_none(), "sharing", "is of a port, and a ring has none")?;
    let plain = setup.inbound == Protection::Plain && setup.outbound == Protection::Plain;
    check(id, plain, "inbound", "or outbound is SRTP: what a local application sends and gets is plain")?;
    Ok(None)
}

/// Begins to receive on all sockets of the leg, or on none.
fn register(setup: &LegSetup, leg: &Leg, io: &mut impl PacketIo) -> Applied {
    let Some(rtp) = &setup.rtp else { return Ok(()) };
    let mut registered = io.register(leg.token(Component::Rtp), Arc::clone(rtp));
    if let (Ok(()), Some(socket)) = (&registered, &setup.rtcp) {
        registered = io.register(leg.token(Component::Rtcp), Arc::clone(socket));
        if registered.is_err() {
            io.unregister(leg.token(Component::Rtp));
        }
    }
    registered.map_err(|error| CommandError::Register { leg: leg.id, error: error.to_string() })
}
