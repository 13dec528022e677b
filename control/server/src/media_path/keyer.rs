//! The handshake and the checks of one leg: datagrams and time in, actions out.
//!
//! ```text
//! STUN ──▶ Agent ──▶ selected ──▶ Towards            checked? ─┐
//! DTLS ──▶ from where? cookie? how often? ──▶ Association ◀────┘──▶ Install
//! ```
//! A leg has one association, and while another is made that is to take its place, two. What was established is disturbed
//! by nobody who has not shown who he is: an association of before keeps its keys until the new one has brought others.

mod begin;
mod outcome;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_datapath::{Component, LegId};
use sluice_keying::dtls_srtp::{Cookies, Role};
use sluice_keying::ice::Candidate;
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use sluice_srtp::Suite;

use super::action::Action;
use super::association::{Line, Stage};
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
    /// Whether the worker keeps what comes under keys that are on their way.
    rekeying: bool,
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
            rekeying: false,
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
                    Self::end(&mut line, shared, now);
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
            Self::end(&mut stale, shared, now);
        }
        let other = |line: &Line| line.name != now_wanted.name || line.role != now_wanted.role;
        if let Some(mut stale) = self.current.take_if(|line| line.is_under_way() && other(line)) {
            Self::end(&mut stale, shared, now);
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

    /// The leg goes, or has no handshake and no checks any more: the peer is told so.
    pub(super) fn stop(&mut self, shared: &mut Shared, now: Instant) {
        for mut line in [self.next.take(), self.current.take()].into_iter().flatten() {
            Self::end(&mut line, shared, now);
        }
        self.await_keys(shared);
        if std::mem::take(&mut self.silent) {
            // The leg may go on without.
            shared.actions.push(Action::Silence(false));
        }
    }

    /// Which of the peer's addresses checks have chosen, by component.
    pub(super) fn chosen(&self) -> Vec<(u16, SocketAddr)> {
        self.checks.as_ref().map(Checks::chosen).unwrap_or_default()
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
                self.why_waiting(dtls).clone_into(&mut shown.explanation);
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

    /// Takes from the machines what they have to say, does what is due, and says when to wake.
    fn settle(&mut self, shared: &mut Shared, now: Instant) {
        self.drain_checks(shared);
        self.begin_own(shared, now);
        self.await_keys(shared);
        let lines = [&self.current, &self.next].into_iter().flatten().filter_map(|line| line.timeout);
        let checks = self.checks.as_ref().and_then(Checks::timeout);
        self.wake = lines.chain(checks).chain(self.retry).min();
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

    /// "Each endpoint needs to be prepared to receive data on both the new and old DTLS associations" (RFC 8842 section
    /// 5.5), and the peer may have the new keys first.
    fn await_keys(&mut self, shared: &mut Shared) {
        let rekeying = [&self.current, &self.next].into_iter().flatten().any(Line::is_under_way);
        if rekeying != self.rekeying {
            self.rekeying = rekeying;
            shared.actions.push(Action::Rekeying(rekeying));
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
