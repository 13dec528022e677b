//! Proves that `sluice doctor` looks at everything, says what to do where something is wrong, tells
//! programs the same as people, and needs no privileges.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use support::{Run, SLUICE, command, run};

const AREAS: [&str; 6] = ["kernel", "privileges", "cpu", "memory", "network", "interfaces"];
const CAPABILITIES: [&str; 4] = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK"];

fn doctor(arguments: &[&str]) -> Run {
    run(command(["doctor"]).args(arguments))
}

fn findings(report: &Value) -> &[Value] {
    report["findings"].as_array().expect("a list")
}

fn text<'a>(finding: &'a Value, field: &str) -> &'a str {
    finding[field].as_str().unwrap_or_else(|| panic!("no {field} in {finding}"))
}

/// What holds for every report: areas in order, remedies where and only where something is wrong, the
/// worst finding decides the exit status.
#[track_caller]
fn check(run: &Run) -> Value {
    let report = run.json();
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let mut areas: Vec<_> = findings(&report).iter().map(|finding| text(finding, "area")).collect();
    areas.dedup();
    assert_eq!(areas, AREAS);
    let order = ["ok", "warn", "fail"];
    let rank = |level: &Value| order.iter().position(|known| level == known).expect("a level");
    for finding in findings(&report) {
        assert!(!text(finding, "subject").is_empty() && !text(finding, "found").is_empty(), "{finding}");
        let has_remedy = finding["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty());
        assert_eq!(has_remedy, rank(&finding["level"]) > 0, "{finding}");
    }
    let worst = findings(&report).iter().map(|finding| rank(&finding["level"])).max();
    assert_eq!(Some(rank(&report["worst"])), worst);
    assert_eq!(run.status, Some(i32::from(report["worst"] == "fail")), "{report}");
    report
}

#[test]
fn people_and_programs_are_told_the_same() {
    let report = check(&doctor(&["--json"]));
    // A host on which it fails cannot run the other tests either.
    let page = doctor(&[]).succeeded();
    let lines: Vec<&str> = page.stdout.lines().collect();
    let headings: Vec<_> = lines.iter().filter(|line| AREAS.contains(*line)).copied().collect();
    assert_eq!(headings, AREAS);
    for finding in findings(&report) {
        let mark = match text(finding, "level") {
            "ok" => "ok  ",
            "warn" => "WARN",
            _ => "FAIL",
        };
        let start = format!("  {mark}  {} ", text(finding, "subject"));
        assert!(lines.iter().any(|line| line.starts_with(&start)), "no {start:?} in:\n{}", page.stdout);
    }
    let conclusion = match text(&report, "worst") {
        "ok" => "All is well.",
        "warn" => "Sluice runs here; ",
        _ => "Sluice does not run here: ",
    };
    assert!(lines.last().is_some_and(|line| line.starts_with(conclusion)), "{}", page.stdout);
    assert!(page.stderr.is_empty(), "{}", page.stderr);
}

#[test]
fn an_interface_that_is_not_there_fails_with_a_remedy_and_others_are_left_alone() {
    let run = doctor(&["--json", "--interface", "nosuch0", "--interface", "lo"]);
    let report = check(&run);
    assert_eq!(run.status, Some(1));
    let of_interfaces = findings(&report).iter().filter(|finding| finding["area"] == "interfaces");
    let (missing, lo): (Vec<_>, Vec<_>) = of_interfaces.partition(|finding| finding["subject"] == "nosuch0");
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0]["level"], "fail");
    assert!(text(missing[0], "found").contains("no such interface"));
    assert!(text(missing[0], "remedy").contains("ip link"));
    assert!(lo.iter().any(|finding| finding["subject"] == "lo XDP"), "{lo:?}");
    assert!(lo.iter().all(|finding| text(finding, "subject").starts_with("lo")), "{lo:?}");
    let page = doctor(&["--interface", "nosuch0"]).failed(1, &[]);
    assert!(page.stdout.contains("  FAIL  nosuch0 ") && page.stdout.contains("Sluice does not run here"));
}

#[test]
fn names_with_slashes_reach_nothing_else() {
    for name in ["../../kernel", ".", "..", "lo/.", "lo/"] {
        let run = doctor(&["--json", "--interface", name]);
        let report = check(&run);
        let last = findings(&report).last().expect("at least one");
        assert_eq!((text(last, "level"), text(last, "subject")), ("fail", name));
    }
}

/// Without privileges the doctor runs as well, and names what is missing.
#[test]
fn nobody_is_told_which_capabilities_are_missing() {
    // Nobody may not enter the build directory.
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let copy = folder.path().join("sluice");
    fs::copy(SLUICE, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]).arg(&copy);
        command
    } else {
        Command::new(&copy)
    };
    let run = run(command.args(["doctor", "--json"]).current_dir("/"));
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    let report = check(&run);
    for capability in CAPABILITIES {
        let mut findings = findings(&report).iter();
        let finding = findings.find(|finding| finding["subject"] == capability).expect("it is looked at");
        assert_eq!(finding["level"], "warn", "{finding}");
        assert!(text(finding, "found").starts_with("missing"), "{finding}");
        let remedy = text(finding, "remedy");
        assert!(remedy.contains(&capability["CAP_".len()..]) && remedy.len() > 20, "{remedy}");
    }
}
