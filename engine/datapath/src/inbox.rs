//! What others put before a worker: commands, news of other workers, datagrams handed over.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::{ArrayQueue, SegQueue};
use sluice_classifier::LocalKey;
use sluice_io::Waker;

use crate::Command;
use crate::config::Limits;
use crate::crossing::Doorbell;
use crate::handoff::Handoff;
use crate::pipeline::Baggage;
use crate::ticket::Answer;

/// A command with the way back.
pub(crate) struct Envelope {
    pub(crate) command: Box<Command>,
    pub(crate) answer: Answer,
}

/// Who owns a local address, and legs that change their owner. As many of these as there are legs that come, go and
/// move, so that their queue needs no bound; and none may be lost.
pub(crate) enum Notice {
    /// Of a local address.
    News(News),
    /// Legs move to this worker.
    Adopt(Box<Baggage>),
}

/// What becomes of a local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
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
    doorbell: Doorbell,
    stop: AtomicBool,
}

impl Inbox {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            commands: ArrayQueue::new(limits.commands.max(1)),
            notices: SegQueue::new(),
            handoff: Handoff::new(limits.handoff),
            waker: OnceLock::new(),
            doorbell: Doorbell::default(),
            stop: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_waker(&self, waker: Waker) {
        // A worker sets its waker once.
        let _ = self.waker.set(waker);
    }

    /// Ends the worker's sleep, if it sleeps. What it should see must be in its queue before.
    pub(crate) fn wake(&self) {
        self.doorbell.ring(|| self.waker.get().into_iter().for_each(Waker::wake));
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Calls `sleep` unless something waits already.
    pub(crate) fn sleep_if_empty(&self, sleep: impl FnOnce()) {
        let is_idle = || {
            self.commands.is_empty()
                && self.notices.is_empty()
                && self.handoff.is_empty()
                && !self.is_stopping()
        };
        self.doorbell.sleep_if(is_idle, sleep);
    }
}
