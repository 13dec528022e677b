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

/// Extended reports (RFC 3611).
pub const EXTENDED_REPORT: u8 = 207;

/// Settings of inter-destination media synchronization (RFC 7272 §8).
pub const SYNCHRONIZATION_SETTINGS: u8 = 211;

/// Reporting sources of a reporting group (RFC 8861).
pub const REPORTING_SOURCES: u8 = 212;

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

/// Replaces SSRC `from` by `to` wherever an unprotected compound packet names it; see [`rewrite_ssrcs`].
pub fn rewrite_ssrc(packet: &mut [u8], from: u32, to: u32) {
    rewrite_ssrcs(packet, |ssrc| (ssrc == from).then_some(to));
}

/// Replaces every SSRC of an unprotected compound packet for which `replacement` has another: as sender,
/// in report blocks, SDES chunks and BYE lists (RFC 3550 §6), as the media source of feedback
/// (RFC 4585 §6.1), in the entries of TMMBR, TMMBN, FIR, TSTR, TSTN and VBCM (RFC 5104 §4.2, §4.3), PSLEI (RFC 6642),
/// PAUSE and RESUME (RFC 7728), congestion control (RFC 8888), LRR (RFC 9627) and of REMB, in XR blocks (RFC 3611 §4,
/// RFC 7272), as the media source of IDMS settings (RFC 7272 §8), and as reporting sources (RFC 8861).
pub fn rewrite_ssrcs(packet: &mut [u8], replacement: impl Fn(u32) -> Option<u32>) {
    let mut start = 0;
    loop {
        let Some(part) = parts(&packet[start..]).next() else { return };
        let body = &mut packet[start + 4..start + part.end];
        each_ssrc(body, part, &mut |field| replace(field, &replacement));
        start += part.end;
    }
}

fn replace(field: &mut [u8; 4], replacement: impl Fn(u32) -> Option<u32>) {
    if let Some(ssrc) = replacement(u32::from_be_bytes(*field)) {
        *field = ssrc.to_be_bytes();
    }
}

/// The format of feedback without a media source (RFC 8888 §3.1).
const CONGESTION_CONTROL: u8 = 11;

type Visit<'a> = dyn FnMut(&mut [u8; 4]) + 'a;

/// The SSRCs of one part; `body` begins after the part's first word.
fn each_ssrc(body: &mut [u8], part: Part, visit: &mut Visit<'_>) {
    let count = usize::from(part.count);
    match part.packet_type {
        SENDER_REPORT => {
            at(body, 0, visit);
            every(body, 24, 24, count, visit);
        }
        RECEIVER_REPORT => {
            at(body, 0, visit);
            every(body, 4, 24, count, visit);
        }
        SOURCE_DESCRIPTION => chunks(body, count, visit),
        BYE => every(body, 0, 4, count, visit),
        TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK => feedback(body, part, visit),
        EXTENDED_REPORT => extended(body, visit),
        // The sender and the media source; what follows is an identifier and times.
        SYNCHRONIZATION_SETTINGS => every(body, 0, 4, 2, visit),
        REPORTING_SOURCES => every(body, 0, 4, body.len() / 4, visit),
        _ => at(body, 0, visit),
    }
}

/// The SSRC at an offset, if the part is that long.
fn at(body: &mut [u8], offset: usize, visit: &mut Visit<'_>) {
    if let Some(field) = body.get_mut(offset..).and_then(|tail| tail.first_chunk_mut()) {
        visit(field);
    }
}

fn every(body: &mut [u8], first: usize, step: usize, count: usize, visit: &mut Visit<'_>) {
    for index in 0..count {
        at(body, first + index * step, visit);
    }
}

/// SDES chunks: an SSRC, then items until a zero octet, padded to a word (RFC 3550 §6.5).
fn chunks(body: &mut [u8], count: usize, visit: &mut Visit<'_>) {
    let mut offset = 0;
    for _ in 0..count {
        at(body, offset, visit);
        offset += 4;
        while let Some(item) = body.get(offset..) {
            match item {
                [] | [0, ..] | [_] => break,
                [_, length, ..] => offset += 2 + usize::from(*length),
            }
        }
        offset = (offset + 4) & !3;
    }
}

