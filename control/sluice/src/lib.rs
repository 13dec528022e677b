//! What the `sluice` binary does besides running and controlling the gateway, as a library for the tests and benches
//! that do the same: [`demo`], and [`bench`](mod@bench). [`peers`] are gateways of others that both put beside it.

pub mod bench;
pub mod demo;
pub mod demo_browser;
pub mod peers;
