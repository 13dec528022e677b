//! What a worker leaves to another thread, since an application decides how long it takes: waking it walks all that the
//! application hung on its connection, and giving a ring up unmaps as much as it is large.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, Thread};

use crossbeam::queue::ArrayQueue;
use rustix::process::getpid;
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use sluice_ring::Bell;

use crate::ring::Ring;

/// Things that may be left to do. Each ring has one wake-up at a time among them.
const JOBS: usize = 8192;

enum Job {
    Wake(Arc<Bell>),
    Bury(Box<Ring>),
}

impl Job {
    fn run(self) {
        match self {
            Self::Wake(bell) => bell.ring(),
            Self::Bury(ring) => drop(ring),
        }
    }
}

struct Shared {
    jobs: ArrayQueue<Job>,
    stop: AtomicBool,
}

/// The thread. It ends, once all is done, when this is dropped; nobody waits for that.
pub(crate) struct Wakes {
    shared: Arc<Shared>,
    thread: Thread,
    untold: bool,
}

impl Wakes {
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared { jobs: ArrayQueue::new(JOBS), stop: AtomicBool::new(false) });
        let its = Arc::clone(&shared);
        let thread = Builder::new().name("sluice-wake".into()).spawn(move || its.serve())?.thread().clone();
        Ok(Self { shared, thread, untold: false })
    }

    /// Wakes an application; [`Self::flush`] has it begun.
    pub(crate) fn wake(&mut self, bell: &Arc<Bell>) {
        if bell.claim() {
            self.push(Job::Wake(Arc::clone(bell)));
        }
    }

    /// Gives a ring up.
    pub(crate) fn bury(&mut self, ring: Box<Ring>) {
        self.push(Job::Bury(ring));
        self.flush();
    }

    fn push(&mut self, job: Job) {
        self.untold = true;
        if let Err(job) = self.shared.jobs.push(job) {
            // Late is better than never.
            job.run();
        }
    }

    /// Has the thread do what was left to it. A system call if it sleeps.
    pub(crate) fn flush(&mut self) {
        if std::mem::take(&mut self.untold) {
            self.thread.unpark();
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Shared {
    fn serve(&self) {
        // The worker that started this thread has a CPU to itself, and is to keep it: run where the process may. If
        // that is refused, there is one CPU for both.
        let _ = sched_getaffinity(Some(getpid())).and_then(|cpus| sched_setaffinity(None, &cpus));
        loop {
            // Before the last look: what was left to do comes first.
            let stop = self.stop.load(Ordering::Acquire);
            while let Some(job) = self.jobs.pop() {
                job.run();
            }
            if stop {
                return;
            }
            std::thread::park();
        }
    }
}
