//! Binding the kernel sockets of legs.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::ApiError;
use crate::config::PortRange;
use crate::descriptors::is_reserved;

/// How long a range that was found full is taken for full: long enough that a batch does not search it
/// once for each leg, short enough to notice ports that other programs, or sockets still closing, free.
const EXHAUSTED: Duration = Duration::from_secs(1);

/// The sockets of a leg.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) rtp: Arc<UdpSocket>,
    /// `None` with rtcp-mux.
    pub(crate) rtcp: Option<Arc<UdpSocket>>,
}

/// Hands out ports of a range, each time from where the last search ended, so that a port rests
/// before it is used again.
#[derive(Debug)]
pub(crate) struct Ports {
    range: PortRange,
    next: u16,
    /// Since when no leg of this address, with rtcp-mux or without, finds a port.
    exhausted: HashMap<(IpAddr, bool), Instant>,
}

impl Ports {
    pub(crate) fn new(range: PortRange) -> Self {
        Self { range, next: range.first, exhausted: HashMap::new() }
    }

    /// Binds the ports of a leg that names none.
    pub(crate) fn allocate(&mut self, address: IpAddr, mux: bool) -> Result<Sockets, ApiError> {
        self.allocate_at(Instant::now(), address, mux)
    }

    /// A leg gave ports back: whoever found none may look again.
    pub(crate) fn freed(&mut self) {
        self.exhausted.clear();
    }

    fn allocate_at(&mut self, now: Instant, address: IpAddr, mux: bool) -> Result<Sockets, ApiError> {
        self.exhausted.retain(|_, since| now.duration_since(*since) < EXHAUSTED);
        if self.exhausted.contains_key(&(address, mux)) {
            return Err(self.no_port(address));
        }
        let count = u32::from(self.range.last - self.range.first) + 1;
        for step in 0..count {
            let offset = (u32::from(self.next - self.range.first) + step) % count;
            let port = self.range.first + offset as u16;
            // RFC 3550 §11: RTP on an even port, RTCP on the next one.
            if !mux && (port % 2 == 1 || port == self.range.last) {
                continue;
            }
            match bind(SocketAddr::new(address, port), mux) {
                Ok(sockets) => {
                    let after = u32::from(port) + if mux { 1 } else { 2 };
                    let wraps = after > u32::from(self.range.last);
                    self.next = if wraps { self.range.first } else { after as u16 };
                    return Ok(sockets);
                }
                Err((_, error)) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err((at, error)) => return Err(refused(at, &error)),
            }
        }
        self.exhausted.insert((address, mux), now);
        Err(self.no_port(address))
    }

    fn no_port(&self, address: IpAddr) -> ApiError {
        let PortRange { first, last } = self.range;
        let message = format!("no free port on {address} in {first}-{last}");
        ApiError::exhausted("NO_PORT", message, "delete legs, or widen media.ports").at("local")
    }
}

/// Binds the ports of a leg that names its own.
pub(crate) fn bind_exactly(address: SocketAddr, mux: bool) -> Result<Sockets, ApiError> {
    if !mux && address.port() == u16::MAX {
        let remedy = "choose a port below 65535, or use rtcp-mux";
        return Err(ApiError::invalid("local", "port 65535 leaves no port for RTCP", remedy));
    }
    bind(address, mux).map_err(|(at, error)| refused(at, &error))
}

fn bind(address: SocketAddr, mux: bool) -> Result<Sockets, (SocketAddr, io::Error)> {
    let rtp = bind_one(address).map_err(|error| (address, error))?;
    if mux {
        return Ok(Sockets { rtp, rtcp: None });
    }
    let beside = SocketAddr::new(address.ip(), address.port() + 1);
    let rtcp = bind_one(beside).map_err(|error| (beside, error))?;
    Ok(Sockets { rtp, rtcp: Some(rtcp) })
}

fn bind_one(address: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    // Many are made in a second: no system call more than they need.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    if is_reserved(&socket) {
        return Err(rustix::io::Errno::MFILE.into());
    }
    rustix::net::bind(&socket, &address)?;
    Ok(Arc::new(UdpSocket::from(socket)))
}

