//! Where SSRCs stand in a compound RTCP packet, so that a rewritten SSRC is the same everywhere.
//!
//! Covers RFC 3550 §6 (SR, RR, SDES, BYE, APP), RFC 4585 §6.1 (RTPFB, PSFB), RFC 5104 §4.2 and §4.3
//! (TMMBR, TMMBN, FIR, TSTR, TSTN, VBCM) and RFC 3611 §4 (XR). What is malformed or unknown is left as it is
//! from there on.

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const APP: u8 = 204;
const RTPFB: u8 = 205;
const PSFB: u8 = 206;
const XR: u8 = 207;

/// Replaces every SSRC and CSRC of a plain compound packet for which `replacement` has another.
pub(crate) fn rewrite(compound: &mut [u8], replacement: impl Fn(u32) -> Option<u32>) {
    let mut rest = compound;
    while rest.len() >= 4 {
        let length = 4 * (usize::from(u16::from_be_bytes([rest[2], rest[3]])) + 1);
        if length > rest.len() {
            return;
        }
        let (packet, next) = rest.split_at_mut(length);
        each_ssrc(packet, &mut |field| replace(field, &replacement));
        rest = next;
    }
}

fn replace(field: &mut [u8; 4], replacement: impl Fn(u32) -> Option<u32>) {
    if let Some(ssrc) = replacement(u32::from_be_bytes(*field)) {
        *field = ssrc.to_be_bytes();
    }
}

type Visit<'a> = dyn FnMut(&mut [u8; 4]) + 'a;

fn each_ssrc(packet: &mut [u8], visit: &mut Visit<'_>) {
    let count = usize::from(packet[0] & 0x1f);
    match packet[1] {
        SR => {
            at(packet, 4, visit);
            every(packet, 28, 24, count, visit);
        }
        RR => {
            at(packet, 4, visit);
            every(packet, 8, 24, count, visit);
        }
        SDES => sdes(packet, count, visit),
        BYE => every(packet, 4, 4, count, visit),
        APP => at(packet, 4, visit),
        RTPFB | PSFB => feedback(packet, count, visit),
        XR => extended(packet, visit),
        _ => {}
    }
}

/// The SSRC at an offset, if the packet is that long.
fn at(packet: &mut [u8], offset: usize, visit: &mut Visit<'_>) {
    if let Some(field) = packet.get_mut(offset..).and_then(|tail| tail.first_chunk_mut::<4>()) {
        visit(field);
    }
}

fn every(packet: &mut [u8], first: usize, step: usize, count: usize, visit: &mut Visit<'_>) {
    for index in 0..count {
        at(packet, first + index * step, visit);
    }
}

/// Chunks: an SSRC, items that end with a zero octet, padding to a multiple of four (RFC 3550 §6.5).
fn sdes(packet: &mut [u8], chunks: usize, visit: &mut Visit<'_>) {
    let mut offset = 4;
    for _ in 0..chunks {
        at(packet, offset, visit);
        offset += 4;
        loop {
            match (packet.get(offset), packet.get(offset + 1)) {
                (Some(0) | None, _) | (_, None) => break,
                (Some(_), Some(&length)) => offset += 2 + usize::from(length),
            }
        }
        offset = (offset + 4) & !3;
    }
}

/// Sender, media source, and the SSRCs that some messages carry in their control information.
fn feedback(packet: &mut [u8], format: usize, visit: &mut Visit<'_>) {
    at(packet, 4, visit);
    at(packet, 8, visit);
    let entries = packet.len().saturating_sub(12) / 8;
    match (packet[1], format) {
        // RTPFB: TMMBR, TMMBN. PSFB: FIR, TSTR, TSTN: entries of eight octets.
        (RTPFB, 3 | 4) | (PSFB, 4..=6) => every(packet, 12, 8, entries, visit),
        // VBCM: one entry of variable length.
        (PSFB, 7) => at(packet, 12, visit),
        // REMB (draft-alvestrand-rmcat-remb-03): "REMB", the number of SSRCs, the rate, the SSRCs.
        (PSFB, 15) if packet.get(12..16) == Some(b"REMB") => {
            let count = usize::from(packet.get(16).copied().unwrap_or(0));
            every(packet, 20, 4, count, visit);
        }
        _ => {}
    }
}

