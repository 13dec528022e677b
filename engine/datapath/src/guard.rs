//! The two-time-pad guard: under one master key, one SSRC is sent from one context, ever.
//!
//! RFC 3711 §9.1: "an SRTP endpoint MUST NOT reuse the same key and SSRC" for two streams, since the
//! keystreams would be equal. The registry is shared by all workers of the process. It is asked when a
//! context for sending is created or goes, never for a packet.
//!
//! ```text
//!           claim                 release                  claim
//!  unknown ───────▶ in use ─────────────────▶ parked ─────────────▶ in use, where it stopped
//!                     │ spend                    │ too many parked
//!                     └────────────▶ spent ◀─────┘                  refused from then on
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sluice_srtp::KeyId;

/// Why an SSRC cannot be sent under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another context sends it.
    InUse,
    /// It was sent before, and where that stopped is no longer known.
    Spent,
}

/// The registry. `C` says where a stream stopped.
#[derive(Debug)]
pub(crate) struct Guard<C> {
    state: Mutex<Registry<C>>,
}

#[derive(Debug)]
struct Registry<C> {
    keys: HashMap<KeyId, Record<C>>,
    /// Parked pairs, oldest first; pairs that were claimed since are still in it.
    parked: VecDeque<(KeyId, u32)>,
    parked_now: usize,
    parked_limit: usize,
}

#[derive(Debug)]
enum Record<C> {
    Live(HashMap<u32, State<C>>),
    Spent,
}

#[derive(Debug)]
enum State<C> {
    InUse,
    Parked(C),
    Spent,
}

impl<C> Guard<C> {
    pub(crate) fn new(parked_limit: usize) -> Self {
        let registry =
            Registry { keys: HashMap::new(), parked: VecDeque::new(), parked_now: 0, parked_limit };
        Self { state: Mutex::new(registry) }
    }

    /// Takes an SSRC under a key into use. Says where to go on, if it was sent before.
    pub(crate) fn claim(&self, key: KeyId, ssrc: u32) -> Result<Option<C>, Refusal> {
        let mut registry = self.lock();
        let record = registry.keys.entry(key).or_insert_with(|| Record::Live(HashMap::new()));
        let Record::Live(states) = record else { return Err(Refusal::Spent) };
        match states.get(&ssrc) {
            Some(State::InUse) => return Err(Refusal::InUse),
            Some(State::Spent) => return Err(Refusal::Spent),
            None | Some(State::Parked(_)) => {}
        }
        let resumed = match states.insert(ssrc, State::InUse) {
            Some(State::Parked(context)) => Some(context),
            _ => None,
        };
        registry.parked_now -= usize::from(resumed.is_some());
        Ok(resumed)
    }

    /// Gives back what was claimed and never used.
    pub(crate) fn disclaim(&self, key: KeyId, ssrc: u32) {
        self.lock().set(key, ssrc, None);
    }

    /// Ends the use, and remembers where it stopped for the case that the pair comes back.
    pub(crate) fn release(&self, key: KeyId, ssrc: u32, context: C) {
        let mut registry = self.lock();
        if registry.set(key, ssrc, Some(State::Parked(context))) {
            registry.parked.push_back((key, ssrc));
            registry.parked_now += 1;
            registry.trim();
        }
    }

    /// Ends the use for good: the context goes on under another key.
    pub(crate) fn spend(&self, key: KeyId, ssrc: u32) {
        self.lock().set(key, ssrc, Some(State::Spent));
    }

    /// Whether a claim would be granted now.
    pub(crate) fn may_claim(&self, key: KeyId, ssrc: u32) -> bool {
        match self.lock().keys.get(&key) {
            None => true,
            Some(Record::Spent) => false,
            Some(Record::Live(states)) => matches!(states.get(&ssrc), None | Some(State::Parked(_))),
        }
    }

    /// Whether an SSRC is being sent under the key.
    pub(crate) fn is_in_use(&self, key: KeyId, ssrc: u32) -> bool {
        match self.lock().keys.get(&key) {
            Some(Record::Live(states)) => matches!(states.get(&ssrc), Some(State::InUse)),
            _ => false,
        }
    }

