//! The handshake and the checks of one leg: datagrams and time in, actions out.
//!
//! ```text
//! STUN ──▶ Agent ──▶ selected ──▶ Towards            checked? ─┐
//! DTLS ──▶ from where? cookie? how often? ──▶ Association ◀────┘──▶ Install
//! ```
//! A leg has one association, and while another is made that is to take its place, two. What was established is disturbed
//! by nobody who has not shown who he is: an association of before keeps its keys until the new one has brought others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_datapath::{Component, LegId};
use sluice_keying::dtls_srtp::{
    Admission, Association, Cookies, DtlsError, Event as DtlsEvent, Keys, Output as DtlsOutput, Role,
};
use sluice_keying::ice::Candidate;
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use sluice_srtp::Suite;

use super::action::Action;
use super::association::{Facts, Line, Stage, is_client_hello, role_shown};
use super::checks::{Checks, Selected};
use super::counters::{Counters, add};
use super::gate::Gate;
use super::reason::{Drops, Reason};
use super::wanted::{Wanted, WantedDtls};

/// How long a handshake from elsewhere than the signalled address holds the leg's place against another from elsewhere.
const HOLD: Duration = Duration::from_secs(3);
/// Octets of the tags of 32 bits.
const SHORT_TAG: usize = 4;
/// After so long the gateway begins a handshake of its own again that failed.
const RETRY: Duration = Duration::from_secs(3);

/// What keyers of a thread share.
pub(super) struct Shared {
    pub(super) gate: Gate,
    pub(super) cookies: Cookies,
    /// Suites of legs that name none.
    pub(super) suites: Vec<Suite>,
    pub(super) counters: Arc<Counters>,
    /// What is to be done for the leg that is looked at.
    pub(super) actions: Vec<Action>,
}

/// The handshake and the checks of one leg.
pub(super) struct Keyer {
    pub(super) leg: LegId,
    wanted: Wanted,
    checks: Option<Checks>,
    /// Whose keys are in use, or will be.
    current: Option<Line>,
    /// What is to take its place.
    next: Option<Line>,
    /// When the gateway begins again.
    retry: Option<Instant>,
    /// How many associations have brought keys.
    keyed: u32,
    silent: bool,
    drops: Drops,
    /// When the last flight of the handshake came or went, until media followed.
    last_flight: Option<Instant>,
    /// When it is to be woken.
    pub(super) wake: Option<Instant>,
    /// When it will be at first, as the heap of timers has it.
    pub(super) armed: Option<Instant>,
}

impl Keyer {
    pub(super) fn new(leg: LegId, wanted: Wanted, shared: &mut Shared, now: Instant) -> Self {
        let checks = wanted.ice.as_ref().map(|ice| Checks::new(ice, &wanted, now));
        let mut keyer = Self {
            leg,
            wanted,
            checks,
            current: None,
            next: None,
            retry: None,
            keyed: 0,
            silent: false,
            drops: Drops::default(),
            last_flight: None,
            wake: None,
            armed: None,
        };
        if keyer.checks.is_some() {
            let checking = v1::IceChanged { state: v1::IceState::Checking.into(), ..Default::default() };
            shared.tell(Kind::IceChanged(checking));
        }
        keyer.settle(shared, now);
        keyer
    }

    /// Signalling wants something else.
    pub(super) fn change(&mut self, wanted: Wanted, shared: &mut Shared, now: Instant) {
        match (&mut self.checks, &wanted.ice) {
            (Some(checks), Some(ice)) => checks.change(ice, &wanted, now),
            (_, ice) => self.checks = ice.as_ref().map(|ice| Checks::new(ice, &wanted, now)),
        }
        let before = std::mem::replace(&mut self.wanted, wanted);
        match &self.wanted.dtls {
            None => {
                for mut line in [self.next.take(), self.current.take()].into_iter().flatten() {
                    self.end(&mut line, shared, now);
                }
            }
            Some(dtls) => self.change_dtls(&dtls.clone(), before.dtls.as_ref(), shared, now),
        }
        self.settle(shared, now);
    }

