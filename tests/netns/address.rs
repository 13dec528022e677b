//! Where peers are: moving, behind IPv6, behind a VLAN tag, on another interface.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use sluice_proto::v1::event::Kind;
use sluice_proto::v1::{Latching, UpdateLegRequest};
use sluice_srtp::Suite;
use sluice_tests::needs_root;
use sluice_tests::peer::Peer;
use sluice_tests::raw::{Port, mac_of, udp_frame};
use sluice_tests::rtp::Source;
use sluice_tests::site::{
    PACE, PATIENCE, Site, executable, expect_exactly, expect_nothing, over_ipv6, stream,
};
use sluice_tools::demo::gateway::{Gateway, Key, Leg, Settings, drops};
use sluice_tools::demo::namespace::{End, Namespace, interface_name, join};
use sluice_tools::demo::world::Place;

#[test]
fn a_leg_whose_peer_moves_is_followed_when_signalling_says_so() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let key = Key::random(Suite::AeadAes128Gcm)?;
    let mut caller = site.peer(4000)?;
    let mut listener = Peer::keyed(site.peer(5000)?.socket, None, Some(&key))?;
    let legs = [
        Leg::new("a", site.at(4000), caller.address()?),
        Leg::new("b", site.at(5000), listener.address()?).outbound(&key),
    ];
    site.gateway.create_call("call", &legs, &[("a", "b")])?;
    let mut source = Source::new(1, 0);
    let sent = stream(&mut caller, site.at(4000), &mut source, 30)?;
    expect_exactly(&mut listener, &sent)?;

    let moved = site.peer(5100)?;
    let update = UpdateLegRequest {
        session: "call".into(),
        leg: "b".into(),
        remote: Some(moved.address()?.to_string()),
        ..Default::default()
    };
    site.gateway.call(|client| client.update_leg(update))?;
    // The stream goes on under the same context: one listener, two sockets.
    let left = std::mem::replace(&mut listener.socket, moved.socket);
    let sent = stream(&mut caller, site.at(4000), &mut source, 30)?;
    expect_exactly(&mut listener, &sent)?;
    expect_nothing(&mut Peer::plain(left))
}

#[test]
fn a_leg_that_may_latch_follows_authenticated_media_and_nothing_else() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let keys = [Key::random(Suite::AesCm128HmacSha1_80)?, Key::random(Suite::AeadAes256Gcm)?];
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&keys[0]), Some(&keys[1]))?;
    let mut other = site.peer(5000)?;
    let mut leg = Leg::new("a", site.at(4000), caller.address()?).inbound(&keys[0]).outbound(&keys[1]);
    leg.config.latching = Latching::FirstAuthenticated as i32;
    let legs = [leg, Leg::new("b", site.at(5000), other.address()?)];
    site.gateway.create_call("call", &legs, &[("a", "b"), ("b", "a")])?;
    let (mut up, mut down) = (Source::new(1, 0), Source::new(2, 0));
    let sent = stream(&mut caller, site.at(4000), &mut up, 10)?;
    expect_exactly(&mut other, &sent)?;

    // An attacker at another address, without the key, is not followed.
    let mut attacker = site.peer(4666)?;
    stream(&mut attacker, site.at(4000), &mut Source::new(1, 1000), 10)?;
    let sent = stream(&mut other, site.at(5000), &mut down, 10)?;
    expect_exactly(&mut caller, &sent)?;
    expect_nothing(&mut attacker)?;

    // The caller at another address is.
    let moved = site.peer(4100)?.socket;
    let here: SocketAddr = moved.local_addr()?;
    let left = std::mem::replace(&mut caller.socket, moved);
    let sent = stream(&mut caller, site.at(4000), &mut up, 10)?;
    expect_exactly(&mut other, &sent)?;
    let changed = site.gateway.wait_for_event(PATIENCE, |event| match &event.kind {
        Some(Kind::RemoteChanged(change)) => change.to == here.to_string(),
        _ => false,
    });
    assert!(changed.is_some(), "no remote-changed event");
    let sent = stream(&mut other, site.at(5000), &mut down, 10)?;
    expect_exactly(&mut caller, &sent)?;
    expect_nothing(&mut Peer::plain(left))
}