/// Report blocks (RFC 3611 §4): all but the receiver reference time have the source's SSRC first; DLRR
/// has one per sub-block.
fn extended(packet: &mut [u8], visit: &mut Visit<'_>) {
    const REFERENCE_TIME: u8 = 4;
    const DLRR: u8 = 5;
    at(packet, 4, visit);
    let mut offset = 8;
    while let Some(&[kind, _, high, low]) = packet.get(offset..).and_then(|tail| tail.first_chunk::<4>()) {
        let length = 4 * usize::from(u16::from_be_bytes([high, low]));
        match kind {
            REFERENCE_TIME => {}
            DLRR => every(packet, offset + 4, 12, length / 12, visit),
            _ if length >= 4 => at(packet, offset + 4, visit),
            _ => {}
        }
        offset += 4 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        rewrite(&mut rewritten, |ssrc| (ssrc == OLD).then_some(NEW));
        assert_eq!((occurrences(&rewritten, OLD), occurrences(&rewritten, NEW)), (0, fields));
        rewrite(&mut rewritten, |ssrc| (ssrc == NEW).then_some(OLD));
        assert_eq!(rewritten, compound, "nothing else changed");
    }

    #[test]
    fn sender_report_description_and_goodbye_are_rewritten_together() {
        let mut compound = packet(1, SR, &body(&[OLD, 9, 9, 9, 9, 9, OLD, 1, 2, 3, 4, 5]));
        let mut chunks = body(&[OLD]);
        chunks.extend_from_slice(&[1, 4, b'n', b'a', b'm', b'e', 0, 0]);
        chunks.extend_from_slice(&body(&[7]));
        chunks.extend_from_slice(&[1, 2, b'x', b'y', 0, 0, 0, 0]);
        chunks.extend_from_slice(&body(&[OLD]));
        chunks.extend_from_slice(&[0, 0, 0, 0]);
        compound.extend(packet(3, SDES, &chunks));
        compound.extend(packet(2, BYE, &body(&[8, OLD])));
        check(&compound, 5);
    }

    #[test]
    fn report_blocks_and_feedback_are_rewritten() {
        let mut compound = packet(2, RR, &body(&[5, OLD, 0, 0, 0, 0, 0, OLD, 0, 0, 0, 0, 0]));
        compound.extend(packet(1, RTPFB, &body(&[5, OLD, 0x0001_0000])));
        compound.extend(packet(4, PSFB, &body(&[5, 0, OLD, 0x0100_0000, OLD, 0x0200_0000])));
        compound.extend(packet(15, PSFB, &body(&[5, 0, 0x5245_4d42, 0x0200_0000, OLD, OLD])));
        compound.extend(packet(
            0,
            XR,
            &body(&[OLD, 0x0500_0003, OLD, 1, 2, 0x0600_0009, OLD, 1, 2, 3, 4, 5, 6, 7, 8]),
        ));
        check(&compound, 10);
    }

    #[test]
    fn what_only_looks_like_an_ssrc_is_left_alone() {
        let compound = packet(1, RTPFB, &body(&[5, 6, OLD]));
        let mut rewritten = compound.clone();
        rewrite(&mut rewritten, |ssrc| (ssrc == OLD).then_some(NEW));
        assert_eq!(rewritten, compound);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let length = bytes.len();
            rewrite(&mut bytes, |ssrc| Some(!ssrc));
            prop_assert_eq!(bytes.len(), length);
        }

        #[test]
        fn any_packet_of_a_known_type_is_survived(
            count in 0..32_u8, kind in SR..=XR, content in prop::collection::vec(any::<u8>(), 0..120)
        ) {
            rewrite(&mut packet(count, kind, &content), |ssrc| Some(!ssrc));
        }
    }
}
