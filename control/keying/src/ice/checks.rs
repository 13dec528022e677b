//! Checks of our own: when, in which order, how often, and what their responses mean (RFC 8445 sections 6.1.4 and 7.2).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stun_types::message::{Message, MessageClass, TransactionId};

use super::candidate::priority;
use super::integrity::IntegrityKey;
use super::limits::{CONSENT_INTERVAL, MIN_RTO, PACE};
use super::output::{Event, Output, Transmit};
use super::pair::{Pair, Retry, Sent, State};
use super::role::random;
use super::session::{Context, Session};
use super::{CandidateKind, IceError, message};

/// What a response asks of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followup {
    None,
    /// It takes the other role (RFC 8445 section 7.2.5.1).
    SwitchRole,
}

impl Session {
    /// Has the pair at `index` checked before others (RFC 8445 section 7.3.1.4).
    pub(super) fn trigger(&mut self, index: usize) {
        let pair = &mut self.pairs[index];
        // A check under way is not repeated any more, but a response to it still counts.
        pair.retry = None;
        if pair.state != State::Succeeded {
            pair.state = State::Waiting;
        }
        if !self.triggered.contains(&pair.id) {
            self.triggered.push_back(pair.id);
        }
    }

    /// Whether a check could start now.
    pub(super) fn has_check_to_start(&self, controlling: bool) -> bool {
        self.makes_checks() && (!self.triggered.is_empty() || self.next_ordinary(controlling).is_some())
    }

    /// Starts the next check (RFC 8445 section 6.1.4.2), and says whether there was one.
    pub(super) fn start_check(&mut self, context: &mut Context<'_>) -> bool {
        if !self.makes_checks() {
            return false;
        }
        while let Some(id) = self.triggered.pop_front() {
            if let Some(index) = self.find(id) {
                self.check(index, context);
                return true;
            }
        }
        let next = self.next_ordinary(context.role.controlling);
        next.inspect(|index| self.check(*index, context)).is_some()
    }

    /// Repeats checks that were not answered in time, and asks for consent where it is due.
    pub(super) fn repeat_checks(&mut self, context: &mut Context<'_>) {
        for index in 0..self.pairs.len() {
            let pair = &mut self.pairs[index];
            let Some(retry) = pair.retry.as_mut().filter(|retry| retry.at <= context.now) else { continue };
            match retry.again(context.now) {
                Some(bytes) => transmit(pair, bytes, context),
                None => self.give_up(index),
            }
        }
        for index in 0..self.pairs.len() {
            let due = self.pairs[index].consent.is_some_and(|due| due <= context.now);
            if due && self.is_chosen(index) {
                self.ask_for_consent(index, context);
            }
        }
    }

    /// When [`Session::repeat_checks`] is due.
    pub(super) fn next_repetition(&self) -> Option<Instant> {
        let times =
            self.pairs.iter().flat_map(|pair| [pair.retry.as_ref().map(|retry| retry.at), pair.consent]);
        times.flatten().min()
    }

    /// Takes a response, if it is to a check of this session.
    pub(super) fn take_response(
        &mut self,
        response: &Message<'_>,
        (local, remote): (SocketAddr, SocketAddr),
        context: &mut Context<'_>,
    ) -> Option<Result<Followup, IceError>> {
        let transaction = response.transaction_id();
        let (index, sent) = self.find_sent(transaction)?;
        let peer = self.peer.as_ref()?;
        // RFC 8489 section 9.1.4: as if it had never come. Repetitions go on.
        if peer.key.verify(response).is_none() {
            return Some(Err(IceError::WrongIntegrity));
        }
        let pair = &mut self.pairs[index];
        pair.sent.retain(|one| one.transaction != transaction);
        if (pair.local, pair.remote) != (local, remote) {
            self.give_up(index);
            return Some(Err(IceError::NotSymmetric));
        }
        if response.has_class(MessageClass::Success) {
            self.take_success(index, sent, context);
            return Some(Ok(Followup::None));
        }
        Some(self.take_error(index, sent, response, context))
    }

    /// Begins to nominate the pair at `index` (RFC 8445 section 8.1.1).
    pub(super) fn begin_nomination(&mut self, index: usize) {
        self.pairs[index].nominating = true;
        self.trigger(index);
    }

    /// When to ask next for consent to send on a pair (RFC 7675 section 5.1).
    pub(super) fn schedule_consent(&mut self, index: usize, now: Instant) {
        // 0.8 to 1.2 times the interval, so that checks of many agents do not fall in step.
        let spread = CONSENT_INTERVAL.as_millis() as u64 * 2 / 5;
        let random = (random() as u64) % (spread + 1);
        let interval = CONSENT_INTERVAL * 4 / 5 + Duration::from_millis(random);
        self.pairs[index].consent = self.makes_checks().then(|| now + interval);
    }

    /// Whether this side makes checks.
    pub(super) fn makes_checks(&self) -> bool {
        !self.lite && self.peer.is_some()
    }

    /// Has pairs that the peer checked before signalling told of it treated as any other (RFC 8445 section 7.3).
    pub(super) fn take_early_checks(&mut self, context: &mut Context<'_>) {
        for index in 0..self.pairs.len() {
            if self.pairs[index].claimed.take().is_none() {
                continue;
            }
            if !self.lite {
                self.trigger(index);
            }
            if let Some(at) = self.pairs[index].nominated.take() {
                self.nominate(index, at, context);
            }
        }
    }

