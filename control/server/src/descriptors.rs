//! File descriptors: a leg's sockets take one each, and the rest of the daemon must not go without.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors that legs leave to connections of the API, interfaces and files.
const RESERVE: u64 = 64;

/// Raises the limit as far as the process may. The soft limit is often 1024 only for the sake of
/// programs that use `select`.
pub(crate) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
}

/// Whether a descriptor that was just opened is one of those that legs leave to others. The system gives
/// the lowest number that is free, so that as many are open as it says.
pub(crate) fn is_reserved(descriptor: &impl AsFd) -> bool {
    let number = u64::try_from(descriptor.as_fd().as_raw_fd()).unwrap_or(0);
    getrlimit(Resource::Nofile).current.is_some_and(|limit| number + RESERVE >= limit)
}
