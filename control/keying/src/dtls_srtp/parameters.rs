//! What signalling says of a handshake to come.

use sluice_srtp::Suite;

use super::Fingerprint;

/// Which part the gateway plays in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It begins: its `a=setup` is active.
    Client,
    /// The peer begins.
    Server,
}

/// What the gateway says of itself towards one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDtls {
    /// Of its certificate, one for each hash function that is offered.
    pub fingerprints: Vec<Fingerprint>,
    /// Names the association (`a=tls-id`, RFC 8842 section 4): another one, another association.
    pub tls_id: String,
}

/// What a peer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerDtls {
    /// Its certificate has one of these.
    pub fingerprints: Vec<Fingerprint>,
    /// Names the association, if the peer knows RFC 8842.
    pub tls_id: Option<String>,
}

/// What was agreed on a handshake. The association is another one whenever [`OwnDtls::tls_id`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedDtls {
    /// The gateway's part.
    pub role: Role,
    /// The gateway.
    pub own: OwnDtls,
    /// The peer.
    pub peer: PeerDtls,
    /// Suites that the handshake may choose from, the preferred one first.
    pub suites: Vec<Suite>,
}
