//! The harness itself: a test bench that leaks or lies proves nothing.

use std::fs;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use sluice_tests::needs_root;
use sluice_tools::demo::media::Comparison;
use sluice_tools::demo::namespace::Namespace;
use sluice_tools::demo::process::Process;
use sluice_tools::demo::wire::{Capture, Wire};
use sluice_tools::demo::world::World;

#[test]
fn a_panic_leaves_neither_namespace_nor_process_behind() -> Result<()> {
    needs_root!();
    let logs = tempfile::tempdir()?;
    let mut left = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let namespace = Namespace::create("panic").unwrap();
        let mut command = namespace.command("sleep");
        command.arg("60");
        let sleeper = Process::spawn("sleep", command, logs.path()).unwrap();
        left = Some((namespace.name().to_owned(), sleeper.id()));
        panic!("on purpose");
    }));
    assert!(outcome.is_err());
    let (name, pid) = left.expect("the closure got that far");
    assert!(!Path::new("/run/netns").join(name).exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    Ok(())
}

#[test]
fn processes_in_a_namespace_die_with_their_owner() -> Result<()> {
    needs_root!();
    let logs = tempfile::tempdir()?;
    let namespace = Namespace::create("orphan")?;
    // The thread that spawns ends without dropping: as if it had been killed.
    let pid = std::thread::scope(|scope| {
        let spawner = scope.spawn(|| -> Result<u32> {
            let mut command = namespace.command("sleep");
            command.arg("60");
            let process = Process::spawn("sleep", command, logs.path())?;
            // Long enough for setpriv to have asked for the signal.
            std::thread::sleep(Duration::from_millis(200));
            let pid = process.id();
            std::mem::forget(process);
            Ok(pid)
        });
        spawner.join().expect("spawner")
    })?;
    std::thread::sleep(Duration::from_millis(200));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    assert!(status.is_empty() || status.contains("Z (zombie)"), "{status}");
    Ok(())
}

#[test]
fn the_wire_sees_what_crosses_it() -> Result<()> {
    needs_root!();
    let logs = tempfile::tempdir()?;
    let world = World::namespaces(1500)?;
    let wire = Wire::default();
    let interface = world.peers_interface.as_deref().expect("a veth end");
    let _capture = Capture::start(&world.peers, interface, &wire, logs.path())?;
    let sender = world.peers.udp(world.peers_at(4000))?;
    let receiver = world.gateway.udp(world.gateway_at(5000))?;
    sender.send_to(b"over the wire", receiver.local_addr()?)?;
    let seen = wire.wait_for(Duration::from_secs(2), |packet| packet.payload == b"over the wire");
    let seen = seen.expect("captured");
    assert_eq!(seen.source, "192.0.2.2:4000".parse::<SocketAddr>()?);
    assert_eq!(seen.destination, "192.0.2.1:5000".parse::<SocketAddr>()?);
    Ok(())
}

#[test]
fn a_comparison_notices_one_wrong_one_missing_and_one_surplus_byte() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = |name: &str, bytes: &[u8]| -> Result<_> {
        let path = directory.path().join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    };
    let reference = file("reference", b"payload")?;
    assert!(Comparison::of(&reference, &file("same", b"payload")?)?.identical());
    assert!(!Comparison::of(&reference, &file("wrong", b"paxload")?)?.identical());
    assert!(!Comparison::of(&reference, &file("missing", b"payloa")?)?.identical());
    assert!(!Comparison::of(&reference, &file("surplus", b"payload!")?)?.identical());
    assert!(!Comparison::of(&reference, &directory.path().join("nothing"))?.identical());
    let empty = file("empty", b"")?;
    assert!(!Comparison::of(&empty, &empty)?.identical(), "nothing sent proves nothing");
    Ok(())
}

#[test]
fn namespaces_of_the_dead_are_swept_and_those_of_the_living_kept() -> Result<()> {
    needs_root!();
    let mut dead = Command::new("true").spawn()?;
    let name = format!("sluice-{}-0-stale", dead.id());
    dead.wait()?;
    assert!(Command::new("ip").args(["netns", "add", &name]).status()?.success());
    let living = Namespace::create("living")?;
    sluice_tools::demo::namespace::sweep();
    assert!(!Path::new("/run/netns").join(&name).exists());
    assert!(Path::new("/run/netns").join(living.name()).exists());
    Ok(())
}