    fn change_dtls(
        &mut self,
        now_wanted: &WantedDtls,
        before: Option<&WantedDtls>,
        shared: &mut Shared,
        now: Instant,
    ) {
        self.retry = None;
        // What was begun for something that is not wanted any more. An association that gave keys goes on giving them
        // until another has brought others.
        if let Some(mut stale) = self.next.take_if(|line| line.name != now_wanted.name) {
            self.end(&mut stale, shared, now);
        }
        let other = |line: &Line| line.name != now_wanted.name || line.role != now_wanted.role;
        if let Some(mut stale) = self.current.take_if(|line| line.is_under_way() && other(line)) {
            self.end(&mut stale, shared, now);
        }
        // Another try is worth it: the peer has spoken.
        if self.current.as_ref().is_some_and(Line::has_failed)
            && before.is_some_and(|b| b.peer != now_wanted.peer)
        {
            self.current = None;
        }
        let Some(peer) = &now_wanted.peer else { return };
        if before.and_then(|before| before.peer.as_ref()) == Some(peer) {
            return;
        }
        for which in [Which::Next, Which::Current] {
            let it = |line: &&mut Line| line.is_under_way() && line.name == now_wanted.name;
            if let Some(line) = self.line(which).filter(it) {
                line.machine.set_peer(peer, now);
                self.drain(which, shared, now);
            }
        }
    }

    /// More of the peer's candidates, or the word that there are no more.
    pub(super) fn add_candidates(
        &mut self,
        candidates: Vec<Candidate>,
        end: bool,
        shared: &mut Shared,
        now: Instant,
    ) {
        if let Some(checks) = &mut self.checks {
            checks.add(candidates, end, now);
            self.settle(shared, now);
        }
    }

    /// A STUN message that is of a check, or DTLS.
    pub(super) fn take(
        &mut self,
        is_stun: bool,
        component: Component,
        remote: SocketAddr,
        datagram: &[u8],
        shared: &mut Shared,
        now: Instant,
    ) {
        add(&shared.counters.received);
        let taken = if is_stun {
            self.check(component, remote, datagram, now)
        } else {
            self.dtls(component, remote, datagram, shared, now)
        };
        if let Err(reason) = taken {
            self.drops.count(reason);
            shared.counters.drops.count(reason);
        }
        self.settle(shared, now);
    }

    /// Time has come.
    pub(super) fn expire(&mut self, shared: &mut Shared, now: Instant) {
        if let Some(checks) = &mut self.checks {
            checks.expire(now);
        }
        for which in [Which::Next, Which::Current] {
            let Some(line) = self.line(which) else { continue };
            if line.timeout.is_some_and(|at| at <= now) {
                line.machine.handle_timeout(now);
                self.drain(which, shared, now);
            }
        }
        self.settle(shared, now);
    }

    /// The leg's first media came; how long after the last flight of its handshake.
    pub(super) fn first_media(&mut self, at: Instant) -> Option<Duration> {
        self.last_flight.take().map(|flight| at.saturating_duration_since(flight))
    }

    /// The leg goes: the peer is told so.
    pub(super) fn stop(&mut self, shared: &mut Shared, now: Instant) {
        for mut line in [self.next.take(), self.current.take()].into_iter().flatten() {
            self.end(&mut line, shared, now);
        }
    }

    /// As the API shows it.
    pub(super) fn shown(&self) -> v1::MediaPath {
        let mut shown = v1::MediaPath { drops: self.drops.shown(), ..Default::default() };
        if let Some(checks) = &self.checks {
            checks.show(&mut shown);
        }
        if let Some(dtls) = &self.wanted.dtls {
            shown.own_fingerprints = dtls.identity.fingerprints().iter().map(ToString::to_string).collect();
            shown.rekeying = self.next.as_ref().is_some_and(Line::is_under_way);
            self.show_dtls(dtls, &mut shown);
        }
        shown
    }

    fn show_dtls(&self, dtls: &WantedDtls, shown: &mut v1::MediaPath) {
        let Some(line) = &self.current else {
            shown.dtls_state = v1::DtlsState::Waiting.into();
            if shown.explanation.is_empty() {
                shown.explanation = self.why_waiting(dtls).to_owned();
            }
            return;
        };
        shown.dtls_state = line.state().into();
        let facts = &line.facts;
        shown.dtls_version.clone_from(&facts.version);
        shown.cipher.clone_from(&facts.cipher);
        shown.profile.clone_from(&facts.suite);
        shown.peer_fingerprint = facts.peer.as_ref().map(ToString::to_string).unwrap_or_default();
        (shown.resumed, shown.forward_secret) = (facts.resumed, facts.forward_secret);
        if shown.explanation.is_empty() {
            shown.explanation = line.explanation();
        }
    }

