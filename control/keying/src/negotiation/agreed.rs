//! What came out of a negotiation for one media line of one peer: what a leg is made of.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use sluice_srtp::{KeyOptions, Suite};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::dtls_srtp::{AgreedDtls, Fingerprint, OwnDtls};
use crate::ice::{AgreedIce, Candidate, OwnIce};
use crate::policy::Keying;
use crate::sdp::Setup;

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

/// The gateway's side of a media line: where it receives, and what it can do there in the media path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnMedia {
    /// The address of RTP.
    pub rtp: SocketAddr,
    /// The address of RTCP; with rtcp-mux the same.
    pub rtcp: SocketAddr,
    /// The fingerprints of the certificate that it shows in handshakes, one for each hash function that is to be offered;
    /// none: it takes part in none. The same certificate as before keeps an association (RFC 8842 section 3.1).
    pub dtls: Option<Arc<[Fingerprint]>>,
    /// How it is reached by checks; none: it takes part in none.
    pub ice: Option<Arc<OwnAddresses>>,
}

impl OwnMedia {
    /// Addresses, and nothing in the media path but media.
    pub const fn new(rtp: SocketAddr, rtcp: SocketAddr) -> Self {
        Self { rtp, rtcp, dtls: None, ice: None }
    }

    /// Whether both receive at one place.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.rtp == other.rtp && self.rtcp == other.rtcp
    }
}

/// Addresses of the gateway, as ICE has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Of each component; those of RTCP are left out where it shares RTP's. [`OwnMedia::rtp`] and [`OwnMedia::rtcp`] are
    /// among them: who gets "a default destination" that is no candidate may take it for a middlebox's work (RFC 8839
    /// section 4.2.5).
    pub candidates: Vec<Candidate>,
    /// The peer's addresses that were chosen, by component, once checks have completed: a controlling agent says them in
    /// `a=remote-candidates` of later offers (RFC 8839 section 4.4.1.2.2).
    pub selected: Vec<(u16, SocketAddr)>,
}

/// What the gateway has said of itself on a transport, for what may come from the peer before its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Of a handshake, if one is offered.
    pub dtls: Option<OfferedDtls>,
    /// Of checks, if they are offered.
    pub ice: Option<OwnIce>,
    /// Whether RTP and RTCP are offered to share a port.
    pub rtcp_mux: bool,
}

/// What the gateway has offered of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedDtls {
    /// The gateway. The name of an association that stands is that of it.
    pub own: OwnDtls,
    /// Who may begin: a handshake may, before the answer comes, unless it is [`Setup::Active`] (RFC 8842 section 5.2).
    pub setup: Setup,
    /// Suites that the handshake may choose from, the preferred one first.
    pub suites: Vec<Suite>,
    /// The association that stands, and stays if the answer has it so; none: a new one is offered.
    pub standing: Option<AgreedDtls>,
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
    /// What those of them mean of which the answer says it, as `a=rtpmap` has it: `opus/48000/2`.
    pub codecs: Vec<(u8, String)>,
    /// SSRCs that it says it will send (RFC 5576).
    pub ssrcs: Vec<u32>,
    /// Which way media flows, as the peer sees it.
    pub direction: Direction,
    /// How the handshake goes, if one brings the keys. None with [`Protected::InMediaPath`]: the peer wants none for now
    /// (`a=setup:holdconn`).
    pub dtls: Option<AgreedDtls>,
    /// How the peer's address is found, if by checks.
    pub ice: Option<AgreedIce>,
}
