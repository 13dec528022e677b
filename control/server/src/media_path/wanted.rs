//! What a leg's handshake and checks are to be: from the API's fields, checked.

use std::net::SocketAddr;
use std::sync::Arc;

use sluice_keying::dtls_srtp::{Fingerprint, PeerDtls, Role};
use sluice_keying::ice::{Candidate, Credentials, OwnIce, PeerIce};
use sluice_proto::v1;
use sluice_srtp::{RocOnRekey, Suite};

use zeroize::Zeroizing;

use super::association::Name;
use super::identity::{Identity, OwnCertificates};
use crate::ApiError;
use crate::gateway::Negotiates;

/// Fingerprints of a peer that are looked at.
const MOST_FINGERPRINTS: usize = 16;
/// Of `a=tls-id` (RFC 8842 section 4).
const LONGEST_TLS_ID: usize = 255;
/// Candidates in one request.
pub(crate) const MOST_CANDIDATES: usize = 64;

/// What a leg's handshake and checks are to be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Where the leg receives RTP, and RTCP.
    pub(super) local: [SocketAddr; 2],
    /// The peer's address as signalling says it, if checks do not find it.
    pub(super) remote: Option<SocketAddr>,
    /// Whether media may go to where the handshake was made with, if checks do not find that.
    pub(super) learns: bool,
    pub(super) rtcp_mux: bool,
    pub(super) dtls: Option<WantedDtls>,
    pub(super) ice: Option<WantedIce>,
}

/// What a handshake is to be.
#[derive(Clone, Debug)]
pub(super) struct WantedDtls {
    pub(super) role: Role,
    /// Another one: another association.
    pub(super) name: Name,
    /// None: signalling has not told it yet.
    pub(super) peer: Option<PeerDtls>,
    /// The preferred one first.
    pub(super) suites: Vec<Suite>,
    pub(super) identity: Arc<Identity>,
    /// How rollover counters go on under keys of another association.
    pub(super) roc: RocOnRekey,
    /// Whether the peer's RTCP has tags of 32 bits where its RTP has.
    pub(super) short_tags: bool,
}

/// What checks are to be.
#[derive(Clone, Debug)]
pub(super) struct WantedIce {
    pub(super) own: OwnIce,
    pub(super) controlling: bool,
    pub(super) peer: Option<PeerIce>,
}

/// What [`Wanted::read`] needs beside a leg's configuration.
pub(crate) struct Surroundings<'a> {
    /// Where the leg receives RTP, and RTCP.
    pub(crate) local: [SocketAddr; 2],
    /// Whether its address may be learnt.
    pub(crate) learns: bool,
    pub(crate) certificates: &'a OwnCertificates,
    /// Candidates of the gateway.
    pub(crate) candidates: Vec<Candidate>,
}

impl Wanted {
    /// What of it there is.
    pub(crate) fn negotiates(&self) -> Negotiates {
        Negotiates { dtls: self.dtls.is_some(), ice: self.ice.is_some() }
    }

    /// Reads a leg's configuration, and fills in which certificate it shows; `None`: it has neither handshake nor checks.
    pub(crate) fn read(
        config: &mut v1::LegConfig,
        around: Surroundings<'_>,
    ) -> Result<Option<Self>, ApiError> {
        if config.dtls.is_none() && config.ice.is_none() {
            return Ok(None);
        }
        let dtls = match &mut config.dtls {
            Some(dtls) => Some(dtls_of(dtls, around.certificates)?),
            None => None,
        };
        if dtls.is_some() {
            let srtp = |protection| protection == v1::Protection::Srtp;
            if !srtp(config.inbound()) || !srtp(config.outbound()) {
                let message = "brings keys, and a direction of the leg is plain";
                let remedy = "set inbound and outbound to PROTECTION_SRTP, or leave dtls out";
                return Err(ApiError::invalid("dtls", message, remedy));
            }
        }
        let ice = config.ice.as_ref().map(|ice| ice_of(ice, around.candidates)).transpose()?;
        let remote = if ice.is_some() { None } else { config.remote.parse().ok() };
        Ok(Some(Self {
            local: around.local,
            remote,
            learns: around.learns,
            rtcp_mux: config.rtcp_mux,
            dtls,
            ice,
        }))
    }
}

