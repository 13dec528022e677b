//! Branches that are to go unless something happens before: one queue for all, and one task that waits for its head.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// What is due: a branch of a session. An empty branch: the call as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) session: String,
    pub(super) branch: String,
}

/// Names something that is due, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    pub(super) at: Instant,
    number: u64,
}

/// The queue.
#[derive(Default)]
pub(super) struct Timers {
    queue: Mutex<Queue>,
    /// The head is another.
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    due: BTreeMap<Timer, Due>,
    armed: u64,
}

impl Timers {
    /// Adds something that is due at a time.
    pub(super) fn arm(&self, at: Instant, due: Due) -> Timer {
        let (timer, first) = {
            let mut queue = self.queue();
            queue.armed += 1;
            let timer = Timer { at, number: queue.armed };
            queue.due.insert(timer, due);
            (timer, queue.due.first_key_value().is_some_and(|(first, _)| *first == timer))
        };
        if first {
            self.changed.notify_one();
        }
        timer
    }

    /// It is not due any more.
    pub(super) fn disarm(&self, timer: Timer) {
        self.queue().due.remove(&timer);
    }

    /// Waits for what is due next.
    pub(super) async fn next(&self) -> (Timer, Due) {
        loop {
            let head = self.queue().due.first_key_value().map(|(timer, _)| timer.at);
            match head {
                None => self.changed.notified().await,
                Some(at) if at > Instant::now() => {
                    // Either the time comes, or something that is due earlier.
                    let _ = tokio::time::timeout_at(at.into(), self.changed.notified()).await;
                }
                Some(_) => {
                    if let Some(first) = self.queue().due.pop_first() {
                        return first;
                    }
                }
            }
        }
    }

    /// How many things are due some time.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue().due.len()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that runs under the lock panics.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn due(branch: &str) -> Due {
        Due { session: "s".into(), branch: branch.into() }
    }

    #[tokio::test]
    async fn the_earliest_comes_first_and_what_is_disarmed_never() {
        let timers = Timers::default();
        let now = Instant::now();
        timers.arm(now + Duration::from_millis(30), due("late"));
        let gone = timers.arm(now + Duration::from_millis(1), due("gone"));
        timers.arm(now + Duration::from_millis(10), due("early"));
        timers.disarm(gone);
        assert_eq!(timers.next().await.1, due("early"));
        assert_eq!(timers.next().await.1, due("late"));
        assert!(now.elapsed() >= Duration::from_millis(30));
        assert_eq!(timers.len(), 0);
    }

    #[tokio::test]
    async fn an_earlier_one_shortens_the_wait() {
        let timers = std::sync::Arc::new(Timers::default());
        timers.arm(Instant::now() + Duration::from_mins(1), due("late"));
        let waiting = tokio::spawn({
            let timers = std::sync::Arc::clone(&timers);
            async move { timers.next().await.1 }
        });
        tokio::task::yield_now().await;
        timers.arm(Instant::now(), due("now"));
        let first = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        assert_eq!(first, due("now"));
    }
}
