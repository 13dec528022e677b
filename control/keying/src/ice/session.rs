//! What goes with one pair of credentials: the peer, the pairs of addresses, and which of them are selected. A restart makes
//! another session (RFC 8445 section 9).

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Instant;

use super::candidate::priority;
use super::integrity::IntegrityKey;
use super::limits::{MAX_PAIRS, MAX_PEER_CANDIDATES, PATIENCE, TRICKLE_PATIENCE};
use super::message::Check;
use super::output::{Event, Output};
use super::pair::{Pair, State};
use super::role::Role;
use super::{Candidate, CandidateKind, IceError, OwnIce, PeerIce};

/// What sessions share.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) role: Role,
    pub(super) output: &'a mut VecDeque<Output>,
    pub(super) sent: &'a mut u64,
}

impl Context<'_> {
    pub(super) fn event(&mut self, event: Event) {
        self.output.push_back(Output::Event(event));
    }
}

/// The peer, as its checks are made out to.
pub(super) struct Peer {
    /// Its own fragment, then ours (RFC 8445 section 7.2.2).
    pub(super) username: String,
    pub(super) ufrag: String,
    pub(super) key: IntegrityKey,
    pub(super) lite: bool,
}

/// The pair that a component's media takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub(super) component: u16,
    pub(super) pair: u32,
}

pub(super) struct Session {
    pub(super) ufrag: String,
    pub(super) key: IntegrityKey,
    pub(super) lite: bool,
    pub(super) candidates: Vec<Candidate>,
    pub(super) peer: Option<Peer>,
    peer_candidates: Vec<Candidate>,
    more: bool,
    pub(super) pairs: Vec<Pair>,
    pub(super) chosen: Vec<Chosen>,
    /// Pairs to check before others (RFC 8445 section 6.1.4.1).
    pub(super) triggered: VecDeque<u32>,
    /// Components whose media goes the way of a later session.
    pub(super) retired: Vec<u16>,
    /// Components of which it was said that no way was found.
    pub(super) failed: Vec<u16>,
    pub(super) lost: Vec<u16>,
    /// When signalling last told something of the peer.
    informed: Option<Instant>,
    next_id: u32,
}

impl Session {
    pub(super) fn new(own: &OwnIce) -> Self {
        Self {
            ufrag: own.credentials.ufrag.clone(),
            key: IntegrityKey::new(&own.credentials.password),
            lite: own.lite,
            candidates: own.candidates.clone(),
            peer: None,
            peer_candidates: Vec::new(),
            more: true,
            pairs: Vec::new(),
            chosen: Vec::new(),
            triggered: VecDeque::new(),
            retired: Vec::new(),
            failed: Vec::new(),
            lost: Vec::new(),
            informed: None,
            next_id: 0,
        }
    }

    /// One like this, for a peer that changed its credentials and left us ours.
    pub(super) fn renewed(&self) -> Self {
        Self {
            ufrag: self.ufrag.clone(),
            key: self.key.clone(),
            candidates: self.candidates.clone(),
            ..Self::new(&OwnIce {
                credentials: super::Credentials { ufrag: String::new(), password: String::new().into() },
                candidates: Vec::new(),
                lite: self.lite,
            })
        }
    }

