//! What a datagram is: the one classifier that the XDP program and user space share.
//!
//! A frame goes through two steps, each a function over bytes without state, allocation or panic:
//!
//! ```text
//! frame ──locate──▶ Datagram ──classify──▶ Verdict            decide = both, plus the leg's policy
//!         Ethernet,            RFC 7983 first byte,
//!         802.1Q, IPv4/IPv6,   RFC 5761 RTP/RTCP split,
//!         UDP                  RFC 3550 A.1 validity
//! ```
//!
//! Both are generic over [`Bytes`], so that the very same lines run in the kernel over a packet whose
//! bounds the verifier checks, and in user space over a slice. [`decide()`] is everything that the XDP
//! program does with a frame; the program itself adds only the maps.
//!
//! What a media verdict promises (R-RTP-CHECK, RFC 5479): the first octet lies in 128..=191, which
//! RFC 7983 §7 gives to RTP and RTCP alone. STUN (0..=3), ZRTP (16..=19), DTLS (20..=63) and TURN
//! channels (64..=79) lie outside, so that no datagram of theirs can ever be taken for media, whatever
//! follows the first octet. `tests/` shows it exhaustively over first octets and by property over the rest.
#![no_std]
#![forbid(unsafe_code)]
#![allow(
    clippy::inline_always,
    reason = "the kernel's verifier follows packet bounds within one function, so that all must be inlined"
)]

mod bytes;
mod decide;
mod demux;
mod frame;
pub mod layout;
mod policy;
mod rtcp;
mod rtp;
mod stun;
pub mod traffic;
mod verdict;

pub use bytes::Bytes;
pub use decide::{Action, Counter, decide};
pub use demux::{classify, classify_at};
pub use frame::{Datagram, Endpoint, MAX_EXTENSION_HEADERS, NotUdp, Vlan, locate};
pub use layout::{LegEntry, LocalKey};
pub use policy::{FLAG_PAYLOAD_TYPES, FLAG_PLAIN, FLAG_RTCP_ONLY, Policy};
pub use rtcp::MAX_COMPOUND;
pub use stun::receiver_ufrag;
pub use verdict::{Malformed, Verdict};
