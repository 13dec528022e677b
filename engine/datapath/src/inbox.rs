//! What others put before a worker: commands, news of other workers, datagrams handed over.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam::queue::{ArrayQueue, SegQueue};
use sluice_classifier::LocalKey;
use sluice_io::Waker;

use crate::Command;
use crate::config::Limits;
use crate::handoff::Handoff;
use crate::ticket::Answer;

/// A command with the way back.
pub(crate) struct Envelope {
    pub(crate) command: Box<Command>,
    pub(crate) answer: Answer,
}

/// Who owns a local address. As many of these as there are legs that come and go, so that their queue
/// needs no bound; and none may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The worker owns the address.
    Owner { local: LocalKey, worker: usize },
    /// It no longer does.
    Gone { local: LocalKey, worker: usize },
}

pub(crate) struct Inbox {
    pub(crate) commands: ArrayQueue<Envelope>,
    pub(crate) notices: SegQueue<Notice>,
    pub(crate) handoff: Handoff,
    waker: OnceLock<Waker>,
    sleeping: AtomicBool,
    stop: AtomicBool,
}

impl Inbox {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            commands: ArrayQueue::new(limits.commands.max(1)),
            notices: SegQueue::new(),
            handoff: Handoff::new(limits.handoff),
            waker: OnceLock::new(),
            sleeping: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_waker(&self, waker: Waker) {
        // A worker sets its waker once.
        let _ = self.waker.set(waker);
    }

    /// Ends the worker's sleep, if it sleeps. What it should see must be in its queue before.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst)
            && let Some(waker) = self.waker.get()
        {
            waker.wake();
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Calls `sleep` unless something waits already. Whoever puts something in after this looked finds
    /// `sleeping` set and wakes: the two fences order each side's store before its load.
    pub(crate) fn sleep_if_empty(&self, sleep: impl FnOnce()) {
        self.sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let idle = self.commands.is_empty()
            && self.notices.is_empty()
            && self.handoff.is_empty()
            && !self.is_stopping();
        if idle {
            sleep();
        }
        self.sleeping.store(false, Ordering::SeqCst);
    }
}
