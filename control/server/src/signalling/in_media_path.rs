//! Handshakes and checks of a call: from what is offered and agreed on to what legs are told.

use std::sync::Arc;

use sluice_keying::dtls_srtp::{AgreedDtls, OwnDtls, Role};
use sluice_keying::ice::{AgreedIce, Candidate, Credentials, MAX_PEER_CANDIDATES, OwnIce};
use sluice_keying::negotiation::{Agreed, Offered, OfferedDtls, OwnAddresses, OwnMedia};
use sluice_keying::policy::{IceUse, PeerPolicy};
use sluice_keying::sdp::Setup;
use sluice_proto::v1;
use sluice_srtp::Suite;

use super::Signalling;
use super::call::MediaLeg;
use crate::ApiError;
use crate::gateway::Reserved;

/// What a leg is told of its handshake and its checks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) dtls: Option<v1::DtlsConfig>,
    pub(super) ice: Option<v1::IceConfig>,
}

impl Signalling {
    /// What the gateway can do where a leg is to receive, in the media path as well.
    pub(super) fn own_media(&self, at: &Reserved, policy: &PeerPolicy) -> Result<OwnMedia, ApiError> {
        let identity = self.gateway.media_path.certificates.newest();
        let identity = identity.map_err(|error| ApiError::unavailable(error.to_string()))?;
        let candidates = crate::media_path::own_candidates(&self.gateway.config, [at.rtp, at.rtcp], false);
        let addresses = OwnAddresses { candidates, selected: Vec::new() };
        Ok(OwnMedia {
            dtls: Some(Arc::clone(identity.fingerprints())),
            ice: (policy.ice != IceUse::Off).then(|| Arc::new(addresses)),
            ..OwnMedia::new(at.rtp, at.rtcp)
        })
    }
}

impl Signalling {
    /// What a leg is offered anew where it receives: who nominates says what checks have chosen (RFC 8839 section 4.4.1.2.2).
    pub(super) async fn own_now(&self, session: &str, id: &str, leg: &MediaLeg) -> OwnMedia {
        let controls =
            leg.agreed.as_ref().and_then(|agreed| agreed.ice.as_ref()).is_some_and(|ice| ice.controlling);
        let Some(addresses) = leg.own.ice.as_deref().filter(|_| controls) else { return leg.own.clone() };
        let selected = self.gateway.chosen(session, id).await;
        OwnMedia { ice: Some(Arc::new(OwnAddresses { selected, ..addresses.clone() })), ..leg.own.clone() }
    }
}

impl Told {
    /// What is offered to a leg's peer: a handshake may come before the answer does, and so may checks.
    pub(super) fn offered(offered: &Offered, leg: Option<&MediaLeg>, policy: &PeerPolicy) -> Self {
        let before = leg.and_then(|leg| leg.agreed.as_ref());
        let dtls = match &offered.dtls {
            // What stands goes on until the answer says otherwise.
            Some(OfferedDtls { standing: Some(_), .. }) => leg.and_then(|leg| leg.told.dtls.clone()),
            Some(new) => Some(dtls_offered(new, leg, policy)),
            // The answer may yet leave it as it was.
            None => leg.and_then(|leg| leg.told.dtls.clone()),
        };
        let ice = match &offered.ice {
            Some(own) => Some(ice_offered(own, before.and_then(|before| before.ice.as_ref()))),
            None => leg.and_then(|leg| leg.told.ice.clone()),
        };
        Self { dtls, ice }
    }

    /// What was agreed on.
    pub(super) fn agreed(agreed: &Agreed, leg: Option<&MediaLeg>, policy: &PeerPolicy) -> Self {
        let dtls = match (&agreed.dtls, &agreed.inbound) {
            (Some(dtls), _) => {
                let number = leg.map_or(0, |leg| leg.association(Some(dtls)));
                Some(dtls_agreed(dtls, number, policy))
            }
            // "holdconn": what there is stays for now.
            (None, sluice_keying::negotiation::Protected::InMediaPath) => {
                leg.and_then(|leg| leg.told.dtls.clone())
            }
            (None, _) => None,
        };
        Self { dtls, ice: agreed.ice.as_ref().map(ice_agreed) }
    }