    /// Components that there are addresses for, and that have no later session.
    pub(super) fn components(&self) -> impl Iterator<Item = u16> + '_ {
        let candidates = self.candidates.iter().enumerate();
        let first =
            candidates.filter(|(i, c)| self.candidates[..*i].iter().all(|b| b.component != c.component));
        first.map(|(_, candidate)| candidate.component).filter(|component| !self.retired.contains(component))
    }

    pub(super) fn has_component(&self, component: u16) -> bool {
        self.components().any(|one| one == component)
    }

    /// Whether neither side makes checks (RFC 8445 section 8.2).
    pub(super) fn is_unchecked(&self) -> bool {
        self.lite && self.peer.as_ref().is_some_and(|peer| peer.lite)
    }

    /// Takes what signalling says of the peer, whose credentials are these or not known before.
    pub(super) fn set_peer(&mut self, peer: &PeerIce, context: &mut Context<'_>) {
        let ufrag = &peer.credentials.ufrag;
        // Who checked before signalling said who the peer is, and is not it, was another branch of a fork.
        self.pairs.retain(|pair| pair.claimed.as_deref().is_none_or(|claimed| claimed == ufrag));
        self.chosen.retain(|chosen| self.pairs.iter().any(|pair| pair.id == chosen.pair));
        self.peer = Some(Peer {
            username: format!("{ufrag}:{}", self.ufrag),
            ufrag: ufrag.clone(),
            key: IntegrityKey::new(&peer.credentials.password),
            lite: peer.lite,
        });
        self.more = peer.more;
        self.informed = Some(context.now);
        for candidate in &peer.candidates {
            // What is too much is left out: those of highest priority stand first in what peers write.
            let _ = self.add_peer_candidate(candidate.clone(), context);
        }
        self.take_early_checks(context);
        self.choose_unchecked(context);
    }

    /// Takes one more address of the peer.
    pub(super) fn add_peer_candidate(
        &mut self,
        candidate: Candidate,
        context: &mut Context<'_>,
    ) -> Result<(), IceError> {
        let alike =
            |one: &Candidate| (one.component, one.address) == (candidate.component, candidate.address);
        if self.peer_candidates.iter().any(alike) {
            return Ok(());
        }
        if self.peer_candidates.len() >= MAX_PEER_CANDIDATES {
            return Err(IceError::TooManyCandidates);
        }
        self.informed = Some(context.now);
        self.failed.clear();
        if !self.lite {
            self.form_pairs(&candidate, context);
        }
        self.peer_candidates.push(candidate);
        Ok(())
    }

    /// No more addresses of the peer will come.
    pub(super) fn end_of_candidates(&mut self) {
        self.more = false;
    }

    /// When to say that no way was found, unless one is.
    pub(super) fn patience(&self) -> Option<Instant> {
        let wait = if self.more { TRICKLE_PATIENCE } else { PATIENCE };
        self.informed.filter(|_| !self.is_unchecked()).map(|informed| informed + wait)
    }

    /// The media of `component` goes the way of a later session.
    pub(super) fn retire(&mut self, component: u16) {
        self.chosen.retain(|chosen| chosen.component != component);
        self.pairs.retain(|pair| pair.component != component);
        self.retired.push(component);
    }

    pub(super) fn find(&self, id: u32) -> Option<usize> {
        self.pairs.iter().position(|pair| pair.id == id)
    }

    /// The pair of these addresses.
    pub(super) fn find_pair(&self, component: u16, local: SocketAddr, remote: SocketAddr) -> Option<usize> {
        let wanted =
            |pair: &Pair| pair.component == component && pair.remote == remote && pair.local == local;
        self.pairs.iter().position(wanted)
    }

    pub(super) fn chosen(&self, component: u16) -> Option<&Pair> {
        let chosen = self.chosen.iter().find(|chosen| chosen.component == component)?;
        self.pairs.iter().find(|pair| pair.id == chosen.pair)
    }

    /// Whether the pair at `index` is selected.
    pub(super) fn is_chosen(&self, index: usize) -> bool {
        self.chosen.iter().any(|chosen| chosen.pair == self.pairs[index].id)
    }

    /// The pair that a check of the peer came by, which may be new (RFC 8445 sections 7.3.1.3 and 7.3.1.4).
    pub(super) fn pair_of_check(
        &mut self,
        (component, local, remote): (u16, SocketAddr, SocketAddr),
        check: &Check,
        controlling: bool,
    ) -> usize {
        if let Some(index) = self.find_pair(component, local, remote) {
            return index;
        }
        let same = |one: &&Candidate| (one.component, one.address) == (component, remote);
        let known = self.peer_candidates.iter().find(same).cloned();
        let candidate = known.clone().unwrap_or_else(|| Candidate {
            foundation: format!("{remote}"),
            component,
            priority: check.priority,
            address: remote,
            kind: CandidateKind::PeerReflexive,
            related: None,
            extensions: Vec::new(),
        });
        let own = |one: &&Candidate| one.component == component && one.base() == local;
        let (own_priority, own_foundation) = match self.candidates.iter().find(own) {
            Some(own) => (own.priority, own.foundation.clone()),
            // An address that was not told to the peer, such as another one of the machine's.
            None => (priority(CandidateKind::Host, 0, component), format!("{}", local.ip())),
        };
        let mut pair = self.make_pair(&candidate, local, own_priority, &own_foundation);
        pair.reflexive = known.is_none();
        self.insert(pair, controlling)
    }

    /// Pairs of `candidate` with our own (RFC 8445 section 6.1.2.2).
    fn form_pairs(&mut self, candidate: &Candidate, context: &mut Context<'_>) {
        let mut own = self.candidates.clone();
        // Of two with the same base the better one is kept (section 6.1.2.4).
        own.sort_by_key(|own| std::cmp::Reverse(own.priority));
        for own in own {
            let base = own.base();
            let fits = own.component == candidate.component && is_reachable(base, candidate.address);
            if !fits || self.find_pair(own.component, base, candidate.address).is_some() {
                continue;
            }
            let pair = self.make_pair(candidate, base, own.priority, &own.foundation);
            let frozen = self.pairs.iter().any(|one| one.foundation == pair.foundation && one.is_pending());
            let index = self.insert(pair, context.role.controlling);
            if frozen {
                self.pairs[index].state = State::Frozen;
            }
        }
    }

    fn make_pair(
        &mut self,
        peer: &Candidate,
        local: SocketAddr,
        local_priority: u32,
        foundation: &str,
    ) -> Pair {
        let mut hasher = DefaultHasher::new();
        (foundation, &peer.foundation).hash(&mut hasher);
        self.next_id = self.next_id.wrapping_add(1);
        Pair {
            id: self.next_id,
            component: peer.component,
            local,
            remote: peer.address,
            local_priority,
            remote_priority: peer.priority,
            foundation: hasher.finish(),
            reflexive: false,
            claimed: None,
            state: State::Waiting,
            heard: None,
            answered: None,
            valid_since: None,
            nominated: None,
            nominating: false,
            retry: None,
            sent: VecDeque::new(),
            unanswered: None,
            consent: None,
            round_trip: None,
        }
    }

    /// Adds `pair`; where there is no room the least useful one goes, so that whoever knows the password and changes its
    /// address ever again takes no more memory, and finds room still.
    fn insert(&mut self, pair: Pair, controlling: bool) -> usize {
        if self.pairs.len() >= MAX_PAIRS {
            let evictable = (0..self.pairs.len()).filter(|index| !self.is_chosen(*index));
            let least = evictable.min_by_key(|index| {
                let pair = &self.pairs[*index];
                let class = if pair.state == State::Failed { 0 } else { 2 - u8::from(pair.reflexive) };
                (class, pair.heard.max(pair.answered), pair.priority(controlling))
            });
            if let Some(least) = least {
                self.pairs.swap_remove(least);
            }
        }
        self.pairs.push(pair);
        self.pairs.len() - 1
    }

    /// Between two lite agents, the pair of highest priority is used without checks (RFC 8445 section 8.2).
    fn choose_unchecked(&mut self, context: &mut Context<'_>) {
        if !self.is_unchecked() {
            return;
        }
        for peer in self.peer_candidates.clone() {
            self.form_pairs(&peer, context);
        }
        let controlling = context.role.controlling;
        for component in self.components().collect::<Vec<_>>() {
            let of_component = self.pairs.iter().enumerate().filter(|(_, pair)| pair.component == component);
            let best = of_component.max_by_key(|(_, pair)| pair.priority(controlling));
            if let Some((index, _)) = best {
                self.select(index, context);
            }
        }
    }
}

/// Whether datagrams can go from `base` to `remote`: addresses of one version, and of one scope where they are of a link.
fn is_reachable(base: SocketAddr, remote: SocketAddr) -> bool {
    match (base, remote) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => true,
        (SocketAddr::V6(base), SocketAddr::V6(remote)) => {
            base.ip().is_unicast_link_local() == remote.ip().is_unicast_link_local()
        }
        _ => false,
    }
}
