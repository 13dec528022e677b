//! Which pair media takes, and for how long (RFC 8445 section 8, RFC 7675).

use std::time::Instant;

use super::limits::{CONSENT_LIFETIME, NOMINATION_WAIT, SETTLING, SILENCE};
use super::message::Check;
use super::output::{Event, State as AgentState};
use super::pair::{Pair, State};
use super::session::{Chosen, Context, Session};

impl Session {
    /// Takes an authenticated check of the peer on the pair at `index` (RFC 8445 sections 7.3.1.4, 7.3.1.5, 7.3.2).
    pub(super) fn heard(&mut self, index: usize, peer: &str, check: &Check, context: &mut Context<'_>) {
        let now = context.now;
        let known = self.peer.is_some();
        let pair = &mut self.pairs[index];
        if !pair.is_checked(now) {
            context.event(Event::Checked { component: pair.component, remote: pair.remote });
        }
        pair.heard = Some(now);
        if !known {
            pair.claimed = Some(peer.into());
            if check.use_candidate {
                pair.nominated = Some(now);
            }
            return;
        }
        if !self.lite && !self.pairs[index].is_valid(now) {
            self.trigger(index);
        }
        if check.use_candidate && !context.role.controlling {
            self.nominate(index, now, context);
        }
    }

    /// The peer nominated the pair at `index`, at `at`.
    pub(super) fn nominate(&mut self, index: usize, at: Instant, context: &mut Context<'_>) {
        let pair = &mut self.pairs[index];
        pair.nominated = Some(at);
        // RFC 8445 section 7.3.1.5: a full agent has to have had a response there. A lite one takes the peer's word.
        if !self.lite && !pair.is_valid(context.now) {
            return;
        }
        let (id, component, priority) = (pair.id, pair.component, pair.priority(context.role.controlling));
        let follow = self.chosen(component).is_none_or(|chosen| {
            let settled =
                chosen.nominated.is_none_or(|last| context.now.saturating_duration_since(last) >= SETTLING);
            chosen.id != id && (settled || priority >= chosen.priority(context.role.controlling))
        });
        if follow {
            self.select(index, context);
        }
    }

    /// Has media take the pair at `index`.
    pub(super) fn select(&mut self, index: usize, context: &mut Context<'_>) {
        let Pair { id, component, local, remote, .. } = self.pairs[index];
        let same = self.chosen.iter().any(|chosen| chosen.pair == id);
        if same {
            return;
        }
        for chosen in self.chosen.extract_if(.., |chosen| chosen.component == component) {
            if let Some(old) = self.pairs.iter_mut().find(|pair| pair.id == chosen.pair) {
                (old.consent, old.unanswered) = (None, None);
            }
        }
        self.chosen.push(Chosen { component, pair: id });
        self.lost.retain(|lost| *lost != component);
        self.failed.retain(|failed| *failed != component);
        self.pairs[index].unanswered = None;
        self.schedule_consent(index, context.now);
        // What is not under way need not be tried any more (RFC 8445 section 8.1.2).
        for pair in self.pairs.iter_mut().filter(|pair| pair.component == component && pair.id != id) {
            if matches!(pair.state, State::Frozen | State::Waiting) {
                pair.state = State::Failed;
            }
            (pair.retry, pair.nominating) = (None, false);
            if pair.state == State::InProgress {
                pair.state = State::Failed;
            }
        }
        let pairs = &self.pairs;
        self.triggered.retain(|id| pairs.iter().any(|pair| pair.id == *id && pair.component != component));
        context.event(Event::Selected { component, local, remote });
    }

    /// Ends what the peer did not consent to for too long, nominates what is due, and says what failed.
    pub(super) fn judge(&mut self, context: &mut Context<'_>) {
        self.end_consent(context);
        for component in self.components().collect::<Vec<_>>() {
            if let Some((due, index)) = self.next_nomination(component, context.role.controlling, context.now)
                && due <= context.now
            {
                self.begin_nomination(index);
            }
            let out_of_patience = self.patience().is_some_and(|end| end <= context.now);
            if out_of_patience && self.is_hopeless(component) {
                self.failed.push(component);
                context.event(Event::Failed { component });
            }
        }
    }

