//! The control plane: the gRPC service, sessions, configuration.
//!
//! ```text
//! sluice.v1 calls ─▶ service ─▶ gateway ─▶ commands ─▶ engine
//! watchers ◀─ broadcast ◀────── events ◀── events ◀──────┘
//! ```
#![forbid(unsafe_code)]

mod access;
mod audit;
pub mod config;
mod cpus;
mod descriptors;
mod error;
mod events;
mod gateway;
mod handshakes;
mod health;
mod incoming;
mod listen;
mod media_path;
mod ports;
mod recording;
mod rings;
mod service;
mod signalling;
mod stun;
mod tls;

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_datapath::{Engine, EngineError};
use sluice_proto::v1::recording_server::RecordingServer;
use sluice_proto::v1::signalling_server::SignallingServer;
use sluice_proto::v1::sluice_server::SluiceServer;
use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server as TonicServer;
use tower::layer::util::{Identity, Stack};

pub use config::{Config, ConfigError};
pub use error::ApiError;

use crate::access::{Guard, Rules};
use crate::audit::Audit;
use crate::gateway::Gateway;
use crate::listen::{Lock, SocketFile};
use crate::media_path::MediaPath;
use crate::service::Service;
use crate::signalling::{Identities, Signalling};

/// How long calls may take to end when the daemon stops.
const PATIENCE: Duration = Duration::from_millis(500);
/// Connections to the API at a time, on each of its listeners.
const MAX_CONNECTIONS: usize = 256;
/// A connection that is silent for so long is asked whether it is alive, and has so long to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// The largest message that a client may send: an SDP of a megabyte, or a batch, with room to spare.
const MAX_MESSAGE: usize = 4 << 20;

/// A gRPC server whose services are guarded.
type Transport = TonicServer<Stack<Guard, Identity>>;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Another daemon has the socket.
    #[error(
        "another sluice is running: it has {0}; stop it, or configure another api.socket or rings.socket"
    )]
    AlreadyRunning(PathBuf),
    /// Something else is where the socket should be.
    #[error("{0} exists and is not a socket; remove it, or configure another api.socket or rings.socket")]
    NotASocket(PathBuf),
    /// The Unix socket cannot be made.
    #[error(
        "cannot listen on {path}: {source}; check the folder and its permissions, or set api.socket or rings.socket"
    )]
    Socket {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The TCP listener cannot be made.
    #[error("cannot listen on TCP {address}: {source}; see [api.tcp]")]
    Tcp {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A certificate or key cannot be read.
    #[error("cannot read {path}: {source}; see [api.tcp]")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The certificates or the key of the TCP listener are of no use.
    #[error(
        "the certificates of [api.tcp] cannot be used: {0}; they must be PEM, and the key the certificate's"
    )]
    Tls(String),
    /// A file of `[identity]`.
    #[error("cannot verify or sign identities: {0}; see [identity]")]
    Identity(String),
    /// Handshakes in the media path.
    #[error("cannot make DTLS handshakes: {0}; see [dtls]")]
    MediaPath(String),
    /// The audit log.
    #[error("cannot open the audit log {path}: {source}; see [audit]")]
    Audit {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The gRPC server refused its set-up, or ended by itself.
    #[error("cannot set up the gRPC server: {0}")]
    Setup(String),
    /// The event thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A daemon that listens, and serves once [`Server::run`] is awaited.
pub struct Server {
    running: Running,
    unix: tokio::net::UnixListener,
    file: SocketFile,
    rings: (OwnedFd, SocketFile),
    transport: Transport,
    tcp: Option<tls::Listener>,
    /// The last to go: a successor must not start before the engine has ended.
    lock: Lock,
}

/// A running engine. However it ends, media stops and XDP is detached: a pinned program would outlive
/// the process.
struct Running {
    gateway: Arc<Gateway>,
    signalling: Arc<Signalling>,
    pump: Option<std::thread::JoinHandle<()>>,
    negotiators: Option<media_path::Threads>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gateway.end_watches();
        self.negotiators.take();
        self.gateway.shutdown();
        if let Some(pump) = self.pump.take() {
            // It ends with the engine; had it panicked, that is in the log.
            let _ = pump.join();
        }
    }
}

