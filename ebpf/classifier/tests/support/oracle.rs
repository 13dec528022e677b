//! The same questions answered naively: bytes are taken off the front of a vector, one header after the
//! other, with no regard to speed. Written from the RFCs, not from the classifier.

use sluice_classifier::{
    Action, Counter, FLAG_PAYLOAD_TYPES, FLAG_PLAIN, FLAG_RTCP_ONLY, LegEntry, LocalKey, Malformed, Policy,
    Verdict,
};

/// Bytes that are taken off the front; `Err` when there are too few.
struct Reader(Vec<u8>);

impl Reader {
    fn take(&mut self, count: usize) -> Result<Vec<u8>, ()> {
        if self.0.len() < count {
            return Err(());
        }
        let rest = self.0.split_off(count);
        Ok(std::mem::replace(&mut self.0, rest))
    }

    fn number(&mut self, bytes: usize) -> Result<usize, ()> {
        Ok(self.take(bytes)?.into_iter().fold(0, |sum, byte| sum << 8 | usize::from(byte)))
    }
}

pub fn decide(frame: &[u8], lookup: impl Fn(&LocalKey) -> Option<LegEntry>) -> (Action, Counter) {
    match udp(frame) {
        Err(counter) => (Action::Pass, counter),
        Ok((local, payload)) => match lookup(&local) {
            None => (Action::Pass, Counter::NoLeg),
            Some(leg) if frame.len() > leg.max_frame as usize => (Action::Pass, Counter::TooLarge),
            Some(leg) => act(classify(&payload, &leg.policy)),
        },
    }
}

fn act(verdict: Verdict) -> (Action, Counter) {
    match verdict {
        Verdict::Rtp => (Action::Redirect, Counter::Rtp),
        Verdict::Rtcp => (Action::Redirect, Counter::Rtcp),
        Verdict::Stun => (Action::Pass, Counter::Stun),
        Verdict::Dtls => (Action::Pass, Counter::Dtls),
        Verdict::Zrtp => (Action::Pass, Counter::Zrtp),
        Verdict::TurnChannel => (Action::Pass, Counter::TurnChannel),
        Verdict::Unknown => (Action::Pass, Counter::Unknown),
        Verdict::Invalid(reason) => (Action::Drop, Counter::from(reason)),
    }
}

fn udp(frame: &[u8]) -> Result<(LocalKey, Vec<u8>), Counter> {
    let bad = |()| Counter::BadHeader;
    let mut reader = Reader(frame.to_vec());
    reader.take(12).map_err(bad)?;
    let mut ethertype = reader.number(2).map_err(bad)?;
    for _ in 0..2 {
        if ethertype == 0x8100 || ethertype == 0x88a8 {
            reader.take(2).map_err(bad)?;
            ethertype = reader.number(2).map_err(bad)?;
        }
    }
    let (to, v6, mut reader) = match ethertype {
        0x0800 => ipv4(reader)?,
        0x86dd => ipv6(reader)?,
        _ => return Err(Counter::NotIp),
    };
    let available = reader.0.len();
    reader.take(2).map_err(bad)?;
    let port = reader.number(2).map_err(bad)? as u16;
    let length = reader.number(2).map_err(bad)?;
    let checksum = reader.number(2).map_err(bad)?;
    if length < 8 || length > available || v6 && checksum == 0 {
        return Err(Counter::BadHeader);
    }
    let payload = reader.take(length - 8).map_err(bad)?;
    Ok((LocalKey { addr: to, port: port.to_be_bytes(), pad: [0; 2] }, payload))
}

fn ipv4(mut packet: Reader) -> Result<([u8; 16], bool, Reader), Counter> {
    let bad = |()| Counter::BadHeader;
    let whole = packet.0.len();
    let header = packet.take(20).map_err(bad)?;
    let header_length = usize::from(header[0] % 16) * 4;
    let total = usize::from(header[2]) * 256 + usize::from(header[3]);
    if header[0] / 16 != 4 || header_length < 20 || total < header_length || total > whole {
        return Err(Counter::BadHeader);
    }
    if header[9] != 17 {
        return Err(Counter::NotUdp);
    }
    let more = header[6] & 0x20 != 0;
    let offset = usize::from(header[6] & 0x1f) * 256 + usize::from(header[7]);
    if more || offset > 0 {
        return Err(Counter::Fragment);
    }
    packet.take(header_length - 20).map_err(bad)?;
    packet.0.truncate(total - header_length);
    let mut to = [0; 16];
    to[10..12].fill(0xff);
    to[12..].copy_from_slice(&header[16..]);
    Ok((to, false, packet))
}

fn ipv6(mut packet: Reader) -> Result<([u8; 16], bool, Reader), Counter> {
    let bad = |()| Counter::BadHeader;
    let header = packet.take(40).map_err(bad)?;
    let length = usize::from(header[4]) * 256 + usize::from(header[5]);
    if header[0] / 16 != 6 || length > packet.0.len() {
        return Err(Counter::BadHeader);
    }
    let mut left = length as isize;
    let mut next = header[6];
    for _ in 0..4 {
        match next {
            17 => break,
            44 => return Err(Counter::Fragment),
            0 | 43 | 60 => {}
            _ => return Err(Counter::NotUdp),
        }
        let extension = packet.take(4).map_err(bad)?;
        if next == 43 && extension[3] != 0 {
            return Err(Counter::ExtensionHeaders);
        }
        let size = (usize::from(extension[1]) + 1) * 8;
        next = extension[0];
        left -= size as isize;
        // A header that leads out of the frame is found by the next read, so that only its octets go.
        let rest = (size - 4).min(packet.0.len());
        packet.take(rest).map_err(bad)?;
    }
    if next != 17 {
        return Err(Counter::ExtensionHeaders);
    }
    let Ok(left) = usize::try_from(left) else { return Err(Counter::BadHeader) };
    packet.0.truncate(left);
    let mut to = [0; 16];
    to.copy_from_slice(&header[24..]);
    Ok((to, true, packet))
}

