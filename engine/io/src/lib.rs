//! Frames in and out of a worker: AF_XDP rings, io_uring on kernel UDP sockets, rings shared with local applications,
//! and memory.
//!
//! One [`Pool`] per worker owns all packet memory. Its small chunks are the UMEM that every AF_XDP
//! socket of the worker shares; its large chunks are what io_uring receives into. A [`Frame`] is the
//! sole owner of one chunk and moves by value through the stages:
//!
//! ```text
//! PacketIo::receive → FrameBatch → (datapath pipeline) → FrameBatch → PacketIo::transmit → Pool
//! ```
//!
//! This is the engine's only room with system calls and mapped memory.

pub mod af_xdp;
mod batch;
pub mod clock;
mod frame;
pub mod live;
mod mapping;
pub mod memory;
pub mod netlink;
mod packet_io;
mod poll;
pub mod probe;
pub mod queue;
mod ring;
mod trouble;
pub mod uring;
mod waker;
mod wakes;
pub mod xdp;

pub use batch::{BATCH, FrameBatch};
pub use frame::{Frame, HEADROOM, LARGE, Pool, PoolConfig, PoolError, SMALL};
pub use mapping::Memory;
pub use packet_io::{Component, Ingress, IoCounters, NextHop, PacketIo, Path, SocketToken, TxMeta};
pub use ring::{Ring, RingRefused, RingSnapshot, RingStats, application_address, ring_address};
pub use sluice_ring as shared;
pub use trouble::{Trouble, TroubleKind, Unreachable};
pub use waker::Waker;
