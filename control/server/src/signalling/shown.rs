//! Calls as the API shows them.

use prost::Message;
use sluice_keying::negotiation::Direction;
use sluice_keying::policy::Side;
use sluice_keying::robustness::{RobustnessClass, of_agreed};
use sluice_proto::v1;

use super::apply::suite;
use super::call::{Branch, Call, Medium, leg_id};
use super::{Signalling, policy, present};
use crate::ApiError;
use crate::gateway::robustness::{class_shown, keying_shown};

/// A page of a list ends before it is larger than this, and holds one entry at least.
const PAGE_BYTES: usize = 1 << 20;
const PAGE: u32 = 1000;
const MAX_PAGE: u32 = 10_000;

impl Signalling {
    /// A call as it is.
    pub(super) async fn call(&self, session: &str) -> Result<v1::Call, ApiError> {
        let place = self.place(session)?;
        let mut guard = place.call.lock().await;
        let mut shown = call(session, present(&place, &mut guard)?);
        // Which suite a handshake chose, only its leg knows.
        let chosen = self.gateway.inbound_suites(session).await;
        let media = shown.branches.iter_mut().flat_map(|branch| &mut branch.media);
        for leg in media.flat_map(|media| [&mut media.caller, &mut media.callee]).flatten() {
            if leg.suite.is_empty()
                && let Some(suite) = chosen.get(&leg.leg)
            {
                leg.suite.clone_from(suite);
            }
        }
        Ok(shown)
    }

    /// A page of all calls.
    pub(super) async fn calls(&self, page_size: u32, after: &str) -> Result<v1::ListCallsResponse, ApiError> {
        let page_size = match page_size {
            0 => PAGE,
            1..=MAX_PAGE => page_size,
            _ => {
                let problem = format!("{page_size} is too large");
                return Err(ApiError::invalid("page_size", problem, "ask for at most 10000"));
            }
        };
        let places = self.gateway.calls.after(after, page_size as usize + 1);
        let (mut calls, mut bytes) = (Vec::new(), 0);
        let mut next_page_token = String::new();
        let mut last = after;
        for place in &places {
            let is_full = calls.len() == page_size as usize || bytes > PAGE_BYTES;
            if is_full {
                last.clone_into(&mut next_page_token);
                break;
            }
            let guard = place.call.lock().await;
            if let Some(found) = guard.as_ref() {
                let shown = call(&place.session, found);
                bytes += shown.encoded_len();
                calls.push(shown);
            }
            last = &place.session;
        }
        Ok(v1::ListCallsResponse { calls, next_page_token })
    }
}

/// A call as it is.
pub(super) fn call(session: &str, call: &Call) -> v1::Call {
    v1::Call {
        session: session.to_owned(),
        branches: call.branches.iter().map(|(id, branch)| shown_branch(id, branch)).collect(),
        selected: call.selected.clone().unwrap_or_default(),
        robustness: class(call.robustness()).into(),
        caller_identity: call.caller.identity.clone(),
        policy: Some(policy::shown(&call.policy, call.latching)),
    }
}

/// A side as the API names it.
pub(super) const fn side(side: Side) -> v1::CallSide {
    match side {
        Side::Caller => v1::CallSide::Caller,
        Side::Callee => v1::CallSide::Callee,
    }
}

fn shown_branch(id: &str, branch: &Branch) -> v1::Branch {
    let media = branch.media.iter().enumerate();
    v1::Branch {
        id: id.to_owned(),
        state: branch.state.into(),
        offer_from: branch.pending().map_or(v1::CallSide::Unspecified, |offer| side(offer.from)).into(),
        media: media.map(|(transport, medium)| shown_medium(id, branch, transport, medium)).collect(),
        robustness: class(branch.robustness()).into(),
        callee_identity: branch.peer(Side::Callee).attestation.identity.clone(),
        milliseconds_left: branch.milliseconds_left(),
        refusals: branch.refusals.clone(),
    }
}

fn shown_medium(id: &str, branch: &Branch, transport: usize, medium: &Medium) -> v1::CallMedia {
    v1::CallMedia {
        index: transport as u32,
        media: medium.kind.clone(),
        refused: medium.refused.clone().unwrap_or_default(),
        caller: leg(id, branch, transport, medium, Side::Caller),
        callee: leg(id, branch, transport, medium, Side::Callee),
    }
}

fn leg(id: &str, branch: &Branch, transport: usize, medium: &Medium, side: Side) -> Option<v1::CallLeg> {
    let leg = medium.leg(side)?;
    let shown = v1::CallLeg { leg: leg_id(id, side, transport), ..Default::default() };
    let Some(agreed) = &leg.agreed else { return Some(shown) };
    let robustness = of_agreed(agreed, &branch.peer(side).attestation.attested());
    Some(v1::CallLeg {
        keying: keying_shown(agreed.keying).into(),
        suite: suite(agreed),
        robustness: class_shown(robustness).into(),
        explanation: robustness.explain().to_owned(),
        direction: match agreed.direction {
            Direction::SendRecv => v1::MediaDirection::Sendrecv,
            Direction::SendOnly => v1::MediaDirection::Sendonly,
            Direction::RecvOnly => v1::MediaDirection::Recvonly,
            Direction::Inactive => v1::MediaDirection::Inactive,
        }
        .into(),
        ..shown
    })
}

fn class(class: Option<RobustnessClass>) -> v1::RobustnessClass {
    class.map_or(v1::RobustnessClass::Unspecified, class_shown)
}
