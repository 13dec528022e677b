//! What can go wrong with the XDP program, and what to do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use rustix::thread::{CapabilitySet, capabilities};
use thiserror::Error;

/// Why the XDP program could not be loaded, attached or changed.
#[derive(Debug, Error)]
pub enum XdpError {
    /// The interface does not exist in this network namespace.
    #[error(
        "there is no network interface {name:?} in this network namespace; `ip link` lists those there are"
    )]
    NoSuchInterface {
        /// As it was asked for.
        name: String,
    },
    /// A capability is missing.
    #[error(
        "no permission to {action}: {missing} missing; run as root, grant CAP_BPF and CAP_NET_ADMIN \
         (AmbientCapabilities= in systemd), or use the io_uring datapath, which needs neither"
    )]
    Permission {
        /// What was being done.
        action: &'static str,
        /// The capabilities that are missing.
        missing: &'static str,
    },
    /// All capabilities are there and the kernel still refuses memory or the call.
    #[error(
        "the kernel refused to {action} although the capabilities are there: before Linux 5.11 maps count \
         against the limit of locked memory, raise it (`ulimit -l unlimited`, LimitMEMLOCK=infinity in \
         systemd); in a container, the seccomp profile must allow bpf(2)"
    )]
    Memlock {
        /// What was being done.
        action: &'static str,
    },
    /// Somebody else's program is attached.
    #[error(
        "interface {interface} already has another XDP program{}; see `bpftool net`, and detach it \
         (`ip link set dev {interface} xdp off` or `bpftool link detach`)",
        .program.map(|id| format!(" (id {id})")).unwrap_or_default()
    )]
    OtherProgram {
        /// The interface.
        interface: String,
        /// The kernel's number of that program, where it tells.
        program: Option<u32>,
    },
    /// Another process that is still alive has attached its program.
    #[error("interface {interface} is served by another running Sluice (it holds {}); stop it first", .path.display())]
    InUse {
        /// The interface.
        interface: String,
        /// The directory whose lock that process holds.
        path: PathBuf,
    },
    /// The interface's driver does not take the program in the mode asked for.
    #[error(
        "interface {interface} does not take the program in {mode} mode ({source}); use `auto` mode, or the \
         io_uring datapath"
    )]
    Unsupported {
        /// The interface.
        interface: String,
        /// The mode.
        mode: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The verifier refuses the program.
    #[error("the kernel's verifier refused the program ({source}); please report this with the log:\n{log}")]
    Rejected {
        /// The kernel's answer.
        source: io::Error,
        /// The verifier's log.
        log: String,
    },
    /// The map of legs is full.
    #[error("the XDP program's table of {max} local ports is full; raise its size, or close sessions")]
    LegsFull {
        /// Its size.
        max: u32,
    },
    /// There is no such receive queue.
    #[error("receive queue {queue} is out of range: the program serves queues 0 to {}", .max - 1)]
    NoSuchQueue {
        /// The queue.
        queue: u32,
        /// One more than the highest.
        max: u32,
    },
    /// The pin could not be removed.
    #[error("cannot remove {} ({source}); the program stays attached but passes everything; remove it by hand", .path.display())]
    Unpin {
        /// The pin.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Anything else that the kernel says.
    #[error("cannot {action}: {source}")]
    Kernel {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl XdpError {
    /// The typed form of whatever aya reports, by the kernel's answer at the bottom of it.
    pub(super) fn from_aya(action: &'static str, error: &(dyn Error + 'static)) -> Self {
        let source = kernel_answer(error);
        if matches!(source.raw_os_error(), Some(libc::EPERM | libc::EACCES)) {
            return Self::not_permitted(action);
        }
        Self::Kernel { action, source }
    }

    fn not_permitted(action: &'static str) -> Self {
        let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let admin = held.contains(CapabilitySet::SYS_ADMIN);
        let bpf = admin || held.contains(CapabilitySet::BPF);
        let net = held.contains(CapabilitySet::NET_ADMIN);
        match (bpf, net) {
            (true, true) => Self::Memlock { action },
            (false, true) => Self::Permission { action, missing: "CAP_BPF is" },
            (true, false) => Self::Permission { action, missing: "CAP_NET_ADMIN is" },
            (false, false) => Self::Permission { action, missing: "CAP_BPF and CAP_NET_ADMIN are" },
        }
    }
}

/// The system call's error somewhere below aya's, or the message of the topmost one.
pub(super) fn kernel_answer(error: &(dyn Error + 'static)) -> io::Error {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(code) = current.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(code);
        }
        next = current.source();
    }
    io::Error::other(error.to_string())
}
