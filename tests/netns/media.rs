//! Media between real sockets through a real daemon, by XDP.

use std::time::Duration;

use anyhow::Result;
use sluice_proto::v1::Direction;
use sluice_proto::v1::event::Kind;
use sluice_srtp::Suite;
use sluice_tests::needs_root;
use sluice_tests::peer::Peer;
use sluice_tests::rtp::{Source, sender_report};
use sluice_tests::site::{PATIENCE, Site, expect_each_exactly, expect_exactly, expect_nothing, stream};
use sluice_tools::demo::gateway::{Key, Leg, drops, key_install};

#[test]
fn srtp_is_decrypted_and_every_byte_arrives_by_xdp() -> Result<()> {
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
    let sent = stream(&mut caller, site.at(4000), &mut Source::new(7, 65_500), 200)?;
    expect_exactly(&mut listener, &sent)?;
    let leg = site.gateway.leg("call", "a")?;
    assert_eq!((leg.received_rtp_packets, leg.path.as_str()), (200, "xdp-native"));
    assert!(leg.drops.iter().all(|drop| drop.packets == 0), "{:?}", leg.drops);
    let first = site.gateway.wait_for_event(
        PATIENCE,
        |event| matches!(&event.kind, Some(Kind::FirstMedia(first)) if first.ssrc == 7),
    );
    assert!(first.is_some(), "no first-media event");
    Ok(())
}

#[test]
fn every_suite_is_turned_into_every_other() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let mut port = 4000;
    for from in Suite::ALL {
        let mut listeners = Vec::new();
        for to in Suite::ALL {
            let (inward, outward) = (Key::random(from)?, Key::random(to)?);
            let mut caller = Peer::keyed(site.peer(port)?.socket, Some(&inward), None)?;
            let listener = Peer::keyed(site.peer(port + 2)?.socket, None, Some(&outward))?;
            let legs = [
                Leg::new("a", site.at(port), caller.address()?).inbound(&inward).rtcp_mux(),
                Leg::new("b", site.at(port + 2), listener.address()?).outbound(&outward).rtcp_mux(),
            ];
            let call = format!("{from}-{to}");
            site.gateway.create_call(&call, &legs, &[("a", "b")])?;
            let mut sent = stream(&mut caller, site.at(port), &mut Source::new(9, 1), 20)?;
            // RTCP on the same port, under the same keys.
            sent.push(sender_report(9, 20));
            caller.send(site.at(port), &sent[20])?;
            listeners.push((call, listener, sent));
            port += 4;
        }
        expect_each_exactly(&mut listeners)?;
    }
    Ok(())
}

#[test]
fn rtcp_on_its_own_port_goes_to_the_listener_s_own_port() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let key = Key::random(Suite::AeadAes128Gcm)?;
    let mut caller = Peer::keyed(site.peer(4001)?.socket, Some(&key), None)?;
    let mut listener = site.peer(5001)?;
    let mut media_port = site.peer(5000)?;
    let legs = [
        Leg::new("a", site.at(4000), site.world.peers_at(4000)).inbound(&key),
        Leg::new("b", site.at(5000), site.world.peers_at(5000)),
    ];
    site.gateway.create_call("call", &legs, &[("a", "b")])?;
    let report = sender_report(3, 10);
    caller.send(site.at(4001), &report)?;
    expect_exactly(&mut listener, &[report])?;
    expect_nothing(&mut media_port)
}

#[test]
fn one_caller_is_heard_by_three_listeners_each_under_its_own_key() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let inward = Key::random(Suite::AeadAes256Gcm)?;
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&inward), None)?;
    let names = ["x", "y", "z"];
    let keys = [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32, Suite::AeadAes128Gcm];
    let keys = keys.map(Key::random).into_iter().collect::<Result<Vec<_>>>()?;
    let mut listeners = Vec::new();
    let mut legs = vec![Leg::new("a", site.at(4000), caller.address()?).inbound(&inward)];
    for (index, (name, key)) in names.iter().zip(&keys).enumerate() {
        let port = 5000 + 2 * index as u16;
        let listener = Peer::keyed(site.peer(port)?.socket, None, Some(key))?;
        legs.push(Leg::new(name, site.at(port), listener.address()?).outbound(key));
        listeners.push(listener);
    }
    site.gateway.create_call("room", &legs, &[("a", "x"), ("a", "y"), ("a", "z")])?;
    let sent = stream(&mut caller, site.at(4000), &mut Source::new(1, 0), 100)?;
    for (listener, name) in listeners.iter_mut().zip(names) {
        expect_exactly(listener, &sent).map_err(|error| error.context(name))?;
    }
    Ok(())
}