impl Server {
    /// Binds the sockets and starts the engine. On an error nothing is left behind but the file that was
    /// locked.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        descriptors::raise_limit();
        // The socket first: a second daemon must not touch the first one's interfaces.
        let (unix, file, lock) = listen::unix(&config.api)?;
        let path = config.audit.file.as_ref().map(|file| file.0.as_path());
        let audit = Audit::open(path).map_err(|source| StartError::Audit {
            path: path.unwrap_or(std::path::Path::new("")).to_owned(),
            source,
        })?;
        let audit = Arc::new(audit);
        let transport = transport(&config, Arc::clone(&audit));
        let rings = listen::rings(&config)?;
        let tcp = match &config.api.tcp {
            Some(tcp) => Some(tls::Listener::bind(tcp, &transport).await?),
            None => None,
        };
        let identities = Identities::open(&config.identity).map_err(StartError::Identity)?;
        let media_path = MediaPath::open(&config).map_err(StartError::MediaPath)?;
        let (engine, events) = Engine::start(config.engine())?;
        let gateway = Arc::new(Gateway::new(engine, config, audit, media_path));
        let signalling = Arc::new(Signalling::new(Arc::clone(&gateway), identities));
        let mut running =
            Running { gateway: Arc::clone(&gateway), signalling, pump: None, negotiators: None };
        let negotiators = media_path::Threads::start(&gateway).map_err(StartError::Thread)?;
        running.negotiators = Some(negotiators);
        let pump = std::thread::Builder::new().name("sluice-events".into());
        let pump = pump.spawn(move || events::pump(&gateway, &events)).map_err(StartError::Thread)?;
        running.pump = Some(pump);
        Ok(Self { running, unix, file, rings, transport, tcp, lock })
    }

    /// How the daemon runs.
    pub fn info(&self) -> sluice_proto::v1::Info {
        self.running.gateway.info().unwrap_or_default()
    }

    /// Keeps the threads of this process off the CPUs that workers are bound to, where there are others: those that run by
    /// now but for the workers themselves, and whatever they will start. Only for a process that is the daemon and no more.
    pub fn leave_workers_their_cpus(&self) {
        let workers = self.running.gateway.worker_cpus();
        if let Some(free) = cpus::free_cpus(&workers).filter(|_| !workers.is_empty()) {
            cpus::bind_all_but_workers(&free);
        }
    }

    /// Serves until `shutdown` is ready, then stops media, detaches XDP and removes the socket.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), StartError> {
        let setup = |error: &dyn std::error::Error| StartError::Setup(error.to_string());
        let (reporter, health_service) = tonic_health::server::health_reporter();
        health::serving(&reporter).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(sluice_proto::v1::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| setup(&error))?;
        let service = SluiceServer::new(Service(Arc::clone(&self.running.gateway)));
        let service = service.max_decoding_message_size(MAX_MESSAGE);
        let signalling = Arc::clone(&self.running.signalling);
        let calls = SignallingServer::new(signalling::Service(Arc::clone(&signalling)));
        let calls = calls.max_decoding_message_size(MAX_MESSAGE);
        let recording = RecordingServer::new(recording::Service(Arc::clone(&self.running.gateway)));
        let recording = recording.max_decoding_message_size(MAX_MESSAGE);
        let gateway = Arc::clone(&self.running.gateway);
        // Ended when it is dropped.
        let mut health = tokio::task::JoinSet::new();
        health.spawn(recording::attend(Arc::clone(&gateway)));
        health.spawn(health::follow(reporter.clone(), move || gateway.all_alive()));
        // Ended when it is dropped, as well.
        let mut timers = tokio::task::JoinSet::new();
        timers.spawn(async move { signalling.keep_time().await });
        let (listener, ring_file) = self.rings;
        let rings = rings::Thread::start(listener, Arc::clone(&self.running.gateway));
        let rings = rings.map_err(StartError::Thread)?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let until = |mut stopped: tokio::sync::watch::Receiver<bool>| async move {
            // An error means that the sender is gone: stop as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let router = move |mut transport: Transport| {
            transport
                .add_service(service.clone())
                .add_service(calls.clone())
                .add_service(recording.clone())
                .add_service(health_service.clone())
                .add_service(reflection.clone())
        };
        let rate = self.running.gateway.config.limits.requests_per_second.map(|rate| rate.0 as u32);
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let incoming = incoming::limited(UnixListenerStream::new(self.unix), permits, rate);
        let incoming = incoming.map(|accepted| accepted.map(incoming::Greeted::new));
        let unix = router(self.transport).serve_with_incoming_shutdown(incoming, until(stopped.clone()));
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async { unix.await.map_err(Into::into) });
        if let Some(tcp) = self.tcp {
            serving.spawn(tcp.serve(router, rate, stopped));
        }
        tokio::select! {
            () = shutdown => {}
            Some(ended) = serving.join_next() => {
                if let Ok(Err(error)) = ended { return Err(setup(error.as_ref())); }
            }
        }
        timers.shutdown().await;
        health.shutdown().await;
        health::not_serving(&reporter).await;
        self.running.gateway.end_watches();
        stop.send_replace(true);
        // Calls that were begun may end; a client that keeps its connection open is cut off.
        let all_ended = async { while serving.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(PATIENCE, all_ended).await;
        serving.shutdown().await;
        rings.stop().await;
        recording::end(&self.running.gateway).await;
        drop((self.file, ring_file));
        let (running, lock) = (self.running, self.lock);
        let end = move || {
            // Joins threads.
            drop(running);
            drop(lock);
        };
        let _ = tokio::task::spawn_blocking(end).await;
        Ok(())
    }
}

/// A gRPC server that notices when a client is gone, and lets nobody do what they may not.
fn transport(config: &Config, audit: Arc<Audit>) -> Transport {
    let (interval, timeout) = KEEPALIVE;
    TonicServer::builder()
        .http2_keepalive_interval(Some(interval))
        .http2_keepalive_timeout(Some(timeout))
        .max_concurrent_streams(Some(config.limits.concurrent_requests.0 as u32))
        .layer(Guard(Arc::new(Rules::new(config, audit))))
}
