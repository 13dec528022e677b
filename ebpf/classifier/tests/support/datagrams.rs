//! Datagrams of every kind that a media port sees, right and wrong, from a seeded generator.

use sluice_classifier::Policy;

/// SplitMix64: the same seed gives the same corpus everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub fn byte(&mut self, low: u8, high: u8) -> u8 {
        self.within(low.into(), high.into()) as u8
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.within(0, from.len() as u64 - 1) as usize]
    }
}

/// Some datagram for a port with this policy: mostly media, right or wrong in one way.
pub fn datagram(rng: &mut Rng, policy: &Policy) -> Vec<u8> {
    match rng.within(0, 19) {
        0..=5 => rtp(rng, policy),
        6..=8 => broken_rtp(rng, policy),
        9 | 10 => rtcp(rng),
        11 | 12 => broken_rtcp(rng),
        13 => stun(rng),
        14 => dtls(rng),
        15 => zrtp(rng),
        16 => turn_channel(rng),
        17 => near_miss(rng),
        18 => unassigned(rng),
        _ => {
            let length = rng.within(0, 40);
            rng.bytes(length)
        }
    }
}

/// Valid RTP with a payload type that the policy allows, CSRCs, an extension and padding at times.
pub fn rtp(rng: &mut Rng, policy: &Policy) -> Vec<u8> {
    let allowed: Vec<u8> = (0..128).filter(|payload_type| policy.allows(*payload_type)).collect();
    let payload_type = *rng.pick(&allowed);
    let (csrcs, extended, padded) = (rng.byte(0, 15) / 4, rng.chance(30), rng.chance(30));
    let first = 0x80 | csrcs | u8::from(extended) << 4 | u8::from(padded) << 5;
    let mut packet = vec![first, payload_type | u8::from(rng.chance(20)) << 7];
    packet.extend(rng.bytes(10 + 4 * u64::from(csrcs)));
    if extended {
        let words = rng.byte(0, 8);
        packet.extend([0xbe, 0xde, 0, words]);
        packet.extend(rng.bytes(4 * u64::from(words)));
    }
    let payload = if rng.chance(3) { rng.within(3700, 8500) } else { rng.within(0, 400) };
    packet.extend(rng.bytes(payload));
    if padded {
        let count = rng.byte(1, 20);
        packet.extend(vec![0; usize::from(count) - 1]);
        packet.push(count);
    }
    packet
}

/// RTP that one check of RFC 3550 A.1 must find.
fn broken_rtp(rng: &mut Rng, policy: &Policy) -> Vec<u8> {
    let mut packet = rtp(rng, policy);
    match rng.within(0, 5) {
        0 => packet.truncate(rng.within(1, 11) as usize),
        1 => packet[1] = packet[1] & 0x80 | rng.byte(0, 127),
        2 => {
            packet[0] |= 0x0f;
            packet.truncate(rng.within(12, 71) as usize);
        }
        3 => {
            packet[0] |= 0x10;
            packet.truncate(rng.within(12, 80) as usize);
        }
        4 => {
            packet[0] |= 0x20;
            *packet.last_mut().expect("not empty") = 0;
        }
        _ => {
            packet[0] |= 0x20;
            packet.truncate(60);
            *packet.last_mut().expect("not empty") = rng.byte(40, 255);
        }
    }
    packet
}

/// A compound of well-formed RTCP packets; the suffix that SRTCP appends at times.
pub fn rtcp(rng: &mut Rng) -> Vec<u8> {
    let count = if rng.chance(10) { rng.within(15, 19) } else { rng.within(1, 4) };
    let mut compound = Vec::new();
    for _ in 0..count {
        let words = rng.byte(1, 12);
        compound.extend([0x80 | rng.byte(0, 31), rng.byte(192, 223), 0, words]);
        compound.extend(rng.bytes(4 * u64::from(words)));
    }
    if rng.chance(40) {
        compound.extend(rng.bytes(14));
    }
    compound
}

fn broken_rtcp(rng: &mut Rng) -> Vec<u8> {
    let mut compound = rtcp(rng);
    match rng.within(0, 4) {
        0 => compound.truncate(rng.within(1, 12) as usize),
        1 => compound[3] = rng.byte(0, 255),
        2 => compound[0] |= 0x20,
        3 => {
            let second = 4 * (usize::from(compound[3]) + 1);
            if second < compound.len() {
                compound[second] = rng.byte(0, 255);
            }
        }
        _ => compound.extend(rng.bytes(4)),
    }
    compound
}

/// RFC 8489 §5.
pub fn stun(rng: &mut Rng) -> Vec<u8> {
    let words = rng.byte(0, 30);
    let mut message = vec![rng.byte(0, 3), rng.byte(0, 255), 0, 4 * words];
    message.extend([0x21, 0x12, 0xa4, 0x42]);
    message.extend(rng.bytes(12 + 4 * u64::from(words)));
    message
}

/// RFC 9147 §4: plaintext records, and the unified header whose first octet is 32..=63.
pub fn dtls(rng: &mut Rng) -> Vec<u8> {
    let length = rng.within(0, 200);
    let mut record = vec![rng.byte(20, 63), 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, length as u8];
    record.extend(rng.bytes(length));
    record
}

/// RFC 6189 §5.
pub fn zrtp(rng: &mut Rng) -> Vec<u8> {
    let mut packet = vec![rng.byte(16, 19), 0, rng.byte(0, 255), rng.byte(0, 255)];
    packet.extend(*b"ZRTP");
    let length = rng.within(20, 120);
    packet.extend(rng.bytes(length));
    packet
}

/// RFC 8656 §12.4.
pub fn turn_channel(rng: &mut Rng) -> Vec<u8> {
    let length = rng.byte(0, 200);
    let mut message = vec![rng.byte(0x40, 0x4f), rng.byte(0, 255), 0, length];
    let padding = rng.within(0, 3);
    message.extend(rng.bytes(u64::from(length) + padding));
    message
}

/// The right first octet, but a wrong cookie or length.
fn near_miss(rng: &mut Rng) -> Vec<u8> {
    let mut message = match rng.within(0, 2) {
        0 => stun(rng),
        1 => zrtp(rng),
        _ => turn_channel(rng),
    };
    let at = rng.within(2, 7).min(message.len() as u64 - 1) as usize;
    message[at] ^= 1 << rng.within(0, 7);
    if rng.chance(30) {
        message.truncate(rng.within(1, 20) as usize);
    }
    message
}

/// First octets that RFC 7983 gives to nobody (RFC 9443 gives some to QUIC).
fn unassigned(rng: &mut Rng) -> Vec<u8> {
    let ranges = [(4, 15), (80, 127), (192, 255)];
    let (low, high) = *rng.pick(&ranges);
    let first = rng.byte(low, high);
    let mut message = vec![first];
    let length = rng.within(0, 60);
    message.extend(rng.bytes(length));
    message
}
