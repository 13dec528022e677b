//! A call through the relay: its dialogs, and what of it goes to Sluice.

use std::net::SocketAddr;

use sluice_proto::v1::{CallSide, SessionPolicy};
use tonic::Status;

use super::desk::{Desk, Step};
use super::dialog::{Dialog, contact, fresh};
use super::message::Message;
use super::relay::Plan;

/// Who a message is from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Caller,
    /// The callee of the branch with this index.
    Callee(usize),
}

/// A call with its branches.
pub(super) struct Call {
    session: String,
    caller: SocketAddr,
    invite: Message,
    forks: Vec<Fork>,
    winner: Option<usize>,
    /// The dialog with the caller, once there is a winner.
    dialog: Option<Dialog>,
    reoffer: Option<Reoffer>,
    over: bool,
}

struct Fork {
    branch: String,
    dialog: Dialog,
    invite: Message,
    /// The tag of To in what the caller gets on this branch.
    tag: String,
    final_status: Option<u16>,
}

/// A re-INVITE that awaits its answer.
struct Reoffer {
    from: SocketAddr,
    request: Message,
    forwarded: Message,
}

impl Call {
    /// Takes an INVITE: Sluice makes an offer for each target of it, and they are sent. `None` if Sluice refuses.
    pub(super) fn begin(
        invite: Message,
        caller: SocketAddr,
        plan: &Plan,
        desk: &mut Desk<'_>,
    ) -> Option<Self> {
        desk.send(caller, Message::response(&invite, 100, "Trying"));
        let mut call = Self {
            session: fresh("sip-"),
            caller,
            invite,
            forks: Vec::new(),
            winner: None,
            dialog: None,
            reoffer: None,
            over: false,
        };
        desk.note(|log| log.sessions.push(call.session.clone()));
        for target in &plan.targets {
            let offer = call.offer_for(&target.branch, &plan.policy, desk);
            let offer = match offer {
                Ok(offer) => offer,
                Err(status) => {
                    call.answer_caller(488, status.message(), desk);
                    call.end(desk);
                    return None;
                }
            };
            let mut dialog =
                Dialog::calling(desk.own, target.at, format!("sip:{}@{}", target.user, target.at));
            let invite = dialog.request("INVITE").with_sdp(&offer);
            desk.send(target.at, invite.clone());
            let (branch, tag) = (target.branch.clone(), fresh("t"));
            call.forks.push(Fork { branch, dialog, invite, tag, final_status: None });
        }
        Some(call)
    }

    /// Who of this call has a Call-ID.
    pub(super) fn side_of(&self, call_id: &str) -> Option<Side> {
        if self.invite.header("Call-ID") == call_id {
            return Some(Side::Caller);
        }
        self.forks.iter().position(|fork| fork.dialog.call_id == call_id).map(Side::Callee)
    }

    /// Takes a request within the call.
    pub(super) fn request(&mut self, side: Side, request: &Message, from: SocketAddr, desk: &mut Desk<'_>) {
        match request.method() {
            None | Some("ACK") => {}
            Some("CANCEL") => {
                desk.send(from, Message::response(request, 200, "OK"));
                if self.winner.is_none() && !self.over {
                    self.answer_caller(487, "Request Terminated", desk);
                    self.cancel_all(desk);
                    self.end(desk);
                }
            }
            Some("BYE") => self.bye(side, request, from, desk),
            Some("INVITE") => self.reoffer(side, request, from, desk),
            Some("OPTIONS") => desk.send(from, Message::response(request, 200, "OK")),
            Some(_) => desk.send(from, Message::response(request, 501, "Not Implemented")),
        }
    }

    fn bye(&mut self, side: Side, request: &Message, from: SocketAddr, desk: &mut Desk<'_>) {
        desk.send(from, Message::response(request, 200, "OK"));
        // What becomes of the dialog with a loser is nobody else's business.
        if matches!(side, Side::Callee(of) if Some(of) != self.winner) {
            return;
        }
        if let Some(other) = self.other(side) {
            let (peer, bye) = (other.peer, other.request("BYE"));
            desk.send(peer, bye);
            self.end(desk);
        }
    }

