//! The error queue of a kernel socket: what ICMP, or the kernel itself, says of datagrams sent from its address.
//! That of AF_XDP's is in it as well: the kernel knows them by their addresses.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use super::address::{NAME_LEN, decode};
use crate::{TroubleKind, Unreachable};

/// Octets of `struct sock_extended_err`; the address of who reports stands behind it.
const EXTENDED: usize = 16;
/// Octets of `struct cmsghdr` on 64-bit machines.
const CMSG: usize = 16;
const ORIGIN_LOCAL: u8 = 1;
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// One entry of an error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// ICMP, of a datagram to this peer.
    Icmp(SocketAddr, TroubleKind),
    /// The kernel refused to send a datagram to this peer that is larger than this MTU.
    Refused(SocketAddr, u32),
    /// Something else.
    Other,
}

/// Has the kernel keep a queue of errors, and never fragment what is sent: what is larger than the path takes is
/// refused, as ICMP tells of the path (RFC 1191, RFC 8201).
pub(super) fn prepare(socket: &UdpSocket, is_ipv4: bool) -> io::Result<()> {
    let v4 = || {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
    };
    if is_ipv4 {
        return v4();
    }
    set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
    set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)?;
    // An IPv6 socket may send IPv4 as well, unless it is for IPv6 only.
    let _ = v4();
    Ok(())
}

fn set(socket: &UdpSocket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of_val(&value) as u32;
    // SAFETY: the value is an int of the length that is passed, and lives through the call.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the oldest entry of the queue, if there is one.
pub(super) fn next(socket: &UdpSocket) -> Option<Report> {
    let mut name = [0_u8; NAME_LEN];
    let mut control = [0_u8; 256];
    // SAFETY: all-zero is a valid msghdr: null pointers and lengths of 0.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = NAME_LEN as u32;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len();
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header names two arrays with their lengths, and no vectors; all live through the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    if received < 0 {
        return None;
    }
    let name = name.get(..header.msg_namelen as usize).unwrap_or_default();
    let control = control.get(..header.msg_controllen).unwrap_or_default();
    Some(read(name, control).unwrap_or(Report::Other))
}

/// Reads an entry: the peer's address, and the control messages.
fn read(name: &[u8], mut control: &[u8]) -> Option<Report> {
    let remote = decode(name)?;
    loop {
        let length = usize::from_ne_bytes(*control.first_chunk()?);
        let field = |at: usize| Some(i32::from_ne_bytes(*control.get(at..)?.first_chunk()?));
        let body = control.get(CMSG..length)?;
        let is_error = matches!(
            (field(8)?, field(12)?),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        if is_error {
            return report(remote, body);
        }
        control = control.get(length.next_multiple_of(size_of::<usize>())..)?;
    }
}

/// Reads `struct sock_extended_err` and what is behind it.
fn report(remote: SocketAddr, body: &[u8]) -> Option<Report> {
    let [_, _, _, _, origin, kind, code, _, info @ ..] = *body.first_chunk::<12>()?;
    let (number, info) = (u32::from_ne_bytes(*body.first_chunk()?), u32::from_ne_bytes(info));
    let too_big = number == libc::EMSGSIZE as u32;
    let by = body.get(EXTENDED..).and_then(decode).map(|offender| offender.ip()).filter(is_somebody);
    let unreachable = |why| Report::Icmp(remote, TroubleKind::Unreachable { why, by });
    Some(match origin {
        ORIGIN_LOCAL if too_big => Report::Refused(remote, info),
        ORIGIN_ICMP | ORIGIN_ICMP6 if too_big => Report::Icmp(remote, TroubleKind::PathMtu(info)),
        ORIGIN_ICMP => unreachable(Unreachable::from_icmp(kind, code)),
        ORIGIN_ICMP6 => unreachable(Unreachable::from_icmp6(kind, code)),
        _ => Report::Other,
    })
}

fn is_somebody(address: &IpAddr) -> bool {
    !address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uring::address::encode;

    fn control(level: i32, kind: i32, body: &[u8]) -> Vec<u8> {
        let mut bytes = (CMSG + body.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn error(number: i32, origin: [u8; 3], info: u32, offender: &str) -> Vec<u8> {
        let mut body = number.to_ne_bytes().to_vec();
        body.extend([origin[0], origin[1], origin[2], 0]);
        body.extend(info.to_ne_bytes());
        body.extend([0; 4]);
        let (name, len) = encode(offender.parse().unwrap());
        body.extend(&name[..len]);
        body
    }

    #[test]
    fn entries_are_read_behind_other_control_messages_and_nonsense_is_survived() {
        let (name, len) = encode("192.0.2.9:5000".parse().unwrap());
        let remote = "192.0.2.9:5000".parse().unwrap();
        let port = error(libc::ECONNREFUSED, [2, 3, 3], 0, "192.0.2.9:0");
        let mut messages = control(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, &[1; 9]);
        messages.extend(control(libc::IPPROTO_IP, libc::IP_RECVERR, &port));
        let by = Some("192.0.2.9".parse().unwrap());
        let why = Unreachable::Port;
        let expected = Report::Icmp(remote, TroubleKind::Unreachable { why, by });
        assert_eq!(read(&name[..len], &messages), Some(expected));
        for cut in 0..messages.len() - 8 {
            assert_ne!(read(&name[..len], &messages[..cut]), Some(expected));
        }
        assert_eq!(read(&name[..1], &messages), None);
        assert_eq!(read(&name[..len], &[0; 64]), None, "a length of nothing ends it");
    }

    #[test]
    fn the_mtu_is_told_by_routers_and_by_the_kernel_itself() {
        let remote: SocketAddr = "[2001:db8::9]:5000".parse().unwrap();
        for (origin, expected) in [
            ([3, 2, 0], Report::Icmp(remote, TroubleKind::PathMtu(1300))),
            ([1, 0, 0], Report::Refused(remote, 1300)),
            ([9, 0, 0], Report::Other),
        ] {
            let body = error(libc::EMSGSIZE, origin, 1300, "[::]:0");
            assert_eq!(report(remote, &body), Some(expected));
        }
    }

    #[test]
    fn icmp_types_have_their_meaning() {
        for (kind, code, why) in [
            (3, 0, Unreachable::Network),
            (3, 1, Unreachable::Host),
            (3, 3, Unreachable::Port),
            (3, 13, Unreachable::Prohibited),
            (11, 0, Unreachable::HopLimit),
            (12, 0, Unreachable::Other),
        ] {
            assert_eq!(Unreachable::from_icmp(kind, code), why);
        }
        for (kind, code, why) in [
            (1, 0, Unreachable::Network),
            (1, 1, Unreachable::Prohibited),
            (1, 3, Unreachable::Host),
            (1, 4, Unreachable::Port),
            (3, 0, Unreachable::HopLimit),
            (4, 1, Unreachable::Other),
        ] {
            assert_eq!(Unreachable::from_icmp6(kind, code), why);
        }
    }
}
