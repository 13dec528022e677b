//! A leg changes: what signalling says of it, and how it is protected.

use std::net::SocketAddr;

use sluice_io::{PacketIo, Pool};

use super::Pipeline;
use super::apply::{Applied, WRONG_FAMILY, check, check_early};
use crate::leg::{Leg, canonical};
use crate::{CommandError, DropReason, EarlyMedia, LegUpdate, Protection};

impl Pipeline {
    pub(super) fn update_leg(
        &mut self,
        update: LegUpdate,
        io: &mut impl PacketIo,
        pool: &mut Pool,
    ) -> Applied {
        let slot = self.check_update(&update)?;
        // Nothing can fail from here on.
        self.update_inbound(slot, &update, pool);
        if let Some(outbound) = update.outbound {
            self.switch_outbound(slot, outbound);
        }
        let Some(leg) = self.legs.get_mut(slot) else { return Ok(()) };
        leg.dscp = update.dscp.unwrap_or(leg.dscp);
        leg.latching = update.latching.unwrap_or(leg.latching);
        leg.silent = update.silent.unwrap_or(leg.silent);
        leg.muxed = update.rtcp_mux.map_or(leg.muxed, |mux| mux && leg.rtcp.is_some());
        if let Some(window) = update.window.filter(|window| *window != leg.window) {
            (leg.window, leg.spare) = (window, None);
        }
        if let Some(streams) = update.max_streams {
            leg.max_streams = streams;
            leg.streams.reserve(usize::from(streams).saturating_sub(leg.streams.len()));
            leg.bound_memory();
        }
        if let Some(payload_types) = update.payload_types {
            leg.set_payload_types(payload_types);
            self.resteer(slot);
        }
        if let Some(remote) = update.remote
            && let Some(leg) = self.legs.get_mut(slot)
        {
            leg.set_signalled(remote);
            self.index_remote(slot);
            self.request_resolution(slot);
        }
        match update.rekeying {
            Some(true) => self.legs.get_mut(slot).into_iter().for_each(Leg::begin_rekeying),
            Some(false) => self.end_rekeying(slot, pool),
            None => {}
        }
        // Last, so that what was kept finds the leg as it is now.
        if !self.legs.get(slot).is_some_and(Leg::is_rekeying) {
            self.play_out(update.leg, io, pool);
        }
        Ok(())
    }

    /// Refuses what cannot be; the leg's place.
    fn check_update(&mut self, update: &LegUpdate) -> Result<u32, CommandError> {
        let (id, remote) = (update.leg, update.remote);
        let (slot, leg) = self.leg_mut(id)?;
        let application = leg.is_application();
        check(id, remote.is_none() || !application, "remote", "is that of a local application")?;
        let srtp = [update.inbound, update.outbound].contains(&Some(Protection::Srtp));
        check(
            id,
            !srtp || !application,
            "inbound",
            "or outbound is SRTP: a local application sends and gets plain",
        )?;
        let family = leg.rtp.local.is_ipv4();
        let told = remote.iter().flat_map(|remote| [Some(remote.rtp), remote.rtcp]).flatten();
        for address in told {
            check(id, canonical(address).is_ipv4() == family, "remote", WRONG_FAMILY)?;
            check(id, is_destination(address), "remote", "is a wildcard or has port 0")?;
        }
        check(id, update.dscp.is_none_or(|dscp| dscp < 64), "dscp", "is more than 63")?;
        let muxed = update.rtcp_mux != Some(false) || leg.rtcp.is_some();
        check(id, muxed, "rtcp_mux", "cannot end: the leg was made without a socket for RTCP")?;
        let window = update.window.is_none_or(|window| window == leg.window);
        let problem =
            "cannot change once the leg has streams: their replay lists have the size that they have";
        check(id, window || leg.streams.is_empty(), "window", problem)?;
        let ssrcs = leg.sharing.as_ref().map_or(0, |sharing| sharing.ssrcs.len()).max(1);
        let streams = update.max_streams.is_none_or(|streams| usize::from(streams) >= ssrcs);
        check(id, streams, "max_streams", "is 0, or less than the SSRCs that signalling told")?;
        check_early(id, update.early_media.unwrap_or_default())?;
        if let (Some(port), Some(remote)) = (leg.port, remote) {
            self.check_remote(slot, port, remote.rtp)?;
        }
        Ok(slot)
    }

