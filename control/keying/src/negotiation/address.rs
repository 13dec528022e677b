//! Where a peer receives: c=, the port of m=, a=rtcp.

use std::net::{IpAddr, SocketAddr};

use super::Fault;
use crate::sdp::Sdp;

/// The port of a peer that does not know its address yet, as those have that send candidates later (RFC 8840
/// section 4.1.1; RFC 863: "discard").
pub(super) const DISCARD: u16 = 9;

/// Where a peer receives a medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) rtp: Option<SocketAddr>,
    /// Where it says so.
    pub(super) rtcp: Option<SocketAddr>,
    /// It holds in the old way: by 0.0.0.0, at which "neither RTP nor RTCP should be sent" to it (RFC 3264
    /// section 8.4).
    pub(super) held: bool,
}

impl Remote {
    /// The addresses of a media line. `by_checks`: it may be found by ICE, to which it is no failure that "the default
    /// destination is an FQDN" (RFC 8839 section 4.2.5).
    pub(super) fn read(sdp: &Sdp, line: usize, by_checks: bool) -> Result<Self, Fault> {
        let media = &sdp.media()[line];
        let connection = sdp.connection(line).ok_or(Fault::NoConnection)?;
        let ip = match address(connection.address) {
            Err(Fault::HostName { .. }) if by_checks => return Ok(Self::default()),
            read => read?,
        };
        let port = media.port();
        let rtcp = match media.rtcp()? {
            None => None,
            Some(rtcp) => Some(SocketAddr::new(rtcp.address.map_or(Ok(ip), address)?, rtcp.port)),
        };
        let usable =
            |address: &SocketAddr| !address.ip().is_unspecified() && !matches!(address.port(), 0 | DISCARD);
        let rtp = Some(SocketAddr::new(ip, port)).filter(usable);
        Ok(Self {
            rtp,
            rtcp: rtcp.filter(usable).filter(|_| rtp.is_some()),
            held: ip.is_unspecified() && port != DISCARD,
        })
    }
}

fn address(text: &str) -> Result<IpAddr, Fault> {
    // What follows a slash is of multicast (RFC 8866 section 5.7).
    let host = text.split('/').next().unwrap_or(text);
    let Ok(ip) = host.parse::<IpAddr>() else {
        return Err(Fault::HostName { name: text.chars().take(64).collect() });
    };
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_multicast() || broadcast || text.contains('/') {
        return Err(Fault::NotUnicast { address: text.chars().take(64).collect() });
    }
    Ok(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(c: &str, m: &str, rest: &str) -> Result<Remote, Fault> {
        let sdp = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc={c}\r\nt=0 0\r\nm={m}\r\n{rest}");
        Remote::read(&Sdp::parse(&sdp).expect("SDP"), 0, false)
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        let remote = read("IN IP4 192.0.2.7", "audio 4000 RTP/AVP 0", "").unwrap();
        assert_eq!(remote.rtp, Some("192.0.2.7:4000".parse().unwrap()));
        assert_eq!((remote.rtcp, remote.held), (None, false));
        let remote = read("IN IP6 2001:db8::7", "audio 4000 RTP/AVP 0", "a=rtcp:4002\r\n").unwrap();
        assert_eq!(remote.rtcp, Some("[2001:db8::7]:4002".parse().unwrap()));
        let remote =
            read("IN IP4 192.0.2.7", "audio 4000 RTP/AVP 0", "a=rtcp:53 IN IP4 192.0.2.8\r\n").unwrap();
        assert_eq!(remote.rtcp, Some("192.0.2.8:53".parse().unwrap()));
    }

    #[test]
    fn no_address_is_a_hold_but_at_the_discard_port() {
        let held = read("IN IP4 0.0.0.0", "audio 4000 RTP/AVP 0", "a=rtcp:4001\r\n").unwrap();
        assert_eq!(held, Remote { rtp: None, rtcp: None, held: true });
        let unknown = read("IN IP4 0.0.0.0", "audio 9 RTP/AVP 0", "a=rtcp:9 IN IP4 0.0.0.0\r\n").unwrap();
        assert_eq!(unknown, Remote::default());
        assert!(read("IN IP6 ::", "audio 4000 RTP/AVP 0", "").unwrap().held);
    }

    #[test]
    fn names_and_groups_are_refused_by_name() {
        let name = read("IN IP4 media.example.com", "audio 4000 RTP/AVP 0", "").unwrap_err();
        assert!(name.to_string().contains("media.example.com"), "{name}");
        for address in ["224.2.1.1/127", "255.255.255.255", "192.0.2.1/3"] {
            let error = read(&format!("IN IP4 {address}"), "audio 4000 RTP/AVP 0", "").unwrap_err();
            assert!(matches!(error, Fault::NotUnicast { .. }), "{error}");
        }
    }
}