#[test]
fn a_new_key_in_the_middle_of_a_call_costs_no_packet() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let keys = [Key::random(Suite::AesCm128HmacSha1_80)?, Key::random(Suite::AeadAes256Gcm)?];
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&keys[0]), None)?;
    let mut listener = site.peer(5000)?;
    let legs = [
        Leg::new("a", site.at(4000), caller.address()?).inbound(&keys[0]),
        Leg::new("b", site.at(5000), listener.address()?),
    ];
    site.gateway.create_call("call", &legs, &[("a", "b")])?;
    let mut source = Source::new(1, 65_500);
    let mut sent = stream(&mut caller, site.at(4000), &mut source, 60)?;
    let second = key_install("call", "a", "second", Direction::Inbound, &keys[1]);
    site.gateway.install_keys(vec![second])?;
    // The old key still counts until the peer switches.
    sent.extend(stream(&mut caller, site.at(4000), &mut source, 20)?);
    let mut renewed = Peer::keyed(caller.socket.try_clone()?, Some(&keys[1]), None)?;
    // RFC 3711 §3.3.1: a new key does not reset the rollover counter.
    renewed.roc = 1;
    sent.extend(stream(&mut renewed, site.at(4000), &mut source, 60)?);
    expect_exactly(&mut listener, &sent)
}

#[test]
fn forged_packets_are_dropped_as_forged_and_the_stream_goes_on() -> Result<()> {
    needs_root!();
    for suite in Suite::ALL {
        let mut site = Site::new()?;
        let key = Key::random(suite)?;
        let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&key), None)?;
        let mut listener = site.peer(5000)?;
        let legs = [
            Leg::new("a", site.at(4000), caller.address()?).inbound(&key),
            Leg::new("b", site.at(5000), listener.address()?),
        ];
        site.gateway.create_call("call", &legs, &[("a", "b")])?;
        let mut source = Source::new(1, 10);
        let mut sent = stream(&mut caller, site.at(4000), &mut source, 20)?;
        let mut forger = caller.socket.try_clone().map(Peer::plain)?;
        for bit in 0..30 {
            let mut forged = caller.seal(&source.next_packet())?;
            // Every forgery is one flipped bit of a genuine packet: payload, or tag.
            let at = forged.len() - 1 - bit * 5;
            forged[at] ^= 1 << (bit % 8);
            forger.send(site.at(4000), &forged)?;
        }
        sent.extend(stream(&mut caller, site.at(4000), &mut source, 20)?);
        expect_exactly(&mut listener, &sent).map_err(|error| error.context(suite))?;
        let forged = |reason: &str| reason == "auth_failed";
        let leg = site.gateway.leg_until("call", "a", PATIENCE, |leg| drops(leg, forged) == 30)?;
        assert_eq!(drops(&leg, forged), 30, "{suite}: {:?}", leg.drops);
        let burst = |kind: &Option<Kind>| matches!(kind, Some(Kind::AuthFailureBurst(_)));
        let event = site.gateway.wait_for_event(PATIENCE, |event| burst(&event.kind));
        assert!(event.is_some(), "{suite}: no burst event");
    }
    Ok(())
}

#[test]
fn replayed_packets_are_dropped_as_replayed() -> Result<()> {
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
    let mut source = Source::new(1, 10);
    let (mut sent, mut sealed) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        let packet = source.next_packet();
        sealed.push(caller.send(site.at(4000), &packet)?);
        sent.push(packet);
        std::thread::sleep(Duration::from_millis(1));
    }
    for packet in &sealed {
        caller.socket.send_to(packet, site.at(4000))?;
    }
    expect_exactly(&mut listener, &sent)?;
    let replayed = |reason: &str| reason == "replayed";
    let leg = site.gateway.leg_until("call", "a", PATIENCE, |leg| drops(leg, replayed) == 40)?;
    assert_eq!(drops(&leg, replayed), 40, "{:?}", leg.drops);
    let burst = |kind: &Option<Kind>| matches!(kind, Some(Kind::ReplayBurst(_)));
    assert!(site.gateway.wait_for_event(PATIENCE, |event| burst(&event.kind)).is_some());
    Ok(())
}
