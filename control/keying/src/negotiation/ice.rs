//! What offers and answers say of ICE (RFC 8839, RFC 8840).

use std::net::SocketAddr;

use super::levels::Levels;
use super::{Fault, OwnAddresses};
use crate::ice::{AgreedIce, Candidate, Credentials, CredentialsError, MAX_PEER_CANDIDATES, OwnIce, PeerIce};
use crate::sdp::{Attribute, Media, SdpError};

/// Most candidates of a media line that are looked at, those of no use among them.
const MOST_CANDIDATES: usize = 128;
/// Components (RFC 8839 section 5.1).
const RTP: u16 = 1;
const RTCP: u16 = 2;

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) peer: PeerIce,
    /// Its default destination is none of its candidates: something on the way has changed it (RFC 8839 section 4.2.5).
    pub(super) mismatch: bool,
}

impl Said {
    /// Reads what holds for a media line; none: it does not take part. `rtp` and `rtcp` are its default destinations.
    pub(super) fn read(
        levels: &Levels<'_>,
        rtp: Option<SocketAddr>,
        rtcp: Option<SocketAddr>,
    ) -> Result<Option<Self>, Fault> {
        // "An ICE agent indicates support of ICE by including at least the SDP "ice-pwd" and "ice-ufrag" attributes".
        let Some((ufrag, password)) = levels.first("ice-ufrag").zip(levels.first("ice-pwd")) else {
            return Ok(None);
        };
        if levels.first("ice-mismatch").is_some() {
            return Ok(None);
        }
        let credentials = credentials(ufrag.text(), password.text())?;
        let candidates = levels.all("candidate").take(MOST_CANDIDATES).filter_map(candidate);
        let candidates: Vec<Candidate> = candidates.take(MAX_PEER_CANDIDATES).collect();
        let mut options = levels.all("ice-options").flat_map(|options| options.text().split(' '));
        let more = options.any(|option| option == "trickle") && levels.first("end-of-candidates").is_none();
        let among = |component, address: Option<SocketAddr>| {
            let mut of = candidates.iter().filter(|candidate| candidate.component == component);
            address.is_none_or(|address| of.any(|candidate| candidate.address == address))
        };
        let matches = among(RTP, rtp) && among(RTCP, rtcp);
        let mismatch = !(more || matches);
        let lite = levels.first("ice-lite").is_some();
        Ok(Some(Self { peer: PeerIce { credentials, candidates, lite, more }, mismatch }))
    }
}

/// What the gateway says of itself. `standing`: what it said before, if that goes on; none: it begins, or begins anew
/// (RFC 8839 sections 4.4.1.1.1 and 4.4.2.1).
pub(super) fn own(
    standing: Option<&OwnIce>,
    addresses: &OwnAddresses,
    lite: bool,
    with_rtcp: bool,
    random: &mut dyn FnMut(&mut [u8]),
) -> OwnIce {
    let fresh = || Credentials::generate(random);
    let credentials = standing.map_or_else(fresh, |standing| standing.credentials.clone());
    let candidates = addresses.candidates.iter().filter(|candidate| with_rtcp || candidate.component == RTP);
    OwnIce { credentials, candidates: candidates.cloned().collect(), lite }
}

/// Whether what the gateway said before may go on in an offer: a lite agent "MUST NOT add additional host candidates"
/// without a restart, and nobody may become another kind of agent (RFC 8839 sections 4.4.1.1.1 and 4.4.1.3).
pub(super) fn goes_on(standing: &OwnIce, addresses: &OwnAddresses, lite: bool) -> bool {
    let known = |candidate: &Candidate| candidate.component != RTP || standing.candidates.contains(candidate);
    standing.lite == lite && addresses.candidates.iter().all(known)
}

/// Without the candidates of RTCP, if that shares RTP's port.
pub(super) fn muxed(mut own: OwnIce, rtcp_mux: bool) -> OwnIce {
    own.candidates.retain(|candidate| !rtcp_mux || candidate.component == RTP);
    own
}

/// Whether RTCP has candidates of its own.
pub(super) fn has_rtcp(own: &OwnIce) -> bool {
    own.candidates.iter().any(|candidate| candidate.component == RTCP)
}

/// What was agreed on. `offers`: the gateway made the offer.
///
/// "Once the roles are determined for a session, they persist throughout the lifetime of the session"; a restart does not
/// change them unless one end has become another kind of agent (RFC 8445 section 6.1.1).
pub(super) fn agree(own: OwnIce, peer: PeerIce, offers: bool, standing: Option<&AgreedIce>) -> AgreedIce {
    let same = standing.filter(|before| before.own.lite == own.lite && before.peer.lite == peer.lite);
    let controlling = match (same, own.lite, peer.lite) {
        (Some(before), ..) => before.controlling,
        // "The full agent MUST take the controlling role"; of two alike it is who offers.
        (None, true, false) => false,
        (None, false, true) => true,
        (None, ..) => offers,
    };
    AgreedIce { controlling, own, peer }
}

/// Puts the gateway's lines in. `ice-lite` is the session's, and not among them.
pub(super) fn write(media: &mut Media, own: &OwnIce, selected: &[(u16, SocketAddr)]) -> Result<(), SdpError> {
    for candidate in &own.candidates {
        media.push_attribute("candidate", Some(&candidate_text(candidate)))?;
    }
    if !selected.is_empty() {
        let one = |(component, address): &(u16, SocketAddr)| {
            format!("{component} {} {}", address.ip(), address.port())
        };
        let all: Vec<_> = selected.iter().map(one).collect();
        media.push_attribute("remote-candidates", Some(&all.join(" ")))?;
    }
    media.push_attribute("end-of-candidates", None)?;
    media.push_attribute("ice-ufrag", Some(&own.credentials.ufrag))?;
    media.push_attribute("ice-pwd", Some(&own.credentials.password))?;
    // RFC 8839 section 4.2.5 and RFC 8840 section 4.1.1: what it says at once is all, and what comes later is taken.
    media.push_attribute("ice-options", Some("ice2 trickle"))
}

/// Reads a candidate; none if it is of no use: not over UDP, of a host's name, of a kind or component that is not known, which
/// are passed over (RFC 8839 section 5.1), or no candidate at all.
pub(super) fn candidate(attribute: Attribute<'_>) -> Option<Candidate> {
    let read: Candidate = attribute.text().parse().ok()?;
    let ip = read.address.ip();
    let reachable = !ip.is_unspecified() && !ip.is_multicast() && read.address.port() != 0;
    (reachable && matches!(read.component, RTP | RTCP)).then_some(read)
}

/// A candidate as the value of `a=candidate`.
pub(super) fn candidate_text(candidate: &Candidate) -> String {
    let line = candidate.to_string();
    line.strip_prefix("candidate:").map_or(line.clone(), str::to_owned)
}

/// What `a=ice-ufrag` and `a=ice-pwd` say.
pub(super) fn credentials(ufrag: &str, password: &str) -> Result<Credentials, CredentialsError> {
    Credentials::new(ufrag.trim(), password.trim())
}
