//! Socket addresses and control messages in the kernel's layout.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Octets of `sockaddr_in6`, the longer of the two.
pub(super) const NAME_LEN: usize = 28;

/// A socket address as the kernel lays it out, and how much of it is used.
pub(super) fn encode(address: SocketAddr) -> ([u8; NAME_LEN], usize) {
    let mut name = [0; NAME_LEN];
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            name[4..8].copy_from_slice(&v4.ip().octets());
            (name, 16)
        }
        SocketAddr::V6(v6) => {
            name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            name[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
            name[8..24].copy_from_slice(&v6.ip().octets());
            name[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            (name, NAME_LEN)
        }
    }
}

/// Reads a socket address that the kernel wrote.
pub(super) fn decode(name: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(*name.first_chunk()?));
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    let ip = match family {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*name.get(4..)?.first_chunk::<4>()?)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(*name.get(8..)?.first_chunk::<16>()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// A control message that sets the traffic class of one datagram: `IP_TOS` or `IPV6_TCLASS`, an `int`.
pub(super) fn traffic_class(v6: bool, dscp: u8) -> [u64; 3] {
    let (level, kind) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) } else { (libc::IPPROTO_IP, libc::IP_TOS) };
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&20_u64.to_ne_bytes());
    bytes[8..12].copy_from_slice(&level.to_ne_bytes());
    bytes[12..16].copy_from_slice(&kind.to_ne_bytes());
    bytes[16..20].copy_from_slice(&(i32::from(dscp) << 2).to_ne_bytes());
    let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
    [word(0), word(8), word(16)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_layout() {
        for address in ["192.0.2.7:5004", "[2001:db8::1]:65535", "[::1]:1"] {
            let address: SocketAddr = address.parse().unwrap();
            let (name, len) = encode(address);
            assert_eq!(decode(&name[..len]), Some(address));
        }
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[9; 28]), None);
    }
}