    /// When [`Session::judge`] is due.
    pub(super) fn next_judgement(&self, controlling: bool, now: Instant) -> Option<Instant> {
        let expiry = self.chosen.iter().filter_map(|chosen| self.consent_ends(*chosen));
        let nomination = self.components().filter_map(|one| self.next_nomination(one, controlling, now));
        let failure = self.components().filter(|one| self.is_hopeless(*one)).filter_map(|_| self.patience());
        expiry.chain(nomination.map(|(due, _)| due)).chain(failure).min()
    }

    /// How far it is.
    pub(super) fn state(&self) -> AgentState {
        let (pairs, failed) =
            (self.pairs.len(), self.pairs.iter().filter(|pair| pair.state == State::Failed).count());
        if !self.lost.is_empty() {
            AgentState::ConsentLost
        } else if self.components().all(|component| self.chosen(component).is_some()) {
            AgentState::Selected
        } else if self.peer.is_none() {
            AgentState::NoPeer
        } else if !self.failed.is_empty() {
            AgentState::Failed
        } else if !self.lite {
            AgentState::Checking { pairs, failed }
        } else if pairs == 0 {
            AgentState::NotChecked
        } else {
            AgentState::NotNominated
        }
    }

    /// Whether nothing was found for `component`, and that was not said yet.
    fn is_hopeless(&self, component: u16) -> bool {
        let pending = |pair: &Pair| pair.component == component && pair.is_pending() && self.makes_checks();
        let said = self.failed.contains(&component) || self.lost.contains(&component);
        !said && self.chosen(component).is_none() && !self.pairs.iter().any(pending)
    }

    /// When the consent to send on a selected pair ends, unless it is renewed (RFC 7675 section 5.1).
    fn consent_ends(&self, chosen: Chosen) -> Option<Instant> {
        let pair = self.pairs.iter().find(|pair| pair.id == chosen.pair)?;
        // A lite agent asks for nothing: what shows that the peer wants media is its own checks.
        let last = if self.lite { pair.heard } else { pair.answered };
        last.filter(|_| !self.is_unchecked()).map(|last| last + CONSENT_LIFETIME)
    }

    fn end_consent(&mut self, context: &mut Context<'_>) {
        for chosen in self.chosen.clone() {
            if self.consent_ends(chosen).is_none_or(|end| end > context.now) {
                continue;
            }
            self.chosen.retain(|one| one.component != chosen.component);
            if let Some(pair) = self.pairs.iter_mut().find(|pair| pair.id == chosen.pair) {
                pair.fail();
            }
            self.lost.push(chosen.component);
            context.event(Event::ConsentLost { component: chosen.component });
        }
    }

    /// The pair of `component` that we, who control, have to nominate next, and when.
    fn next_nomination(&self, component: u16, controlling: bool, now: Instant) -> Option<(Instant, usize)> {
        if !controlling || !self.makes_checks() {
            return None;
        }
        let of_component = || self.pairs.iter().enumerate().filter(|(_, pair)| pair.component == component);
        if of_component().any(|(_, pair)| pair.nominating) {
            return None;
        }
        let chosen = self.chosen(component);
        let other = |pair: &Pair| chosen.is_none_or(|chosen| chosen.id != pair.id);
        let valid = of_component().filter(|(_, pair)| pair.is_valid(now) && other(pair));
        // RFC 8445 section 8.1.1 allows one nomination; another is made only when the first one's pair went silent, and
        // the peer has answered elsewhere since, from the address that it moved to.
        if let Some(chosen) = chosen {
            let silent = chosen.unanswered?;
            let since = valid.filter(|(_, pair)| pair.heard.max(pair.answered) > Some(silent));
            let (index, _) = since.max_by_key(|(_, pair)| pair.priority(controlling))?;
            return Some((silent + SILENCE, index));
        }
        let (index, best) = valid.max_by_key(|(_, pair)| pair.priority(controlling))?;
        let better =
            |pair: &Pair| pair.is_pending() && pair.priority(controlling) > best.priority(controlling);
        let since = best.valid_since.unwrap_or(now);
        let wait = of_component().any(|(_, pair)| better(pair));
        Some((if wait { since + NOMINATION_WAIT } else { since }, index))
    }
}
