//! From an Ethernet frame to the UDP datagram in it.

use crate::Bytes;

/// IPv6 extension headers that are walked; a packet with more is left to the kernel.
pub const MAX_EXTENSION_HEADERS: usize = 4;

const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;
const UDP_HEADER: usize = 8;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q customer tag and 802.1ad service tag.
const TYPE_VLAN: u16 = 0x8100;
const TYPE_QINQ: u16 = 0x88a8;

const NEXT_HOP_BY_HOP: u8 = 0;
const NEXT_UDP: u8 = 17;
const NEXT_ROUTING: u8 = 43;
const NEXT_FRAGMENT: u8 = 44;
const NEXT_DESTINATION: u8 = 60;

/// A transport address; IPv4 is mapped into IPv6 (`::ffff:a.b.c.d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address.
    pub addr: [u8; 16],
    /// The UDP port.
    pub port: u16,
}

/// The VLAN tags of a frame (their 12-bit identifiers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vlan {
    /// The tag nearest to the MAC addresses; the service tag of QinQ.
    pub outer: Option<u16>,
    /// The second tag.
    pub inner: Option<u16>,
}

/// Where the UDP datagram of a frame is, and what its headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub source: Endpoint,
    /// To whom: a leg's local address, if it is for us.
    pub destination: Endpoint,
    /// Offset of the IP header in the frame.
    pub network: usize,
    /// Offset of the UDP payload in the frame.
    pub payload: usize,
    /// Length of the UDP payload: what the UDP header says, which may be less than the frame holds.
    pub length: usize,
    /// VLAN tags still in the frame (hardware may have taken one off).
    pub vlan: Vlan,
    /// Differentiated services code point (RFC 2474), 6 bits.
    pub dscp: u8,
    /// Explicit congestion notification (RFC 3168), 2 bits.
    pub ecn: u8,
}

/// Why a frame is not ours to look into; all of these are the kernel's to handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotUdp {
    /// Neither IPv4 nor IPv6 behind at most two VLAN tags.
    NotIp,
    /// IP, but another protocol than UDP.
    OtherProtocol,
    /// A fragment: only the kernel can put it together.
    Fragment,
    /// IPv6 with more or other extension headers than are walked here.
    ExtensionHeaders,
    /// A header that is cut short or contradicts itself or the frame's length.
    BadHeader,
}

/// What both IP versions say, in one form.
struct Network {
    source: [u8; 16],
    destination: [u8; 16],
    /// Offset of the UDP header.
    transport: usize,
    /// Octets from there to the end of the IP packet.
    available: usize,
    traffic_class: u8,
}

/// Finds the UDP datagram in an Ethernet frame.
///
/// Lengths are held against [`Bytes::wire_len`]; only headers are read here.
///
/// Checksums are not verified: SRTP authenticates what it covers, and a sender on the same host leaves
/// them to hardware that is not there.
#[inline(always)]
pub fn locate<B: Bytes + ?Sized>(frame: &B) -> Result<Datagram, NotUdp> {
    let (ethertype, network, vlan) = ethernet(frame)?;
    let ip = match ethertype {
        TYPE_IPV4 => ipv4(frame, network)?,
        TYPE_IPV6 => ipv6(frame, network)?,
        _ => return Err(NotUdp::NotIp),
    };
    let Some([s0, s1, d0, d1, l0, l1, c0, c1]) = frame.array_at::<UDP_HEADER>(ip.transport) else {
        return Err(NotUdp::BadHeader);
    };
    // RFC 768: the length includes the header. It may be less than what IP carries, never more.
    let length = u16::from_be_bytes([l0, l1]) as usize;
    if length < UDP_HEADER || length > ip.available {
        return Err(NotUdp::BadHeader);
    }
    // RFC 8200 §8.1: "IPv6 receivers must discard UDP packets containing a zero checksum".
    if ethertype == TYPE_IPV6 && c0 | c1 == 0 {
        return Err(NotUdp::BadHeader);
    }
    Ok(Datagram {
        source: Endpoint { addr: ip.source, port: u16::from_be_bytes([s0, s1]) },
        destination: Endpoint { addr: ip.destination, port: u16::from_be_bytes([d0, d1]) },
        network,
        payload: ip.transport + UDP_HEADER,
        length: length - UDP_HEADER,
        vlan,
        dscp: ip.traffic_class >> 2,
        ecn: ip.traffic_class & 3,
    })
}

