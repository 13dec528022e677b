//! Ethernet frames around the datagrams: tags, options, extension headers, fragments, runts, lies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sluice_classifier::{LegEntry, LocalKey, Policy};

use super::datagrams::{Rng, datagram};

/// The legs that the corpus is for: each version of IP, each kind of policy.
pub fn legs() -> Vec<(SocketAddr, LegEntry)> {
    let v4 = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    let types = [1 | 1 << 8 | 1 << 9, 1 << (96 - 64) | 1 << (111 - 64)];
    [
        (v4, 10000, Policy::new()),
        (v4, 10002, Policy::new().with_payload_types(types)),
        (v4, 10004, Policy::new().plain()),
        (v4, 10005, Policy::new().plain().rtcp_only()),
        (v6, 10000, Policy::new().with_payload_types(types)),
        (v6, 10001, Policy::new().rtcp_only()),
        (v6, 10002, Policy::new().plain().with_payload_types(types)),
    ]
    .into_iter()
    .zip(1..)
    .map(|((ip, port, policy), leg)| (SocketAddr::new(ip, port), LegEntry::new(leg, policy)))
    .collect()
}

/// The map of legs, in user space.
pub fn lookup(key: &LocalKey) -> Option<LegEntry> {
    legs().into_iter().find(|(local, _)| LocalKey::from(*local) == *key).map(|(_, entry)| entry)
}

/// The corpus: the same for a seed on every machine.
pub fn corpus(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut rng = Rng(seed);
    (0..count).map(|_| frame(&mut rng)).collect()
}

fn frame(rng: &mut Rng) -> Vec<u8> {
    let legs = legs();
    let (mut local, entry) = *rng.pick(&legs);
    let payload = datagram(rng, &entry.policy);
    if rng.chance(6) {
        local.set_port(local.port() ^ 0x100);
    }
    let udp = udp(rng, local.port(), &payload);
    let (ethertype, packet) = match local.ip() {
        IpAddr::V4(to) => (0x0800_u16, ipv4(rng, to, &udp)),
        IpAddr::V6(to) => (0x86dd, ipv6(rng, to, &udp)),
    };
    let mut frame = ethernet(rng, ethertype);
    frame.extend(packet);
    damage(rng, &mut frame);
    frame
}

fn ethernet(rng: &mut Rng, ethertype: u16) -> Vec<u8> {
    let mut header = rng.bytes(12);
    let tags = *rng.pick(&[0, 0, 0, 1, 2, 3]);
    for left in (0..tags).rev() {
        header.extend(if left == 0 { [0x81, 0x00] } else { [0x88, 0xa8] });
        header.extend(rng.bytes(2));
    }
    let ethertype = if rng.chance(2) { rng.next() as u16 } else { ethertype };
    header.extend(ethertype.to_be_bytes());
    header
}

fn udp(rng: &mut Rng, port: u16, payload: &[u8]) -> Vec<u8> {
    let length = match rng.within(0, 49) {
        0 => rng.within(0, 7) as u16,
        1 => payload.len() as u16 + 9,
        2 => 8 + payload.len() as u16 / 2,
        _ => 8 + payload.len() as u16,
    };
    let checksum = if rng.chance(2) { 0 } else { rng.within(1, 0xffff) as u16 };
    let mut datagram = rng.bytes(2);
    for field in [port, length, checksum] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(payload);
    datagram
}

fn ipv4(rng: &mut Rng, to: Ipv4Addr, udp: &[u8]) -> Vec<u8> {
    let words = if rng.chance(20) { rng.byte(6, 15) } else { 5 };
    let header = 4 * usize::from(words);
    let first = if rng.chance(2) { rng.byte(0, 255) } else { 0x40 | words };
    let total = match rng.within(0, 49) {
        0 => rng.next() as u16,
        1 => rng.within(0, 30) as u16,
        _ => (header + udp.len()) as u16,
    };
    let fragment = match rng.within(0, 29) {
        0 => 0x2000,
        1 => rng.within(1, 0x1fff) as u16,
        2 => 0x8000,
        _ => 0x4000,
    };
    let protocol = if rng.chance(3) { *rng.pick(&[1, 6, 132, 41]) } else { 17 };
    let mut packet = vec![first, rng.next() as u8];
    packet.extend(total.to_be_bytes());
    packet.extend(rng.bytes(2));
    packet.extend(u16::to_be_bytes(fragment));
    packet.extend([64, protocol]);
    packet.extend(rng.bytes(2));
    packet.extend([198, 51, 100, 7]);
    packet.extend(to.octets());
    packet.extend(rng.bytes(header as u64 - 20));
    packet.extend(udp);
    packet
}

fn ipv6(rng: &mut Rng, to: Ipv6Addr, udp: &[u8]) -> Vec<u8> {
    let (next, extensions) = extensions(rng);
    let length = match rng.within(0, 49) {
        0 => rng.next() as u16,
        1 => rng.within(0, 20) as u16,
        _ => (extensions.len() + udp.len()) as u16,
    };
    let first = if rng.chance(2) { rng.byte(0, 255) } else { 0x60 | rng.byte(0, 15) };
    let mut packet = vec![first];
    packet.extend(rng.bytes(3));
    packet.extend(length.to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 7).octets());
    packet.extend(to.octets());
    packet.extend(extensions);
    packet.extend(udp);
    packet
}

/// The first next-header value, and the chain of headers that leads to UDP (or elsewhere).
fn extensions(rng: &mut Rng) -> (u8, Vec<u8>) {
    let count = if rng.chance(60) { 0 } else { rng.within(1, 6) };
    let last = if rng.chance(4) { *rng.pick(&[6, 58, 50, 59]) } else { 17 };
    let mut next = last;
    let mut chain = Vec::new();
    for _ in 0..count {
        let kind = *rng.pick(&[0, 60, 43, 60, 0, 43, 44, 51]);
        // A length that leads out of the frame at times.
        let units = if rng.chance(5) { 255 } else { rng.byte(0, 3) };
        let segments_left = u8::from(rng.chance(30));
        let mut header = vec![next, units, 0, segments_left];
        header.extend(rng.bytes(if units == 255 { 4 } else { 4 + 8 * u64::from(units) }));
        header.extend(chain);
        chain = header;
        next = kind;
    }
    (next, chain)
}

/// Padding of short frames, cuts, flipped bits; never less than an Ethernet header.
fn damage(rng: &mut Rng, frame: &mut Vec<u8>) {
    match rng.within(0, 29) {
        0 => frame.truncate(rng.within(14, 60).min(frame.len() as u64) as usize),
        1 => frame.truncate(rng.within(14, frame.len() as u64) as usize),
        2 | 3 => frame.extend(rng.bytes(18)),
        4 => {
            let at = rng.within(12, frame.len() as u64 - 1) as usize;
            frame[at] ^= 1 << rng.within(0, 7);
        }
        _ => {}
    }
}
