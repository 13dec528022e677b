//! Several queues, several workers: media that changes its queue, and calls that change their worker.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sluice_proto::v1::{self, MoveSessionRequest};
use sluice_srtp::Suite;
use sluice_tests::needs_root;
use sluice_tests::peer::Peer;
use sluice_tests::rtp::Source;
use sluice_tests::site::{Site, expect_exactly};
use sluice_tools::demo::gateway::{Key, Leg};

/// The CPUs that this process may use.
fn cpus() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect())
}

/// Has the peers' interface send by the queue of the CPU that sends; veth receives by the queue that sent.
fn steer_by_cpu(site: &Site, cpus: &[usize]) -> Result<()> {
    let (namespace, interface) = (site.peers_namespace().name(), site.peers_interface());
    for (queue, cpu) in cpus.iter().take(2).enumerate() {
        let file = format!("/sys/class/net/{interface}/queues/tx-{queue}/xps_cpus");
        let write = format!("echo {:x} > {file}", 1_u64 << cpu);
        let mut command = Command::new("ip");
        // It remounts /sys, which is what is wanted here.
        let status = command.args(["netns", "exec", namespace, "sh", "-c", &write]).status()?;
        ensure!(status.success(), "{write}: {status}");
    }
    Ok(())
}

/// As if the flow hash had changed.
fn send_from(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

fn workers(site: &mut Site) -> Result<Vec<v1::WorkerStatistics>> {
    Ok(site.gateway.statistics()?.workers)
}

#[test]
fn media_that_changes_its_queue_reaches_its_call_wherever_that_moves() -> Result<()> {
    needs_root!();
    let cpus = cpus()?;
    if cpus.len() < 2 {
        eprintln!("SKIP: one CPU makes one queue");
        return Ok(());
    }
    let mut site = Site::with_queues(2)?;
    steer_by_cpu(&site, &cpus)?;
    let info = site.gateway.info()?;
    let queues: Vec<_> = info.workers.iter().map(|worker| worker.queues.len()).collect();
    ensure!(queues == [1, 1], "each worker has a queue: {queues:?}");
    let keys = [Key::random(Suite::AesCm128HmacSha1_80)?, Key::random(Suite::AeadAes256Gcm)?];
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&keys[0]), None)?;
    let mut listener = Peer::keyed(site.peer(5000)?.socket, None, Some(&keys[1]))?;
    let legs = [
        Leg::new("a", site.at(4000), caller.address()?).inbound(&keys[0]),
        Leg::new("b", site.at(5000), listener.address()?).outbound(&keys[1]),
    ];
    site.gateway.create_call("call", &legs, &[("a", "b")])?;
    let mut source = Source::new(7, 65_000);
    let mut sent = Vec::new();
    for step in 0..1200_u32 {
        if step % 3 == 0 {
            send_from(cpus[(step / 3 % 2) as usize])?;
        }
        let packet = source.next_packet();
        caller.send(site.at(4000), &packet)?;
        sent.push(packet);
        if step % 100 == 50 {
            let worker = step / 100 % 2;
            let request = MoveSessionRequest { session: "call".into(), worker };
            let moved = site.gateway.call(|client| client.move_session(request))?;
            ensure!(moved.worker == worker, "{moved:?}");
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    expect_exactly(&mut listener, &sent)?;
    let workers = workers(&mut site)?;
    for worker in &workers {
        ensure!(worker.received > 300, "each queue had its part: {worker:?}");
        ensure!(worker.handed_in > 100 && worker.handed_out > 100, "both ways: {worker:?}");
        ensure!(worker.drops.is_empty(), "{:?}", worker.drops);
        let path = worker.paths.iter().find(|path| path.path == "xdp-native").context("no XDP")?;
        ensure!(path.received > 300, "{path:?}");
    }
    let leg = site.gateway.leg("call", "a")?;
    assert_eq!(leg.received_rtp_packets, 1200);
    Ok(())
}
