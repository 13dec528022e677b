//! The control plane: the gRPC service, sessions, configuration.
//!
//! ```text
//! sluice.v1 calls ─▶ service ─▶ gateway ─▶ commands ─▶ engine
//! watchers ◀─ broadcast ◀────── events ◀── events ◀──────┘
//! ```
#![forbid(unsafe_code)]

pub mod config;
mod error;
mod events;
mod gateway;
mod listen;
mod ports;
mod service;
mod stun;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use sluice_datapath::{Engine, EngineError};
use sluice_proto::v1::sluice_server::SluiceServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server as Transport;

pub use config::{Config, ConfigError};
pub use error::ApiError;

use crate::gateway::Gateway;
use crate::listen::SocketFile;
use crate::service::Service;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Another daemon answers on the socket.
    #[error("another sluice is running: it answers on {0}; stop it, or configure another api.socket")]
    AlreadyRunning(PathBuf),
    /// Something else is where the socket should be.
    #[error("{0} exists and is not a socket; remove it, or configure another api.socket")]
    NotASocket(PathBuf),
    /// The Unix socket cannot be made.
    #[error("cannot listen on {path}: {source}; check the folder and its permissions, or set api.socket")]
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
    /// TLS or reflection refused its input.
    #[error("cannot set up the gRPC server: {0}")]
    Setup(String),
    /// The event thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A daemon that listens, and serves once [`Server::run`] is awaited.
pub struct Server {
    gateway: Arc<Gateway>,
    unix: tokio::net::UnixListener,
    file: SocketFile,
    tcp: Option<(TcpListener, tonic::transport::ServerTlsConfig)>,
    pump: std::thread::JoinHandle<()>,
}

impl Server {
    /// Binds the sockets and starts the engine. On an error nothing is left behind.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        // The socket first: a second daemon must not touch the first one's interfaces.
        let (unix, file) = listen::unix(&config.api)?;
        let tcp = match &config.api.tcp {
            Some(tcp) => {
                let failed = |source| StartError::Tcp { address: tcp.address, source };
                Some((TcpListener::bind(tcp.address).await.map_err(failed)?, listen::tls(tcp)?))
            }
            None => None,
        };
        let (engine, events) = Engine::start(config.engine())?;
        let gateway = Arc::new(Gateway::new(engine, config));
        let pumped = Arc::clone(&gateway);
        let pump = std::thread::Builder::new()
            .name("sluice-events".into())
            .spawn(move || events::pump(&pumped, &events))
            .map_err(StartError::Thread)?;
        Ok(Self { gateway, unix, file, tcp, pump })
    }

    /// How the daemon runs.
    pub fn info(&self) -> sluice_proto::v1::Info {
        self.gateway.info().unwrap_or_default()
    }

    /// Serves until `shutdown` is ready, then stops media, detaches XDP and removes the socket.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), StartError> {
        let setup = |error: &dyn std::error::Error| StartError::Setup(error.to_string());
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<SluiceServer<Service>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(sluice_proto::v1::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| setup(&error))?;
        let service = SluiceServer::new(Service(Arc::clone(&self.gateway)));
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let until = |mut stopped: tokio::sync::watch::Receiver<bool>| async move {
            // An error means that the sender is gone: stop as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let router = |mut transport: Transport| {
            transport
                .add_service(service.clone())
                .add_service(health_service.clone())
                .add_service(reflection.clone())
        };
        let unix = router(Transport::builder())
            .serve_with_incoming_shutdown(UnixListenerStream::new(self.unix), until(stopped.clone()));
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(unix);
        if let Some((listener, tls)) = self.tcp {
            let transport = Transport::builder().tls_config(tls).map_err(|error| setup(&error))?;
            let incoming = TcpListenerStream::new(listener);
            serving.spawn(router(transport).serve_with_incoming_shutdown(incoming, until(stopped)));
        }
        tokio::select! {
            () = shutdown => {}
            Some(ended) = serving.join_next() => {
                if let Ok(Err(error)) = ended { return Err(setup(&error)); }
            }
        }
        health.set_not_serving::<SluiceServer<Service>>().await;
        stop.send_replace(true);
        // Watchers never end by themselves; give the others a moment, then cut.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(300), serving.join_next()).await;
        serving.shutdown().await;
        drop(self.file);
        end(self.gateway, self.pump).await;
        Ok(())
    }
}

/// Shuts the engine down; its end ends the event thread.
async fn end(gateway: Arc<Gateway>, pump: std::thread::JoinHandle<()>) {
    let ended = tokio::task::spawn_blocking(move || {
        gateway.shutdown();
        pump.join().is_ok()
    });
    let _ = ended.await;
}
