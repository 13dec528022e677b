//! What runs in the guest: where the daemon's workers, their memory and their queues are.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use sluice_datapath::placement::CpuList;
use sluice_proto::v1;
use sluice_tests::peer::Peer;
use sluice_tests::rtp::Source;
use sluice_tests::site::executable;
use sluice_tools::demo::gateway::{Gateway, Leg, Settings};
use sluice_tools::demo::namespace::Namespace;
use sluice_tools::demo::world::Place;

/// Pages of a worker's packet memory, as configured by default.
const PAGES: u64 = (4096 * 4096 + 512 * 16_384) / 4096;
/// The guest's CPUs are slow, and the host may be busy.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
#[ignore = "runs in a guest: see main.rs"]
fn workers_umem_and_queues_are_on_the_cards_nodes() -> Result<()> {
    fs::write("/sys/devices/system/cpu/cpu1/online", "0")?;
    ensure!(fs::read_to_string("/sys/devices/system/cpu/isolated")?.trim() == "2,6");
    let peers = Namespace::create("peers")?;
    for node in 0..2 {
        for (side, mac, host) in [("near", node, 1), ("far", node + 0x10, 2)] {
            let name = format!("{side}{node}");
            ip(&format!("link set {} name {name}", card(mac)?))?;
            let inside = if side == "far" { format!("-n {} ", peers.name()) } else { String::new() };
            if side == "far" {
                ip(&format!("link set {name} netns {}", peers.name()))?;
            }
            ip(&format!("{inside}addr add 10.0.{node}.{host}/24 dev {name}"))?;
            ip(&format!("{inside}link set {name} up"))?;
        }
        let seen = fs::read_to_string(format!("/sys/class/net/near{node}/device/../numa_node"))?;
        ensure!(seen.trim() == node.to_string(), "the card near{node} is on node {seen}");
    }
    // With leave to use isolated CPUs workers are there and nowhere else; without, on none that is isolated or off.
    for (allowed, expected) in [("0,2-7", "2,6"), ("0,3-5,7", "0,3-5,7")] {
        run_on(allowed)?;
        daemon_is_where_it_should_be(expected, &peers).with_context(|| format!("on CPU {allowed}"))?;
    }
    Ok(())
}

fn daemon_is_where_it_should_be(expected: &str, peers: &Namespace) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut gateway = Gateway::start(&Settings {
        executable: executable()?,
        place: &Place::Here,
        directory: directory.path(),
        interfaces: vec!["near0".to_owned(), "near1".to_owned()],
        addresses: vec!["10.0.0.1".parse()?, "10.0.1.1".parse()?],
        datapath: "auto",
        workers: None,
        shared_port: None,
        legs: None,
    })?;
    let socket = directory.path().join("sluice.sock");
    let shown =
        Command::new(executable()?).args(["ctl", "--json", "info", "--socket"]).arg(socket).output()?;
    println!("ctl info: {}", String::from_utf8_lossy(&shown.stdout).trim());
    let info = gateway.info()?;
    workers_are_on(&info, gateway.id(), &CpuList::parse(expected).context("a list")?)?;
    memory_is_beside(&info, gateway.id())?;
    queues_are_served_on_their_nodes(&info)?;
    media_takes_that_way(&mut gateway, peers)?;
    gateway.stop()
}

/// One worker on each of these CPUs, bound to it.
fn workers_are_on(info: &v1::Info, daemon: u32, expected: &CpuList) -> Result<()> {
    let mut cpus: Vec<_> =
        info.workers.iter().filter_map(|worker| worker.cpu).map(|cpu| cpu as usize).collect();
    cpus.sort_unstable();
    ensure!(expected.iter().eq(cpus.iter().copied()), "workers are on {cpus:?}");
    let bound = bound_threads(daemon)?;
    println!("Cpus_allowed_list: {bound:?}");
    for worker in &info.workers {
        let cpu = worker.cpu.context("no CPU")?;
        ensure!(worker.unbound_reason.is_empty() && worker.alive, "{worker:?}");
        let allowed = bound.get(&format!("sluice-{}", worker.index)).context("no thread of that name")?;
        ensure!(*allowed == cpu.to_string(), "worker {} may run on {allowed}", worker.index);
        ensure!(worker.isolated == [2, 6].contains(&cpu), "{worker:?}");
        ensure!(worker.numa_node == Some(node_of(cpu)?), "{worker:?}");
    }
    Ok(())
}

