//! Capabilities: what XDP needs, and what this process has.

use caps::{CapSet, Capability};

use super::finding::Finding;

const AREA: &str = "privileges";

const NEEDED: [(Capability, &str); 4] = [
    (Capability::CAP_BPF, "to load the XDP program"),
    (Capability::CAP_NET_ADMIN, "to attach it to interfaces"),
    (Capability::CAP_NET_RAW, "for AF_XDP sockets"),
    (Capability::CAP_IPC_LOCK, "for packet memory beyond the memlock limit"),
];

pub(super) fn examine() -> Vec<Finding> {
    NEEDED.into_iter().map(|(capability, why)| one(capability, why)).collect()
}

fn one(capability: Capability, why: &str) -> Finding {
    let name = capability.to_string();
    // Before Linux 5.8 CAP_SYS_ADMIN was what CAP_BPF is; it still includes it.
    let also = matches!(capability, Capability::CAP_BPF).then_some(Capability::CAP_SYS_ADMIN);
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    if has(capability) || also.is_some_and(has) {
        return Finding::ok(AREA, name, format!("effective, {why}"));
    }
    let permitted = caps::has_cap(None, CapSet::Permitted, capability).unwrap_or(false);
    let bounded = caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(true);
    let remedy = if permitted {
        "permitted but not effective: raise it in the program that starts sluice".to_owned()
    } else if bounded {
        format!(
            "run as root, or AmbientCapabilities={name} in systemd, or setcap {}+ep on the binary",
            name.to_lowercase()
        )
    } else {
        format!(
            "it is not in the bounding set: start the container with --cap-add {}",
            name.trim_start_matches("CAP_")
        )
    };
    Finding::warn(AREA, name, format!("missing, needed {why}; without it media goes by io_uring"), remedy)
}
