//! Changes of legs.

use sluice_datapath::{Command, Direction, LegUpdate, Signalled, Ticket};
use sluice_proto::v1;

use super::legs::{Remotes, dscp, early_media, max_streams, payload_types, protection, window};
use super::media_path::{check_media_path, engine_latching};
use super::state::{Leg, State};
use super::{Gateway, rings};
use crate::media_path::Wanted as InMediaPath;
use crate::{ApiError, Config};

/// A leg as it is to be once the engine has done what it was told.
pub(super) struct Updated {
    config: v1::LegConfig,
    /// Signalling moved the peer.
    moved: bool,
    /// Whether what is received, and what is sent, becomes plain.
    becomes_plain: [bool; 2],
    /// What it negotiates in the media path from now on.
    negotiates: InPath,
}

/// What a leg negotiates in its media path.
enum InPath {
    Wants(Box<InMediaPath>),
    NoMore,
    Never,
}

impl Gateway {
    pub(crate) async fn update_leg(&self, request: v1::UpdateLegRequest) -> Result<v1::Leg, ApiError> {
        let mut state = self.state.lock().await;
        let (session, leg) = (request.session.clone(), request.leg.clone());
        if request.dtls.is_some() || request.ice.is_some() {
            let before = &state.session(&session)?.leg("leg", &leg)?.config;
            let now = changed(before, &request);
            check_media_path(&now)?;
            // The port knows the leg by its fragment.
            if now.shared_port && own_ufrag(&now) != own_ufrag(before) {
                let message = "is another one, and legs of a shared port are known by theirs";
                return Err(ApiError::invalid("ice.own", message, "make another leg"));
            }
        }
        let (updated, ticket) = self.begin_leg_update(&mut state, request).await?;
        ticket.await?;
        self.leg_updated(&mut state, &session, &leg, updated)?;
        let shown = self.shown(&mut state, &session, &leg)?;
        drop(state);
        Ok(shown.told().await)
    }

    /// Gives the command of an update.
    pub(super) async fn begin_leg_update(
        &self,
        state: &mut State,
        request: v1::UpdateLegRequest,
    ) -> Result<(Updated, Ticket), ApiError> {
        let session = state.session(&request.session)?;
        let worker = session.worker;
        let leg = session.leg("leg", &request.leg)?;
        let (number, local) = (leg.number, leg.local_rtp);
        if leg.ring.is_some() {
            rings::check_update(&request)?;
        }
        let mut config = changed(&leg.config, &request);
        let at = [local, leg.local_rtcp];
        let negotiates = match self.wanted_in_media_path(&mut config, at)? {
            Some(wanted) => InPath::Wants(Box::new(wanted)),
            None if leg.config.dtls.is_some() || leg.config.ice.is_some() => InPath::NoMore,
            None => InPath::Never,
        };
        let Remotes { rtp, rtcp } = Remotes::read(&config, local.ip())?;
        // Checks find where the peer is, and nothing else does.
        let moved = (request.remote.is_some() || request.remote_rtcp.is_some()) && config.ice.is_none();
        if moved && rtp.is_none() {
            let remedy = "give the address, or leave the field out";
            return Err(ApiError::invalid("remote", "cannot be taken back", remedy));
        }
        let update = LegUpdate {
            remote: rtp.filter(|_| moved).map(|rtp| Signalled { rtp, rtcp }),
            ..update(number, &request, &config, &self.config)?
        };
        let ticket = self.send(worker, Command::UpdateLeg(update)).await?;
        let becomes_plain =
            [request.inbound, request.outbound].map(|now| now == Some(v1::Protection::Plain.into()));
        Ok((Updated { config, moved, becomes_plain, negotiates }, ticket))
    }

    /// The engine has done it: the state says so.
    pub(super) fn leg_updated(
        &self,
        state: &mut State,
        session: &str,
        id: &str,
        updated: Updated,
    ) -> Result<(), ApiError> {
        let leg = state.session(session)?.leg("leg", id)?;
        if updated.moved {
            self.directory.signalled(leg.number);
        }
        self.forget_plain(leg, updated.becomes_plain);
        leg.config = updated.config;
        match updated.negotiates {
            InPath::Wants(wanted) => self.set_media_path(leg.number, *wanted),
            InPath::NoMore => drop(self.stop_media_path(leg.number)),
            InPath::Never => {}
        }
        self.legs_changed(state, session);
        Ok(())
    }