/// Names of the daemon's threads, and the CPUs that they may run on.
fn bound_threads(daemon: u32) -> Result<BTreeMap<String, String>> {
    let mut bound = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{daemon}/task"))?.flatten() {
        let status = fs::read_to_string(task.path().join("status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (name, cpus) =
            (field("Name:").context("no name")?, field("Cpus_allowed_list:").context("no list")?);
        bound.insert(name.to_owned(), cpus.to_owned());
    }
    Ok(bound)
}

/// The packet memory of each worker is on the node of its CPU, page for page, as the kernel sees it.
fn memory_is_beside(info: &v1::Info, daemon: u32) -> Result<()> {
    let maps = fs::read_to_string(format!("/proc/{daemon}/numa_maps"))?;
    let mut pages = [0_u64; 2];
    for line in maps.lines().filter(|line| line.contains(" prefer:") || line.contains("prefer (many):")) {
        println!("numa_maps: {line}");
        for (node, pages) in pages.iter_mut().enumerate() {
            let counted = line.split_whitespace().find_map(|word| word.strip_prefix(&format!("N{node}=")));
            let counted: u64 = counted.map_or(Ok(0), str::parse)?;
            let wanted = line.contains(&format!("prefer:{node}")) || line.contains(&format!("(many):{node}"));
            ensure!(wanted || counted == 0, "pages on another node than told: {line}");
            *pages += counted;
        }
    }
    for (node, pages) in pages.into_iter().enumerate() {
        let workers =
            info.workers.iter().filter(|worker| worker.numa_node == Some(node as u32)).count() as u64;
        ensure!(pages == workers * PAGES, "{pages} pages on node {node} for {workers} workers");
    }
    for worker in &info.workers {
        ensure!(worker.memory_node == worker.numa_node && worker.memory_elsewhere == 0, "{worker:?}");
    }
    Ok(())
}

/// Each card's queue has an AF_XDP socket of a worker on the card's node.
fn queues_are_served_on_their_nodes(info: &v1::Info) -> Result<()> {
    for node in 0..2 {
        let queue = format!("near{node}:0");
        let serving: Vec<_> = info.workers.iter().filter(|worker| worker.queues.contains(&queue)).collect();
        ensure!(serving.len() == 1, "{queue} is served by {} workers", serving.len());
        ensure!(serving[0].numa_node == Some(node), "{queue} is served by {:?}", serving[0]);
        let interface = info.interfaces.iter().find(|interface| interface.name == format!("near{node}"));
        let interface = interface.context("no such interface")?;
        ensure!(interface.attached && interface.path.starts_with("xdp"), "{interface:?}");
        ensure!(["copy", "generic"].contains(&interface.socket_mode.as_str()), "{interface:?}");
        println!("{queue}: worker {}, node {node}, {}", serving[0].index, interface.socket_mode);
    }
    Ok(())
}

/// A stream that comes by one card goes by the other, by AF_XDP.
fn media_takes_that_way(gateway: &mut Gateway, peers: &Namespace) -> Result<()> {
    let at = |text: &str| text.parse::<SocketAddr>();
    let mut caller = Peer::plain(peers.udp(at("10.0.0.2:4000")?)?);
    let mut listener = Peer::plain(peers.udp(at("10.0.1.2:5000")?)?);
    let legs = [
        Leg::new("a", at("10.0.0.1:4000")?, caller.address()?),
        Leg::new("b", at("10.0.1.1:5000")?, listener.address()?),
    ];
    gateway.create_call("call", &legs, &[("a", "b")])?;
    let mut source = Source::new(7, 1);
    // The first wait for each other: plain RTP is believed after two, and addresses have to be resolved.
    for _ in 0..50 {
        let packet = source.next_packet();
        caller.send(at("10.0.0.1:4000")?, &packet)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut heard = Vec::new();
    while heard.len() < 50
        && let Some(packet) = listener.receive(PATIENCE)?
    {
        heard.push(packet);
    }
    ensure!(heard.len() == 50, "{} of 50 packets arrived", heard.len());
    let leg = gateway.leg("call", "a")?;
    println!("media: {} packets by {}", leg.received_rtp_packets, leg.path);
    ensure!(leg.path.starts_with("xdp") && leg.received_rtp_packets == 50, "{leg:?}");
    gateway.delete_session("call")?;
    Ok(())
}

/// The interface whose address ends in these octets.
fn card(last: u32) -> Result<String> {
    let wanted = format!("52:54:00:00:00:{last:02x}");
    let mut all = fs::read_dir("/sys/class/net")?.flatten().map(|entry| entry.path());
    let address = |path: &PathBuf| fs::read_to_string(path.join("address")).unwrap_or_default();
    let found = all.find(|path| address(path).trim() == wanted);
    let found = found.with_context(|| format!("no card has the address {wanted}"))?;
    Ok(found.file_name().context("a name")?.to_string_lossy().into_owned())
}

fn node_of(cpu: u32) -> Result<u32> {
    let is_its = |node: &u32| Path::new(&format!("/sys/devices/system/node/node{node}/cpu{cpu}")).exists();
    (0..2).find(is_its).with_context(|| format!("CPU {cpu} is on no node"))
}

/// From now on this thread, and whatever it starts, runs on these CPUs only.
fn run_on(cpus: &str) -> Result<()> {
    let mut set = CpuSet::new();
    CpuList::parse(cpus).context("a list")?.iter().for_each(|cpu| set.set(cpu));
    Ok(sched_setaffinity(None, &set)?)
}

fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip").args(arguments.split_whitespace()).status()?;
    ensure!(status.success(), "ip {arguments}: {status}");
    Ok(())
}
