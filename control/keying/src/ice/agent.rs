//! The agent: sessions, roles, and who gets which datagram.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use stun_types::message::{Message, MessageClass};

use super::checks::Followup;
use super::limits::{ANSWERS, Bucket, PACE, REFUSALS};
use super::output::{Event, Output, State, Statistics};
use super::role::Role;
use super::session::{Context, Session};
use super::{Candidate, IceError, OwnIce, PeerIce, message};

/// An ICE agent (RFC 8445), lite or full, for the components of one media stream.
///
/// It has no socket and no clock: datagrams, signalling and the time go in, and after each call [`Agent::poll`] is called
/// until it returns [`Output::Timeout`].
pub struct Agent {
    pub(super) role: Role,
    /// Of the credentials that were given last.
    pub(super) session: Session,
    /// Of those before a restart, until each component has a way by the new ones.
    pub(super) previous: Option<Session>,
    pub(super) answers: Bucket,
    pub(super) refusals: Bucket,
    pub(super) statistics: Statistics,
    pub(super) output: VecDeque<Output>,
    pub(super) now: Instant,
    /// No check starts before.
    paced: Instant,
}

impl Agent {
    /// An agent that has told the peer `own`, or is about to. A lite one only answers checks. `controlling` says whether it
    /// nominates (RFC 8445 section 6.1.1), which a lite one is only for between two lite ones.
    pub fn new(own: &OwnIce, controlling: bool, now: Instant) -> Self {
        Self {
            role: Role::new(controlling, own.lite),
            session: Session::new(own),
            previous: None,
            answers: Bucket::new(ANSWERS, now),
            refusals: Bucket::new(REFUSALS, now),
            statistics: Statistics::default(),
            output: VecDeque::new(),
            now,
            paced: now,
        }
    }

    /// Takes what the peer said of itself. Said again, only candidates that are new count; with other credentials than
    /// before, the peer restarted.
    pub fn set_peer(&mut self, peer: &PeerIce, now: Instant) {
        self.advance(now);
        let known = self.session.peer.as_ref().map(|peer| peer.ufrag.as_str());
        if known.is_some_and(|ufrag| ufrag != peer.credentials.ufrag) {
            let renewed = self.session.renewed();
            self.begin(renewed);
        }
        self.on_session(|session, context| session.set_peer(peer, context));
    }

    /// Takes one more candidate of the peer (RFC 8838). One that is of credentials of before a restart is passed over.
    ///
    /// # Errors
    /// [`IceError::TooManyCandidates`] above [`super::MAX_PEER_CANDIDATES`], [`IceError::UnknownPeer`] before
    /// [`Agent::set_peer`].
    pub fn add_peer_candidate(&mut self, candidate: Candidate, now: Instant) -> Result<(), IceError> {
        self.advance(now);
        let peer = self.session.peer.as_ref().ok_or(IceError::UnknownPeer)?;
        // RFC 8838 section 4.1: the extension says which generation the candidate is of.
        let mut extensions = candidate.extensions.iter();
        let of = extensions.find(|(name, _)| name == "ufrag").map(|(_, value)| value);
        if of.is_some_and(|of| *of != peer.ufrag) {
            return Ok(());
        }
        self.on_session(|session, context| session.add_peer_candidate(candidate, context))
    }

    /// The peer has no more candidates.
    pub fn end_of_candidates(&mut self, now: Instant) {
        self.advance(now);
        self.session.end_of_candidates();
    }

    /// Restarts with new credentials and candidates (RFC 8445 section 9). Media goes on as before until the checks that
    /// [`Agent::set_peer`] with the peer's new credentials begins have found a way.
    pub fn restart(&mut self, own: &OwnIce, now: Instant) {
        self.advance(now);
        if own.lite != self.session.lite {
            self.role = Role::new(self.role.controlling && !own.lite, own.lite);
        }
        self.begin(Session::new(own));
    }

    /// Goes back to before the last restart, for an offer that was refused. Says whether there was one to go back on.
    pub fn abandon_restart(&mut self, now: Instant) -> bool {
        self.advance(now);
        // One whose way is in use already for a component is not gone back on.
        let back = self.previous.take_if(|previous| previous.retired.is_empty());
        back.map(|previous| self.session = previous).is_some()
    }

    /// Gives `component` up, which is not used after all: RTCP goes with RTP (RFC 5761).
    pub fn drop_component(&mut self, component: u16, now: Instant) {
        self.advance(now);
        self.session.retire(component);
        if let Some(previous) = &mut self.previous {
            previous.retire(component);
        }
    }

