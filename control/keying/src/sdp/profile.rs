//! Profiles of RTP over UDP, by the names that m= has for them.

use std::fmt;
use std::str::FromStr;

/// What protects packets of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Secured {
    /// Nothing, by the profile's name.
    Plain,
    /// SRTP, keyed by signalling: RTP/SAVP (RFC 3711), RTP/SAVPF (RFC 5124).
    Srtp,
    /// SRTP, keyed by DTLS: UDP/TLS/RTP/SAVP, UDP/TLS/RTP/SAVPF (RFC 5764 section 8).
    DtlsSrtp,
}

/// A profile of RTP over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RtpProfile {
    /// What protects it.
    pub secured: Secured,
    /// Whether RTCP may be sent early (RFC 4585): the F.
    pub feedback: bool,
}

impl RtpProfile {
    /// A profile.
    pub const fn new(secured: Secured, feedback: bool) -> Self {
        Self { secured, feedback }
    }

    /// Its name in m=.
    pub const fn name(self) -> &'static str {
        match (self.secured, self.feedback) {
            (Secured::Plain, false) => "RTP/AVP",
            (Secured::Plain, true) => "RTP/AVPF",
            (Secured::Srtp, false) => "RTP/SAVP",
            (Secured::Srtp, true) => "RTP/SAVPF",
            (Secured::DtlsSrtp, false) => "UDP/TLS/RTP/SAVP",
            (Secured::DtlsSrtp, true) => "UDP/TLS/RTP/SAVPF",
        }
    }
}

impl fmt::Display for RtpProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A transport protocol that is not RTP over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no profile of RTP over UDP")]
pub struct NoProfile;

impl FromStr for RtpProfile {
    type Err = NoProfile;

    fn from_str(name: &str) -> Result<Self, NoProfile> {
        let secured = [Secured::Plain, Secured::Srtp, Secured::DtlsSrtp];
        let mut all = secured.into_iter().flat_map(|it| [Self::new(it, false), Self::new(it, true)]);
        all.find(|profile| profile.name().eq_ignore_ascii_case(name)).ok_or(NoProfile)
    }
}
