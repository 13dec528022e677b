//! RFC 3550 A.1: is this a valid RTP packet, as far as one packet alone can tell?
//!
//! The version is known to be 2 from the first octet. The sequence probation of A.1 needs state and
//! belongs to the receiver.

use crate::{Bytes, Malformed, Policy};

const FIXED_HEADER: usize = 12;
const PADDING: u8 = 0x20;
const EXTENSION: u8 = 0x10;

#[inline(always)]
pub(crate) fn check<B: Bytes>(datagram: &B, first: u8, second: u8, policy: &Policy) -> Result<(), Malformed> {
    if datagram.len() < FIXED_HEADER {
        return Err(Malformed::TooShort);
    }
    // "The payload type must be known, and in particular it must not be equal to SR or RR."
    if !policy.allows(second & 0x7f) {
        return Err(Malformed::PayloadType);
    }
    let header = header_length(datagram, first)?;
    if first & PADDING != 0 && policy.is_plain() {
        check_padding(datagram, header)?;
    }
    Ok(())
}

/// "The length of the packet must be consistent with CC", and the extension's length with what is left
/// behind the fixed header. SRTP leaves all of this header in the clear (RFC 3711 §3.1; RFC 6904 and
/// RFC 9335, which encrypt the extension, keep its length readable).
#[inline(always)]
fn header_length<B: Bytes>(datagram: &B, first: u8) -> Result<usize, Malformed> {
    let fixed = FIXED_HEADER + 4 * (first & 0x0f) as usize;
    if fixed > datagram.len() {
        return Err(Malformed::CsrcCount);
    }
    if first & EXTENSION == 0 {
        return Ok(fixed);
    }
    let Some(words) = datagram.u16_at(fixed + 2) else { return Err(Malformed::ExtensionLength) };
    let header = fixed + 4 + 4 * words as usize;
    if header > datagram.len() {
        return Err(Malformed::ExtensionLength);
    }
    Ok(header)
}

/// "If the P bit is set, then the last octet of the packet must contain a valid octet count". A.1 goes on
/// to ask that the count be less than what follows the header, so that some payload is left. Packets of
/// padding throughout are nevertheless sent to probe for bandwidth, and §5.1 allows them: they are valid
/// here.
#[inline(always)]
fn check_padding<B: Bytes>(datagram: &B, header: usize) -> Result<(), Malformed> {
    match datagram.u8_at(datagram.len() - 1) {
        Some(count) if count != 0 && header + count as usize <= datagram.len() => Ok(()),
        _ => Err(Malformed::Padding),
    }
}
