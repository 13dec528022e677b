//! Settings of the network stack that media goes through when XDP does not take it.

use super::finding::Finding;
use super::read_number;

const AREA: &str = "network";
/// A burst of 10 ms at 10 Gbit/s; the default of 208 KiB holds a few hundred small packets.
const BUFFER: u64 = 4 << 20;
/// Least path MTU of IPv6 (RFC 8200 §5), and hardly any path of IPv4 takes less.
const PATH_MTU: u64 = 1280;

pub(super) fn examine() -> Vec<Finding> {
    vec![buffer("rmem_max", "receive"), buffer("wmem_max", "send"), backlog(), min_pmtu(), open_files()]
}

fn buffer(name: &str, direction: &str) -> Finding {
    let sysctl = format!("net.core.{name}");
    match read_number(format!("/proc/sys/net/core/{name}")) {
        Some(bytes) if bytes < BUFFER => Finding::warn(
            AREA,
            sysctl.clone(),
            format!("{} KiB: bursts overflow {direction} buffers of kernel sockets", bytes >> 10),
            format!("sysctl -w {sysctl}={BUFFER}"),
        ),
        Some(bytes) => Finding::ok(AREA, sysctl, format!("{} KiB", bytes >> 10)),
        None => Finding::ok(AREA, sysctl, "cannot tell (not visible in this network namespace)"),
    }
}

fn backlog() -> Finding {
    let sysctl = "net.core.netdev_max_backlog";
    match read_number("/proc/sys/net/core/netdev_max_backlog") {
        Some(packets) if packets < 1000 => Finding::warn(
            AREA,
            sysctl,
            format!("{packets} packets: bursts are lost before they reach a socket"),
            format!("sysctl -w {sysctl}=4096"),
        ),
        Some(packets) => Finding::ok(AREA, sysctl, format!("{packets} packets")),
        None => Finding::ok(AREA, sysctl, "cannot tell (not visible in this network namespace)"),
    }
}

fn min_pmtu() -> Finding {
    path_mtu_finding(read_number("/proc/sys/net/ipv4/route/min_pmtu"))
}

/// One forged ICMP packet takes the path MTU to an IPv4 peer down to this.
fn path_mtu_finding(least: Option<u64>) -> Finding {
    let sysctl = "net.ipv4.route.min_pmtu";
    match least {
        Some(octets) if octets < PATH_MTU => Finding::warn(
            AREA,
            sysctl,
            format!(
                "{octets} octets: a forged ICMP packet has larger media to a peer dropped for ten minutes"
            ),
            format!("sysctl -w {sysctl}={PATH_MTU}"),
        ),
        Some(octets) => Finding::ok(AREA, sysctl, format!("{octets} octets")),
        None => Finding::ok(AREA, sysctl, "cannot tell (not visible here)"),
    }
}

/// Every leg has one or two sockets.
fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let text = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    if limit.is_some_and(|limit| limit < 65_536) {
        let legs = limit.unwrap_or(0) / 2;
        return Finding::warn(
            AREA,
            "open files",
            format!("{text}: about {legs} legs with a socket for RTP and one for RTCP"),
            "LimitNOFILE=1048576 in systemd, or ulimit -n 1048576",
        );
    }
    Finding::ok(AREA, "open files", text)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_path_mtu_that_a_forger_may_lower_too_far_is_warned_of() {
        for (least, level) in
            [(Some(552), Level::Warn), (Some(1279), Level::Warn), (Some(1280), Level::Ok), (None, Level::Ok)]
        {
            assert_eq!(path_mtu_finding(least).level(), level, "{least:?}");
        }
    }
}
