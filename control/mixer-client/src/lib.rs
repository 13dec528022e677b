//! The peer of a leg as a local application: a mixer, a recorder, a recogniser of speech.
//!
//! Sluice decrypts what the legs of a session receive and puts it, as plain RTP and RTCP packets, on the ring of each
//! leg that a route leads to; what the application puts there goes along the routes from its leg and is encrypted for
//! each peer. No packet goes through a socket, and nobody makes a system call while both sides are busy.
//!
//! A ring is asked for with the token that `CreateLeg` (or `sluice ctl legs create SESSION LEG --ring`) answered with,
//! at the socket `rings.socket` of the daemon's configuration.
//!
//! ```no_run
//! use sluice_mixer_client::{Lost, Ring};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let socket = "/run/sluice/sluice.sock.rings".as_ref();
//! let mut ring = Ring::connect(socket, "room", "echo", "the token")?;
//! loop {
//!     let mut packets = Vec::new();
//!     ring.receive(64, |packet| packets.push(packet.to_vec()))?;
//!     for packet in &packets {
//!         // A ring that is full loses the newest, as a network does.
//!         let _ = ring.send(packet);
//!     }
//!     ring.flush();
//!     ring.wait(None)?;
//! }
//! # }
//! ```
//!
//! Beside other descriptors, wait by poll, epoll or tokio's `AsyncFd` like this: [`Ring::arm`]; if it says that the
//! ring is empty, wait until the ring's descriptor ([`AsFd`]) is readable; then [`Ring::disarm`] and
//! [`Ring::receive`]. [`wait_any`] does so for many rings.
//!
//! `examples/mixer` is a conference mixer on this.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sluice_ring::{ApplicationEnd, OpenError, PutError, Refusal, Request};

/// Why a ring could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The gateway did not give it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What it gave cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// The ring is no more; another one may be had by connecting again.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The gateway ended it.
    #[error(
        "the gateway ended the ring: its leg was deleted, the gateway stopped or found the ring broken, or another application showed its token"
    )]
    Ended,
    /// The gateway is out of its mind.
    #[error("the ring is broken: {0}")]
    Broken(#[from] sluice_ring::Broken),
    /// The system.
    #[error("cannot wait for the gateway: {0}")]
    System(io::Error),
}

/// Why a packet was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The gateway does not keep up. Later packets may be sent.
    #[error("the ring is full: the gateway does not keep up")]
    Full,
    /// More than [`Ring::largest`] octets.
    #[error(
        "the packet is larger than a slot of the ring; see rings.slot_bytes of the gateway's configuration"
    )]
    TooLarge,
    /// No packet can be sent any more: connect again.
    #[error("the ring is broken: {0}")]
    Broken(sluice_ring::Broken),
}

/// Both rings of a leg: what it sends and what it gets.
#[derive(Debug)]
pub struct Ring {
    end: ApplicationEnd,
    packet: Vec<u8>,
}

impl Ring {
    /// Asks the gateway that listens at `socket` for the ring of a leg; blocks until it answers.
    pub fn connect(socket: &Path, session: &str, leg: &str, token: &str) -> Result<Self, ConnectError> {
        let [session, leg, token] = [session, leg, token].map(str::to_owned);
        let (offer, connection) = sluice_ring::connect(socket, &Request { session, leg, token })?;
        let end = ApplicationEnd::open(offer, connection)?;
        end.confirmed()?;
        Ok(Self::from(end))
    }

    /// Octets of the largest packet that the ring takes.
    pub fn largest(&self) -> usize {
        self.packet.len()
    }

    /// Packets that may wait in each direction.
    pub fn slots(&self) -> usize {
        self.end.geometry().slots()
    }

    /// Gives up to `most` packets that came to `each`, in order; how many. Never blocks. The packets are RTP and RTCP,
    /// told apart as RFC 5761 §4 says.
    pub fn receive(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> Result<usize, Lost> {
        let incoming = self.end.incoming();
        let mut taken = 0;
        while taken < most
            && let Some(length) = incoming.peek()?
        {
            let packet = &mut self.packet[..length];
            incoming.read(packet);
            incoming.advance();
            each(packet);
            taken += 1;
        }
        incoming.release();
        Ok(taken)
    }

    /// Puts a packet on the ring; [`Self::flush`] makes it and those before it known to the gateway. Never blocks.
    pub fn send(&mut self, packet: &[u8]) -> Result<(), SendError> {
        self.end.put(packet).map_err(|error| match error {
            PutError::Full => SendError::Full,
            PutError::TooLarge => SendError::TooLarge,
            PutError::Broken(why) => SendError::Broken(why),
        })
    }

    /// Has the gateway take what was put on the ring: once for a batch.
    pub fn flush(&mut self) {
        self.end.flush();
    }

    /// Blocks until there is something to receive, or the time is over (`None`: never); whether there may be.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, Lost> {
        wait_any(&mut [self], timeout)
    }

    /// Has the gateway wake this side from now on, by making the descriptor readable. Whether the ring is empty, so
    /// that there is something to wait for.
    pub fn arm(&mut self) -> bool {
        self.end.incoming().arm()
    }

    /// Forgets wake-ups so far, after the descriptor was readable.
    pub fn disarm(&mut self) -> Result<(), Lost> {
        if self.end.hear() { Ok(()) } else { Err(Lost::Ended) }
    }
}

/// The application's end of rings that were had in another way than by asking a gateway for them.
impl From<ApplicationEnd> for Ring {
    fn from(end: ApplicationEnd) -> Self {
        let packet = vec![0; end.geometry().largest()];
        Self { end, packet }
    }
}

/// To be waited for after [`Ring::arm`].
impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.connection()
    }
}

/// Blocks until any of the rings has something to receive or has ended, or the time is over (`None`: never); whether
/// one may have. The first that has ended is an error.
pub fn wait_any(rings: &mut [&mut Ring], timeout: Option<Duration>) -> Result<bool, Lost> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut idle = true;
    for ring in &mut *rings {
        idle &= ring.arm();
    }
    let mut woken = !idle;
    while !woken {
        let mut set: Vec<_> = rings.iter().map(|ring| PollFd::new(&**ring, PollFlags::IN)).collect();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut set, timeout.as_ref()) {
            Ok(0) => break,
            Ok(_) => woken = true,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Lost::System(error.into())),
        }
    }
    // What came before the end may still be received: only who finds nothing is told.
    for ring in rings {
        if ring.disarm().is_err() && ring.end.incoming().peek()?.is_none() {
            return Err(Lost::Ended);
        }
    }
    Ok(woken)
}
