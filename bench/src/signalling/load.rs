//! Two ways to put load on: as much as a number of desks can, or at a rate whatever becomes of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::desk::{Desk, Kind};

/// Calls under way at a rate: with more than that the gateway does not keep up.
const MOST_UNDER_WAY: usize = 4096;
/// Longest time that a histogram has a place for, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// What came of a load.
#[derive(Debug)]
pub struct Outcome {
    /// Whole calls: offer, answer, end.
    pub calls: u64,
    /// From the first to the end of the last.
    pub elapsed: Duration,
    /// Nanoseconds of offers, answers, ends, and calls, in this order. At a rate a call counts from when it was due.
    pub times: [Histogram<u64>; 4],
}

/// Numbers that no call had before.
#[derive(Debug, Default)]
pub struct Numbers(AtomicU64);

impl Numbers {
    /// From 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The next one.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Each desk sets up one call after the other until the time is over.
pub async fn as_fast_as_it_goes<D: Desk + 'static>(
    desks: Vec<D>,
    kind: Kind,
    numbers: &'static Numbers,
    time: Duration,
) -> Result<Outcome> {
    let book = Rc::new(RefCell::new(Book::new()?));
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    for mut desk in desks {
        let book = Rc::clone(&book);
        under_way.spawn_local(async move {
            while start.elapsed() < time {
                call(&mut desk, kind, numbers.next(), Instant::now(), &book).await?;
            }
            anyhow::Ok(())
        });
    }
    finish(under_way, &book, start).await
}

/// A call is begun whenever one is due, each at the next of the desks.
pub async fn at_a_rate<D: Desk + Clone + 'static>(
    desks: &[D],
    kind: Kind,
    numbers: &'static Numbers,
    (rate, time): (f64, Duration),
) -> Result<Outcome> {
    let book = Rc::new(RefCell::new(Book::new()?));
    let (due, mut is_due) = mpsc::unbounded_channel();
    let start = Instant::now() + Duration::from_millis(10);
    // Tokio's timers have milliseconds; a thread's sleep is exact.
    let clock = thread::spawn(move || {
        let calls = (rate * time.as_secs_f64()) as u64;
        for call in 0..calls {
            let at = start + Duration::from_secs_f64(call as f64 / rate);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if due.send(at).is_err() {
                return;
            }
        }
    });
    let mut under_way = JoinSet::new();
    let (mut desks, mut kept_up) = (desks.iter().cycle(), true);
    while let Some(at) = is_due.recv().await {
        while let Some(ended) = under_way.try_join_next() {
            ended??;
        }
        if under_way.len() >= MOST_UNDER_WAY {
            kept_up = false;
            break;
        }
        let Some(mut desk) = desks.next().cloned() else { break };
        let book = Rc::clone(&book);
        under_way.spawn_local(async move { call(&mut desk, kind, numbers.next(), at, &book).await });
    }
    let outcome = finish(under_way, &book, start).await;
    drop(is_due);
    // It ends once nobody listens; it cannot panic.
    let _ = clock.join();
    ensure!(kept_up, "{rate} calls a second are more than the gateway keeps up with");
    outcome
}

async fn finish(mut under_way: JoinSet<Result<()>>, book: &RefCell<Book>, start: Instant) -> Result<Outcome> {
    while let Some(ended) = under_way.join_next().await {
        ended??;
    }
    let elapsed = start.elapsed();
    let Book { calls, times } = book.replace(Book::new()?);
    Ok(Outcome { calls, elapsed, times })
}

async fn call<D: Desk>(
    desk: &mut D,
    kind: Kind,
    number: u64,
    due: Instant,
    book: &RefCell<Book>,
) -> Result<()> {
    let [offer, answer] = desk.begin(kind, number).await?;
    let end = desk.end(number).await?;
    book.borrow_mut().add([offer, answer, end, due.elapsed()]);
    Ok(())
}

struct Book {
    calls: u64,
    times: [Histogram<u64>; 4],
}

impl Book {
    fn new() -> Result<Self> {
        Ok(Self { calls: 0, times: [histogram()?, histogram()?, histogram()?, histogram()?] })
    }

    fn add(&mut self, times: [Duration; 4]) {
        self.calls += 1;
        for (histogram, time) in self.times.iter_mut().zip(times) {
            histogram.saturating_record(time.as_nanos() as u64);
        }
    }
}

/// An empty histogram of nanoseconds.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST, 3)?)
}

#[cfg(test)]
mod tests {
    use super::super::sdp::Security;
    use super::*;

    /// A gateway that takes some time.
    #[derive(Clone)]
    struct Slow(Duration);

    impl Desk for Slow {
        async fn begin(&mut self, _: Kind, _: u64) -> Result<[Duration; 2]> {
            tokio::time::sleep(self.0).await;
            Ok([self.0, Duration::ZERO])
        }

        async fn end(&mut self, _: u64) -> Result<Duration> {
            Ok(Duration::ZERO)
        }
    }

    static NUMBERS: Numbers = Numbers::new();
    const KIND: Kind = Kind { caller: Security::Plain, callee: Security::Plain, video: false };

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, work)
    }

    #[test]
    fn a_gateway_that_stands_still_is_not_spared_the_calls_that_are_due_meanwhile() {
        let desks = [Slow(Duration::from_millis(200))];
        let outcome = run(at_a_rate(&desks, KIND, &NUMBERS, (500.0, Duration::from_millis(100)))).unwrap();
        assert_eq!(outcome.calls, 50);
        assert!(outcome.times[3].value_at_quantile(0.01) >= 190_000_000);
    }

    #[test]
    fn desks_wait_for_their_gateway() {
        let desks = vec![Slow(Duration::from_millis(20)); 3];
        let outcome = run(as_fast_as_it_goes(desks, KIND, &NUMBERS, Duration::from_millis(100))).unwrap();
        assert!((3..=18).contains(&outcome.calls), "{}", outcome.calls);
    }
}
