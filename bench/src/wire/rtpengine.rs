//! rtpengine in user space, its calls set up as SIP proxies do.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use sluice_tools::bench::bed::{Bed, DEVICE, Role, peer_address};
use sluice_tools::bench::case::{Case, Key};
use sluice_tools::bench::forwarder::{Forwarder, Running};
use sluice_tools::demo::gateway;
use sluice_tools::peers::rtpengine::{Call, Rtpengine, Side};

/// Local ports: four for each call.
const PORTS: std::ops::RangeInclusive<u16> = 20_000..=59_999;

/// Most calls: somewhat beyond that it finds no more ports.
const MOST_CALLS: usize = 4_000;

/// The package's daemon.
#[derive(Clone, Copy, Debug)]
pub struct Packaged;

impl Packaged {
    /// Its version, if it is installed.
    pub fn installed() -> Option<String> {
        let mut command = Command::new("rtpengine");
        let output = command.arg("--version").stdin(Stdio::null()).output().ok()?;
        // The version goes to standard output or error, as the release likes.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        text.lines().find(|line| line.contains("ersion")).map(|line| line.trim().to_owned())
    }
}

impl Forwarder for Packaged {
    fn path(&self) -> &'static str {
        "rtpengine"
    }

    fn version(&self) -> String {
        format!("{}, in user space, one thread", Self::installed().unwrap_or_default())
    }

    fn can(&self, case: &Case) -> bool {
        case.fanout == 1 && !case.shared_port && case.calls <= MOST_CALLS
    }

    fn start(&self, bed: &Bed, case: &Case) -> Result<Box<dyn Running + Send>> {
        let directory = tempfile::tempdir()?;
        let device = &bed.device;
        let command = |program: &str| device.command(program);
        let daemon = Rtpengine::start(&device.namespace, command, DEVICE.into(), PORTS, directory.path())?;
        let side = |role, peer, key: Option<Key>| Side {
            at: peer_address(role, peer),
            key: key.map(|Key { suite, material, .. }| gateway::Key { suite, material }),
        };
        let mut calls = Vec::new();
        for call in 0..case.calls {
            let caller = side(Role::Caller, call, case.caller_key(call));
            // What the listener sends under is nobody's business here: it sends nothing.
            let listener = side(Role::Listener, call, case.listener_key(call));
            let made = daemon.call(&call.to_string(), &caller, &listener);
            calls.push(made.with_context(|| format!("call {call}; it says: {}", daemon.last_words()))?);
        }
        Ok(Box::new(Started { calls, _daemon: daemon, _directory: directory }))
    }
}

struct Started {
    calls: Vec<Call>,
    // Dropped in this order: the process before its directory.
    _daemon: Rtpengine,
    _directory: tempfile::TempDir,
}

impl Running for Started {
    fn inlet(&self, call: usize) -> SocketAddr {
        SocketAddr::new(DEVICE.into(), self.calls[call].to_caller)
    }

    fn listener_key(&self, listener: usize) -> Option<Key> {
        let key = self.calls[listener].listener_key.clone()?;
        Some(Key::foreign(key.suite, key.material, listener as u64))
    }
}