    /// Where the key's SSRCs stopped that are not in use; `None`: it was sent, and where it stopped is no longer
    /// known.
    ///
    /// # Errors
    /// [`Refusal::Spent`] if the SSRCs themselves are no longer known.
    pub(crate) fn parked(&self, key: KeyId) -> Result<Vec<(u32, Option<C>)>, Refusal>
    where
        C: Clone,
    {
        let registry = self.lock();
        let states = match registry.keys.get(&key) {
            None => return Ok(Vec::new()),
            Some(Record::Spent) => return Err(Refusal::Spent),
            Some(Record::Live(states)) => states,
        };
        let parked = states.iter().filter_map(|(ssrc, state)| match state {
            State::InUse => None,
            State::Parked(context) => Some((*ssrc, Some(context.clone()))),
            State::Spent => Some((*ssrc, None)),
        });
        Ok(parked.collect())
    }

    /// Has a pair that is not in use go on where `place` says, which is told where it stopped as far as is known.
    /// What is spent stays so.
    ///
    /// # Errors
    /// [`Refusal::InUse`] if the pair is in use: only its context can say where it goes on.
    pub(crate) fn import(
        &self,
        key: KeyId,
        ssrc: u32,
        place: impl FnOnce(Option<&C>) -> C,
    ) -> Result<(), Refusal> {
        let mut registry = self.lock();
        let record = registry.keys.entry(key).or_insert_with(|| Record::Live(HashMap::new()));
        let Record::Live(states) = record else { return Ok(()) };
        match states.get_mut(&ssrc) {
            Some(State::Parked(known)) => *known = place(Some(known)),
            Some(State::InUse) => return Err(Refusal::InUse),
            Some(State::Spent) => {}
            None => {
                states.insert(ssrc, State::Parked(place(None)));
                registry.parked.push_back((key, ssrc));
                registry.parked_now += 1;
                registry.trim();
            }
        }
        Ok(())
    }

    /// Whether nothing can be sent under the key any more.
    pub(crate) fn is_spent(&self, key: KeyId) -> bool {
        matches!(self.lock().keys.get(&key), Some(Record::Spent))
    }

    /// Forgets a key that is gone for good. Whether that was so: not while one of its SSRCs is in use.
    pub(crate) fn forget(&self, key: KeyId) -> bool {
        let mut registry = self.lock();
        let Some(record) = registry.keys.remove(&key) else { return true };
        if let Record::Live(states) = &record {
            if states.values().any(|state| matches!(state, State::InUse)) {
                registry.keys.insert(key, record);
                return false;
            }
            let parked = states.values().filter(|state| matches!(state, State::Parked(_))).count();
            registry.parked_now -= parked;
        }
        true
    }

    /// No code that runs under the lock panics, so that a poisoned lock holds a whole registry.
    fn lock(&self) -> MutexGuard<'_, Registry<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Registry<C> {
    /// Whether the pair was in use, and now is in the new state (`None`: unknown).
    fn set(&mut self, key: KeyId, ssrc: u32, new: Option<State<C>>) -> bool {
        let Some(Record::Live(states)) = self.keys.get_mut(&key) else { return false };
        if !matches!(states.get(&ssrc), Some(State::InUse)) {
            return false;
        }
        match new {
            Some(state) => states.insert(ssrc, state),
            None => states.remove(&ssrc),
        };
        if states.is_empty() {
            self.keys.remove(&key);
        }
        true
    }

