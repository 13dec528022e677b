//! The XDP program on an interface: loading, attaching, its maps, and taking over after a crash.
//!
//! ```text
//! Xdp::load ──attach──▶ Attached ──detach or drop──▶ nothing left
//!     │                    │  kill -9
//!     │                    ▼
//!     │        program stays attached through its pin, passes everything
//!     └──attach──▶ the pinned link is switched to the new program, atomically
//! ```
//!
//! Each load makes new maps, so that no leg of a former daemon is ever seen again. A program whose
//! daemon died has no AF_XDP sockets and hands every frame to the kernel.

mod attach;
mod error;
mod mapping;
mod maps;
mod object;
mod pin;
mod query;
mod relief;
pub mod traffic;

pub use attach::{Attached, Mode, Options};
pub use error::XdpError;
pub use maps::{Counters, Maps};
pub use object::{OBJECT, Xdp};
pub use query::{AttachedMode, Query, Seen};
pub use relief::Relief;
