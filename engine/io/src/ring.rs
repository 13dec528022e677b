//! Rings in memory that local applications share: a way in and out beside sockets.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{Timespec, epoll};
use sluice_ring::{Broken, GatewayEnd, PutError};

use crate::clock::now;
use crate::wakes::Wakes;
use crate::{Frame, FrameBatch, Ingress, IoCounters, Path, Pool, SocketToken};

/// Wake-ups that are forgotten at once.
const EVENTS: usize = 64;
/// Packets that each ring may bring in a round, however many rings there are.
const LEAST_SHARE: usize = 8;
/// Room behind a packet, for what encryption adds: tag, index and MKI.
const TAILROOM: usize = 256;

/// The address of the gateway's end of a leg's ring. Rings have none; this one stands where there has to be one, in the
/// prefix that nothing is ever sent to (RFC 6666).
pub const fn ring_address(leg: u32) -> SocketAddr {
    stand_in(1, leg)
}

/// The address of the application's end.
pub const fn application_address(leg: u32) -> SocketAddr {
    stand_in(2, leg)
}

const fn stand_in(end: u16, leg: u32) -> SocketAddr {
    let address = Ipv6Addr::new(0x100, 0, 0, 0, 0, end, (leg >> 16) as u16, leg as u16);
    SocketAddr::V6(std::net::SocketAddrV6::new(address, 1, 0, 0))
}

fn is_application(address: &SocketAddr) -> bool {
    match address {
        SocketAddr::V6(address) => address.ip().segments()[..6] == [0x100, 0, 0, 0, 0, 2],
        SocketAddr::V4(_) => false,
    }
}

/// The gateway's end of a leg's ring, and where its statistics go.
#[derive(Debug)]
pub struct Ring {
    end: GatewayEnd,
    stats: Arc<RingStats>,
    /// How many packets are still taken from an application that is gone.
    left: Option<usize>,
}

impl Ring {
    /// A ring whose statistics go there.
    pub const fn new(end: GatewayEnd, stats: Arc<RingStats>) -> Self {
        Self { end, stats, left: None }
    }
}

/// A ring that was not taken.
#[derive(Debug)]
pub struct RingRefused {
    /// The ring.
    pub ring: Box<Ring>,
    /// The system's reason.
    pub error: io::Error,
}

/// What was counted on a leg's rings, one after the other. One worker writes it, anybody reads it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct RingStats {
    received: AtomicU64,
    sent: AtomicU64,
    full: AtomicU64,
    too_large: AtomicU64,
    broken: AtomicU64,
}

/// [`RingStats`] as they were at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingSnapshot {
    /// Packets from the application.
    pub received: u64,
    /// Packets put for the application.
    pub sent: u64,
    /// Packets dropped since the application did not keep up.
    pub full: u64,
    /// Packets dropped since no slot is large enough.
    pub too_large: u64,
    /// Rings that were given up since what the application wrote cannot be.
    pub broken: u64,
}

impl RingStats {
    /// What was counted so far.
    pub fn snapshot(&self) -> RingSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RingSnapshot {
            received: read(&self.received),
            sent: read(&self.sent),
            full: read(&self.full),
            too_large: read(&self.too_large),
            broken: read(&self.broken),
        }
    }
}

