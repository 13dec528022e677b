//! Media that is there before signalling is, and legs that become something else in mid-call.

use anyhow::Result;
use sluice_proto::v1::event::Kind;
use sluice_proto::v1::{self, Direction, EarlyMedia, EarlyMediaMode, Protection, UpdateLegRequest};
use sluice_srtp::Suite;
use sluice_tests::needs_root;
use sluice_tests::peer::Peer;
use sluice_tests::rtp::{Source, sender_report};
use sluice_tests::site::{PATIENCE, Site, expect_exactly, expect_nothing, stream};
use sluice_tools::demo::gateway::{Key, Leg, drops, key_install};

/// A call from a leg that awaits SRTP and has no key yet to a plain one.
fn awaiting(
    site: &mut Site,
    caller: &Peer,
    listener: &Peer,
    mode: EarlyMediaMode,
    packets: u32,
) -> Result<()> {
    let early_media = EarlyMedia { mode: mode.into(), packets, milliseconds: 0 };
    let mut a = Leg::new("a", site.at(4000), caller.address()?).rtcp_mux();
    a.config.inbound = Protection::Srtp.into();
    a.config.early_media = Some(early_media);
    let b = Leg::new("b", site.at(5000), listener.address()?).rtcp_mux();
    site.gateway.create_call("call", &[a, b], &[("a", "b")])
}

fn held(leg: &v1::LegStatistics) -> v1::EarlyMediaStatistics {
    leg.early_media.unwrap_or_default()
}

fn update(site: &mut Site, update: UpdateLegRequest) -> Result<()> {
    let update = UpdateLegRequest { session: "call".into(), leg: "a".into(), ..update };
    site.gateway.call(|client| client.update_leg(update)).map(drop)
}

#[test]
fn srtp_that_overtakes_its_key_is_heard_from_the_first_packet_on() -> Result<()> {
    needs_root!();
    for datapath in ["auto", "io_uring"] {
        for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes256Gcm] {
            let mut site = Site::with(1500, datapath)?;
            let key = Key::random(suite)?;
            let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&key), None)?;
            let mut listener = site.peer(5000)?;
            awaiting(&mut site, &caller, &listener, EarlyMediaMode::Hold, 0)?;
            let mut source = Source::new(7, 65_500);
            let mut sent = stream(&mut caller, site.at(4000), &mut source, 60)?;
            let report = sender_report(7, 60);
            caller.send(site.at(4000), &report)?;
            sent.push(report);
            let leg = site.gateway.leg_until("call", "a", PATIENCE, |leg| held(leg).held == 61)?;
            assert_eq!((held(&leg).held, leg.received_rtp_packets), (61, 0), "{:?}", leg.drops);
            expect_nothing(&mut listener)?;
            let install = key_install("call", "a", "first", Direction::Inbound, &key);
            site.gateway.install_keys(vec![install])?;
            sent.extend(stream(&mut caller, site.at(4000), &mut source, 40)?);
            expect_exactly(&mut listener, &sent)?;
            let leg = site.gateway.leg("call", "a")?;
            assert_eq!((held(&leg).released, held(&leg).held, leg.received_rtp_packets), (61, 0, 100));
            assert!(leg.drops.iter().all(|drop| drop.packets == 0), "{:?}", leg.drops);
            let told =
                |kind: &Option<Kind>| matches!(kind, Some(Kind::EarlyMediaReleased(e)) if e.packets == 61);
            assert!(site.gateway.wait_for_event(PATIENCE, |event| told(&event.kind)).is_some());
        }
    }
    Ok(())
}

#[test]
fn forgeries_before_the_key_push_out_no_more_than_the_oldest_and_are_dropped_with_it() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let key = Key::random(Suite::AesCm128HmacSha1_80)?;
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&key), None)?;
    let mut listener = site.peer(5000)?;
    awaiting(&mut site, &caller, &listener, EarlyMediaMode::Hold, 100)?;
    let mut forger = caller.socket.try_clone().map(Peer::plain)?;
    for ssrc in 0..300 {
        stream(&mut forger, site.at(4000), &mut Source::new(1000 + ssrc, 1), 1)?;
    }
    let sent = stream(&mut caller, site.at(4000), &mut Source::new(7, 1), 20)?;
    let leg = site.gateway.leg_until("call", "a", PATIENCE, |leg| held(leg).total == 320)?;
    assert_eq!((held(&leg).held, held(&leg).evicted), (100, 220));
    assert_eq!(drops(&leg, |reason| reason == "early_media_full"), 220);
    site.gateway.install_keys(vec![key_install("call", "a", "first", Direction::Inbound, &key)])?;
    expect_exactly(&mut listener, &sent)?;
    assert_eq!(drops(&site.gateway.leg("call", "a")?, |reason| reason == "auth_failed"), 80);
    Ok(())
}

#[test]
fn plain_rtp_is_heard_until_srtp_is_agreed_on_and_refused_from_then_on() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let key = Key::random(Suite::AesCm128HmacSha1_80)?;
    let mut caller = site.peer(4000)?;
    let mut listener = site.peer(5000)?;
    awaiting(&mut site, &caller, &listener, EarlyMediaMode::Plain, 0)?;
    let mut source = Source::new(7, 1);
    let sent = stream(&mut caller, site.at(4000), &mut source, 20)?;
    expect_exactly(&mut listener, &sent)?;
    site.gateway.install_keys(vec![key_install("call", "a", "first", Direction::Inbound, &key)])?;
    stream(&mut caller, site.at(4000), &mut source, 20)?;
    expect_nothing(&mut listener)?;
    let mut secured = Peer::keyed(caller.socket.try_clone()?, Some(&key), None)?;
    let sent = stream(&mut secured, site.at(4000), &mut source, 20)?;
    expect_exactly(&mut listener, &sent)
}

#[test]
fn a_call_becomes_plain_and_srtp_again_and_each_side_hears_only_what_it_is_to() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let (key, other) = (Key::random(Suite::AesCm128HmacSha1_80)?, Key::random(Suite::AeadAes128Gcm)?);
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&key), None)?;
    let mut listener = site.peer(5000)?;
    awaiting(&mut site, &caller, &listener, EarlyMediaMode::Hold, 0)?;
    site.gateway.install_keys(vec![key_install("call", "a", "first", Direction::Inbound, &key)])?;
    let mut source = Source::new(7, 1);
    let sent = stream(&mut caller, site.at(4000), &mut source, 20)?;
    expect_exactly(&mut listener, &sent)?;
    let inbound =
        |inbound: Protection| UpdateLegRequest { inbound: Some(inbound.into()), ..Default::default() };
    update(&mut site, inbound(Protection::Plain))?;
    let mut plain = Peer::plain(caller.socket.try_clone()?);
    let sent = stream(&mut plain, site.at(4000), &mut source, 20)?;
    expect_exactly(&mut listener, &sent)?;
    // The re-offer back is answered with a new key, which media overtakes.
    update(&mut site, inbound(Protection::Srtp))?;
    let mut renewed = Peer::keyed(caller.socket.try_clone()?, Some(&other), None)?;
    let mut sent = stream(&mut renewed, site.at(4000), &mut source, 20)?;
    site.gateway.leg_until("call", "a", PATIENCE, |leg| held(leg).held == 20)?;
    stream(&mut plain, site.at(4000), &mut Source::new(8, 1), 20)?;
    site.gateway.install_keys(vec![key_install("call", "a", "second", Direction::Inbound, &other)])?;
    sent.extend(stream(&mut renewed, site.at(4000), &mut source, 20)?);
    expect_exactly(&mut listener, &sent)
}
