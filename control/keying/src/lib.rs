//! Keying that signalling carries, as machines without sockets, clocks or threads: text and messages in, text, keys and
//! verdicts out.
//!
//! - [`dtls_srtp`]: keys from a handshake in the media path (RFC 5763, 5764).
//! - [`ice`]: addresses, shown by checks (RFC 8445).
//! - [`identity`]: signatures that bind media keys to who calls (RFC 8224, 8225).
//! - [`sdp`]: session descriptions, line by line (RFC 8866).
//! - [`sdes`]: keys in crypto lines (RFC 4568).
//! - [`keymgmt`]: key management messages in a description (RFC 4567).
//! - [`negotiation`]: offers and answers between two peers.
//! - [`policy`]: what may be negotiated, and which rule refused it.
//! - [`robustness`]: which attacker a leg's keying resists (RFC 5479 section 3).
#![forbid(unsafe_code)]

pub mod dtls_srtp;
pub mod ice;
pub mod identity;
pub mod keymgmt;
pub mod negotiation;
pub mod policy;
pub mod robustness;
pub mod sdes;
pub mod sdp;
