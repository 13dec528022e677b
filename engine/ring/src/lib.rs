//! Packets between the gateway and a local application through shared memory.
//!
//! ```text
//!  gateway                    one memfd, sealed                       application
//!  GatewayEnd ── Producer ──▶ ring "to application" ──▶ Consumer ── ApplicationEnd
//!             ◀─ Consumer ─── ring "to gateway"     ◀── Producer ──
//!
//!  connection (Unix socket, SOCK_SEQPACKET): the request for the ring and the answer with its descriptors; then
//!      each message from the gateway wakes the application, and its end is the end of the ring
//!  doorbell (eventfd): wakes the gateway
//! ```
//!
//! A ring has one producer and one consumer. Both put or take a batch, and make it known at once. Whoever sleeps says
//! so in the shared memory first; only then does the other side make a system call.
//!
//! Neither side trusts what it reads there. Each keeps its own index, and takes the other's for what it is only if
//! it can be: see [`Broken`]. The memory is read and written by atomic operations alone, word by word, so that what
//! the other side writes meanwhile changes data and nothing else. Its size is sealed: no access to it can fault.
#![deny(unsafe_code)]

mod endpoint;
mod handshake;
mod layout;
mod mapping;
mod passing;
mod queue;
mod sync;

pub use endpoint::{ApplicationEnd, Bell, GatewayEnd, Offer};
pub use handshake::{
    MAX_MESSAGE, MAX_TEXT, Malformed, Refusal, Request, confirm, connect, listen, receive_mapped,
    receive_request, refuse, send_offer,
};
pub use layout::{Geometry, GeometryError, Lane, TO_APPLICATION, TO_GATEWAY};
pub use mapping::{Mapping, OpenError};
pub use passing::refuse_descriptors;
pub use queue::{Broken, Consumer, Producer, PutError, Words};
