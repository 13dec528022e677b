//! Gateways of others, which tests and benches start and put calls through.

mod ng;
pub mod rtpengine;
