//! Answers: what was agreed on becomes legs, keys and routes.

use std::sync::Arc;

use sluice_keying::negotiation::{Agreed, LocalAnswer, Origin, OwnMedia, RemoteAnswer, RemoteMedia};
use sluice_keying::policy::{Policy, Side};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use zeroize::{Zeroize, Zeroizing};

use super::apply::{Outcome, Plan, media_leg};
use super::call::{Answered, Attestation, Branch, Call, Exchange, other};
use super::offer::NOWHERE;
use super::requests::Request;
use super::{Random, Signalling, present, shown};
use crate::ApiError;
use crate::access::Caller;
use crate::audit::{Action, KeyAction};
use crate::gateway::{Change, Reserved};

/// What both sides agreed on, before it is done.
struct Agreement {
    from: Side,
    answer: LocalAnswer,
    remote: RemoteAnswer,
    origin: Origin,
    /// Where legs receive that are not there yet, of the offerer's side, and their sockets.
    added: Vec<Option<OwnMedia>>,
    sockets: Vec<Option<Reserved>>,
    /// By side and transport.
    agreed: [Vec<Option<Agreed>>; 2],
    attestations: [Attestation; 2],
    identity: Option<v1::SignedIdentity>,
}

impl Signalling {
    /// An answer to the pending offer of a branch. Its SDP is wiped, as it has keys.
    pub(crate) async fn process_answer(
        &self,
        mut asked: v1::ProcessAnswerRequest,
        caller: &Caller,
    ) -> Result<v1::ProcessAnswerResponse, ApiError> {
        let answer = self.any_answer(&asked, caller).await;
        asked.sdp.zeroize();
        answer
    }

    async fn any_answer(
        &self,
        asked: &v1::ProcessAnswerRequest,
        caller: &Caller,
    ) -> Result<v1::ProcessAnswerResponse, ApiError> {
        let request = Request::new(&asked.request_id, "ProcessAnswer", asked)?;
        let place = self.place(&asked.session)?;
        let mut guard = place.call.lock().await;
        let call = present(&place, &mut guard)?;
        if let Some(answer) = call.requests.repeated(request.as_ref())? {
            return Ok(answer);
        }
        let id = call.branch_id(&asked.branch)?;
        let (sdp, identity) = match before(call.branch(&id)?, &id, asked)? {
            Some(sdp) => (sdp, None),
            None => self.answer(call, &id, asked, caller).await?,
        };
        let branch = call.branch(&id)?;
        match branch.state {
            v1::BranchState::Offered if asked.provisional => branch.state = v1::BranchState::Provisional,
            v1::BranchState::Provisional if asked.provisional => {}
            _ => self.finish(&place.session, &id, branch).await,
        }
        let answer =
            v1::ProcessAnswerResponse { sdp, identity, call: Some(shown::call(&place.session, call)) };
        call.requests.answered(request.as_ref(), &answer);
        Ok(answer)
    }

    async fn answer(
        &self,
        call: &mut Call,
        id: &str,
        asked: &v1::ProcessAnswerRequest,
        caller: &Caller,
    ) -> Result<(String, Option<v1::SignedIdentity>), ApiError> {
        let session = asked.session.as_str();
        let (policy, latching) = (Arc::clone(&call.policy), call.latching);
        let branch = call.branch(id)?;
        let Some(exchange) = &branch.exchange else {
            return Err(ApiError::not_found("offer", "branch", id));
        };
        let mut agreement = self.agree(session, id, branch, exchange, &policy, asked).await?;
        let outcome = Outcome {
            session,
            branch_id: id,
            branch,
            policy: &policy,
            latching,
            agreed: [&agreement.agreed[0], &agreement.agreed[1]],
            attestations: [&agreement.attestations[0], &agreement.attestations[1]],
        };
        self.check_agreed(&outcome)?;
        let sockets = std::mem::take(&mut agreement.sockets);
        let sockets = match agreement.from {
            Side::Caller => [sockets, Vec::new()],
            Side::Callee => [Vec::new(), sockets],
        };
        let mut plan = outcome.plan(sockets);
        let negotiated = outcome.negotiated();
        let installs = plan.installs(session);
        let (steps, codecs) = (std::mem::take(&mut plan.steps), std::mem::take(&mut plan.codecs));
        if !steps.is_empty() || !codecs.is_empty() {
            let change = Change { session: session.to_owned(), make: None, steps, codecs };
            let done = self.gateway.change(change).await;
            self.audit(caller, session, installs, &done);
            done?;
        }
        let is_early = branch.state != v1::BranchState::Answered;
        let change =
            if asked.provisional && is_early { v1::CallChange::Progress } else { v1::CallChange::Answered };
        let Plan { replacing, keys, .. } = plan;
        let early = branch.exchange.as_mut().map(|exchange| std::mem::take(&mut exchange.early));
        let answer = branch.answered(agreement, &asked.sdp, keys, &policy);
        self.tell(session, id, change, "");
        for (leg, negotiated) in negotiated {
            self.publish(session, &leg, Kind::Negotiated(negotiated));
        }
        self.gateway.retire_older(replacing).await;
        self.add_early(session, id, branch, early.unwrap_or_default()).await;
        Ok(answer)
    }

