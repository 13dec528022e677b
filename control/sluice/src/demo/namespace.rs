//! Network namespaces, veth pairs between them, and threads and sockets inside them.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where daemons pin their XDP links.
const PINS: &str = "/sys/fs/bpf/sluice";

/// A network namespace under `/run/netns`; dropping it ends what runs inside and removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates a namespace with a name that no other run uses; `label` makes it readable.
    pub fn create(label: &str) -> Result<Self> {
        let name = format!("sluice-{}-{}-{label}", std::process::id(), serial());
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name under `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs iproute2's `ip` on this namespace.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// A command that will run inside, and die with the thread that spawned it.
    ///
    /// `nsenter` rather than `ip netns exec`, because the latter remounts /sys and with that
    /// hides the BPF file system in which XDP links are pinned.
    pub fn command(&self, program: &str) -> Command {
        let mut command = orphan_proof("nsenter");
        command.arg(format!("--net={}", self.path().display()));
        command.arg("--").arg(program);
        command
    }

    /// Runs `work` on a thread inside the namespace and returns what it returned.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let handle = File::open(self.path())?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A UDP socket inside the namespace. A socket keeps its namespace, so any thread may use it.
    pub fn udp(&self, local: SocketAddr) -> io::Result<UdpSocket> {
        self.run(|| UdpSocket::bind(local))?
    }

    /// Where a daemon inside the namespace pins the XDP link of `interface`.
    pub fn pin_of(&self, interface: &str) -> io::Result<PathBuf> {
        let inode = fs::metadata(self.path())?.ino();
        let name = format!("{inode}-{}", interface.replace('.', ":"));
        Ok(Path::new(PINS).join(name).join("link"))
    }

    /// Removes what a killed daemon left in the BPF file system: its inode number is all that it has
    /// to do with the namespace, and will be another's.
    fn remove_pins(&self) {
        let Ok(inode) = fs::metadata(self.path()).map(|metadata| metadata.ino()) else { return };
        for entry in fs::read_dir(PINS).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(&format!("{inode}-")) {
                let _ = fs::remove_file(entry.path().join("link"));
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Every process in here was started by the owner of this namespace.
        if let Ok(pids) = ip(&["netns", "pids", &self.name]) {
            for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        self.remove_pins();
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// One end of a veth pair.
#[derive(Debug)]
pub struct End<'a> {
    /// Where the interface lives.
    pub namespace: &'a Namespace,
    /// Its name.
    pub interface: String,
}

/// A name for an interface that is unique on the machine, not only within its namespace: pinned
/// XDP links are named after interfaces, and the BPF file system knows no network namespaces.
pub fn interface_name(label: &str) -> String {
    format!("{label}{:x}x{:x}", std::process::id(), serial())
}

/// Joins two namespaces by a veth pair of so many queues each way, up and with the given addresses
/// (`192.0.2.1/24`).
pub fn join(left: (&End<'_>, &[&str]), right: (&End<'_>, &[&str]), mtu: u32, queues: u32) -> Result<()> {
    let (a, b) = (left.0, right.0);
    let count = queues.to_string();
    let queues = ["numtxqueues", &count, "numrxqueues", &count];
    let near = ["link", "add", &a.interface, "netns", a.namespace.name()];
    let far = ["type", "veth", "peer", "name", &b.interface, "netns", b.namespace.name()];
    ip(&[&near[..], &queues, &far, &queues].concat())?;
    for (end, addresses) in [left, right] {
        for address in addresses {
            // No duplicate address detection: the address is wanted now, not in two seconds.
            let mut arguments = vec!["addr", "add", address, "dev", &end.interface];
            if address.contains(':') {
                arguments.push("nodad");
            }
            end.namespace.ip(&arguments)?;
        }
        let mtu = mtu.to_string();
        end.namespace.ip(&["link", "set", &end.interface, "mtu", &mtu, "up"])?;
    }
    Ok(())
}

/// Removes what earlier runs left behind that were killed too hard to clean up themselves.
pub fn sweep() {
    let Ok(list) = ip(&["netns", "list"]) else { return };
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let Some(rest) = name.strip_prefix("sluice-") else { continue };
        let owner = rest.split('-').next().and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
            drop(Namespace { name: name.to_owned() });
        }
    }
}

/// The address part of `192.0.2.1/24`.
pub fn address(with_prefix: &str) -> Result<IpAddr> {
    let text = with_prefix.split('/').next().unwrap_or(with_prefix);
    text.parse().with_context(|| format!("{with_prefix} is no address"))
}

/// A command that the kernel kills when the thread that spawned it ends, however that ends.
pub(crate) fn orphan_proof(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command.stdin(Stdio::null());
    command
}

fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot run `ip`: install iproute2")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", arguments.join(" "), reason.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn serial() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
