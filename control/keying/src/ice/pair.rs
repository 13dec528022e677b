//! A pair of addresses, and what is known of the way between them (RFC 8445 section 6.1.2).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stun_types::message::TransactionId;

use super::limits::{CONSENT_LIFETIME, LAST_WAIT, MAX_OUTSTANDING, MAX_SENT};

/// RFC 8445 section 6.1.2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A pair of the same foundation is checked first.
    Frozen,
    Waiting,
    InProgress,
    Succeeded,
    Failed,
}

/// A check that went out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) transaction: TransactionId,
    pub(super) at: Instant,
    pub(super) nominating: bool,
    pub(super) controlling: bool,
}

/// A check that is sent again until it is answered.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) bytes: Vec<u8>,
    sent: u32,
    rto: Duration,
    /// When to send it again, or to give up.
    pub(super) at: Instant,
}

impl Retry {
    pub(super) fn new(bytes: Vec<u8>, rto: Duration, now: Instant) -> Self {
        Self { bytes, sent: 1, rto, at: now + rto }
    }

    /// The bytes to send once more; `None` if that was often enough (RFC 8489 section 6.2.1).
    pub(super) fn again(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.sent >= MAX_SENT {
            return None;
        }
        self.sent += 1;
        let wait = match self.sent {
            MAX_SENT => self.rto * LAST_WAIT,
            sent => self.rto * (1 << (sent - 1)),
        };
        self.at = now + wait;
        Some(self.bytes.clone())
    }
}

/// A pair.
#[derive(Debug)]
pub(super) struct Pair {
    /// Its own, in its session.
    pub(super) id: u32,
    pub(super) component: u16,
    /// The base of the own candidate.
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) local_priority: u32,
    pub(super) remote_priority: u32,
    /// Of both candidates, hashed.
    pub(super) foundation: u64,
    /// Whether the peer's address was learnt from a check rather than from signalling.
    pub(super) reflexive: bool,
    /// The fragment of who checked it, before signalling said who the peer is.
    pub(super) claimed: Option<Box<str>>,
    pub(super) state: State,
    /// When the peer last checked it.
    pub(super) heard: Option<Instant>,
    /// When the peer last answered a check.
    pub(super) answered: Option<Instant>,
    /// Since when it is valid.
    pub(super) valid_since: Option<Instant>,
    /// When the peer last nominated it, or we did.
    pub(super) nominated: Option<Instant>,
    /// Whether our next checks nominate it.
    pub(super) nominating: bool,
    pub(super) retry: Option<Retry>,
    pub(super) sent: VecDeque<Sent>,
    /// The first consent check since the last response.
    pub(super) unanswered: Option<Instant>,
    /// When to ask for consent next.
    pub(super) consent: Option<Instant>,
    pub(super) round_trip: Option<Duration>,
}

impl Pair {
    /// RFC 8445 section 6.1.2.3.
    pub(super) fn priority(&self, controlling: bool) -> u64 {
        let (local, remote) = (u64::from(self.local_priority), u64::from(self.remote_priority));
        let (g, d) = if controlling { (local, remote) } else { (remote, local) };
        (g.min(d) << 32) + 2 * g.max(d) + u64::from(g > d)
    }

    /// Whether the peer has shown lately that it knows the password.
    pub(super) fn is_checked(&self, now: Instant) -> bool {
        is_fresh(self.heard, now) || is_fresh(self.answered, now)
    }

    /// Whether a full agent may send data on it.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        self.state == State::Succeeded && is_fresh(self.answered, now)
    }

    /// Whether its check has yet to be made, or answered.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.state, State::Frozen | State::Waiting | State::InProgress)
    }

    pub(super) fn record(&mut self, sent: Sent) {
        if self.sent.len() == MAX_OUTSTANDING {
            self.sent.pop_front();
        }
        self.sent.push_back(sent);
    }

    /// Nothing more is sent on it.
    pub(super) fn fail(&mut self) {
        self.state = State::Failed;
        self.retry = None;
        self.consent = None;
        self.nominating = false;
        self.nominated = None;
        self.valid_since = None;
        self.answered = None;
    }
}

fn is_fresh(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) < CONSENT_LIFETIME)
}
