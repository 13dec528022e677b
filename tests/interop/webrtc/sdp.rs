//! What the tests read in SDP, and change in it.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};

/// The values of an attribute, in order.
pub(crate) fn attributes<'a>(sdp: &'a str, name: &str) -> Vec<&'a str> {
    let values =
        sdp.lines().filter_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'));
    values.map(str::trim).collect()
}

/// Where an SDP of one medium wants its media.
pub(crate) fn destination(sdp: &str) -> Result<SocketAddr> {
    let of =
        |name: &str| sdp.lines().rev().find_map(|line| line.trim().strip_prefix(name)?.split(' ').next());
    let address = of("c=IN IP4 ").or_else(|| of("c=IN IP6 ")).context("no address")?;
    let port = of("m=audio ").context("no audio")?;
    Ok(SocketAddr::new(address.parse()?, port.parse()?))
}

/// The same SDP with its media, and its candidates, at another place.
pub(crate) fn moved(sdp: &str, to: SocketAddr) -> String {
    let family = if to.is_ipv4() { "IP4" } else { "IP6" };
    let lines = sdp.lines().filter_map(|line| {
        if line.starts_with("c=IN ") {
            return Some(format!("c=IN {family} {}", to.ip()));
        }
        if let Some((kind, rest)) = line.strip_prefix("m=").and_then(|line| line.split_once(' ')) {
            let rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
            return Some(format!("m={kind} {} {rest}", to.port()));
        }
        let Some(candidate) = line.strip_prefix("a=candidate:") else { return Some(line.to_owned()) };
        let fields: Vec<_> = candidate.split(' ').collect();
        // Only those of the family that there is a way for.
        let same = fields.get(4)?.parse::<IpAddr>().is_ok_and(|at| at.is_ipv4() == to.is_ipv4());
        let (before, after) = (fields.get(..4)?.join(" "), fields.get(6..)?.join(" "));
        same.then(|| format!("a=candidate:{before} {} {} {after}", to.ip(), to.port()))
    });
    lines.map(|line| line + "\r\n").collect()
}

/// The same SDP with one octet of every fingerprint another.
pub(crate) fn forged(sdp: &str) -> String {
    let lines = sdp.lines().map(|line| {
        if !line.starts_with("a=fingerprint:") {
            return format!("{line}\r\n");
        }
        let (all, last) = line.split_at(line.len() - 2);
        format!("{all}{}\r\n", if last == "00" { "11" } else { "00" })
    });
    lines.collect()
}

#[test]
fn an_sdp_is_moved_with_its_candidates_and_a_forged_fingerprint_is_another() -> Result<()> {
    let sdp = "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 9000 UDP/TLS/RTP/SAVPF 0\r\n\
               a=candidate:1 1 udp 2130706431 192.0.2.1 9000 typ host\r\n\
               a=candidate:2 1 udp 2130706431 2001:db8::1 9000 typ host\r\na=fingerprint:sha-256 AA:BB\r\n";
    let moved = moved(sdp, "192.0.2.2:4000".parse()?);
    assert_eq!(destination(&moved)?, "192.0.2.2:4000".parse()?);
    assert_eq!(attributes(&moved, "candidate"), ["1 1 udp 2130706431 192.0.2.2 4000 typ host"]);
    assert_eq!(attributes(&forged(sdp), "fingerprint"), ["sha-256 AA:00"]);
    Ok(())
}