    /// Takes a response to something that the relay sent.
    pub(super) fn response(&mut self, side: Side, response: &Message, desk: &mut Desk<'_>) {
        let Some((status, _)) = response.status().filter(|_| response.sequence().1 == "INVITE") else {
            return;
        };
        let of_reoffer = self
            .reoffer
            .as_ref()
            .is_some_and(|reoffer| reoffer.forwarded.transaction() == response.transaction());
        match side {
            _ if of_reoffer => self.reanswer(side, response, desk),
            Side::Callee(of) if self.forks[of].invite.transaction() == response.transaction() => match status
            {
                100 => {}
                101..200 => self.progress(of, response, desk),
                200..300 => self.accepted(of, response, desk),
                _ => self.refused(of, response, desk),
            },
            _ => {}
        }
    }

    fn offer_for(&self, branch: &str, policy: &SessionPolicy, desk: &mut Desk<'_>) -> Result<String, Status> {
        if self.forks.is_empty() {
            let (sdp, policy) = (&self.invite.body, Some(policy.clone()));
            let offer = desk.api.offer(&self.session, branch, CallSide::Caller, sdp, policy);
            desk.enter(Step::Offer, branch, sdp, &offer);
            return offer;
        }
        let offer = desk.api.fork(&self.session, branch);
        desk.enter(Step::Fork, branch, "", &offer);
        offer
    }

    fn progress(&mut self, of: usize, response: &Message, desk: &mut Desk<'_>) {
        if self.winner.is_some() || self.over {
            return;
        }
        let fork = &mut self.forks[of];
        fork.dialog.learn(response);
        let mut sdp = String::new();
        if !response.body.is_empty() {
            let answer = desk.api.answer(&self.session, &fork.branch, &response.body, true);
            desk.enter(Step::Progress, &fork.branch, &response.body, &answer);
            sdp = answer.unwrap_or_default();
        }
        let (status, reason) = response.status().unwrap_or((183, "Session Progress"));
        let tag = fork.tag.clone();
        self.tell_caller(status, reason, &tag, &sdp, desk);
    }

    fn accepted(&mut self, of: usize, response: &Message, desk: &mut Desk<'_>) {
        let fork = &mut self.forks[of];
        let again = fork.final_status.replace(200).is_some();
        fork.dialog.learn(response);
        let (ack, peer) = (fork.dialog.acknowledge(&fork.invite, response), fork.dialog.peer);
        desk.send(peer, ack);
        if again {
            return;
        }
        if self.winner.is_some() || self.over {
            // It answered while its CANCEL was on the way.
            let bye = fork.dialog.request("BYE");
            desk.send(peer, bye);
            return;
        }
        let answer = desk.api.answer(&self.session, &fork.branch, &response.body, false);
        desk.enter(Step::Answer, &fork.branch, &response.body, &answer);
        let chosen = answer.and_then(|sdp| {
            desk.api.select(&self.session, &fork.branch)?;
            Ok(sdp)
        });
        match chosen {
            Ok(sdp) => {
                let tag = fork.tag.clone();
                self.winner = Some(of);
                self.dialog = Some(Dialog::called(desk.own, self.caller, &self.invite, &tag));
                self.tell_caller(200, "OK", &tag, &sdp, desk);
                self.cancel_all(desk);
            }
            Err(status) => {
                let bye = fork.dialog.request("BYE");
                desk.send(peer, bye);
                self.answer_caller(488, status.message(), desk);
                self.cancel_all(desk);
                self.end(desk);
            }
        }
    }

    fn refused(&mut self, of: usize, response: &Message, desk: &mut Desk<'_>) {
        let fork = &mut self.forks[of];
        let (status, reason) = response.status().unwrap_or((500, "Server Internal Error"));
        let again = fork.final_status.replace(status).is_some();
        desk.send(fork.dialog.peer, fork.dialog.acknowledge(&fork.invite, response));
        if again || self.winner.is_some() || self.over {
            return;
        }
        let branch = fork.branch.clone();
        desk.note(|log| log.rejections.push((branch, status)));
        if self.forks.iter().all(|fork| fork.final_status.is_some()) {
            self.answer_caller(status, reason, desk);
            self.end(desk);
        } else if let Err(status) = desk.api.drop_branch(&self.session, &self.forks[of].branch) {
            desk.note(|log| log.errors.push(status.to_string()));
        }
    }

