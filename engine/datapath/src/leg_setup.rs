//! What control says of a leg: when it is made, and when it changes.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use sluice_io::ring_address;
use sluice_srtp::ReplayWindow;

use crate::{LegId, LegStats, Sharing};

/// What protects one direction of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protection {
    /// Nothing: RTP and RTCP (RFC 3550).
    Plain,
    /// SRTP and SRTCP (RFC 3711), once keys are installed; nothing passes before.
    Srtp,
}

/// Which sources a leg hears, and whether its remote address may be learnt from what arrives (symmetric RTP,
/// RFC 4961). Nothing is ever learnt from a packet that is not authentic, so that nobody without the key can take a
/// leg; a plain leg has nothing but probation (RFC 3550 A.1), and only until signalling tells an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Latching {
    /// The address is the signalled one. Authenticated media is heard from anywhere, as of a peer that sends from
    /// another address than it receives on; plain media from the signalled address.
    Never,
    /// The address is the signalled one, and the only one that is heard. Before signalling gives one,
    /// authenticated media is heard from anywhere, plain media from nowhere.
    SignalledOnly,
    /// The address is that of the first authenticated packet that comes from elsewhere after signalling spoke
    /// last, and stays. On a plain leg it is that of the first source that passes probation, as long as signalling
    /// gave none.
    FirstAuthenticated,
    /// As before, but the address follows the newest authenticated packet, as of a peer behind a NAT that forgets.
    NewestAuthenticated,
}

impl Latching {
    pub(crate) const fn learns(self) -> bool {
        matches!(self, Self::FirstAuthenticated | Self::NewestAuthenticated)
    }
}

/// A leg to be.
#[derive(Debug)]
pub struct LegSetup {
    /// The leg's name.
    pub leg: LegId,
    /// The local transport address of RTP: a specific address, not the wildcard. RTCP without rtcp-mux
    /// is received on the address that its socket is bound to.
    pub local: SocketAddr,
    /// The kernel socket bound to `local`, non-blocking; of a leg on a shared port, that port's. `None`: the leg's peer
    /// is a local application, see [`Self::for_application`].
    pub rtp: Option<Arc<UdpSocket>>,
    /// The kernel socket of RTCP; `None`: rtcp-mux (RFC 5761).
    pub rtcp: Option<Arc<UdpSocket>>,
    /// The peer's address of RTP, where signalling told it.
    pub remote: Option<SocketAddr>,
    /// The peer's address of RTCP without rtcp-mux; `None`: `remote`'s port plus one.
    pub rtcp_remote: Option<SocketAddr>,
    /// Whether the peer's address may be learnt.
    pub latching: Latching,
    /// What protects media from the peer.
    pub inbound: Protection,
    /// What protects media to the peer.
    pub outbound: Protection,
    /// The replay window of what is received.
    pub window: ReplayWindow,
    /// The payload types that signalling agreed on.
    pub payload_types: PayloadTypes,
    /// How many SSRCs the peer may send at once.
    pub max_streams: u16,
    /// How many rollover counters after the initial one a stream's first packet may try.
    pub roc_trials: u8,
    /// DSCP code point (0–63) of what is sent.
    pub dscp: u8,
    /// On which port, of a leg that shares one.
    pub sharing: Option<Sharing>,
    /// What becomes of media before the leg's first inbound key.
    pub early_media: EarlyMedia,
    /// Where the leg's statistics go.
    pub stats: Arc<LegStats>,
}

impl LegSetup {
    /// How many SSRCs a peer may send at once, unless control says otherwise.
    pub const DEFAULT_MAX_STREAMS: u16 = 32;

    /// A leg whose peer is a local application: plain RTP and RTCP through a ring in shared memory, which
    /// [`Command::AttachRing`](crate::Command::AttachRing) gives it.
    pub fn for_application(leg: LegId, stats: Arc<LegStats>) -> Self {
        Self {
            leg,
            local: ring_address(leg),
            rtp: None,
            rtcp: None,
            remote: None,
            rtcp_remote: None,
            latching: Latching::Never,
            inbound: Protection::Plain,
            outbound: Protection::Plain,
            window: ReplayWindow::default(),
            payload_types: None,
            max_streams: Self::DEFAULT_MAX_STREAMS,
            roc_trials: 0,
            dscp: 0,
            sharing: None,
            early_media: EarlyMedia::Drop,
            stats,
        }
    }
}