    fn why_waiting(&self, dtls: &WantedDtls) -> &'static str {
        match (dtls.role, self.destination()) {
            (Role::Server, _) => {
                "the peer is to begin the DTLS handshake, and no ClientHello came from it yet"
            }
            (Role::Client, None) => "the DTLS handshake cannot begin: no address of the peer is known yet",
            (Role::Client, Some(_)) => "the DTLS handshake is about to begin",
        }
    }

    fn check(
        &mut self,
        component: Component,
        remote: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Result<(), Reason> {
        let local = self.wanted.local[usize::from(component == Component::Rtcp)];
        let checks = self.checks.as_mut().ok_or(Reason::Stun)?;
        checks.take(component, local, remote, datagram, now).map_err(|error| {
            tracing::debug!(leg = self.leg, %remote, %error, "STUN message refused");
            Reason::Stun
        })
    }

    fn dtls(
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
        let hello = is_client_hello(datagram);
        let mut refused = None;
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
                    return Ok(());
                }
                Err(error) => {
                    tracing::debug!(leg = self.leg, %remote, %error, "DTLS datagram refused");
                    refused = Some(Reason::Record);
                }
            }
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
    fn place(&self) -> Which {
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
            self.failed(which, error.to_string(), shared, now);
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
            self.end(&mut stale, shared, now);
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

    /// Takes from the machines what they have to say, does what is due, and says when to wake.
    fn settle(&mut self, shared: &mut Shared, now: Instant) {
        self.drain_checks(shared);
        self.begin_own(shared, now);
        let lines = [&self.current, &self.next].into_iter().flatten().filter_map(|line| line.timeout);
        let checks = self.checks.as_ref().and_then(Checks::timeout);
        self.wake = lines.chain(checks).chain(self.retry).min();
    }

    /// The gateway begins, if it is to and can.
    fn begin_own(&mut self, shared: &mut Shared, now: Instant) {
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

    /// Where a handshake of the gateway's goes.
    fn destination(&self) -> Option<SocketAddr> {
        match &self.checks {
            Some(checks) => checks.destination(),
            None => self.wanted.remote,
        }
    }

    fn drain_checks(&mut self, shared: &mut Shared) {
        let Some(checks) = &mut self.checks else { return };
        if let Some(Selected { rtp, rtcp }) = checks.drain(shared) {
            for line in [&mut self.current, &mut self.next].into_iter().flatten() {
                line.remote = rtp;
            }
            shared.actions.push(Action::Towards { rtp, rtcp });
        }
        self.hush(shared);
    }

    /// Whether media may be sent, as both have it.
    fn hush(&mut self, shared: &mut Shared) {
        let without_consent = self.checks.as_ref().is_some_and(Checks::has_lost_consent);
        let closed = self.current.as_ref().is_some_and(|line| line.stage == Stage::Closed);
        let silent = without_consent || closed;
        if silent != self.silent {
            self.silent = silent;
            shared.actions.push(Action::Silence(silent));
        }
    }

    /// Takes from an association what it has to say.
    fn drain(&mut self, which: Which, shared: &mut Shared, now: Instant) {
        let mut which = which;
        loop {
            let Some(line) = self.line(which) else { return };
            match line.machine.poll() {
                DtlsOutput::Transmit(bytes) => {
                    let remote = line.remote;
                    shared.send(Component::Rtp, remote, bytes);
                }
                DtlsOutput::Timeout(at) => {
                    line.timeout = at;
                    return;
                }
                DtlsOutput::Event(event) => which = self.happened(which, event, shared, now),
            }
        }
    }

    /// Where the association is now.
    fn happened(&mut self, which: Which, event: DtlsEvent, shared: &mut Shared, now: Instant) -> Which {
        match event {
            // It is right only once it is held against what signalling says.
            DtlsEvent::Progress(_) | DtlsEvent::PeerCertificate { .. } => {}
            DtlsEvent::Keys(keys) => return self.established(which, keys, shared, now),
            DtlsEvent::Refused(error) => self.refused(which, &error, shared),
            DtlsEvent::Closed => {
                let was_established = self.line(which).is_some_and(|line| line.stage == Stage::Established);
                if was_established {
                    add(&shared.counters.closed);
                    shared.tell(Kind::AssociationClosed(v1::AssociationClosed { rtcp: false }));
                    self.over(which, Stage::Closed, shared);
                } else {
                    self.failed(which, "the peer closed the association".to_owned(), shared, now);
                }
                self.hush(shared);
            }
            DtlsEvent::Failed(error) => self.failed(which, error.to_string(), shared, now),
        }
        which
    }

    fn established(&mut self, which: Which, keys: Box<Keys>, shared: &mut Shared, now: Instant) -> Which {
        add(&shared.counters.completed);
        if keys.resumed {
            add(&shared.counters.resumed);
        }
        let facts = Facts::of(&keys);
        let fingerprint = keys.peer_fingerprint.to_string();
        shared.tell(Kind::CertificateVerified(v1::CertificateVerified { fingerprint, rtcp: false }));
        self.over(which, Stage::Established, shared);
        if let Some(line) = self.line(which) {
            line.facts = facts;
        }
        let remote = self.line(which).map(|line| line.remote);
        // Make before break: only now the one of before is of no more use.
        if which == Which::Next
            && let Some(mut old) = std::mem::replace(&mut self.current, self.next.take())
        {
            self.end(&mut old, shared, now);
        }
        self.keyed += 1;
        self.last_flight = Some(now);
        let finished = Instant::now();
        let (roc, short_tags) =
            self.wanted.dtls.as_ref().map_or_else(Default::default, |dtls| (dtls.roc, dtls.short_tags));
        let mut keys = keys;
        for key in [&mut keys.inbound, &mut keys.outbound] {
            let short_in_rtp = !key.suite.is_aead() && key.suite.rtp_overhead() == SHORT_TAG;
            key.options.short_rtcp_tags |= short_tags && short_in_rtp;
        }
        shared.actions.push(Action::Install { keys, roc, number: self.keyed, finished });
        // Who holds the certificate has shown where he is.
        if self.checks.is_none()
            && let Some(remote) = remote.filter(|remote| self.wanted.remote != Some(*remote))
            && (self.wanted.remote.is_none() || self.wanted.learns)
        {
            shared.actions.push(Action::Towards { rtp: remote, rtcp: None });
        }
        self.hush(shared);
        Which::Current
    }

    /// The peer is not who signalling says.
    fn refused(&mut self, which: Which, error: &DtlsError, shared: &mut Shared) {
        add(&shared.counters.refused);
        let remote = self.line(which).map(|line| line.remote.to_string()).unwrap_or_default();
        let (expected, shown) = match error {
            DtlsError::FingerprintMismatch { shown, signalled } => {
                (signalled.iter().map(ToString::to_string).collect(), shown.to_string())
            }
            _ => (Vec::new(), String::new()),
        };
        shared.tell(Kind::CertificateRefused(v1::CertificateRefused {
            expected,
            shown,
            remote,
            rtcp: false,
        }));
        self.over(which, Stage::Failed(error.to_string()), shared);
    }

    fn failed(&mut self, which: Which, reason: String, shared: &mut Shared, now: Instant) {
        add(&shared.counters.failed);
        let remote = self.line(which).map(|line| line.remote.to_string()).unwrap_or_default();
        shared.tell(Kind::HandshakeFailed(v1::HandshakeFailed {
            reason: reason.clone(),
            remote,
            rtcp: false,
        }));
        let role = self.line(which).map(|line| line.role);
        self.over(which, Stage::Failed(format!("the DTLS handshake failed: {reason}")), shared);
        if role == Some(Role::Client) {
            self.retry = Some(now + RETRY);
        }
    }

    /// The handshake came to an end.
    fn over(&mut self, which: Which, stage: Stage, shared: &mut Shared) {
        let Some(line) = self.line(which) else { return };
        line.stage = stage;
        if std::mem::take(&mut line.is_half_open) {
            shared.gate.ended();
        }
    }

    /// An association goes: the peer is told so.
    fn end(&self, line: &mut Line, shared: &mut Shared, now: Instant) {
        if std::mem::take(&mut line.is_half_open) {
            shared.gate.ended();
        }
        if line.has_failed() {
            return;
        }
        line.machine.close(now);
        // Events of what has ended are nobody's.
        while let output @ (DtlsOutput::Transmit(_) | DtlsOutput::Event(_)) = line.machine.poll() {
            if let DtlsOutput::Transmit(bytes) = output {
                shared.send(Component::Rtp, line.remote, bytes);
            }
        }
    }

    fn line(&mut self, which: Which) -> Option<&mut Line> {
        self.slot(which).as_mut()
    }

    fn slot(&mut self, which: Which) -> &mut Option<Line> {
        match which {
            Which::Current => &mut self.current,
            Which::Next => &mut self.next,
        }
    }
}

impl Shared {
    pub(super) fn send(&mut self, component: Component, remote: SocketAddr, bytes: Vec<u8>) {
        add(&self.counters.sent);
        self.actions.push(Action::Send { component, remote, bytes });
    }

    pub(super) fn tell(&mut self, kind: Kind) {
        self.actions.push(Action::Tell(kind));
    }
}

/// One of a leg's associations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Current,
    Next,
}
