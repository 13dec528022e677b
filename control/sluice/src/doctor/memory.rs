//! Memory: what may be locked, and huge pages.

use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use super::read;

const AREA: &str = "memory";
/// Packet memory of a worker with the default configuration: 4096 chunks of 4 KiB, 512 of 16 KiB.
const WORKER: u64 = 4096 * 4096 + 512 * 16_384;

pub(super) fn examine() -> Vec<Finding> {
    vec![memlock(), huge_pages()]
}

fn memlock() -> Finding {
    let limit = getrlimit(Resource::Memlock).current;
    let may_lock = caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_IPC_LOCK);
    memlock_finding(limit, may_lock.unwrap_or(false))
}

fn memlock_finding(limit: Option<u64>, may_lock: bool) -> Finding {
    let text = limit.map_or_else(|| "unlimited".to_owned(), mebibytes);
    if limit.is_none_or(|limit| limit >= WORKER) {
        return Finding::ok(AREA, "memlock", text);
    }
    if may_lock {
        return Finding::ok(AREA, "memlock", format!("{text}, of no account with CAP_IPC_LOCK"));
    }
    Finding::warn(
        AREA,
        "memlock",
        format!("{text}; AF_XDP locks {} for each worker", mebibytes(WORKER)),
        "LimitMEMLOCK=infinity in systemd, `ulimit -l unlimited`, or grant CAP_IPC_LOCK",
    )
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn huge_pages() -> Finding {
    let meminfo = read("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let found = match (field("HugePages_Total:"), field("HugePages_Free:"), field("Hugepagesize:")) {
        (Some(total @ 1..), Some(free), Some(size)) => format!("{total} of {} MiB, {free} free", size >> 10),
        _ => "none set aside: not needed".to_owned(),
    };
    Finding::ok(AREA, "huge pages", found)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_small_memlock_limit_matters_only_without_the_capability() {
        assert_eq!(memlock_finding(Some(8 << 20), false).level(), Level::Warn);
        assert_eq!(memlock_finding(Some(8 << 20), true).level(), Level::Ok);
        assert_eq!(memlock_finding(None, false).level(), Level::Ok);
    }
}