/// Sender, media source, and the SSRCs that some formats carry in entries of their own.
fn feedback(body: &mut [u8], part: Part, visit: &mut Visit<'_>) {
    at(body, 0, visit);
    if (part.packet_type, part.count) == (TRANSPORT_FEEDBACK, CONGESTION_CONTROL) {
        return congestion(body, visit);
    }
    at(body, 4, visit);
    let pairs = body.len().saturating_sub(8) / 8;
    match (part.packet_type, part.count) {
        // TMMBR, TMMBN; FIR, TSTR, TSTN: entries of two words.
        (TRANSPORT_FEEDBACK, 3 | 4) | (PAYLOAD_FEEDBACK, 4..=6) => every(body, 8, 8, pairs, visit),
        // PAUSE, RESUME: entries with parameters.
        (TRANSPORT_FEEDBACK, 9) => pauses(body, visit),
        // PSLEI: a list.
        (PAYLOAD_FEEDBACK, 8) => every(body, 8, 4, body.len().saturating_sub(8) / 4, visit),
        // LRR: entries of three words.
        (PAYLOAD_FEEDBACK, 10) => every(body, 8, 12, body.len().saturating_sub(8) / 12, visit),
        // VBCM: one entry of any length.
        (PAYLOAD_FEEDBACK, 7) => at(body, 8, visit),
        // REMB (draft-alvestrand-rmcat-remb §2.2): a count, a bitrate, a list.
        (PAYLOAD_FEEDBACK, 15) if body.get(8..12) == Some(b"REMB") => {
            let count = body.get(12).map_or(0, |count| usize::from(*count));
            every(body, 16, 4, count, visit);
        }
        _ => {}
    }
}

/// Congestion control feedback (RFC 8888 §3.1): no media source, but for each an SSRC, the first sequence number, how
/// many are reported and half a word for each; then the time of the report.
fn congestion(body: &mut [u8], visit: &mut Visit<'_>) {
    let mut offset = 4;
    while let Some(&[_, _, _, _, _, _, high, low]) = body.get(offset..).and_then(|tail| tail.first_chunk()) {
        at(body, offset, visit);
        offset += 8 + (2 * usize::from(u16::from_be_bytes([high, low]))).next_multiple_of(4);
    }
}

/// PAUSE and RESUME (RFC 7728 §8.1): the target, and the length of what follows, in words.
fn pauses(body: &mut [u8], visit: &mut Visit<'_>) {
    let mut offset = 8;
    while let Some(&[_, _, _, _, _, words, _, _]) = body.get(offset..).and_then(|tail| tail.first_chunk()) {
        at(body, offset, visit);
        offset += 8 + 4 * usize::from(words);
    }
}

