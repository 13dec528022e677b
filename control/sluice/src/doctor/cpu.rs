//! CPUs: what ciphers can use, where workers go, what disturbs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sluice_datapath::placement::{CpuList, Machine, Place, decide};

use super::finding::Finding;
use super::read;

const AREA: &str = "cpu";

pub(super) fn examine() -> Vec<Finding> {
    let mut findings = vec![features(), srtp_kernel()];
    match Machine::detect() {
        Ok((machine, _)) => {
            findings.push(topology(&machine));
            findings.push(placement(&machine));
            findings.push(isolation(&machine));
        }
        Err(error) => {
            findings.push(Finding::warn(
                AREA,
                "topology",
                error.to_string(),
                "check /sys/devices/system/cpu",
            ));
        }
    }
    findings.push(governor());
    findings
}

/// What the SRTP kernels look for, and whether it is there.
#[cfg(target_arch = "x86_64")]
fn detected() -> Vec<(&'static str, bool)> {
    vec![
        ("aes", is_x86_feature_detected!("aes")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("sha", is_x86_feature_detected!("sha")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("vaes", is_x86_feature_detected!("vaes")),
        ("vpclmulqdq", is_x86_feature_detected!("vpclmulqdq")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
    ]
}

/// What the SRTP kernels look for, and whether it is there.
#[cfg(target_arch = "aarch64")]
fn detected() -> Vec<(&'static str, bool)> {
    use std::arch::is_aarch64_feature_detected;
    vec![
        ("aes", is_aarch64_feature_detected!("aes")),
        ("pmull", is_aarch64_feature_detected!("pmull")),
        ("sha2", is_aarch64_feature_detected!("sha2")),
    ]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detected() -> Vec<(&'static str, bool)> {
    Vec::new()
}

fn features() -> Finding {
    let detected = detected();
    let names = |wanted| {
        let names = detected.iter().filter(|(_, has)| *has == wanted).map(|(name, _)| *name);
        names.collect::<Vec<_>>().join(" ")
    };
    let (has, lacks) = (names(true), names(false));
    let found = match (has.as_str(), lacks.as_str()) {
        ("", _) => "no cipher instructions".to_owned(),
        (has, "") => has.to_owned(),
        (has, lacks) => format!("{has}; not {lacks}"),
    };
    if detected.iter().any(|(name, has)| *name == "aes" && *has) {
        return Finding::ok(AREA, "features", found);
    }
    let remedy =
        "choose a CPU with AES instructions, or a virtual CPU model that passes them on (qemu: -cpu host)";
    Finding::warn(AREA, "features", format!("{found}: AES in software is many times slower"), remedy)
}

fn srtp_kernel() -> Finding {
    match sluice_srtp::selected_kernel() {
        Ok(kernel) => Finding::ok(AREA, "SRTP kernel", format!("{kernel}; its self-test passed")),
        Err(error) => {
            let remedy = "unset SLUICE_KERNEL; if that does not help, the CPU or its memory is faulty";
            Finding::fail(AREA, "SRTP kernel", error.to_string(), remedy)
        }
    }
}

fn topology(machine: &Machine) -> Finding {
    let nodes: BTreeSet<_> = machine.places().iter().map(|place| place.node).collect();
    let cores: BTreeSet<_> = machine.places().iter().map(|place| place.core).collect();
    let caches: BTreeSet<_> = machine.places().iter().map(|place| place.cache).collect();
    let (cpus, cores) = (machine.places().len(), cores.len());
    let found = format!(
        "{cpus} CPUs on {cores} cores with {} last-level cache(s) in {} NUMA node(s), as far as this process may \
         use them",
        caches.len(),
        nodes.len()
    );
    if cpus == 0 {
        return Finding::warn(
            AREA,
            "topology",
            found,
            "check the cpuset and the CPU affinity of the process",
        );
    }
    Finding::ok(AREA, "topology", found)
}

fn placement(machine: &Machine) -> Finding {
    let places = decide(machine, &[], machine.workers()).places;
    let mut by_node = BTreeMap::<usize, Vec<String>>::new();
    for Place { cpu, node, .. } in places {
        by_node.entry(node).or_default().push(cpu.to_string());
    }
    let each = by_node.into_iter().map(|(node, cpus)| format!("node {node}: CPU {}", cpus.join(" ")));
    let found = format!("workers = \"auto\" would use {}", each.collect::<Vec<_>>().join(", "));
    Finding::ok(AREA, "workers", found)
}

fn isolation(machine: &Machine) -> Finding {
    let isolated = read("/sys/devices/system/cpu/isolated").unwrap_or_default();
    let usable: BTreeSet<_> = machine.places().iter().map(|place| place.cpu).collect();
    let online = CpuList::online().unwrap_or_default();
    let kept: Vec<_> = online.iter().filter(|cpu| !usable.contains(cpu)).map(|cpu| cpu.to_string()).collect();
    isolation_finding(&isolated, &CpuList::parse(&isolated).unwrap_or_default(), &usable, &kept)
}

fn isolation_finding(text: &str, isolated: &CpuList, usable: &BTreeSet<usize>, kept: &[String]) -> Finding {
    let outside: Vec<_> =
        isolated.iter().filter(|cpu| !usable.contains(cpu)).map(|cpu| cpu.to_string()).collect();
    if !outside.is_empty() {
        let found = format!(
            "CPU {text} isolated from the scheduler, of which this process may not use CPU {}",
            outside.join(" ")
        );
        let remedy = "isolated CPUs are outside the affinity that processes are born with: start Sluice with \
                      CPUAffinity= in systemd, or taskset -c, that names them and some others";
        return Finding::warn(AREA, "isolation", found, remedy);
    }
    let mut found = if isolated.is_empty() {
        "no CPU is isolated from the scheduler (isolcpus=): workers share theirs with other processes"
            .to_owned()
    } else {
        format!("CPU {text} isolated from the scheduler: workers go there first")
    };
    if !kept.is_empty() {
        let _ = write!(found, "; the cpuset keeps CPU {} from this process", kept.join(" "));
    }
    Finding::ok(AREA, "isolation", found)
}

fn governor() -> Finding {
    let governors: BTreeSet<String> = (0..4096)
        .map_while(|cpu| {
            let folder = format!("/sys/devices/system/cpu/cpu{cpu}");
            std::path::Path::new(&folder).exists().then_some(folder)
        })
        .filter_map(|folder| read(format!("{folder}/cpufreq/scaling_governor")))
        .collect();
    let all = governors.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.as_str() {
        "" => Finding::ok(AREA, "governor", "not set from here (virtual machine, or no frequency scaling)"),
        "performance" => Finding::ok(AREA, "governor", "performance"),
        other => Finding::warn(
            AREA,
            "governor",
            format!("{other}: the clock follows load, which adds latency"),
            "cpupower frequency-set -g performance",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn isolated_cpus_that_workers_may_not_use_are_a_warning() {
        let isolated = CpuList::parse("2-3").unwrap();
        let finding = |usable: &[usize]| {
            isolation_finding("2-3", &isolated, &usable.iter().copied().collect(), &[]).level()
        };
        assert_eq!(finding(&[0, 1, 2, 3]), Level::Ok);
        assert_eq!(finding(&[0, 1, 2]), Level::Warn);
    }
}
