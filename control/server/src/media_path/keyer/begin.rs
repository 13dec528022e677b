//! Handshakes that begin: whose datagrams are taken, and who may begin.

use std::net::SocketAddr;
use std::time::Instant;

use sluice_datapath::Component;
use sluice_keying::dtls_srtp::{Admission, Association, Role};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;

use super::{HOLD, Keyer, Shared, Which};
use crate::media_path::association::{Facts, Line, Stage, is_client_hello, is_protected, role_shown};
use crate::media_path::counters::add;
use crate::media_path::reason::Reason;

impl Keyer {
    pub(super) fn dtls(
        &mut self,
        component: Component,
        remote: SocketAddr,
        datagram: &[u8],
        shared: &mut Shared,
        now: Instant,
    ) -> Result<(), Reason> {
        // With rtcp-mux there is one association for both (RFC 5764 section 3).
        if self.wanted.dtls.is_none() || component != Component::Rtp {
            return Err(Reason::NoAssociation);
        }
        // "the ICE connectivity checks are performed before the DTLS handshake begins" (RFC 8842 section 6).
        let is_checked = self.checks.as_ref().and_then(|checks| checks.is_checked(component, remote));
        if is_checked == Some(false) {
            return Err(Reason::Unchecked);
        }
        let (hello, protected) = (is_client_hello(datagram), is_protected(datagram));
        let (mut taken, mut refused) = (false, None);
        for which in [Which::Next, Which::Current] {
            let Some(line) = self.line(which) else { continue };
            if line.has_failed() || (is_checked.is_none() && line.remote != remote) {
                continue;
            }
            match line.machine.handle_datagram(now, datagram) {
                Ok(()) => {
                    if is_checked.is_some() && line.is_under_way() {
                        line.remote = remote;
                    }
                    self.drain(which, shared, now);
                    // Both associations have one 5-tuple. What is protected may be of either: it is authentic in one of
                    // them, and the other leaves it alone. A new one that has its keys by now is the only one.
                    if !protected || self.next.is_none() {
                        return Ok(());
                    }
                    taken = true;
                }
                Err(error) => {
                    tracing::debug!(leg = self.leg, %remote, %error, "DTLS datagram refused");
                    refused = Some(Reason::Record);
                }
            }
        }
        if taken {
            return Ok(());
        }
        if hello && self.may_begin(remote, is_checked.is_some(), now)? {
            return self.begin_for(remote, is_checked.is_some(), datagram, shared, now);
        }
        Err(refused.unwrap_or(if hello { Reason::StrayHello } else { Reason::Elsewhere }))
    }

    /// Whether a ClientHello may begin an association; an error says why not, if nobody's is awaited.
    fn may_begin(&mut self, remote: SocketAddr, checked: bool, now: Instant) -> Result<bool, Reason> {
        let Some(dtls) = &self.wanted.dtls else { return Err(Reason::NoAssociation) };
        if dtls.role == Role::Client {
            return Err(Reason::NoAssociation);
        }
        let place = self.place();
        let signalled = self.wanted.remote;
        let Some(line) = self.line(place) else { return Ok(true) };
        if line.has_failed() {
            return Ok(true);
        }
        if !line.is_under_way() || checked || line.remote == remote {
            return Ok(false);
        }
        // Whoever came first may be anybody. Who is where signalling says has the right of way.
        let from_there = |address: SocketAddr| signalled == Some(address);
        Ok(from_there(remote) || (!from_there(line.remote) && now >= line.begun + HOLD))
    }

    /// Where the next association goes.
    pub(super) fn place(&self) -> Which {
        let name = self.wanted.dtls.as_ref().map(|dtls| &dtls.name);
        match &self.current {
            Some(line) if Some(&line.name) != name && !line.has_failed() => Which::Next,
            _ => Which::Current,
        }
    }

    /// An association for who has sent a ClientHello.
    fn begin_for(
        &mut self,
        remote: SocketAddr,
        checked: bool,
        datagram: &[u8],
        shared: &mut Shared,
        now: Instant,
    ) -> Result<(), Reason> {
        let first = if checked {
            None
        } else {
            match shared.cookies.admit(now, remote, datagram) {
                Admission::Reply(bytes) => {
                    add(&shared.counters.cookies);
                    shared.send(Component::Rtp, remote, bytes);
                    return Ok(());
                }
                Admission::Admit(first) => Some(first),
                Admission::Drop(why) => {
                    tracing::debug!(leg = self.leg, %remote, %why, "ClientHello refused");
                    return Err(Reason::Cookie);
                }
            }
        };
        shared.gate.begin(remote.ip(), now)?;
        let which = self.begin(Role::Server, remote, shared, now);
        let Some(line) = self.line(which) else { return Ok(()) };
        let taken = match first {
            Some(first) => line.machine.admit(now, first),
            None => line.machine.handle_datagram(now, datagram),
        };
        self.drain(which, shared, now);
        if let Err(error) = taken {
            self.failed(which, &error.to_string(), shared, now);
            return Err(Reason::Record);
        }
        Ok(())
    }

    /// An association begins, and counts as half open already.
    fn begin(&mut self, role: Role, remote: SocketAddr, shared: &mut Shared, now: Instant) -> Which {
        let which = self.place();
        let Some(dtls) = self.wanted.dtls.clone() else {
            shared.gate.ended();
            return which;
        };
        if let Some(mut stale) = self.slot(which).take() {
            Self::end(&mut stale, shared, now);
        }
        let suites = if dtls.suites.is_empty() { shared.suites.as_slice() } else { &dtls.suites };
        match Association::new(&dtls.identity.endpoint, role, suites, dtls.peer.as_ref(), now) {
            Ok(machine) => {
                add(&shared.counters.started);
                shared.tell(Kind::HandshakeStarted(v1::HandshakeStarted {
                    role: role_shown(role).into(),
                    remote: remote.to_string(),
                    rtcp: false,
                    tls_id: dtls.name.tls_id.clone(),
                }));
                *self.slot(which) = Some(Line {
                    machine,
                    role,
                    name: dtls.name.clone(),
                    remote,
                    begun: now,
                    stage: Stage::Handshake,
                    is_half_open: true,
                    timeout: None,
                    facts: Facts::default(),
                });
            }
            Err(error) => {
                shared.gate.ended();
                add(&shared.counters.failed);
                tracing::warn!(leg = self.leg, %error, "no DTLS handshake can begin");
                shared.tell(Kind::HandshakeFailed(v1::HandshakeFailed {
                    reason: error.to_string(),
                    remote: remote.to_string(),
                    rtcp: false,
                }));
            }
        }
        which
    }

    /// The gateway begins, if it is to and can.
    pub(super) fn begin_own(&mut self, shared: &mut Shared, now: Instant) {
        let place = self.place();
        // What was refused another try does not change; what failed may be tried again when its time has come.
        let is_due = self.retry.take_if(|at| *at <= now).is_some();
        if is_due && self.line(place).is_some_and(|line| line.has_failed()) {
            *self.slot(place) = None;
        }
        let Some(dtls) = &self.wanted.dtls else { return };
        let Some(remote) = self.destination() else { return };
        if dtls.role == Role::Client && dtls.peer.is_some() && self.line(place).is_none() {
            shared.gate.begin_own();
            let which = self.begin(Role::Client, remote, shared, now);
            self.drain(which, shared, now);
        }
    }
}
