//! A SIP relay that has Sluice do the media: as small as it can be and still be one to user agents that others wrote.
//!
//! It is a back-to-back user agent (RFC 3261 section 6) over UDP. Each side has a dialog with the relay; whatever SDP comes
//! from one side goes to Sluice by gRPC, and what Sluice makes of it goes to the other side. An INVITE can be forked. There
//! are no retransmissions of its own, as nothing is lost in a test's namespace; those that come are answered as before.

mod call;
mod desk;
mod dialog;
mod message;
mod relay;

pub use desk::{Entry, Step};
pub use message::Message;
pub use relay::{Plan, Relay, Target, Transcript};
