//! The two ends of a shared memory: both rings, and how each side wakes the other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::handshake::{GRANTED, MAPPED, MAX_MESSAGE, REFUSED, Refusal};
use crate::layout::{Geometry, TO_APPLICATION, TO_GATEWAY};
use crate::mapping::{Mapping, OpenError, seal};
use crate::queue::{Broken, Consumer, Producer, PutError};

/// What an application gets, to be sent over the connection.
#[derive(Debug)]
pub struct Offer {
    /// The shared memory.
    pub memory: OwnedFd,
    /// An eventfd, by which the gateway is woken.
    pub doorbell: OwnedFd,
}

impl Offer {
    /// To be called once the application has mapped the memory, and before the gateway's end is used: from then on the
    /// application can take no part of the memory away.
    pub fn seal(&self) -> io::Result<()> {
        seal(&self.memory)
    }
}

/// Wakes an application. It never blocks, but runs through all that waits for the application's connection, and how
/// much that is the application decides.
#[derive(Debug)]
pub struct Bell {
    connection: OwnedFd,
    claimed: AtomicBool,
}

impl Bell {
    /// Whether somebody has to call [`Self::ring`] now: nobody is about to.
    #[must_use = "whoever claims a bell has to ring it"]
    pub fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    /// Wakes the application.
    pub fn ring(&self) {
        // Before the wake-up: whoever does not claim it from now on is in time for it.
        self.claimed.swap(false, Ordering::AcqRel);
        // An eventfd would block, once the application took O_NONBLOCK from the file that both have. With no room,
        // enough wake-ups are waiting; without a peer, none is needed.
        let _ = send(&self.connection, &[0], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// The gateway's end. Dropping it ends the connection, which tells the application.
#[derive(Debug)]
pub struct GatewayEnd {
    out: Producer<Arc<Mapping>>,
    into: Consumer<Arc<Mapping>>,
    bell: Arc<Bell>,
    doorbell: OwnedFd,
}

impl GatewayEnd {
    /// Fresh memory for the application at the other end of a connection.
    pub fn create(geometry: Geometry, connection: OwnedFd) -> io::Result<(Self, Offer)> {
        let (mapping, memory) = Mapping::create(geometry)?;
        let doorbell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let offer = Offer { memory, doorbell: doorbell.try_clone()? };
        let (out, into) = (geometry.lane(TO_APPLICATION), geometry.lane(TO_GATEWAY));
        let (out, into) = (Producer::new(Arc::clone(&mapping), out), Consumer::new(mapping, into));
        let bell = Arc::new(Bell { connection, claimed: AtomicBool::new(false) });
        Ok((Self { out, into, bell, doorbell }, offer))
    }

    /// Puts a packet for the application on the ring; [`Self::flush`] makes it known.
    pub fn put(&mut self, packet: &[u8]) -> Result<(), PutError> {
        self.out.put(packet)
    }

    /// Tells the application of what was put, and wakes it if it sleeps.
    pub fn flush(&mut self) {
        if self.publish() {
            self.bell.ring();
        }
    }

    /// Tells the application of what was put. Whether it sleeps, and has to be woken by [`Self::bell`].
    #[must_use = "an application that sleeps has to be woken"]
    pub fn publish(&mut self) -> bool {
        self.out.publish()
    }

    /// What wakes the application, for another thread to do.
    pub const fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// What the application put.
    pub fn incoming(&mut self) -> &mut Consumer<Arc<Mapping>> {
        &mut self.into
    }

    /// Becomes readable, or readable once more, whenever the application wakes the gateway. It is nobody's to
    /// read from: watch it edge-triggered.
    pub fn doorbell(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }
}

impl Drop for GatewayEnd {
    fn drop(&mut self) {
        // Whoever else has the connection notices. It may be gone already.
        let _ = shutdown(&self.bell.connection, Shutdown::Both);
    }
}

/// The application's end.
#[derive(Debug)]
pub struct ApplicationEnd {
    out: Producer<Arc<Mapping>>,
    into: Consumer<Arc<Mapping>>,
    geometry: Geometry,
    connection: OwnedFd,
    doorbell: OwnedFd,
}

impl ApplicationEnd {
    /// Takes what a gateway offers over a connection, and tells it that the memory is mapped. The gateway then seals
    /// it, and uses it: [`Self::confirmed`] waits for that.
    pub fn open(offer: Offer, connection: OwnedFd) -> Result<Self, OpenError> {
        let Offer { memory, doorbell } = offer;
        let (mapping, geometry) = Mapping::open(memory)?;
        // If the gateway is gone, this side will hear.
        let _ = send(&connection, &[MAPPED], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        let (out, into) = (geometry.lane(TO_GATEWAY), geometry.lane(TO_APPLICATION));
        let (out, into) = (Producer::new(Arc::clone(&mapping), out), Consumer::new(mapping, into));
        Ok(Self { out, into, geometry, connection, doorbell })
    }

    /// Blocks until the gateway has its end in use: what is for the application is on the ring from then on.
    pub fn confirmed(&self) -> Result<(), Refusal> {
        let mut message = [0; MAX_MESSAGE];
        let length = loop {
            match recv(&self.connection, &mut message[..], RecvFlags::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.map_err(io::Error::from)?.1,
            }
        };
        match message.get(..length).and_then(<[u8]>::split_first) {
            // A wake-up looks the same, and is one of a ring in use.
            Some((&GRANTED, _)) => Ok(()),
            Some((&REFUSED, reason)) => Err(Refusal::Refused(String::from_utf8_lossy(reason).into_owned())),
            Some(_) => Err(Refusal::Answer("its answer is neither yes nor no")),
            None => Err(Refusal::Answer("it ended the connection")),
        }
    }

    /// The rings' sizes.
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Puts a packet for the gateway on the ring; [`Self::flush`] makes it known.
    pub fn put(&mut self, packet: &[u8]) -> Result<(), PutError> {
        self.out.put(packet)
    }

    /// Tells the gateway of what was put, and wakes it if it sleeps.
    pub fn flush(&mut self) {
        if self.out.publish() {
            // A counter that is full means that a wake-up is pending.
            let _ = rustix::io::write(&self.doorbell, &1_u64.to_ne_bytes());
        }
    }

    /// What the gateway put.
    pub fn incoming(&mut self) -> &mut Consumer<Arc<Mapping>> {
        &mut self.into
    }

    /// The connection: readable when the gateway wakes this side, and when it is over.
    pub fn connection(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Forgets wake-ups so far. Whether the connection still is: the gateway ends it with the leg, and where the
    /// rings are broken.
    pub fn hear(&self) -> bool {
        let mut message = [0];
        loop {
            match recv(&self.connection, &mut message[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return false,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Whether nothing waits, so that this side may sleep until [`Self::connection`] is readable.
    pub fn arm(&mut self) -> Result<bool, Broken> {
        Ok(self.into.arm())
    }
}
