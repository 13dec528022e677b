//! The bench on the wire: it measures what it says, of packets that it has checked.

use std::process::Command;

use anyhow::{Result, ensure};
use sluice_tests::needs_root;
use sluice_tests::site::executable;
use sluice_tools::bench::rows::{Row, Section};

/// What a short run of the bench finds.
fn bench(only: &str, more: &[&str]) -> Result<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("rows.json");
    let mut command = Command::new(executable()?);
    command.args(["bench", "wire", "--quick", "--runs", "1", "--seconds", "0.05"]);
    command.args(["--only", only, "--json"]).arg(&file).args(more);
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stdout));
    Ok(serde_json::from_slice(&std::fs::read(&file)?)?)
}

#[test]
fn every_way_through_sluice_forwards_what_the_sink_finds_right() -> Result<()> {
    needs_root!();
    let rows = bench("relay", &["--calls", "4"])?;
    for path in ["af_xdp", "io_uring", "pass-through", "xdp_tx"] {
        let of_path: Vec<_> = rows.iter().filter(|row| row.path == path).collect();
        ensure!(of_path.len() == 4, "{path}: {} rows", of_path.len());
        for row in of_path {
            ensure!(row.section == Section::Relay && row.pps > 0.0 && row.cpu_ns_per_packet > 0.0, "{row:?}");
        }
    }
    Ok(())
}

#[test]
fn each_listener_gets_its_copy_under_its_own_key_or_a_shared_one() -> Result<()> {
    needs_root!();
    let rows = bench("fanout", &[])?;
    for shared_key in [false, true] {
        let row =
            rows.iter().find(|row| row.path == "af_xdp" && row.fanout == 10 && row.shared_key == shared_key);
        ensure!(row.is_some_and(|row| row.pps > 0.0), "{rows:?}");
    }
    Ok(())
}

#[test]
fn options_that_cannot_be_are_refused() -> Result<()> {
    let refused = |arguments: &[&str]| -> Result<String> {
        let output = Command::new(executable()?).args(["bench", "wire"]).args(arguments).output()?;
        ensure!(!output.status.success(), "{arguments:?} was taken");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    needs_root!();
    ensure!(refused(&["--only", "nothing"])?.contains("relay, loss-free"));
    ensure!(refused(&["--calls", "0"])?.contains("1 to 9000"));
    ensure!(refused(&["--cpu", "0", "--tester-cpu", "0"])?.contains("different CPUs"));
    Ok(())
}
