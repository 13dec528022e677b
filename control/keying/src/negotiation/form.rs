//! In which ways a medium is offered to a side: as SRTP, as plain RTP, or as both in one of three forms.

use super::NegotiationError;
use crate::policy::{Keying, Policy, Side};
use crate::sdp::{RtpProfile, Secured};

/// In which way a line is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// RTP/AVP(F).
    Plain,
    /// RTP/SAVP(F) with crypto lines.
    Secure,
    /// RTP/AVP(F) with crypto lines (RFC 8643).
    Osrtp,
    /// RTP/AVP(F), and RTP/SAVP(F) as a potential configuration (RFC 5939).
    Capabilities {
        /// The number of the first attribute capability, of which there is one for each crypto line, and of the
        /// transport capability.
        first: u32,
    },
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
        let secure = policy.refuses_srtp(side).or_else(|| policy.refuses_keying(Keying::Sdes));
        match (secure, policy.refuses_plain(side)) {
            (None, None) => Ok(Self::Both),
            (None, Some(_)) => Ok(Self::Secure),
            (Some(_), None) => Ok(Self::Plain),
            (Some(violation), Some(_)) => Err(NegotiationError::NothingToOffer(violation)),
        }
    }
}

impl Form {
    /// The profile on the media line.
    pub(super) const fn profile(self, feedback: bool) -> RtpProfile {
        let secured = match self {
            Self::Secure => Secured::Srtp,
            _ => Secured::Plain,
        };
        RtpProfile::new(secured, feedback)
    }
}