    /// Has the audit log say which keys came of an answer. What is done is done: that it could not be written is in the
    /// log.
    fn audit(&self, caller: &Caller, session: &str, keys: Vec<v1::KeyRef>, done: &Result<(), ApiError>) {
        if !keys.is_empty() {
            let keys = keys.into_iter().map(|key| KeyAction::new(key, done)).collect();
            let action = Action::new("sluice.v1.Signalling/ProcessAnswer").session(session).keys(keys);
            let _ = self.gateway.audit.record(caller, action.outcome(done));
        }
    }

    /// Reads the answer, and composes that for who offered; nothing is done yet.
    async fn agree(
        &self,
        session: &str,
        id: &str,
        branch: &Branch,
        exchange: &Exchange,
        policy: &Policy,
        asked: &v1::ProcessAnswerRequest,
    ) -> Result<Agreement, ApiError> {
        let from = exchange.from;
        let answers = other(from);
        let remote = RemoteAnswer::read(&exchange.local, &asked.sdp, policy);
        let remote = remote.map_err(|error| self.refused(session, id, &error))?;
        let agreed_there = remote.agreed();
        let peer = branch.peer(from);
        let there = |transport: usize| branch.media.get(transport).and_then(|medium| medium.leg(from));
        let wanted = |transport: usize| there(transport).is_none() && agreed_there[transport].is_some();
        let mut reserved = Vec::new();
        for transport in (0..agreed_there.len()).filter(|transport| wanted(*transport)) {
            let of = |media: &&RemoteMedia| media.transport == Some(transport);
            let remote = exchange.offer.media().iter().find(of).and_then(|media| media.remote);
            reserved.push((transport, self.local_address(policy.peer(from), remote)?));
        }
        let sockets: Vec<_> = reserved.iter().map(|(_, address)| (*address, false)).collect();
        let sockets = self.gateway.reserve(&sockets).await?;
        let mut by_transport: Vec<Option<Reserved>> = (0..agreed_there.len()).map(|_| None).collect();
        for ((transport, _), socket) in reserved.into_iter().zip(sockets) {
            by_transport[transport] = Some(socket);
        }
        let added: Vec<_> = by_transport
            .iter()
            .map(|socket| socket.as_ref().map(|at| self.own_media(at, policy.peer(from))).transpose())
            .collect::<Result<_, _>>()?;
        let own = |transport: usize| {
            let added = added.get(transport).cloned().flatten();
            there(transport).map(|leg| leg.own.clone()).or(added).unwrap_or(NOWHERE)
        };
        let own: Vec<_> = (0..agreed_there.len()).map(own).collect();
        let mut random = Random::default();
        let mut origin = peer.origin.clone();
        let mut fill = |octets: &mut [u8]| random.fill(octets);
        let answer =
            LocalAnswer::compose(&exchange.offer, &remote, &own, policy, from, &mut origin, &mut fill);
        let answer = answer.map_err(|error| self.refused(session, id, &error))?;
        random.check()?;
        let identity = self.signed(asked.sign.as_ref(), answer.sdp())?;
        let mut attestations = [Side::Caller, Side::Callee].map(|side| branch.peer(side).attestation.clone());
        let answered = self.attested(session, asked.attestation.as_ref(), &asked.sdp)?;
        let at = |side| usize::from(side == Side::Callee);
        attestations[at(answers)] = Attestation { signed: attestations[at(answers)].signed, ..answered };
        attestations[at(from)].signed = identity.is_some();
        let agreed_here = answer.agreed();
        let agreed = match from {
            Side::Caller => [agreed_here, agreed_there],
            Side::Callee => [agreed_there, agreed_here],
        };
        Ok(Agreement {
            from,
            answer,
            remote,
            origin,
            added,
            sockets: by_transport,
            agreed,
            attestations,
            identity,
        })
    }
}

