//! Keying that signalling carries, as machines without sockets, clocks or threads: text and messages in, text, keys and
//! verdicts out.
//!
//! - [`identity`]: signatures that bind media keys to who calls (RFC 8224, 8225).
//! - [`sdp`]: session descriptions, line by line (RFC 8866).
//! - [`sdes`]: keys in crypto lines (RFC 4568).
//! - [`keymgmt`]: key management messages in a description (RFC 4567).
//! - [`negotiation`]: offers and answers between two peers.
//! - [`policy`]: what may be negotiated, and which rule refused it.
//! - [`robustness`]: which attacker a leg's keying resists (RFC 5479 section 3).
#![forbid(unsafe_code)]

pub mod identity;
pub mod keymgmt;
pub mod negotiation;
pub mod policy;
pub mod robustness;
pub mod sdes;
pub mod sdp;