/// Report blocks (RFC 3611 §4): all but the receiver reference time have the source's SSRC first; DLRR
/// has one per sub-block.
fn extended(body: &mut [u8], visit: &mut Visit<'_>) {
    const REFERENCE_TIME: u8 = 4;
    const DLRR: u8 = 5;
    const SYNCHRONIZATION: u8 = 12;
    at(body, 0, visit);
    let mut offset = 4;
    while let Some(&[kind, _, high, low]) = body.get(offset..).and_then(|tail| tail.first_chunk()) {
        let length = 4 * usize::from(u16::from_be_bytes([high, low]));
        match kind {
            REFERENCE_TIME => {}
            DLRR => every(body, offset + 4, 12, length / 12, visit),
            // IDMS (RFC 7272 §7): payload type and group stand before it.
            SYNCHRONIZATION if length >= 12 => at(body, offset + 12, visit),
            _ if length >= 4 => at(body, offset + 4, visit),
            _ => {}
        }
        offset += 4 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    const OLD: u32 = 0x0102_0304;
    const NEW: u32 = 0xa1a2_a3a4;

    fn packet(count: u8, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80 | count, kind, 0, 0];
        packet.extend_from_slice(body);
        packet.resize(packet.len().next_multiple_of(4), 0);
        let words = (packet.len() / 4 - 1) as u16;
        packet[2..4].copy_from_slice(&words.to_be_bytes());
        packet
    }

    fn occurrences(compound: &[u8], ssrc: u32) -> usize {
        compound.chunks(4).filter(|word| *word == ssrc.to_be_bytes()).count()
    }

    fn body(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn check(compound: &[u8], fields: usize) {
        assert_eq!(occurrences(compound, OLD), fields, "the test's own packet");
        let mut rewritten = compound.to_vec();
        rewrite_ssrcs(&mut rewritten, |ssrc| (ssrc == OLD).then_some(NEW));
        assert_eq!((occurrences(&rewritten, OLD), occurrences(&rewritten, NEW)), (0, fields));
        rewrite_ssrcs(&mut rewritten, |ssrc| (ssrc == NEW).then_some(OLD));
        assert_eq!(rewritten, compound, "nothing else changed");
    }

    #[test]
    fn sender_report_description_and_goodbye_are_rewritten_together() {
        let mut compound = packet(1, SENDER_REPORT, &body(&[OLD, 9, 9, 9, 9, 9, OLD, 1, 2, 3, 4, 5]));
        let mut chunks = body(&[OLD]);
        chunks.extend_from_slice(&[1, 4, b'n', b'a', b'm', b'e', 0, 0]);
        chunks.extend_from_slice(&body(&[7]));
        chunks.extend_from_slice(&[1, 2, b'x', b'y', 0, 0, 0, 0]);
        chunks.extend_from_slice(&body(&[OLD]));
        chunks.extend_from_slice(&[0, 0, 0, 0]);
        compound.extend(packet(3, SOURCE_DESCRIPTION, &chunks));
        compound.extend(packet(2, BYE, &body(&[8, OLD])));
        check(&compound, 5);
    }

    #[test]
    fn report_blocks_and_feedback_are_rewritten() {
        let mut compound = packet(2, RECEIVER_REPORT, &body(&[5, OLD, 0, 0, 0, 0, 0, OLD, 0, 0, 0, 0, 0]));
        compound.extend(packet(1, TRANSPORT_FEEDBACK, &body(&[5, OLD, 0x0001_0000])));
        compound.extend(packet(4, PAYLOAD_FEEDBACK, &body(&[5, 0, OLD, 0x0100_0000, OLD, 0x0200_0000])));
        compound.extend(packet(15, PAYLOAD_FEEDBACK, &body(&[5, 0, 0x5245_4d42, 0x0200_0000, OLD, OLD])));
        compound.extend(packet(
            0,
            EXTENDED_REPORT,
            &body(&[OLD, 0x0500_0003, OLD, 1, 2, 0x0600_0009, OLD, 1, 2, 3, 4, 5, 6, 7, 8]),
        ));
        check(&compound, 10);
    }

    /// Of each packet: how often it names the source.
    #[test]
    fn every_format_of_feedback_names_its_sources_where_its_document_says() {
        let pairs = [5, 0, OLD, 1, OLD, 2];
        for (count, kind, words, fields) in [
            // NACK, TMMBR, TMMBN, ECN (RFC 6679), transport-wide congestion control: the media source.
            (1, TRANSPORT_FEEDBACK, &[OLD, OLD, 0x0007_0001][..], 2),
            (3, TRANSPORT_FEEDBACK, &pairs, 2),
            (4, TRANSPORT_FEEDBACK, &pairs, 2),
            (8, TRANSPORT_FEEDBACK, &[5, OLD, 1, 2, 3, 4, 5], 1),
            (15, TRANSPORT_FEEDBACK, &[5, OLD, 1, 2], 1),
            // PAUSE with no parameter, REFUSED with two words, PAUSED.
            (9, TRANSPORT_FEEDBACK, &[5, 0, OLD, 7, OLD, 0x3002_0007, 1, 2, OLD, 0x2001_0007, 3], 3),
            // Two streams of three and of no reports, and the time.
            (11, TRANSPORT_FEEDBACK, &[5, OLD, 0x0010_0003, 1, 2, OLD, 0x0020_0000, 77], 2),
            // PLI, SLI, RPSI.
            (1, PAYLOAD_FEEDBACK, &[OLD, OLD], 2),
            (2, PAYLOAD_FEEDBACK, &[5, OLD, 9], 1),
            (3, PAYLOAD_FEEDBACK, &[5, OLD, 9], 1),
            // FIR, TSTR, TSTN, VBCM.
            (4, PAYLOAD_FEEDBACK, &pairs, 2),
            (5, PAYLOAD_FEEDBACK, &pairs, 2),
            (6, PAYLOAD_FEEDBACK, &pairs, 2),
            (7, PAYLOAD_FEEDBACK, &[5, 0, OLD, 0x0100_0002, 1], 1),
            // PSLEI, LRR, REMB.
            (8, PAYLOAD_FEEDBACK, &[5, 0, OLD, 6, OLD], 2),
            (10, PAYLOAD_FEEDBACK, &[5, 0, OLD, 1, 2, OLD, 3, 4], 2),
            (15, PAYLOAD_FEEDBACK, &[5, 0, 0x5245_4d42, 0x0200_0000, OLD, OLD], 2),
            // APP (RFC 3550 §6.7), reporting sources.
            (3, 204, &[OLD, 0x6e61_6d65, 1], 1),
            (0, REPORTING_SOURCES, &[5, OLD, OLD], 2),
            // IDMS settings: sender and media source.
            (0, SYNCHRONIZATION_SETTINGS, &[OLD, OLD, 1, 2, 3, 4, 5, 6], 2),
            (0, SYNCHRONIZATION_SETTINGS, &[5, OLD, 1, 2, 3, 4, 5, 6], 1),
            // XR: loss RLE, reference time, VoIP metrics, IDMS.
            (0, EXTENDED_REPORT, &[5, 0x0100_0002, OLD, 1, 0x0400_0002, 1, 2], 1),
            (0, EXTENDED_REPORT, &[5, 0x0700_0008, OLD, 1, 2, 3, 4, 5, 6, 7], 1),
            (0, EXTENDED_REPORT, &[5, 0x0c00_0007, 1, 2, OLD, 3, 4, 5, 6], 1),
        ] {
            // Alone (RFC 5506), and in a compound packet.
            let alone = packet(count, kind, &body(words));
            check(&alone, fields);
            let mut compound = packet(1, RECEIVER_REPORT, &body(&[5, OLD, 0, 0, 0, 0, 0]));
            compound.extend(packet(1, SOURCE_DESCRIPTION, &[&body(&[OLD])[..], &[1, 1, b'x', 0]].concat()));
            compound.extend(&alone);
            check(&compound, fields + 2);
        }
    }

    #[test]
    fn what_only_looks_like_an_ssrc_is_left_alone() {
        for (count, kind, words) in [
            (1, TRANSPORT_FEEDBACK, &[5, 6, OLD][..]),
            (11, TRANSPORT_FEEDBACK, &[5, 6, 0x0010_0002, OLD, OLD]),
            (9, TRANSPORT_FEEDBACK, &[5, 6, 7, 0x3001_0007, OLD]),
            (10, PAYLOAD_FEEDBACK, &[5, 6, 7, OLD, OLD]),
            (0, SYNCHRONIZATION_SETTINGS, &[5, 6, OLD, OLD, OLD, OLD, OLD, OLD]),
            (0, EXTENDED_REPORT, &[5, 0x0400_0002, OLD, OLD]),
            (0, EXTENDED_REPORT, &[5, 0x0c00_0007, OLD, OLD, 1, OLD, OLD, OLD, OLD]),
        ] {
            let compound = packet(count, kind, &body(words));
            let mut rewritten = compound.clone();
            rewrite_ssrcs(&mut rewritten, |ssrc| (ssrc == OLD).then_some(NEW));
            assert_eq!(rewritten, compound, "{count}, {kind}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let length = bytes.len();
            rewrite_ssrcs(&mut bytes, |ssrc| Some(!ssrc));
            prop_assert_eq!(bytes.len(), length);
        }

        #[test]
        fn any_packet_of_a_known_type_is_survived(
            count in 0..32_u8, kind in SENDER_REPORT..=REPORTING_SOURCES, content in prop::collection::vec(any::<u8>(), 0..120)
        ) {
            rewrite_ssrcs(&mut packet(count, kind, &content), |ssrc| Some(!ssrc));
        }
    }
}
