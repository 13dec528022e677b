//! Packet I/O over in-process queues: tests, capture files, benches.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::now;
use crate::ring::{Ring, RingRefused, Rings};
use crate::{
    FrameBatch, HEADROOM, Ingress, IoCounters, LARGE, PacketIo, Path, Pool, SocketToken, Trouble, TxMeta,
    Waker,
};

/// A datagram that the worker sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How it left.
    pub meta: TxMeta,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A datagram that the worker shall receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Source.
    pub remote: SocketAddr,
    /// Destination.
    pub local: SocketAddr,
    /// Payload.
    pub payload: Vec<u8>,
    /// The path that it claims to have come by.
    pub path: Path,
}

#[derive(Default)]
struct Queues {
    arrivals: VecDeque<Arrival>,
    sent: Vec<Sent>,
    troubles: VecDeque<Trouble>,
    refuse_sends: bool,
}

/// The worker's end.
pub struct MemoryIo {
    queues: Arc<Mutex<Queues>>,
    sockets: HashMap<SocketAddr, SocketToken>,
    rings: Rings,
    waker: Waker,
    counters: IoCounters,
}

/// The test's end: what arrives and what was sent.
#[derive(Clone)]
pub struct Wire {
    queues: Arc<Mutex<Queues>>,
    waker: Waker,
}

impl MemoryIo {
    /// Both ends of a new, empty wire.
    pub fn new() -> std::io::Result<(Self, Wire)> {
        let (queues, waker) = (Arc::<Mutex<Queues>>::default(), Waker::new()?);
        let wire = Wire { queues: queues.clone(), waker: waker.clone() };
        let (sockets, rings, counters) = Default::default();
        let io = Self { queues, sockets, rings, waker, counters };
        Ok((io, wire))
    }

    /// Registers a local address without a kernel socket.
    pub fn register_address(&mut self, token: SocketToken, local: SocketAddr) {
        self.sockets.insert(local, token);
    }
}

impl Wire {
    /// Puts a datagram on the wire towards the worker.
    pub fn send(&self, remote: SocketAddr, local: SocketAddr, payload: &[u8]) {
        self.arrive(Arrival { remote, local, payload: payload.to_vec(), path: Path::Memory });
    }

    /// Puts a datagram on the wire that claims any path.
    pub fn arrive(&self, arrival: Arrival) {
        lock(&self.queues).arrivals.push_back(arrival);
        self.waker.wake();
    }

    /// Takes everything that the worker sent so far.
    pub fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut lock(&self.queues).sent)
    }

    /// Has the worker hear of a datagram that it sent.
    pub fn tell(&self, trouble: Trouble) {
        lock(&self.queues).troubles.push_back(trouble);
        self.waker.wake();
    }

    /// Makes every further send fail, or succeed again.
    pub fn refuse_sends(&self, refuse: bool) {
        lock(&self.queues).refuse_sends = refuse;
    }
}

impl PacketIo for MemoryIo {
    fn register(&mut self, token: SocketToken, socket: Arc<UdpSocket>) -> std::io::Result<()> {
        self.sockets.insert(socket.local_addr()?, token);
        Ok(())
    }

    fn unregister(&mut self, token: SocketToken) {
        self.sockets.retain(|_, known| *known != token);
        self.rings.end(token);
    }

    fn attach_ring(&mut self, token: SocketToken, ring: Box<Ring>) -> Result<(), RingRefused> {
        self.rings.attach(token, ring)
    }

    fn end_ring(&mut self, token: SocketToken) {
        self.rings.leave(token);
    }

    fn detach_ring(&mut self, token: SocketToken) -> Option<Box<Ring>> {
        self.rings.detach(token)
    }

    fn receive(&mut self, pool: &mut Pool, rx: &mut FrameBatch) {
        self.rings.receive(pool, rx, rx.room() / 2, &mut self.counters);
        let mut queues = lock(&self.queues);
        while !rx.is_full() {
            let Some(arrival) = queues.arrivals.front() else { return };
            if arrival.payload.len() > LARGE - HEADROOM {
                self.counters.receive_truncated += 1;
                queues.arrivals.pop_front();
                continue;
            }
            let Some(mut frame) = pool.alloc(arrival.payload.len()) else {
                self.counters.pool_empty += 1;
                return;
            };
            // It fits: the pool was asked for this much.
            frame.fill(&arrival.payload);
            frame.set_ingress(Ingress {
                local: arrival.local,
                remote: arrival.remote,
                socket: self.sockets.get(&arrival.local).copied(),
                path: arrival.path,
                received_at: now(),
            });
            self.counters.received[arrival.path as usize] += 1;
            queues.arrivals.pop_front();
            if let Err(frame) = rx.push(frame) {
                pool.free(frame);
            }
        }
    }

