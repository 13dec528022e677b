//! RTP headers and RTCP compounds: what is read lies inside the packet, and rewriting an SSRC touches
//! nothing else and can be undone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_srtp::{Error, rtcp, rtp};

const NEW: u32 = 0x5afe_5afe;

fuzz_target!(|packet: &[u8]| {
    check_rtp(packet);
    check_rtcp(packet);
});

fn check_rtp(packet: &[u8]) {
    match rtp::Header::parse(packet) {
        Ok(header) => {
            assert!((rtp::FIXED_LEN..=packet.len()).contains(&header.len) && header.len.is_multiple_of(4));
            assert_eq!(packet[0] >> 6, 2);
            assert_eq!(rtp::ssrc(packet), Some(header.ssrc));
            assert!(header.payload_type < 128);
            assert_eq!(rtp::Header::parse(&packet[..header.len]), Ok(header), "it needs no more than itself");
            assert!(rtp::Header::parse(&packet[..header.len - 1]).is_err(), "nor less");
        }
        Err(Error::TooShort) => assert!(packet.len() < rtp::FIXED_LEN),
        Err(Error::Version) => assert_ne!(packet[0] >> 6, 2),
        Err(Error::CsrcCount) => assert!(12 + 4 * usize::from(packet[0] & 15) > packet.len()),
        Err(Error::ExtensionLength) => assert_ne!(packet[0] & 0x10, 0),
        Err(other) => panic!("{other:?} is no error of a header"),
    }
    let mut rewritten = packet.to_vec();
    rtp::rewrite_ssrc(&mut rewritten, NEW);
    assert_eq!(rtp::ssrc(&rewritten), (packet.len() >= 12).then_some(NEW));
}

fn check_rtcp(packet: &[u8]) {
    let mut end = 0;
    for part in rtcp::parts(packet) {
        assert_eq!(part.start, end, "no gap");
        assert!(part.end >= part.start + 4 && part.end <= packet.len());
        end = part.end;
    }
    let Some(old) = rtcp::sender_ssrc(packet) else { return };
    let contains_new = packet.windows(4).any(|bytes| bytes == NEW.to_be_bytes());
    let mut rewritten = packet.to_vec();
    rtcp::rewrite_ssrc(&mut rewritten, old, NEW);
    assert_eq!(rewritten[end..], packet[end..], "what is no RTCP is left alone");
    if !contains_new {
        rtcp::rewrite_ssrc(&mut rewritten, NEW, old);
        assert_eq!(rewritten, packet, "undone");
    }
}
