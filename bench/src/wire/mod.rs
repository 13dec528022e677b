//! Devices of others on the wire bench's test bed, and what becomes of its rows.
//!
//! Sluice's own bench (`sluice bench wire`, the crate `sluice`) knows how to measure; here are those that it is measured
//! against, in the same run: a relay as one writes it on sockets and libsrtp, and rtpengine.

pub mod plot;
pub mod record;
pub mod relay;
pub mod rtpengine;
