//! What the XDP tests need of the host: permission, namespaces, interfaces.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{AddressFamily, SocketType, socket, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sluice_io::xdp::{Xdp, XdpError};

/// Loads the program, or says loudly why this host cannot: without permission a test passes unseen.
pub fn load(test: &str) -> Option<Xdp> {
    match Xdp::load(1024) {
        Ok(xdp) => Some(xdp),
        Err(error @ (XdpError::Permission { .. } | XdpError::Memlock { .. })) => {
            skip(test, &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Says so on the terminal, past the test harness, which hides what a passing test prints.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIP: {test}: {reason}\n");
    let mut shown = std::io::stderr();
    shown.write_all(line.as_bytes()).expect("standard error");
}

/// An AF_XDP socket with a receive ring, which is what the map of sockets asks for.
pub fn af_xdp_socket() -> OwnedFd {
    let made = socket(AddressFamily::XDP, SocketType::RAW, None).expect("an AF_XDP socket");
    sockopt::set_xdp_rx_ring_size(&made, 64).expect("its receive ring");
    made
}

/// Two network namespaces joined by a veth pair: `near` is ours, `far` the peer's. Gone when dropped.
pub struct Pair {
    pub near: String,
    pub far: String,
}

pub const INTERFACE: &str = "sl.near";

impl Pair {
    /// `None`, with a loud reason, where this process may not make namespaces.
    pub fn new(test: &str, mtu: u32) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        load(test)?;
        let id = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let pair = Self { near: format!("slx-near-{id}"), far: format!("slx-far-{id}") };
        if !succeeds(&format!("ip netns add {}", pair.near)) {
            skip(test, "this process may not make network namespaces; run as root");
            return None;
        }
        ip(&format!("netns add {}", pair.far));
        pair.make_link(mtu);
        Some(pair)
    }

    /// The veth pair with addresses .1 (near) and .2 (far), with fixed neighbours.
    pub fn make_link(&self, mtu: u32) {
        let Self { near, far } = self;
        ip(&format!(
            "-n {near} link add {INTERFACE} mtu {mtu} type veth peer name sl.far mtu {mtu} netns {far}"
        ));
        for (name, interface, host) in [(near, INTERFACE, 1), (far, "sl.far", 2)] {
            ip(&format!("-n {name} addr add 10.77.0.{host}/24 dev {interface}"));
            ip(&format!("-n {name} addr add fd77::{host}/64 dev {interface} nodad"));
            ip(&format!("-n {name} link set {interface} up"));
            ip(&format!("-n {name} link set lo up"));
        }
    }

    pub fn remove_link(&self) {
        ip(&format!("-n {} link del {INTERFACE}", self.near));
    }

    /// Runs something in a thread of its own inside a namespace.
    pub fn inside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = File::open(format!("/run/netns/{name}")).expect("the namespace");
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("permission to enter it");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            succeeds(&format!("ip netns del {name}"));
        }
    }
}

/// `ip` with these arguments, which must work.
pub fn ip(arguments: &str) {
    assert!(succeeds(&format!("ip {arguments}")), "ip {arguments}");
}

/// Whether the command could be run and said 0.
pub fn succeeds(command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().collect();
    Command::new(words[0]).args(&words[1..]).status().is_ok_and(|status| status.success())
}
