//! Requests of the peer, and of whoever says so (RFC 8445 section 7.3, RFC 8489 section 9.1.3).

use std::net::SocketAddr;

use stun_types::attribute::{MessageIntegrity, MessageIntegritySha256};
use stun_types::message::Message;
use stun_types::prelude::*;

use super::integrity::{Algorithm, IntegrityKey};
use super::output::{Output, Transmit};
use super::role::Conflict;
use super::session::Session;
use super::{Agent, IceError, message};

/// Where a request came from and to.
#[derive(Clone, Copy)]
struct Way {
    component: u16,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Agent {
    /// Answers or refuses a request, and has sessions know of it.
    pub(super) fn answer(
        &mut self,
        request: &Message<'_>,
        component: u16,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(), IceError> {
        let way = Way { component, local, remote };
        if !self.session.has_component(component) {
            return Err(IceError::UnknownComponent(component));
        }
        let username = message::username(request);
        let signed = request.has_attribute(MessageIntegrity::TYPE)
            || request.has_attribute(MessageIntegritySha256::TYPE);
        let Some((own, peer)) = username.as_ref().and_then(message::users).filter(|_| signed) else {
            self.refuse(request, way, 400, None, None);
            return Err(IceError::NoCredentials);
        };
        let is_newest = self.is_newest(own, peer)?;
        let session =
            if is_newest { &self.session } else { self.previous.as_ref().ok_or(IceError::UnknownUser)? };
        let Some(algorithm) = session.key.verify(request) else {
            self.refuse(request, way, 401, None, None);
            return Err(IceError::WrongIntegrity);
        };
        if session.peer.as_ref().is_some_and(|known| known.ufrag != peer) {
            return Err(IceError::UnknownPeer);
        }
        let key = (session.key.clone(), algorithm);
        self.answer_authenticated(request, way, &key, peer, is_newest)
    }

    /// Whose fragment `own` is: the newest session's or the one's before a restart.
    fn is_newest(&self, own: &str, peer: &str) -> Result<bool, IceError> {
        let fits = |session: &Session| session.ufrag == own;
        let is_of = |session: &Session| session.peer.as_ref().is_some_and(|known| known.ufrag == peer);
        // Both have the same fragment where only the peer restarted.
        let old = self.previous.as_ref().filter(|previous| fits(previous));
        match (fits(&self.session), old) {
            (true, Some(old)) => Ok(is_of(&self.session) || !is_of(old)),
            (true, None) => Ok(true),
            (false, Some(_)) => Ok(false),
            (false, None) => Err(IceError::UnknownUser),
        }
    }

    fn answer_authenticated(
        &mut self,
        request: &Message<'_>,
        way: Way,
        key: &(IntegrityKey, Algorithm),
        peer: &str,
        is_newest: bool,
    ) -> Result<(), IceError> {
        if !self.answers.take(self.now) {
            return Err(IceError::TooMany);
        }
        let signed = Some((&key.0, key.1));
        if let Some(unknown) = message::not_understood(request) {
            self.refuse(request, way, 420, Some(unknown), signed);
            return Err(IceError::UnknownAttribute(unknown));
        }
        let check = message::check(request).inspect_err(|_| self.refuse(request, way, 400, None, signed))?;
        match self.role.conflict(&check) {
            Conflict::None => {}
            Conflict::Yield => self.switch_role(),
            Conflict::Refuse => {
                self.refuse(request, way, 487, None, signed);
                return Err(IceError::RoleConflict);
            }
        }
        if check.use_candidate && self.role.controlling {
            self.refuse(request, way, 400, None, signed);
            return Err(IceError::BadRequest("USE-CANDIDATE from a peer that does not control"));
        }
        self.statistics.answered += 1;
        let bytes = message::write_success(request, way.remote, &key.0, key.1);
        self.send(way, bytes);
        let controlling = self.role.controlling;
        self.on_one(is_newest, |session, context| {
            if session.has_component(way.component) {
                let index =
                    session.pair_of_check((way.component, way.local, way.remote), &check, controlling);
                session.heard(index, peer, &check, context);
            }
        });
        Ok(())
    }

    /// Responds with an error. Unsigned ones, which anybody can ask for, are few, and no longer than what asked for them.
    fn refuse(
        &mut self,
        request: &Message<'_>,
        way: Way,
        code: u16,
        unknown: Option<u16>,
        key: Option<(&IntegrityKey, Algorithm)>,
    ) {
        let bytes = message::write_error(request, code, unknown, key);
        let allowed =
            key.is_some() || (bytes.len() <= request.as_bytes().len() && self.refusals.take(self.now));
        if allowed {
            self.statistics.refused += 1;
            self.send(way, bytes);
        }
    }

    fn send(&mut self, way: Way, bytes: Vec<u8>) {
        let Way { component, local, remote } = way;
        self.output.push_back(Output::Transmit(Transmit { component, local, remote, bytes }));
    }
}
