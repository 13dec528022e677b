//! How branches and calls end: selection, refusal, time, and the end.

use std::collections::HashSet;
use std::sync::Arc;

use sluice_keying::policy::{Policy, Side};
use sluice_proto::v1;

use super::call::{Branch, Call, Gone, leg_id, other};
use super::in_media_path::Told;
use super::registry::Place;
use super::requests::Request;
use super::timers::{Due, Timer};
use super::{Signalling, present, shown};
use crate::ApiError;
use crate::gateway::{Change, Step};

impl Signalling {
    /// The branch that the call goes on with; the others go.
    pub(crate) async fn select_branch(
        &self,
        asked: v1::SelectBranchRequest,
    ) -> Result<v1::SelectBranchResponse, ApiError> {
        let request = Request::new(&asked.request_id, "SelectBranch", &asked)?;
        let place = self.place(&asked.session)?;
        let mut guard = place.call.lock().await;
        let call = present(&place, &mut guard)?;
        if let Some(answer) = call.requests.repeated(request.as_ref())? {
            return Ok(answer);
        }
        let id = call.branch_id(&asked.branch)?;
        let branch = call.branch(&id)?;
        if branch.state == v1::BranchState::Offered {
            let message = format!("branch {id:?} has no answer yet");
            let remedy = "hand in its answer first (ProcessAnswer)";
            return Err(ApiError::precondition("NO_ANSWER", message, remedy).at("branch"));
        }
        self.finish(&place.session, &id, branch).await;
        let losers: Vec<_> = call.branches.keys().filter(|other| **other != id).cloned().collect();
        let outcome = self.drop_branches(&place.session, call, &losers, Gone::NotSelected).await;
        if call.selected.as_ref() != Some(&id) {
            call.selected = Some(id.clone());
            call.offer = None;
            self.tell(&place.session, &id, v1::CallChange::Selected, "");
        }
        outcome?;
        let answer = v1::SelectBranchResponse { call: Some(shown::call(&place.session, call)) };
        call.requests.answered(request.as_ref(), &answer);
        Ok(answer)
    }

    /// A branch goes.
    pub(crate) async fn drop_branch(
        &self,
        asked: v1::DropBranchRequest,
    ) -> Result<v1::DropBranchResponse, ApiError> {
        let request = Request::new(&asked.request_id, "DropBranch", &asked)?;
        crate::error::check_id("branch", &asked.branch)?;
        let place = self.place(&asked.session)?;
        let mut guard = place.call.lock().await;
        let call = present(&place, &mut guard)?;
        if let Some(answer) = call.requests.repeated(request.as_ref())? {
            return Ok(answer);
        }
        let existed = call.branches.contains_key(&asked.branch);
        self.drop_branches(&place.session, call, &[asked.branch], Gone::Dropped).await?;
        let call_shown = Some(shown::call(&place.session, call));
        let answer = v1::DropBranchResponse { existed, call: call_shown };
        call.requests.answered(request.as_ref(), &answer);
        Ok(answer)
    }

    /// The pending offer of a branch was refused.
    pub(crate) async fn reject_offer(
        &self,
        asked: v1::RejectOfferRequest,
    ) -> Result<v1::RejectOfferResponse, ApiError> {
        let request = Request::new(&asked.request_id, "RejectOffer", &asked)?;
        let place = self.place(&asked.session)?;
        let mut guard = place.call.lock().await;
        let call = present(&place, &mut guard)?;
        if let Some(answer) = call.requests.repeated(request.as_ref())? {
            return Ok(answer);
        }
        let id = call.branch_id(&asked.branch)?;
        let policy = Arc::clone(&call.policy);
        let branch = call.branch(&id)?;
        match branch.state {
            // A refusal after provisional answers ends the branch all the same.
            v1::BranchState::Offered => self.reject_branch(&place.session, call, &id).await?,
            _ if branch.pending().is_some() => {
                self.roll_back(&place.session, &id, branch, &policy).await?;
                self.tell(&place.session, &id, v1::CallChange::Rejected, "what was agreed before goes on");
            }
            v1::BranchState::Provisional => self.reject_branch(&place.session, call, &id).await?,
            _ => {
                let message = format!("branch {id:?} has no offer that could be refused");
                let remedy = "end the call instead (EndSession, DropBranch)";
                return Err(ApiError::precondition("NO_OFFER", message, remedy));
            }
        }
        let answer = v1::RejectOfferResponse { call: Some(shown::call(&place.session, call)) };
        call.requests.answered(request.as_ref(), &answer);
        Ok(answer)
    }

