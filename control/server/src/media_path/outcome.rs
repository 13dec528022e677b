//! What came of handshakes and checks, for the rest of the gateway to know: in the order in which it came.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_datapath::{Command, LegId, LegUpdate, Ticket};
use sluice_proto::v1::event::Kind;
use tokio::sync::mpsc;

use crate::ApiError;
use crate::events;
use crate::gateway::{Gateway, Given};

/// What came of something.
pub(super) enum Outcome {
    /// Keys are on their way to the worker.
    Keys { given: Box<Result<Given, ApiError>>, leg: LegId, finished: Instant },
    /// The worker was told of another address of the peer, or to be silent.
    Updated { leg: LegId, ticket: Ticket, moved: Option<SocketAddr> },
    /// It is yet to be told, since it had too much to do.
    Late { leg: LegId, update: LegUpdate, moved: Option<SocketAddr> },
    /// Watchers are to hear of it.
    Tell(LegId, Kind),
    /// A leg's first media came so long after the last flight of its handshake.
    FirstMedia(Duration),
}

/// What is known once a worker has answered.
enum Known {
    Keys { given: Box<Given>, took: Duration },
    Tell(LegId, Kind),
}

/// Waits for the workers' answers, so that it is measured how long they take, and hands on what is then known. Ends with
/// the threads.
pub(super) async fn follow(gateway: Arc<Gateway>, mut outcomes: mpsc::UnboundedReceiver<Outcome>) {
    let (known, to_note) = mpsc::unbounded_channel();
    let noting = tokio::spawn(note(Arc::clone(&gateway), to_note));
    while let Some(outcome) = outcomes.recv().await {
        match outcome {
            Outcome::Keys { given, leg, finished } => match *given {
                Ok(mut given) => {
                    given.applied(&gateway).await;
                    let took = finished.elapsed();
                    if given.is_whole() {
                        gateway.media_path.counters.applied.record(nanoseconds(took));
                    }
                    let _ = known.send(Known::Keys { given: Box::new(given), took });
                }
                Err(error) => not_done(leg, "cannot install the keys of a handshake", &error),
            },
            Outcome::Updated { leg, ticket, moved } => match ticket.await {
                Ok(()) => arrived(&gateway, leg, moved),
                Err(error) => not_done(leg, "cannot tell the worker where a peer is", &error.into()),
            },
            Outcome::Late { leg, update, moved } => {
                let Some(worker) = gateway.directory.worker(leg) else { continue };
                match gateway.patiently(worker, Command::UpdateLeg(update)).await {
                    Ok(()) => arrived(&gateway, leg, moved),
                    Err(error) => not_done(leg, "cannot tell the worker where a peer is", &error),
                }
            }
            Outcome::Tell(leg, kind) => drop(known.send(Known::Tell(leg, kind))),
            Outcome::FirstMedia(after) => gateway.media_path.counters.first_media.record(nanoseconds(after)),
        }
    }
    drop(known);
    let _ = noting.await;
}

/// Has the gateway's state know of it, which may have to wait for requests that are being worked on.
async fn note(gateway: Arc<Gateway>, mut known: mpsc::UnboundedReceiver<Known>) {
    while let Some(known) = known.recv().await {
        match known {
            Known::Keys { given, took } => gateway.note_negotiated(*given, took).await,
            Known::Tell(leg, kind) => events::publish(&gateway, Some(leg), kind),
        }
    }
}

fn arrived(gateway: &Gateway, leg: LegId, moved: Option<SocketAddr>) {
    if let Some(remote) = moved {
        gateway.directory.found(leg, remote);
    }
}

fn not_done(leg: LegId, what: &str, error: &ApiError) {
    tracing::warn!(leg, error.message, "{what}");
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