/// A change of a leg; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegUpdate {
    /// Which leg.
    pub leg: LegId,
    /// The peer's addresses as signalled; what was learnt by latching is forgotten.
    pub remote: Option<Signalled>,
    /// The payload types that the leg accepts.
    pub payload_types: Option<PayloadTypes>,
    /// DSCP code point (0–63) of what is sent.
    pub dscp: Option<u8>,
    /// What protects media from the peer. Where it becomes plain, the leg's keys for receiving are gone, and what is
    /// held for one is played out; where it becomes SRTP, nothing plain is accepted from then on, and what latching
    /// learnt from plain media is forgotten. Streams begin anew. Their replay lists come back with SRTP.
    pub inbound: Option<Protection>,
    /// What protects media to the peer. Where it becomes plain, the leg's key for sending is gone; should it come back,
    /// its indices go on.
    pub outbound: Option<Protection>,
    /// What becomes of media before the next first key: only of a leg that has no inbound key.
    pub early_media: Option<EarlyMedia>,
    /// Whether the peer's address may be learnt, from now on. What was learnt stays until something moves it.
    pub latching: Option<Latching>,
    /// Whether RTCP is sent from and to the ports of RTP (RFC 5761). It is received there in either case, and on the
    /// leg's own RTCP socket, if it has one, as well (RFC 5761 §5.1.1). Without one it can only be `true`.
    pub rtcp_mux: Option<bool>,
    /// The replay window of what is received: only while the leg has no streams.
    pub window: Option<ReplayWindow>,
    /// How many SSRCs the peer may send at once; streams beyond that stay until they are idle.
    pub max_streams: Option<u16>,
    /// Whether no media is sent, as to a peer that does not consent to it any more (RFC 7675). Datagrams of negotiations
    /// are, since they are what may bring the consent back; and what the peer sends is received.
    pub silent: Option<bool>,
    /// Whether other inbound keys are on their way from a negotiation in the media path, under which the peer may send
    /// before they are here, as in a new DTLS association (RFC 8842). While they are, what is authentic under none of
    /// the leg's keys is kept, within the bounds of its [`EarlyMedia::Hold`] or else [`EarlyMedia::USUAL_PACKETS`] and
    /// [`EarlyMedia::USUAL_TIME`], and plays out in order with the next key; all else goes on as ever. `false`: none
    /// will come, and what was kept is dropped for what was wrong with it. Of a leg that has no key yet, `early_media`
    /// says what becomes of it.
    pub rekeying: Option<bool>,
}

impl LegUpdate {
    /// A change of nothing, to be filled in.
    pub const fn new(leg: LegId) -> Self {
        Self {
            leg,
            remote: None,
            payload_types: None,
            dscp: None,
            inbound: None,
            outbound: None,
            early_media: None,
            latching: None,
            rtcp_mux: None,
            window: None,
            max_streams: None,
            silent: None,
            rekeying: None,
        }
    }
}

/// What becomes of media that arrives on a leg whose inbound protection is SRTP and that has no key yet, since it
/// overtook the signalling that brings the key (RFC 5479 R-AVOID-CLIPPING, R-ALLOW-RTP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlyMedia {
    /// It is dropped.
    #[default]
    Drop,
    /// It is let through as plain RTP until the first key is installed, or an update says SRTP; none from then on.
    Plain,
    /// It is kept, and plays out in order as soon as the first key is there, under which it has to be authentic.
    Hold {
        /// Most packets that are kept, 1 to [`Self::MOST_PACKETS`]; the oldest goes first.
        packets: u16,
        /// Longest time for which one is kept, up to [`Self::LONGEST`].
        time: Duration,
    },
}

impl EarlyMedia {
    /// Most packets that a leg may keep.
    pub const MOST_PACKETS: u16 = 1024;
    /// Longest time for which one may be kept.
    pub const LONGEST: Duration = Duration::from_secs(10);
    /// Packets that a leg keeps unless it names another number.
    pub const USUAL_PACKETS: u16 = 128;
    /// For how long, unless it names another time.
    pub const USUAL_TIME: Duration = Duration::from_secs(2);
    /// What a leg keeps that names no bounds.
    pub(crate) const USUAL: Self = Self::Hold { packets: Self::USUAL_PACKETS, time: Self::USUAL_TIME };
}

/// A peer's addresses as signalling told them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signalled {
    /// Where RTP goes (and RTCP, with rtcp-mux).
    pub rtp: SocketAddr,
    /// Where RTCP goes without rtcp-mux; `None`: the RTP port plus one (RFC 3550 §11).
    pub rtcp: Option<SocketAddr>,
}

/// Which payload types a leg accepts: bit `n % 64` of word `n / 64`; `None`: any.
pub type PayloadTypes = Option<[u64; 2]>;
