//! RTCP compound packets (RFC 3550 §6), read without trusting them.

/// Octets of the common header and the sender's SSRC, which SRTCP leaves in the clear (RFC 3711 §3.4).
pub const CLEAR_LEN: usize = 8;

/// Sender report.
pub const SENDER_REPORT: u8 = 200;
/// Receiver report.
pub const RECEIVER_REPORT: u8 = 201;
/// Source description.
pub const SOURCE_DESCRIPTION: u8 = 202;
/// Goodbye.
pub const BYE: u8 = 203;
/// Transport-layer feedback (RFC 4585).
pub const TRANSPORT_FEEDBACK: u8 = 205;
/// Payload-specific feedback (RFC 4585).
pub const PAYLOAD_FEEDBACK: u8 = 206;

/// The SSRC of the packet's sender: the first packet's second word.
pub fn sender_ssrc(packet: &[u8]) -> Option<u32> {
    packet.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes)
}

/// One packet of a compound packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// RTCP packet type.
    pub packet_type: u8,
    /// The five bits that count reports or name a feedback format.
    pub count: u8,
    /// Where the part begins in the compound packet.
    pub start: usize,
    /// Where it ends; never past the compound packet's end.
    pub end: usize,
}

/// The parts of an unprotected compound packet, up to the first that is not well formed.
pub fn parts(packet: &[u8]) -> impl Iterator<Item = Part> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let header: &[u8; 4] = packet.get(start..)?.first_chunk()?;
        let end = start + 4 + 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 6 != 2 || end > packet.len() {
            return None;
        }
        let part = Part { packet_type: header[1], count: header[0] & 0x1f, start, end };
        start = end;
        Some(part)
    })
}

/// Replaces SSRC `from` by `to` wherever an unprotected compound packet names it: as sender, in
/// report blocks, in SDES chunks, in BYE lists, as the media source of feedback, and in FIR, TMMBR,
/// TMMBN (RFC 5104) and REMB entries.
pub fn rewrite_ssrc(packet: &mut [u8], from: u32, to: u32) {
    let mut start = 0;
    loop {
        let Some(part) = parts(&packet[start..]).next() else { return };
        let body = &mut packet[start + 4..start + part.end];
        rewrite_part(body, part, from, to);
        start += part.end;
    }
}

fn rewrite_part(body: &mut [u8], part: Part, from: u32, to: u32) {
    let count = usize::from(part.count);
    match part.packet_type {
        SENDER_REPORT => {
            replace(body, 0, from, to);
            (0..count).for_each(|block| replace(body, 24 + 24 * block, from, to));
        }
        RECEIVER_REPORT => {
            replace(body, 0, from, to);
            (0..count).for_each(|block| replace(body, 4 + 24 * block, from, to));
        }
        SOURCE_DESCRIPTION => rewrite_chunks(body, count, from, to),
        BYE => (0..count).for_each(|source| replace(body, 4 * source, from, to)),
        TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK => {
            replace(body, 0, from, to);
            replace(body, 4, from, to);
            rewrite_feedback(body, part, from, to);
        }
        _ => replace(body, 0, from, to),
    }
}

/// Formats whose own entries name streams.
fn rewrite_feedback(body: &mut [u8], part: Part, from: u32, to: u32) {
    match (part.packet_type, part.count) {
        // TMMBR, TMMBN (RFC 5104 §4.2.1, §4.2.2) and FIR (§4.3.1): entries of two words.
        (TRANSPORT_FEEDBACK, 3 | 4) | (PAYLOAD_FEEDBACK, 4) => {
            (8..body.len()).step_by(8).for_each(|at| replace(body, at, from, to));
        }
        // REMB (draft-alvestrand-rmcat-remb §2.2): a count, a bitrate, a list.
        (PAYLOAD_FEEDBACK, 15) if body.get(8..12) == Some(b"REMB") => {
            let count = body.get(12).map_or(0, |count| usize::from(*count));
            (0..count).for_each(|source| replace(body, 16 + 4 * source, from, to));
        }
        _ => {}
    }
}

/// SDES chunks: an SSRC, then items until a zero octet, padded to a word (RFC 3550 §6.5).
fn rewrite_chunks(body: &mut [u8], count: usize, from: u32, to: u32) {
    let mut at = 0;
    for _ in 0..count {
        replace(body, at, from, to);
        at += 4;
        while let Some(item) = body.get(at..) {
            match item {
                [] | [0, ..] | [_] => break,
                [_, length, ..] => at += 2 + usize::from(*length),
            }
        }
        at = (at + 4) & !3;
    }
}

fn replace(body: &mut [u8], at: usize, from: u32, to: u32) {
    if let Some(field) = body.get_mut(at..at + 4)
        && *field == from.to_be_bytes()
    {
        field.copy_from_slice(&to.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn every_place_that_names_the_source_is_rewritten() {
        let mut packet = words(&[0x81c8_000c, 7, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0]);
        packet.extend(words(&[0x81ca_0003, 7, 0x0102_6162, 0x0000_0000]));
        packet.extend(words(&[0x81cb_0001, 7]));
        packet.extend(words(&[0x81cd_0002, 9, 7]));
        packet.extend(words(&[0x84ce_0006, 9, 0, 7, 0x0100_0000, 8, 0x0200_0000]));
        packet.extend(words(&[0x8fce_0005, 9, 0, 0x5245_4d42, 0x0100_0000, 7]));
        rewrite_ssrc(&mut packet, 7, 0xaabb_ccdd);
        let named = packet.chunks(4).filter(|word| **word == [0xaa, 0xbb, 0xcc, 0xdd]).count();
        assert_eq!(named, 7);
        assert_eq!(parts(&packet).count(), 6);
    }

    #[test]
    fn a_lying_length_ends_the_walk() {
        let packet = words(&[0x80c9_0001, 7, 0x80c9_00ff, 7]);
        assert_eq!(parts(&packet).count(), 1);
    }
}
