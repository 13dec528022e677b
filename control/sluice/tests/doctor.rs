//! `sluice doctor` on the host that runs the tests, as whoever runs them and as nobody.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::{expect, sluice, text};

const AREAS: [&str; 6] = ["kernel", "privileges", "cpu", "memory", "network", "interfaces"];

#[test]
fn every_area_is_looked_at_and_every_trouble_has_a_remedy() {
    let run = sluice(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("findings");
    for area in AREAS {
        assert!(findings.iter().any(|finding| finding["area"] == area), "{area}: {report:#}");
    }
    for finding in findings {
        let fine = finding["level"] == "ok";
        assert_eq!(finding["remedy"].is_null(), fine, "{finding:#}");
        assert!(!finding["found"].as_str().unwrap_or_default().is_empty(), "{finding:#}");
    }
    let fails = findings.iter().any(|finding| finding["level"] == "fail");
    assert_eq!(run.status.success(), !fails);
    let words = text(&sluice(&["doctor"]).stdout);
    for word in AREAS.into_iter().chain(["SRTP kernel", "memlock", "io_uring", "workers"]) {
        assert!(words.contains(word), "{word}:\n{words}");
    }
}

#[test]
fn an_interface_that_is_not_there_is_a_failure_with_a_remedy() {
    let (out, _) = expect(1, &sluice(&["doctor", "--interface", "no-such-nic"]));
    assert!(out.contains("there is no such interface") && out.contains("ip link"), "{out}");
}

#[test]
fn without_privileges_it_says_which_are_missing() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP: only root can become nobody");
        return;
    }
    let directory = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in("/tmp")
        .expect("a directory");
    let copy = directory.path().join("sluice");
    fs::copy(env!("CARGO_BIN_EXE_sluice"), &copy).expect("copied");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("executable");
    let run = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
        .arg(&copy)
        .arg("doctor")
        .output()
        .expect("setpriv runs");
    let out = text(&run.stdout);
    for capability in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW"] {
        let mut lines =
            out.lines().filter(|line| line.trim_start().starts_with(&format!("WARN  {capability}")));
        assert!(lines.any(|line| line.contains("missing")), "{capability}:\n{out}");
    }
    assert!(out.contains("Sluice runs here"), "io_uring needs no privilege:\n{out}");
}
