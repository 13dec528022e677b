//! Sluice's peers: other people's SRTP, and other people's crypto.
//!
//! Each is used as its own documentation says, with the replay window that Sluice has, and with
//! everything that can be done once per session done once per session.

#[cfg(feature = "peers")]
mod aws_lc;
#[cfg(all(feature = "peers", ipsec_mb))]
mod ipsec_mb;
#[cfg(feature = "peers")]
mod libsrtp;
#[cfg(feature = "peers")]
mod rtc;
#[cfg(feature = "peers")]
mod rustcrypto;
#[cfg(feature = "peers")]
mod webrtc;

#[cfg(feature = "peers")]
pub use libsrtp::installs as libsrtp_installs;

use crate::engine::Peer;

/// Batch sizes of an engine that takes packets one at a time.
#[cfg(feature = "peers")]
const ALONE: &[usize] = &[1];
/// Sluice's replay window in packets, which every whole engine gets.
#[cfg(feature = "peers")]
const WINDOW: usize = 128;

/// Every peer of this build, and why others are missing.
#[cfg(feature = "peers")]
pub fn all() -> (Vec<Peer>, Vec<&'static str>) {
    #[allow(unused_mut, reason = "one of them may be absent")]
    let mut peers = vec![libsrtp::peer(), rtc::peer(), webrtc::peer(), aws_lc::peer(), rustcrypto::peer()];
    #[cfg(ipsec_mb)]
    {
        peers.push(ipsec_mb::peer());
        (peers, Vec::new())
    }
    #[cfg(not(ipsec_mb))]
    (peers, vec!["intel-ipsec-mb: its header was not there at build time; apt-get install libipsec-mb-dev"])
}

/// Every peer of this build, and why others are missing.
#[cfg(not(feature = "peers"))]
pub fn all() -> (Vec<Peer>, Vec<&'static str>) {
    (Vec::new(), vec!["all peers: this build is without them; cargo run -p sluice-bench --features peers"])
}