    /// Keeps memory bounded: of the contexts parked first, only the fact remains that they existed. A key
    /// of which nothing is in use is spent as a whole.
    fn trim(&mut self) {
        while self.parked_now > self.parked_limit {
            let Some((key, ssrc)) = self.parked.pop_front() else { return };
            let Some(Record::Live(states)) = self.keys.get_mut(&key) else { continue };
            if !matches!(states.get(&ssrc), Some(State::Parked(_))) {
                continue;
            }
            if states.values().any(|state| matches!(state, State::InUse)) {
                states.insert(ssrc, State::Spent);
                self.parked_now -= 1;
            } else {
                let parked = states.values().filter(|state| matches!(state, State::Parked(_))).count();
                self.keys.insert(key, Record::Spent);
                self.parked_now -= parked;
            }
        }
        // Pairs that came back and left again stand in the queue twice.
        if self.parked.len() > 2 * self.parked_limit + 64 {
            let keys = &self.keys;
            let is_parked = |key: &KeyId, ssrc: &u32| match keys.get(key) {
                Some(Record::Live(states)) => matches!(states.get(ssrc), Some(State::Parked(_))),
                _ => false,
            };
            let mut seen = std::collections::HashSet::new();
            self.parked.retain(|(key, ssrc)| is_parked(key, ssrc) && seen.insert((*key, *ssrc)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId(1);

    #[test]
    fn a_pair_in_use_is_refused_and_others_are_not() {
        let guard = Guard::<u64>::new(8);
        assert_eq!(guard.claim(KEY, 1), Ok(None));
        assert_eq!(guard.claim(KEY, 1), Err(Refusal::InUse));
        assert_eq!(guard.claim(KEY, 2), Ok(None));
        assert_eq!(guard.claim(KeyId(2), 1), Ok(None));
    }

    #[test]
    fn a_pair_that_comes_back_goes_on_where_it_stopped() {
        let guard = Guard::new(8);
        guard.claim(KEY, 1).unwrap();
        guard.release(KEY, 1, 4711);
        assert_eq!(guard.claim(KEY, 1), Ok(Some(4711)));
        assert_eq!(guard.claim(KEY, 1), Err(Refusal::InUse));
    }

    #[test]
    fn a_pair_that_was_never_used_leaves_no_trace() {
        let guard = Guard::<u64>::new(8);
        guard.claim(KEY, 1).unwrap();
        guard.disclaim(KEY, 1);
        assert_eq!(guard.claim(KEY, 1), Ok(None));
    }

    #[test]
    fn a_spent_pair_never_comes_back() {
        let guard = Guard::<u64>::new(8);
        guard.claim(KEY, 1).unwrap();
        guard.claim(KEY, 2).unwrap();
        guard.spend(KEY, 1);
        assert_eq!(guard.claim(KEY, 1), Err(Refusal::Spent));
    }

    #[test]
    fn what_may_be_claimed_is_known_without_claiming_it() {
        let guard = Guard::new(8);
        for ssrc in 1..=3 {
            assert!(guard.may_claim(KEY, ssrc));
            guard.claim(KEY, ssrc).unwrap();
            assert!(!guard.may_claim(KEY, ssrc), "in use");
        }
        guard.spend(KEY, 1);
        guard.release(KEY, 2, 4711);
        guard.disclaim(KEY, 3);
        assert_eq!([1, 2, 3].map(|ssrc| guard.may_claim(KEY, ssrc)), [false, true, true]);
        assert_eq!(guard.claim(KEY, 2), Ok(Some(4711)), "asking changed nothing");
    }

    #[test]
    fn what_is_no_longer_remembered_is_refused() {
        let guard = Guard::new(2);
        for key in 0..5 {
            guard.claim(KeyId(key), 1).unwrap();
            guard.release(KeyId(key), 1, key);
        }
        assert!(guard.is_spent(KeyId(0)));
        assert_eq!(guard.claim(KeyId(0), 1), Err(Refusal::Spent));
        assert_eq!(guard.claim(KeyId(0), 99), Err(Refusal::Spent), "the key as a whole");
        assert_eq!(guard.claim(KeyId(4), 1), Ok(Some(4)));
    }

    #[test]
    fn coming_and_going_does_not_grow_the_registry() {
        let guard = Guard::new(2);
        guard.claim(KEY, 1).unwrap();
        for position in 0..10_000 {
            guard.release(KEY, 1, position);
            assert_eq!(guard.claim(KEY, 1), Ok(Some(position)));
        }
        assert!(guard.lock().parked.len() < 100);
    }

    #[test]
    fn an_import_moves_what_is_parked_and_nothing_else() {
        let guard = Guard::new(8);
        let further = |to: u64| move |known: Option<&u64>| known.map_or(to, |known| to.max(*known));
        for ssrc in 1..=3 {
            guard.claim(KEY, ssrc).unwrap();
        }
        guard.release(KEY, 2, 100);
        guard.spend(KEY, 3);
        assert_eq!(guard.import(KEY, 1, further(9)), Err(Refusal::InUse));
        for (ssrc, to) in [(2, 50), (2, 200), (2, 60), (3, 9), (4, 7)] {
            guard.import(KEY, ssrc, further(to)).unwrap();
        }
        let mut parked = guard.parked(KEY).unwrap();
        parked.sort_unstable();
        assert_eq!(parked, [(2, Some(200)), (3, None), (4, Some(7))]);
        assert_eq!(guard.claim(KEY, 4), Ok(Some(7)));
        assert_eq!(guard.claim(KEY, 3), Err(Refusal::Spent));
        assert_eq!(guard.parked(KeyId(9)), Ok(vec![]));
    }

    #[test]
    fn a_key_in_use_is_not_forgotten_and_one_out_of_use_is() {
        let guard = Guard::new(8);
        guard.claim(KEY, 1).unwrap();
        assert!(!guard.forget(KEY));
        guard.release(KEY, 1, 5);
        assert!(guard.forget(KEY));
        assert_eq!(guard.claim(KEY, 1), Ok(None));
        assert_eq!(guard.lock().parked_now, 0);
    }
}
