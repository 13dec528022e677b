//! How the answer to a command comes back.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::CommandError;
use crate::inbox::Inbox;

/// The answer to a command, to be waited for: a future for any executor, or [`Ticket::wait`].
///
/// A worker that sleeps is woken once the ticket is waited for, or dropped: who gives several commands and then waits
/// has it wake up once for all.
#[must_use = "a command can fail"]
pub struct Ticket {
    slot: Arc<Slot>,
    /// Whom to wake, until that is done.
    inbox: Option<Arc<Inbox>>,
}

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    result: Option<Result<(), CommandError>>,
    waker: Option<Waker>,
    /// Somebody blocks: a condition variable costs a system call for each answer, waited for or not.
    blocks: bool,
}

impl Slot {
    /// Nothing that runs under the lock can panic halfway, so that a poisoned lock holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complete(&self, result: Result<(), CommandError>) {
        let mut state = self.lock();
        if state.result.is_some() {
            return;
        }
        state.result = Some(result);
        let (waker, blocks) = (state.waker.take(), state.blocks);
        drop(state);
        if blocks {
            self.done.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The worker's end of a [`Ticket`]. Dropped unused, it answers [`CommandError::WorkerStopped`].
#[derive(Debug)]
pub(crate) struct Answer(Arc<Slot>);

impl Answer {
    pub(crate) fn give(self, result: Result<(), CommandError>) {
        self.0.complete(result);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.complete(Err(CommandError::WorkerStopped));
    }
}

pub(crate) fn ticket() -> (Ticket, Answer) {
    let slot = Arc::new(Slot::default());
    (Ticket { slot: Arc::clone(&slot), inbox: None }, Answer(slot))
}

impl Ticket {
    /// The same ticket, of a command that waits in this inbox.
    pub(crate) fn of(self, inbox: &Arc<Inbox>) -> Self {
        Self { inbox: Some(Arc::clone(inbox)), slot: Arc::clone(&self.slot) }
    }

    /// Blocks until the answer is there, or `timeout` passed (`None`).
    pub fn wait(&self, timeout: Duration) -> Option<Result<(), CommandError>> {
        if let Some(inbox) = &self.inbox {
            inbox.wake();
        }
        let deadline = Instant::now() + timeout;
        let mut state = self.slot.lock();
        state.blocks = true;
        while state.result.is_none() {
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.slot.done.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.result.clone()
    }

    pub(crate) fn failed(error: CommandError) -> Self {
        let (ticket, answer) = ticket();
        answer.give(Err(error));
        ticket
    }
}

impl Future for Ticket {
    type Output = Result<(), CommandError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let inbox = self.inbox.take();
        {
            let mut state = self.slot.lock();
            if let Some(result) = &state.result {
                return Poll::Ready(result.clone());
            }
            state.waker = Some(context.waker().clone());
        }
        if let Some(inbox) = inbox {
            inbox.wake();
        }
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // One that was answered already is asleep for good reason.
        if let Some(inbox) = self.inbox.take().filter(|_| self.slot.lock().result.is_none()) {
            inbox.wake();
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("slot", &self.slot).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn an_answer_ends_the_wait() {
        let (ticket, answer) = ticket();
        std::thread::spawn(move || answer.give(Err(CommandError::UnknownLeg(7))));
        assert_eq!(ticket.wait(Duration::from_secs(5)), Some(Err(CommandError::UnknownLeg(7))));
    }

    #[test]
    fn a_command_that_nobody_answers_is_answered_when_it_is_dropped() {
        let (ticket, answer) = ticket();
        drop(answer);
        assert_eq!(ticket.wait(Duration::ZERO), Some(Err(CommandError::WorkerStopped)));
    }

    #[test]
    fn waiting_ends_with_the_timeout() {
        let (ticket, _answer) = ticket();
        assert_eq!(ticket.wait(Duration::from_millis(1)), None);
    }

    #[test]
    fn a_worker_is_woken_by_whoever_waits_or_gives_up_and_not_for_what_is_answered() {
        let (inbox, waker) = (Arc::new(Inbox::new(&Limits::default())), sluice_io::Waker::new().unwrap());
        inbox.set_waker(waker.clone());
        let rings = || rustix::io::read(&waker, &mut [0; 8]).is_ok();
        let given = || {
            let (ticket, answer) = ticket();
            // Nobody is to answer it.
            std::mem::forget(answer);
            ticket.of(&inbox)
        };
        inbox.sleep_if_empty(|| {
            let [first, second] = [given(), given()];
            assert!(!rings(), "more may follow");
            assert_eq!(second.wait(Duration::ZERO), None);
            assert!(rings());
            first.slot.complete(Ok(()));
            drop(first);
            assert!(!rings(), "it is answered");
        });
        inbox.sleep_if_empty(|| {
            drop(given());
            assert!(rings());
        });
        inbox.sleep_if_empty(|| {
            let mut ticket = given();
            assert!(Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert!(rings());
        });
    }

    #[test]
    fn a_ticket_is_a_future_that_is_woken() {
        struct Flag(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let flag = Arc::new(Flag(false.into()));
        let waker = Waker::from(Arc::clone(&flag));
        let (mut ticket, answer) = ticket();
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut ticket).poll(&mut context).is_pending());
        answer.give(Ok(()));
        assert!(flag.0.load(std::sync::atomic::Ordering::SeqCst));
        assert_eq!(Pin::new(&mut ticket).poll(&mut context), Poll::Ready(Ok(())));
    }
}