    /// The call ends, and its session.
    pub(crate) async fn end_session(
        &self,
        asked: v1::EndSessionRequest,
    ) -> Result<v1::EndSessionResponse, ApiError> {
        crate::error::check_id("session", &asked.session)?;
        // Not while a request of the call is being worked on.
        let place = self.gateway.calls.get(&asked.session);
        let mut guard = match &place {
            Some(place) => Some(place.call.lock().await),
            None => None,
        };
        let existed = self.gateway.end_session(&asked.session).await?;
        if let Some(call) = guard.as_mut().and_then(|call| call.take()) {
            self.end(&asked.session, call, "");
        }
        Ok(v1::EndSessionResponse { existed })
    }

    /// What was due came.
    pub(super) async fn timed_out(&self, timer: Timer, due: &Due) -> Result<(), ApiError> {
        let Some(place) = self.gateway.calls.get(&due.session) else { return Ok(()) };
        let mut guard = place.call.lock().await;
        let Some(call) = guard.as_mut() else { return Ok(()) };
        if due.branch.is_empty() {
            if call.timer == Some(timer) {
                self.gateway.end_session(&due.session).await?;
                if let Some(call) = guard.take() {
                    self.end(&due.session, call, "no branch is left, and no other came in time");
                }
            }
            return Ok(());
        }
        let policy = Arc::clone(&call.policy);
        let Ok(branch) = call.branch(&due.branch) else { return Ok(()) };
        if branch.timer != Some(timer) {
            return Ok(());
        }
        branch.timer = None;
        let reason = "no answer came in time";
        if branch.state == v1::BranchState::Answered {
            self.roll_back(&due.session, &due.branch, branch, &policy).await?;
            self.tell(&due.session, &due.branch, v1::CallChange::Rejected, reason);
            return Ok(());
        }
        let outcome =
            self.drop_branches(&due.session, call, std::slice::from_ref(&due.branch), Gone::TimedOut).await;
        if call.branches.is_empty() {
            self.end_call(&place, guard, reason).await?;
        }
        outcome
    }

    /// Takes branches out of a call, with all that they have.
    pub(super) async fn drop_branches(
        &self,
        session: &str,
        call: &mut Call,
        ids: &[String],
        why: Gone,
    ) -> Result<(), ApiError> {
        let legs: HashSet<_> = ids.iter().flat_map(|id| legs(id, call.branches.get(id))).collect();
        // Should this fail, the branches are there, and can be dropped again.
        self.gateway.remove_legs(session, &legs).await?;
        let change = match why {
            Gone::TimedOut => v1::CallChange::TimedOut,
            Gone::Rejected => v1::CallChange::Rejected,
            _ => v1::CallChange::Dropped,
        };
        for id in ids {
            if let Some(mut branch) = call.take_out(id, why) {
                self.disarm(&mut branch.timer);
                self.tell(session, id, change, why.words());
            }
        }
        if call.branches.is_empty() && call.timer.is_none() {
            call.timer = Some(self.arm(session, "", call));
        }
        Ok(())
    }

