//! Shared helpers of the integration tests.

pub mod baresip;
pub mod flood;
pub mod peer;
pub mod raw;
pub mod rtp;
pub mod signalling;
pub mod sip;
pub mod site;
pub mod tones;
pub mod venv;

use std::env;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a peer may take to start.
pub const START: Duration = Duration::from_secs(15);

/// Whether this process may make network namespaces; says so on standard error if it may not.
pub fn may_make_namespaces(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIP: {test} makes network namespaces and needs root");
    }
    root
}

/// Ends a test that needs root, loudly, when there is no root.
#[macro_export]
macro_rules! needs_root {
    () => {
        if !$crate::may_make_namespaces(module_path!()) {
            return Ok(());
        }
    };
}

/// Whether a peer is installed, by whether `program` starts; where not, says so on standard error. In continuous
/// integration `./justw` has installed them, and a missing one is a failure.
pub fn installed(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let found = command.status().is_ok();
    if !found {
        assert!(env::var_os("CI").is_none(), "{program} does not work, and this is CI");
        eprintln!("SKIP: {program} is not installed here; `./justw test` installs it");
    }
    found
}

/// Ends a test, loudly, without the rights or the peer that it needs.
#[macro_export]
macro_rules! needs {
    ($program:expr, $argument:expr) => {
        $crate::needs_root!();
        if !$crate::installed($program, $argument) {
            return Ok(());
        }
    };
}