impl Branch {
    /// What was agreed on is in force; the answer for who offered, and a signature if there is one.
    fn answered(
        &mut self,
        agreement: Agreement,
        got: &str,
        keys: u32,
        policy: &Policy,
    ) -> (String, Option<v1::SignedIdentity>) {
        let Agreement { from, answer, remote, origin, added, agreed, attestations, identity, .. } = agreement;
        self.keys = keys;
        for (transport, own) in added.into_iter().enumerate() {
            if let (Some(own), Some(medium)) = (own, self.media.get_mut(transport)) {
                *medium.slot(from) = Some(media_leg(own));
            }
        }
        let [caller, callee] = agreed;
        for (medium, (caller, callee)) in self.media.iter_mut().zip(caller.into_iter().zip(callee)) {
            medium.agree(caller, callee, policy);
        }
        for (side, attestation) in Side::BOTH.into_iter().zip(attestations) {
            self.peer_mut(side).attestation = attestation;
        }
        self.peer_mut(from).origin = origin;
        self.peer_mut(from).standing = answer.standing().clone();
        self.peer_mut(other(from)).standing = remote.standing().clone();
        let gave = answer.sdp().to_owned();
        if let Some(exchange) = &mut self.exchange {
            let answered =
                Answered { got: Zeroizing::new(got.to_owned()), gave: Zeroizing::new(gave.clone()) };
            exchange.answered = Some(answered);
            // A further answer to the same offer has the same keys.
            Arc::make_mut(&mut exchange.offer).answered(&answer);
        }
        (gave, identity)
    }
}

/// The answer that was given before, if this is the one that it was given to.
fn before(branch: &Branch, id: &str, asked: &v1::ProcessAnswerRequest) -> Result<Option<String>, ApiError> {
    let nothing = || {
        let message = format!("branch {id:?} has no offer to answer");
        let remedy = "hand in the offer first (ProcessOffer); a new description of either side is one";
        Err(ApiError::precondition("NO_OFFER", message, remedy))
    };
    let (from, answered) = match (&branch.exchange, &branch.done) {
        (Some(exchange), _) => (exchange.from, exchange.answered.as_ref()),
        (None, Some((from, answered))) => (*from, Some(answered)),
        (None, None) => return nothing(),
    };
    let answers = other(from);
    let said = match asked.from() {
        v1::CallSide::Unspecified => answers,
        v1::CallSide::Caller => Side::Caller,
        v1::CallSide::Callee => Side::Callee,
    };
    if said != answers {
        let message = format!("is the {said}, and the offer is for the {answers} to answer");
        return Err(ApiError::invalid("from", message, "leave it out, or name who has the offer"));
    }
    let Some(answered) = answered else {
        if asked.sdp.is_empty() {
            let message = "is empty, and no answer came before that it could confirm";
            return Err(ApiError::invalid("sdp", message, "hand in the answer's SDP"));
        }
        return Ok(None);
    };
    if asked.sdp.is_empty() || *answered.got == asked.sdp {
        return Ok(Some(answered.gave.to_string()));
    }
    // A provisional answer may be followed by another; the final one is final.
    if branch.exchange.is_some() { Ok(None) } else { nothing() }
}