fn dtls_of(dtls: &mut v1::DtlsConfig, certificates: &OwnCertificates) -> Result<WantedDtls, ApiError> {
    if dtls.peer_fingerprints.len() > MOST_FINGERPRINTS {
        let message = format!("has {} entries", dtls.peer_fingerprints.len());
        return Err(ApiError::invalid("dtls.peer_fingerprints", message, "give at most 16"));
    }
    let read = |text: &String| {
        text.parse::<Fingerprint>().map_err(|error| {
            let message = format!("{text:?}: {error}");
            ApiError::invalid("dtls.peer_fingerprints", message, "give the values of a=fingerprint")
        })
    };
    let fingerprints = dtls.peer_fingerprints.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    for (field, id) in [("dtls.tls_id", &dtls.tls_id), ("dtls.peer_tls_id", &dtls.peer_tls_id)] {
        // tls-id = 20*255(ALPHA / DIGIT / "+" / "/" / "-" / "_"); nobody holds peers to its length.
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_');
        if id.len() > LONGEST_TLS_ID || !id.chars().all(fits) {
            let message = "is no tls-id (RFC 8842 section 4)";
            return Err(ApiError::invalid(field, message, "give at most 255 letters, digits, + / - and _"));
        }
    }
    let mut suites = Vec::with_capacity(dtls.suites.len());
    for name in &dtls.suites {
        suites.push(name.parse::<Suite>().map_err(|error| ApiError::from(error).at("dtls.suites"))?);
    }
    let identity = identity_of(&dtls.own_fingerprint, certificates)?;
    identity.name().clone_into(&mut dtls.own_fingerprint);
    let peer_tls_id = Some(dtls.peer_tls_id.clone()).filter(|id| !id.is_empty());
    Ok(WantedDtls {
        role: match dtls.role() {
            v1::DtlsRole::Client => Role::Client,
            v1::DtlsRole::Server | v1::DtlsRole::Unspecified => Role::Server,
        },
        name: Name { number: dtls.association, tls_id: dtls.tls_id.clone() },
        peer: (!fingerprints.is_empty()).then_some(PeerDtls { fingerprints, tls_id: peer_tls_id }),
        suites,
        identity,
        // Peers differ: browsers begin at 0 under the keys of another association, others go on.
        roc: RocOnRekey::TryBoth,
        short_tags: dtls.short_rtcp_tags,
    })
}

fn identity_of(name: &str, certificates: &OwnCertificates) -> Result<Arc<Identity>, ApiError> {
    if name.is_empty() {
        return certificates.newest().map_err(|error| ApiError::unavailable(error.to_string()));
    }
    certificates.find(name).ok_or_else(|| {
        let message = format!("{name:?} is of none of the gateway's certificates");
        let remedy = "leave it out, or give one that GetInfo lists";
        ApiError::invalid("dtls.own_fingerprint", message, remedy)
    })
}

fn ice_of(ice: &v1::IceConfig, candidates: Vec<Candidate>) -> Result<WantedIce, ApiError> {
    let Some(own) = &ice.own else {
        let remedy = "give the ufrag and password that the peer is told";
        return Err(ApiError::invalid("ice.own", "is not there", remedy));
    };
    let own = OwnIce { credentials: credentials("ice.own", own)?, candidates, lite: !ice.full };
    let peer = match &ice.peer {
        Some(peer) => Some(PeerIce {
            credentials: credentials("ice.peer", peer)?,
            candidates: peer_candidates("ice.peer_candidates", &ice.peer_candidates)?,
            lite: ice.peer_lite,
            more: ice.trickle,
        }),
        None => None,
    };
    Ok(WantedIce { own, controlling: ice.controlling, peer })
}

/// Peers write other characters than RFC 8839 section 5.4 has too; a colon would end the fragment in a check.
fn credentials(field: &'static str, given: &v1::IceCredentials) -> Result<Credentials, ApiError> {
    let is_char = |octet: u8| octet.is_ascii_graphic() && octet != b':';
    let fits = |text: &str, least: usize| (least..=256).contains(&text.len()) && text.bytes().all(is_char);
    if !fits(&given.ufrag, 4) || !fits(&given.password, 22) {
        let message =
            "is no fragment of 4 to 256 characters and password of 22 to 256 (RFC 8839 section 5.4)";
        return Err(ApiError::invalid(field, message, "give letters, digits, + and /"));
    }
    Ok(Credentials { ufrag: given.ufrag.clone(), password: Zeroizing::new(given.password.clone()) })
}

/// Candidates as they stand in lines; those that are of no use are passed over.
pub(crate) fn peer_candidates(field: &'static str, lines: &[String]) -> Result<Vec<Candidate>, ApiError> {
    if lines.len() > MOST_CANDIDATES {
        let message = format!("has {} entries", lines.len());
        return Err(ApiError::exhausted("LIMIT", message, "give at most 64 at a time").at(field));
    }
    Candidate::list(lines.iter().map(String::as_str))
        .map_err(|error| ApiError::invalid(field, error.to_string(), "give the values of a=candidate"))
}
