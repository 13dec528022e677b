//! What legs negotiate in their media path, as their configuration says it: read, checked, handed on, and shown.

use std::net::SocketAddr;

use sluice_datapath::{Latching, LegId};
use sluice_proto::v1;

use super::Gateway;
use super::legs::latching;
use crate::media_path::{Asked, Stopping, Surroundings, Wanted, own_candidates, peer_candidates};
use crate::{ApiError, Config};

impl Gateway {
    /// What a leg's configuration wants of the media path, if anything. Fills in which certificate it shows.
    pub(super) fn wanted_in_media_path(
        &self,
        config: &mut v1::LegConfig,
        local: [SocketAddr; 2],
    ) -> Result<Option<Wanted>, ApiError> {
        let latching = latching(config.latching(), &self.config);
        let learns = matches!(latching, Latching::FirstAuthenticated | Latching::NewestAuthenticated);
        let candidates = own_candidates(&self.config, local, config.rtcp_mux);
        let certificates = &self.media_path.certificates;
        Wanted::read(config, Surroundings { local, learns, certificates, candidates })
    }

    /// A leg has, or has again, a handshake or checks.
    pub(super) fn set_media_path(&self, leg: LegId, wanted: Wanted) {
        if self.directory.negotiates(leg, wanted.negotiates()) {
            self.media_path.count(1);
        }
        self.media_path.set(leg, wanted);
    }

    /// A leg has neither any more.
    pub(super) fn stop_media_path(&self, leg: LegId) -> Option<Stopping> {
        let did = self.directory.negotiates_no_more(leg);
        did.then(|| {
            self.media_path.count(-1);
            self.media_path.stop(leg)
        })
    }

    /// Has legs that are about to be removed close their associations, while they have sockets to say it with. Waits for
    /// no peer.
    pub(super) async fn say_goodbye(&self, legs: impl IntoIterator<Item = LegId>) {
        let stopping: Vec<_> = legs.into_iter().filter_map(|leg| self.stop_media_path(leg)).collect();
        if !stopping.is_empty() {
            Stopping::told(stopping).await;
        }
    }

    /// Which addresses of a leg's peer checks have chosen, by component; none while they have not.
    pub(crate) async fn chosen(&self, session: &str, id: &str) -> Vec<(u16, SocketAddr)> {
        let asked = {
            let mut state = self.state.lock().await;
            let Ok(session) = state.session(session) else { return Vec::new() };
            let Ok(leg) = session.leg("leg", id) else { return Vec::new() };
            self.media_path.ask_for_chosen(leg.number)
        };
        asked.answer().await.unwrap_or_default()
    }

    /// Tells a leg more of its peer's candidates.
    pub(crate) async fn add_candidates(
        &self,
        session: &str,
        id: &str,
        lines: &[String],
        end: bool,
    ) -> Result<v1::Leg, ApiError> {
        let candidates = peer_candidates("candidates", lines)?;
        let shown = {
            let mut state = self.state.lock().await;
            let leg = state.session(session)?.leg("leg", id)?;
            if leg.config.ice.is_none() {
                let message = format!("leg {id:?} makes no connectivity checks");
                let remedy = "create the leg with ice";
                return Err(ApiError::precondition("NO_ICE", message, remedy).at("leg"));
            }
            self.media_path.add_candidates(leg.number, candidates, end);
            self.shown(&mut state, session, id)?
        };
        Ok(shown.told().await)
    }
}

/// A leg as it is, and what its handshake and checks have come to, which is yet to be told.
pub(super) struct Shown {
    pub(super) leg: v1::Leg,
    asked: Option<Asked<v1::MediaPath>>,
}

impl Shown {
    pub(super) fn new(gateway: &Gateway, number: LegId, leg: v1::Leg) -> Self {
        let has = leg.config.as_ref().is_some_and(|config| config.dtls.is_some() || config.ice.is_some());
        Self { leg, asked: has.then(|| gateway.media_path.ask(number)) }
    }

    /// All of it.
    pub(super) async fn told(self) -> v1::Leg {
        let media_path = match self.asked {
            Some(asked) => asked.answer().await,
            None => None,
        };
        v1::Leg { media_path, ..self.leg }
    }
}

/// Whether a handshake is the same; which certificate the gateway shows need not be said.
pub(super) fn same_dtls(there: Option<&v1::DtlsConfig>, wanted: Option<&v1::DtlsConfig>) -> bool {
    let (Some(there), Some(wanted)) = (there, wanted) else { return there == wanted };
    let mut said = wanted.clone();
    if said.own_fingerprint.is_empty() {
        said.own_fingerprint.clone_from(&there.own_fingerprint);
    }
    *there == said
}

/// Refuses what a leg cannot be that somebody makes by hand.
pub(super) fn check_media_path(config: &v1::LegConfig) -> Result<(), ApiError> {
    if (config.dtls.is_some() || config.ice.is_some()) && config.ring {
        let message = "a local application's ring has no handshake and no checks";
        return Err(ApiError::invalid("ring", message, "leave dtls and ice out"));
    }
    if config.dtls.is_some() && !config.rtcp_mux {
        // RFC 5764 section 4.1 has two handshakes then, with keys of their own.
        let message = "is needed with dtls: one handshake brings the keys of RTP and RTCP";
        return Err(ApiError::invalid("rtcp_mux", message, "set rtcp_mux, and have the peer take it"));
    }
    Ok(())
}

/// On a shared port connectivity checks find the leg by its own fragment.
pub(super) fn share_by_fragment(config: &mut v1::LegConfig) {
    if let Some(own) = config.ice.as_ref().and_then(|ice| ice.own.as_ref())
        && config.shared_port
        && config.ice_ufrag.is_empty()
    {
        config.ice_ufrag.clone_from(&own.ufrag);
    }
}

/// Where checks find the peer, nothing but them moves it; authentic media may come by any of its addresses.
pub(super) fn engine_latching(config: &v1::LegConfig, defaults: &Config) -> Latching {
    if config.ice.is_some() { Latching::Never } else { latching(config.latching(), defaults) }
}

/// A configuration as it may be shown: without passwords.
pub(super) fn without_secrets(config: &v1::LegConfig) -> v1::LegConfig {
    let mut shown = config.clone();
    if let Some(ice) = &mut shown.ice {
        for credentials in [&mut ice.own, &mut ice.peer].into_iter().flatten() {
            credentials.password.clear();
        }
    }
    shown
}
