//! The load on signalling: how many calls one core sets up and ends, how many keys it installs, and how long each takes.
//!
//! ```text
//!   CPU of the tester                         CPU of the device
//!   ┌─────────────────────────────┐  Unix     ┌─────────────────────────┐
//!   │ load: as many as it can, or │  socket   │ sluice run: API, engine │
//!   │ at a rate ─▶ desk ─▶ SDP    │──────────▶│ and worker, all of it   │
//!   └─────────────────────────────┘ (UDP, ng) └─────────────────────────┘
//! ```
//!
//! A call is an offer, its answer, and its end. What the gateway answers is read as a SIP server would read it: the
//! callee takes one of the keys that it is offered, and a call whose answer is not what it should be ends the bench.

pub mod daemon;
pub mod desk;
pub mod keys;
pub mod load;
pub mod measure;
pub mod record;
pub mod rows;
pub mod rtpengine;
pub mod sdp;
