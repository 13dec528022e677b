//! The RTP header (RFC 3550 §5.1, §5.3.1), read without trusting it.

use crate::Error;

/// Octets of the fixed header.
pub const FIXED_LEN: usize = 12;

/// What the packet path needs of an RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload type, 0–127.
    pub payload_type: u8,
    /// The marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
    /// Octets of fixed header, CSRC list and header extension together.
    pub len: usize,
}

impl Header {
    /// Reads the header of `packet`, checking that all of it lies inside.
    #[allow(clippy::inline_always, reason = "of what is read the packet path wants a part only")]
    #[inline(always)]
    pub fn parse(packet: &[u8]) -> Result<Self, Error> {
        let fixed: &[u8; FIXED_LEN] = packet.first_chunk().ok_or(Error::TooShort)?;
        if fixed[0] >> 6 != 2 {
            return Err(Error::Version);
        }
        let mut len = FIXED_LEN + 4 * usize::from(fixed[0] & 0x0f);
        if len > packet.len() {
            return Err(Error::CsrcCount);
        }
        if fixed[0] & 0x10 != 0 {
            let extension = packet[len..].first_chunk::<4>().ok_or(Error::ExtensionLength)?;
            len += 4 + 4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]));
            if len > packet.len() {
                return Err(Error::ExtensionLength);
            }
        }
        Ok(Self {
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            len,
        })
    }
}

/// The SSRC of a packet that may be no more than a fixed header.
pub fn ssrc(packet: &[u8]) -> Option<u32> {
    packet.get(8..12).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes)
}

/// Puts another SSRC into an unprotected packet. Nothing happens to one too short for a header.
pub fn rewrite_ssrc(packet: &mut [u8], ssrc: u32) {
    if let Some(field) = packet.get_mut(8..12) {
        field.copy_from_slice(&ssrc.to_be_bytes());
    }
}