    /// The pending re-offer is as if it had never been; what was agreed before goes on.
    async fn roll_back(
        &self,
        session: &str,
        id: &str,
        branch: &mut Branch,
        policy: &Policy,
    ) -> Result<(), ApiError> {
        let Some(exchange) = &branch.exchange else { return Ok(()) };
        let towards = other(exchange.from);
        let added: Vec<_> = exchange.added.iter().map(|(transport, _)| *transport).collect();
        let legs = added.iter().map(|transport| leg_id(id, towards, *transport)).collect();
        self.gateway.remove_legs(session, &legs).await?;
        self.take_back(session, id, branch, towards, policy).await?;
        let Some(exchange) = branch.exchange.take() else { return Ok(()) };
        branch.media.truncate(exchange.transports_before);
        for transport in added {
            if let Some(medium) = branch.media.get_mut(transport) {
                *medium.slot(towards) = None;
            }
        }
        if branch.state == v1::BranchState::Answered {
            self.disarm(&mut branch.timer);
        }
        Ok(())
    }

    /// Legs are told again of their handshake and checks what was agreed before.
    async fn take_back(
        &self,
        session: &str,
        id: &str,
        branch: &mut Branch,
        towards: Side,
        policy: &Policy,
    ) -> Result<(), ApiError> {
        let mut steps = Vec::new();
        for (transport, medium) in branch.media.iter_mut().enumerate() {
            let Some(leg) = medium.slot(towards) else { continue };
            let Some(agreed) = &leg.agreed else { continue };
            let before = Told::agreed(agreed, Some(leg), policy.peer(towards));
            let leg_id = leg_id(id, towards, transport);
            let mut request =
                v1::UpdateLegRequest { session: session.to_owned(), leg: leg_id, ..Default::default() };
            if before.changes(&leg.told, &mut request) {
                steps.push(Step::UpdateLeg(Box::new(request)));
                leg.told = before;
            }
        }
        if steps.is_empty() {
            return Ok(());
        }
        self.gateway.change(Change { session: session.to_owned(), steps, ..Change::default() }).await
    }

    /// The branch has its final answer: it has no time limit any more, and what was refused goes.
    pub(super) async fn finish(&self, session: &str, id: &str, branch: &mut Branch) {
        branch.conclude();
        if branch.pending().is_some() {
            return;
        }
        self.disarm(&mut branch.timer);
        let refused = branch.media.iter_mut().enumerate().filter(|(_, medium)| medium.refused.is_some());
        let mut legs = HashSet::new();
        for (transport, medium) in refused {
            for side in Side::BOTH {
                if medium.slot(side).take().is_some() {
                    legs.insert(leg_id(id, side, transport));
                }
            }
            medium.routed = false;
        }
        // They are of what is no longer needed: should it fail, the call goes on.
        if !legs.is_empty()
            && let Err(error) = self.gateway.remove_legs(session, &legs).await
        {
            tracing::warn!(session, id, error.message, "legs of refused media lines stay");
        }
    }

    async fn reject_branch(&self, session: &str, call: &mut Call, id: &str) -> Result<(), ApiError> {
        self.drop_branches(session, call, &[id.to_owned()], Gone::Rejected).await
    }

    async fn end_call(
        &self,
        place: &Arc<Place>,
        mut guard: tokio::sync::MutexGuard<'_, Option<Call>>,
        reason: &str,
    ) -> Result<(), ApiError> {
        self.gateway.end_session(&place.session).await?;
        if let Some(call) = guard.take() {
            self.end(&place.session, call, reason);
        }
        Ok(())
    }

    /// The session is gone; so are the call's timers, and its place.
    fn end(&self, session: &str, mut call: Call, reason: &str) {
        self.disarm(&mut call.timer);
        for branch in call.branches.values_mut() {
            self.disarm(&mut branch.timer);
        }
        self.gateway.calls.leave(session);
        self.tell(session, "", v1::CallChange::Ended, reason);
    }
}

/// The legs that a branch has.
fn legs(id: &str, branch: Option<&Branch>) -> Vec<String> {
    let media = branch.into_iter().flat_map(|branch| branch.media.iter().enumerate());
    let of = |(transport, medium): (usize, &super::call::Medium)| {
        let there = Side::BOTH.into_iter().filter(|side| medium.leg(*side).is_some());
        there.map(|side| leg_id(id, side, transport)).collect::<Vec<_>>()
    };
    media.flat_map(of).collect()
}
