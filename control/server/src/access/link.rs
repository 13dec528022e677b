//! What is known of a connection to the API.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::unix::UCred;
use tonic::transport::server::{TcpConnectInfo, UdsConnectInfo};

use super::Caller;
use super::bucket::Bucket;

/// State of one connection, shared by its requests.
#[derive(Debug)]
pub(crate) struct Connection {
    bucket: Option<Mutex<Bucket>>,
    caller: OnceLock<Result<Caller, String>>,
    refused: AtomicBool,
}

impl Connection {
    /// A new connection, which may make so many requests a second; `None`: any number.
    pub(crate) fn new(requests_per_second: Option<u32>) -> Self {
        let bucket = requests_per_second.map(|rate| Mutex::new(Bucket::new(rate, Instant::now())));
        Self { bucket, caller: OnceLock::new(), refused: AtomicBool::new(false) }
    }

    /// Whoever is at the other end, found out by the first request.
    pub(super) fn caller(
        &self,
        find_out: impl FnOnce() -> Result<Caller, String>,
    ) -> &Result<Caller, String> {
        self.caller.get_or_init(find_out)
    }

    /// Counts a request, or says how long it is too early.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }

    /// Whether this is the connection's first refusal: nobody shall fill the logs with more.
    pub(super) fn first_refusal(&self) -> bool {
        !self.refused.swap(true, Ordering::Relaxed)
    }
}

/// What the gRPC server hands on with each request of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Link<I> {
    pub(crate) peer: I,
    pub(crate) connection: std::sync::Arc<Connection>,
}

impl Link<TcpConnectInfo> {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.peer.remote_addr
    }
}

impl Link<UdsConnectInfo> {
    pub(super) fn credentials(&self) -> Option<UCred> {
        self.peer.peer_cred
    }
}
