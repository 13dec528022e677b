//! What signalling says of connectivity checks to come (RFC 8839).

use std::net::SocketAddr;

use super::Credentials;

/// How an address came to be known (RFC 8445 section 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CandidateKind {
    /// It is an interface's.
    Host,
    /// A STUN server saw it.
    ServerReflexive,
    /// The peer saw it.
    PeerReflexive,
    /// A TURN server's.
    Relayed,
}

/// An address by which somebody may be reached over UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Alike candidates have the same one.
    pub foundation: String,
    /// 1: RTP, 2: RTCP.
    pub component: u16,
    /// The higher, the better.
    pub priority: u32,
    /// The address.
    pub address: SocketAddr,
    /// How it came to be known.
    pub kind: CandidateKind,
    /// Where it was seen from (`raddr`, `rport`), if that was told: its base, but for relayed ones.
    pub related: Option<SocketAddr>,
    /// Further names with values, as they stand in the line, such as `ufrag` (RFC 8838 section 4.1).
    pub extensions: Vec<(String, String)>,
}

/// What the gateway says of itself towards one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnIce {
    /// Others: a restart (RFC 8839 section 4.4.1.1).
    pub credentials: Credentials,
    /// Its addresses.
    pub candidates: Vec<Candidate>,
    /// Whether it only answers checks (`a=ice-lite`).
    pub lite: bool,
}

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIce {
    /// Others: a restart.
    pub credentials: Credentials,
    /// Its addresses, so far.
    pub candidates: Vec<Candidate>,
    /// Whether it only answers checks.
    pub lite: bool,
    /// Whether more candidates may come (`a=ice-options:trickle`, RFC 8838), and have not been said to have ended.
    pub more: bool,
}

/// What was agreed on checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedIce {
    /// Whether the gateway nominates (RFC 8445 section 6.1.1).
    pub controlling: bool,
    /// The gateway.
    pub own: OwnIce,
    /// The peer.
    pub peer: PeerIce,
}
