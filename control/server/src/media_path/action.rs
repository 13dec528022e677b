//! What a keyer wants done.

use std::net::SocketAddr;
use std::time::Instant;

use sluice_datapath::Component;
use sluice_keying::dtls_srtp::Keys;
use sluice_proto::v1::event::Kind;
use sluice_srtp::RocOnRekey;

/// Something to be done for a leg.
pub(super) enum Action {
    /// Sends a datagram.
    Send { component: Component, remote: SocketAddr, bytes: Vec<u8> },
    /// Installs keys.
    Install { keys: Box<Keys>, roc: RocOnRekey, number: u32, finished: Instant },
    /// Media goes to this address of the peer, and with the second one its RTCP, from now on.
    Towards { rtp: SocketAddr, rtcp: Option<SocketAddr> },
    /// Media is not sent any more, or is again.
    Silence(bool),
    /// An association is under way whose keys the peer may send under before they are here, or none is any more.
    Rekeying(bool),
    /// Watchers are told.
    Tell(Kind),
}
