//! What the classifier says of a datagram.

/// What a datagram is, by RFC 7983 §7, RFC 5761 §4 and the RFC 3550 A.1 validity checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// A valid RTP or SRTP packet.
    Rtp,
    /// A valid RTCP or SRTCP packet.
    Rtcp,
    /// STUN with its magic cookie (RFC 8489 §5).
    Stun,
    /// A DTLS record by its first octet (RFC 7983 §7).
    Dtls,
    /// ZRTP with its magic cookie (RFC 6189 §5).
    Zrtp,
    /// TURN ChannelData (RFC 8656 §12.4).
    TurnChannel,
    /// None of these, and not in the range of first octets that belongs to media.
    Unknown,
    /// In the range of first octets that belongs to media, but not a valid packet of the leg.
    Invalid(Malformed),
}

impl Verdict {
    /// Whether the datagram is media: RTP or RTCP, valid.
    #[inline(always)]
    pub const fn is_media(self) -> bool {
        matches!(self, Self::Rtp | Self::Rtcp)
    }
}

/// Which validity check a datagram in the media range failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Malformed {
    /// Shorter than the smallest header of its kind.
    TooShort,
    /// A packet inside a compound RTCP packet whose version is not 2 (RFC 3550 A.2).
    Version,
    /// An RTP payload type that the leg does not use, or one of 64..=95, which would be taken for
    /// RTCP (RFC 3550 A.1, RFC 5761 §4).
    PayloadType,
    /// The CSRC list does not fit into the datagram.
    CsrcCount,
    /// The header extension does not fit into the datagram (RFC 3550 A.1: "the length field must be
    /// less than the total packet size minus the fixed header length and padding").
    ExtensionLength,
    /// Plain RTP whose padding count is zero or reaches into the header; compound RTCP with padding
    /// before its last packet (RFC 3550 A.2).
    Padding,
    /// RTCP expected (the leg's RTCP port), but the packet type is not one of 192..=223.
    PacketType,
    /// RTCP length fields that do not fit the datagram.
    RtcpLength,
}

impl Malformed {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::TooShort,
        Self::Version,
        Self::PayloadType,
        Self::CsrcCount,
        Self::ExtensionLength,
        Self::Padding,
        Self::PacketType,
        Self::RtcpLength,
    ];
}