    /// Takes a STUN datagram that came from `remote` to `local`, one of the own candidates' bases, for `component`.
    ///
    /// # Errors
    /// Whatever keeps the datagram from changing anything; requests may have been refused with an error response.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        component: u16,
        datagram: &[u8],
    ) -> Result<(), IceError> {
        self.advance(now);
        let result = message::parse(datagram).and_then(|message| match message.class() {
            MessageClass::Request => self.answer(&message, component, local, remote),
            MessageClass::Success | MessageClass::Error => self.take_response(&message, local, remote),
            // A keep-alive (RFC 8445 section 11).
            MessageClass::Indication => Ok(()),
        });
        if !matches!(result, Ok(()) | Err(IceError::RoleConflict | IceError::BadRequest(_))) {
            self.statistics.ignored += 1;
        }
        result
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.on_sessions(|session, context| {
            session.repeat_checks(context);
            session.judge(context);
        });
        if self.paced <= self.now {
            let mut started = false;
            self.on_sessions(|session, context| started = started || session.start_check(context));
            if started {
                self.paced = self.now + PACE;
            }
        }
    }

    /// What to do next.
    pub fn poll(&mut self) -> Output {
        self.output.pop_front().unwrap_or_else(|| Output::Timeout(self.next_timeout()))
    }

    /// Whether `remote` has shown within the last 30 seconds that it knows the password: a handshake may be taken from there.
    pub fn is_checked(&self, component: u16, remote: SocketAddr) -> bool {
        let mut pairs = self.sessions().flat_map(|session| &session.pairs);
        pairs.any(|pair| pair.component == component && pair.remote == remote && pair.is_checked(self.now))
    }

    /// The way that media of `component` takes: from, and to. `None` while nothing is to be sent.
    pub fn selected(&self, component: u16) -> Option<(SocketAddr, SocketAddr)> {
        let chosen = self.sessions().find_map(|session| session.chosen(component));
        chosen.map(|pair| (pair.local, pair.remote))
    }

    /// Whether there are checks at all: between two lite agents there are none, and [`Agent::is_checked`] is never true.
    pub fn has_checks(&self) -> bool {
        !self.session.is_unchecked()
    }

    /// Whether this side nominates.
    pub fn is_controlling(&self) -> bool {
        self.role.controlling
    }

    /// How far it is.
    pub fn state(&self) -> State {
        self.session.state()
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        let round_trip =
            self.sessions().find_map(|session| session.chosen(1)).and_then(|pair| pair.round_trip);
        Statistics { round_trip, ..self.statistics }
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        std::iter::once(&self.session).chain(&self.previous)
    }

    /// Does `work` on the session of the newest credentials.
    pub(super) fn on_session<T>(&mut self, work: impl FnOnce(&mut Session, &mut Context<'_>) -> T) -> T {
        let mut context = Context {
            now: self.now,
            role: self.role,
            output: &mut self.output,
            sent: &mut self.statistics.sent,
        };
        let result = work(&mut self.session, &mut context);
        self.retire_previous();
        result
    }

    /// Does `work` on all sessions, the newest first.
    pub(super) fn on_sessions(&mut self, mut work: impl FnMut(&mut Session, &mut Context<'_>)) {
        self.on_one(true, &mut work);
        self.on_one(false, work);
    }

    /// Does `work` on the newest session, or on the one before a restart, if there is one.
    pub(super) fn on_one(&mut self, newest: bool, work: impl FnOnce(&mut Session, &mut Context<'_>)) {
        if newest {
            return self.on_session(work);
        }
        let mut context = Context {
            now: self.now,
            role: self.role,
            output: &mut self.output,
            sent: &mut self.statistics.sent,
        };
        if let Some(previous) = &mut self.previous {
            work(previous, &mut context);
        }
    }

    /// Takes the other role (RFC 8445 section 7.3.1.1).
    pub(super) fn switch_role(&mut self) {
        self.role.controlling = !self.role.controlling;
        for pair in
            self.session.pairs.iter_mut().chain(self.previous.iter_mut().flat_map(|one| &mut one.pairs))
        {
            pair.nominating = false;
        }
        self.output.push_back(Output::Event(Event::Role { controlling: self.role.controlling }));
    }

    fn take_response(
        &mut self,
        response: &Message<'_>,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(), IceError> {
        let mut result = None;
        self.on_sessions(|session, context| {
            if result.is_none() {
                result = session.take_response(response, (local, remote), context);
            }
        });
        let followup = result.unwrap_or(Err(IceError::UnknownTransaction))?;
        self.statistics.responses += 1;
        if followup == Followup::SwitchRole {
            self.switch_role();
        }
        Ok(())
    }

    /// Has `session` take the place of the present one, which media goes by until it is not needed any more.
    fn begin(&mut self, session: Session) {
        let old = std::mem::replace(&mut self.session, session);
        // One that found nothing has nothing to go on with; the one before it may.
        if self.previous.is_none() || !old.chosen.is_empty() {
            self.previous = Some(old);
        }
    }

    /// Lets go of what the newest session has a way for.
    fn retire_previous(&mut self) {
        let Some(previous) = &mut self.previous else { return };
        for chosen in &self.session.chosen {
            if !previous.retired.contains(&chosen.component) {
                previous.retire(chosen.component);
            }
        }
        if previous.components().next().is_none() {
            self.previous = None;
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let controlling = self.role.controlling;
        let due = self.sessions().flat_map(|session| {
            let check = session.has_check_to_start(controlling).then_some(self.paced);
            [session.next_repetition(), session.next_judgement(controlling, self.now), check]
        });
        due.flatten().min()
    }

    /// Time does not go back.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }
}