#[test]
fn a_leg_that_may_not_latch_takes_nothing_from_another_address() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let key = Key::random(Suite::AesCm128HmacSha1_80)?;
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&key), None)?;
    let mut listener = site.peer(5000)?;
    let mut leg = Leg::new("a", site.at(4000), caller.address()?).inbound(&key);
    leg.config.latching = Latching::SignalledOnly as i32;
    let legs = [leg, Leg::new("b", site.at(5000), listener.address()?)];
    site.gateway.create_call("call", &legs, &[("a", "b")])?;
    caller.socket = site.peer(4100)?.socket;
    stream(&mut caller, site.at(4000), &mut Source::new(1, 0), 10)?;
    expect_nothing(&mut listener)?;
    let leg = site.gateway.leg("call", "a")?;
    assert_eq!(drops(&leg, |reason| reason == "unexpected_source"), 10, "{:?}", leg.drops);
    Ok(())
}

#[test]
fn ipv6_media_goes_by_xdp_too_and_into_ipv4() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let key = Key::random(Suite::AeadAes256Gcm)?;
    let (into, caller_at) = over_ipv6(4000, 4000)?;
    let (out, listener_at) = over_ipv6(5000, 5000)?;
    let socket = site.world.peers.udp(caller_at)?;
    let mut caller = Peer::keyed(socket, Some(&key), None)?;
    let mut listener = Peer::plain(site.world.peers.udp(listener_at)?);
    let mut old_world = site.peer(6000)?;
    let legs = [
        Leg::new("a", into, caller_at).inbound(&key),
        Leg::new("b", out, listener_at),
        Leg::new("c", site.at(6000), old_world.address()?),
    ];
    site.gateway.create_call("call", &legs, &[("a", "b"), ("a", "c")])?;
    let sent = stream(&mut caller, into, &mut Source::new(1, 0), 100)?;
    // These sockets' kernel has verified the UDP checksums: IPv6 has none to spare.
    expect_exactly(&mut listener, &sent)?;
    expect_exactly(&mut old_world, &sent)?;
    assert_eq!(site.gateway.leg("call", "a")?.path, "xdp-native");
    Ok(())
}

#[test]
fn media_behind_a_vlan_tag_is_taken_by_xdp() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let key = Key::random(Suite::AesCm128HmacSha1_80)?;
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&key), None)?;
    let mut listener = site.peer(5000)?;
    let legs = [
        Leg::new("a", site.at(4000), caller.address()?).inbound(&key),
        Leg::new("b", site.at(5000), listener.address()?),
    ];
    site.gateway.create_call("call", &legs, &[("a", "b")])?;
    let macs = (
        mac_of(site.peers_namespace(), site.peers_interface())?,
        mac_of(site.gateway_namespace(), site.interface())?,
    );
    let mut port = Port::open(site.peers_namespace(), site.peers_interface())?;
    let (mut source, mut sent) = (Source::new(1, 0), Vec::new());
    for _ in 0..20 {
        let packet = source.next_packet();
        let sealed = caller.seal(&packet)?;
        port.send(&udp_frame(macs, Some(100), caller.address()?, site.at(4000), &sealed)?)?;
        sent.push(packet);
        std::thread::sleep(PACE);
    }
    expect_exactly(&mut listener, &sent)?;
    assert_eq!(site.gateway.leg("call", "a")?.path, "xdp-native");
    Ok(())
}