fn refused(address: SocketAddr, error: &io::Error) -> ApiError {
    match error.kind() {
        io::ErrorKind::AddrInUse => ApiError::precondition(
            "PORT_IN_USE",
            format!("UDP {address} is in use by another leg or program"),
            "choose another port, or leave the port out",
        ),
        io::ErrorKind::AddrNotAvailable => ApiError::precondition(
            "ADDRESS_NOT_LOCAL",
            format!("{} is no address of this host", address.ip()),
            "give an address that `ip address` shows",
        ),
        io::ErrorKind::PermissionDenied => ApiError::precondition(
            "PORT_NOT_PERMITTED",
            format!("binding UDP {address} is not permitted"),
            "choose a port of 1024 or above",
        ),
        _ => match error.raw_os_error() {
            // EMFILE and ENFILE.
            Some(23 | 24) => ApiError::exhausted(
                "NO_DESCRIPTORS",
                format!("UDP {address}: {error}"),
                "raise the open-files limit (LimitNOFILE)",
            ),
            _ => ApiError::precondition("BIND", format!("UDP {address}: {error}"), "see the reason"),
        },
    }
    .at("local")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 21));

    #[test]
    fn rtp_gets_even_ports_and_rtcp_the_next() {
        let mut ports = Ports::new(PortRange { first: 30_001, last: 30_008 });
        let mut kept = Vec::new();
        for expected in [30_002, 30_004, 30_006] {
            let sockets = ports.allocate(LOOPBACK, false).unwrap();
            assert_eq!(sockets.rtp.local_addr().unwrap().port(), expected);
            assert_eq!(sockets.rtcp.as_ref().unwrap().local_addr().unwrap().port(), expected + 1);
            kept.push(sockets);
        }
        let error = ports.allocate(LOOPBACK, false).unwrap_err();
        assert_eq!((error.reason, error.field), ("NO_PORT", "local"));
        kept.remove(1);
        ports.freed();
        let again = ports.allocate(LOOPBACK, false).unwrap();
        assert_eq!(again.rtp.local_addr().unwrap().port(), 30_004);
    }

    #[test]
    fn a_full_range_is_not_searched_again_until_a_leg_goes_or_time_passes() {
        let range = PortRange { first: 30_200, last: 30_201 };
        let (mut ports, start) = (Ports::new(range), Instant::now());
        let all = |port: u16| UdpSocket::bind(SocketAddr::new(LOOPBACK, port)).unwrap();
        let others = [30_200, 30_201].map(all);
        for mux in [false, true] {
            assert_eq!(ports.allocate_at(start, LOOPBACK, mux).unwrap_err().reason, "NO_PORT");
        }
        drop(others);
        let soon = start + EXHAUSTED / 2;
        assert_eq!(ports.allocate_at(soon, LOOPBACK, false).unwrap_err().reason, "NO_PORT");
        let elsewhere = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 22));
        assert!(ports.allocate_at(soon, elsewhere, false).is_ok(), "each address has its ports");
        assert!(ports.allocate_at(start + EXHAUSTED, LOOPBACK, false).is_ok(), "time passed");
        ports.exhausted.insert((LOOPBACK, false), start);
        ports.freed();
        assert!(ports.allocate_at(soon, LOOPBACK, false).is_ok(), "a leg went");
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = UdpSocket::bind("127.0.0.21:30111").unwrap();
        let error = bind_exactly("127.0.0.21:30110".parse().unwrap(), false).unwrap_err();
        assert_eq!(error.reason, "PORT_IN_USE");
        assert!(error.message.contains("127.0.0.21:30111"));
        drop(taken);
        assert!(bind_exactly("127.0.0.21:30110".parse().unwrap(), false).is_ok());
        let error = bind_exactly("192.0.2.77:30110".parse().unwrap(), true).unwrap_err();
        assert_eq!(error.reason, "ADDRESS_NOT_LOCAL");
    }
}
