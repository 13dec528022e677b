//! From the configuration to interfaces that have the XDP program.

use std::fs;
use std::path::PathBuf;

use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use sluice_io::Path;
use sluice_io::probe;
use sluice_io::xdp::{self, Attached, XdpError};

use crate::config::{EngineConfig, InterfaceConfig, Mode, WorkerCount};
use crate::engine::EngineError;
use crate::placement::Card;
use crate::report::InterfaceReport;
use crate::steering::{Interface, Interfaces};

/// An interface of the configuration: what placement and queues need to know.
pub(crate) struct Nic {
    /// Its place in [`Interfaces`], if it has the program.
    pub(crate) interface: Option<usize>,
    /// Without the program it has no queues to serve, and is still best served on its node.
    pub(crate) card: Card,
}

/// Refuses settings that cannot work.
pub(crate) fn check(config: &EngineConfig) -> Result<(), EngineError> {
    let refuse = |field, problem: &str| Err(EngineError::Config { field, problem: problem.into() });
    let limits = &config.limits;
    if config.workers == WorkerCount::Exactly(0) {
        return refuse("workers", "is 0; give at least 1, or auto");
    }
    if matches!(config.workers, WorkerCount::Exactly(count) if count > 1024) {
        return refuse("workers", "is more than 1024; more workers than CPUs are of no use");
    }
    if config.large_chunks == 0 {
        return refuse("large_chunks", "is 0; io_uring needs them to receive into");
    }
    if [limits.legs, limits.routes, limits.streams, limits.egress_contexts, limits.keys].contains(&0) {
        return refuse("limits", "has a 0; a worker without room for legs, routes, streams or keys is none");
    }
    if limits.legs > 1 << 24 || limits.streams > 1 << 28 || limits.egress_contexts > 1 << 28 {
        return refuse("limits", "are beyond 2^24 legs or 2^28 streams; use more workers");
    }
    if config.tuning.key_expiring_percent > 100 {
        return refuse("key_expiring_percent", "is more than 100");
    }
    for (position, interface) in config.interfaces.iter().enumerate() {
        if config.interfaces[..position].iter().any(|other| other.name == interface.name) {
            return refuse("interfaces", &format!("{:?} is listed twice", interface.name));
        }
        if interface.queues == Some(0) {
            return refuse("interfaces", &format!("{:?} is to use 0 queues; leave it out", interface.name));
        }
        // The name becomes part of a path below.
        let odd = |c: char| c == '/' || c.is_whitespace() || c.is_control();
        if interface.name.is_empty() || interface.name.starts_with('.') || interface.name.contains(odd) {
            return refuse("interfaces", &format!("{:?} is not a name of an interface", interface.name));
        }
    }
    if config.interfaces.is_empty() && matches!(config.datapath, Mode::XdpNative | Mode::XdpGeneric) {
        return refuse(
            "interfaces",
            "none is given, but the datapath asks for XDP; name one, or use io_uring",
        );
    }
    Ok(())
}

/// Attaches the program to every interface, as far as wanted and possible.
pub(crate) fn attach(
    config: &EngineConfig,
) -> Result<(Vec<Nic>, Interfaces, Vec<InterfaceReport>), EngineError> {
    let (mut nics, mut interfaces, mut reports) = (Vec::new(), Interfaces::default(), Vec::new());
    for wanted in &config.interfaces {
        let mut report = look_at(wanted)?;
        let mut nic = Nic {
            interface: None,
            card: Card {
                queues: 0,
                node: sysfs(&wanted.name, report.ifindex).and_then(|folder| probe::numa_node(&folder)),
            },
        };
        if config.datapath == Mode::IoUring {
            nics.push(nic);
            reports.push(report);
            continue;
        }
        let queues = receive_queues(&wanted.name, report.ifindex);
        if queues.is_none() && wanted.queues.is_none() {
            let reason = "its receive queues cannot be counted: its driver does not tell, and /sys shows another network namespace; \
                          only queue 0 is used: say how many there are (queues)";
            report.degraded.push(reason.into());
        }
        let queues = queues.or(wanted.queues).unwrap_or(1);
        match attach_one(config, wanted, report.ifindex, queues) {
            Ok(attached) => {
                note(&attached, &mut report);
                if config.datapath == Mode::Auto && cannot_redirect(report.ifindex) {
                    let reason = "its driver has XDP and cannot hand frames to AF_XDP; generic XDP is used";
                    report.degraded.push(reason.into());
                }
                nic.interface = Some(interfaces.0.len());
                nic.card.queues = wanted.queues.unwrap_or(queues).min(queues);
                interfaces.0.push(Interface::new(attached));
            }
            Err(error) if config.datapath == Mode::Auto => {
                report.degraded.push(format!("XDP is not used: {error}"));
            }
            Err(error) => return Err(error),
        }
        nics.push(nic);
        reports.push(report);
    }
    Ok((nics, interfaces, reports))
}

