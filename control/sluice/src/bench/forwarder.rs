//! What can be put between tester's peers.

use std::net::SocketAddr;

use anyhow::Result;

use super::bed::Bed;
use super::case::{Case, Key};

/// A device to be.
pub trait Forwarder {
    /// Its name in tables: the way that packets take.
    fn path(&self) -> &'static str;

    /// What exactly it is, for the record.
    fn version(&self) -> String;

    /// Whether it can do this case.
    fn can(&self, case: &Case) -> bool;

    /// Starts it at the device's end, with all calls of the case set up. `self` is told to `pin` by the caller.
    fn start(&self, bed: &Bed, case: &Case) -> Result<Box<dyn Running + Send>>;
}

/// A device that forwards, until it is dropped.
pub trait Running: Sync {
    /// Where a caller sends to.
    fn inlet(&self, call: usize) -> SocketAddr;

    /// Under which key a listener's packets come.
    fn listener_key(&self, listener: usize) -> Option<Key>;

    /// Whether packets come as they were sent, because the device only passes them on.
    fn returns_unchanged(&self) -> bool {
        false
    }

    /// Why the device has dropped packets, as far as it tells.
    fn drops(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
