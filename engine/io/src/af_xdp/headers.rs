//! Ethernet, VLAN, IP and UDP headers in front of a payload.

use std::net::{IpAddr, SocketAddr};

use crate::{Frame, NextHop, TxMeta};

const UDP: u8 = 17;
const HOP_LIMIT: u8 = 64;
/// Ethernet with one tag, IPv6, UDP.
pub(super) const LONGEST: usize = 14 + 4 + 40 + 8;

/// Puts all headers in front of the frame's payload and makes them part of it. Nothing happens, and
/// `false` comes back, if the headroom is too small, the packet too long, the source address open or the
/// families differ.
pub fn prepend(frame: &mut Frame, meta: &TxMeta, hop: &NextHop) -> bool {
    let mut bytes = [0; LONGEST];
    let Some(len) = write(&mut bytes, meta, hop, frame.payload()) else { return false };
    let (start, payload) = (frame.start(), frame.len());
    let Some(at) = start.checked_sub(len) else { return false };
    frame.chunk_mut()[at..start].copy_from_slice(&bytes[..len]);
    frame.set_window(at, len + payload)
}

/// Writes the headers of `payload`; how many octets they take.
fn write(out: &mut [u8; LONGEST], meta: &TxMeta, hop: &NextHop, payload: &[u8]) -> Option<usize> {
    let mut headers = Writer { out, len: 0 };
    headers.put(&hop.destination);
    headers.put(&hop.source);
    if let Some(vlan) = hop.vlan {
        headers.put(&0x8100_u16.to_be_bytes());
        headers.put(&(vlan & 0x0fff).to_be_bytes());
    }
    let udp_len = u16::try_from(8 + payload.len()).ok()?;
    let pseudo = match (canonical(meta.local), canonical(meta.remote)) {
        // Only the kernel can choose a source address for a socket bound to all of them.
        (local, _) if local.is_unspecified() => return None,
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            headers.put(&0x0800_u16.to_be_bytes());
            headers.ipv4(udp_len, meta.dscp, source.octets(), destination.octets())?
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            headers.put(&0x86dd_u16.to_be_bytes());
            headers.ipv6(udp_len, meta.dscp, source.octets(), destination.octets())
        }
        _ => return None,
    };
    headers.udp(meta.local.port(), meta.remote.port(), udp_len, pseudo, payload);
    Some(headers.len)
}

fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

struct Writer<'a> {
    out: &'a mut [u8; LONGEST],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Writes the header; the sum of the UDP pseudo header.
    fn ipv4(&mut self, udp: u16, dscp: u8, source: [u8; 4], destination: [u8; 4]) -> Option<u64> {
        let total = udp.checked_add(20)?;
        let at = self.len;
        self.put(&[0x45, dscp << 2]);
        self.put(&total.to_be_bytes());
        // RFC 6864 §4.1: an atomic datagram (DF, no fragment) may have any identification.
        self.put(&[0, 0, 0x40, 0, HOP_LIMIT, UDP, 0, 0]);
        self.put(&source);
        self.put(&destination);
        let checksum = fold(sum(&self.out[at..at + 20]));
        self.out[at + 10..at + 12].copy_from_slice(&checksum.to_be_bytes());
        Some(sum(&source) + sum(&destination) + u64::from(UDP) + u64::from(udp))
    }

    fn ipv6(&mut self, udp: u16, dscp: u8, source: [u8; 16], destination: [u8; 16]) -> u64 {
        self.put(&(6 << 28 | u32::from(dscp) << 22).to_be_bytes());
        self.put(&udp.to_be_bytes());
        self.put(&[UDP, HOP_LIMIT]);
        self.put(&source);
        self.put(&destination);
        sum(&source) + sum(&destination) + u64::from(UDP) + u64::from(udp)
    }

    fn udp(&mut self, source: u16, destination: u16, len: u16, pseudo: u64, payload: &[u8]) {
        let header = u64::from(source) + u64::from(destination) + u64::from(len);
        // RFC 768: a computed checksum of zero is sent as all ones.
        let checksum = match fold(pseudo + header + sum(payload)) {
            0 => 0xffff,
            checksum => checksum,
        };
        for field in [source, destination, len, checksum] {
            self.put(&field.to_be_bytes());
        }
    }
}

/// Sum of big-endian 16-bit words, the last padded with zero (RFC 1071), over 32-bit words for speed.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_be_bytes(last));
    total
}

