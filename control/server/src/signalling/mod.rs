//! Calls: what a SIP server hands in as SDP becomes sessions with legs, keys and routes.
//!
//! ```text
//!  ProcessOffer ──▶ RemoteOffer ──▶ sockets ──▶ LocalOffer ──▶ legs towards the callee ──▶ SDP for the callee
//!                                                              (and towards a caller who hears plain early media)
//!  ProcessAnswer ─▶ RemoteAnswer ─▶ sockets ──▶ LocalAnswer ─▶ legs, keys, routes ───────▶ SDP for the caller
//! ```
//!
//! A request works on its call alone, under the call's own lock. All that it does to the engine is one [`Change`] of
//! [`crate::gateway`], which is done as a whole or not at all; the call's state follows once it is done. Keys that are
//! offered are random octets: session keys are derived of those that were taken, when they are (R-COMPUTE).
//!
//! [`Change`]: crate::gateway::Change

mod answer;
mod apply;
mod attest;
mod branches;
mod call;
mod early_media;
mod ends;
mod in_media_path;
mod offer;
mod policy;
mod refusal;
mod registry;
mod requests;
mod service;
mod shown;
mod timers;
mod trickle;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use tokio::sync::MutexGuard;
use zeroize::Zeroizing;

use self::call::Call;
use self::registry::Place;
use self::timers::{Due, Timer, Timers};
use crate::ApiError;
use crate::events::unix_nanoseconds;
use crate::gateway::Gateway;

pub(crate) use self::attest::Identities;
pub(crate) use self::registry::Calls;
pub(crate) use self::service::Service;

/// The calls over a gateway.
pub(crate) struct Signalling {
    gateway: Arc<Gateway>,
    timers: Timers,
    identities: Identities,
}

impl Signalling {
    /// No calls yet.
    pub(crate) fn new(gateway: Arc<Gateway>, identities: Identities) -> Self {
        Self { gateway, timers: Timers::default(), identities }
    }

    /// Ends what has no answer in time. Runs until it is dropped.
    pub(crate) async fn keep_time(&self) {
        loop {
            let (timer, due) = self.timers.next().await;
            if let Err(error) = self.timed_out(timer, &due).await {
                tracing::warn!(due.session, due.branch, error.message, "cannot end what has no answer");
            }
        }
    }

    /// The place of a session's call.
    fn place(&self, session: &str) -> Result<Arc<Place>, ApiError> {
        crate::error::check_id("session", session)?;
        self.gateway.calls.get(session).ok_or_else(|| no_call(session))
    }

    /// Has a branch end unless something happens within the policy's time; an empty one: the call.
    fn arm(&self, session: &str, branch: &str, call: &Call) -> Timer {
        let time = Duration::from_secs(call.policy.branch_timeout_seconds.into());
        self.timers.arm(Instant::now() + time, Due { session: session.to_owned(), branch: branch.to_owned() })
    }

    fn disarm(&self, timer: &mut Option<Timer>) {
        if let Some(timer) = timer.take() {
            self.timers.disarm(timer);
        }
    }

    /// Tells watchers of a call's change.
    fn tell(&self, session: &str, branch: &str, change: v1::CallChange, reason: &str) {
        let (branch, reason) = (branch.to_owned(), reason.to_owned());
        let changed = v1::CallChanged { branch, change: change.into(), reason };
        self.publish(session, "", Kind::CallChanged(changed));
    }

    fn publish(&self, session: &str, leg: &str, kind: Kind) {
        self.gateway.publish(v1::Event {
            time_unix_nanoseconds: unix_nanoseconds(),
            session: session.to_owned(),
            leg: leg.to_owned(),
            kind: Some(kind),
        });
    }
}

/// The call of a place that is locked.
fn present<'a>(place: &Place, call: &'a mut MutexGuard<'_, Option<Call>>) -> Result<&'a mut Call, ApiError> {
    call.as_mut().filter(|_| !place.has_left()).ok_or_else(|| no_call(&place.session))
}

/// Random octets of the system, for one request. Should it give none, which it says at the end, what was made with them
/// must not be used.
struct Random {
    /// Taken at once, since each of the many small requests would be a system call. Each octet is given once.
    stock: Zeroizing<[u8; STOCK]>,
    given: usize,
    failed: bool,
}

/// Octets that an offer of four crypto lines takes, and more.
const STOCK: usize = 256;

impl Default for Random {
    fn default() -> Self {
        Self { stock: Zeroizing::new([0; STOCK]), given: STOCK, failed: false }
    }
}

impl Random {
    fn fill(&mut self, octets: &mut [u8]) {
        if octets.len() > STOCK {
            return self.take(octets);
        }
        if octets.len() > STOCK - self.given {
            let mut stock = Zeroizing::new([0; STOCK]);
            self.take(&mut *stock);
            (self.stock, self.given) = (stock, 0);
        }
        let end = self.given + octets.len();
        octets.copy_from_slice(&self.stock[self.given..end]);
        self.given = end;
    }

    fn take(&mut self, octets: &mut [u8]) {
        let mut filled = 0;
        while filled < octets.len() {
            match getrandom(&mut octets[filled..], GetRandomFlags::empty()) {
                Ok(more) if more > 0 => filled += more,
                Err(rustix::io::Errno::INTR) => {}
                _ => {
                    self.failed = true;
                    return;
                }
            }
        }
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.failed {
            return Err(ApiError::unavailable("the system gives no random numbers"));
        }
        Ok(())
    }
}

fn no_call(session: &str) -> ApiError {
    ApiError::not_found("call", "session", session)
}