    /// Takes a re-INVITE of one side, and sends the other what Sluice makes of its offer.
    fn reoffer(&mut self, side: Side, request: &Message, from: SocketAddr, desk: &mut Desk<'_>) {
        let branch = self.winner.map(|winner| self.forks[winner].branch.clone());
        let (Some(branch), None, false) = (branch, &self.reoffer, self.over) else {
            desk.send(from, Message::response(request, 491, "Request Pending"));
            return;
        };
        desk.send(from, Message::response(request, 100, "Trying"));
        let by = if matches!(side, Side::Caller) { CallSide::Caller } else { CallSide::Callee };
        let offer = desk.api.offer(&self.session, &branch, by, &request.body, None);
        desk.enter(Step::Reoffer, &branch, &request.body, &offer);
        let offer = match offer {
            Ok(offer) => offer,
            Err(status) => {
                desk.send(from, Message::response(request, 488, status.message()));
                return;
            }
        };
        let Some(other) = self.other(side) else { return };
        let forwarded = other.request("INVITE").with_sdp(&offer);
        desk.send(other.peer, forwarded.clone());
        self.reoffer = Some(Reoffer { from, request: request.clone(), forwarded });
    }

    /// Takes the response to a re-INVITE that was sent on to `side`.
    fn reanswer(&mut self, side: Side, response: &Message, desk: &mut Desk<'_>) {
        let Some((status, reason)) = response.status().filter(|(status, _)| *status >= 200) else { return };
        let Some(Reoffer { from, request, forwarded }) = self.reoffer.take() else { return };
        let Some(dialog) = self.of(side) else { return };
        desk.send(dialog.peer, dialog.acknowledge(&forwarded, response));
        let branch = self.winner.map(|winner| self.forks[winner].branch.clone()).unwrap_or_default();
        if status >= 300 {
            if let Err(status) = desk.api.reject(&self.session, &branch) {
                desk.note(|log| log.errors.push(status.to_string()));
            }
            desk.send(from, Message::response(&request, status, reason));
            return;
        }
        let answer = desk.api.answer(&self.session, &branch, &response.body, false);
        desk.enter(Step::Reanswer, &branch, &response.body, &answer);
        let told = match answer {
            Ok(sdp) => {
                Message::response(&request, 200, "OK").with("Contact", contact(desk.own)).with_sdp(&sdp)
            }
            Err(status) => Message::response(&request, 488, status.message()),
        };
        desk.send(from, told);
    }

    /// The dialog with a side.
    fn of(&mut self, side: Side) -> Option<&mut Dialog> {
        match side {
            Side::Caller => self.dialog.as_mut(),
            Side::Callee(of) => Some(&mut self.forks[of].dialog),
        }
    }

    /// The dialog with the side that is not this one.
    fn other(&mut self, side: Side) -> Option<&mut Dialog> {
        match side {
            Side::Caller => self.of(Side::Callee(self.winner?)),
            Side::Callee(_) => self.of(Side::Caller),
        }
    }

    /// Cancels what has no final response.
    fn cancel_all(&mut self, desk: &mut Desk<'_>) {
        for fork in self.forks.iter().filter(|fork| fork.final_status.is_none()) {
            desk.send(fork.dialog.peer, fork.dialog.cancel(&fork.invite));
        }
    }

    fn answer_caller(&self, status: u16, reason: &str, desk: &mut Desk<'_>) {
        self.tell_caller(status, reason, &fresh("t"), "", desk);
    }

    fn tell_caller(&self, status: u16, reason: &str, tag: &str, sdp: &str, desk: &mut Desk<'_>) {
        desk.note(|log| log.told.push(status));
        let reason = reason.replace(['\r', '\n'], " ");
        let response = Message::response(&self.invite, status, &reason)
            .with_to_tag(tag)
            .with("Contact", contact(desk.own))
            .with_sdp(sdp);
        desk.send(self.caller, response);
    }

    fn end(&mut self, desk: &mut Desk<'_>) {
        self.over = true;
        if let Err(status) = desk.api.end(&self.session) {
            desk.note(|log| log.errors.push(status.to_string()));
        }
        desk.note(|log| log.ended += 1);
    }
}
