//! Network interfaces: drivers, queues, XDP.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sluice_io::probe::{self, Nic};
use sluice_io::xdp::Query;
use sluice_server::Config;

use super::finding::Finding;
use super::queues::Queues;
use super::{read, read_number};

pub(super) const AREA: &str = "interfaces";
const CLASS: &str = "/sys/class/net";
/// What an XDP program without fragments takes: one page less head- and tailroom.
const ONE_PAGE_MTU: u64 = 3498;

/// Looks at the named interfaces, or at all but loopback, with the eyes of a daemon of this configuration.
pub(super) fn examine(wanted: &[String], config: Option<&Config>) -> Vec<Finding> {
    let mut names: Vec<String> = if wanted.is_empty() { all() } else { wanted.to_vec() };
    names.sort_unstable();
    if names.is_empty() {
        let remedy = "in a container or network namespace, give it an interface";
        return vec![Finding::warn(AREA, "none", "there is only loopback here", remedy)];
    }
    names.iter().flat_map(|name| one(name, config)).collect()
}

fn all() -> Vec<String> {
    let entries = std::fs::read_dir(CLASS).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    // Files such as bonding_masters lie beside the interfaces.
    names.filter(|name| name != "lo" && Path::new(CLASS).join(name).join("ifindex").exists()).collect()
}

fn one(name: &str, config: Option<&Config>) -> Vec<Finding> {
    let folder = Path::new(CLASS).join(name);
    // A path is no name, even if it leads to an interface.
    let index = read_number(folder.join("ifindex")).filter(|_| !name.contains('/'));
    let Some(ifindex) = index.and_then(|index| u32::try_from(index).ok()) else {
        let remedy = "`ip link` lists those there are in this network namespace";
        return vec![Finding::fail(AREA, name, "there is no such interface", remedy)];
    };
    let nic = Nic::open(name).ok();
    let mut findings = vec![driver(name, &folder, nic.as_ref())];
    findings.extend(Queues::of(name, &folder, nic.as_ref(), config).examine());
    findings.extend([xdp(name, ifindex, &folder), attached(name, ifindex)]);
    findings
}

fn driver(name: &str, folder: &Path, nic: Option<&Nic>) -> Finding {
    let driver = nic.and_then(|nic| nic.driver().ok()).or_else(|| {
        let link: PathBuf = std::fs::read_link(folder.join("device/driver")).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    });
    let driver = driver.unwrap_or_else(|| "no driver (virtual)".to_owned());
    let state = read(folder.join("operstate")).unwrap_or_else(|| "state unknown".to_owned());
    let mtu = read(folder.join("mtu")).unwrap_or_else(|| "?".to_owned());
    let node = probe::numa_node(folder);
    let node = node.map_or_else(String::new, |node| format!(", NUMA node {node}"));
    Finding::ok(AREA, name, format!("{driver}, {state}, MTU {mtu}{node}"))
}

fn xdp(name: &str, ifindex: u32, folder: &Path) -> Finding {
    let subject = format!("{name} XDP");
    let features = match probe::xdp_features(ifindex) {
        Ok(features) => features,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let found = "the kernel does not tell what the driver can do (before 6.3): Sluice finds out when it attaches";
            return Finding::ok(AREA, subject, found);
        }
        Err(error) => return Finding::ok(AREA, subject, format!("cannot tell ({error})")),
    };
    if !features.native() {
        let remedy = "nothing to do: generic XDP works, slower; a NIC whose driver has XDP is faster";
        return Finding::warn(AREA, subject, "not in the driver: generic mode only", remedy);
    }
    let mtu = read_number(folder.join("mtu")).unwrap_or(0);
    if mtu > ONE_PAGE_MTU && !features.fragments() {
        let found = format!("in the driver (native), but not with an MTU of {mtu}");
        return Finding::warn(AREA, subject, found, format!("`ip link set {name} mtu 1500`"));
    }
    if !features.redirect() {
        let found = "in the driver (native), but it cannot hand frames to AF_XDP: generic mode is used";
        return Finding::warn(AREA, subject, found, "update the driver, or use another NIC");
    }
    if features.zero_copy() {
        return Finding::ok(AREA, subject, "in the driver (native), AF_XDP without copies");
    }
    Finding::ok(AREA, subject, "in the driver (native), AF_XDP with a copy (the driver has no zero-copy)")
}

fn attached(name: &str, ifindex: u32) -> Finding {
    let subject = format!("{name} program");
    let seen = Query::open().and_then(|query| query.program_of(ifindex));
    let ours = Path::new("/sys/fs/bpf/sluice").join(name).join("link").exists();
    match seen {
        Ok(None) => Finding::ok(AREA, subject, "no XDP program attached"),
        Ok(Some(seen)) if ours => Finding::ok(
            AREA,
            subject,
            format!("Sluice's XDP program {} ({})", seen.program, seen.mode.name()),
        ),
        Ok(Some(seen)) => Finding::warn(
            AREA,
            subject,
            format!(
                "XDP program {} ({}) is attached, not known to be Sluice's",
                seen.program,
                seen.mode.name()
            ),
            format!("`bpftool net show dev {name}` says whose; `ip link set dev {name} xdp off` detaches it"),
        ),
        Err(error) => Finding::ok(AREA, subject, format!("cannot tell ({error})")),
    }
}
