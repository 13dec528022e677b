//! Packets larger than the path takes: dropped, counted and reported; none is fragmented, and smaller ones go on.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use sluice_tests::needs_root;
use sluice_tests::peer::Peer;
use sluice_tests::site::{PATIENCE, Site, expect_exactly, stream};
use sluice_tools::demo::gateway::drops;
use sluice_tools::demo::namespace::{End, Namespace, interface_name, join};

use super::{Call, DATAPATHS, FAMILIES, Family, all_accounted_for};

/// Fits everywhere, and does not fit where the MTU is 1300, with headers of 12 and 28 or 48 octets.
const SMALL: usize = 160;
const LARGE: usize = 1350;
const MTU: u32 = 1300;

#[test]
fn what_the_route_does_not_take_is_dropped_counted_and_told() -> Result<()> {
    needs_root!();
    for datapath in DATAPATHS {
        for family in FAMILIES {
            let mut site = Site::with(1500, datapath)?;
            let (local, remote) = family.ends(&site, 5000, 5000)?;
            let (host, mtu, device) = (remote.ip().to_string(), MTU.to_string(), site.interface().to_owned());
            site.gateway_namespace().ip(&["route", "add", &host, "dev", &device, "mtu", &mtu])?;
            let listener = Peer::plain(site.world.peers.udp(remote)?);
            let mut call = Call::to(&mut site, (local, remote), listener, |_| ())?;
            exceed(&mut site, &mut call, family, 50).with_context(|| format!("{datapath}, {family:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_router_that_says_a_packet_is_too_big_is_believed() -> Result<()> {
    needs_root!();
    for datapath in DATAPATHS {
        for family in FAMILIES {
            let (mut site, far, remote) = behind_a_narrow_link(datapath, family)?;
            let local = family.ends(&site, 5000, 5000)?.0;
            let listener = Peer::plain(far.udp(remote)?);
            let mut call = Call::to(&mut site, (local, remote), listener, |_| ())?;
            // The first ones are lost on the way: nobody can know before.
            exceed(&mut site, &mut call, family, 5).with_context(|| format!("{datapath}, {family:?}"))?;
        }
    }
    Ok(())
}

/// Sends both sizes in turns: of the large ones, at least some are dropped before they leave.
fn exceed(site: &mut Site, call: &mut Call, family: Family, at_least: u64) -> Result<()> {
    let mut small = Vec::new();
    for _ in 0..50 {
        for size in [SMALL, LARGE] {
            call.source.size = size;
            let sent = stream(&mut call.caller, call.into, &mut call.source, 1)?;
            small.extend(sent.into_iter().filter(|_| size == SMALL));
            // As long as the router and the watching thread need.
            std::thread::sleep(std::time::Duration::from_millis(if at_least < 50 { 20 } else { 2 }));
        }
    }
    expect_exactly(&mut call.listener, &small).context("the small ones and no other")?;
    let exceeded = |leg: &v1::LegStatistics| drops(leg, |reason| reason == "mtu_exceeded");
    let leg = site.gateway.leg_until("call", "b", PATIENCE, |leg| exceeded(leg) >= at_least)?;
    ensure!(exceeded(&leg) >= at_least && leg.sent_rtp_packets == 100 - exceeded(&leg), "{leg:?}");
    let event =
        site.gateway.wait_for_event(PATIENCE, |event| matches!(event.kind, Some(Kind::MtuExceeded(_))));
    let Some(Kind::MtuExceeded(told)) = event.context("no event")?.kind else { unreachable!("asked for") };
    let size = (LARGE + 12 + family.headers()) as u64;
    ensure!((told.size, told.mtu) == (size, MTU), "{told:?}");
    let events = site.gateway.events();
    let told = events.iter().filter(|event| matches!(event.kind, Some(Kind::MtuExceeded(_)))).count();
    ensure!(told <= 8, "at most one a second: {told}");
    drop(events);
    all_accounted_for(&mut site.gateway)
}

/// A site whose peers' host is a router, with a narrow link to a third namespace; where a listener is there.
fn behind_a_narrow_link(datapath: &str, family: Family) -> Result<(Site, Namespace, SocketAddr)> {
    let site = Site::with(1500, datapath)?;
    let far = Namespace::create("far")?;
    let (near, there) = match family {
        Family::V4 => ("198.51.100.1/24", "198.51.100.2/24"),
        Family::V6 => ("2001:db8:5::1/64", "2001:db8:5::2/64"),
    };
    let ends = [
        End { namespace: site.peers_namespace(), interface: interface_name("r") },
        End { namespace: &far, interface: interface_name("f") },
    ];
    join((&ends[0], &[near]), (&ends[1], &[there]), MTU, 1)?;
    let (router, net) = match family {
        Family::V4 => ("192.0.2.2", "198.51.100.0/24"),
        Family::V6 => ("2001:db8::2", "2001:db8:5::/64"),
    };
    site.gateway_namespace().ip(&["route", "add", net, "via", router])?;
    super::sysctl(site.peers_namespace(), "ipv4/ip_forward", "1")?;
    super::sysctl(site.peers_namespace(), "ipv6/conf/all/forwarding", "1")?;
    let ip = there.split('/').next().unwrap_or(there);
    let remote = SocketAddr::new(ip.parse()?, 5000);
    drop(ends);
    Ok((site, far, remote))
}
