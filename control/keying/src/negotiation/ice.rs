//! What offers and answers say of ICE (RFC 8839, RFC 8840).

use std::net::{IpAddr, SocketAddr};

use zeroize::Zeroizing;

use super::levels::Levels;
use super::names::random_name;
use super::{Fault, OwnAddresses};
use crate::ice::{AgreedIce, Candidate, CandidateKind, Credentials, OwnIce, PeerIce};
use crate::sdp::{self, Attribute, Media, SdpError};

/// Most candidates of a media line that are looked at.
const MOST_CANDIDATES: usize = 128;
/// Letters of the gateway's user name fragments: 48 random bits, of which there are to be "at least 24", and so many that
/// those of one shared port differ.
const UFRAG: usize = 8;
/// Letters of its passwords: 144 random bits, of which there are to be "at least 128" (RFC 8445 section 5.3).
const PASSWORD: usize = 24;
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
        let credentials = credentials(ufrag.text(), password.text()).ok_or(Fault::IceCredentials)?;
        let candidates: Vec<Candidate> =
            levels.all("candidate").take(MOST_CANDIDATES).filter_map(candidate).collect();
        let mut options = levels.all("ice-options").flat_map(|options| options.text().split(' '));
        let more = options.any(|option| option == "trickle") && levels.first("end-of-candidates").is_none();
        let among = |component, address: Option<SocketAddr>| {
            let mut of = candidates.iter().filter(|candidate| candidate.component == component);
            address.is_none_or(|address| of.any(|candidate| candidate.address == address))
        };
        let mismatch = !more && !(among(RTP, rtp) && among(RTCP, rtcp));
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
    let fresh = || Credentials {
        ufrag: random_name(UFRAG, random),
        password: Zeroizing::new(random_name(PASSWORD, random)),
    };
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

/// Reads a candidate; none if it is of no use: not over UDP, a host's name, or of a kind that is not known, which are
/// passed over (RFC 8839 section 5.1).
pub(super) fn candidate(attribute: Attribute<'_>) -> Option<Candidate> {
    let read = sdp::Candidate::read(attribute).ok()?;
    let kind = match read.kind {
        "host" => CandidateKind::Host,
        "srflx" => CandidateKind::ServerReflexive,
        "prflx" => CandidateKind::PeerReflexive,
        "relay" => CandidateKind::Relayed,
        _ => return None,
    };
    let ip: IpAddr = read.address.parse().ok()?;
    let reachable = !ip.is_unspecified() && !ip.is_multicast() && read.port != 0;
    let known = read.transport.eq_ignore_ascii_case("UDP") && matches!(read.component, RTP | RTCP);
    let short = (1..=32).contains(&read.foundation.len());
    (reachable && known && short).then(|| Candidate {
        foundation: read.foundation.to_owned(),
        component: read.component,
        priority: read.priority,
        address: SocketAddr::new(ip, read.port),
        kind,
        related: None,
        extensions: Vec::new(),
    })
}

/// A candidate as `a=candidate` has it. The related address is one that hides what is behind it (RFC 8839 section 5.1).
pub(super) fn candidate_text(candidate: &Candidate) -> String {
    let Candidate { foundation, component, priority, address, kind, .. } = candidate;
    let (kind, related) = match kind {
        CandidateKind::Host => ("host", false),
        CandidateKind::ServerReflexive => ("srflx", true),
        CandidateKind::PeerReflexive => ("prflx", true),
        CandidateKind::Relayed => ("relay", true),
    };
    let related = match address.ip() {
        _ if !related => "",
        IpAddr::V4(_) => " raddr 0.0.0.0 rport 9",
        IpAddr::V6(_) => " raddr :: rport 9",
    };
    format!("{foundation} {component} UDP {priority} {} {} typ {kind}{related}", address.ip(), address.port())
}

/// Peers write other characters than RFC 8839 section 5.4 has too; a colon would end the fragment in a check.
pub(super) fn credentials(ufrag: &str, password: &str) -> Option<Credentials> {
    let (ufrag, password) = (ufrag.trim(), password.trim());
    let is_char = |octet: u8| octet.is_ascii_graphic() && octet != b':';
    let fits = |text: &str, least: usize| (least..=256).contains(&text.len()) && text.bytes().all(is_char);
    (fits(ufrag, 4) && fits(password, 22))
        .then(|| Credentials { ufrag: ufrag.to_owned(), password: Zeroizing::new(password.to_owned()) })
}
