//! What an offer or answer is refused for, as the API says it; a rule of the policy is told to watchers as well.

use sluice_keying::negotiation::{Agreed, NegotiationError, Protected};
use sluice_keying::policy::{PolicyViolation, Security, Side};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;

use super::Signalling;
use super::apply::Outcome;
use crate::ApiError;

const BY_POLICY: &str = "have the peer offer something else, or give the session another policy";

impl Signalling {
    /// An offer or answer that cannot be.
    pub(super) fn refused(&self, session: &str, branch: &str, error: &NegotiationError) -> ApiError {
        if let Some(violation) = error.policy() {
            let rule = violation.rule.to_string();
            self.violated(session, branch, &rule, &violation.reason);
            return ApiError::precondition("POLICY", error.to_string(), BY_POLICY).at("sdp");
        }
        let remedy = "answer SIP requests with 488 (RFC 3261 section 21.4.26), or correct the SDP";
        ApiError::invalid("sdp", error.to_string(), remedy)
    }

    /// Whether what was agreed may be: by the policy, and no weaker than what is in force. A peer that had SRTP can have
    /// it, so that who takes plain RTP from those only that cannot does not take it from this one any more.
    pub(super) fn check_agreed(&self, outcome: &Outcome) -> Result<(), ApiError> {
        for (at, side) in Side::BOTH.into_iter().enumerate() {
            let attested = outcome.attestations[at].attested();
            for (transport, agreed) in outcome.agreed[at].iter().enumerate() {
                let Some(agreed) = agreed else { continue };
                if let Some(violation) = outcome.policy.refuses_agreed(side, agreed, &attested) {
                    return Err(self.violation(outcome, transport, &violation));
                }
                let leg = outcome.branch.media.get(transport).and_then(|medium| medium.leg(side));
                if leg.and_then(|leg| leg.agreed.as_ref()).is_some_and(|before| weaker(before, agreed))
                    && outcome.policy.peer(side).security != Security::Plain
                {
                    return Err(self.downgraded(outcome, transport, side));
                }
            }
        }
        Ok(())
    }

    fn violation(&self, outcome: &Outcome, transport: usize, violation: &PolicyViolation) -> ApiError {
        let rule = violation.rule.to_string();
        self.violated(outcome.session, outcome.branch_id, &rule, &violation.reason);
        let message = format!("transport {transport}: {violation}");
        ApiError::precondition("POLICY", message, BY_POLICY).at("sdp")
    }

    fn downgraded(&self, outcome: &Outcome, transport: usize, side: Side) -> ApiError {
        let rule = format!("policy.{side}.security");
        let reason = format!("the {side}'s media was SRTP, and would be plain RTP");
        self.violated(outcome.session, outcome.branch_id, &rule, &reason);
        let message = format!("transport {transport}: {rule} refuses it: {reason}");
        ApiError::precondition("POLICY", message, BY_POLICY).at("sdp")
    }

    fn violated(&self, session: &str, branch: &str, rule: &str, explanation: &str) {
        let (rule, explanation, branch) = (rule.to_owned(), explanation.to_owned(), branch.to_owned());
        tracing::info!(session, branch, rule, explanation, "refused by policy");
        self.publish(session, "", Kind::PolicyViolation(v1::PolicyViolation { rule, explanation, branch }));
    }
}

/// Whether a direction that was SRTP would be plain.
fn weaker(before: &Agreed, now: &Agreed) -> bool {
    let falls = |before: &Protected, now: &Protected| {
        matches!(before, Protected::Srtp(_)) && matches!(now, Protected::Plain)
    };
    falls(&before.inbound, &now.inbound) || falls(&before.outbound, &now.outbound)
}