    fn transmit(&mut self, pool: &mut Pool, tx: &mut FrameBatch) {
        let mut queues = lock(&self.queues);
        for frame in tx.drain() {
            if Rings::takes(&frame) {
                self.rings.send(pool, frame, &mut self.counters);
                continue;
            }
            match frame.egress() {
                Some(meta) if !queues.refuse_sends => {
                    self.counters.sent[Path::Memory as usize] += 1;
                    queues.sent.push(Sent { meta: *meta, payload: frame.payload().to_vec() });
                }
                _ => self.counters.send_failed += 1,
            }
            pool.free(frame);
        }
        self.rings.flush();
    }

    fn wait(&mut self, timeout: Duration) {
        if lock(&self.queues).arrivals.is_empty() && self.rings.arm() {
            let fds = [Some(std::os::fd::AsFd::as_fd(&self.waker)), self.rings.doorbells()];
            crate::poll::wait(&fds.into_iter().flatten().collect::<Vec<_>>(), timeout);
        }
        self.waker.clear();
        self.rings.hear();
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn survey(&mut self) {
        // Nothing is dropped here.
    }

    fn counters(&self) -> IoCounters {
        self.counters
    }

    fn take_trouble(&mut self) -> Option<Trouble> {
        lock(&self.queues).troubles.pop_front()
    }
}

fn lock(queues: &Mutex<Queues>) -> std::sync::MutexGuard<'_, Queues> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Component, PoolConfig};

    const TOKEN: SocketToken = SocketToken { leg: 3, component: Component::Rtcp };

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ends() -> (MemoryIo, Wire, Pool, SocketAddr, SocketAddr) {
        let (io, wire) = MemoryIo::new().unwrap();
        let pool = Pool::new(PoolConfig { small: 4, large: 2 }).unwrap();
        (io, wire, pool, address("192.0.2.1:5004"), address("198.51.100.1:6000"))
    }

    fn receive(io: &mut MemoryIo, pool: &mut Pool) -> FrameBatch {
        let mut batch = FrameBatch::new();
        io.receive(pool, &mut batch);
        batch
    }

    #[test]
    fn what_is_put_on_the_wire_arrives_with_its_ends_and_its_socket() {
        let (mut io, wire, mut pool, local, remote) = ends();
        io.register_address(TOKEN, local);
        for socket in [Some(TOKEN), None] {
            wire.send(remote, local, b"hello");
            let mut batch = receive(&mut io, &mut pool);
            let frame = batch.pop().unwrap();
            let ingress = *frame.ingress().unwrap();
            assert_eq!((ingress.local, ingress.remote, ingress.socket), (local, remote, socket));
            assert_eq!((frame.payload(), ingress.path), (&b"hello"[..], Path::Memory));
            pool.free(frame);
            io.unregister(TOKEN);
        }
    }

    #[test]
    fn an_empty_pool_leaves_datagrams_on_the_wire_and_counts_the_pause() {
        let (mut io, wire, mut pool, local, remote) = ends();
        for number in 0..8 {
            wire.send(remote, local, &[number]);
        }
        let mut first = receive(&mut io, &mut pool);
        assert_eq!((first.len(), io.counters().pool_empty), (6, 1));
        first.free(&mut pool);
        let mut rest = receive(&mut io, &mut pool);
        assert_eq!(rest.iter().map(|frame| frame.payload()[0]).collect::<Vec<_>>(), [6, 7]);
        rest.free(&mut pool);
        assert_eq!((io.counters().received[3], pool.outstanding()), (8, 0));
    }

    #[test]
    fn a_datagram_that_no_chunk_holds_is_counted_and_does_not_stand_in_the_way() {
        let (mut io, wire, mut pool, local, remote) = ends();
        wire.send(remote, local, &vec![0; LARGE]);
        wire.send(remote, local, b"next");
        let mut batch = receive(&mut io, &mut pool);
        assert_eq!((batch.len(), io.counters().receive_truncated), (1, 1));
        batch.free(&mut pool);
    }

    #[test]
    fn sends_are_collected_or_refused_and_the_chunks_come_back() {
        let (mut io, wire, mut pool, local, remote) = ends();
        let meta = TxMeta { socket: TOKEN, local, remote, next_hop: None, dscp: 0 };
        for refuse in [false, true] {
            wire.refuse_sends(refuse);
            let mut frame = pool.alloc(5).unwrap();
            assert!(frame.fill(b"media"));
            frame.set_egress(meta);
            let mut batch = FrameBatch::new();
            assert!(batch.push(frame).is_ok());
            io.transmit(&mut pool, &mut batch);
            assert_eq!((batch.len(), pool.outstanding()), (0, 0));
        }
        assert_eq!(wire.sent(), [Sent { meta, payload: b"media".to_vec() }]);
        assert_eq!((io.counters().sent[3], io.counters().send_failed), (1, 1));
        assert!(wire.sent().is_empty(), "taken once");
    }

    #[test]
    fn a_datagram_on_the_wire_ends_the_wait() {
        let (mut io, wire, mut pool, local, remote) = ends();
        let since = std::time::Instant::now();
        let sender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            wire.send(remote, local, b"x");
        });
        io.wait(Duration::from_secs(10));
        assert!(since.elapsed() < Duration::from_secs(5));
        sender.join().unwrap();
        receive(&mut io, &mut pool).free(&mut pool);
    }
}
