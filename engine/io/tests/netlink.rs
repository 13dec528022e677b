//! Next hops against the kernel's own tables, in throw-away network namespaces.

mod host;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use host::{INTERFACE, Pair, ip};
use sluice_io::NextHop;
use sluice_io::netlink::{Resolver, Watcher};

const PEER: [u8; 6] = [2, 0, 0, 0, 0, 0x22];
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0x11];

/// A pair whose addresses are known, and the near interface's index.
fn pair(test: &str) -> Option<(Pair, u32)> {
    let pair = Pair::new(test, 1500)?;
    ip(&format!("-n {} link set {INTERFACE} address 02:00:00:00:00:11", pair.near));
    ip(&format!("-n {} link set sl.far address 02:00:00:00:00:22", pair.far));
    let index = Pair::inside(&pair.near, || index_of(INTERFACE));
    Some((pair, index))
}

fn index_of(name: &str) -> u32 {
    let any = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    rustix::net::netdevice::name_to_index(&any, name).expect("the interface")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// What a fresh resolver says in our namespace.
fn resolve(pair: &Pair, allowed: u32, local: &str, remote: &str) -> Option<NextHop> {
    Pair::inside(&pair.near, || {
        let mut resolver = Resolver::open(vec![allowed]).expect("netlink");
        resolver.next_hop(address(local), address(remote)).expect("an answer")
    })
}

fn neighbour(pair: &Pair, rest: &str) {
    ip(&format!("-n {} neigh replace {rest}", pair.near));
}

#[test]
fn a_neighbour_on_the_link_is_resolved_in_both_families_once_known() {
    let Some((pair, index)) = pair("a_neighbour_on_the_link_is_resolved") else { return };
    let expected = NextHop { ifindex: index, source: OWN, destination: PEER, vlan: None, mtu: 1500 };
    for (local, remote, host) in
        [("10.77.0.1:5004", "10.77.0.2:6000", "10.77.0.2"), ("[fd77::1]:5004", "[fd77::2]:6000", "fd77::2")]
    {
        assert_eq!(resolve(&pair, index, local, remote), None, "nobody asked for {host} yet");
        for state in ["reachable", "stale", "permanent"] {
            neighbour(&pair, &format!("{host} lladdr 02:00:00:00:00:22 dev {INTERFACE} nud {state}"));
            assert_eq!(resolve(&pair, index, local, remote), Some(expected), "{host} {state}");
        }
        neighbour(&pair, &format!("{host} dev {INTERFACE} nud failed"));
        assert_eq!(resolve(&pair, index, local, remote), None, "{host} failed");
    }
}

#[test]
fn real_traffic_makes_the_kernel_resolve_what_was_unknown() {
    let Some((pair, index)) = pair("real_traffic_makes_the_kernel_resolve") else { return };
    Pair::inside(&pair.near, || {
        let (local, remote) = (address("10.77.0.1:5004"), address("10.77.0.2:6000"));
        let mut resolver = Resolver::open(vec![index]).expect("netlink");
        let mut watcher = Watcher::open().expect("netlink");
        assert_eq!(resolver.next_hop(local, remote).expect("an answer"), None);
        watcher.changed();
        let socket = std::net::UdpSocket::bind(local).expect("a port");
        socket.send_to(b"who has?", remote).expect("a route");
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            assert!(Instant::now() < until, "never resolved");
            watcher.wait(Duration::from_secs(1));
            if let Some(hop) = resolver.next_hop(local, remote).expect("an answer") {
                assert_eq!(hop.destination, PEER);
                return;
            }
        }
    });
}

#[test]
fn a_gateway_stands_for_what_is_behind_it_and_a_smaller_route_mtu_counts() {
    let Some((pair, index)) = pair("a_gateway_stands_for_what_is_behind_it") else { return };
    let near = &pair.near;
    neighbour(&pair, &format!("10.77.0.2 lladdr 02:00:00:00:00:22 dev {INTERFACE} nud permanent"));
    neighbour(&pair, &format!("fd77::2 lladdr 02:00:00:00:00:22 dev {INTERFACE} nud permanent"));
    ip(&format!("-n {near} route add 198.51.100.0/24 via 10.77.0.2 mtu 1300"));
    ip(&format!("-n {near} route add 203.0.113.0/24 via inet6 fd77::2 dev {INTERFACE}"));
    ip(&format!("-n {near} route add 2001:db8::/32 via fd77::2"));
    for (local, remote, mtu) in [
        ("10.77.0.1:1", "198.51.100.7:2", 1300),
        ("10.77.0.1:1", "203.0.113.7:2", 1500),
        ("[fd77::1]:1", "[2001:db8::7]:2", 1500),
    ] {
        let hop = resolve(&pair, index, local, remote).expect(remote);
        assert_eq!((hop.destination, hop.mtu), (PEER, mtu), "{remote}");
    }
}

