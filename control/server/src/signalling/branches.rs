//! Branches of the caller's first offer.

use std::collections::HashMap;
use std::mem::take;

use sluice_keying::policy::Side;
use sluice_proto::v1;

use super::call::{Branch, Call, Gone};
use super::offer::Offering;
use super::requests::Request;
use super::{Random, Signalling, present, shown};
use crate::ApiError;
use crate::gateway::Change;

impl Signalling {
    /// Another branch of the caller's first offer.
    pub(crate) async fn create_branch(
        &self,
        asked: v1::CreateBranchRequest,
    ) -> Result<v1::CreateBranchResponse, ApiError> {
        let request = Request::new(&asked.request_id, "CreateBranch", &asked)?;
        let place = self.place(&asked.session)?;
        let mut guard = place.call.lock().await;
        let call = present(&place, &mut guard)?;
        if let Some(answer) = call.requests.repeated(request.as_ref())? {
            return Ok(answer);
        }
        call.check_new("branch", &asked.branch)?;
        let (sdp, identity) =
            self.make_branch(call, &place.session, &asked.branch, None, asked.sign.as_ref()).await?;
        let answer =
            v1::CreateBranchResponse { sdp, identity, call: Some(shown::call(&place.session, call)) };
        call.requests.answered(request.as_ref(), &answer);
        Ok(answer)
    }

    /// A branch goes, and another of the caller's first offer takes its place. If that cannot be made, it stays.
    pub(crate) async fn retarget(
        &self,
        asked: v1::RetargetRequest,
    ) -> Result<v1::RetargetResponse, ApiError> {
        let request = Request::new(&asked.request_id, "Retarget", &asked)?;
        let place = self.place(&asked.session)?;
        let mut guard = place.call.lock().await;
        let call = present(&place, &mut guard)?;
        if let Some(answer) = call.requests.repeated(request.as_ref())? {
            return Ok(answer);
        }
        let old = call.branch_id(&asked.branch)?;
        call.check_new("new_branch", &asked.new_branch)?;
        if call.branch(&old)?.state == v1::BranchState::Answered {
            let message = format!("branch {old:?} has its final answer");
            let remedy = "re-offer on it (ProcessOffer), or end the call";
            return Err(ApiError::precondition("CALL_ANSWERED", message, remedy).at("branch"));
        }
        let (sdp, identity) =
            self.make_branch(call, &place.session, &asked.new_branch, None, asked.sign.as_ref()).await?;
        self.drop_branches(&place.session, call, &[old], Gone::Retargeted).await?;
        let answer = v1::RetargetResponse { sdp, identity, call: Some(shown::call(&place.session, call)) };
        call.requests.answered(request.as_ref(), &answer);
        Ok(answer)
    }

    /// Makes a branch of the caller's first offer; the SDP for its callee, and a signature of it if that was asked for.
    pub(super) async fn make_branch(
        &self,
        call: &mut Call,
        session: &str,
        id: &str,
        make: Option<HashMap<String, String>>,
        sign: Option<&v1::IdentityRequest>,
    ) -> Result<(String, Option<v1::SignedIdentity>), ApiError> {
        let mut random = Random::default();
        let mut branch = Branch::new(call.caller.clone(), &mut |octets| random.fill(octets));
        random.check()?;
        let offering = Offering {
            session,
            id,
            branch: &branch,
            policy: &call.policy,
            latching: call.latching,
            from: Side::Caller,
            offer: call.first_offer()?,
            sign,
        };
        let mut composed = self.compose(offering).await?;
        let hearing = self.hear_early(session, id, call, &composed).await?;
        let mut steps = take(&mut composed.steps);
        steps.extend(hearing.steps);
        self.gateway.change(Change { session: session.to_owned(), make, steps, ..Change::default() }).await?;
        let (sdp, identity) = branch.offered(composed);
        branch.hears_early(hearing.legs);
        self.disarm(&mut call.timer);
        branch.timer = Some(self.arm(session, id, call));
        call.branches.insert(id.to_owned(), branch);
        self.tell(session, id, v1::CallChange::BranchCreated, "");
        Ok((sdp, identity))
    }
}
