//! IP and UDP headers for packets that have none any more: what was received came by SRTP, or through a ring.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use etherparse::PacketBuilder;

/// Of packets that did not cross a network just now.
const HOP_LIMIT: u8 = 64;

/// Writes the packet as it would have come in the clear. Nothing, if it is larger than IP can say.
pub(super) fn write(from: SocketAddr, to: SocketAddr, payload: &[u8], into: &mut Vec<u8>) {
    into.clear();
    let headers = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), HOP_LIMIT),
        (from, to) => PacketBuilder::ipv6(mapped(from).octets(), mapped(to).octets(), HOP_LIMIT),
    };
    if headers.udp(from.port(), to.port()).write(into, payload).is_err() {
        into.clear();
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Octets of the headers before the payload of a packet that [`write()`] made.
pub(super) fn length(packet: &[u8]) -> usize {
    if packet.first().is_some_and(|first| first >> 4 == 4) { 28 } else { 48 }
}

/// Whether a packet is RTCP: the second octet of RTP, marker and payload type, is none of these (RFC 5761 §4).
pub(super) fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|second| (192..=223).contains(second))
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn both_families_have_headers_that_are_right() {
        for (from, to) in [("192.0.2.1:5004", "198.51.100.7:16384"), ("[2001:db8::1]:1", "[2001:db8::2]:2")] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let mut packet = vec![1, 2, 3];
            write(from, to, b"payload", &mut packet);
            assert_eq!(&packet[length(&packet)..], b"payload");
            let sliced = SlicedPacket::from_ip(&packet).unwrap();
            let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
            assert_eq!((udp.source_port(), udp.destination_port()), (from.port(), to.port()));
            assert_ne!(udp.checksum(), 0);
        }
    }

    #[test]
    fn what_no_packet_can_hold_is_left_out() {
        let at: SocketAddr = "192.0.2.1:5004".parse().unwrap();
        let mut packet = Vec::new();
        write(at, at, &vec![0; 70_000], &mut packet);
        assert!(packet.is_empty());
    }

    #[test]
    fn rtcp_is_told_by_its_packet_type() {
        assert!(is_rtcp(&[0x80, 200]) && is_rtcp(&[0x81, 207]));
        assert!(!is_rtcp(&[0x80, 0]) && !is_rtcp(&[0x80, 0x80 | 0x60]) && !is_rtcp(&[0x80]));
    }
}
