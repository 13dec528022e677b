//! What offers and answers say of a DTLS handshake, and which association it is (RFC 5763, RFC 8122, RFC 8842).

use std::net::SocketAddr;

use sluice_srtp::Suite;

use super::agreed::OfferedDtls;
use super::levels::Levels;
use super::names::random_name;
use super::standing::StandingLine;
use super::{Fault, OwnMedia};
use crate::dtls_srtp::{AgreedDtls, Fingerprint, OwnDtls, PeerDtls, Role};
use crate::policy::{DtlsSetup, PeerPolicy};
use crate::sdp::Setup;

/// Most fingerprints of a media line that are looked at.
const MOST_FINGERPRINTS: usize = 64;
/// Characters of a `tls-id`: 144 random bits, of which there are to be "at least 120" (RFC 8842 section 4).
const TLS_ID: usize = 24;

/// What a peer says of a handshake to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) peer: PeerDtls,
    pub(super) setup: Setup,
}

impl Said {
    /// Reads what holds for a media line; none: it has no fingerprint. `default` is what `a=setup` means where it is not
    /// there: "'active' in the offer and 'passive' in the answer" (RFC 4145 section 4).
    pub(super) fn read(levels: &Levels<'_>, default: Setup) -> Result<Option<Self>, Fault> {
        let Some(fingerprints) = fingerprints(levels)? else { return Ok(None) };
        let setup = levels.first("setup").map(Setup::read).transpose()?.unwrap_or(default);
        let tls_id = match levels.first("tls-id").map(|attribute| attribute.text().trim()) {
            Some(id) if !is_tls_id(id) => return Err(Fault::TlsId),
            id => id.map(str::to_owned),
        };
        Ok(Some(Self { peer: PeerDtls { fingerprints, tls_id }, setup }))
    }
}

/// An association that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Association {
    pub(super) agreed: AgreedDtls,
    /// Where the peer was last.
    pub(super) remote: Option<SocketAddr>,
    /// Whether the next one is to be another.
    pub(super) ended: bool,
}

/// Where a peer is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) remote: Option<SocketAddr>,
    /// Whether checks find it: "it is not considered a change of local transport parameters when an endpoint switches
    /// between those ICE candidates" (RFC 8842 section 6).
    pub(super) by_checks: bool,
}

impl Association {
    /// Whether what the peer says now leaves it as it is, but for the role (RFC 8842 sections 3.1 and 4). It stays where
    /// the peer names it again, and fingerprints are the same; of peers that name nothing the address counts as well.
    fn stays(&self, said: &PeerDtls, place: Place) -> bool {
        let before = &self.agreed.peer;
        let named = match (&before.tls_id, &said.tls_id) {
            (Some(before), Some(now)) => before == now,
            (None, Some(_)) => false,
            (_, None) => place.by_checks || !self.has_moved(place.remote),
        };
        named && said.fingerprints == before.fingerprints
    }

    /// Who has no address for a while, as on hold, has not moved.
    fn has_moved(&self, remote: Option<SocketAddr>) -> bool {
        self.remote.zip(remote).is_some_and(|(before, now)| before != now)
    }
}

/// What the gateway answers.
pub(super) struct Answered {
    pub(super) setup: Setup,
    pub(super) own: OwnDtls,
    /// None: no handshake for now.
    pub(super) agreed: Option<AgreedDtls>,
}

/// The answer to what was offered.
pub(super) fn answer(
    said: &Said,
    place: Place,
    standing: Option<&StandingLine>,
    own: &Own<'_>,
    random: &mut dyn FnMut(&mut [u8]),
) -> Answered {
    let since = own.standing(standing);
    let stays = since.filter(|since| since.stays(&said.peer, place));
    let role = match said.setup {
        // "an attribute value that does not change the previously negotiated DTLS roles" (RFC 8842 section 5.3).
        Setup::ActPass => stays.map_or(own.preferred(), |stays| stays.agreed.role),
        Setup::Active => Role::Server,
        Setup::Passive => Role::Client,
        Setup::HoldConn => {
            let agreed = since.map(|since| since.agreed.clone());
            let own = agreed.as_ref().map_or_else(|| own.fresh(random), |agreed| agreed.own.clone());
            return Answered { setup: Setup::HoldConn, own, agreed };
        }
    };
    let stays = stays.filter(|stays| stays.agreed.role == role);
    let agreed = AgreedDtls {
        association: stays.map_or_else(|| next(standing), |stays| stays.agreed.association),
        role,
        own: stays.map_or_else(|| own.fresh(random), |stays| stays.agreed.own.clone()),
        peer: said.peer.clone(),
        suites: own.suites.clone(),
    };
    let setup = if role == Role::Client { Setup::Active } else { Setup::Passive };
    Answered { setup, own: agreed.own.clone(), agreed: Some(agreed) }
}

