//! Sessions that a client has kept, by whom it spoke to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sluice_openssl_dtls::Resumable;

use super::super::{Fingerprint, PeerDtls};

/// Sessions that are kept, the oldest going first: a few kilobytes each, with the peer's certificate.
const CAPACITY: usize = 1024;

/// How long one is good for. Whoever learns what is kept can read what a resumed association protected.
const LIFETIME: Duration = Duration::from_hours(2);

/// Sessions by the signalled fingerprint of the peer. Another peer's is never offered, and the certificate that comes with a
/// resumed one is held against the fingerprint again.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<VecDeque<Kept>>>);

struct Kept {
    peer: Fingerprint,
    session: Resumable,
    since: Instant,
}

impl Sessions {
    /// Takes out the newest one of a peer: each is offered once.
    pub(super) fn take(&self, peer: &PeerDtls, now: Instant) -> Option<Resumable> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| now.saturating_duration_since(kept.since) < LIFETIME);
        let found =
            kept.iter().rposition(|kept| peer.decisive().any(|fingerprint| *fingerprint == kept.peer))?;
        kept.remove(found).map(|kept| kept.session)
    }

    /// Keeps one.
    pub(super) fn keep(&self, peer: Fingerprint, session: Resumable, since: Instant) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == CAPACITY {
            kept.pop_front();
        }
        kept.push_back(Kept { peer, session, since });
    }
}