    /// Fills in what of it is another thing than what a leg was told before; whether there is anything.
    pub(super) fn changes(&self, before: &Self, request: &mut v1::UpdateLegRequest) -> bool {
        if self.dtls != before.dtls {
            request.dtls.clone_from(&self.dtls);
            request.without_dtls = self.dtls.is_none();
        }
        if self.ice != before.ice {
            request.ice.clone_from(&self.ice);
            request.without_ice = self.ice.is_none();
        }
        self != before
    }
}

impl MediaLeg {
    /// The number of the association that is agreed on: another one if the gateway calls two the same.
    pub(super) fn association(&self, now: Option<&AgreedDtls>) -> u32 {
        let before = self.agreed.as_ref().and_then(|agreed| agreed.dtls.as_ref());
        let is_another = before
            .zip(now)
            .is_some_and(|(before, now)| before.own.tls_id == now.own.tls_id && !now.continues(before));
        if is_another { self.association.saturating_add(1) } else { self.association }
    }
}

fn dtls_offered(offered: &OfferedDtls, leg: Option<&MediaLeg>, policy: &PeerPolicy) -> v1::DtlsConfig {
    let role = if offered.setup == Setup::Active { Role::Client } else { Role::Server };
    let number = leg.map_or(0, |leg| leg.association);
    v1::DtlsConfig { role: shown(role).into(), ..dtls(&offered.own, &offered.suites, number, policy) }
}

fn dtls_agreed(agreed: &AgreedDtls, number: u32, policy: &PeerPolicy) -> v1::DtlsConfig {
    v1::DtlsConfig {
        role: shown(agreed.role).into(),
        peer_fingerprints: agreed.peer.fingerprints.iter().map(ToString::to_string).collect(),
        peer_tls_id: agreed.peer.tls_id.clone().unwrap_or_default(),
        ..dtls(&agreed.own, &agreed.suites, number, policy)
    }
}

fn dtls(own: &OwnDtls, suites: &[Suite], number: u32, policy: &PeerPolicy) -> v1::DtlsConfig {
    v1::DtlsConfig {
        tls_id: own.tls_id.clone(),
        suites: suites.iter().map(|suite| suite.name().to_owned()).collect(),
        own_fingerprint: own.fingerprints.first().map(ToString::to_string).unwrap_or_default(),
        association: number,
        short_rtcp_tags: policy.short_rtcp_tags,
        ..Default::default()
    }
}

const fn shown(role: Role) -> v1::DtlsRole {
    match role {
        Role::Client => v1::DtlsRole::Client,
        Role::Server => v1::DtlsRole::Server,
    }
}

/// Before an answer: of the peer holds what held, unless the gateway begins anew.
fn ice_offered(own: &OwnIce, before: Option<&AgreedIce>) -> v1::IceConfig {
    match before.filter(|before| before.own.credentials == own.credentials) {
        Some(before) => ice_agreed(&AgreedIce { own: own.clone(), ..before.clone() }),
        None => v1::IceConfig {
            full: !own.lite,
            // Of two alike it is who offers (RFC 8445 section 6.1.1).
            controlling: before.map_or(!own.lite, |before| before.controlling),
            own: Some(credentials(&own.credentials)),
            ..Default::default()
        },
    }
}

fn ice_agreed(agreed: &AgreedIce) -> v1::IceConfig {
    let candidates = agreed.peer.candidates.iter().take(MAX_PEER_CANDIDATES);
    v1::IceConfig {
        full: !agreed.own.lite,
        controlling: agreed.controlling,
        own: Some(credentials(&agreed.own.credentials)),
        peer: Some(credentials(&agreed.peer.credentials)),
        peer_candidates: candidates.map(Candidate::to_string).collect(),
        peer_lite: agreed.peer.lite,
        trickle: agreed.peer.more,
    }
}

fn credentials(credentials: &Credentials) -> v1::IceCredentials {
    v1::IceCredentials { ufrag: credentials.ufrag.clone(), password: credentials.password.to_string() }
}
