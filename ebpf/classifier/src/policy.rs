//! What is known of a leg that makes the validity checks sharper.

/// [`Policy::payload_types`] is set: other payload types are refused.
pub const FLAG_PAYLOAD_TYPES: u64 = 1;
/// The leg receives plain RTP, so that padding and compound RTCP can be checked. SRTP encrypts the
/// padding octet and all of an RTCP packet but its first eight octets (RFC 3711 §3.1, §3.4).
pub const FLAG_PLAIN: u64 = 1 << 1;
/// The leg's RTCP port (no `rtcp-mux`): RTP is refused here.
pub const FLAG_RTCP_ONLY: u64 = 1 << 2;

/// What one local port of a leg accepts. The default is the RTP port of an SRTP leg whose payload
/// types are not known.
///
/// Part of the XDP map's value, hence the fixed layout without padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Policy {
    /// A set of `FLAG_*`.
    pub flags: u64,
    /// The payload types that signalling agreed on: bit `n % 64` of word `n / 64` is payload type `n`.
    pub payload_types: [u64; 2],
}

impl Policy {
    /// An SRTP leg with RTP (and RTCP, RFC 5761) on this port, any payload type.
    #[inline(always)]
    pub const fn new() -> Self {
        Self { flags: 0, payload_types: [0; 2] }
    }

    /// The same, for a leg that receives plain RTP.
    #[must_use]
    pub const fn plain(mut self) -> Self {
        self.flags |= FLAG_PLAIN;
        self
    }

    /// The same, for a port that receives RTCP only.
    #[must_use]
    pub const fn rtcp_only(mut self) -> Self {
        self.flags |= FLAG_RTCP_ONLY;
        self
    }

    /// The same, refusing payload types outside the set.
    #[must_use]
    pub const fn with_payload_types(mut self, set: [u64; 2]) -> Self {
        self.flags |= FLAG_PAYLOAD_TYPES;
        self.payload_types = set;
        self
    }

    /// Whether RTP with this payload type can be the leg's.
    #[inline(always)]
    pub const fn allows(&self, payload_type: u8) -> bool {
        // "payload type values in the range 64-95 MUST NOT be used" (RFC 5761 §4): with the marker
        // bit they are the packet types of RTCP. RFC 3550 A.1 asks for the same of SR and RR.
        if matches!(payload_type, 64..=95) {
            return false;
        }
        let word = if payload_type < 64 { self.payload_types[0] } else { self.payload_types[1] };
        self.flags & FLAG_PAYLOAD_TYPES == 0 || word >> (payload_type & 63) & 1 == 1
    }

    #[inline(always)]
    pub(crate) const fn is_plain(&self) -> bool {
        self.flags & FLAG_PLAIN != 0
    }

    #[inline(always)]
    pub(crate) const fn is_rtcp_only(&self) -> bool {
        self.flags & FLAG_RTCP_ONLY != 0
    }
}
