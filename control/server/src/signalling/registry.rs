//! All calls, by their sessions.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::call::Call;

/// A session's place for a call. Who works on the call has its lock, so that requests of one call come one by one.
pub(crate) struct Place {
    pub(super) session: String,
    /// `None`: the first offer is being worked on, or was refused.
    pub(super) call: tokio::sync::Mutex<Option<Call>>,
    /// It is not in the registry any more.
    left: AtomicBool,
}

/// The calls that there are.
#[derive(Default)]
pub(crate) struct Calls(Mutex<BTreeMap<String, Arc<Place>>>);

impl Place {
    /// Whether the call's session is gone, or another call has its id.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }
}

impl Calls {
    pub(super) fn get(&self, session: &str) -> Option<Arc<Place>> {
        self.lock().get(session).cloned()
    }

    /// The session's place, made if there is none.
    pub(super) fn enter(&self, session: &str) -> Arc<Place> {
        let mut calls = self.lock();
        if let Some(place) = calls.get(session) {
            return Arc::clone(place);
        }
        let place = Place {
            session: session.to_owned(),
            call: tokio::sync::Mutex::default(),
            left: AtomicBool::default(),
        };
        let place = Arc::new(place);
        calls.insert(session.to_owned(), Arc::clone(&place));
        place
    }

    /// Nothing came of the place: others may have the session's id.
    pub(super) fn give_up(&self, place: &Arc<Place>) {
        let mut calls = self.lock();
        if calls.get(&place.session).is_some_and(|there| Arc::ptr_eq(there, place)) {
            calls.remove(&place.session);
        }
        place.left.store(true, Ordering::Release);
    }

    /// The session is gone, and with it its call.
    pub(crate) fn leave(&self, session: &str) {
        if let Some(place) = self.lock().remove(session) {
            place.left.store(true, Ordering::Release);
        }
    }

    /// At most so many after an id, in order.
    pub(super) fn after(&self, session: &str, most: usize) -> Vec<Arc<Place>> {
        let calls = self.lock();
        let after = if session.is_empty() { Bound::Unbounded } else { Bound::Excluded(session) };
        calls.range::<str, _>((after, Bound::Unbounded)).take(most).map(|(_, place)| place.clone()).collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Place>>> {
        // Nothing that runs under the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
