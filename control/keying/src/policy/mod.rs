//! What may be negotiated: the operator's policy, and each session's own.
//!
//! - [`Policy::check`] finds what a policy contradicts itself in, before it is used.
//! - [`Policy::refuses_suite`] and its like say which rule refuses what a peer asks for.
//! - [`Policy::with`] puts a session's own rules over the configuration's.
//!
//! Rules are named as they are written in the configuration: `policy.suites`, `policy.caller.security`.

mod check;
mod overrides;
mod peer;
mod refusal;

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use sluice_srtp::Suite;

pub use check::PolicyError;
pub use overrides::{PeerOverrides, PolicyOverrides};
pub use peer::{DtlsSetup, Feedback, IceUse, PeerPolicy};
pub use refusal::{PolicyViolation, Rule, fips_approved};

use crate::robustness::RobustnessClass;

/// How a leg gets its keys (RFC 5479 appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keying {
    /// None: plain RTP.
    None,
    /// SDP security descriptions (RFC 4568).
    Sdes,
    /// DTLS-SRTP (RFC 5763, 5764): `a=fingerprint`.
    DtlsSrtp,
    /// MIKEY in SDP (RFC 4567): `a=key-mgmt`.
    Mikey,
    /// ZRTP (RFC 6189): `a=zrtp-hash`.
    Zrtp,
    /// Keys that the caller of the API installs itself.
    Static,
}

impl Keying {
    /// Every keying.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Sdes, Self::DtlsSrtp, Self::Mikey, Self::Zrtp, Self::Static];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sdes => "sdes",
            Self::DtlsSrtp => "dtls-srtp",
            Self::Mikey => "mikey",
            Self::Zrtp => "zrtp",
            Self::Static => "static",
        }
    }
}

impl fmt::Display for Keying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of the two peers of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who offered first.
    Caller,
    /// Who answered.
    Callee,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Caller, Self::Callee];
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
        })
    }
}

/// What a peer must be offered, and may answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// SRTP or nothing.
    #[default]
    Required,
    /// SRTP whenever the peer can, plain RTP otherwise (R-BEST-SECURE).
    BestEffort,
    /// Plain RTP only, as at a gateway to the PSTN (R-PSTN).
    Plain,
}

impl Security {
    /// Whether plain RTP may come of it.
    pub const fn allows_plain(self) -> bool {
        !matches!(self, Self::Required)
    }

    /// Whether SRTP may come of it.
    pub const fn allows_srtp(self) -> bool {
        !matches!(self, Self::Plain)
    }
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "required",
            Self::BestEffort => "best-effort",
            Self::Plain => "plain",
        })
    }
}

/// In which form SRTP and RTP are offered beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BestEffortForm {
    /// RTP/AVP(F) with `a=crypto` or `a=fingerprint` (RFC 8643).
    #[default]
    Osrtp,
    /// Potential configurations (RFC 5939).
    Capabilities,
    /// Two media lines, the secure one first.
    DualLines,
}

/// What becomes of `a=rtcp-mux` or of a BUNDLE group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handling {
    /// It ends at the gateway: each side has its own. A BUNDLE group that is keyed by DTLS-SRTP and cannot be taken apart,
    /// as its lines have no addresses of their own, passes all the same.
    #[default]
    Terminate,
    /// What one peer says the other gets, and the gateway does as both agree.
    Pass,
}

/// What becomes of a media line whose keying the gateway does not speak itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignKeying {
    /// Its attributes are taken out; what is left is negotiated.
    #[default]
    Remove,
    /// The line goes to the other peer as it is, address and all: that medium does not pass the gateway.
    Pass,
    /// The offer is refused.
    Refuse,
}

/// How rollover counters go on when a re-offer brings a new key, as peers differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RocOnRekey {
    /// The counter goes on (RFC 3711: a stream's index is the stream's, whatever its key).
    #[default]
    Keep,
    /// It begins anew at 0 with each key.
    Reset,
    /// It is sent on; of what is received the one that authenticates counts.
    TryBoth,
}

/// What becomes of media that arrives before its answer (R-AVOID-CLIPPING, R-ALLOW-RTP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyMediaMode {
    /// It is kept, and played out in order once it is known how it is protected.
    #[default]
    Hold,
    /// It is let through as plain RTP until SRTP is negotiated, and refused from then on.
    Plain,
    /// It is dropped.
    Drop,
}

