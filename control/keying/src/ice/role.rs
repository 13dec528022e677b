//! Who nominates, and what is done when both sides would (RFC 8445 sections 6.1.1 and 7.3.1.1).

use stun_types::message::TransactionId;

use super::message::Check;

/// An agent's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) controlling: bool,
    /// The same for all checks of an agent.
    pub(super) tie_breaker: u64,
}

/// What a check means for the role of its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    None,
    /// The receiver takes the other role.
    Yield,
    /// The sender is told to.
    Refuse,
}

impl Role {
    pub(super) fn new(controlling: bool, lite: bool) -> Self {
        // A lite agent cannot nominate, and with 0 never has to: whoever conflicts with it either gives way, if it wants to
        // be controlled, or is given way to.
        let tie_breaker = if lite { 0 } else { (random() as u64).max(1) };
        Self { controlling, tie_breaker }
    }

    pub(super) fn conflict(self, check: &Check) -> Conflict {
        match (self.controlling, check.controlling, check.controlled) {
            (true, Some(theirs), _) if self.tie_breaker >= theirs => Conflict::Refuse,
            (true, Some(_), _) => Conflict::Yield,
            (false, _, Some(theirs)) if self.tie_breaker >= theirs => Conflict::Yield,
            (false, _, Some(_)) => Conflict::Refuse,
            _ => Conflict::None,
        }
    }
}

/// 96 bits of a cryptographic source: the one of transaction IDs.
pub(super) fn random() -> u128 {
    TransactionId::generate().into()
}
