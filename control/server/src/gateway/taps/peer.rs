//! Taps towards a recorder's address: a leg of their own, and a route to it from each leg that is copied.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sluice_datapath::{Command, OnSsrcClash, RouteOptions};
use sluice_proto::v1;

use super::outlets::{Copied, Missing, Outlet};
use super::start::Keyed;
use super::{Tap, TapKind};
use crate::ApiError;
use crate::gateway::Gateway;
use crate::gateway::derivation::Derived;
use crate::gateway::directory::LegNames;
use crate::gateway::legs::{Wanted, addresses, open_leg};
use crate::gateway::state::{Key, Session, State};
use crate::ports::bind_exactly;
use crate::recording::TapName;

impl TapKind {
    /// Of a peer whose leg is yet to be made.
    pub(super) const fn unkeyed() -> Self {
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self::Peer { local, key: None, made: None }
    }
}

impl Gateway {
    /// Puts a tap towards a peer into its session, with the leg that it is sent from.
    pub(super) async fn add_peer_tap(
        &self,
        mut tap: Tap,
        config: v1::LegConfig,
        keyed: Option<Keyed>,
    ) -> Result<(), ApiError> {
        let wanted = Wanted::read(&config, &self.config)?;
        let mut state = self.state.lock().await;
        let worker = state.session(&tap.name.session)?.worker;
        let sockets = match wanted.port {
            Some(port) => bind_exactly(SocketAddr::new(wanted.address, port), config.rtcp_mux)?,
            None => state.ports.allocate(wanted.address, config.rtcp_mux)?,
        };
        let number = state.leg_number();
        let leg = open_leg(number, config, addresses(&sockets)?);
        let local = leg.local_rtp;
        let setup = wanted.setup(&leg, sockets);
        let mut commands = vec![Command::AddLeg(Box::new(setup))];
        let (mut key, mut made) = (None, None);
        if let Some((derived, fresh)) = keyed {
            let Derived { key: derived, keys, .. } = derived;
            check_apart(state.session(&tap.name.session)?, &derived)?;
            if let Some(sending) = &derived.sending {
                sending.claim(number, None).map_err(|refusal| self.not_claimed(refusal))?;
            }
            let (direction, keys) = (derived.direction, vec![Arc::new(keys)]);
            commands.push(Command::InstallKeys {
                leg: number,
                direction,
                keys,
                shared: false,
                roc: derived.roc,
                more_follow: false,
            });
            (key, made) = (Some(derived), fresh);
        }
        // Events of it have a name that no leg of a client's can have.
        let shown = format!("tap/{}", tap.name.tap);
        self.directory.add_leg(number, LegNames::new(tap.name.session.clone(), shown, worker));
        if let Some(key) = &key {
            self.directory.add_key(number, key.number, key.id.clone());
        }
        if let Err(error) = self.all(worker, commands).await {
            self.abandon(worker, number).await;
            return Err(error);
        }
        tap.kind = TapKind::Peer { local, key: key.map(Box::new), made };
        tap.outlets.push(Outlet { number, stats: leg.stats, ring: None, sources: Vec::new() });
        state.count_legs(worker, 1);
        let name = tap.name.clone();
        state.session(&name.session)?.taps.insert(name.tap, tap);
        self.recording.began();
        Ok(())
    }

    pub(super) async fn copy_to_peer(
        &self,
        state: &mut State,
        name: &TapName,
        missing: Missing,
    ) -> Result<(), ApiError> {
        let route = state.route_number();
        let session = state.session(&name.session)?;
        let worker = session.worker;
        let Some(tap) = session.running_tap(name) else { return Ok(()) };
        let Some(to) = tap.outlets.first().map(|outlet| outlet.number) else { return Ok(()) };
        // Two legs may use one SSRC, and the recorder's key is to be used once for each (RFC 3711 §9.1).
        let options = RouteOptions { on_ssrc_clash: OnSsrcClash::Rewrite, ..RouteOptions::default() };
        self.directory.add_route(route, format!("tap/{}", name.tap));
        let Missing { leg, number, .. } = missing;
        let added = self.command(worker, Command::AddRoute { route, from: number, to, options }).await;
        added.inspect_err(|_| self.directory.remove_route(route))?;
        if let Some(tap) = state.session(&name.session)?.running_tap(name)
            && let Some(outlet) = tap.outlets.first_mut()
        {
            outlet.sources.push(Copied { leg, number, route, addresses: None });
        }
        Ok(())
    }
}

/// The recorder's key is its own: what it decrypts is a copy, and no packet of the call.
fn check_apart(session: &Session, key: &Key) -> Result<(), ApiError> {
    let mut keys = session.legs.values().flat_map(|leg| &leg.keys);
    if keys.any(|other| other.fingerprint == key.fingerprint) {
        let message = "is the key of a leg of the session, and not the recorder's own";
        let remedy = "give the recorder a fresh key, or have one made";
        return Err(ApiError::precondition("KEY_IN_USE", message, remedy).at("peer.key.key_salt"));
    }
    Ok(())
}
