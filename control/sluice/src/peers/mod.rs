//! Gateways of others, which tests and benches start and put calls through.

pub mod ng;
pub mod rtpengine;