/// The ones' complement of the folded sum.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
    use proptest::prelude::*;

    use super::*;
    use crate::{Component, Pool, PoolConfig, SocketToken};

    fn meta(local: &str, remote: &str) -> TxMeta {
        let socket = SocketToken { leg: 0, component: Component::Rtp };
        TxMeta {
            socket,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            next_hop: None,
            dscp: 46,
        }
    }

    fn hop(vlan: Option<u16>) -> NextHop {
        NextHop { ifindex: 1, source: [2; 6], destination: [4; 6], vlan, mtu: 1500 }
    }

    /// RFC 1071 by its definition, octet by octet.
    fn slow_checksum(bytes: &[u8]) -> u16 {
        let mut total = 0_u32;
        for (i, octet) in bytes.iter().enumerate() {
            total += u32::from(*octet) << if i % 2 == 0 { 8 } else { 0 };
            total = (total & 0xffff) + (total >> 16);
        }
        !(total as u16)
    }

    #[test]
    fn what_is_written_is_found_again_with_right_checksums_at_every_length() {
        let mut pool = Pool::new(PoolConfig { small: 1, large: 0 }).unwrap();
        for (local, remote, ip) in
            [("192.0.2.1:5004", "198.51.100.9:6000", 20), ("[2001:db8::1]:1", "[2001:db8::2]:65535", 40)]
        {
            for vlan in [None, Some(100)] {
                for len in (0..200).chain([1459, 3000]) {
                    let payload: Vec<u8> = (0..len).map(|i| (i * 7 + 3) as u8).collect();
                    let mut frame = pool.alloc(len).unwrap();
                    assert!(frame.fill(&payload));
                    let meta = meta(local, remote);
                    assert!(prepend(&mut frame, &meta, &hop(vlan)));
                    let found = sluice_classifier::locate(frame.payload()).unwrap();
                    assert_eq!(SocketAddr::from(found.source), meta.local);
                    assert_eq!(SocketAddr::from(found.destination), meta.remote);
                    assert_eq!((found.vlan.outer, found.dscp), (vlan, 46));
                    let bytes = frame.payload();
                    assert_eq!(bytes[found.payload..found.payload + found.length], payload[..]);
                    let header = &bytes[found.network..found.network + ip];
                    assert!(ip == 40 || slow_checksum(header) == 0);
                    let addresses = if ip == 20 { &header[12..] } else { &header[8..] };
                    let udp = &bytes[found.payload - 8..];
                    let mut summed = addresses.to_vec();
                    summed.extend([0, 17]);
                    summed.extend((udp.len() as u16).to_be_bytes());
                    summed.extend(udp);
                    assert_eq!(slow_checksum(&summed), 0, "{local} {len}");
                    pool.free(frame);
                }
            }
        }
    }

    /// Two addresses of one family.
    fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
        let v4 = (1_u32.., 1_u32..).prop_map(|(a, b)| (Ipv4Addr::from(a).into(), Ipv4Addr::from(b).into()));
        // Anything below is an IPv4 address in IPv6 clothes.
        let v6 = (1_u128 << 64.., 1_u128 << 64..)
            .prop_map(|(a, b)| (Ipv6Addr::from(a).into(), Ipv6Addr::from(b).into()));
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn an_independent_parser_agrees_on_every_field_and_checksum(
            (source, destination) in addresses(),
            ports in (0_u16.., 0_u16..),
            vlan in proptest::option::of(1_u16..4095),
            dscp in 0_u8..64,
            payload in proptest::collection::vec(0_u8.., 0..1500),
        ) {
            let (local, remote) = (SocketAddr::new(source, ports.0), SocketAddr::new(destination, ports.1));
            let meta = TxMeta { local, remote, dscp, ..meta("192.0.2.1:1", "192.0.2.1:1") };
            let mut pool = Pool::new(PoolConfig { small: 1, large: 0 }).unwrap();
            let mut frame = pool.alloc(payload.len()).unwrap();
            assert!(frame.fill(&payload));
            assert!(prepend(&mut frame, &meta, &hop(vlan)));
            agrees(frame.payload(), &meta, vlan, &payload);
            pool.free(frame);
        }
    }

    /// What etherparse finds in the packet.
    fn agrees(packet: &[u8], meta: &TxMeta, vlan: Option<u16>, payload: &[u8]) {
        let packet = PacketHeaders::from_ethernet_slice(packet).unwrap();
        let link = packet.link.clone().and_then(etherparse::LinkHeader::ethernet2).unwrap();
        assert_eq!((link.source, link.destination), ([2; 6], [4; 6]));
        let tags: Vec<u16> = packet.vlan_ids().iter().map(|id| id.value()).collect();
        assert_eq!(tags, Vec::from_iter(vlan));
        let Some(TransportHeader::Udp(udp)) = packet.transport else { panic!("no UDP") };
        assert_eq!((udp.source_port, udp.destination_port), (meta.local.port(), meta.remote.port()));
        assert_eq!(packet.payload.slice(), payload);
        let ends = (meta.local.ip(), meta.remote.ip());
        match packet.net.unwrap() {
            NetHeaders::Ipv4(ip, _) => {
                assert_eq!((IpAddr::from(ip.source), IpAddr::from(ip.destination)), ends);
                assert_eq!((ip.dscp.value(), ip.ecn.value()), (meta.dscp, 0));
                assert_eq!((ip.time_to_live, ip.dont_fragment), (64, true));
                assert_eq!(usize::from(ip.total_len), 28 + payload.len());
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&ip, payload).unwrap());
            }
            NetHeaders::Ipv6(ip, _) => {
                assert_eq!((IpAddr::from(ip.source), IpAddr::from(ip.destination)), ends);
                assert_eq!((ip.traffic_class, ip.hop_limit), (meta.dscp << 2, 64));
                assert_eq!(usize::from(ip.payload_length), 8 + payload.len());
                assert_eq!(udp.checksum, udp.calc_checksum_ipv6(&ip, payload).unwrap());
            }
            NetHeaders::Arp(arp) => panic!("{arp:?}"),
        }
    }

    #[test]
    fn families_that_differ_and_packets_too_long_are_refused() {
        let mut out = [0; LONGEST];
        let mixed = meta("192.0.2.1:1", "[2001:db8::2]:1");
        assert_eq!(write(&mut out, &mixed, &hop(None), &[]), None);
        for open in [meta("0.0.0.0:1", "192.0.2.2:1"), meta("[::]:1", "[2001:db8::2]:1")] {
            assert_eq!(write(&mut out, &open, &hop(None), &[]), None);
        }
        let v4 = meta("192.0.2.1:1", "192.0.2.2:1");
        assert_eq!(write(&mut out, &v4, &hop(None), &vec![0; 65_510]), None);
    }
}
