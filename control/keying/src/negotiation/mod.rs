//! Offer and answer (RFC 3264) with a peer on either side: what one offers is offered to the other, and what that one
//! answers is answered to the first, each with the gateway's own addresses and keys.
//!
//! ```text
//!  caller's offer ──► RemoteOffer::read ──► LocalOffer::compose ──► SDP for the callee
//!  SDP for the caller ◄── LocalAnswer::compose ◄── RemoteAnswer::read ◄── callee's answer
//! ```

mod agreed;

pub use agreed::{Agreed, Direction, NegotiatedKey, OwnMedia, Protected};