/// Media that arrives before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EarlyMedia {
    /// What becomes of it.
    pub mode: EarlyMediaMode,
    /// Most packets that are kept for a leg; the oldest goes first. 1 to 1024.
    pub packets: u16,
    /// Longest time that one is kept, in milliseconds. 1 to 10,000.
    pub milliseconds: u16,
}

impl Default for EarlyMedia {
    fn default() -> Self {
        Self { mode: EarlyMediaMode::Hold, packets: 128, milliseconds: 2_000 }
    }
}

/// What may be negotiated. The configuration has one, and each session may have its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Suites, the preferred one first. In `serde` form by their IANA names.
    #[serde(deserialize_with = "suites", serialize_with = "names")]
    pub suites: Vec<Suite>,
    /// Keyings, the preferred one first.
    pub keyings: Vec<Keying>,
    /// The lowest class of keying that is taken.
    pub lowest_robustness: RobustnessClass,
    /// Algorithms that FIPS 140 approves only (R-FIPS).
    pub fips_only: bool,
    /// Towards who offered first.
    pub caller: PeerPolicy,
    /// Towards who answered.
    pub callee: PeerPolicy,
    /// What becomes of keyings that are not the gateway's.
    pub foreign_keying: ForeignKeying,
    /// Rollover counters when keys change.
    pub roc_on_rekey: RocOnRekey,
    /// Media before the answer.
    pub early_media: EarlyMedia,
    /// How long a branch may go without a final answer, in seconds (R-HERFP). 1 to 3600.
    pub branch_timeout_seconds: u16,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            suites: vec![
                Suite::AeadAes256Gcm,
                Suite::AeadAes128Gcm,
                Suite::AesCm128HmacSha1_80,
                Suite::AesCm128HmacSha1_32,
            ],
            keyings: vec![Keying::Sdes, Keying::DtlsSrtp, Keying::None],
            lowest_robustness: RobustnessClass::NoSignalingPassiveMedia,
            fips_only: false,
            caller: PeerPolicy::default(),
            callee: PeerPolicy::default(),
            foreign_keying: ForeignKeying::default(),
            roc_on_rekey: RocOnRekey::default(),
            early_media: EarlyMedia::default(),
            branch_timeout_seconds: 180,
        }
    }
}

impl Policy {
    /// What holds towards one side.
    pub const fn peer(&self, side: Side) -> &PeerPolicy {
        match side {
            Side::Caller => &self.caller,
            Side::Callee => &self.callee,
        }
    }

    /// The suites that may be negotiated, the preferred one first: [`Self::suites`], and of them under
    /// [`Self::fips_only`] the approved ones.
    pub fn usable_suites(&self) -> impl Iterator<Item = Suite> + '_ {
        self.suites.iter().copied().filter(|suite| !self.fips_only || fips_approved(*suite))
    }

    /// Of [`Self::usable_suites`] those that a DTLS handshake can agree on (RFC 5764 section 4.1.2, RFC 7714 section
    /// 14.2, RFC 8723 section 10.1).
    pub fn dtls_suites(&self) -> impl Iterator<Item = Suite> + '_ {
        self.usable_suites().filter(|suite| has_dtls_profile(*suite))
    }

    /// The keyings on one side, the preferred one first.
    pub fn keyings_of(&self, side: Side) -> &[Keying] {
        self.peer(side).keyings.as_deref().unwrap_or(&self.keyings)
    }

    /// The lowest class of keying that is taken from a side.
    pub fn floor(&self, side: Side) -> RobustnessClass {
        self.peer(side).lowest_robustness.unwrap_or(self.lowest_robustness)
    }
}

/// Suites that encrypt nothing have profiles as well; they are left out.
const fn has_dtls_profile(suite: Suite) -> bool {
    matches!(
        suite,
        Suite::AesCm128HmacSha1_80
            | Suite::AesCm128HmacSha1_32
            | Suite::AeadAes128Gcm
            | Suite::AeadAes256Gcm
            | Suite::DoubleAeadAes128Gcm
            | Suite::DoubleAeadAes256Gcm
    )
}

fn suites<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Suite>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().map(|name| name.parse().map_err(serde::de::Error::custom)).collect()
}

fn names<S: Serializer>(suites: &[Suite], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(suites.iter().map(|suite| suite.name()))
}

#[cfg(test)]
mod tests;