#[test]
fn a_vlan_is_its_parent_with_a_tag() {
    let Some((pair, index)) = pair("a_vlan_is_its_parent_with_a_tag") else { return };
    let near = &pair.near;
    let add = format!("ip -n {near} link add link {INTERFACE} name sl.100 mtu 1400 type vlan id 100");
    if !host::succeeds(&add) {
        return host::skip("a_vlan_is_its_parent_with_a_tag", "this kernel has no VLANs (module 8021q)");
    }
    ip(&format!("-n {near} addr add 10.78.0.1/24 dev sl.100"));
    ip(&format!("-n {near} link set sl.100 up"));
    neighbour(&pair, "10.78.0.2 lladdr 02:00:00:00:00:22 dev sl.100 nud permanent");
    let expected = NextHop { ifindex: index, source: OWN, destination: PEER, vlan: Some(100), mtu: 1400 };
    assert_eq!(resolve(&pair, index, "10.78.0.1:1", "10.78.0.2:2"), Some(expected));
    // A second tag inside, and a service tag, are left to the kernel.
    ip(&format!("-n {near} link add link sl.100 name sl.in type vlan id 7"));
    ip(&format!("-n {near} link add link {INTERFACE} name sl.svc type vlan proto 802.1ad id 9"));
    for (name, net) in [("sl.in", "10.79.0"), ("sl.svc", "10.80.0")] {
        ip(&format!("-n {near} addr add {net}.1/24 dev {name}"));
        ip(&format!("-n {near} link set {name} up"));
        neighbour(&pair, &format!("{net}.2 lladdr 02:00:00:00:00:22 dev {name} nud permanent"));
        assert_eq!(resolve(&pair, index, &format!("{net}.1:1"), &format!("{net}.2:2")), None, "{name}");
    }
}

#[test]
fn what_is_not_ours_to_send_is_left_to_the_kernel() {
    let Some((pair, index)) = pair("what_is_not_ours_to_send_is_left_to_the_kernel") else { return };
    let near = &pair.near;
    neighbour(&pair, &format!("10.77.0.2 lladdr 02:00:00:00:00:22 dev {INTERFACE} nud permanent"));
    ip(&format!("-n {near} route add blackhole 192.0.2.0/24"));
    for (local, remote) in [
        ("127.0.0.1:1", "127.0.0.1:2"),
        ("10.77.0.1:1", "10.77.0.1:2"),
        ("10.77.0.1:1", "10.77.0.255:2"),
        ("10.77.0.1:1", "192.0.2.1:2"),
        ("10.77.0.1:1", "233.252.0.1:2"),
        ("10.77.0.1:1", "8.8.8.8:2"),
        ("0.0.0.0:1", "10.77.0.2:2"),
        ("10.99.0.1:1", "10.77.0.2:2"),
        ("10.77.0.1:1", "[fd77::2]:2"),
    ] {
        assert_eq!(resolve(&pair, index, local, remote), None, "{local} to {remote}");
    }
    assert!(resolve(&pair, index, "10.77.0.1:1", "10.77.0.2:2").is_some());
    assert_eq!(resolve(&pair, index + 1, "10.77.0.1:1", "10.77.0.2:2"), None, "not an allowed interface");
    ip(&format!("-n {near} link set {INTERFACE} down"));
    assert_eq!(resolve(&pair, index, "10.77.0.1:1", "10.77.0.2:2"), None, "the interface is down");
}

#[test]
fn the_watcher_notices_every_kind_of_change_and_nothing_else() {
    let Some((pair, _)) = pair("the_watcher_notices_every_kind_of_change") else { return };
    let near = pair.near.clone();
    Pair::inside(&pair.near, || {
        let mut watcher = Watcher::open().expect("netlink");
        // IPv6 address detection and carrier events of the new link come to rest.
        while watcher.wait(Duration::from_millis(1500)) {}
        for change in [
            format!("neigh replace 10.77.0.9 lladdr 02:00:00:00:00:22 dev {INTERFACE} nud permanent"),
            "route add 198.51.100.0/24 via 10.77.0.2".to_string(),
            format!("addr add 10.77.0.5/24 dev {INTERFACE}"),
            format!("link set {INTERFACE} mtu 1400"),
            "rule add from 10.77.0.5 table main".to_string(),
        ] {
            assert!(!watcher.changed(), "before {change}");
            ip(&format!("-n {near} {change}"));
            assert!(watcher.wait(Duration::from_secs(2)), "{change}");
            while watcher.wait(Duration::from_millis(200)) {}
        }
    });
}

#[test]
fn a_stale_neighbour_that_is_asked_for_is_checked_by_the_kernel() {
    let Some((pair, index)) = pair("a_stale_neighbour_that_is_asked_for_is_checked") else { return };
    ip(&format!("netns exec {} sysctl -qw net.ipv4.neigh.{}.delay_first_probe_time=1", pair.near, "sl/near"));
    neighbour(&pair, &format!("10.77.0.2 lladdr 02:00:00:00:00:99 dev {INTERFACE} nud stale"));
    let until = Instant::now() + Duration::from_secs(20);
    // The entry is wrong. Only a check finds that out, and it happens although nothing is sent.
    let wrong = resolve(&pair, index, "10.77.0.1:1", "10.77.0.2:2").map(|hop| hop.destination);
    assert_eq!(wrong, Some([2, 0, 0, 0, 0, 0x99]));
    while resolve(&pair, index, "10.77.0.1:1", "10.77.0.2:2").map(|hop| hop.destination) == wrong {
        assert!(Instant::now() < until, "still believed");
        std::thread::sleep(Duration::from_millis(100));
    }
}
