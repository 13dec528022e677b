//! What becomes known of datagrams after they were handed over: ICMP errors, and the kernel's refusals.

use std::net::{IpAddr, SocketAddr};

use crate::SocketToken;

/// News of a kernel socket's datagrams, or of those that went past it by AF_XDP with its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The socket.
    pub socket: SocketToken,
    /// Where the datagram was to go.
    pub remote: SocketAddr,
    /// What happened to it.
    pub kind: TroubleKind,
}

/// What happened to a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// It got no further, says ICMP. Anybody may have sent that: RFC 8085 §5.2 has it taken for a hint.
    Unreachable {
        /// Why.
        why: Unreachable,
        /// Who says so.
        by: Option<IpAddr>,
    },
    /// It was larger than a link further on takes, says ICMP; the kernel's route knows the path MTU by now.
    PathMtu(u32),
    /// The kernel did not send it, since it is larger than the path takes, and nothing is fragmented.
    TooBig {
        /// Its first two octets, which tell RTP, RTCP and negotiation apart (RFC 7983, RFC 5761).
        head: [u8; 2],
        /// Octets of UDP payload.
        length: usize,
        /// Largest IP packet that the path takes, where the kernel told.
        mtu: Option<u32>,
    },
}

/// Why a datagram did not reach its peer (RFC 792, RFC 4443 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreachable {
    /// No route to the network.
    Network,
    /// No such host, or it does not answer.
    Host,
    /// Nobody has the port.
    Port,
    /// A filter forbids it.
    Prohibited,
    /// Too many hops (time exceeded).
    HopLimit,
    /// Another ICMP error.
    Other,
}

impl Unreachable {
    /// A name for events: lower case, words joined by `_`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Host => "host",
            Self::Port => "port",
            Self::Prohibited => "prohibited",
            Self::HopLimit => "hop_limit",
            Self::Other => "other",
        }
    }

    /// An ICMP error of IPv4.
    pub(crate) const fn from_icmp(kind: u8, code: u8) -> Self {
        match (kind, code) {
            (3, 0 | 6 | 11) => Self::Network,
            (3, 1 | 7 | 8 | 12) => Self::Host,
            (3, 3) => Self::Port,
            (3, 9 | 10 | 13) => Self::Prohibited,
            (11, _) => Self::HopLimit,
            _ => Self::Other,
        }
    }

    /// An ICMPv6 error.
    pub(crate) const fn from_icmp6(kind: u8, code: u8) -> Self {
        match (kind, code) {
            (1, 0) => Self::Network,
            (1, 1 | 5 | 6) => Self::Prohibited,
            (1, 3) => Self::Host,
            (1, 4) => Self::Port,
            (3, _) => Self::HopLimit,
            _ => Self::Other,
        }
    }
}
