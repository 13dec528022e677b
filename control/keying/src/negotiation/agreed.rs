//! What came out of a negotiation for one media line of one peer: what a leg is made of.

use std::fmt;
use std::net::SocketAddr;

use sluice_srtp::{KeyOptions, Suite};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::dtls_srtp::AgreedDtls;
use crate::ice::AgreedIce;
use crate::policy::Keying;

/// Which way media flows, as the peer sees it (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// It sends and receives.
    #[default]
    SendRecv,
    /// It sends only.
    SendOnly,
    /// It receives only.
    RecvOnly,
    /// Neither: on hold.
    Inactive,
}

impl Direction {
    /// The direction of who sends, receives, both or neither.
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the peer sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the peer receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same as the other end sees it.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// What an answer of this direction comes to, if it says more than the offer allows: who answers an offer to send
    /// only cannot send (RFC 3264 section 6.1).
    #[must_use]
    pub const fn in_answer_to(self, offered: Self) -> Self {
        Self::new(self.sends() && offered.receives(), self.receives() && offered.sends())
    }

    /// The same without receiving.
    #[must_use]
    pub const fn without_receiving(self) -> Self {
        Self::new(self.sends(), false)
    }
}

/// The gateway's side of a media line: where it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnMedia {
    /// The address of RTP.
    pub rtp: SocketAddr,
    /// The address of RTCP; with rtcp-mux the same.
    pub rtcp: SocketAddr,
}

/// A master key that was negotiated, ready to be installed.
#[derive(Clone, Eq)]
pub struct NegotiatedKey {
    /// Its suite.
    pub suite: Suite,
    /// Master key followed by master salt.
    pub key_salt: Zeroizing<Vec<u8>>,
    /// MKI, lifetime and session parameters (RFC 4568 section 6.3).
    pub options: KeyOptions,
    /// Packets of the replay window that the peer asks for (WSH), if it does.
    pub window: Option<u32>,
}

impl PartialEq for NegotiatedKey {
    /// Takes as long whatever the octets of the keys are.
    fn eq(&self, other: &Self) -> bool {
        let same_key = bool::from(self.key_salt.ct_eq(&other.key_salt));
        same_key && self.suite == other.suite && self.options == other.options && self.window == other.window
    }
}

impl fmt::Debug for NegotiatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NegotiatedKey").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// What protects one direction of a media line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protected {
    /// Nothing.
    Plain,
    /// SRTP. Of several keys, told apart by their MKIs, the first is in use first.
    Srtp(Vec<NegotiatedKey>),
    /// SRTP, whose keys a handshake in the media path brings.
    InMediaPath,
}

/// What was agreed with one peer on one media line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Where the peer receives RTP; none while it has no address (port 9, `0.0.0.0`: RFC 3264 section 8.4).
    pub remote: Option<SocketAddr>,
    /// Where it receives RTCP without rtcp-mux, if not on the next port (RFC 3605).
    pub remote_rtcp: Option<SocketAddr>,
    /// Whether RTP and RTCP share a port (RFC 5761).
    pub rtcp_mux: bool,
    /// How keys came.
    pub keying: Keying,
    /// What the peer sends.
    pub inbound: Protected,
    /// What it gets.
    pub outbound: Protected,
    /// Payload types that the peer may send.
    pub payload_types: Vec<u8>,
    /// SSRCs that it says it will send (RFC 5576).
    pub ssrcs: Vec<u32>,
    /// Which way media flows, as the peer sees it.
    pub direction: Direction,
    /// How the handshake goes, if one brings the keys.
    pub dtls: Option<AgreedDtls>,
    /// How the peer's address is found, if by checks.
    pub ice: Option<AgreedIce>,
}
