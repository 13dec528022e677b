//! From a captured frame of any link type to the UDP datagram in it, and back.

use sluice_classifier::{Bytes, Datagram, NotUdp, locate};

/// What a capture's frames begin with (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Ethernet,
    /// BSD loopback: the address family in the capturing host's byte order.
    Null,
    /// OpenBSD loopback: the address family in network byte order.
    Loop,
    /// The IP header itself.
    Raw,
    /// `tcpdump -i any`.
    Sll,
    /// `tcpdump -i any`, newer.
    Sll2,
    /// Not looked into.
    Other(u32),
}

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const ETHERNET: usize = 14;

impl Link {
    pub(super) const fn new(number: u32) -> Self {
        match number {
            1 => Self::Ethernet,
            0 => Self::Null,
            108 => Self::Loop,
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            113 => Self::Sll,
            276 => Self::Sll2,
            other => Self::Other(other),
        }
    }

    /// Octets before the network header (or before a VLAN tag).
    const fn header(self) -> usize {
        match self {
            Self::Ethernet => ETHERNET,
            Self::Null | Self::Loop => 4,
            Self::Raw | Self::Other(_) => 0,
            Self::Sll => 16,
            Self::Sll2 => 20,
        }
    }

    fn ethertype(self, frame: &[u8]) -> Option<u16> {
        match self {
            Self::Ethernet => frame.u16_at(12),
            Self::Sll => frame.u16_at(14),
            Self::Sll2 => frame.u16_at(0),
            Self::Raw => match frame.first()? >> 4 {
                4 => Some(TYPE_IPV4),
                6 => Some(TYPE_IPV6),
                _ => None,
            },
            Self::Null | Self::Loop => match family(frame.u32_at(0)?) {
                2 => Some(TYPE_IPV4),
                // AF_INET6 of Linux, NetBSD, FreeBSD and macOS.
                10 | 24 | 28 | 30 => Some(TYPE_IPV6),
                _ => None,
            },
            Self::Other(_) => None,
        }
    }
}

/// Families are small numbers: what looks large was written in the other byte order.
const fn family(value: u32) -> u32 {
    if value > 0xffff { value.swap_bytes() } else { value }
}

/// A frame as the classifier sees it: behind an Ethernet header, its own or one made up.
struct View<'a> {
    header: [u8; ETHERNET],
    rest: &'a [u8],
    wire: usize,
}

impl Bytes for View<'_> {
    fn len(&self) -> usize {
        ETHERNET + self.rest.len()
    }

    fn wire_len(&self) -> usize {
        self.wire
    }

    fn array_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(offset) = offset.checked_sub(ETHERNET) {
            return self.rest.get(offset..)?.first_chunk().copied();
        }
        let mut bytes = [0; N];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let at = offset.checked_add(index)?;
            *byte = *self.header.get(at).or_else(|| self.rest.get(at.checked_sub(ETHERNET)?))?;
        }
        Some(bytes)
    }
}

/// Finds the UDP datagram in a captured frame; offsets are those of the frame. `wire` is the frame's
/// length before the capture cut it.
pub(super) fn datagram(link: Link, frame: &[u8], wire: usize) -> Result<Datagram, NotUdp> {
    let ethertype = link.ethertype(frame).ok_or(NotUdp::NotIp)?;
    let skip = link.header();
    let rest = frame.get(skip..).ok_or(NotUdp::BadHeader)?;
    let mut header = [0; ETHERNET];
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
    let wire = wire.max(frame.len()) - skip + ETHERNET;
    let found = locate(&View { header, rest, wire })?;
    let shift = |offset: usize| offset - ETHERNET + skip;
    Ok(Datagram { network: shift(found.network), payload: shift(found.payload), ..found })
}

/// The frame with another UDP payload: lengths and checksums made right, the link layer's padding
/// gone. `None` if the datagram would be longer than UDP or IP can say.
pub(super) fn with_payload(frame: &[u8], datagram: &Datagram, payload: &[u8]) -> Option<Vec<u8>> {
    let (network, udp) = (datagram.network, datagram.payload.checked_sub(8)?);
    let mut new = frame.get(..datagram.payload)?.to_vec();
    new.extend_from_slice(payload);
    let udp_length = u16::try_from(8 + payload.len()).ok()?;
    put(&mut new, udp + 4, udp_length)?;
    let version = new.get(network)? >> 4;
    let packet = new.len().checked_sub(network)?;
    if version == 4 {
        put(&mut new, network + 2, u16::try_from(packet).ok()?)?;
        put(&mut new, network + 10, 0)?;
        let header = usize::from(new.get(network)? & 0x0f) * 4;
        let sum = checksum(0, new.get(network..network + header)?);
        put(&mut new, network + 10, !sum)?;
    } else {
        put(&mut new, network + 4, u16::try_from(packet.checked_sub(40)?).ok()?)?;
    }
    // RFC 768: "An all zero transmitted checksum value means that the transmitter generated no
    // checksum"; RFC 8200 §8.1 does not allow that in IPv6.
    if version == 6 || frame.u16_at(udp + 6)? != 0 {
        put(&mut new, udp + 6, 0)?;
        let addresses = if version == 4 { network + 12..network + 20 } else { network + 8..network + 40 };
        let pseudo = checksum(17 + u32::from(udp_length), new.get(addresses)?);
        let sum = !checksum(u32::from(pseudo), new.get(udp..)?);
        put(&mut new, udp + 6, if sum == 0 { 0xffff } else { sum })?;
    }
    Some(new)
}

fn put(bytes: &mut [u8], at: usize, value: u16) -> Option<()> {
    bytes.get_mut(at..at + 2)?.copy_from_slice(&value.to_be_bytes());
    Some(())
}

/// The Internet checksum's sum (RFC 1071), not yet inverted.
fn checksum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = u64::from(start);
    let (pairs, odd) = bytes.as_chunks::<2>();
    sum += pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
    sum += odd.first().map_or(0, |byte| u64::from(*byte) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests;
