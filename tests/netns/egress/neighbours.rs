//! Peers whose MAC address changes in the middle of a call, by ARP and by IPv6 neighbour discovery.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_tests::needs_root;
use sluice_tests::raw::mac_of;
use sluice_tests::rtp::sequence;
use sluice_tests::site::{QUIET, Site};

use super::{Call, FAMILIES, Family, sent_by, sent_since, sysctl};

const PACE: Duration = Duration::from_millis(5);
const MAC: &str = "02:00:5e:00:53:77";
/// How long a call may be without media when a peer's MAC address changes and nothing says so: docs/operations.md says
/// ten seconds, and a busy machine may add to that.
const SILENT_CHANGE: Duration = Duration::from_secs(14);

#[test]
fn a_peer_that_announces_its_new_mac_is_followed_at_once() -> Result<()> {
    needs_root!();
    for family in FAMILIES {
        let mut site = Site::new()?;
        let interface = site.peers_interface().to_owned();
        sysctl(site.peers_namespace(), &format!("ipv4/conf/{interface}/arp_notify"), "1")?;
        sysctl(site.peers_namespace(), &format!("ipv6/conf/{interface}/ndisc_notify"), "1")?;
        let ends = family.ends(&site, 5000, 5000)?;
        let mut call = Call::new(&mut site, ends)?;
        call.warm_up(&mut site.gateway)?;
        let first = call.source.sequence;
        for step in 0..200 {
            if step == 50 {
                site.peers_namespace().ip(&["link", "set", "dev", &interface, "address", MAC])?;
            }
            let packet = call.source.next_packet();
            call.caller.send(call.into, &packet)?;
            sleep(PACE);
        }
        let heard: Vec<u16> = call.listener.receive_all(QUIET)?.iter().filter_map(|p| sequence(p)).collect();
        let lost = 200 - heard.len();
        eprintln!("{family:?}: {lost} packets of 5 ms lost by an announced change");
        // Half a second: a notification from the kernel, and a busy machine.
        ensure!(lost <= 100, "{family:?}: {lost} lost");
        let late = (first + 150..first + 200).filter(|number| !heard.contains(number)).count();
        ensure!(late == 0, "{family:?}: {late} of the last 50 lost");
        let before = sent_by(&mut site.gateway)?;
        call.send(50)?;
        let after = sent_by(&mut site.gateway)?;
        ensure!(after.0 - before.0 >= 45, "{family:?}: by AF_XDP again: {before:?}, {after:?}");
    }
    Ok(())
}

#[test]
fn a_peer_whose_mac_changes_in_silence_is_found_again() -> Result<()> {
    needs_root!();
    for family in FAMILIES {
        let mut site = Site::new()?;
        let ends = family.ends(&site, 5000, 5000)?;
        let mut call = Call::new(&mut site, ends)?;
        call.warm_up(&mut site.gateway)?;
        change_mac_in_silence(&site)?;
        let began = Instant::now();
        let gap = loop {
            let packet = call.source.next_packet();
            call.caller.send(call.into, &packet)?;
            if call.listener.receive(PACE)?.is_some() {
                break began.elapsed();
            }
            ensure!(began.elapsed() < 2 * SILENT_CHANGE, "{family:?}: never found again");
        };
        eprintln!("{family:?}: {gap:?} without media by a silent change");
        ensure!(gap < SILENT_CHANGE, "{family:?}: {gap:?}");
        ensure!(gap > Duration::from_millis(500), "{family:?}: the change was not silent");
        call.warm_up(&mut site.gateway)?;
        let sent = call.send(1000)?;
        let heard = call.listener.receive_all(QUIET)?;
        ensure!(heard == sent, "{family:?}: {} of 1000", heard.len());
    }
    Ok(())
}

/// Has the peers' interface take another address without the gateway's kernel hearing of it: no announcement, and no
/// ARP or neighbour solicitation for the gateway, whose sender would tell.
fn change_mac_in_silence(site: &Site) -> Result<()> {
    let (peers, interface) = (site.peers_namespace(), site.peers_interface());
    let mac =
        mac_of(site.gateway_namespace(), site.interface())?.map(|octet| format!("{octet:02x}")).join(":");
    peers.ip(&["link", "set", "dev", interface, "address", MAC])?;
    for gateway in ["192.0.2.1", "2001:db8::1"] {
        let entry = ["neigh", "replace", gateway, "lladdr", &mac, "dev", interface, "nud", "permanent"];
        peers.ip(&entry)?;
    }
    Ok(())
}

#[test]
fn neighbours_in_use_stay_known_although_the_kernel_sees_none_of_the_media() -> Result<()> {
    needs_root!();
    for family in FAMILIES {
        let mut site = Site::new()?;
        let version = if family == Family::V4 { "ipv4" } else { "ipv6" };
        let neighbours = format!("{version}/neigh/{}", site.interface());
        // Entries age within a second or two instead of half a minute.
        sysctl(site.gateway_namespace(), &format!("{neighbours}/base_reachable_time_ms"), "1000")?;
        sysctl(site.gateway_namespace(), &format!("{neighbours}/gc_stale_time"), "1")?;
        let ends = family.ends(&site, 5000, 5000)?;
        let mut call = Call::new(&mut site, ends)?;
        call.warm_up(&mut site.gateway)?;
        let before = sent_by(&mut site.gateway)?;
        let sent = call.send(4000)?;
        let heard = call.listener.receive_all(QUIET)?;
        ensure!(heard == sent, "{family:?}: {} of 4000", heard.len());
        sent_since(&mut site.gateway, before, (4000, 0)).with_context(|| format!("{family:?}"))?;
    }
    Ok(())
}
