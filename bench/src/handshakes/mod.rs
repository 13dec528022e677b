//! DTLS-SRTP handshakes: how many one core makes, beside `openssl s_server`; what media feels of them; and how soon their
//! keys are in the worker.
//!
//! ```text
//!   CPU of the tester                            CPU of the device
//!   ┌──────────────────────────────────┐  veth  ┌──────────────────────────────────────────────┐
//!   │ clients (OpenSSL, or dimpl where │───────▶│ sluice run, legs made in advance             │
//!   │ 1.3 is spoken), one handshake    │        │ openssl s_server, a process for each client  │
//!   │ after the other each             │        │ all of it on this CPU                        │
//!   └──────────────────────────────────┘        └──────────────────────────────────────────────┘
//!
//!   CPU of handshakes                            CPU of the worker
//!   ┌──────────────────────────────────┐  veth  ┌──────────────────────────────────────────────┐
//!   │ clients at a rate, negotiators,  │───────▶│ the daemon's worker                          │
//!   │ API; media's sender before all   │◀───────│                                              │
//!   └──────────────────────────────────┘        └──────────────────────────────────────────────┘
//! ```
//!
//! A handshake that does not come to its end, or brings something else than it should, ends the bench.

pub mod beside;
pub mod client;
pub mod gateway;
pub mod load;
pub mod measure;
pub mod media;
pub mod one_core;
pub mod openssl;
pub mod record;
pub mod rows;
