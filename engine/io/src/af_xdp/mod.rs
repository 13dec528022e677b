//! AF_XDP sockets: the kernel's rings over a worker's own packet memory.
//!
//! ```text
//!            fill ──▶ ┌────────┐ ──▶ receive          one UMEM per worker (the pool's small chunks),
//!  Pool chunks        │ kernel │                      shared by one socket per (interface, queue),
//!        completion ◀─└────────┘ ◀── transmit         each with four rings of its own
//! ```

pub mod headers;
mod pressure;
mod ring;
mod socket;

pub(crate) use socket::Umem;
pub use socket::{XskError, XskSocket};
