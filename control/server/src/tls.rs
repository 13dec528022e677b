//! The TCP listener: mutual TLS, with certificates that are read again when their files change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::Router;
use tower::layer::util::{Identity as NoLayer, Stack};

use crate::access::Guard;
use crate::config::Tcp;
use crate::handshakes::{self, Handshakes};
use crate::{StartError, Transport, incoming};

/// How late a change of the files may be noticed.
const TICK: Duration = Duration::from_secs(5);

/// Services behind a guard.
pub(crate) type Guarded = Router<Stack<Guard, NoLayer>>;

/// A listener that has yet to serve.
pub(crate) struct Listener {
    config: Tcp,
    socket: std::net::TcpListener,
    transport: Transport,
    current: Generation,
}

/// Handshakes with the certificates as they were once, and what tells them from others.
struct Generation {
    tls: TlsAcceptor,
    files: [u8; 32],
}

impl Listener {
    /// Reads the certificates and binds the socket.
    pub(crate) async fn bind(config: &Tcp, transport: &Transport) -> Result<Self, StartError> {
        let current = generation(config)?;
        let failed = |source| StartError::Tcp { address: config.address, source };
        let socket =
            TcpListener::bind(config.address).await.and_then(TcpListener::into_std).map_err(failed)?;
        Ok(Self { config: config.clone(), socket, transport: transport.clone(), current })
    }

    /// Serves until told to stop. Once certificates have changed, new connections get the new ones, and those that there
    /// are end as soon as their calls have.
    pub(crate) async fn serve(
        self,
        router: impl Fn(Transport) -> Guarded,
        requests_per_second: Option<u32>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Self { config, socket, transport, mut current } = self;
        let permits = Arc::new(Semaphore::new(crate::MAX_CONNECTIONS));
        let mut generations = JoinSet::new();
        loop {
            let listener = TcpListener::from_std(socket.try_clone()?)?;
            let incoming = TcpListenerStream::new(listener);
            let incoming = incoming::limited(incoming, Arc::clone(&permits), requests_per_second);
            let incoming = Handshakes::new(incoming, current.tls);
            // Dropped when the next one takes its place.
            let (serving, mut replaced) = watch::channel(());
            let until = async move { while replaced.changed().await.is_ok() {} };
            generations.spawn(router(transport.clone()).serve_with_incoming_shutdown(incoming, until));
            let changed = changed(&config, current.files);
            tokio::pin!(changed);
            current = loop {
                tokio::select! {
                    next = &mut changed => break next,
                    Some(ended) = generations.join_next() => ended??,
                    () = told(&mut stopped) => {
                        drop(serving);
                        while generations.join_next().await.is_some() {}
                        return Ok(());
                    }
                }
            };
            drop(serving);
            tracing::info!("the certificates of [api.tcp] have changed, and are in use");
        }
    }
}

async fn told(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: stop as well.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Waits for certificates that are others and can be used. Files that are being written may not yet fit each other.
async fn changed(config: &Tcp, files: [u8; 32]) -> Generation {
    let mut seen = String::new();
    loop {
        tokio::time::sleep(TICK).await;
        match generation(config) {
            Ok(next) if next.files != files => return next,
            Ok(_) => seen.clear(),
            Err(error) => {
                let problem = error.to_string();
                if problem != seen {
                    tracing::warn!(problem, "the certificates of before stay in use");
                }
                seen = problem;
            }
        }
    }
}

fn generation(config: &Tcp) -> Result<Generation, StartError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| StartError::Certificate { path: path.to_owned(), source })
    };
    let [certificate, key, authority] =
        [read(&config.certificate.0)?, read(&config.key.0)?, read(&config.client_ca.0)?];
    let mut files = Sha256::new();
    for file in [&certificate, &key, &authority] {
        files.update((file.len() as u64).to_be_bytes());
        files.update(file);
    }
    let tls = handshakes::acceptor(&certificate, &key, &authority).map_err(StartError::Tls)?;
    Ok(Generation { tls, files: files.finalize().into() })
}
