//! Legs whose peers are local applications, and who has their rings.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::rand::{GetRandomFlags, getrandom};
use sluice_datapath::shared::{GatewayEnd, Offer, Request};
use sluice_datapath::{Command, LegSetup, LegStats, RingStats};
use sluice_proto::v1;
use subtle::ConstantTimeEq;

use super::Gateway;
use super::legs::{Begun, max_streams, payload_types};
use super::state::{Leg, State};
use crate::ApiError;

/// The ring of a leg.
#[derive(Clone)]
pub(super) struct Ring {
    /// Whoever shows it gets the ring.
    pub(super) token: String,
    stats: Arc<RingStats>,
    /// Which of all that took it has it now.
    holder: Option<u64>,
    takers: u64,
}

/// A ring that an application has.
pub(crate) struct Taken {
    session: String,
    leg: String,
    number: u32,
    taker: u64,
}

impl Ring {
    fn new() -> Result<Self, ApiError> {
        Ok(Self { token: token()?, stats: Arc::default(), holder: None, takers: 0 })
    }

    pub(super) fn shown(&self) -> v1::RingStatistics {
        let counted = self.stats.snapshot();
        v1::RingStatistics {
            attached: self.holder.is_some(),
            received: counted.received,
            sent: counted.sent,
            full: counted.full,
            too_large: counted.too_large,
            broken: counted.broken,
        }
    }
}

/// 128 bits that nobody can guess.
fn token() -> Result<String, ApiError> {
    let mut octets = [0_u8; 16];
    let filled = getrandom(&mut octets, GetRandomFlags::empty());
    if filled != Ok(octets.len()) {
        return Err(ApiError::unavailable("the system gives no random numbers"));
    }
    Ok(octets.iter().fold(String::with_capacity(32), |mut text, octet| {
        // Writing to a string does not fail.
        let _ = write!(text, "{octet:02x}");
        text
    }))
}

impl Gateway {
    pub(super) async fn begin_ring_leg(
        &self,
        state: &mut State,
        request: &v1::CreateLegRequest,
        config: v1::LegConfig,
        worker: usize,
    ) -> Result<Begun, ApiError> {
        check(&config)?;
        let (payload_types, max_streams) = (payload_types(&config.payload_types)?, max_streams(&config)?);
        let number = state.leg_number();
        let stats = Arc::new(LegStats::new());
        let setup = LegSetup::for_application(number, Arc::clone(&stats));
        let (local_rtp, local_rtcp) = (setup.local, setup.local);
        let setup = LegSetup { payload_types, max_streams, ..setup };
        let ring = Some(Ring::new()?);
        let leg = Leg { number, config, local_rtp, local_rtcp, stats, keys: Vec::new(), ring };
        self.launch_leg(state, request, leg, setup, worker).await
    }

    /// Gives an application the ring that it asks for.
    pub(crate) async fn take_ring(
        &self,
        request: &Request,
        connection: OwnedFd,
    ) -> Result<(Taken, Offer), ApiError> {
        let Request { session, leg, token } = request;
        let mut state = self.state.lock().await;
        let found = state.session(session)?;
        let worker = found.worker;
        let Leg { number, ring, .. } = found.leg("leg", leg)?;
        let number = *number;
        let ring = ring.as_mut().ok_or_else(|| {
            let message = format!("leg {leg:?} has no ring: its peer is no local application");
            ApiError::precondition("NO_RING", message, "create the leg with ring")
        })?;
        if !bool::from(ring.token.as_bytes().ct_eq(token.as_bytes())) {
            let remedy = "show the ring_token that CreateLeg answered with";
            return Err(ApiError::invalid("token", "is not that of the leg", remedy));
        }
        if ring.holder.is_some() {
            let message = format!("another application has the ring of leg {leg:?}");
            return Err(ApiError::precondition("RING_TAKEN", message, "end that one first"));
        }
        let created = GatewayEnd::create(self.config.rings.geometry(), connection);
        let (end, offer) = created.map_err(|error| {
            let message = format!("no memory or descriptors for a ring: {error}");
            ApiError::exhausted("RING_MEMORY", message, "look at the limits of memory and open files")
        })?;
        ring.takers += 1;
        let taker = ring.takers;
        let end = Box::new(sluice_datapath::Ring::new(end, Arc::clone(&ring.stats)));
        self.command(worker, Command::AttachRing { leg: number, ring: end }).await?;
        if let Some(ring) = &mut state.session(session)?.leg("leg", leg)?.ring {
            ring.holder = Some(taker);
        }
        Ok((Taken { session: session.clone(), leg: leg.clone(), number, taker }, offer))
    }

    /// The application is gone: another one may have the ring.
    pub(crate) async fn leave_ring(&self, taken: &Taken) {
        let mut state = self.state.lock().await;
        let Ok(session) = state.session(&taken.session) else { return };
        let worker = session.worker;
        let Ok(leg) = session.leg("leg", &taken.leg) else { return };
        // A leg of the same name may be another one by now.
        let Some(ring) = leg.ring.as_mut().filter(|ring| ring.holder == Some(taken.taker)) else { return };
        if leg.number != taken.number {
            return;
        }
        ring.holder = None;
        match self.command(worker, Command::DetachRing { leg: taken.number }).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(error = error.message, "a ring cannot be taken back"),
        }
    }
}

/// Refuses what a leg with a ring cannot have.
fn check(config: &v1::LegConfig) -> Result<(), ApiError> {
    let absent = [
        ("local", config.local.is_empty()),
        ("remote", config.remote.is_empty()),
        ("remote_rtcp", config.remote_rtcp.is_empty()),
        ("dscp", config.dscp == 0),
        ("shared_port", !config.shared_port),
        ("ssrcs", config.ssrcs.is_empty()),
        ("ice_ufrag", config.ice_ufrag.is_empty()),
        ("latching", config.latching() == v1::Latching::Unspecified),
        ("replay_window", config.replay_window == 0),
        ("roc_trials", config.roc_trials == 0),
    ];
    if let Some((field, _)) = absent.into_iter().find(|(_, absent)| !absent) {
        let message = "means nothing for a ring, which has neither addresses nor keys";
        return Err(ApiError::invalid(field, message, "leave it out"));
    }
    for (field, protection) in [("inbound", config.inbound()), ("outbound", config.outbound())] {
        if protection != v1::Protection::Plain {
            let message = "is not plain, and what goes over a ring is";
            return Err(ApiError::invalid(field, message, "say PROTECTION_PLAIN"));
        }
    }
    Ok(())
}

/// Refuses a change that means nothing.
pub(super) fn check_update(request: &v1::UpdateLegRequest) -> Result<(), ApiError> {
    let absent = [
        ("remote", request.remote.is_none()),
        ("remote_rtcp", request.remote_rtcp.is_none()),
        ("dscp", request.dscp.is_none()),
    ];
    match absent.into_iter().find(|(_, absent)| !absent) {
        Some((field, _)) => {
            let message = "means nothing for a ring, which has no addresses";
            Err(ApiError::invalid(field, message, "leave it out"))
        }
        None => Ok(()),
    }
}
