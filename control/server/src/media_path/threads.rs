//! The threads of handshakes and checks, and where they run.

use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::thread::sched_setaffinity;
use sluice_keying::dtls_srtp::{Cookies, OFFERED, can_be_negotiated};
use sluice_srtp::Suite;
use tokio::sync::mpsc;

use super::gate::{Bounds, Gate};
use super::keyer::Shared;
use super::negotiator::{Negotiator, Order};
use super::outcome;
use crate::Config;
use crate::cpus::free_cpus;
use crate::gateway::Gateway;

/// Threads that run until this is dropped.
pub(crate) struct Threads {
    gateway: Arc<Gateway>,
    running: Vec<JoinHandle<()>>,
    outcomes: tokio::task::JoinHandle<()>,
}

impl Threads {
    /// Starts them. Called within a runtime: what the gateway is to know of them is told by one of its tasks.
    pub(crate) fn start(gateway: &Arc<Gateway>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let outcomes = tokio::spawn(outcome::follow(Arc::clone(gateway), receiver));
        let mut threads = Self { gateway: Arc::clone(gateway), running: Vec::new(), outcomes };
        let cpus = free_cpus(&gateway.worker_cpus());
        let media_path = &gateway.media_path;
        let seats = std::mem::take(&mut *media_path.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let count = seats.len();
        for (number, seat) in seats.into_iter().enumerate() {
            let config = &gateway.config.dtls;
            let share = |all: u64| (all as usize).div_ceil(count);
            let bounds = Bounds {
                per_source: share(config.handshakes_per_source.0) as u32,
                in_total: share(config.handshakes_per_second.0) as u32,
                half_open: share(config.half_open.0),
            };
            let shared = Shared {
                gate: Gate::new(bounds, Instant::now()),
                cookies: Cookies::new(Instant::now()).map_err(io::Error::other)?,
                suites: suites(&gateway.config),
                counters: Arc::clone(&media_path.counters),
                actions: Vec::new(),
            };
            let negotiator = Negotiator {
                orders: seat.orders,
                datagrams: seat.datagrams,
                keyers: HashMap::new(),
                timers: BinaryHeap::new(),
                shared,
                counted_half_open: 0,
                gateway: Arc::clone(gateway),
                outcomes: sender.clone(),
            };
            let run = move || {
                // Where it cannot be bound it runs where the scheduler has it.
                let _ = cpus.map(|cpus| sched_setaffinity(None, &cpus));
                negotiator.run();
            };
            let name = format!("sluice-dtls-{number}");
            threads.running.push(std::thread::Builder::new().name(name).spawn(run)?);
        }
        Ok(threads)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for inbox in &self.gateway.media_path.inboxes {
            let _ = inbox.orders.send(Order::End);
        }
        for thread in self.running.drain(..) {
            // Had it panicked, that is in the log.
            let _ = thread.join();
        }
        self.outcomes.abort();
    }
}

/// Suites of legs that name none: those of the policy that a handshake can bring.
fn suites(config: &Config) -> Vec<Suite> {
    let allowed = config.policy.suites.iter().copied();
    let known: Vec<_> = allowed.filter(|suite| can_be_negotiated(*suite)).collect();
    if known.is_empty() {
        OFFERED.into_iter().filter(|suite| can_be_negotiated(*suite)).collect()
    } else {
        known
    }
}
