//! What the API acts on: sessions with their legs, routes and keys, and the engine that carries them.
//!
//! One lock guards the whole state, so that calls see each other whole. Key derivation, the slow part,
//! is done before it is taken; commands of a batch are all given before the first answer is awaited.

mod change;
mod derivation;
mod directory;
mod keys;
mod legs;
mod media_path;
mod negotiated;
mod options;
mod positions;
mod rings;
pub(crate) mod robustness;
mod routes;
mod sending;
mod sessions;
mod shared;
mod state;
mod statistics;
mod taps;
mod updates;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sluice_datapath::{Command, CommandError, Engine, QueueFull, Ticket};
use sluice_proto::v1;
use tokio::sync::{Mutex, broadcast};

pub(crate) use self::change::{Change, Reserved, Step};
pub(crate) use self::derivation::Installs;
pub(crate) use self::directory::{Directory, Negotiates};
pub(crate) use self::negotiated::Given;
pub(crate) use self::rings::Taken;
use self::sending::Fingerprint;
use self::sending::SendingKeys;
use self::state::State;
pub(crate) use self::taps::GoneTap;
use crate::audit::Audit;
use crate::media_path::MediaPath;
use crate::recording::Recording;
use crate::signalling::Calls;
use crate::{ApiError, Config};

/// Events that a slow watcher may lag behind before it loses some.
const EVENT_BACKLOG: usize = 4096;
const QUEUE_PATIENCE: Duration = Duration::from_secs(5);

/// The state behind the API.
pub(crate) struct Gateway {
    /// Gone once the daemon shuts down.
    engine: RwLock<Option<Engine>>,
    pub(crate) config: Config,
    pub(crate) audit: Arc<Audit>,
    /// Those of the service Signalling.
    pub(crate) calls: Calls,
    pub(crate) directory: Arc<Directory>,
    pub(crate) recording: Recording,
    pub(crate) media_path: MediaPath,
    events: broadcast::Sender<Option<v1::Event>>,
    sending: SendingKeys,
    /// Master keys that session keys were derived of.
    keys_derived: AtomicU64,
    state: Mutex<State>,
    started: Instant,
}

impl Gateway {
    /// An empty gateway over a running engine.
    pub(crate) fn new(engine: Engine, config: Config, audit: Arc<Audit>, media_path: MediaPath) -> Self {
        let state = State::new(engine.workers(), config.media.ports);
        Self {
            engine: RwLock::new(Some(engine)),
            config,
            audit,
            calls: Calls::default(),
            directory: Arc::default(),
            recording: Recording::new(),
            media_path,
            events: broadcast::channel(EVENT_BACKLOG).0,
            sending: SendingKeys::new(),
            keys_derived: AtomicU64::default(),
            state: Mutex::new(state),
            started: Instant::now(),
        }
    }

    /// Whether a worker works. The engine says so itself: its event may have been lost.
    fn is_alive(&self, worker: usize) -> bool {
        self.with_engine(|engine| engine.is_alive(worker)).unwrap_or(false)
    }

    /// Whether every worker works.
    pub(crate) fn all_alive(&self) -> bool {
        self.with_engine(|engine| (0..engine.workers()).all(|worker| engine.is_alive(worker)))
            .unwrap_or(false)
    }

    /// Gives a command to a worker, with some patience if its queue is full.
    async fn send(&self, worker: usize, command: Command) -> Result<Ticket, ApiError> {
        let patience = Instant::now() + QUEUE_PATIENCE;
        let mut command = command;
        loop {
            match self.try_send(worker, command)? {
                Ok(ticket) => return Ok(ticket),
                Err(QueueFull(back)) if Instant::now() < patience => {
                    command = *back;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(QueueFull(_)) => {
                    let remedy = "send smaller batches";
                    return Err(ApiError::exhausted("WORKER_BUSY", "the worker is too busy", remedy));
                }
            }
        }
    }

    /// Gives a command and waits for its answer.
    async fn command(&self, worker: usize, command: Command) -> Result<(), ApiError> {
        Ok(self.send(worker, command).await?.await?)
    }

    /// Like [`Self::command`] for something that shall be gone: not being there is fine.
    async fn remove(&self, worker: usize, command: Command) -> Result<(), ApiError> {
        gone(self.send(worker, command).await?.await)
    }

    /// Tells the watchers.
    pub(crate) fn publish(&self, event: v1::Event) {
        // Nobody listening is fine.
        let _ = self.events.send(Some(event));
    }

    /// Events from now on; `None` when there will be no more.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Option<v1::Event>> {
        self.events.subscribe()
    }