    /// What takes an update back that was given; none if there is no such leg. Keys of a direction that became plain are
    /// gone all the same, and so is an address in the place of none.
    pub(super) fn taking_back(
        &self,
        state: &mut State,
        session: &str,
        id: &str,
        updated: &Updated,
    ) -> Result<Option<Command>, ApiError> {
        let Ok(leg) = state.session(session).and_then(|session| session.leg("leg", id)) else {
            return Ok(None);
        };
        self.forget_plain(leg, updated.becomes_plain);
        let config = &leg.config;
        let Remotes { rtp, rtcp } = Remotes::read(config, leg.local_rtp.ip())?;
        let request = v1::UpdateLegRequest {
            payload_types: Some(v1::PayloadTypes::default()),
            inbound: Some(config.inbound),
            outbound: Some(config.outbound),
            early_media: config.early_media,
            latching: Some(config.latching),
            rtcp_mux: Some(config.rtcp_mux),
            max_streams: Some(config.max_streams),
            ..Default::default()
        };
        let update = update(leg.number, &request, config, &self.config)?;
        let remote = rtp.map(|rtp| Signalled { rtp, rtcp });
        Ok(Some(Command::UpdateLeg(LegUpdate { remote, ..update })))
    }

    fn forget_plain(&self, leg: &mut Leg, becomes_plain: [bool; 2]) {
        for (plain, direction) in becomes_plain.into_iter().zip([Direction::Inbound, Direction::Outbound]) {
            if plain {
                self.forget_keys(leg, direction);
            }
        }
    }
}

/// The gateway's own fragment in checks.
fn own_ufrag(config: &v1::LegConfig) -> Option<&str> {
    Some(config.ice.as_ref()?.own.as_ref()?.ufrag.as_str())
}

/// The leg's configuration as it is to be.
fn changed(before: &v1::LegConfig, request: &v1::UpdateLegRequest) -> v1::LegConfig {
    let remote_rtcp = match (&request.remote_rtcp, request.rtcp_mux) {
        (Some(told), _) => told.clone(),
        // The port of RTP is that of RTCP.
        (None, Some(true)) => String::new(),
        (None, _) => before.remote_rtcp.clone(),
    };
    let payload_types = request.payload_types.as_ref().map(|types| &types.values);
    v1::LegConfig {
        remote: request.remote.as_ref().unwrap_or(&before.remote).clone(),
        remote_rtcp,
        dscp: request.dscp.unwrap_or(before.dscp),
        payload_types: payload_types.unwrap_or(&before.payload_types).clone(),
        inbound: request.inbound.unwrap_or(before.inbound),
        outbound: request.outbound.unwrap_or(before.outbound),
        early_media: request.early_media.or(before.early_media),
        latching: request.latching.unwrap_or(before.latching),
        rtcp_mux: request.rtcp_mux.unwrap_or(before.rtcp_mux),
        replay_window: request.replay_window.unwrap_or(before.replay_window),
        max_streams: request.max_streams.unwrap_or(before.max_streams),
        keying: request.keying.unwrap_or(before.keying),
        attestation: request.attestation.or(before.attestation),
        dtls: request.dtls.clone().or_else(|| before.dtls.clone()).filter(|_| !request.without_dtls),
        ice: request.ice.clone().or_else(|| before.ice.clone()).filter(|_| !request.without_ice),
        ..before.clone()
    }
}

/// The engine's part of it, but for the addresses: what the request names, checked.
fn update(
    leg: u32,
    request: &v1::UpdateLegRequest,
    config: &v1::LegConfig,
    defaults: &Config,
) -> Result<LegUpdate, ApiError> {
    let payload_types = payload_types(&config.payload_types)?;
    let (dscp, max_streams) = (dscp(config.dscp)?, max_streams(config)?);
    let window = window(config.replay_window, defaults)?;
    let told = |field, given: Option<i32>| {
        let given = given.map(|given| v1::Protection::try_from(given).unwrap_or_default());
        given.map(|given| protection(field, given)).transpose()
    };
    Ok(LegUpdate {
        payload_types: request.payload_types.is_some().then_some(payload_types),
        dscp: Some(dscp),
        inbound: told("inbound", request.inbound)?,
        outbound: told("outbound", request.outbound)?,
        early_media: request.early_media.as_ref().map(early_media).transpose()?,
        latching: (request.latching.is_some() || request.ice.is_some() || request.without_ice)
            .then(|| engine_latching(config, defaults)),
        rtcp_mux: request.rtcp_mux,
        window: request.replay_window.map(|_| window),
        max_streams: request.max_streams.map(|_| max_streams),
        ..LegUpdate::new(leg)
    })
}
