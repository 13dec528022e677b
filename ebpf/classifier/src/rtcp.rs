//! RFC 3550 A.2, relaxed by RFC 5506 (reduced-size RTCP): is this a valid RTCP packet?

use crate::{Bytes, Malformed, Policy};

/// RFC 5761 §4: RTCP packet types, as they stand in the second octet.
pub(crate) const FIRST_TYPE: u8 = 192;
pub(crate) const LAST_TYPE: u8 = 223;

/// How many packets of a compound are looked at; what lies beyond is left to user space. The verifier
/// asks for a bound, and compounds of real senders hold two to six.
pub const MAX_COMPOUND: usize = 16;

/// Header and sender's SSRC: what SRTCP leaves in the clear (RFC 3711 §3.4).
const FIXED_HEADER: usize = 8;
/// The E flag and the SRTCP index; authentication tag and MKI follow, with lengths of the suite.
const SRTCP_TRAILER: usize = 4;
const PADDING: u8 = 0x20;

#[inline(always)]
pub(crate) fn check<B: Bytes>(datagram: &B, policy: &Policy) -> Result<(), Malformed> {
    let trailer = if policy.is_plain() { 0 } else { SRTCP_TRAILER };
    if datagram.len() < FIXED_HEADER + trailer {
        return Err(Malformed::TooShort);
    }
    let first = packet_length(datagram, 0)?;
    if first < FIXED_HEADER || first + trailer > datagram.len() {
        return Err(Malformed::RtcpLength);
    }
    if policy.is_plain() { check_compound(datagram, first) } else { Ok(()) }
}

/// "The length fields of the individual RTCP packets must add up to the overall length of the
/// compound RTCP packet as received", each has version 2, and padding is only in the last one.
/// That the first is SR or RR is not asked for: reduced-size RTCP begins otherwise (RFC 5506 §3.4.2).
#[inline(always)]
fn check_compound<B: Bytes>(datagram: &B, first: usize) -> Result<(), Malformed> {
    let mut at = 0;
    let mut length = first;
    for _ in 0..MAX_COMPOUND {
        let next = at + length;
        if next == datagram.len() {
            return Ok(());
        }
        let padded = matches!(datagram.u8_at(at), Some(flags) if flags & PADDING != 0);
        if padded {
            return Err(Malformed::Padding);
        }
        at = next;
        match datagram.u8_at(at) {
            Some(flags) if flags >> 6 == 2 => {}
            Some(_) => return Err(Malformed::Version),
            None => return Err(Malformed::RtcpLength),
        }
        length = packet_length(datagram, at)?;
        if at + length > datagram.len() {
            return Err(Malformed::RtcpLength);
        }
    }
    Ok(())
}

/// "The length of this RTCP packet in 32-bit words minus one" (RFC 3550 §6.4.1), in octets.
#[inline(always)]
fn packet_length<B: Bytes>(datagram: &B, at: usize) -> Result<usize, Malformed> {
    match datagram.u16_at(at + 2) {
        Some(words) => Ok(4 * (words as usize + 1)),
        None => Err(Malformed::RtcpLength),
    }
}