/// What is offered.
pub(super) fn offer(
    standing: Option<&StandingLine>,
    own: &Own<'_>,
    random: &mut dyn FnMut(&mut [u8]),
) -> OfferedDtls {
    let since = own.standing(standing).map(|since| since.agreed.clone());
    let setup = match own.policy.dtls_setup {
        // "the offerer MUST insert an SDP "setup" attribute with an "actpass" attribute value" (RFC 8842 section 5.5).
        _ if since.is_some() => Setup::ActPass,
        DtlsSetup::Actpass => Setup::ActPass,
        DtlsSetup::Active => Setup::Active,
        DtlsSetup::Passive => Setup::Passive,
    };
    OfferedDtls {
        own: since.as_ref().map_or_else(|| own.fresh(random), |since| since.own.clone()),
        setup,
        suites: own.suites.clone(),
        standing: since,
    }
}

/// What comes of an answer to what was offered. None: no handshake for now, and no association that stands.
pub(super) fn answered(
    offered: &OfferedDtls,
    standing: Option<&StandingLine>,
    said: &Said,
    place: Place,
) -> Result<Option<AgreedDtls>, Fault> {
    let role = match (offered.setup, said.setup) {
        (Setup::ActPass | Setup::Passive, Setup::Active) => Role::Server,
        (Setup::ActPass | Setup::Active, Setup::Passive) => Role::Client,
        (_, Setup::HoldConn) => return Ok(offered.standing.clone()),
        (offered, got) => return Err(Fault::Setup { offered: offered.name(), got: got.name() }),
    };
    let since = standing.and_then(|standing| standing.dtls.as_ref()).filter(|_| offered.standing.is_some());
    let stays = since.filter(|since| since.agreed.role == role && since.stays(&said.peer, place));
    Ok(Some(AgreedDtls {
        association: stays.map_or_else(|| next(standing), |stays| stays.agreed.association),
        role,
        own: offered.own.clone(),
        peer: said.peer.clone(),
        suites: offered.suites.clone(),
    }))
}

/// What stands from then on.
pub(super) fn association(
    agreed: Option<&AgreedDtls>,
    standing: Option<&StandingLine>,
    remote: Option<SocketAddr>,
) -> Option<Association> {
    let before = || standing.and_then(|standing| standing.dtls.as_ref()?.remote);
    agreed.map(|agreed| Association { agreed: agreed.clone(), remote: remote.or_else(before), ended: false })
}

/// The gateway, as it takes part in a handshake.
pub(super) struct Own<'a> {
    pub(super) media: &'a OwnMedia,
    pub(super) fingerprints: &'a [Fingerprint],
    pub(super) policy: &'a PeerPolicy,
    pub(super) suites: Vec<Suite>,
}

impl Own<'_> {
    /// The association that stands, unless its end here has changed (RFC 8842 sections 3.1 and 3.2).
    fn standing<'s>(&self, standing: Option<&'s StandingLine>) -> Option<&'s Association> {
        let standing = standing.filter(|standing| standing.keeps_keys(self.media))?;
        let same = |since: &&Association| !since.ended && since.agreed.own.fingerprints == self.fingerprints;
        standing.dtls.as_ref().filter(same)
    }

    /// Who begins where the peer leaves it to the gateway: "setup:active is RECOMMENDED", so that the handshake may
    /// begin before the answer is there (RFC 5763 section 5).
    fn preferred(&self) -> Role {
        if self.policy.dtls_setup == DtlsSetup::Passive { Role::Server } else { Role::Client }
    }

    /// With a name for a new association.
    fn fresh(&self, random: &mut dyn FnMut(&mut [u8])) -> OwnDtls {
        OwnDtls { fingerprints: self.fingerprints.to_vec(), tls_id: random_name(TLS_ID, random) }
    }
}

/// The number of a new association.
fn next(standing: Option<&StandingLine>) -> u32 {
    let before = standing.and_then(|standing| standing.dtls.as_ref());
    before.map_or(0, |before| before.agreed.association).saturating_add(1)
}

/// The fingerprints of a line that can be used, in one order, as a set of them is compared with another; none if it has none
/// at all.
fn fingerprints(levels: &Levels<'_>) -> Result<Option<Vec<Fingerprint>>, Fault> {
    let mut usable: Vec<Fingerprint> = Vec::new();
    let mut refused = None;
    for attribute in levels.all("fingerprint").take(MOST_FINGERPRINTS) {
        match attribute.text().parse() {
            Ok(fingerprint) => usable.push(fingerprint),
            Err(error) => _ = refused.get_or_insert(error),
        }
    }
    if usable.is_empty() {
        return refused.map_or(Ok(None), |error| Err(Fault::Fingerprint { error }));
    }
    usable.sort_by(|one, other| (one.hash(), one.digest()).cmp(&(other.hash(), other.digest())));
    usable.dedup();
    Ok(Some(usable))
}

fn is_tls_id(id: &str) -> bool {
    let is_char = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'-' | b'_');
    (20..=255).contains(&id.len()) && id.bytes().all(is_char)
}