/// Adds without a locked instruction: there is one writer.
fn count(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// All rings of a worker.
#[derive(Default)]
pub(crate) struct Rings {
    seats: Vec<Seat>,
    places: HashMap<u32, usize, BuildHasherDefault<Spread>>,
    /// Told of every ring's doorbell; made with the first ring.
    doorbells: Option<OwnedFd>,
    /// Who wakes applications and gives rings up; made with the first ring.
    wakes: Option<Wakes>,
    /// Whose turn it is to be received from.
    turn: usize,
    /// Rings with packets that their application was not told of.
    untold: Vec<usize>,
}

struct Seat {
    token: SocketToken,
    ring: Box<Ring>,
    untold: bool,
    /// Whether there was something when it was last looked at.
    busy: bool,
}

impl Rings {
    pub(crate) fn attach(&mut self, token: SocketToken, ring: Box<Ring>) -> Result<(), RingRefused> {
        self.end(token);
        if let Err(error) = self.listen(&ring.end) {
            return Err(RingRefused { ring, error });
        }
        self.places.insert(token.leg, self.seats.len());
        self.seats.push(Seat { token, ring, untold: false, busy: true });
        // As many as can be in there: no packet has to make room.
        self.untold.reserve(self.seats.len());
        Ok(())
    }

    fn listen(&mut self, end: &GatewayEnd) -> io::Result<()> {
        if self.wakes.is_none() {
            self.wakes = Some(Wakes::start()?);
        }
        let doorbells = match &self.doorbells {
            Some(doorbells) => doorbells,
            None => self.doorbells.insert(epoll::create(epoll::CreateFlags::CLOEXEC)?),
        };
        // Edge-triggered: nobody reads a doorbell, since the application could make that block.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        Ok(epoll::add(doorbells, end.doorbell(), epoll::EventData::new_u64(0), flags)?)
    }

    /// Takes a ring away, with what is still in it.
    pub(crate) fn detach(&mut self, token: SocketToken) -> Option<Box<Ring>> {
        let place = *self.places.get(&token.leg)?;
        self.flush();
        self.remove(place)
    }

    /// Gives a ring up whose application is gone, once all that it has put there is received.
    pub(crate) fn leave(&mut self, token: SocketToken) {
        let Some(place) = self.places.get(&token.leg).copied() else { return };
        let Some(Seat { ring, .. }) = self.seats.get_mut(place) else { return };
        if matches!(ring.end.incoming().peek(), Ok(Some(_))) {
            // No more than there is room for, whoever still writes there.
            ring.left = Some(ring.end.incoming().slots());
        } else {
            self.end(token);
        }
    }

    /// Gives a ring up, with what is still in it.
    pub(crate) fn end(&mut self, token: SocketToken) {
        if let Some(ring) = self.detach(token) {
            self.bury(ring);
        }
    }

    fn bury(&mut self, ring: Box<Ring>) {
        match &mut self.wakes {
            Some(wakes) => wakes.bury(ring),
            // Not with a ring that was attached.
            None => drop(ring),
        }
    }

    fn remove(&mut self, place: usize) -> Option<Box<Ring>> {
        let doorbell = self.seats.get(place)?.ring.end.doorbell();
        if let Some(doorbells) = &self.doorbells {
            // It goes with its descriptors in any case.
            let _ = epoll::delete(doorbells, doorbell);
        }
        let seat = self.seats.swap_remove(place);
        self.places.remove(&seat.token.leg);
        if let Some(moved) = self.seats.get(place) {
            self.places.insert(moved.token.leg, place);
        }
        Some(seat.ring)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whether the frame is a local application's.
    pub(crate) fn takes(frame: &Frame) -> bool {
        frame.egress().is_some_and(|meta| is_application(&meta.remote))
    }

    /// Puts a frame on its ring; [`Self::flush`] tells the application.
    pub(crate) fn send(&mut self, pool: &mut Pool, frame: Frame, counters: &mut IoCounters) {
        let place = frame.egress().and_then(|meta| self.places.get(&meta.socket.leg).copied());
        if let Some((place, seat)) = place.and_then(|place| Some((place, self.seats.get_mut(place)?))) {
            let stats = &seat.ring.stats;
            match seat.ring.end.put(frame.payload()) {
                Ok(()) => {
                    counters.sent[Path::Ring as usize] += 1;
                    count(&stats.sent, 1);
                    if !std::mem::replace(&mut seat.untold, true) {
                        self.untold.push(place);
                    }
                }
                Err(PutError::Full) => {
                    counters.ring_full += 1;
                    count(&stats.full, 1);
                }
                Err(PutError::TooLarge) => {
                    counters.ring_too_large += 1;
                    count(&stats.too_large, 1);
                }
                Err(PutError::Broken(why)) => {
                    counters.send_failed += 1;
                    self.flush();
                    self.give_up(place, &why);
                }
            }
        } else {
            // It was given up, and the leg has yet to hear of it.
            counters.send_failed += 1;
        }
        pool.free(frame);
    }

    /// Tells the applications of what was put on their rings.
    pub(crate) fn flush(&mut self) {
        while let Some(place) = self.untold.pop() {
            if let Some(seat) = self.seats.get_mut(place) {
                seat.untold = false;
                if let Some(wakes) = &mut self.wakes
                    && seat.ring.end.publish()
                {
                    wakes.wake(seat.ring.end.bell());
                }
            }
        }
        if let Some(wakes) = &mut self.wakes {
            wakes.flush();
        }
    }

    /// Appends up to `room` packets from applications, from each ring in turn.
    pub(crate) fn receive(
        &mut self,
        pool: &mut Pool,
        rx: &mut FrameBatch,
        room: usize,
        counters: &mut IoCounters,
    ) {
        let mut left = room.min(rx.room());
        // Nobody takes what others have to send as well; who is alone takes all. One that begins to send has to wait for
        // no more than its turn.
        let most = (left / self.seats.iter().filter(|seat| seat.busy).count().max(1)).max(LEAST_SHARE);
        for _ in 0..self.seats.len() {
            if left == 0 {
                break;
            }
            self.turn = (self.turn + 1) % self.seats.len();
            let Some(seat) = self.seats.get_mut(self.turn) else { break };
            let before = rx.len();
            let outcome = seat.receive(pool, rx, left.min(most), counters);
            let (token, is_over) = (seat.token, seat.is_over(rx.len() - before));
            left -= rx.len() - before;
            if let Err(why) = outcome {
                self.flush();
                self.give_up(self.turn, &why);
                break;
            }
            if is_over {
                self.end(token);
                break;
            }
        }
    }

    /// Nothing on the ring can be relied on: dropping it tells the application, and whoever gave it the ring.
    #[cold]
    fn give_up(&mut self, place: usize, _why: &Broken) {
        if let Some(ring) = self.remove(place) {
            count(&ring.stats.broken, 1);
            self.bury(ring);
        }
    }

    /// Has applications wake this worker from now on. Whether all rings are empty, so that it may sleep.
    pub(crate) fn arm(&mut self) -> bool {
        let mut idle = true;
        for seat in &mut self.seats {
            idle &= seat.ring.end.incoming().arm();
        }
        idle
    }

    /// Readable when an application has woken this worker, until [`Self::hear`].
    pub(crate) fn doorbells(&self) -> Option<BorrowedFd<'_>> {
        self.doorbells.as_ref().filter(|_| !self.seats.is_empty()).map(AsFd::as_fd)
    }

    /// Forgets wake-ups; some, if there are many: the others end the next wait.
    pub(crate) fn hear(&self) {
        if let Some(doorbells) = self.doorbells.as_ref().filter(|_| !self.seats.is_empty()) {
            let event =
                epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
            let _ = epoll::wait(doorbells, &mut [event; EVENTS], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        }
    }
}

impl Seat {
    /// Whether its application is gone, and all is received that it had put there.
    fn is_over(&mut self, taken: usize) -> bool {
        let Some(left) = &mut self.ring.left else { return false };
        *left = left.saturating_sub(taken);
        *left == 0 || matches!(self.ring.end.incoming().peek(), Ok(None))
    }

    fn receive(
        &mut self,
        pool: &mut Pool,
        rx: &mut FrameBatch,
        most: usize,
        counters: &mut IoCounters,
    ) -> Result<(), Broken> {
        let incoming = self.ring.end.incoming();
        let (mut taken, mut received_at) = (0, 0);
        let mut outcome = Ok(());
        while taken < most {
            let length = match incoming.peek() {
                Ok(Some(length)) => length,
                Ok(None) => break,
                // What was in front of it is in the batch, and has to be counted.
                Err(broken) => {
                    outcome = Err(broken);
                    break;
                }
            };
            let frame = pool.alloc(length + TAILROOM).or_else(|| pool.alloc(length));
            let Some(mut frame) = frame else {
                counters.pool_empty += 1;
                break;
            };
            frame.set_len(length);
            incoming.read(frame.payload_mut());
            incoming.advance();
            if taken == 0 {
                received_at = now();
            }
            taken += 1;
            frame.set_ingress(Ingress {
                local: ring_address(self.token.leg),
                remote: application_address(self.token.leg),
                socket: Some(self.token),
                path: Path::Ring,
                received_at,
            });
            if let Err(frame) = rx.push(frame) {
                pool.free(frame);
            }
        }
        incoming.release();
        self.busy = taken > 0;
        counters.received[Path::Ring as usize] += taken as u64;
        count(&self.ring.stats.received, taken as u64);
        outcome
    }
}

/// Spreads numbers that count up: nobody but control chooses them.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

#[cfg(test)]
mod tests;
