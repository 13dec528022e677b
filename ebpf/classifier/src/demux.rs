//! From a UDP payload to its verdict.

use crate::bytes::Window;
use crate::{Bytes, Policy, Verdict, rtcp, rtp};

const STUN_MAGIC_COOKIE: u32 = 0x2112_a442;
const STUN_HEADER: usize = 20;
/// "ZRTP" in ASCII.
const ZRTP_MAGIC_COOKIE: u32 = 0x5a52_5450;
const CHANNEL_HEADER: usize = 4;

/// Says what a datagram (a UDP payload) is, to a leg with this policy.
///
/// ```
/// use sluice_classifier::{Policy, Verdict, classify};
///
/// let rtp = [0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 1, 0x55];
/// assert_eq!(classify(&rtp, &Policy::new()), Verdict::Rtp);
/// assert_eq!(classify(&[22, 0xfe, 0xfd], &Policy::new()), Verdict::Dtls);
/// ```
#[inline]
pub fn classify(datagram: &[u8], policy: &Policy) -> Verdict {
    classify_at(datagram, 0, datagram.len(), policy)
}

/// The same for the `length` bytes at `start` of a larger packet.
///
/// RFC 7983 §7, figure 3: the first octet alone says which protocol a datagram may be. Where that
/// protocol has a fixed cookie or length, it must be right too; otherwise the datagram is `Unknown`.
/// The ranges that RFC 7983 leaves unassigned are `Unknown` (RFC 9443 §2 gives some to QUIC).
#[inline(always)]
pub fn classify_at<B: Bytes + ?Sized>(bytes: &B, start: usize, length: usize, policy: &Policy) -> Verdict {
    let datagram = Window { bytes, start, length };
    let Some(first) = datagram.u8_at(0) else { return Verdict::Unknown };
    match first {
        0..=3 => stun(&datagram),
        16..=19 => zrtp(&datagram),
        20..=63 => Verdict::Dtls,
        64..=79 => turn_channel(&datagram),
        128..=191 => media(&datagram, first, policy),
        _ => Verdict::Unknown,
    }
}

/// RFC 8489 §6.3: the cookie has the right value and the message length is sensible; §5: it is a
/// multiple of 4 and does not count the header. Classic STUN (RFC 3489) has no cookie: `Unknown`.
#[inline(always)]
fn stun<B: Bytes>(datagram: &B) -> Verdict {
    let (Some(cookie), Some(length)) = (datagram.u32_at(4), datagram.u16_at(2)) else {
        return Verdict::Unknown;
    };
    let whole = STUN_HEADER + length as usize;
    if cookie == STUN_MAGIC_COOKIE && length.is_multiple_of(4) && whole <= datagram.len() {
        Verdict::Stun
    } else {
        Verdict::Unknown
    }
}

/// RFC 6189 §5: the magic cookie "uniquely identifies a ZRTP packet".
#[inline(always)]
fn zrtp<B: Bytes>(datagram: &B) -> Verdict {
    match datagram.u32_at(4) {
        Some(ZRTP_MAGIC_COOKIE) => Verdict::Zrtp,
        _ => Verdict::Unknown,
    }
}

/// RFC 8656 §12.4: channel number, length of the application data, the data; padding may follow.
/// Channel numbers above 0x4fff, which RFC 5766 still had, are outside this range of first octets and so
/// `Unknown`.
#[inline(always)]
fn turn_channel<B: Bytes>(datagram: &B) -> Verdict {
    match datagram.u16_at(2) {
        Some(length) if CHANNEL_HEADER + length as usize <= datagram.len() => Verdict::TurnChannel,
        _ => Verdict::Unknown,
    }
}

/// RFC 5761 §4 splits RTP from RTCP by the second octet: RTCP packet types are 192..=223. A leg's
/// RTCP port takes nothing else.
#[inline(always)]
fn media<B: Bytes>(datagram: &B, first: u8, policy: &Policy) -> Verdict {
    let Some(second) = datagram.u8_at(1) else { return Verdict::Invalid(crate::Malformed::TooShort) };
    let checked = if matches!(second, rtcp::FIRST_TYPE..=rtcp::LAST_TYPE) {
        (Verdict::Rtcp, rtcp::check(datagram, policy))
    } else if policy.is_rtcp_only() {
        return Verdict::Invalid(crate::Malformed::PacketType);
    } else {
        (Verdict::Rtp, rtp::check(datagram, first, second, policy))
    };
    match checked {
        (verdict, Ok(())) => verdict,
        (_, Err(reason)) => Verdict::Invalid(reason),
    }
}
