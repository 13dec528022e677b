//! Which CPUs the threads have that are no workers: media is not to wait for what they do.

use std::fs;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs that this thread may use and no worker is bound to; none: there are no others.
pub(crate) fn free_cpus(workers: &[usize]) -> Option<CpuSet> {
    let mut cpus = sched_getaffinity(None).ok()?;
    workers.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU).for_each(|cpu| cpus.unset(*cpu));
    (cpus.count() > 0).then_some(cpus)
}

/// Binds all threads of this process but the workers' to some CPUs, and so those that they will start. What cannot be bound
/// runs where the scheduler has it.
pub(crate) fn bind_all_but_workers(cpus: &CpuSet) {
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let number = task.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
        if let Some(number) = number.filter(|_| !is_workers(name.trim_end())) {
            let _ = sched_setaffinity(Some(number), cpus);
        }
    }
}

/// Whether a thread goes by the name that the engine gives a worker's, `sluice-` and its number, or is one by which the kernel
/// does what a worker's io_uring would wait for.
fn is_workers(name: &str) -> bool {
    let number = name.strip_prefix("sluice-").map(str::parse::<u16>);
    matches!(number, Some(Ok(_))) || name.starts_with("iou-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_leave_workers_their_cpus_where_there_are_others() {
        let all = sched_getaffinity(None).unwrap();
        let there: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect();
        assert_eq!(free_cpus(&there), None);
        assert_eq!(free_cpus(&[]), Some(all));
        if let [first, .., _] = there.as_slice() {
            assert!(!free_cpus(&[*first]).unwrap().is_set(*first));
        }
    }

    #[test]
    fn workers_are_known_by_their_names() {
        assert!(is_workers("sluice-0") && is_workers("sluice-12") && is_workers("iou-wrk-4711"));
        for other in ["sluice", "sluice-dtls-0", "sluice-api", "sluice-events", "sluice-watch", "sluice-"] {
            assert!(!is_workers(other), "{other}");
        }
    }
}
