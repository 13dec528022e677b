//! The test bed: the device under test and its tester, each with a network namespace, an end of the wire, and a CPU.
//!
//! ```text
//!   CPU of the tester                          CPU of the device
//!   ┌───────────────────────┐  wire (veth,    ┌──────────────────────────┐
//!   │ callers and listeners │◀──or two NICs──▶│ forwarder: one worker,    │
//!   │ 10.77.16.0+, 32.0+    │  of this host)  │ 10.77.0.1                │
//!   └───────────────────────┘                 └──────────────────────────┘
//! ```
//!
//! Both ends of a veth pair take their packets in a kernel thread of their own (threaded NAPI), which is bound to the
//! CPU of that end: what the kernel does to receive for the device is the device's cost.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sluice_io::probe::Nic;

use crate::demo::namespace::{self, End, Namespace, interface_name};

/// The device's address.
pub const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The tester's own address, of its end of the wire.
const TESTER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// First addresses of those who call, and of those who listen.
const CALLERS: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 0);
const LISTENERS: Ipv4Addr = Ipv4Addr::new(10, 77, 32, 0);
/// Ports of peers at one address, and the first of them.
const PORTS: u32 = 50_000;
const FIRST_PORT: u32 = 10_000;

/// What the bed is built of.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Two interfaces of this machine that are cabled together, the device's and the tester's; `None`: a veth pair.
    pub interfaces: Option<(String, String)>,
    /// CPUs of the device and of the tester; `None`: the last and the first that this process may use.
    pub cpus: Option<(usize, usize)>,
    /// Largest IP packet on a veth pair, in bytes.
    pub mtu: u32,
}

/// One end.
#[derive(Debug)]
pub struct Side {
    /// Where it is. Processes in it end with the bed; interfaces of the machine go back.
    pub namespace: Namespace,
    /// Its interface.
    pub interface: String,
    /// The interface's index in that namespace.
    pub ifindex: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Where everything of this end runs.
    pub cpu: usize,
}

/// Device and tester, joined.
#[derive(Debug)]
pub struct Bed {
    /// The device under test.
    pub device: Side,
    /// Generator and sink.
    pub tester: Side,
    /// Whether the wire is a veth pair.
    pub veth: bool,
}

/// Which of a call's two peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Who sends.
    Caller,
    /// Who gets what the device makes of it.
    Listener,
}

impl Bed {
    /// Builds it; `peers` is how many callers or listeners need an address.
    pub fn build(plan: &Plan, peers: usize) -> Result<Self> {
        let (device_cpu, tester_cpu) = cpus(plan.cpus)?;
        let (device, tester) = (Namespace::create("device")?, Namespace::create("tester")?);
        let names = match &plan.interfaces {
            Some(names) => names.clone(),
            None => (interface_name("d"), interface_name("t")),
        };
        if plan.interfaces.is_some() {
            take(&device, &names.0)?;
            take(&tester, &names.1)?;
        } else {
            let ends = [(&device, &names.0), (&tester, &names.1)]
                .map(|(namespace, interface)| End { namespace, interface: interface.clone() });
            namespace::join((&ends[0], &[]), (&ends[1], &[]), plan.mtu, 1)?;
        }
        let bed = Self {
            device: Side::of(device, names.0, device_cpu)?,
            tester: Side::of(tester, names.1, tester_cpu)?,
            veth: plan.interfaces.is_none(),
        };
        bed.device.namespace.ip(&["addr", "add", &format!("{DEVICE}/16"), "dev", &bed.device.interface])?;
        bed.give_addresses(peers)?;
        if bed.veth {
            bed.device.receive_in_a_thread()?;
            bed.tester.receive_in_a_thread()?;
        }
        Ok(bed)
    }

    /// Binds the kernel threads that receive; to be done again after XDP was attached, which may make new ones.
    pub fn pin(&self) -> Result<()> {
        self.device.pin_kernel_threads()?;
        self.tester.pin_kernel_threads()
    }

    fn give_addresses(&self, peers: usize) -> Result<()> {
        let interface = &self.tester.interface;
        let add = |address: IpAddr| {
            let address = format!("{address}/16");
            self.tester.namespace.ip(&["addr", "add", &address, "dev", interface])
        };
        add(TESTER.into())?;
        for role in [Role::Caller, Role::Listener] {
            for peer in (0..peers.max(1)).step_by(PORTS as usize) {
                add(peer_address(role, peer).ip())?;
            }
        }
        Ok(())
    }
}

impl Side {
    fn of(namespace: Namespace, interface: String, cpu: usize) -> Result<Self> {
        let text = namespace.ip(&["-o", "link", "show", "dev", &interface])?;
        let (ifindex, mac) = read_link(&text).with_context(|| format!("cannot read of `ip link`: {text}"))?;
        Ok(Self { namespace, interface, ifindex, mac, cpu })
    }

