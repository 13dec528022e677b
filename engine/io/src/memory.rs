//! Packet I/O over in-process queues: tests, capture files, benches.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::{FrameBatch, Ingress, IoCounters, PacketIo, Path, Pool, SocketToken, TxMeta, Waker, clock::now};

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
    refuse_sends: bool,
}

/// The worker's end.
pub struct MemoryIo {
    queues: Arc<Mutex<Queues>>,
    sockets: HashMap<SocketAddr, SocketToken>,
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
        let io = Self { queues, sockets: HashMap::new(), waker, counters: IoCounters::default() };
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
    }

    fn receive(&mut self, pool: &mut Pool, rx: &mut FrameBatch) {
        let mut queues = lock(&self.queues);
        while !rx.is_full() {
            let Some(arrival) = queues.arrivals.front() else { return };
            let Some(mut frame) = pool.alloc(arrival.payload.len()) else {
                self.counters.pool_empty += 1;
                return;
            };
            let fits = frame.fill(&arrival.payload);
            frame.set_ingress(Ingress {
                local: arrival.local,
                remote: arrival.remote,
                socket: self.sockets.get(&arrival.local).copied(),
                path: arrival.path,
                received_at: now(),
            });
            self.counters.received[arrival.path as usize] += 1;
            queues.arrivals.pop_front();
            if fits {
                if let Err(frame) = rx.push(frame) {
                    pool.free(frame);
                }
            } else {
                self.counters.receive_truncated += 1;
                pool.free(frame);
            }
        }
    }

    fn transmit(&mut self, pool: &mut Pool, tx: &mut FrameBatch) {
        let mut queues = lock(&self.queues);
        for frame in tx.drain() {
            match frame.egress() {
                Some(meta) if !queues.refuse_sends => {
                    self.counters.sent[Path::Memory as usize] += 1;
                    queues.sent.push(Sent { meta: *meta, payload: frame.payload().to_vec() });
                }
                _ => self.counters.send_failed += 1,
            }
            pool.free(frame);
        }
    }

    fn wait(&mut self, timeout: Duration) {
        if lock(&self.queues).arrivals.is_empty() {
            crate::poll::wait(&[std::os::fd::AsFd::as_fd(&self.waker)], timeout);
        }
        self.waker.clear();
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn counters(&self) -> IoCounters {
        self.counters
    }
}

fn lock(queues: &Mutex<Queues>) -> std::sync::MutexGuard<'_, Queues> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}
