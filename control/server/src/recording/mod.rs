//! Taps: copies of what legs receive, for recorders (RFC 5479 R-RECORDING).
//!
//! ```text
//! tapped leg ─ route ─▶ a leg of the tap's ─▶ ring ─▶ thread ─▶ pcapng file       the thread: drain, the file: capture
//!           └─ route ─▶ a leg of the tap's ─▶ SRTP under the recorder's key
//! ```
//!
//! To the engine a tap is more legs and routes: what the others send goes on as it was. Those legs are in no list but
//! that of taps, and go and move with their session (`gateway::taps`).

mod capture;
mod drain;
mod headers;
mod plan;
mod service;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_proto::v1;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub(crate) use self::capture::{Bounds, Capture, Written, file_name};
pub(crate) use self::drain::{Addresses, Order, SharedAddresses, Source, Thread, lock};
pub(crate) use self::plan::{Destination, Key, MAX_LEGS, Plan, comment};
pub(crate) use self::service::{Service, audit_end};
use crate::ApiError;
use crate::gateway::{Directory, Gateway, GoneTap};

/// How long the files of all taps may take to be closed.
const FAREWELL: Duration = Duration::from_secs(3);

/// Names a tap among all that there ever were.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TapName {
    pub(crate) session: String,
    pub(crate) tap: String,
    /// A tap of the same ids may be another one by now.
    pub(crate) number: u64,
}

/// Why a tap ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) end: v1::TapEnd,
    pub(crate) detail: String,
}

impl Ended {
    pub(crate) fn by(end: v1::TapEnd) -> Self {
        Self { end, detail: String::new() }
    }

    /// As events and the audit log name it.
    pub(crate) const fn reason(&self) -> &'static str {
        match self.end {
            v1::TapEnd::Unspecified => "",
            v1::TapEnd::Stopped => "stopped",
            v1::TapEnd::Session => "session",
            v1::TapEnd::Legs => "legs",
            v1::TapEnd::Limit => "limit",
            v1::TapEnd::Storage => "storage",
            v1::TapEnd::Worker => "worker",
        }
    }
}

/// What happened that taps have to do with.
pub(crate) enum Notice {
    /// Legs of a session with taps came, went or moved.
    Legs(String),
    /// The engine lost the legs of a session with taps.
    Lost(String),
    /// A worker died, and with it the legs of its sessions.
    Died {
        /// Which.
        worker: usize,
        /// Why.
        reason: String,
    },
    /// A session was deleted with its taps.
    Gone(Vec<GoneTap>),
    /// A tap has to end.
    Ended { name: TapName, ended: Ended },
}

/// What all taps have in common.
pub(crate) struct Recording {
    /// Held by whoever starts, ends or changes taps: one at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Taps that run.
    running: AtomicUsize,
    last_number: AtomicU64,
    /// Started with the first tap that needs it.
    thread: Mutex<Option<Arc<Thread>>>,
    notices: UnboundedSender<Notice>,
    received: Mutex<Option<UnboundedReceiver<Notice>>>,
}

impl Recording {
    pub(crate) fn new() -> Self {
        let (notices, received) = unbounded_channel();
        Self {
            turn: tokio::sync::Mutex::default(),
            running: AtomicUsize::new(0),
            last_number: AtomicU64::new(0),
            thread: Mutex::default(),
            notices,
            received: Mutex::new(Some(received)),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Taps that run.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    pub(crate) fn began(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// Has what happened attended to, a little later.
    pub(crate) fn notice(&self, notice: Notice) {
        // Nobody attends once the daemon stops.
        let _ = self.notices.send(notice);
    }

    pub(crate) fn notices(&self) -> UnboundedSender<Notice> {
        self.notices.clone()
    }

    pub(crate) fn thread(&self, directory: &Arc<Directory>) -> Result<Arc<Thread>, ApiError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            return Ok(Arc::clone(thread));
        }
        let started = Thread::start(Arc::clone(directory), self.notices()).map_err(|error| {
            let message = format!("the thread that writes recordings cannot be started: {error}");
            ApiError::exhausted("NO_THREAD", message, "look at the limits of threads and open files")
        })?;
        Ok(Arc::clone(thread.insert(Arc::new(started))))
    }
}

/// Ends all taps, as the daemon stops: their files are whole, and the audit log says so. One that cannot be written now
/// is left behind.
pub(crate) async fn end(gateway: &Gateway) {
    let ended = Ended { end: v1::TapEnd::Session, detail: "the daemon stops".to_owned() };
    if tokio::time::timeout(FAREWELL, gateway.end_taps("", &ended)).await.is_err() {
        tracing::warn!("not all recordings could be ended in time");
    }
}

/// Attends to what happens, until the daemon stops.
pub(crate) async fn attend(gateway: Arc<Gateway>) {
    let received = gateway.recording.received.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut received) = received else { return };
    while let Some(notice) = received.recv().await {
        match notice {
            Notice::Legs(session) => gateway.follow_legs(&session).await,
            Notice::Lost(session) => gateway.end_taps(&session, &Ended::by(v1::TapEnd::Worker)).await,
            Notice::Died { worker, reason } => gateway.end_taps_of_worker(worker, &reason).await,
            Notice::Gone(taps) => gateway.bury_taps(taps).await,
            Notice::Ended { name, ended } => gateway.end_tap(&name, ended).await,
        }
    }
}