/// Whether the driver runs programs, and cannot hand frames to AF_XDP.
fn cannot_redirect(ifindex: u32) -> bool {
    probe::xdp_features(ifindex).is_ok_and(|features| features.native() && !features.redirect())
}

fn attach_one(
    config: &EngineConfig,
    wanted: &InterfaceConfig,
    ifindex: u32,
    queues: u32,
) -> Result<Attached, EngineError> {
    let name = wanted.name.clone();
    if queues == 0 {
        return Err(EngineError::NoQueues { name });
    }
    let mode = match config.datapath {
        Mode::XdpNative => xdp::Mode::Native,
        Mode::XdpGeneric => xdp::Mode::Generic,
        // Its frames would be lost on the way to the sockets.
        Mode::Auto if cannot_redirect(ifindex) => xdp::Mode::Generic,
        Mode::Auto | Mode::IoUring => xdp::Mode::Auto,
    };
    let workers = match config.workers {
        WorkerCount::Exactly(count) => count,
        WorkerCount::Auto => std::thread::available_parallelism().map_or(1, usize::from),
    };
    // Two local ports per leg, without rtcp-mux.
    let ports = (2 * config.limits.legs * workers).clamp(1 << 10, 1 << 20) as u32;
    let options = xdp::Options { mode, max_legs: ports, ..xdp::Options::default() };
    Attached::attach(&name, &options).map_err(|source| match source {
        XdpError::NoSuchInterface { name } => EngineError::NoInterface { name },
        source => EngineError::Xdp { name, source },
    })
}

fn look_at(wanted: &InterfaceConfig) -> Result<InterfaceReport, EngineError> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).map_err(std::io::Error::from)?;
    let missing = |_| EngineError::NoInterface { name: wanted.name.clone() };
    Ok(InterfaceReport {
        name: wanted.name.clone(),
        ifindex: netdevice::name_to_index(&any, &wanted.name).map_err(missing)?,
        path: Path::IoUring,
        queues: 0,
        socket_mode: None,
        multi_buffer: false,
        took_over: false,
        attached: false,
        degraded: Vec::new(),
    })
}

fn note(attached: &Attached, report: &mut InterfaceReport) {
    report.path = match attached.mode() {
        xdp::AttachedMode::Native => Path::XdpNative,
        xdp::AttachedMode::Generic => Path::XdpGeneric,
    };
    report.took_over = attached.took_over();
    if let Some(reason) = attached.native_refused() {
        report.degraded.push(format!("the driver does not take XDP ({reason}); generic XDP is used"));
    }
    if let Some(reason) = attached.unpinned() {
        report.degraded.push(format!("the program cannot be pinned ({reason}); a crash detaches it"));
    }
}

/// The interface's receive queues, as its driver says, or else sysfs; `None` if that shows another network namespace
/// than ours, as it does after `nsenter --net`.
fn receive_queues(interface: &str, ifindex: u32) -> Option<u32> {
    let told = probe::Nic::open(interface).and_then(|nic| nic.channels()).map(|channels| channels.receive);
    if let Ok(queues @ 1..) = told {
        return Some(queues);
    }
    let entries = fs::read_dir(sysfs(interface, ifindex)?.join("queues")).ok()?;
    let is_receive = |name: std::ffi::OsString| name.to_string_lossy().starts_with("rx-");
    Some(entries.flatten().filter(|entry| is_receive(entry.file_name())).count() as u32)
}

/// The interface's folder in sysfs, if that shows this network namespace.
fn sysfs(interface: &str, ifindex: u32) -> Option<PathBuf> {
    let folder = PathBuf::from(format!("/sys/class/net/{interface}"));
    let seen = fs::read_to_string(folder.join("ifindex")).ok()?;
    (seen.trim().parse() == Ok(ifindex)).then_some(folder)
}
