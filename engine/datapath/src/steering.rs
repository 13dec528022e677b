//! The XDP programs of all interfaces as one: every leg is known to each.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sluice_classifier::{LegEntry, Policy};
use sluice_io::Path;
use sluice_io::xdp::{Attached, AttachedMode, Counters, Relief, XdpError};

use crate::{LegId, Steering};

/// An interface with the program.
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) ifindex: u32,
    pub(crate) path: Path,
    /// Whether its sockets take frames in several chunks.
    gathers: AtomicBool,
    attached: Mutex<Option<Attached>>,
}

impl Interface {
    pub(crate) fn new(attached: Attached) -> Self {
        let path = match attached.mode() {
            AttachedMode::Native => Path::XdpNative,
            AttachedMode::Generic => Path::XdpGeneric,
        };
        Self {
            name: attached.interface().into(),
            ifindex: attached.ifindex(),
            path,
            gathers: AtomicBool::new(false),
            attached: Mutex::new(Some(attached)),
        }
    }

    /// What runs under the lock are single system calls; a poisoned lock holds a whole value.
    fn lock(&self) -> MutexGuard<'_, Option<Attached>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the media of a receive queue to an AF_XDP socket.
    pub(crate) fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        self.lock().as_mut().map_or(Ok(()), |attached| attached.maps().set_socket(queue, socket))
    }

    /// By which the worker of a receive queue has RTCP go past its ring.
    pub(crate) fn relief(&self, queue: u32) -> Option<Relief> {
        self.lock().as_mut()?.maps().relief(queue)
    }

    /// Has frames in several chunks come to the sockets, of legs from now on: all sockets have to take them.
    pub(crate) fn gather(&self) {
        self.gathers.store(true, Ordering::Relaxed);
    }

    fn entry(&self, leg: LegId, policy: Policy) -> LegEntry {
        let entry = LegEntry::new(leg, policy);
        if self.gathers.load(Ordering::Relaxed) { entry.gathered() } else { entry }
    }

    /// Whether the interface (still) has our program.
    pub(crate) fn is_attached(&self) -> bool {
        self.lock().as_ref().is_some_and(Attached::is_attached)
    }

    pub(crate) fn counters(&self) -> Option<Counters> {
        self.lock().as_ref()?.counters().ok()
    }

    /// Detaches the program, if that was not done yet.
    pub(crate) fn detach(&self) -> Result<(), XdpError> {
        let attached = self.lock().take();
        attached.map_or(Ok(()), Attached::detach)
    }
}

/// All interfaces that have the program.
#[derive(Default)]
pub(crate) struct Interfaces(pub(crate) Vec<Interface>);

impl Steering for Interfaces {
    fn insert(&self, leg: LegId, local: SocketAddr, policy: Policy) -> Result<(), String> {
        for interface in &self.0 {
            let mut attached = interface.lock();
            let Some(attached) = attached.as_mut() else { continue };
            let inserted = attached.maps().insert_leg(local, interface.entry(leg, policy));
            inserted.map_err(|error| format!("{}: {error}", interface.name))?;
        }
        Ok(())
    }

    fn remove(&self, local: SocketAddr) {
        for interface in &self.0 {
            if let Some(attached) = interface.lock().as_mut() {
                // An entry that stays does no harm: its media reaches a worker that does not know the leg,
                // and is counted there. The map goes with the program.
                let _ = attached.maps().remove_leg(local);
            }
        }
    }
}