    /// The pair of highest priority that waits, or that need not be frozen any longer.
    fn next_ordinary(&self, controlling: bool) -> Option<usize> {
        let all = || self.pairs.iter().enumerate();
        let best = |(_, pair): &(usize, &Pair)| pair.priority(controlling);
        let waiting = all().filter(|(_, pair)| pair.state == State::Waiting).max_by_key(best);
        let active = |foundation| {
            let same = self.pairs.iter().filter(move |pair| pair.foundation == foundation);
            same.clone().any(|pair| matches!(pair.state, State::Waiting | State::InProgress))
        };
        let thawed = || all().filter(|(_, pair)| pair.state == State::Frozen && !active(pair.foundation));
        waiting.or_else(|| thawed().max_by_key(best)).map(|(index, _)| index)
    }

    /// Sends a check that is repeated until it is answered (RFC 8445 section 7.2.4).
    fn check(&mut self, index: usize, context: &mut Context<'_>) {
        let nominating = self.pairs[index].nominating && context.role.controlling;
        let rto = self.rto();
        let Some((bytes, sent)) = self.write_check(index, nominating, context) else { return };
        let pair = &mut self.pairs[index];
        if pair.state != State::Succeeded {
            pair.state = State::InProgress;
        }
        pair.record(sent);
        pair.retry = Some(Retry::new(bytes.clone(), rto, context.now));
        transmit(pair, bytes, context);
    }

    /// Sends a check that is not repeated: the next one is another (RFC 7675 section 5.1).
    fn ask_for_consent(&mut self, index: usize, context: &mut Context<'_>) {
        self.schedule_consent(index, context.now);
        // One that controls says with each that this is the pair: the peer may have missed it.
        let Some((bytes, sent)) = self.write_check(index, context.role.controlling, context) else { return };
        let pair = &mut self.pairs[index];
        pair.unanswered.get_or_insert(context.now);
        pair.record(sent);
        transmit(pair, bytes, context);
    }

    fn write_check(&self, index: usize, nominating: bool, context: &Context<'_>) -> Option<(Vec<u8>, Sent)> {
        let (peer, pair) = (self.peer.as_ref()?, &self.pairs[index]);
        let transaction = TransactionId::generate();
        // RFC 8445 section 7.1.1: that of the candidate that the peer would learn of by this check.
        let preference = (pair.local_priority >> 8) as u16;
        let priority = priority(CandidateKind::PeerReflexive, preference, pair.component);
        let key: &IntegrityKey = &peer.key;
        let bytes =
            message::write_check(transaction, &peer.username, priority, context.role, nominating, key);
        let controlling = context.role.controlling;
        Some((bytes, Sent { transaction, at: context.now, nominating, controlling }))
    }

    /// RFC 8445 section 14.3.
    fn rto(&self) -> Duration {
        let active =
            self.pairs.iter().filter(|pair| matches!(pair.state, State::Waiting | State::InProgress));
        MIN_RTO.max(PACE * active.count() as u32)
    }

    fn find_sent(&self, transaction: TransactionId) -> Option<(usize, Sent)> {
        let all = self.pairs.iter().enumerate();
        let mut sent = all.flat_map(|(index, pair)| pair.sent.iter().map(move |sent| (index, *sent)));
        sent.find(|(_, sent)| sent.transaction == transaction)
    }

    /// RFC 8445 section 7.2.5.3. The mapped address is not looked at: what is sent from is the base, and its own addresses
    /// are told to an agent of a server.
    fn take_success(&mut self, index: usize, sent: Sent, context: &mut Context<'_>) {
        let now = context.now;
        let pair = &mut self.pairs[index];
        let is_new = !pair.is_checked(now);
        let was_valid = pair.is_valid(now);
        pair.state = State::Succeeded;
        pair.answered = Some(now);
        pair.unanswered = None;
        pair.round_trip = Some(now.saturating_duration_since(sent.at));
        if !was_valid {
            pair.valid_since = Some(now);
        }
        // A nomination under way ends with its own response only.
        if !pair.nominating || sent.nominating {
            pair.retry = None;
        }
        let (component, remote, foundation) = (pair.component, pair.remote, pair.foundation);
        if is_new {
            context.event(Event::Checked { component, remote });
        }
        for pair in &mut self.pairs {
            if pair.foundation == foundation && pair.state == State::Frozen {
                pair.state = State::Waiting;
            }
        }
        self.settle(index, sent, context);
    }

    /// RFC 8445 section 7.2.5.3.4: whether the pair is nominated now.
    fn settle(&mut self, index: usize, sent: Sent, context: &mut Context<'_>) {
        let pair = &mut self.pairs[index];
        if context.role.controlling && sent.controlling {
            if sent.nominating && pair.nominating {
                pair.nominating = false;
                pair.nominated = Some(context.now);
                self.select(index, context);
            }
        } else if let Some(at) = pair.nominated.filter(|_| !context.role.controlling) {
            self.nominate(index, at, context);
        }
    }

    /// A check of the pair came to nothing. One that is in use goes on until consent ends (RFC 7675 section 5.1).
    fn give_up(&mut self, index: usize) {
        if self.is_chosen(index) {
            self.pairs[index].retry = None;
        } else {
            self.pairs[index].fail();
        }
    }

    fn take_error(
        &mut self,
        index: usize,
        sent: Sent,
        response: &Message<'_>,
        context: &mut Context<'_>,
    ) -> Result<Followup, IceError> {
        match message::error_code(response) {
            Some(487) => {
                self.trigger(index);
                // The role may have changed since the check went out.
                let same = sent.controlling == context.role.controlling;
                Ok(if same { Followup::SwitchRole } else { Followup::None })
            }
            code => {
                self.give_up(index);
                Err(IceError::Refused(code.unwrap_or(0)))
            }
        }
    }
}

fn transmit(pair: &Pair, bytes: Vec<u8>, context: &mut Context<'_>) {
    *context.sent += 1;
    let Pair { component, local, remote, .. } = *pair;
    context.output.push_back(Output::Transmit(Transmit { component, local, remote, bytes }));
}
