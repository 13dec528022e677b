//! A route that moves to another interface under running media.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use sluice_tests::needs_root;
use sluice_tests::peer::Peer;
use sluice_tests::rtp::Source;
use sluice_tests::site::{PACE, executable, expect_exactly};
use sluice_tools::demo::gateway::{Gateway, Leg, Settings};
use sluice_tools::demo::namespace::{End, Namespace, interface_name, join};
use sluice_tools::demo::world::Place;

use super::{sent_by, sysctl};

/// Addresses of the two links, and one behind both.
struct Net {
    near: [&'static str; 2],
    far: [&'static str; 2],
    peer: &'static str,
    local: &'static str,
    caller: &'static str,
}

const NETS: [Net; 2] = [
    Net {
        near: ["192.0.2.1/24", "192.0.3.1/24"],
        far: ["192.0.2.2/24", "192.0.3.2/24"],
        peer: "203.0.113.9/32",
        local: "192.0.2.1",
        caller: "192.0.2.2",
    },
    Net {
        near: ["2001:db8::1/64", "2001:db8:1::1/64"],
        far: ["2001:db8::2/64", "2001:db8:1::2/64"],
        peer: "2001:db8:9::9/128",
        local: "2001:db8::1",
        caller: "2001:db8::2",
    },
];

fn address(with_prefix: &str) -> &str {
    with_prefix.split('/').next().unwrap_or(with_prefix)
}

fn at(ip: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(ip.parse()?, port))
}

#[test]
fn media_moves_with_its_route_to_another_interface_and_back_and_none_is_lost() -> Result<()> {
    needs_root!();
    for net in &NETS {
        moves(net).with_context(|| net.peer.to_owned())?;
    }
    Ok(())
}

fn moves(net: &Net) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (gateway, peers) = (Namespace::create("gateway")?, Namespace::create("peers")?);
    // A neighbour is asked for from a link-local address, which one that is checked for duplicates is not yet.
    for namespace in [&gateway, &peers] {
        sysctl(namespace, "ipv6/conf/default/accept_dad", "0")?;
    }
    let names = ["g", "h", "p", "q"].map(interface_name);
    for link in 0..2 {
        let near = End { namespace: &gateway, interface: names[link].clone() };
        let far = End { namespace: &peers, interface: names[link + 2].clone() };
        join((&near, &[net.near[link]]), (&far, &[net.far[link]]), 1500, 1)?;
        // Media comes in where the way back does not lead.
        sysctl(&peers, &format!("ipv4/conf/{}/rp_filter", names[link + 2]), "0")?;
    }
    sysctl(&peers, "ipv4/conf/all/rp_filter", "0")?;
    let mut add = vec!["addr", "add", net.peer, "dev", "lo"];
    if net.peer.contains(':') {
        add.push("nodad");
    }
    peers.ip(&add)?;
    let socket = peers.udp(at(address(net.peer), 5000)?)?;
    let mut listener = Peer::plain(socket);
    let mut caller = Peer::plain(peers.udp(at(net.caller, 4000)?)?);
    let lead = |gateway: &Namespace, link: usize| {
        gateway.ip(&["route", "replace", net.peer, "via", address(net.far[link]), "dev", &names[link]])
    };
    lead(&gateway, 0)?;
    let place = Place::Inside(gateway);
    let mut daemon = Gateway::start(&Settings {
        executable: executable()?,
        place: &place,
        directory: directory.path(),
        interfaces: names[..2].to_vec(),
        addresses: vec![net.local.parse()?],
        datapath: "auto",
        workers: None,
        shared_port: None,
        legs: None,
    })?;
    let Place::Inside(gateway) = &place else { unreachable!("made inside") };
    let (into, out) = (at(net.local, 4000)?, at(net.local, 5000)?);
    let legs = [Leg::new("a", into, caller.address()?), Leg::new("b", out, listener.address()?)];
    daemon.create_call("call", &legs, &[("a", "b")])?;
    let mut source = Source::new(7, 0);
    let before = sent_by(&mut daemon)?;
    let mut sent = Vec::new();
    for step in 0..1200 {
        if step == 400 || step == 800 {
            lead(gateway, usize::from(step == 400))?;
        }
        let packet = source.next_packet();
        caller.send(into, &packet)?;
        sent.push(packet);
        std::thread::sleep(PACE);
    }
    expect_exactly(&mut listener, &sent)?;
    let after = sent_by(&mut daemon)?;
    // Until the next hop on the other interface is known, media goes by the kernel: on a busy machine for a while.
    ensure!(after.0 - before.0 > 900, "by AF_XDP, on either link: {before:?}, {after:?}");
    let heard = [received(&peers, &names[2])?, received(&peers, &names[3])?];
    ensure!(heard[0] >= 700 && (300..500).contains(&heard[1]), "{heard:?} packets on the two links");
    Ok(())
}

/// Packets that an interface has received.
fn received(namespace: &Namespace, interface: &str) -> Result<u64> {
    let told = namespace.ip(&["-j", "-s", "link", "show", "dev", interface])?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    told[0]["stats64"]["rx"]["packets"].as_u64().with_context(|| told.to_string())
}
