//! What the engine is told at start.

use std::time::Duration;

/// The engine's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// The interfaces on which media arrives; none: kernel sockets through io_uring only.
    pub interfaces: Vec<InterfaceConfig>,
    /// How many workers.
    pub workers: WorkerCount,
    /// Which ways of packets to use.
    pub datapath: Mode,
    /// Chunks of 4 KiB of each worker's pool: AF_XDP frames and most packets.
    pub small_chunks: u32,
    /// Chunks of 16 KiB of each worker's pool: io_uring receive buffers and jumbo frames.
    pub large_chunks: u32,
    /// Whether to bind each worker to a CPU.
    pub pin: bool,
    /// Bounds of each worker's tables and queues.
    pub limits: Limits,
    /// Timers and thresholds.
    pub tuning: Tuning,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            workers: WorkerCount::Auto,
            datapath: Mode::Auto,
            small_chunks: 4096,
            large_chunks: 512,
            pin: true,
            limits: Limits::default(),
            tuning: Tuning::default(),
        }
    }
}

/// An interface on which media arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// Its name.
    pub name: String,
    /// How many of its receive queues get an AF_XDP socket, from queue 0; `None`: all.
    pub queues: Option<u32>,
}

impl InterfaceConfig {
    /// An interface with all of its queues.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), queues: None }
    }
}

/// How many workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerCount {
    /// One per core that the process may use.
    #[default]
    Auto,
    /// This many.
    Exactly(usize),
}

/// Which ways of packets to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// AF_XDP behind the driver's XDP, else behind generic XDP, else io_uring alone. What was left out
    /// is reported.
    #[default]
    Auto,
    /// AF_XDP behind the driver's XDP, or an error.
    XdpNative,
    /// AF_XDP behind generic XDP, or an error.
    XdpGeneric,
    /// io_uring alone.
    IoUring,
}

/// Bounds of one worker's tables and queues. All memory is set aside at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Legs.
    pub legs: usize,
    /// Routes.
    pub routes: usize,
    /// Streams received.
    pub streams: usize,
    /// Contexts for sending: one per stream and SRTP route.
    pub egress_contexts: usize,
    /// Keys of one direction of a leg.
    pub keys: usize,
    /// Commands waiting.
    pub commands: usize,
    /// Events waiting, of all workers together.
    pub events: usize,
    /// Datagrams waiting that other workers handed over.
    pub handoff: usize,
    /// Contexts for sending that are kept after their use, so that their indices go on if they come
    /// back; of all workers together. Beyond it, a key that comes back is refused.
    pub parked_contexts: usize,
    /// Packets that are kept until the first keys of their legs come, of all legs together
    /// ([`crate::EarlyMedia::Hold`]); never more than a quarter of the worker's small chunks, so that media on its way
    /// has the rest.
    pub early_packets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            legs: 16_384,
            routes: 65_536,
            streams: 65_536,
            egress_contexts: 131_072,
            keys: 8,
            commands: 4_096,
            events: 8_192,
            handoff: 256,
            parked_contexts: 65_536,
            early_packets: 1_024,
        }
    }
}

/// Timers and thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// A stream without packets for this long has stopped.
    pub stream_idle: Duration,
    /// A stream that has stopped and is without packets for this long is aged out, with its contexts for
    /// sending: only where it stood is remembered.
    pub stream_forget: Duration,
    /// How long a plain RTP packet waits for its successor (RFC 3550 A.1 probation).
    pub probation: Duration,
    /// Wrong tags per second and leg beyond which packets of unknown SSRCs are dropped unseen.
    pub auth_failures_per_second: u32,
    /// Negotiation datagrams per second and leg that control gets.
    pub negotiation_per_second: u32,
    /// Largest negotiation datagram that control gets.
    pub negotiation_bytes: usize,
    /// Wrong tags or replays per second and leg that make a burst.
    pub burst_threshold: u32,
    /// Share of a key's lifetime, in percent, after which it is about to expire.
    pub key_expiring_percent: u8,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            stream_idle: Duration::from_secs(30),
            stream_forget: Duration::from_hours(1),
            probation: Duration::from_secs(1),
            auth_failures_per_second: 100,
            negotiation_per_second: 200,
            negotiation_bytes: 2048,
            burst_threshold: 10,
            key_expiring_percent: 90,
        }
    }
}
