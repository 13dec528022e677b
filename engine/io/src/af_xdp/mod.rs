//! AF_XDP sockets: the kernel's rings over a worker's own packet memory.
//!
//! ```text
//!            fill ──▶ ┌────────┐ ──▶ receive          one UMEM per worker and interface, all over the pool's
//!  Pool chunks        │ kernel │                      small chunks, shared by the sockets of the interface's
//!        completion ◀─└────────┘ ◀── transmit         queues, each with four rings of its own
//! ```
//!
//! A packet larger than a small chunk (an MTU above 3.5 KiB) comes in several and is put together in a large one; it
//! goes in several as well.

mod bind;
mod gather;
pub mod headers;
mod pressure;
mod ring;
mod socket;

pub use bind::XskMode;
pub(crate) use socket::Umem;
pub use socket::{XskError, XskSocket};
