//! Every order in which the workers' threads may meet at the hand-off, by loom: no wake-up is lost, and legs that
//! move from one worker to another lose no datagram.

use std::collections::VecDeque;

use loom::sync::{Arc, Mutex, Notify};

/// What `crossing` works on here.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[path = "../src/crossing.rs"]
mod crossing;

use crossing::{Doorbell, take_in_order};

struct Queue<T>(Mutex<VecDeque<T>>);

impl<T> Queue<T> {
    fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    fn push(&self, item: T) {
        self.0.lock().unwrap().push_back(item);
    }

    fn pop(&self) -> Option<T> {
        self.0.lock().unwrap().pop_front()
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

/// A worker that sleeps when it finds nothing, and two that give it something: with a lost wake-up it would sleep
/// for ever, which loom reports.
#[test]
fn whoever_sleeps_is_woken() {
    let mut model = loom::model::Builder::new();
    // Without a bound it takes a minute, and finds nothing more.
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Arc::new((Queue::new(), Doorbell::default(), Notify::new()));
        let givers: Vec<_> = (0..2)
            .map(|number| {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || {
                    shared.0.push(number);
                    shared.1.ring(|| shared.2.notify());
                })
            })
            .collect();
        let (queue, doorbell, waker) = &*shared;
        let mut taken = 0;
        while taken < 2 {
            while queue.pop().is_some() {
                taken += 1;
            }
            if taken < 2 {
                doorbell.sleep_if(|| queue.is_empty(), || waker.wait());
            }
        }
        for giver in givers {
            giver.join().unwrap();
        }
    });
}

/// What others put before a worker.
struct Inbox {
    datagrams: Queue<u32>,
    /// The leg itself, which is one's at a time.
    notices: Queue<Leg>,
}

/// A leg with what it has received.
struct Leg {
    received: Vec<u32>,
}

struct Worker {
    number: usize,
    inboxes: Arc<[Inbox; 2]>,
    leg: Option<Leg>,
    /// Who has the leg, as far as this worker knows.
    owner: usize,
    /// Datagrams that went on although somebody had handed them here.
    passed_on: usize,
}

impl Worker {
    fn handle(&mut self, datagram: u32) {
        match &mut self.leg {
            Some(leg) => leg.received.push(datagram),
            None => self.inboxes[self.owner].datagrams.push(datagram),
        }
    }

    fn send_off(&mut self, to: usize) {
        let Some(leg) = self.leg.take() else { return };
        self.owner = to;
        self.inboxes[to].notices.push(leg);
    }

    fn look_at_notices(&mut self) -> bool {
        let adopted = self.inboxes[self.number].notices.pop();
        if adopted.is_some() {
            (self.leg, self.owner) = (adopted, self.number);
        }
        true
    }

    fn round(&mut self) {
        let taken = take_in_order(
            self,
            |worker| std::iter::from_fn(|| worker.inboxes[worker.number].datagrams.pop()).collect::<Vec<_>>(),
            Self::look_at_notices,
        );
        for datagram in taken {
            self.passed_on += usize::from(self.leg.is_none());
            self.handle(datagram);
        }
    }
}

/// One worker sends the leg away between datagrams while the other receives some of its own for it.
#[test]
fn a_leg_that_moves_receives_everything_once() {
    loom::model(|| {
        let inbox = || Inbox { datagrams: Queue::new(), notices: Queue::new() };
        let inboxes = Arc::new([inbox(), inbox()]);
        let worker =
            |number, leg| Worker { number, inboxes: Arc::clone(&inboxes), leg, owner: 0, passed_on: 0 };
        let (mut first, mut second) = (worker(0, Some(Leg { received: Vec::new() })), worker(1, None));
        let thread = loom::thread::spawn(move || {
            second.handle(10);
            second.round();
            second.handle(11);
            second
        });
        first.handle(1);
        first.send_off(1);
        first.handle(2);
        first.round();
        let mut second = thread.join().unwrap();
        // What is still under way arrives.
        for _ in 0..3 {
            second.round();
            first.round();
        }
        let leg = second.leg.take().expect("the leg arrived");
        let mut received = leg.received.clone();
        received.sort_unstable();
        assert_eq!(received, [1, 2, 10, 11]);
        let place = |datagram| leg.received.iter().position(|other| *other == datagram);
        assert!(place(1) < place(2), "what one worker received stays in order");
        assert_eq!(second.passed_on, 0, "what was handed on after the leg finds it, and is not sent back");
    });
}
