//! What the workers' hand-off rests on, apart from all else, so that a model checker can go through every
//! order in which threads may meet here: `tests/handoff_model.rs` compiles this file with a `sync` of its own.

use super::sync::{AtomicBool, Ordering, fence};

/// Wakes one sleeper, and costs nobody a system call while it is awake.
#[derive(Default)]
pub(crate) struct Doorbell {
    sleeping: AtomicBool,
}

impl Doorbell {
    /// Has a sleeper wake up. What it should find must be in its place before.
    pub(crate) fn ring(&self, wake: impl FnOnce()) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst) {
            wake();
        }
    }

    /// Sleeps unless there is something to do. Whoever puts something in its place after `is_idle` looked finds
    /// `sleeping` set and wakes: the two fences order each side's store before its load.
    pub(crate) fn sleep_if(&self, is_idle: impl FnOnce() -> bool, sleep: impl FnOnce()) {
        self.sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if is_idle() {
            sleep();
        }
        self.sleeping.store(false, Ordering::SeqCst);
    }
}

/// Takes what other workers handed on, and then looks at their notices. A worker that sends legs away says so before
/// it hands on what comes for them; in this order each such datagram finds its leg here.
pub(crate) fn take_in_order<W, T>(
    worker: &mut W,
    take: impl FnOnce(&mut W) -> T,
    look_at_notices: impl FnOnce(&mut W) -> bool,
) -> T {
    let taken = take(worker);
    look_at_notices(worker);
    taken
}
