//! `sluice demo` itself: it passes, it can fail, and it cleans up.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use sluice_tests::needs_root;
use sluice_tests::site::executable;
use sluice_tools::demo::process::Process;

/// A demo of few seconds, and where its output goes.
fn demo(directory: &Path, options: &[&str]) -> Result<Process> {
    let mut command = Command::new(executable()?);
    command.args(["demo", "--seconds", "4"]).args(options);
    Process::spawn("demo", command, directory)
}

#[test]
fn the_demo_passes_every_check_by_xdp() -> Result<()> {
    needs_root!();
    let directory = tempfile::tempdir()?;
    let mut demo = demo(directory.path(), &[])?;
    let status = demo.wait(Duration::from_mins(1))?.context("the demo does not end")?;
    let output = demo.output();
    assert!(status.success() && !output.contains('✗'), "{output}");
    assert!(output.contains("xdp-native"), "{output}");
    assert_nothing_left(demo.id());
    Ok(())
}

#[test]
fn the_demo_passes_every_check_on_loopback() -> Result<()> {
    needs_root!();
    let directory = tempfile::tempdir()?;
    let mut demo = demo(directory.path(), &["--loopback"])?;
    let status = demo.wait(Duration::from_mins(1))?.context("the demo does not end")?;
    let output = demo.output();
    assert!(status.success() && !output.contains('✗'), "{output}");
    assert!(output.contains("io_uring"), "{output}");
    Ok(())
}

#[test]
fn a_demo_whose_daemon_dies_fails_and_cleans_up() -> Result<()> {
    needs_root!();
    let directory = tempfile::tempdir()?;
    let mut demo = demo(directory.path(), &[])?;
    let daemon = wait_for_child(demo.id(), "run")?;
    std::thread::sleep(Duration::from_secs(2));
    kill(daemon, Signal::KILL)?;
    let status = demo.wait(Duration::from_mins(1))?.context("the demo does not end")?;
    assert_eq!(status.code(), Some(1), "{}", demo.output());
    assert_nothing_left(demo.id());
    Ok(())
}

#[test]
fn ctrl_c_ends_the_demo_at_once_and_leaves_nothing() -> Result<()> {
    needs_root!();
    let directory = tempfile::tempdir()?;
    let mut demo = demo(directory.path(), &[])?;
    let daemon = wait_for_child(demo.id(), "run")?;
    std::thread::sleep(Duration::from_secs(2));
    demo.signal(Signal::INT);
    let interrupted = Instant::now();
    let status = demo.wait(Duration::from_secs(20))?.context("the demo does not end")?;
    assert_eq!(status.code(), Some(1), "{}", demo.output());
    assert!(interrupted.elapsed() < Duration::from_secs(8), "{:?}", interrupted.elapsed());
    assert!(!Path::new(&format!("/proc/{daemon}")).exists(), "the daemon is left");
    assert_nothing_left(demo.id());
    Ok(())
}

/// Namespaces carry the process id of their demo.
fn assert_nothing_left(demo: u32) {
    let names = fs::read_dir("/run/netns").into_iter().flatten().filter_map(Result::ok);
    let left: Vec<_> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(&format!("sluice-{demo}-")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The process id of the demo's child whose first argument is `verb`.
fn wait_for_child(parent: u32, verb: &str) -> Result<u32> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let list = Command::new("pgrep")
            .args(["-P", &parent.to_string(), "-f", &format!("sluice {verb} ")])
            .stdin(Stdio::null())
            .output()?;
        if let Some(pid) = String::from_utf8_lossy(&list.stdout).lines().next() {
            return Ok(pid.parse()?);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("the demo started no daemon")
}

fn kill(pid: u32, signal: Signal) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(pid as i32).context("no process id")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}