    /// What is expected of packets from the peer, and what becomes of those before the first key.
    fn update_inbound(&mut self, slot: u32, update: &LegUpdate, pool: &mut Pool) {
        let Some(leg) = self.legs.get_mut(slot) else { return };
        let (before, keyless) = (leg.signalled_inbound(), leg.inbound_keys.is_empty());
        let signalled = update.inbound.unwrap_or(before);
        leg.early_media = update.early_media.unwrap_or(leg.early_media);
        let awaits = match (update.inbound, update.early_media) {
            (_, Some(EarlyMedia::Plain)) => true,
            (None, None) => leg.awaits_srtp,
            _ => false,
        };
        // Without keys of SRTP before, plain leaves none behind either.
        leg.awaits_srtp = awaits && signalled == Protection::Srtp && (keyless || before == Protection::Plain);
        let expected = if leg.awaits_srtp { Protection::Plain } else { signalled };
        if expected != leg.inbound {
            self.switch_inbound(slot, expected, pool);
        }
        let Some(leg) = self.legs.get_mut(slot) else { return };
        let (keeps, rekeying) = (matches!(leg.early_media, EarlyMedia::Hold { .. }), leg.is_rekeying());
        let begins = before == Protection::Plain || leg.early.is_some() || update.early_media.is_some();
        if expected == Protection::Srtp && leg.inbound_keys.is_empty() && keeps && begins {
            leg.begin_early();
            self.trim_early(slot, pool);
        } else if expected == Protection::Srtp && !keeps && !rekeying {
            self.end_early(slot, DropReason::EarlyMediaFull, pool);
        }
    }

    /// Has the leg expect the other of plain media and SRTP from now on. Streams begin anew, and where those of SRTP
    /// stood is remembered.
    pub(super) fn switch_inbound(&mut self, slot: u32, inbound: Protection, pool: &mut Pool) {
        // What waits for another key of SRTP is no plain media.
        self.end_rekeying(slot, pool);
        let streams = self.legs.get(slot).map(|leg| leg.streams.clone()).unwrap_or_default();
        for index in streams {
            self.evict(index, DropReason::NoInboundKey, pool);
        }
        let Some(leg) = self.legs.get_mut(slot) else { return };
        leg.set_inbound(inbound);
        leg.bound_memory();
        match inbound {
            Protection::Plain => self.stop_waiting(slot),
            Protection::Srtp => self.wait_to_be_heard(slot),
        }
        self.index_remote(slot);
        self.resteer(slot);
    }

    /// Has the leg send plain media or SRTP from now on. Contexts for sending go, and the two-time-pad guard knows where
    /// they stood, should their key come back.
    fn switch_outbound(&mut self, slot: u32, outbound: Protection) {
        let Some(leg) = self.legs.get(slot).filter(|leg| leg.outbound != outbound) else { return };
        for route in leg.routes_in.clone() {
            if let Some(from) = self.routes.get(route).map(|route| route.from) {
                self.unbind_route(from, route);
            }
        }
        if let Some(leg) = self.legs.get_mut(slot) {
            (leg.outbound, leg.outbound_key, leg.shares_key) = (outbound, None, false);
            leg.superseded.clear();
        }
        self.rebind_sources(slot);
    }

    /// Tells XDP what the leg's ports take now.
    fn resteer(&self, slot: u32) {
        let Some(leg) = self.legs.get(slot).filter(|leg| leg.has_address()) else { return };
        for component in leg.components() {
            let transport = leg.transport(*component);
            self.steer(leg.id, transport.local, transport.policy);
        }
    }
}

fn is_destination(address: SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified()
}
