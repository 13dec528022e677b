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

/// Puts the payload type that stands for the packet's in `types` into an unprotected packet. Nothing happens to one
/// too short for a header.
pub fn rewrite_payload_type(packet: &mut [u8], types: &[u8; 128]) {
    if let Some(field) = packet.get_mut(1) {
        *field = *field & 0x80 | types[usize::from(*field & 0x7f)] & 0x7f;
    }
}

/// Gives every header extension element (RFC 8285) of an unprotected packet the identifier that stands for its own
/// in `ids`. One whose new identifier is 0, or more than the one-byte form can express, becomes padding. Nothing
/// happens to other extensions, nor to what does not lie inside the packet.
pub fn rewrite_extension_ids(packet: &mut [u8], ids: &[u8; 256]) {
    let Some(&[first, ..]) = packet.first_chunk::<FIXED_LEN>() else { return };
    let at = FIXED_LEN + 4 * usize::from(first & 0x0f);
    if first & 0x10 == 0 {
        return;
    }
    let Some(&[high, low, words @ ..]) = packet.get(at..).and_then(|tail| tail.first_chunk::<4>()) else {
        return;
    };
    let end = at + 4 + 4 * usize::from(u16::from_be_bytes(words));
    let Some(elements) = packet.get_mut(at + 4..end) else { return };
    match u16::from_be_bytes([high, low]) {
        ONE_BYTE => rewrite_one_byte(elements, ids),
        profile if profile & 0xfff0 == TWO_BYTE => rewrite_two_byte(elements, ids),
        _ => {}
    }
}

/// RFC 8285 §4.2.
const ONE_BYTE: u16 = 0xbede;
/// RFC 8285 §4.3, less the application's four bits.
const TWO_BYTE: u16 = 0x1000;

fn rewrite_one_byte(mut elements: &mut [u8], ids: &[u8; 256]) {
    while let [header, rest @ ..] = elements {
        let (id, len) = (*header >> 4, usize::from(*header & 0x0f) + 1);
        if *header == 0 {
            elements = rest;
            continue;
        }
        // RFC 8285 §4.2: with identifier 15 the processing of the elements ends.
        if id == 15 || len > rest.len() {
            return;
        }
        let (data, rest) = rest.split_at_mut(len);
        if let new @ 1..=14 = ids[usize::from(id)] {
            *header = new << 4 | (*header & 0x0f);
        } else {
            *header = 0;
            data.fill(0);
        }
        elements = rest;
    }
}

fn rewrite_two_byte(mut elements: &mut [u8], ids: &[u8; 256]) {
    while let [id, rest @ ..] = elements {
        if *id == 0 {
            elements = rest;
            continue;
        }
        let [len, rest @ ..] = rest else { return };
        if usize::from(*len) > rest.len() {
            return;
        }
        let (data, rest) = rest.split_at_mut(usize::from(*len));
        *id = ids[usize::from(*id)];
        if *id == 0 {
            *len = 0;
            data.fill(0);
        }
        elements = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(profile: u16, elements: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x91, 0x80 | 5, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 9, 9];
        packet.extend(profile.to_be_bytes());
        packet.extend(((elements.len() / 4) as u16).to_be_bytes());
        packet.extend_from_slice(elements);
        packet.extend_from_slice(b"payload");
        packet
    }

    fn ids(changes: &[(u8, u8)]) -> [u8; 256] {
        let mut ids = std::array::from_fn(|id| id as u8);
        for (from, to) in changes {
            ids[usize::from(*from)] = *to;
        }
        ids
    }

    fn rewritten(profile: u16, elements: &[u8], changes: &[(u8, u8)]) -> Vec<u8> {
        let mut packet = packet(profile, elements);
        rewrite_extension_ids(&mut packet, &ids(changes));
        packet
    }

    #[test]
    fn elements_get_their_new_identifiers_in_both_forms() {
        let one = [0x10, 0xaa, 0x00, 0x31, 1, 2, 0x20, 7, 0xf0, 0x10, 1, 1];
        let expected = [0x30, 0xaa, 0x00, 0x11, 1, 2, 0x00, 0, 0xf0, 0x10, 1, 1];
        let changes = [(1, 3), (3, 1), (2, 0)];
        assert_eq!(rewritten(0xbede, &one, &changes), packet(0xbede, &expected), "15 ends it");
        let two = [1, 2, 0x11, 0x22, 0, 200, 0, 2, 1, 9, 3, 0];
        let expected = [201, 2, 0x11, 0x22, 0, 3, 0, 0, 0, 0, 3, 0];
        assert_eq!(rewritten(0x1005, &two, &[(1, 201), (200, 3), (2, 0)]), packet(0x1005, &expected));
        assert_eq!(rewritten(0xabcd, &two, &[(1, 7)]), packet(0xabcd, &two), "not of RFC 8285");
    }

    #[test]
    fn an_identifier_that_the_short_form_cannot_express_takes_the_element_out() {
        assert_eq!(rewritten(0xbede, &[0x11, 1, 2, 0], &[(1, 15)]), packet(0xbede, &[0; 4]));
        assert_eq!(rewritten(0xbede, &[0x11, 1, 2, 0], &[(1, 200)]), packet(0xbede, &[0; 4]));
    }

    #[test]
    fn payload_types_change_and_the_marker_stays() {
        let mut types: [u8; 128] = std::array::from_fn(|value| value as u8);
        types[5] = 96;
        let mut packet = packet(0xbede, &[]);
        rewrite_payload_type(&mut packet, &types);
        let header = Header::parse(&packet).unwrap();
        assert_eq!((header.payload_type, header.marker, header.sequence), (96, true, 1));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_and_only_the_extension_changes(
            bytes in prop::collection::vec(any::<u8>(), 0..120), new in any::<u8>(), short in any::<bool>()
        ) {
            let mut packet = bytes.clone();
            if let Some(first) = packet.first_mut() {
                *first = *first & 0x0f | 0x90;
            }
            let at = FIXED_LEN + 4 * usize::from(packet.first().map_or(0, |first| first & 0x0f));
            if let Some(profile) = packet.get_mut(at..at + 2) {
                profile.copy_from_slice(&if short { [0xbe, 0xde] } else { [0x10, 0] });
            }
            let before = packet.clone();
            rewrite_extension_ids(&mut packet, &[new; 256]);
            let inside = Header::parse(&before).map_or(before.len()..before.len(), |header| at + 4..header.len);
            for (index, (old, new)) in before.iter().zip(&packet).enumerate() {
                prop_assert!(old == new || inside.contains(&index));
            }
        }
    }
}
