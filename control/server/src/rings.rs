//! Where local applications ask for the rings of their legs.
//!
//! A connection asks once. From the answer on it is the ring's: when it ends, the application is gone, and when the
//! gateway gives the ring up, it ends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use sluice_datapath::shared;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::gateway::Gateway;

/// How long an application may take to say what it wants: until then it is nobody, and holds a descriptor.
const PATIENCE: Duration = Duration::from_secs(5);
/// Applications at a time, each with three descriptors.
const MAX_APPLICATIONS: usize = 4096;
/// Pause after a failure to accept. Most are for want of descriptors, and would repeat at once.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket at which applications ask. Like its connections it keeps messages apart (SOCK_SEQPACKET), which tokio
/// has no type for: what is read and written is so by the functions of `shared`.
pub(crate) struct Listener(UnixListener);

impl Listener {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self(UnixListener::from_std(socket.into())?))
    }

    /// Serves until it is dropped.
    pub(crate) async fn serve(self, gateway: Arc<Gateway>) {
        let mut applications = JoinSet::new();
        loop {
            while applications.try_join_next().is_some() {}
            match self.0.accept().await {
                Ok((connection, _)) if applications.len() >= MAX_APPLICATIONS => {
                    shared::refuse(&connection, "there are as many applications as there may be");
                }
                Ok((connection, _)) => {
                    applications.spawn(attend(connection, Arc::clone(&gateway)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of a local application");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// A connection's life.
async fn attend(connection: UnixStream, gateway: Arc<Gateway>) {
    let asked = connection.async_io(Interest::READABLE, || shared::receive_request(&connection));
    let request = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => return shared::refuse(&connection, &error.to_string()),
        Err(_) => return shared::refuse(&connection, "no request came"),
    };
    let taken = match connection.as_fd().try_clone_to_owned() {
        Ok(other) => gateway.take_ring(&request, other).await,
        Err(error) => return shared::refuse(&connection, &error.to_string()),
    };
    match taken {
        Ok((taken, offer)) => {
            tracing::info!(session = request.session, leg = request.leg, "an application has the leg's ring");
            let sent = shared::send_offer(&connection, &offer);
            drop(offer);
            if sent.is_ok() {
                ended(&connection).await;
            }
            gateway.leave_ring(&taken).await;
            tracing::info!(session = request.session, leg = request.leg, "the leg's ring is free");
        }
        Err(error) => shared::refuse(&connection, tonic::Status::from(error).message()),
    }
}

/// Waits until the application or the engine has ended the connection. An application that says more than it was asked
/// is cut off.
async fn ended(connection: &UnixStream) {
    let more = connection
        .async_io(Interest::READABLE, || Ok(recv(connection, &mut [0; 1][..], RecvFlags::DONTWAIT)?.1));
    if let Ok(1..) = more.await {
        // It may be gone by now.
        let _ = shutdown(connection, Shutdown::Both);
    }
}
