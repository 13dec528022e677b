//! The bench of handshakes against the daemon of the tests: it measures what it says, and every handshake comes to its end.
//! How fast is no matter here.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use sluice_bench::handshakes::rows::{PEER, Rows};
use sluice_tests::needs;
use sluice_tests::site::executable;

fn bench(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-handshakes"));
    command.arg("--quick").args(arguments).env("SLUICE_BIN", executable()?);
    Ok(command)
}

#[test]
fn every_handshake_is_made_and_the_output_is_whole() -> Result<()> {
    needs!("openssl", "version");
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("rows.json");
    let few = ["--runs", "1", "--handshakes", "40", "--clients", "4", "--seconds", "0.4", "--rate", "100"];
    let output = bench(&few)?.args(["--calls", "4", "--json"]).arg(&file).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}\n{told}", String::from_utf8_lossy(&output.stderr));
    let rows: Rows = serde_json::from_slice(&std::fs::read(&file)?)?;

    for (server, protocol, resumed) in [
        ("sluice", "DTLS 1.2", false),
        ("sluice", "DTLS 1.2", true),
        ("sluice", "DTLS 1.3", false),
        (PEER, "DTLS 1.2", false),
        (PEER, "DTLS 1.2", true),
    ] {
        let is_it = |row: &&_| {
            let row: &sluice_bench::handshakes::rows::HandshakeRow = row;
            row.server == server && row.protocol == protocol && row.resumed == resumed
        };
        let row = rows.handshakes.iter().find(is_it).with_context(|| format!("no {protocol} of {server}"))?;
        ensure!(row.handshakes == 40 && row.per_second > 0.0 && row.median_per_second > 0.0, "{row:?}");
        ensure!(row.cpu_us > 0.0 && row.core_us > 0.0 && row.busy > 0.0 && row.busy <= 1.01, "{row:?}");
        ensure!(row.time.p50_us > 0.0 && row.time.p99_us >= row.time.p50_us, "{row:?}");
    }
    ensure!(rows.handshakes.len() == 5, "{rows:?}");

    let [alone, beside] = &rows.media[..] else { anyhow::bail!("{rows:?}") };
    ensure!(alone.handshakes_per_second == 0.0 && beside.handshakes_per_second > 0.0, "{rows:?}");
    for row in [alone, beside] {
        // 4 calls of 50 packets a second for 0.4 s.
        ensure!(row.packets == 80 && row.lost == 0, "{row:?}");
        ensure!(row.latency.p50_us > 0.0 && row.latency.p99_us >= row.latency.p50_us, "{row:?}");
    }

    let handshakes: Vec<_> = rows.keys.iter().map(|row| row.handshakes).collect();
    ensure!(handshakes == [40, 40], "{rows:?}");
    ensure!(rows.keys.iter().all(|row| row.p50_us <= row.p99_us && row.p99_us <= row.max_us), "{rows:?}");

    for part in
        ["Handshakes on one core", "Media beside handshakes", "its keys in the worker", "target", "resumed"]
    {
        ensure!(told.contains(part), "nothing of {part:?}:\n{told}");
    }
    Ok(())
}

#[test]
fn options_that_cannot_be_are_refused() -> Result<()> {
    needs!("openssl", "version");
    let refused = |arguments: &[&str]| -> Result<String> {
        let output = bench(arguments)?.output()?;
        ensure!(!output.status.success(), "{arguments:?} was taken");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    ensure!(refused(&["--only", "nothing"])?.contains("core, media"));
    ensure!(refused(&["--clients", "0"])?.contains("1 to 100"));
    ensure!(refused(&["--rate", "9000", "--seconds", "9"])?.contains("at most 10,000 a run"));
    ensure!(refused(&["--cpu", "0", "--tester-cpu", "0"])?.contains("different CPUs"));
    Ok(())
}
