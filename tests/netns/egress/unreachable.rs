//! ICMP errors: reported and counted for the leg that they are about, while media goes on.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::event::Kind;
use sluice_tests::needs_root;
use sluice_tests::peer::Peer;
use sluice_tests::site::{PATIENCE, Site, expect_exactly};
use sluice_tools::demo::gateway::Leg;

use super::{Call, DATAPATHS, FAMILIES, Family, all_accounted_for, sent_by, sysctl};

#[test]
fn a_peer_that_closed_its_port_is_reported_and_heard_again_when_it_is_back() -> Result<()> {
    needs_root!();
    for datapath in DATAPATHS {
        for family in FAMILIES {
            closed_port(datapath, family).with_context(|| format!("{datapath}, {family:?}"))?;
        }
    }
    Ok(())
}

fn closed_port(datapath: &str, family: Family) -> Result<()> {
    let mut site = Site::with(1500, datapath)?;
    // As many errors as there are packets.
    sysctl(site.peers_namespace(), "ipv4/icmp_ratelimit", "0")?;
    sysctl(site.peers_namespace(), "ipv4/icmp_msgs_per_sec", "100000")?;
    sysctl(site.peers_namespace(), "ipv6/icmp/ratelimit", "0")?;
    let live = family.ends(&site, 5000, 5000)?;
    let mut call = Call::new(&mut site, live)?;
    call.settle()?;
    if datapath == "auto" {
        call.warm_up(&mut site.gateway)?;
    }
    let (local, closed) = family.ends(&site, 5100, 5100)?;
    site.gateway.add_legs("call", &[Leg::new("c", local, closed).rtcp_mux()])?;
    site.gateway.add_routes("call", &[("a", "c")])?;
    let before = sent_by(&mut site.gateway)?;
    let sent = call.send(500)?;
    expect_exactly(&mut call.listener, &sent).context("the other listener")?;
    let event = site.gateway.wait_for_event(PATIENCE, |event| told(event.kind.as_ref(), closed, "port"));
    let event = event.context("no event")?;
    ensure!((event.session.as_str(), event.leg.as_str()) == ("call", "c"), "{event:?}");
    let leg = site.gateway.leg_until("call", "c", PATIENCE, |leg| leg.unreachable > 400)?;
    ensure!(leg.unreachable > 400 && leg.sent_rtp_packets >= 500, "media goes on: {leg:?}");
    let events =
        site.gateway.events().iter().filter(|event| told(event.kind.as_ref(), closed, "port")).count();
    ensure!(events <= 10, "at most one a second: {events}");
    ensure!(site.gateway.leg("call", "b")?.unreachable == 0, "that of another leg");
    if datapath == "auto" {
        let after = sent_by(&mut site.gateway)?;
        ensure!(after.0 - before.0 > 800, "by AF_XDP: {before:?}, {after:?}");
    }
    let mut back = Peer::plain(site.world.peers.udp(closed)?);
    let sent = call.send(50)?;
    expect_exactly(&mut back, &sent).context("after the port was opened")?;
    all_accounted_for(&mut site.gateway)
}

#[test]
fn a_host_behind_a_router_that_has_no_way_to_it_is_reported_by_the_router() -> Result<()> {
    needs_root!();
    for datapath in DATAPATHS {
        for (family, host, router, reason) in [
            (Family::V4, "203.0.113.9", "192.0.2.2", "host"),
            (Family::V6, "2001:db8:9::9", "2001:db8::2", "network"),
        ] {
            let mut site = Site::with(1500, datapath)?;
            site.gateway_namespace().ip(&["route", "add", host, "via", router])?;
            site.peers_namespace().ip(&["route", "add", "unreachable", host])?;
            sysctl(site.peers_namespace(), "ipv4/ip_forward", "1")?;
            sysctl(site.peers_namespace(), "ipv6/conf/all/forwarding", "1")?;
            let nobody = SocketAddr::new(host.parse()?, 5100);
            let live = family.ends(&site, 5000, 5000)?;
            let mut call = Call::new(&mut site, live)?;
            call.settle()?;
            let local = family.ends(&site, 5100, 5100)?.0;
            site.gateway.add_legs("call", &[Leg::new("c", local, nobody).rtcp_mux()])?;
            site.gateway.add_routes("call", &[("a", "c")])?;
            let sent = call.send(200)?;
            expect_exactly(&mut call.listener, &sent).with_context(|| format!("{datapath}, {family:?}"))?;
            let event =
                site.gateway.wait_for_event(PATIENCE, |event| told(event.kind.as_ref(), nobody, reason));
            let event =
                event.with_context(|| format!("{datapath}, {family:?}: {:?}", site.gateway.events()))?;
            let Some(Kind::Unreachable(told)) = event.kind else { unreachable!("asked for") };
            ensure!(told.by == router, "{told:?}");
            ensure!(site.gateway.leg("call", "c")?.unreachable > 0);
            all_accounted_for(&mut site.gateway)?;
        }
    }
    Ok(())
}

fn told(kind: Option<&Kind>, remote: SocketAddr, reason: &str) -> bool {
    matches!(kind, Some(Kind::Unreachable(told)) if told.remote == remote.to_string() && told.reason == reason)
}