    /// Ends the streams of all watchers.
    pub(crate) fn end_watches(&self) {
        let _ = self.events.send(None);
    }

    /// How the daemon runs.
    pub(crate) fn info(&self) -> Result<v1::Info, ApiError> {
        let report = self.with_engine(Engine::report).ok_or_else(stopping)?;
        let interfaces = report.interfaces.into_iter().map(|interface| v1::Interface {
            name: interface.name,
            ifindex: interface.ifindex,
            path: path_name(interface.path).to_owned(),
            queues: interface.queues,
            took_over: interface.took_over,
            attached: interface.attached,
            degraded: interface.degraded,
            socket_mode: interface.socket_mode.map_or_else(String::new, |mode| mode.name().to_owned()),
            multi_buffer: interface.multi_buffer,
        });
        let workers = report.workers.into_iter().enumerate().map(|(index, worker)| v1::Worker {
            index: index as u32,
            cpu: worker.place.map(|place| place.cpu as u32),
            numa_node: worker.place.map(|place| place.node as u32),
            unbound_reason: worker.bound.err().unwrap_or_default(),
            alive: worker.alive,
            memory_bytes: worker.memory.total(),
            queues: worker
                .queues
                .into_iter()
                .map(|served| format!("{}:{}", served.interface, served.queue))
                .collect(),
            cache: worker.place.map(|place| place.cache as u32),
            isolated: worker.place.is_some_and(|place| place.isolated),
            memory_node: worker.packet_memory.node,
            memory_elsewhere: worker.packet_memory.elsewhere as u64,
            huge_pages: worker.packet_memory.huge_pages,
        });
        Ok(v1::Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            path: path_name(report.path).to_owned(),
            kernel: report.kernel.to_owned(),
            interfaces: interfaces.collect(),
            workers: workers.collect(),
            uptime_seconds: self.started.elapsed().as_secs(),
            memory_bytes: report.memory,
            dtls_fingerprints: match self.media_path.certificates.newest() {
                Ok(identity) => identity.fingerprints().iter().map(ToString::to_string).collect(),
                Err(_) => Vec::new(),
            },
        })
    }

    /// Ends the engine: media stops and XDP is detached. Blocks until the workers have ended.
    pub(crate) fn shutdown(&self) {
        let engine = self.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(engine);
    }

    /// Gives a command to a worker without waiting for anything.
    pub(crate) fn try_send(
        &self,
        worker: usize,
        command: Command,
    ) -> Result<Result<Ticket, QueueFull>, ApiError> {
        self.with_engine(|engine| engine.command(worker, command)).ok_or_else(stopping)
    }

    fn with_engine<T>(&self, look: impl FnOnce(&Engine) -> T) -> Option<T> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }
}

/// The answer to a removal: not being there is fine, and nothing is there on a worker that died.
fn gone(answer: Result<(), CommandError>) -> Result<(), ApiError> {
    use CommandError::{UnknownKey, UnknownLeg, UnknownRoute, WorkerStopped};
    match answer {
        Ok(()) | Err(UnknownLeg(_) | UnknownRoute(_) | UnknownKey { .. } | WorkerStopped) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn stopping() -> ApiError {
    ApiError::unavailable("the daemon is shutting down")
}

/// How the API names a path.
pub(crate) const fn path_name(path: sluice_datapath::Path) -> &'static str {
    use sluice_datapath::Path;
    match path {
        Path::XdpNative => "xdp-native",
        Path::XdpGeneric => "xdp-generic",
        Path::IoUring => "io_uring",
        Path::Memory => "memory",
        Path::Ring => "ring",
    }
}