pub fn classify(datagram: &[u8], policy: &Policy) -> Verdict {
    let big = |at: usize, count: usize| Reader(datagram.get(at..).unwrap_or(&[]).to_vec()).number(count);
    let Some(first) = datagram.first() else { return Verdict::Unknown };
    if *first < 4 {
        let sensible = big(2, 2).is_ok_and(|length| length % 4 == 0 && length + 20 <= datagram.len());
        return if big(4, 4) == Ok(0x2112_a442) && sensible { Verdict::Stun } else { Verdict::Unknown };
    }
    if (16..20).contains(first) {
        return if datagram.get(4..8) == Some(b"ZRTP") { Verdict::Zrtp } else { Verdict::Unknown };
    }
    if (20..64).contains(first) {
        return Verdict::Dtls;
    }
    if (64..80).contains(first) {
        let fits = big(2, 2).is_ok_and(|length| length + 4 <= datagram.len());
        return if fits { Verdict::TurnChannel } else { Verdict::Unknown };
    }
    if first >> 6 != 2 {
        return Verdict::Unknown;
    }
    let plain = policy.flags & FLAG_PLAIN != 0;
    match datagram.get(1) {
        None => Verdict::Invalid(Malformed::TooShort),
        Some(192..=223) => rtcp(datagram, plain).map_or_else(Verdict::Invalid, |()| Verdict::Rtcp),
        Some(_) if policy.flags & FLAG_RTCP_ONLY != 0 => Verdict::Invalid(Malformed::PacketType),
        Some(_) => rtp(datagram, policy, plain).map_or_else(Verdict::Invalid, |()| Verdict::Rtp),
    }
}

fn rtp(datagram: &[u8], policy: &Policy, plain: bool) -> Result<(), Malformed> {
    let mut reader = Reader(datagram.to_vec());
    let fixed = reader.take(12).map_err(|()| Malformed::TooShort)?;
    let payload_type = u32::from(fixed[1] % 128);
    let set = u128::from(policy.payload_types[1]) << 64 | u128::from(policy.payload_types[0]);
    let known = policy.flags & FLAG_PAYLOAD_TYPES == 0 || set & (1 << payload_type) != 0;
    if !known || (64..96).contains(&payload_type) {
        return Err(Malformed::PayloadType);
    }
    reader.take(usize::from(fixed[0] % 16) * 4).map_err(|()| Malformed::CsrcCount)?;
    if fixed[0] & 0x10 != 0 {
        let header = reader.number(4).map_err(|()| Malformed::ExtensionLength)?;
        reader.take(header % 65536 * 4).map_err(|()| Malformed::ExtensionLength)?;
    }
    if plain && fixed[0] & 0x20 != 0 {
        let count = usize::from(datagram[datagram.len() - 1]);
        if count == 0 || count > reader.0.len() {
            return Err(Malformed::Padding);
        }
    }
    Ok(())
}

fn rtcp(datagram: &[u8], plain: bool) -> Result<(), Malformed> {
    let mut reader = Reader(datagram.to_vec());
    if datagram.len() < if plain { 8 } else { 12 } {
        return Err(Malformed::TooShort);
    }
    let mut previous: Option<u8> = None;
    for index in 0..16 {
        if index > 0 && reader.0.is_empty() {
            return Ok(());
        }
        if previous.is_some_and(|flags| flags & 0x20 != 0) {
            return Err(Malformed::Padding);
        }
        if reader.0.first().is_some_and(|flags| flags >> 6 != 2) {
            return Err(Malformed::Version);
        }
        let header = reader.take(4).map_err(|()| Malformed::RtcpLength)?;
        let words = usize::from(header[2]) * 256 + usize::from(header[3]);
        let reserved = if plain { 0 } else { 4 };
        if index == 0 && words == 0 || words * 4 + reserved > reader.0.len() {
            return Err(Malformed::RtcpLength);
        }
        if !plain {
            return Ok(());
        }
        reader.take(words * 4).map_err(|()| Malformed::RtcpLength)?;
        previous = Some(header[0]);
    }
    // What follows sixteen packets is not looked at, except that it begins as a packet must.
    let Some(flags) = reader.0.first() else { return Ok(()) };
    if previous.is_some_and(|flags| flags & 0x20 != 0) {
        return Err(Malformed::Padding);
    }
    if flags >> 6 != 2 {
        return Err(Malformed::Version);
    }
    let header = reader.take(4).map_err(|()| Malformed::RtcpLength)?;
    let words = usize::from(header[2]) * 256 + usize::from(header[3]);
    if words * 4 > reader.0.len() { Err(Malformed::RtcpLength) } else { Ok(()) }
}
