//! What the XDP program does with a frame, whole.

use crate::layout::MAX_FRAME;
use crate::{Bytes, LegEntry, LocalKey, Malformed, NotUdp, Verdict, classify_at, locate};

/// What becomes of a frame that arrives at a receive queue with an AF_XDP socket. Without one, the
/// program passes everything ([`Counter::NoSocket`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// To the AF_XDP socket of the receive queue.
    Redirect,
    /// To the kernel, as if there were no program.
    Pass,
    /// Nowhere: malformed media of a known leg.
    Drop,
}

/// The program's counters: an index into [`crate::layout::COUNTERS`]. Every frame counts in exactly one
/// of them; those that [`Counter::is_beside`] names count besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Counter {
    /// Passed: neither IPv4 nor IPv6.
    NotIp,
    /// Passed: IP, but not UDP.
    NotUdp,
    /// Passed: an IP fragment.
    Fragment,
    /// Passed: IPv6 extension headers that are not walked here.
    ExtensionHeaders,
    /// Passed: headers cut short or contradictory.
    BadHeader,
    /// Passed: UDP to an address and port that is no leg's.
    NoLeg,
    /// Passed: for a leg, but larger than an AF_XDP frame may be.
    TooLarge,
    /// Redirected: RTP of a leg.
    Rtp,
    /// Redirected: RTCP of a leg.
    Rtcp,
    /// Passed: STUN for a leg.
    Stun,
    /// Passed: DTLS for a leg.
    Dtls,
    /// Passed: ZRTP for a leg.
    Zrtp,
    /// Passed: a TURN channel message for a leg.
    TurnChannel,
    /// Passed: something else for a leg.
    Unknown,
    /// Dropped, as are all that follow: media of a leg, [`Malformed::TooShort`].
    TooShort,
    /// [`Malformed::Version`].
    Version,
    /// [`Malformed::PayloadType`].
    PayloadType,
    /// [`Malformed::CsrcCount`].
    CsrcCount,
    /// [`Malformed::ExtensionLength`].
    ExtensionLength,
    /// [`Malformed::Padding`].
    Padding,
    /// [`Malformed::PacketType`].
    PacketType,
    /// [`Malformed::RtcpLength`].
    RtcpLength,
    /// Besides one of those redirected or dropped: the receive queue has no AF_XDP socket, so that the
    /// frame passed to the kernel.
    NoSocket,
    /// Besides [`Counter::Rtcp`]: passed to the kernel, since the queue's worker is overloaded and its ring may be full
    /// ([`crate::layout::RELIEF`]).
    RtcpAside,
}

impl Counter {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of their indices.
    pub const ALL: [Self; 24] = [
        Self::NotIp,
        Self::NotUdp,
        Self::Fragment,
        Self::ExtensionHeaders,
        Self::BadHeader,
        Self::NoLeg,
        Self::TooLarge,
        Self::Rtp,
        Self::Rtcp,
        Self::Stun,
        Self::Dtls,
        Self::Zrtp,
        Self::TurnChannel,
        Self::Unknown,
        Self::TooShort,
        Self::Version,
        Self::PayloadType,
        Self::CsrcCount,
        Self::ExtensionLength,
        Self::Padding,
        Self::PacketType,
        Self::RtcpLength,
        Self::NoSocket,
        Self::RtcpAside,
    ];

    /// The index into the counters.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// Whether it counts frames that another counter has counted already.
    pub const fn is_beside(self) -> bool {
        matches!(self, Self::NoSocket | Self::RtcpAside)
    }

    /// A name for tables and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::NotUdp => "not_udp",
            Self::Fragment => "fragment",
            Self::ExtensionHeaders => "extension_headers",
            Self::BadHeader => "bad_header",
            Self::NoLeg => "no_leg",
            Self::TooLarge => "too_large",
            Self::Rtp => "rtp",
            Self::Rtcp => "rtcp",
            Self::Stun => "stun",
            Self::Dtls => "dtls",
            Self::Zrtp => "zrtp",
            Self::TurnChannel => "turn_channel",
            Self::Unknown => "unknown",
            Self::TooShort => "too_short",
            Self::Version => "version",
            Self::PayloadType => "payload_type",
            Self::CsrcCount => "csrc_count",
            Self::ExtensionLength => "extension_length",
            Self::Padding => "padding",
            Self::PacketType => "packet_type",
            Self::RtcpLength => "rtcp_length",
            Self::NoSocket => "no_socket",
            Self::RtcpAside => "rtcp_aside",
        }
    }
}

impl From<NotUdp> for Counter {
    #[inline(always)]
    fn from(reason: NotUdp) -> Self {
        match reason {
            NotUdp::NotIp => Self::NotIp,
            NotUdp::OtherProtocol => Self::NotUdp,
            NotUdp::Fragment => Self::Fragment,
            NotUdp::ExtensionHeaders => Self::ExtensionHeaders,
            NotUdp::BadHeader => Self::BadHeader,
        }
    }
}

impl From<Malformed> for Counter {
    #[inline(always)]
    fn from(reason: Malformed) -> Self {
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

/// What to do with a frame, and which counter it belongs to.
///
/// Only valid media of a leg that `lookup` knows is redirected, and only malformed media of such a leg is
/// dropped; all else is the kernel's, so that the leg's socket sees it.
#[inline(always)]
pub fn decide<B: Bytes + ?Sized>(
    frame: &B,
    lookup: impl Fn(&LocalKey) -> Option<LegEntry>,
) -> (Action, Counter) {
    let datagram = match locate(frame) {
        Ok(datagram) => datagram,
        Err(reason) => return (Action::Pass, reason.into()),
    };
    let Some(leg) = lookup(&LocalKey::new(&datagram.destination)) else {
        return (Action::Pass, Counter::NoLeg);
    };
    let in_one_buffer = frame.len() >= frame.wire_len();
    let gathers = leg.max_frame as usize > MAX_FRAME;
    if frame.wire_len() > leg.max_frame as usize || !in_one_buffer && !gathers {
        return (Action::Pass, Counter::TooLarge);
    }
    match classify_at(frame, datagram.payload, datagram.length, &leg.policy) {
        Verdict::Rtp => (Action::Redirect, Counter::Rtp),
        Verdict::Rtcp => (Action::Redirect, Counter::Rtcp),
        Verdict::Stun => (Action::Pass, Counter::Stun),
        Verdict::Dtls => (Action::Pass, Counter::Dtls),
        Verdict::Zrtp => (Action::Pass, Counter::Zrtp),
        Verdict::TurnChannel => (Action::Pass, Counter::TurnChannel),
        Verdict::Unknown => (Action::Pass, Counter::Unknown),
        // What is wrong with it may be no more than that it cannot be read whole here.
        Verdict::Invalid(_) if !in_one_buffer => (Action::Pass, Counter::TooLarge),
        Verdict::Invalid(reason) => (Action::Drop, reason.into()),
    }
}
