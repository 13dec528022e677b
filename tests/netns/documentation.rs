//! What the documentation tells people to type.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::needs_root;
use sluice_tests::site::{Site, executable};
use sluice_tools::demo::process::Process;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_call_by_hand_of_the_operations_guide_works_as_written() -> Result<()> {
    needs_root!();
    let guide = fs::read_to_string(repository().join("docs/operations.md"))?;
    let marked = guide.split("tests/netns/documentation.rs. -->\n```sh\n").nth(1);
    let script = marked.and_then(|rest| rest.split("```").next()).context("no marked block")?;
    let mut site = Site::new()?;
    let directory = tempfile::tempdir()?;
    let binaries = executable()?.parent().context("sluice has a directory")?;
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH")?);
    let mut command = site.gateway_namespace().command("bash");
    command.args(["-euxo", "pipefail", "-c", script]).current_dir(directory.path());
    command.env("PATH", path).env("SLUICE_SOCKET", site.socket());
    let mut shell = Process::spawn("bash", command, directory.path())?;
    shell.succeed(Duration::from_secs(30))?;
    let said = shell.output();
    for word in ["xdp-native", "alice", "bob", "AES_CM_128_HMAC_SHA1_80", "retiring"] {
        ensure!(said.contains(word), "{word} is missing:\n{said}");
    }
    ensure!(site.gateway.statistics()?.legs.is_empty(), "the session is left");
    Ok(())
}

#[test]
fn the_example_configuration_is_correct() -> Result<()> {
    let example = repository().join("docs/sluice.example.toml");
    let mut command = std::process::Command::new(executable()?);
    command.args(["run", "--check", "--config"]).arg(&example);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
