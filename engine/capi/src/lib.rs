//! libsrtp 2's C interface over Sluice's engine, so that programs linked to libsrtp2 run on it unchanged:
//!
//! ```text
//! LD_PRELOAD=libsluice_srtp2.so gst-launch-1.0 …
//! ```
//!
//! The header is `include/srtp2/srtp.h`, which cbindgen makes of this crate. What libsrtp does and this library
//! refuses, and where it is stricter, is told in `docs/capi.md`.
//!
//! As in libsrtp a session belongs to one thread at a time; different sessions are independent.
//!
//! ```text
//! ffi, presets ──▶ policy (raw to typed) ──▶ session ──▶ stream ──▶ sluice_srtp
//! ```
#![allow(non_camel_case_types, reason = "the names are those of libsrtp")]

mod events;
mod ffi;
mod policy;
mod presets;
mod session;
mod stream;
mod types;

pub use events::{srtp_install_event_handler, srtp_install_log_handler};
pub use ffi::*;
pub use presets::*;
pub use types::*;
