//! What the engine found at start and what it made of it, for logs, `doctor` and the API.

use sluice_io::af_xdp::XskMode;
use sluice_io::{Memory, Path};

use crate::memory::WorkerMemory;
use crate::placement::Place;

/// How the engine runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineReport {
    /// The SRTP kernel in use.
    pub kernel: &'static str,
    /// The best way in of any interface: [`Path::IoUring`] where XDP is not in use.
    pub path: Path,
    /// Each interface of the configuration.
    pub interfaces: Vec<InterfaceReport>,
    /// Each worker.
    pub workers: Vec<WorkerReport>,
    /// Memory of all workers together, in bytes: what they have in common included.
    pub memory: u64,
}

/// How an interface is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// How media comes in.
    pub path: Path,
    /// Receive queues that have an AF_XDP socket.
    pub queues: u32,
    /// The way of frames of its AF_XDP sockets, of several the slowest; `None` without any.
    pub socket_mode: Option<XskMode>,
    /// Whether all of its AF_XDP sockets take packets larger than a chunk, in several.
    pub multi_buffer: bool,
    /// Whether the program of a crashed daemon was replaced.
    pub took_over: bool,
    /// Whether the program is attached now.
    pub attached: bool,
    /// What could not be had and why, best first.
    pub degraded: Vec<String>,
}

/// Where a worker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    /// The CPU that was chosen for it; `None`: left to the scheduler.
    pub place: Option<Place>,
    /// Whether it is bound to that CPU; if not, why.
    pub bound: Result<(), String>,
    /// Whether it is running.
    pub alive: bool,
    /// Its AF_XDP sockets.
    pub queues: Vec<QueueReport>,
    /// Where its packet memory, which is the UMEM, lies.
    pub packet_memory: Memory,
    /// Memory that it has set aside.
    pub memory: WorkerMemory,
}

/// How a worker serves a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReport {
    /// The interface.
    pub interface: String,
    /// The queue.
    pub queue: u32,
    /// The way of frames between driver and UMEM.
    pub mode: XskMode,
    /// Whether packets larger than a chunk come and go, in several.
    pub multi_buffer: bool,
}
