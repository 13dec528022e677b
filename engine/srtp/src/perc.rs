//! Privacy-enhanced conferencing: the double transform (RFC 8723), as an endpoint and as a media distributor.
//!
//! An endpoint's key is of a `DOUBLE_…` suite: its first half protects payloads end to end, its second half
//! packets hop by hop. A media distributor has second halves only, as keys of the plain AEAD suite
//! ([`MasterKey::outer`](crate::MasterKey::outer)): it unprotects, changes the header by [`relay`], and
//! protects under the next hop's key, which must be another than the one it received under (RFC 8723 §5.2).
//!
//! ```text
//! payload ‖ inner tag ‖ OHB        what a media distributor sees
//!                       ▲ original payload type, sequence number, marker bit, as far as they were changed
//! ```

use crate::Error;
use crate::rtp::Header;

/// Octets of the inner tag.
pub(crate) const INNER_TAG: usize = 16;
/// Octets that an endpoint adds before the outer transform: inner tag and an empty OHB.
pub(crate) const INNER_LEN: usize = INNER_TAG + 1;
/// Most octets that [`relay`] makes of an OHB's one.
pub const MAX_OHB_GROWTH: usize = 3;

/// Bits of the OHB's last octet (RFC 8723 §4).
const SEQ: u8 = 1;
const PT: u8 = 2;
const MARKER: u8 = 4;
const MARKER_VALUE: u8 = 8;

/// The original header block: what an endpoint put into the header, where that was changed on the way
/// (RFC 8723 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginalHeader {
    /// Payload type, 0 to 127.
    pub payload_type: Option<u8>,
    /// Sequence number.
    pub sequence: Option<u16>,
    /// Marker bit.
    pub marker: Option<bool>,
}

impl OriginalHeader {
    /// Reads the block at the end of a packet; it and its length.
    pub(crate) fn read(packet: &[u8]) -> Result<(Self, usize), Error> {
        let (config, before) = packet.split_last().ok_or(Error::TooShort)?;
        let mut block = Self::default();
        let mut len = 1;
        let mut take = |octets: usize| {
            len += octets;
            before.len().checked_sub(len - 1).map(|at| &before[at..at + octets]).ok_or(Error::TooShort)
        };
        // From its end: the sequence number is next to the last octet.
        if config & SEQ != 0 {
            let octets = take(2)?;
            block.sequence = Some(u16::from_be_bytes([octets[0], octets[1]]));
        }
        if config & PT != 0 {
            block.payload_type = Some(take(1)?[0] & 0x7f);
        }
        if config & MARKER != 0 {
            block.marker = Some(config & MARKER_VALUE != 0);
        }
        Ok((block, len))
    }

    /// Writes the block; how long it is, at most four octets.
    fn write(self, to: &mut [u8; 4]) -> usize {
        let mut len = 0;
        let mut config = 0;
        if let Some(payload_type) = self.payload_type {
            to[0] = payload_type;
            len = 1;
            config |= PT;
        }
        if let Some(sequence) = self.sequence {
            to[len..len + 2].copy_from_slice(&sequence.to_be_bytes());
            len += 2;
            config |= SEQ;
        }
        if let Some(marker) = self.marker {
            config |= MARKER | if marker { MARKER_VALUE } else { 0 };
        }
        to[len] = config;
        len + 1
    }

    /// The fixed header as the endpoint made it, without extension (RFC 8723 §5.3 step 4).
    pub(crate) fn restore(self, fixed: &mut [u8]) {
        fixed[0] &= !0x10;
        if let Some(marker) = self.marker {
            fixed[1] = fixed[1] & 0x7f | u8::from(marker) << 7;
        }
        if let Some(payload_type) = self.payload_type {
            fixed[1] = fixed[1] & 0x80 | payload_type;
        }
        if let Some(sequence) = self.sequence {
            fixed[2..4].copy_from_slice(&sequence.to_be_bytes());
        }
    }
}

/// What a media distributor changes of a header; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Payload type, 0 to 127.
    pub payload_type: Option<u8>,
    /// Sequence number.
    pub sequence: Option<u16>,
    /// Marker bit.
    pub marker: Option<bool>,
}

/// Changes the header of a packet that came out of the outer transform, and records the original values in its
/// original header block: of a field the first that changes it, and none of a field that is again as it was
/// (RFC 8723 §5.2). `packet` is a buffer of which the packet is the first `len` octets; the new length, at
/// most [`MAX_OHB_GROWTH`] more.
///
/// # Errors
/// [`Error::TooShort`] if there is no inner tag or no block, [`Error::NoTailroom`] if the buffer is full; the
/// packet is then as it was.
pub fn relay(packet: &mut [u8], len: usize, changes: &Changes) -> Result<usize, Error> {
    let text = packet.get(..len).ok_or(Error::TooShort)?;
    let header = Header::parse(text)?;
    let (before, block_len) = OriginalHeader::read(&text[header.len..])?;
    let end = len - block_len;
    if end < header.len + INNER_TAG {
        return Err(Error::TooShort);
    }
    let (old_type, old_marker) = (header.payload_type, header.marker);
    let payload_type = changes.payload_type.map_or(old_type, |value| value & 0x7f);
    let sequence = changes.sequence.unwrap_or(header.sequence);
    let marker = changes.marker.unwrap_or(old_marker);
    let block = OriginalHeader {
        payload_type: original(before.payload_type, old_type, payload_type),
        sequence: original(before.sequence, header.sequence, sequence),
        marker: original(before.marker, old_marker, marker),
    };
    let mut octets = [0; 4];
    let block_len = block.write(&mut octets);
    packet.get_mut(end..end + block_len).ok_or(Error::NoTailroom)?.copy_from_slice(&octets[..block_len]);
    packet[1] = payload_type | u8::from(marker) << 7;
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    Ok(end + block_len)
}

/// What the block says of a field that was `old` and is to be `new`.
fn original<T: PartialEq + Copy>(recorded: Option<T>, old: T, new: T) -> Option<T> {
    let first = recorded.unwrap_or(old);
    (first != new).then_some(first)
}
