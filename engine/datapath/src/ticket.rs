//! How the answer to a command comes back.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::CommandError;

/// The answer to a command, to be waited for: a future for any executor, or [`Ticket::wait`].
#[derive(Debug)]
#[must_use = "a command can fail"]
pub struct Ticket(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    result: Option<Result<(), CommandError>>,
    waker: Option<Waker>,
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
        let waker = state.waker.take();
        drop(state);
        self.done.notify_all();
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
    (Ticket(Arc::clone(&slot)), Answer(slot))
}

impl Ticket {
    /// Blocks until the answer is there, or `timeout` passed (`None`).
    pub fn wait(&self, timeout: Duration) -> Option<Result<(), CommandError>> {
        let deadline = Instant::now() + timeout;
        let mut state = self.0.lock();
        while state.result.is_none() {
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.0.done.wait_timeout(state, left);
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

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        if let Some(result) = &state.result {
            return Poll::Ready(result.clone());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
