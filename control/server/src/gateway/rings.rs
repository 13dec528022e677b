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
use crate::descriptors::is_reserved;

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

/// A ring for a leg of that number, which has yet to get it.
pub(crate) struct Made {
    number: u32,
    ring: Box<sluice_datapath::Ring>,
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
        let (keys, codecs) = (Vec::new(), Vec::new());
        let leg = Leg { number, config, local_rtp, local_rtcp, stats, keys, ring, codecs };
        self.launch_leg(state, request, leg, setup, (worker, None)).await
    }

    /// Makes a ring for an application that may have it: for the application to map, and for [`Self::attach_ring`].
    pub(crate) async fn make_ring(
        &self,
        request: &Request,
        connection: OwnedFd,
    ) -> Result<(Made, Offer), ApiError> {
        let (number, stats) = {
            let mut state = self.state.lock().await;
            let (number, ring) = find(&mut state, request)?;
            (number, Arc::clone(&ring.stats))
        };
        let geometry = self.config.rings.geometry();
        // It takes as long as the memory is large, and nobody waits for it but the application.
        let made = tokio::task::spawn_blocking(move || GatewayEnd::create(geometry, connection)).await;
        let made = made.map_err(std::io::Error::other).and_then(|made| made);
        let (end, offer) = made.map_err(|error| {
            let message = format!("no memory or descriptors for a ring: {error}");
            ApiError::exhausted("RING_MEMORY", message, "look at the limits of memory and open files")
        })?;
        if is_reserved(&offer.memory) || is_reserved(&offer.doorbell) {
            let message = "no descriptors for a ring: as many are open as may be";
            return Err(ApiError::exhausted("RING_MEMORY", message, "raise the limit of open files"));
        }
        let ring = Box::new(sluice_datapath::Ring::new(end, stats));
        Ok((Made { number, ring }, offer))
    }

    /// Gives the leg the ring that was made. An application that has one loses it: whoever shows the token is the
    /// leg's application, and may have lost the old connection without the gateway's noticing.
    pub(crate) async fn attach_ring(&self, request: &Request, made: Made) -> Result<Taken, ApiError> {
        let mut state = self.state.lock().await;
        let worker = state.session(&request.session).map_or(0, |session| session.worker);
        let (number, ring) = find(&mut state, request)?;
        if number != made.number {
            // Another leg of the same name and, by all odds, of another token.
            return Err(no_ring());
        }
        ring.takers += 1;
        let taker = ring.takers;
        self.command(worker, Command::AttachRing { leg: number, ring: made.ring }).await?;
        find(&mut state, request)?.1.holder = Some(taker);
        let Request { session, leg, .. } = request;
        Ok(Taken { session: session.clone(), leg: leg.clone(), number, taker })
    }

    /// The application is gone: the leg goes on without. Whether the ring was still its.
    pub(crate) async fn leave_ring(&self, taken: &Taken) -> bool {
        let mut state = self.state.lock().await;
        let Ok(session) = state.session(&taken.session) else { return false };
        let worker = session.worker;
        let Ok(leg) = session.leg("leg", &taken.leg) else { return false };
        // A leg of the same name may be another one by now.
        let Some(ring) = leg.ring.as_mut().filter(|ring| ring.holder == Some(taken.taker)) else {
            return false;
        };
        if leg.number != taken.number {
            return false;
        }
        ring.holder = None;
        match self.command(worker, Command::DetachRing { leg: taken.number }).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(error = error.message, "a ring cannot be taken back"),
        }
        true
    }
}

/// The ring that the token is for, and its leg. Nobody without it learns what sessions and legs there are: there is one
/// answer for all that is wrong, after one comparison.
fn find<'a>(state: &'a mut State, request: &Request) -> Result<(u32, &'a mut Ring), ApiError> {
    let session = state.sessions.get_mut(&request.session);
    let leg = session.and_then(|session| session.legs.get_mut(&request.leg));
    let ring = leg.and_then(|leg| Some((leg.number, leg.ring.as_mut()?)));
    let token = ring.as_ref().map_or(NO_TOKEN, |(_, ring)| &ring.token);
    let shown = bool::from(token.as_bytes().ct_eq(request.token.as_bytes()));
    ring.filter(|_| shown).ok_or_else(no_ring)
}

/// As long as a token, and none.
const NO_TOKEN: &str = "--------------------------------";

fn no_ring() -> ApiError {
    let remedy = "show the ring_token that CreateLeg answered with";
    ApiError::invalid("token", "is of no ring of a leg of that name in such a session", remedy)
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
        ("early_media", config.early_media.is_none()),
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
        ("inbound", request.inbound.is_none()),
        ("outbound", request.outbound.is_none()),
        ("early_media", request.early_media.is_none()),
        ("latching", request.latching.is_none()),
        ("rtcp_mux", request.rtcp_mux.is_none()),
        ("replay_window", request.replay_window.is_none()),
    ];
    match absent.into_iter().find(|(_, absent)| !absent) {
        Some((field, _)) => {
            let message = "means nothing for a ring, which has neither addresses nor keys";
            Err(ApiError::invalid(field, message, "leave it out"))
        }
        None => Ok(()),
    }
}
