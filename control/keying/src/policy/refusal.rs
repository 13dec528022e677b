//! What a policy refuses of what peers ask for, and by which rule.

use std::fmt;

use sluice_srtp::Suite;
use thiserror::Error;

use super::{Keying, Policy, Security, Side};
use crate::negotiation::{Agreed, Protected};
use crate::robustness::{self, Attested, RobustnessClass};

/// A rule of a policy. Its text is where it stands in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// `policy.suites`
    Suites,
    /// `policy.keyings`
    Keyings,
    /// `policy.lowest_robustness`
    LowestRobustness,
    /// `policy.fips_only`
    FipsOnly,
    /// `policy.foreign_keying`
    ForeignKeying,
    /// `policy.caller.security`, `policy.callee.security`
    Security(Side),
    /// `policy.caller.keyings`, `policy.callee.keyings`
    PeerKeyings(Side),
    /// `policy.caller.lowest_robustness`, `policy.callee.lowest_robustness`
    PeerLowestRobustness(Side),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suites => f.write_str("policy.suites"),
            Self::Keyings => f.write_str("policy.keyings"),
            Self::LowestRobustness => f.write_str("policy.lowest_robustness"),
            Self::FipsOnly => f.write_str("policy.fips_only"),
            Self::ForeignKeying => f.write_str("policy.foreign_keying"),
            Self::Security(side) => write!(f, "policy.{side}.security"),
            Self::PeerKeyings(side) => write!(f, "policy.{side}.keyings"),
            Self::PeerLowestRobustness(side) => write!(f, "policy.{side}.lowest_robustness"),
        }
    }
}

/// A refusal: the rule, what it says, and what it met.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{rule} refuses it: {reason}")]
pub struct PolicyViolation {
    /// The rule that refused.
    pub rule: Rule,
    /// What was refused, and what the rule takes.
    pub reason: String,
}

impl PolicyViolation {
    /// A refusal by a rule.
    pub fn new(rule: Rule, reason: impl Into<String>) -> Self {
        Self { rule, reason: reason.into() }
    }
}

/// Whether everything that a suite does to media is approved for FIPS 140 (R-FIPS).
///
/// These are AES in counter mode (SP 800-38A) with HMAC-SHA1 (FIPS 198-1), and AES-GCM (SP 800-38D), once or twice; the
/// key derivation of SRTP is approved with AES (SP 800-135). SHA-1 stays approved in HMAC until the end of 2030, when
/// NIST withdraws it; the GCM suites then remain, as they have none. Not approved are f8-mode, which NIST never took, and
/// ARIA and SEED. A suite that encrypts nothing is left out, though its HMAC is approved: who asks for approved
/// algorithms does not ask for none.
pub const fn fips_approved(suite: Suite) -> bool {
    matches!(
        suite,
        Suite::AesCm128HmacSha1_80
            | Suite::AesCm128HmacSha1_32
            | Suite::AesCm192HmacSha1_80
            | Suite::AesCm192HmacSha1_32
            | Suite::AesCm256HmacSha1_80
            | Suite::AesCm256HmacSha1_32
            | Suite::AeadAes128Gcm
            | Suite::AeadAes256Gcm
            | Suite::DoubleAeadAes128Gcm
            | Suite::DoubleAeadAes256Gcm
    )
}

impl Policy {
    /// Whether a suite is refused: it is not in [`Policy::suites`], or not approved under [`Policy::fips_only`].
    pub fn refuses_suite(&self, suite: Suite) -> Option<PolicyViolation> {
        if self.fips_only && !fips_approved(suite) {
            let reason = format!("{suite} is not approved for FIPS 140; {}", self.suites_taken());
            return Some(PolicyViolation::new(Rule::FipsOnly, reason));
        }
        let refusal =
            || PolicyViolation::new(Rule::Suites, format!("{suite} is not in it; {}", self.suites_taken()));
        (!self.suites.contains(&suite)).then(refusal)
    }

    /// Whether a keying is refused with a side: it is not in [`Policy::keyings_of`] it, or below the lowest class that is
    /// taken whatever signalling attests.
    ///
    /// For plain RTP ask [`Policy::refuses_plain`], which knows more of it.
    pub fn refuses_keying(&self, side: Side, keying: Keying) -> Option<PolicyViolation> {
        let keyings = self.keyings_of(side);
        if keyings.contains(&keying) {
            return self.refuses_robustness(side, robustness::best_of(keying));
        }
        let own = self.peer(side).keyings.is_some();
        let rule = if own { Rule::PeerKeyings(side) } else { Rule::Keyings };
        let taken: Vec<_> = keyings.iter().map(|keying| keying.name()).collect();
        Some(PolicyViolation::new(rule, format!("{keying} is not in it; taken are {}", list(&taken))))
    }