    /// Runs `work` on a thread of this end: in its namespace, on its CPU. Threads that it starts are there as well.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.namespace.run(|| {
            bind_to(None, self.cpu)?;
            work()
        })?
    }

    /// A command that will run at this end, on its CPU.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.namespace.command("taskset");
        command.args(["--cpu-list", &self.cpu.to_string(), program]);
        command
    }

    /// NAPI of a veth device runs when it has XDP or GRO; in a thread, if it is told to.
    fn receive_in_a_thread(&self) -> Result<()> {
        let mut ethtool = self.namespace.command("ethtool");
        ethtool.args(["-K", &self.interface, "gro", "on"]);
        succeed(ethtool)?;
        // Another /sys than ours, which shows this namespace.
        let mut threaded = Command::new("ip");
        threaded.args(["netns", "exec", self.namespace.name(), "sh", "-c"]);
        threaded.arg(format!("echo 1 > /sys/class/net/{}/threaded", self.interface));
        succeed(threaded)
    }

    fn pin_kernel_threads(&self) -> Result<()> {
        let prefix = format!("napi/{}-", self.interface);
        for entry in fs::read_dir("/proc")?.flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let ours = prefix.starts_with(name.trim_end()) && name.len() > "napi/".len() + 1;
            if ours || name.starts_with(&prefix) {
                bind_to(Pid::from_raw(pid), self.cpu)
                    .with_context(|| format!("cannot bind {}", name.trim_end()))?;
                // Before all else, as receiving is where it is no thread but an interrupt's.
                let mut first = Command::new("chrt");
                first.args(["--fifo", "--pid", "1", &pid.to_string()]);
                succeed(first)?;
            }
        }
        Ok(())
    }
}

/// A peer's address: of the callers or listeners the `peer`th.
pub fn peer_address(role: Role, peer: usize) -> SocketAddr {
    let first = match role {
        Role::Caller => CALLERS,
        Role::Listener => LISTENERS,
    };
    let (block, port) = (peer as u32 / PORTS, peer as u32 % PORTS + FIRST_PORT);
    SocketAddr::new(Ipv4Addr::from_bits(first.to_bits() + block + 1).into(), port as u16)
}

/// Whose address it is.
pub fn peer_of(address: SocketAddr) -> Option<(Role, usize)> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let port = u32::from(address.port()).checked_sub(FIRST_PORT)?;
    for (role, first) in [(Role::Listener, LISTENERS), (Role::Caller, CALLERS)] {
        if let Some(block) = ip.to_bits().checked_sub(first.to_bits() + 1) {
            return Some((role, (block * PORTS + port) as usize));
        }
    }
    None
}

/// Receive queues of an interface, of the namespace of this thread.
pub fn queues(interface: &str) -> u32 {
    let told = Nic::open(interface).and_then(|nic| nic.channels());
    told.map_or(1, |channels| channels.receive.max(1))
}

/// CPUs of the device and of the tester.
fn cpus(wanted: Option<(usize, usize)>) -> Result<(usize, usize)> {
    let allowed = sched_getaffinity(None).context("cannot ask for the CPUs that there are")?;
    let ours: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let (device, tester) = match (wanted, &ours[..]) {
        (Some(wanted), _) => wanted,
        (None, [first, .., last]) => (*last, *first),
        _ => {
            bail!("one CPU is not enough: the device under test needs one of its own, and so does the tester")
        }
    };
    ensure!(device != tester, "device and tester need different CPUs, not both {device}");
    for cpu in [device, tester] {
        ensure!(ours.contains(&cpu), "CPU {cpu} is not among those that this process may use: {ours:?}");
    }
    Ok((device, tester))
}

/// Binds a thread (`None`: this one) to a CPU.
pub fn bind_to(thread: Option<Pid>, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(thread, &set).with_context(|| format!("cannot bind a thread to CPU {cpu}"))
}

fn take(namespace: &Namespace, interface: &str) -> Result<()> {
    let moved = Command::new("ip").args(["link", "set", interface, "netns", namespace.name()]).output()?;
    ensure!(
        moved.status.success(),
        "cannot take interface {interface}: {}",
        String::from_utf8_lossy(&moved.stderr).trim()
    );
    namespace.ip(&["link", "set", interface, "up"])?;
    Ok(())
}

fn succeed(mut command: Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}; is it installed?",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Index and MAC address from `7: eth0@if6: <BROADCAST,…> … link/ether 02:00:00:00:00:01 brd …`.
fn read_link(text: &str) -> Option<(u32, [u8; 6])> {
    let ifindex = text.split(':').next()?.trim().parse().ok()?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether");
    let octets = words.nth(1)?.split(':').map(|octet| u8::from_str_radix(octet, 16).ok());
    let octets: Vec<u8> = octets.collect::<Option<_>>()?;
    Some((ifindex, octets.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_address_tells_who_it_is() {
        for role in [Role::Caller, Role::Listener] {
            for peer in [0, 1, 49_999, 50_000, 150_001] {
                assert_eq!(peer_of(peer_address(role, peer)), Some((role, peer)));
            }
        }
        assert_eq!(peer_of(SocketAddr::new(DEVICE.into(), 20_000)), None);
    }

    #[test]
    fn index_and_mac_are_read_from_what_ip_prints() {
        let text = "12: t1@if11: <BROADCAST,MULTICAST,UP> mtu 1500 qdisc noqueue state UP mode DEFAULT group \
                    default qlen 1000\\    link/ether 02:1a:00:ff:00:09 brd ff:ff:ff:ff:ff:ff link-netns x";
        assert_eq!(read_link(text), Some((12, [2, 0x1a, 0, 0xff, 0, 9])));
        assert_eq!(read_link("nonsense"), None);
    }

    #[test]
    fn one_cpu_cannot_be_both_ends() {
        assert!(cpus(Some((0, 0))).is_err());
    }
}
