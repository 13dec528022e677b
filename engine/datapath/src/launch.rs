//! A worker's thread: where it runs, what it is made of, and how it ends.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::channel::Sender;
use hwlocality::Topology;
use sluice_io::live::{LiveIo, Queue};
use sluice_io::{Memory, Path, Pool, PoolConfig};

use crate::Event;
use crate::config::{EngineConfig, Mode, WorkerCount};
use crate::counters::WorkerStats;
use crate::engine::EngineError;
use crate::event::EventSender;
use crate::inbox::Inbox;
use crate::pipeline::{Pipeline, Shared};
use crate::placement::{self, Assignment, Card, Machine, Place, PlacementError};
use crate::report::QueueReport;
use crate::steering::Interfaces;
use crate::worker::Worker;

/// What a worker's thread tells when it is ready.
pub(crate) struct Ready {
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) bound: Result<(), String>,
    pub(crate) queues: Vec<QueueReport>,
    pub(crate) memory: Memory,
    pub(crate) degraded: Vec<(String, String)>,
}

/// How many workers, where, and for which queues.
pub(crate) struct Placement {
    pub(crate) workers: usize,
    pub(crate) assignment: Assignment,
    pub(crate) topology: Option<Arc<Mutex<Topology>>>,
    pub(crate) failed: Option<PlacementError>,
}

impl Placement {
    pub(crate) fn choose(config: &EngineConfig, cards: &[Card]) -> Self {
        let (machine, topology, failed) = match Machine::detect() {
            Ok((machine, topology)) => (machine, Some(Arc::new(Mutex::new(topology))), None),
            Err(error) => (Machine::default(), None, Some(error)),
        };
        let workers = match config.workers {
            WorkerCount::Exactly(count) => count,
            WorkerCount::Auto => machine.workers().max(1),
        };
        // Workers that are not bound have no place.
        let machine = if config.pin { machine } else { Machine::default() };
        let assignment = placement::decide(&machine, cards, workers);
        Self { workers, assignment, topology, failed }
    }
}

/// All that a worker's thread needs.
pub(crate) struct Plan {
    pub(crate) worker: usize,
    pub(crate) config: EngineConfig,
    pub(crate) shared: Shared,
    pub(crate) interfaces: Arc<Interfaces>,
    pub(crate) queues: Vec<(usize, u32)>,
    pub(crate) place: Option<Place>,
    pub(crate) topology: Option<Arc<Mutex<Topology>>>,
}

/// A worker's life. A panic is a fault of ours; it ends the worker, loudly, and nothing else.
pub(crate) fn live(
    plan: Plan,
    ready: &Sender<Result<Ready, EngineError>>,
    inbox: &Inbox,
    alive: &AtomicBool,
    events: &EventSender,
) {
    let worker = plan.worker;
    let outcome = catch_unwind(AssertUnwindSafe(|| work(plan, ready)));
    bury(worker, outcome, inbox, alive, events);
}

/// What is left to do for a worker that has ended, by order or by a panic.
fn bury(
    worker: usize,
    outcome: std::thread::Result<()>,
    inbox: &Inbox,
    alive: &AtomicBool,
    events: &EventSender,
) {
    alive.store(false, Ordering::SeqCst);
    while inbox.commands.pop().is_some() {}
    while inbox.notices.pop().is_some() {}
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let reason = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        events.send(Event::WorkerDied { worker, reason: reason.into() });
    }
}

