//! SRTP engines side by side: the measuring that `just bench-srtp` does.
//!
//! ```text
//! matrix ──cells──▶ run ──rounds, peers interleaved──▶ report ──▶ table, JSON, plot, record
//!                    │ packets: fresh, valid, never seen
//!                    └ engine:  Sluice or a peer, behind one trait
//! ```
//!
//! Absolute figures do not carry from one machine or hour to another; what counts are ratios within
//! one run. Therefore everything that is compared runs in one process on one pinned core, in rounds
//! in which every engine has its turn, and the best stretch of each engine counts.
#![deny(unsafe_code)]

pub mod chart;
#[cfg(feature = "signalling")]
pub mod daemon;
pub mod engine;
#[cfg(feature = "handshakes")]
pub mod handshakes;
pub mod install;
pub mod machine;
pub mod matrix;
pub mod packets;
pub mod peers;
pub mod plot;
pub mod record;
pub mod report;
pub mod run;
#[cfg(feature = "signalling")]
pub mod signalling;
pub mod sluice;
pub mod verify;
#[cfg(feature = "peers")]
pub mod wire;
