//! The engine: workers on their CPUs, XDP on its interfaces, and one thread that watches both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender};
use sluice_io::{Path, PoolError};
use sluice_srtp::KeyId;

use crate::Event;
use crate::command::{Command, CommandError, QueueFull};
use crate::config::EngineConfig;
use crate::counters::{WorkerSnapshot, WorkerStats};
use crate::event::{self, EventReceiver};
use crate::guard::Guard;
use crate::inbox::{Envelope, Inbox};
use crate::launch::{Placement, Plan, Ready, live};
use crate::memory::{self, WorkerMemory};
use crate::pipeline::{Resolver, Shared, Steering};
use crate::report::{EngineReport, InterfaceReport, WorkerReport};
use crate::setup::{self, Nic};
use crate::steering::Interfaces;
use crate::ticket::{Ticket, ticket};
use crate::watch::{self, Netlink, Watch};

/// Why the engine does not start. Whatever was set up by then is taken down again.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A setting is out of range.
    #[error("{field}: {problem}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// An interface of the configuration is not there.
    #[error("interface {name:?} does not exist in this network namespace; `ip link` lists those that do")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// An interface has no receive queue.
    #[error(
        "interface {name:?} has no receive queues, so that XDP cannot run on it; \
             leave it out or set the datapath to io_uring"
    )]
    NoQueues {
        /// Its name.
        name: String,
    },
    /// XDP was asked for and cannot be had.
    #[error("interface {name:?}: {source}")]
    Xdp {
        /// The interface.
        name: String,
        /// Why.
        source: sluice_io::xdp::XdpError,
    },
    /// AF_XDP was asked for and cannot be had.
    #[error("interface {name:?}, queue {queue}: {reason}; or set the datapath to auto or io_uring")]
    Queue {
        /// The interface.
        name: String,
        /// The queue.
        queue: u32,
        /// Why.
        reason: String,
    },
    /// A worker's memory could not be had.
    #[error("worker {worker}: {source}")]
    Pool {
        /// Which worker.
        worker: usize,
        /// Why.
        source: PoolError,
    },
    /// A worker's packet I/O could not be set up.
    #[error("worker {worker}: {source}")]
    Io {
        /// Which worker.
        worker: usize,
        /// Why.
        source: sluice_io::live::LiveError,
    },
    /// No thread for a worker.
    #[error("cannot start a thread: {0}; look at the limit of processes (ulimit -u, TasksMax)")]
    Thread(#[from] std::io::Error),
    /// The SRTP kernel fails its self-test.
    #[error("no SRTP kernel can be trusted on this machine: {0:?}; unset SLUICE_KERNEL or report this")]
    Kernel(sluice_srtp::SelectError),
    /// Next hops cannot be looked up.
    #[error(transparent)]
    Netlink(#[from] sluice_io::netlink::NetlinkError),
    /// A worker ended before it was ready.
    #[error("worker {0} ended while it was being set up; see the log")]
    WorkerLost(usize),
}

/// Running workers. Dropping it is the same as [`Engine::shutdown`].
pub struct Engine {
    workers: Vec<Handle>,
    shared: Shared,
    interfaces: Arc<Interfaces>,
    nics: Vec<InterfaceReport>,
    kernel: &'static str,
    /// Memory of what the workers have in common.
    in_common: u64,
    watch: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What the engine keeps of a worker.
struct Handle {
    inbox: Arc<Inbox>,
    stats: Arc<WorkerStats>,
    alive: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    report: WorkerReport,
}

impl Engine {
    /// Starts the workers, and XDP where it is wanted and can be had.
    #[allow(clippy::needless_pass_by_value, reason = "the engine is what becomes of its configuration")]
    pub fn start(config: EngineConfig) -> Result<(Self, EventReceiver), EngineError> {
        setup::check(&config)?;
        let kernel = sluice_srtp::selected_kernel().map_err(EngineError::Kernel)?.name();
        let (nics, interfaces, nic_reports) = setup::attach(&config)?;
        let interfaces = Arc::new(interfaces);
        let cards: Vec<_> = nics.iter().map(|nic| nic.card).collect();
        let placement = Placement::choose(&config, &cards);
        let (events, receiver) = event::channel(config.limits.events.max(1));
        let (requests, resolve) = watch::requests();
        let watches = !interfaces.0.is_empty();
        let inboxes = (0..placement.workers).map(|_| Arc::new(Inbox::new(&config.limits))).collect();
        let shared = Shared {
            guard: Arc::new(Guard::new(config.limits.parked_contexts)),
            events,
            steering: watches.then(|| Arc::clone(&interfaces) as Arc<dyn Steering>),
            resolver: watches.then(|| Arc::new(requests) as Arc<dyn Resolver>),
            inboxes,
        };
        // From here on, dropping the engine takes everything down again.
        let mut engine = Self {
            workers: Vec::new(),
            shared,
            interfaces,
            nics: nic_reports,
            kernel,
            in_common: memory::in_common(&config.limits),
            watch: None,
        };
        engine.start_workers(&config, &nics, &placement)?;
        for nic in engine.nics.iter().filter(|nic| nic.multi_buffer) {
            let interface = engine.interfaces.0.iter().find(|interface| interface.ifindex == nic.ifindex);
            interface.into_iter().for_each(crate::steering::Interface::gather);
        }
        if watches {
            engine.start_watch(resolve)?;
        }
        Ok((engine, receiver))
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Whether a worker works. One that ended although nobody told it to was told of by
    /// [`Event::WorkerDied`], if that found room.
    pub fn is_alive(&self, worker: usize) -> bool {
        self.workers.get(worker).is_some_and(Handle::is_alive)
    }

    /// Gives a command to a worker. The ticket tells what came of it, and wakes the worker once it is waited for or
    /// dropped. A command to a worker that is not there, or no longer, fails by its ticket; a full queue gives the
    /// command back.
    pub fn command(&self, worker: usize, command: Command) -> Result<Ticket, QueueFull> {
        let Some(handle) = self.workers.get(worker) else {
            return Ok(Ticket::failed(CommandError::NoSuchWorker(worker)));
        };
        let (ticket, answer) = ticket();
        let envelope = Envelope { command: Box::new(command), answer };
        if let Err(envelope) = handle.inbox.commands.push(envelope) {
            if handle.is_alive() {
                handle.inbox.wake();
                return Err(QueueFull(envelope.command));
            }
            return Ok(Ticket::failed(CommandError::WorkerStopped));
        }
        if !handle.is_alive() {
            handle.refuse_commands();
        }
        Ok(ticket.of(&handle.inbox))
    }

    /// Statistics of each worker.
    pub fn stats(&self) -> Vec<WorkerSnapshot> {
        self.workers.iter().map(|worker| worker.stats.snapshot()).collect()
    }

    /// Statistics of one worker, to be read at any time.
    pub fn worker_stats(&self, worker: usize) -> Option<Arc<WorkerStats>> {
        self.workers.get(worker).map(|worker| Arc::clone(&worker.stats))
    }

    /// The XDP program's counters of each interface that has it.
    pub fn xdp_counters(&self) -> Vec<(String, sluice_io::xdp::Counters)> {
        let counters =
            |interface: &crate::steering::Interface| Some((interface.name.clone(), interface.counters()?));
        self.interfaces.0.iter().filter_map(counters).collect()
    }

    /// How the engine runs, as of now.
    pub fn report(&self) -> EngineReport {
        let mut interfaces = self.nics.clone();
        for report in &mut interfaces {
            let interface = self.interfaces.0.iter().find(|interface| interface.ifindex == report.ifindex);
            report.attached = interface.is_some_and(crate::steering::Interface::is_attached);
        }
        let attached = |path| interfaces.iter().any(|nic| nic.attached && nic.queues > 0 && nic.path == path);
        let path = [Path::XdpNative, Path::XdpGeneric].into_iter().find(|path| attached(*path));
        let workers = self
            .workers
            .iter()
            .map(|worker| WorkerReport { alive: worker.is_alive(), ..worker.report.clone() });
        EngineReport {
            kernel: self.kernel,
            path: path.unwrap_or(Path::IoUring),
            memory: self.in_common
                + self.workers.iter().map(|worker| worker.report.memory.total()).sum::<u64>(),
            workers: workers.collect(),
            interfaces,
        }
    }

    /// Tells the two-time-pad guard that a master key is gone for good: it will never be installed again
    /// under this name. Whether that was so; not while it is in use for sending.
    pub fn forget_key(&self, key: KeyId) -> bool {
        self.shared.guard.forget(key)
    }

    /// Detaches XDP and stops the workers. Media that comes from now on is the kernel's.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.watch.take() {
            drop(stop);
            // If it panicked, there is nothing more to stop.
            let _ = thread.join();
        }
        for interface in &self.interfaces.0 {
            if let Err(error) = interface.detach() {
                let reason = format!("cannot be detached: {error}");
                self.shared
                    .events
                    .send(Event::DatapathDegraded { interface: interface.name.clone(), reason });
            }
        }
        self.workers.iter().for_each(|worker| worker.inbox.stop());
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // A panic was reported when it happened.
                let _ = thread.join();
            }
            worker.refuse_commands();
        }
    }

    fn start_workers(
        &mut self,
        config: &EngineConfig,
        nics: &[Nic],
        placement: &Placement,
    ) -> Result<(), EngineError> {
        for worker in 0..placement.workers {
            let (ready, is_ready) = crossbeam::channel::bounded(1);
            let queues = placement.assignment.queues.get(worker).into_iter().flatten();
            let attached = |(nic, queue): &(usize, u32)| Some((nics.get(*nic)?.interface?, *queue));
            let alive = Arc::new(AtomicBool::new(true));
            let plan = Plan {
                worker,
                config: config.clone(),
                shared: self.shared.clone(),
                interfaces: Arc::clone(&self.interfaces),
                queues: queues.filter_map(attached).collect(),
                place: placement.assignment.places.get(worker).copied(),
                topology: placement.topology.clone(),
            };
            let (events, flag) = (self.shared.events.clone(), Arc::clone(&alive));
            let inbox = Arc::clone(&self.shared.inboxes[worker]);
            let (main_inbox, place) = (Arc::clone(&inbox), plan.place);
            let thread = std::thread::Builder::new()
                .name(format!("sluice-{worker}"))
                .spawn(move || live(plan, &ready, &main_inbox, &flag, &events))?;
            let memory = WorkerMemory::of(config, 0);
            let packet_memory = sluice_io::Memory::default();
            let report =
                WorkerReport { place, bound: Ok(()), alive: true, queues: Vec::new(), packet_memory, memory };
            let stats = Arc::default();
            self.workers.push(Handle { inbox, stats, alive, thread: Some(thread), report });
            let ready: Ready = is_ready.recv().map_err(|_| EngineError::WorkerLost(worker))??;
            self.note_ready(worker, ready, placement);
            if let Some(handle) = self.workers.get_mut(worker) {
                handle.report.memory = WorkerMemory::of(config, handle.report.queues.len());
            }
        }
        Ok(())
    }

    fn note_ready(&mut self, worker: usize, ready: Ready, placement: &Placement) {
        for (name, reason) in ready.degraded {
            if let Some(nic) = self.nics.iter_mut().find(|nic| nic.name == name) {
                nic.degraded.push(reason.clone());
            }
            self.shared.events.send(Event::DatapathDegraded { interface: name, reason });
        }
        for queue in &ready.queues {
            if let Some(nic) = self.nics.iter_mut().find(|nic| nic.name == queue.interface) {
                nic.multi_buffer = queue.multi_buffer && (nic.multi_buffer || nic.queues == 0);
                nic.socket_mode = nic.socket_mode.max(Some(queue.mode));
                nic.queues += 1;
            }
        }
        let Some(handle) = self.workers.get_mut(worker) else { return };
        handle.stats = ready.stats;
        handle.report.queues = ready.queues;
        handle.report.packet_memory = ready.memory;
        handle.report.bound = match &placement.failed {
            Some(error) => Err(error.to_string()),
            None => ready.bound,
        };
    }

    fn start_watch(&mut self, requests: Receiver<crate::pipeline::Resolve>) -> Result<(), EngineError> {
        let (stop, stopped) = crossbeam::channel::bounded(1);
        let (inboxes, interfaces) = (Arc::clone(&self.shared.inboxes), Arc::clone(&self.interfaces));
        let events = self.shared.events.clone();
        let lookup = Netlink::open(&interfaces)?;
        let mut watch = Watch::new(requests, stopped, lookup, inboxes, interfaces, events);
        let thread = std::thread::Builder::new().name("sluice-watch".into()).spawn(move || watch.run())?;
        self.watch = Some((stop, thread));
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Handle {
    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    /// Answers what a worker that has ended left behind.
    fn refuse_commands(&self) {
        while self.inbox.commands.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mode, WorkerCount};

    #[test]
    fn who_is_alive_is_known_without_events() {
        let workers = WorkerCount::Exactly(2);
        let config = EngineConfig { workers, datapath: Mode::IoUring, pin: false, ..EngineConfig::default() };
        let config = EngineConfig { small_chunks: 64, large_chunks: 64, ..config };
        let (engine, events) = Engine::start(config).unwrap();
        drop(events);
        engine.workers[1].alive.store(false, Ordering::SeqCst);
        assert_eq!([0, 1, 2].map(|worker| engine.is_alive(worker)), [true, false, false]);
    }
}
