//! Where local applications ask for the rings of their legs.
//!
//! A connection asks once. From the answer on it is the ring's: when it ends, the application is gone, and when the
//! gateway gives the ring up, it ends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use sluice_datapath::shared::{self, Request};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::access::{Caller, Roles};
use crate::audit::Action;
use crate::descriptors::is_reserved;
use crate::gateway::{Gateway, Taken};

/// How long an application may take to say what it wants: until then it is nobody, and holds a descriptor.
const PATIENCE: Duration = Duration::from_secs(5);
/// Applications at a time, each with three descriptors.
const MAX_APPLICATIONS: usize = 4096;
/// Connections at a time that have yet to show a token and to take what they get for it: whoever may connect must not
/// keep out those who have one by doing no more than that.
const MAX_STRANGERS: usize = 64;
/// Pause after a failure to accept. Most are for want of descriptors, and would repeat at once.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the thread may take to end what it does.
const FAREWELL: Duration = Duration::from_millis(500);

/// The thread that serves applications. It is apart from the API's: on kernels before 6.16 an application can send
/// descriptors that take long to close, and then it waits for itself and its like alone.
pub(crate) struct Thread {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Thread {
    pub(crate) fn start(socket: OwnedFd, gateway: Arc<Gateway>) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (ready, outcome) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("sluice-rings".into()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async {
                let listener = match Listener::new(socket) {
                    Ok(listener) => listener,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                // Whoever started the thread waits for this.
                let _ = ready.send(Ok(()));
                tokio::select! {
                    () = listener.serve(gateway) => {}
                    // Told to, or whoever would tell is gone.
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(FAREWELL);
            let _ = end.send(());
        })?;
        outcome.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended at once")))?;
        Ok(Self { stop, ended })
    }

    /// Ends the thread; one that hangs is left to itself.
    pub(crate) async fn stop(self) {
        // It may have ended.
        let _ = self.stop.send(());
        if tokio::time::timeout(2 * FAREWELL, self.ended).await.is_err() {
            tracing::warn!("the thread for local applications hangs, and is left behind");
        }
    }
}

/// The socket at which applications ask. Like its connections it keeps messages apart (SOCK_SEQPACKET), which tokio
/// has no type for: what is read and written is so by the functions of `shared`.
struct Listener(UnixListener);

impl Listener {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self(UnixListener::from_std(socket.into())?))
    }

    /// Serves until it is dropped.
    async fn serve(self, gateway: Arc<Gateway>) {
        let mut applications = JoinSet::new();
        let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
        loop {
            let accepted = self.0.accept().await;
            while applications.try_join_next().is_some() {}
            match accepted {
                Ok((connection, _)) if applications.len() >= MAX_APPLICATIONS => {
                    shared::refuse(&connection, "there are as many applications as there may be");
                }
                Ok((connection, _)) if is_reserved(&connection) => {
                    shared::refuse(&connection, "the gateway may open no more files");
                }
                Ok((connection, _)) => match Arc::clone(&strangers).try_acquire_owned() {
                    Ok(stranger) => {
                        applications.spawn(attend(connection, Arc::clone(&gateway), stranger));
                    }
                    Err(_) => shared::refuse(&connection, "too many connections have yet to show a token"),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of a local application");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// A connection's life.
async fn attend(connection: UnixStream, gateway: Arc<Gateway>, stranger: OwnedSemaphorePermit) {
    let request = match request(&connection).await {
        Ok(request) => request,
        Err(reason) => return shared::refuse(&connection, &reason),
    };
    let taken = match take(&connection, &gateway, &request).await {
        Ok(taken) => taken,
        Err(reason) => return shared::refuse(&connection, &reason),
    };
    drop(stranger);
    tracing::info!(session = request.session, leg = request.leg, "an application has the leg's ring");
    shared::confirm(&connection);
    ended(&connection).await;
    if gateway.leave_ring(&taken).await {
        tracing::info!(session = request.session, leg = request.leg, "the leg's ring is free");
    }
}

/// What the application asks for.
async fn request(connection: &UnixStream) -> Result<Request, String> {
    // As the listener has it: a connection that does not is no reason to refuse it.
    let _ = shared::refuse_descriptors(connection);
    let asked = connection.async_io(Interest::READABLE, || shared::receive_request(connection));
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(request)) => Ok(request),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no request came".to_owned()),
    }
}

/// Gives it that, if it may have it. What it is handed is put to use only once it can do no harm by it any more.
async fn take(connection: &UnixStream, gateway: &Gateway, request: &Request) -> Result<Taken, String> {
    let refused = |error| tonic::Status::from(error).message().to_owned();
    let failed = |error: io::Error| error.to_string();
    let other = connection.as_fd().try_clone_to_owned().map_err(failed)?;
    let (made, offer) = gateway.make_ring(request, other).await.map_err(refused)?;
    shared::send_offer(connection, &offer).map_err(failed)?;
    let mapped = connection.async_io(Interest::READABLE, || shared::receive_mapped(connection));
    match tokio::time::timeout(PATIENCE, mapped).await {
        Ok(mapped) => mapped.map_err(failed)?,
        Err(_) => return Err("the memory was not mapped in time".to_owned()),
    }
    // Takes as long as the memory is large, if the application took it out.
    let sealed = tokio::task::spawn_blocking(move || offer.seal()).await;
    sealed.map_err(io::Error::other).and_then(|sealed| sealed).map_err(failed)?;
    // From here on it hears the leg's media.
    let who = Caller::process(connection.peer_cred().ok(), Roles::NONE);
    let action = Action::new("rings.socket").session(&request.session).leg(&request.leg);
    gateway.audit.record(&who, action.begun()).map_err(refused)?;
    gateway.attach_ring(request, made).await.map_err(refused)
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