/// Memory and packet I/O are made on the thread that uses them: on its NUMA node, and because an io_uring
/// belongs to the thread that made it.
fn work(plan: Plan, ready: &Sender<Result<Ready, EngineError>>) {
    let bound = plan.bind();
    let (mut pool, mut io) = match plan.resources() {
        Ok(resources) => resources,
        Err(error) => {
            // Whoever started this thread waits for the answer.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let (queues, degraded) = match plan.open_queues(&mut io, &mut pool) {
        Ok(opened) => opened,
        Err(error) => {
            io.close(&mut pool);
            let _ = ready.send(Err(error));
            return;
        }
    };
    let Plan { worker, config, shared, .. } = plan;
    let inbox = Arc::clone(&shared.inboxes[worker]);
    let memory = pool.memory();
    let pipeline = Pipeline::new(worker, config.limits, config.tuning, shared, sluice_io::clock::now);
    let stats = Arc::clone(pipeline.stats());
    let mut worker = Worker::new(pipeline, io, pool, inbox);
    if ready.send(Ok(Ready { stats, bound, queues, memory, degraded })).is_ok() {
        worker.run();
    }
    let Worker { io, mut pool, .. } = worker;
    io.close(&mut pool);
}

/// Queues opened, and those that could not be: interface and reason.
type Opened = (Vec<QueueReport>, Vec<(String, String)>);

impl Plan {
    fn bind(&self) -> Result<(), String> {
        let (Some(place), Some(topology)) = (self.place, &self.topology) else { return Ok(()) };
        let topology = topology.lock().unwrap_or_else(PoisonError::into_inner);
        placement::bind(&topology, place).map_err(|error| error.to_string())
    }

    fn resources(&self) -> Result<(Pool, LiveIo), EngineError> {
        let worker = self.worker;
        let sizes = PoolConfig { small: self.config.small_chunks, large: self.config.large_chunks };
        // Told although the thread that touches it first is bound there: memory that is pinned for AF_XDP never
        // moves, and the thread may have been refused its CPU.
        let node = self.place.map(|place| place.node as u32);
        let pool = Pool::on_node(sizes, node);
        let mut pool = pool.map_err(|source| EngineError::Pool { worker, source })?;
        let io = LiveIo::new(&mut pool).map_err(|source| EngineError::Io { worker, source })?;
        Ok((pool, io))
    }

    /// A queue without a socket is the kernel's, and still served: through the legs' own sockets.
    fn open_queues(&self, io: &mut LiveIo, pool: &mut Pool) -> Result<Opened, EngineError> {
        let (mut opened, mut degraded) = (Vec::new(), Vec::new());
        for &(interface, queue) in &self.queues {
            let Some(interface) = self.interfaces.0.get(interface) else { continue };
            let wanted =
                Queue { ifindex: interface.ifindex, queue, generic: interface.path == Path::XdpGeneric };
            let socket = io.open_queue(pool, wanted).map_err(|error| error.to_string());
            let given = socket.and_then(|socket| {
                interface.set_socket(queue, socket.as_fd()).map_err(|error| error.to_string())?;
                Ok((socket.mode(), socket.is_multi_buffer()))
            });
            let name = interface.name.clone();
            match given {
                Ok((mode, multi_buffer)) => {
                    if let Some(relief) = interface.relief(queue) {
                        io.relieve((interface.ifindex, queue), relief);
                    }
                    opened.push(QueueReport { interface: name, queue, mode, multi_buffer });
                }
                Err(reason) if self.config.datapath == Mode::Auto => {
                    degraded.push((name, format!("queue {queue} goes by kernel sockets: {reason}")));
                }
                Err(reason) => return Err(EngineError::Queue { name, queue, reason }),
            }
        }
        io.fill(pool);
        Ok((opened, degraded))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::command::{Command, CommandError};
    use crate::event;
    use crate::inbox::Envelope;
    use crate::ticket::ticket;

    #[test]
    fn a_worker_that_dies_is_reported_and_answers_what_waited() {
        let limits = crate::Limits { commands: 4, ..crate::Limits::default() };
        let (inbox, alive) = (Inbox::new(&limits), AtomicBool::new(true));
        let (events, receiver) = event::channel(4);
        let (waiting, answer) = ticket();
        let command = Box::new(Command::RemoveLeg { leg: 1 });
        assert!(inbox.commands.push(Envelope { command, answer }).is_ok());
        let outcome = catch_unwind(|| panic!("the reason"));
        bury(3, outcome, &inbox, &alive, &events);
        assert!(!alive.load(Ordering::SeqCst));
        assert_eq!(waiting.wait(Duration::ZERO), Some(Err(CommandError::WorkerStopped)));
        let died = Event::WorkerDied { worker: 3, reason: "the reason".into() };
        assert_eq!(receiver.try_recv(), Ok(died));
    }

    #[test]
    fn a_worker_that_ends_by_order_is_no_event() {
        let limits = crate::Limits { commands: 4, ..crate::Limits::default() };
        let (events, receiver) = event::channel(4);
        bury(0, Ok(()), &Inbox::new(&limits), &AtomicBool::new(true), &events);
        assert!(receiver.try_recv().is_err());
    }
}
