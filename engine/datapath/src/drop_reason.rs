//! Why a datagram went no further. A `Copy` enum that indexes arrays of counters.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a worker dropped a datagram, or one of the copies that a fan-out made of it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// A name for tables and metrics: lower case, words joined by `_`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The same in a sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

reasons! {
    /// The local address belongs to no leg of any worker.
    UnknownLeg = "unknown_leg",
    /// To a port that legs share, and none of them has its address, its SSRC, or finds it authentic.
    Unassigned = "unassigned",
    /// Shorter than the header of its kind (RFC 3550 A.1).
    TooShort = "too_short",
    /// A packet of an RTCP compound has the wrong version (RFC 3550 A.2).
    Version = "version",
    /// A payload type that the leg does not use (RFC 3550 A.1, RFC 5761 §4).
    PayloadType = "payload_type",
    /// The CSRC list does not fit into the datagram (RFC 3550 A.1).
    CsrcCount = "csrc_count",
    /// The header extension does not fit into the datagram (RFC 3550 A.1).
    ExtensionLength = "extension_length",
    /// The padding count is wrong (RFC 3550 A.1, A.2).
    Padding = "padding",
    /// Not RTCP, on a port that takes RTCP only.
    PacketType = "packet_type",
    /// RTCP whose length fields do not fit the datagram (RFC 3550 A.2).
    RtcpLength = "rtcp_length",
    /// Neither media nor a known protocol of RFC 7983.
    Unknown = "unknown",
    /// A TURN channel message; the engine is no TURN client.
    TurnChannel = "turn_channel",
    /// A negotiation datagram (STUN, DTLS, ZRTP) beyond the leg's rate.
    NegotiationRate = "negotiation_rate",
    /// A negotiation datagram larger than control takes.
    NegotiationTooLarge = "negotiation_too_large",
    /// A negotiation datagram that found the queue to control more than half full: the rest is for events.
    NegotiationQueueFull = "negotiation_queue_full",
    /// From another source than the leg's remote address, which may not change.
    UnexpectedSource = "unexpected_source",
    /// The leg expects SRTP, but has no inbound key yet.
    NoInboundKey = "no_inbound_key",
    /// Kept until the inbound key comes that it may be under, and pushed out: by newer packets, or since such are kept no
    /// more. Or there was no room to keep it.
    EarlyMediaFull = "early_media_full",
    /// Kept until the inbound key comes that it may be under, for as long as may be.
    EarlyMediaExpired = "early_media_expired",
    /// A new SSRC beyond the number of streams that the leg may have.
    StreamLimit = "stream_limit",
    /// A new SSRC, but the worker's table of streams is full.
    StreamTableFull = "stream_table_full",
    /// Plain RTP that did not continue its sequence (RFC 3550 A.1 probation).
    Probation = "probation",
    /// Plain RTP whose second packet never came (RFC 3550 A.1 probation).
    ProbationExpired = "probation_expired",
    /// The authentication tag is wrong (RFC 3711 §3.3).
    AuthFailed = "auth_failed",
    /// An unknown SSRC on a leg that sees too many wrong tags: dropped without a look at its tag.
    AuthRateLimited = "auth_rate_limited",
    /// Received before (RFC 3711 §3.3.2).
    Replayed = "replayed",
    /// Older than the replay window (RFC 3711 §3.3.2).
    TooOld = "too_old",
    /// Its MKI names no key of the leg (RFC 3711 §3.1).
    UnknownMki = "unknown_mki",
    /// The inbound key's lifetime is over (RFC 3711 §9.2).
    InboundKeyExpired = "inbound_key_expired",
    /// Not a valid SRTP or SRTCP packet for another reason.
    InvalidSrtp = "invalid_srtp",
    /// Valid media of a leg from which no route leads on.
    NoRoute = "no_route",
    /// RTP on a route that is paused.
    RoutePaused = "route_paused",
    /// RTP of an SSRC that its route does not select.
    NotSelected = "not_selected",
    /// The egress leg has no remote address yet.
    NoRemote = "no_remote",
    /// The egress leg's peer does not consent to media any more (RFC 7675), or has closed its association.
    NoConsent = "no_consent",
    /// The egress leg's peer is a local application that is not there.
    NoApplication = "no_application",
    /// The egress leg sends SRTP, but has no outbound key yet.
    NoOutboundKey = "no_outbound_key",
    /// The outbound key's lifetime is over (RFC 3711 §9.2).
    OutboundKeyExpired = "outbound_key_expired",
    /// The SSRC is already sent under the egress key by another source (two-time-pad guard).
    SsrcClash = "ssrc_clash",
    /// The packet index was already used for sending under the key: a duplicate, or too old to tell.
    IndexUsed = "index_used",
    /// The worker's table of egress contexts is full.
    EgressTableFull = "egress_table_full",
    /// The result does not fit into its buffer.
    NoTailroom = "no_tailroom",
    /// Could not be protected for another reason.
    ProtectFailed = "protect_failed",
    /// Larger than the path to the peer takes (MTU); nothing is fragmented.
    MtuExceeded = "mtu_exceeded",
    /// No free chunk for a copy.
    PoolEmpty = "pool_empty",
    /// The worker that owns the leg did not keep up with the datagrams handed to it.
    HandoffFull = "handoff_full",
    /// Too large to be handed to the worker that owns the leg.
    HandoffTooLarge = "handoff_too_large",
    /// Held for probation, or until a key comes, while its leg was removed.
    LegRemoved = "leg_removed",
}

impl DropReason {
    /// The index into arrays of counters.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl From<sluice_classifier::Malformed> for DropReason {
    fn from(reason: sluice_classifier::Malformed) -> Self {
        use sluice_classifier::Malformed;
        match reason {
            Malformed::TooShort => Self::TooShort,
            Malformed::Version => Self::Version,
            Malformed::PayloadType => Self::PayloadType,
            Malformed::CsrcCount => Self::CsrcCount,
            Malformed::ExtensionLength => Self::ExtensionLength,
            Malformed::Padding => Self::Padding,
            Malformed::PacketType => Self::PacketType,
            Malformed::RtcpLength => Self::RtcpLength,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_their_own_indices_and_have_distinct_names() {
        let mut names = std::collections::HashSet::new();
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(names.insert(reason.name()));
        }
    }
}
