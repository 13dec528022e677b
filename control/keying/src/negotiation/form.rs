//! In which ways a medium is offered to a side: as SRTP, as plain RTP, or as both in one of three forms.

use super::NegotiationError;
use crate::policy::{Keying, Policy, Side};
use crate::sdp::{RtpProfile, Secured};

/// In which way a line is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// RTP/AVP(F).
    Plain,
    /// A secure profile.
    Secure,
    /// RTP/AVP(F) with crypto lines or fingerprints (RFC 8643).
    Osrtp,
    /// RTP/AVP(F), and a secure profile as a potential configuration (RFC 5939).
    Capabilities {
        /// The number of the first attribute capability, of which there is one for each line of keying, and of the
        /// transport capability.
        first: u32,
    },
}

/// By which keyings SRTP is offered, one at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keyings {
    /// The preferred one, which is SDES or DTLS-SRTP.
    pub(super) first: Keying,
    /// Whether the other one is offered beside it.
    pub(super) both: bool,
}

impl Keyings {
    /// What the policy has for a side. `dtls`: the gateway has a certificate there.
    pub(super) fn of(policy: &Policy, side: Side, dtls: bool) -> Option<Self> {
        let usable = |keying: &Keying| match keying {
            Keying::Sdes => policy.refuses_keying(side, *keying).is_none(),
            Keying::DtlsSrtp => dtls && policy.refuses_dtls(side).is_none(),
            _ => false,
        };
        let mut usable = policy.keyings_of(side).iter().copied().filter(usable);
        let first = usable.next()?;
        Some(Self { first, both: policy.peer(side).both_keyings && usable.next().is_some() })
    }

    /// One keying.
    pub(super) const fn only(first: Keying) -> Self {
        Self { first, both: false }
    }

    /// Whether a keying is offered.
    pub(super) fn has(self, keying: Keying) -> bool {
        self.both || self.first == keying
    }

    /// The secure profile: UDP/TLS/RTP/SAVP(F) is keyed by nothing but a handshake (RFC 5764 section 8).
    pub(super) fn secured(self) -> Secured {
        if self.has(Keying::Sdes) { Secured::Srtp } else { Secured::DtlsSrtp }
    }
}

/// What a side may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ways {
    /// Plain RTP only.
    Plain,
    /// SRTP only.
    Secure,
    /// SRTP or else plain RTP.
    Both,
}

impl Ways {
    /// What the policy takes of a side.
    ///
    /// # Errors
    /// [`NegotiationError::NothingToOffer`] if that is nothing.
    pub(super) fn of(policy: &Policy, side: Side) -> Result<Self, NegotiationError> {
        let secure = policy.refuses_srtp(side).or_else(|| policy.refuses_keys(side));
        match (secure, policy.refuses_plain(side)) {
            (None, None) => Ok(Self::Both),
            (None, Some(_)) => Ok(Self::Secure),
            (Some(_), None) => Ok(Self::Plain),
            (Some(violation), Some(_)) => Err(NegotiationError::NothingToOffer(violation)),
        }
    }
}

impl Form {
    /// The profile on the media line, of which the secure one is given.
    pub(super) const fn profile(self, secured: Secured, feedback: bool) -> RtpProfile {
        let secured = match self {
            Self::Secure => secured,
            _ => Secured::Plain,
        };
        RtpProfile::new(secured, feedback)
    }
}
