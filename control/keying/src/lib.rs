//! Keying that signalling carries, as machines without sockets, clocks or threads: text and messages in, text, keys and
//! verdicts out.
//!
//! - [`negotiation`]: offers and answers between two peers.
//! - [`policy`]: what may be negotiated, and which rule refused it.
//! - [`robustness`]: which attacker a leg's keying resists (RFC 5479 section 3).
#![forbid(unsafe_code)]

pub mod negotiation;
pub mod policy;
pub mod robustness;