    /// Whether every keying that brings keys by offers and answers, or by a handshake that they agree on, is refused with
    /// a side; the reason of the one that is preferred.
    pub fn refuses_keys(&self, side: Side) -> Option<PolicyViolation> {
        let spoken = [Keying::Sdes, Keying::DtlsSrtp];
        if spoken.iter().any(|keying| self.refuses_keying(side, *keying).is_none()) {
            return None;
        }
        let preferred = self.keyings_of(side).iter().find(|keying| spoken.contains(keying));
        self.refuses_keying(side, preferred.copied().unwrap_or(Keying::Sdes))
    }

    /// Whether DTLS-SRTP with a side is refused: as a keying, or because no suite is left that it can agree on.
    pub fn refuses_dtls(&self, side: Side) -> Option<PolicyViolation> {
        self.refuses_keying(side, Keying::DtlsSrtp).or_else(|| {
            let reason = format!("no suite in it is one of DTLS-SRTP's; {}", self.suites_taken());
            let rule = if self.fips_only { Rule::FipsOnly } else { Rule::Suites };
            self.dtls_suites().next().is_none().then(|| PolicyViolation::new(rule, reason))
        })
    }

    /// Whether plain RTP with a side is refused: it must be SRTP ([`Security::Required`]), or plain RTP is below the
    /// lowest class that is taken, or [`Keying::None`] is not among the keyings.
    pub fn refuses_plain(&self, side: Side) -> Option<PolicyViolation> {
        let security = self.peer(side).security;
        if !security.allows_plain() {
            let reason = format!("it is {security}, and the {side}'s media would be plain RTP");
            return Some(PolicyViolation::new(Rule::Security(side), reason));
        }
        self.refuses_keying(side, Keying::None)
            .or_else(|| self.refuses_robustness(side, RobustnessClass::NoSignalingPassiveMedia))
    }

    /// Whether SRTP with a side is refused: its media must be plain ([`Security::Plain`]).
    pub fn refuses_srtp(&self, side: Side) -> Option<PolicyViolation> {
        let security = self.peer(side).security;
        let refusal = || {
            let reason = format!("it is {security}, and the {side}'s media would be SRTP");
            PolicyViolation::new(Rule::Security(side), reason)
        };
        (security == Security::Plain).then(refusal)
    }

    /// Whether a class is below the lowest that is taken from a side.
    pub fn refuses_robustness(&self, side: Side, class: RobustnessClass) -> Option<PolicyViolation> {
        let floor = self.floor(side);
        let own = self.peer(side).lowest_robustness.is_some();
        let rule = if own { Rule::PeerLowestRobustness(side) } else { Rule::LowestRobustness };
        let refusal = || {
            let reason = format!("it asks for {floor}, and the {side}'s leg is {class}. {}", class.explain());
            PolicyViolation::new(rule, reason)
        };
        (class < floor).then(refusal)
    }

    /// Whether what was negotiated with a side is refused, by any of these rules.
    pub fn refuses_agreed(
        &self,
        side: Side,
        agreed: &Agreed,
        attested: &Attested,
    ) -> Option<PolicyViolation> {
        let directions = [&agreed.inbound, &agreed.outbound];
        if directions.contains(&&Protected::Plain)
            && let Some(violation) = self.refuses_plain(side)
        {
            return Some(violation);
        }
        let keys = || {
            directions.into_iter().flat_map(|protected| match protected {
                Protected::Plain | Protected::InMediaPath => &[][..],
                Protected::Srtp(keys) => keys,
            })
        };
        if directions.iter().any(|protected| **protected != Protected::Plain) {
            let srtp = self.refuses_srtp(side).or_else(|| self.refuses_keying(side, agreed.keying));
            let suites = agreed.dtls.iter().flat_map(|dtls| &dtls.suites).copied();
            let mut suites = suites.chain(keys().map(|key| key.suite));
            let violation = srtp.or_else(|| suites.find_map(|suite| self.refuses_suite(suite)));
            if violation.is_some() {
                return violation;
            }
        }
        self.refuses_robustness(side, robustness::of_agreed(agreed, attested))
    }

    fn suites_taken(&self) -> String {
        let taken: Vec<_> = self.usable_suites().map(Suite::name).collect();
        format!("taken are {}", list(&taken))
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