/// The ethertype behind up to two VLAN tags, and where its packet starts.
#[inline(always)]
fn ethernet<B: Bytes + ?Sized>(frame: &B) -> Result<(u16, usize, Vlan), NotUdp> {
    let mut vlan = Vlan::default();
    let ethertype = frame.u16_at(ETHERNET_HEADER - 2).ok_or(NotUdp::BadHeader)?;
    if !is_tag(ethertype) {
        return Ok((ethertype, ETHERNET_HEADER, vlan));
    }
    let (tag, ethertype) = vlan_tag(frame, ETHERNET_HEADER)?;
    vlan.outer = Some(tag);
    if !is_tag(ethertype) {
        return Ok((ethertype, ETHERNET_HEADER + VLAN_TAG, vlan));
    }
    let (tag, ethertype) = vlan_tag(frame, ETHERNET_HEADER + VLAN_TAG)?;
    vlan.inner = Some(tag);
    Ok((ethertype, ETHERNET_HEADER + 2 * VLAN_TAG, vlan))
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, TYPE_VLAN | TYPE_QINQ)
}

#[inline(always)]
fn vlan_tag<B: Bytes + ?Sized>(frame: &B, at: usize) -> Result<(u16, u16), NotUdp> {
    let [t0, t1, e0, e1] = frame.array_at(at).ok_or(NotUdp::BadHeader)?;
    Ok((u16::from_be_bytes([t0, t1]) & 0x0fff, u16::from_be_bytes([e0, e1])))
}

/// RFC 791 §3.1.
#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(frame: &B, at: usize) -> Result<Network, NotUdp> {
    let header: [u8; IPV4_HEADER] = frame.array_at(at).ok_or(NotUdp::BadHeader)?;
    let header_length = 4 * (header[0] & 0x0f) as usize;
    let total = u16::from_be_bytes([header[2], header[3]]) as usize;
    if header[0] >> 4 != 4 || header_length < IPV4_HEADER || total < header_length {
        return Err(NotUdp::BadHeader);
    }
    if at + total > frame.wire_len() {
        return Err(NotUdp::BadHeader);
    }
    if header[9] != NEXT_UDP {
        return Err(NotUdp::OtherProtocol);
    }
    // More fragments to come, or not the first one.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Err(NotUdp::Fragment);
    }
    Ok(Network {
        source: mapped([header[12], header[13], header[14], header[15]]),
        destination: mapped([header[16], header[17], header[18], header[19]]),
        transport: at + header_length,
        available: total - header_length,
        traffic_class: header[1],
    })
}

#[inline(always)]
const fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// RFC 8200 §3.
#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(frame: &B, at: usize) -> Result<Network, NotUdp> {
    let start: [u8; 8] = frame.array_at(at).ok_or(NotUdp::BadHeader)?;
    let source = frame.array_at(at + 8).ok_or(NotUdp::BadHeader)?;
    let destination = frame.array_at(at + 24).ok_or(NotUdp::BadHeader)?;
    let end = at + IPV6_HEADER + u16::from_be_bytes([start[4], start[5]]) as usize;
    if start[0] >> 4 != 6 || end > frame.wire_len() {
        return Err(NotUdp::BadHeader);
    }
    let transport = skip_extensions(frame, start[6], at + IPV6_HEADER)?;
    if transport > end {
        return Err(NotUdp::BadHeader);
    }
    Ok(Network {
        source,
        destination,
        transport,
        available: end - transport,
        traffic_class: start[0] << 4 | start[1] >> 4,
    })
}

/// Walks hop-by-hop options, destination options and used-up routing headers (RFC 8200 §4) to UDP.
#[inline(always)]
fn skip_extensions<B: Bytes + ?Sized>(frame: &B, first: u8, start: usize) -> Result<usize, NotUdp> {
    let mut next = first;
    let mut at = start;
    for _ in 0..MAX_EXTENSION_HEADERS {
        match next {
            NEXT_UDP => return Ok(at),
            NEXT_FRAGMENT => return Err(NotUdp::Fragment),
            NEXT_HOP_BY_HOP | NEXT_DESTINATION | NEXT_ROUTING => {}
            _ => return Err(NotUdp::OtherProtocol),
        }
        let [following, length, _, segments_left] = frame.array_at(at).ok_or(NotUdp::BadHeader)?;
        // With segments left, the destination in the header is only a stop on the way.
        if next == NEXT_ROUTING && segments_left != 0 {
            return Err(NotUdp::ExtensionHeaders);
        }
        next = following;
        at += 8 * (length as usize + 1);
    }
    if next == NEXT_UDP { Ok(at) } else { Err(NotUdp::ExtensionHeaders) }
}
