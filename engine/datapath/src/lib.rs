//! Pinned workers that own streams: the packet pipeline.
//!
//! ```text
//! Engine::start ─▶ worker 0 … n, one thread and one pool each      events ─▶ EventReceiver
//!    │ command       loop: commands → receive → pipeline → transmit → housekeeping → wait
//!    ▼
//! queue of a worker
//!
//! rx batch ─▶ ingress ─▶ unprotect ─▶ forward ─▶ egress ─▶ tx batch
//!             find leg    find stream  routes     protect
//!             classify    (late        copies     batch
//!                         binding)
//! ```
//!
//! A worker shares nothing with another but queues and counters: no lock and no allocation on the way of
//! a packet. What a worker drops has a [`DropReason`].
#![forbid(unsafe_code)]

mod command;
mod config;
mod counters;
mod crossing;
mod drop_reason;
mod early;
mod engine;
mod event;
mod expected;
mod guard;
mod handoff;
mod inbox;
mod latency;
mod launch;
mod leg;
mod leg_setup;
mod memory;
mod overload;
mod pipeline;
pub mod placement;
mod port;
mod probation;
mod rate;
mod report;
mod route;
mod setup;
mod steering;
mod stream;
mod sync;
mod table;
mod ticket;
mod watch;
mod worker;

pub use command::{Command, CommandError, Direction, LegId, QueueFull, RouteId, StreamPosition};
pub use config::{EngineConfig, InterfaceConfig, Limits, Mode, Tuning, WorkerCount};
pub use counters::{Drops, EarlyCount, LegSnapshot, LegStats, Volume, WorkerSnapshot, WorkerStats};
pub use drop_reason::DropReason;
pub use engine::{Engine, EngineError};
pub use event::{Event, EventReceiver};
pub use latency::{Histogram, Latency};
pub use leg_setup::{EarlyMedia, Latching, LegSetup, LegUpdate, PayloadTypes, Protection, Signalled};
pub use memory::{Each, Place, WorkerMemory};
pub use pipeline::{Origin, Pipeline, Shared, Steering, Transmit};
pub use port::{MAX_NUMBER, PortId, PortSetup, Sharing};
pub use report::{EngineReport, InterfaceReport, QueueReport, WorkerReport};
pub use route::{MAX_ROUTE_ENTRIES, OnSsrcClash, RouteOptions};
pub use ticket::Ticket;

pub use sluice_io::af_xdp::XskMode;
pub use sluice_io::{Component, Memory, Path, Ring, RingSnapshot, RingStats, Unreachable, shared};
pub use sluice_srtp::RocOnRekey;