#[test]
fn media_to_a_peer_behind_a_vlan_carries_the_tag() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let tagged = |namespace: &Namespace, interface: &str, address: &str| -> Result<()> {
        let name = format!("{interface}.7");
        let mut link = vec!["link", "add", "link", interface, "name", &name];
        link.extend(["type", "vlan", "id", "7"]);
        namespace.ip(&link)?;
        namespace.ip(&["addr", "add", address, "dev", &name])?;
        namespace.ip(&["link", "set", &name, "up"])?;
        Ok(())
    };
    let near = tagged(site.gateway_namespace(), site.interface(), "198.51.100.1/24");
    if let Err(error) = near {
        eprintln!("SKIP: this kernel has no VLAN interfaces (CONFIG_VLAN_8021Q): {error:#}");
        return Ok(());
    }
    tagged(site.peers_namespace(), site.peers_interface(), "198.51.100.2/24")?;
    let (out, listener_at) = ("198.51.100.1:5000".parse()?, "198.51.100.2:5000".parse()?);
    let mut caller = site.peer(4000)?;
    let mut listener = Peer::plain(site.world.peers.udp(listener_at)?);
    let legs = [Leg::new("a", site.at(4000), caller.address()?), Leg::new("b", out, listener_at)];
    site.gateway.create_call("call", &legs, &[("a", "b")])?;
    let mut port = Port::open(site.peers_namespace(), site.peers_interface())?;
    let sent = stream(&mut caller, site.at(4000), &mut Source::new(1, 0), 50)?;
    expect_exactly(&mut listener, &sent)?;
    let tag = port.receive(Duration::from_secs(1), |frame| frame[12..16] == [0x81, 0x00, 0x00, 0x07]);
    tag.context("no frame with the tag on the wire")?;
    Ok(())
}

#[test]
fn a_gateway_between_two_networks_joins_peers_in_three_namespaces() -> Result<()> {
    needs_root!();
    let directory = tempfile::tempdir()?;
    let (left, middle, right) =
        (Namespace::create("left")?, Namespace::create("middle")?, Namespace::create("right")?);
    let ends = ["l", "m", "n", "r"].map(interface_name);
    let end = |namespace, index: usize| End { namespace, interface: ends[index].clone() };
    join((&end(&left, 0), &["192.0.2.2/24"]), (&end(&middle, 1), &["192.0.2.1/24"]), 1500, 1)?;
    join((&end(&middle, 2), &["198.51.100.1/24"]), (&end(&right, 3), &["198.51.100.2/24"]), 1500, 1)?;
    let at = |text: &str| text.parse::<SocketAddr>();
    let keys = [Key::random(Suite::AesCm128HmacSha1_80)?, Key::random(Suite::AeadAes256Gcm)?];
    let sockets = (left.udp(at("192.0.2.2:4000")?)?, right.udp(at("198.51.100.2:5000")?)?);
    let mut one = Peer::keyed(sockets.0, Some(&keys[0]), Some(&keys[0]))?;
    let mut two = Peer::keyed(sockets.1, Some(&keys[1]), Some(&keys[1]))?;
    let place = Place::Inside(middle);
    let mut gateway = Gateway::start(&Settings {
        executable: executable()?,
        place: &place,
        directory: directory.path(),
        interfaces: vec![ends[1].clone(), ends[2].clone()],
        addresses: vec![at("192.0.2.1:0")?.ip(), at("198.51.100.1:0")?.ip()],
        datapath: "auto",
        workers: None,
        shared_port: None,
        legs: None,
    })?;
    let (near, far) = (at("192.0.2.1:4000")?, at("198.51.100.1:5000")?);
    let legs = [
        Leg::new("a", near, one.address()?).inbound(&keys[0]).outbound(&keys[0]),
        Leg::new("b", far, two.address()?).inbound(&keys[1]).outbound(&keys[1]),
    ];
    gateway.create_call("call", &legs, &[("a", "b"), ("b", "a")])?;
    let (mut there, mut back) = (Source::new(1, 0), Source::new(2, 0));
    for _ in 0..3 {
        let sent = stream(&mut one, near, &mut there, 30)?;
        expect_exactly(&mut two, &sent)?;
        let sent = stream(&mut two, far, &mut back, 30)?;
        expect_exactly(&mut one, &sent)?;
    }
    for leg in ["a", "b"] {
        assert_eq!(gateway.leg("call", leg)?.path, "xdp-native");
    }
    Ok(())
}
