//! Devices that only pass packets on: what the wire and the ways of packets cost without any work.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use crossbeam::channel::bounded;
use sluice_classifier::{LegEntry, Policy};
use sluice_io::live::{LiveIo, Queue};
use sluice_io::xdp::traffic::Reflector;
use sluice_io::xdp::{Attached, AttachedMode, Options};
use sluice_io::{Component, FrameBatch, NextHop, PacketIo, Pool, PoolConfig, SocketToken, TxMeta};

use super::bed::{Bed, DEVICE, Role, peer_address, queues};
use super::case::{Case, Key};
use super::forwarder::{Forwarder, Running};

/// First local port.
const FIRST_PORT: usize = 10_000;

/// A device whose XDP program sends everything back: what is left is the wire.
#[derive(Clone, Copy, Debug)]
pub struct Reflecting;

/// Sluice's packet I/O over AF_XDP, and nothing else: what is added to it is the engine.
#[derive(Clone, Copy, Debug)]
pub struct PassThrough;

/// A thread of a device, which ends when this is dropped.
#[derive(Debug)]
pub struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts it on the device's CPU; `work` runs in the device's namespace, says when it is ready, and then has to look
    /// every now and then whether it is to stop.
    pub fn start(
        bed: &Bed,
        work: impl FnOnce(&dyn Fn(Result<()>), &AtomicBool) + Send + 'static,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (ready, is_ready) = bounded(1);
        let thread = bed.device.run(|| {
            // Nobody waits any more if this fails.
            let work = move || work(&|result| drop(ready.send(result)), &stopped);
            Ok(std::thread::Builder::new().name("device".into()).spawn(work)?)
        })?;
        let worker = Self { stop, thread: Some(thread) };
        is_ready.recv().context("the device's thread ended")??;
        Ok(worker)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was told by the thread.
            let _ = thread.join();
        }
    }
}

/// What runs.
struct Through<T> {
    _device: T,
}

impl<T: Sync> Running for Through<T> {
    fn inlet(&self, call: usize) -> SocketAddr {
        SocketAddr::new(DEVICE.into(), (FIRST_PORT + call) as u16)
    }

    fn listener_key(&self, _listener: usize) -> Option<Key> {
        None
    }

    fn returns_unchanged(&self) -> bool {
        true
    }
}

impl Forwarder for Reflecting {
    fn path(&self) -> &'static str {
        "xdp_tx"
    }

    fn version(&self) -> String {
        "XDP_TX of what comes".into()
    }

    fn can(&self, case: &Case) -> bool {
        case.fanout == 1 && case.calls <= 50_000
    }

    fn start(&self, bed: &Bed, _case: &Case) -> Result<Box<dyn Running + Send>> {
        let reflector = bed.device.run(|| Ok(Reflector::attach(&bed.device.interface)?))?;
        Ok(Box::new(Through { _device: reflector }))
    }
}

impl Forwarder for PassThrough {
    fn path(&self) -> &'static str {
        "pass-through"
    }

    fn version(&self) -> String {
        "AF_XDP in and out".into()
    }

    fn can(&self, case: &Case) -> bool {
        case.fanout == 1 && case.calls <= 50_000
    }

    fn start(&self, bed: &Bed, case: &Case) -> Result<Box<dyn Running + Send>> {
        let (interface, calls) = (bed.device.interface.clone(), case.calls);
        let hop = NextHop {
            ifindex: bed.device.ifindex,
            source: bed.device.mac,
            destination: bed.tester.mac,
            vlan: None,
            mtu: 9000,
        };
        let worker = Worker::start(bed, move |ready, stop| match Passing::open(&interface, calls, hop) {
            Ok(mut passing) => {
                ready(Ok(()));
                while !stop.load(Ordering::Relaxed) {
                    passing.turn();
                }
            }
            Err(error) => ready(Err(error)),
        })?;
        Ok(Box::new(Through { _device: worker }))
    }
}

struct Passing {
    io: LiveIo,
    pool: Pool,
    batch: FrameBatch,
    hop: NextHop,
    _program: Attached,
}

impl Passing {
    fn open(interface: &str, calls: usize, hop: NextHop) -> Result<Self> {
        let options =
            Options { max_legs: calls.next_power_of_two() as u32, pin: false, ..Options::default() };
        let mut program = Attached::attach(interface, &options)?;
        for call in 0..calls {
            let local = SocketAddr::new(DEVICE.into(), (FIRST_PORT + call) as u16);
            program.maps().insert_leg(local, LegEntry::new(call as u32, Policy::new()))?;
        }
        let mut pool = Pool::new(PoolConfig { small: 4096, large: 64 })?;
        let mut io = LiveIo::new(&mut pool)?;
        let generic = program.mode() == AttachedMode::Generic;
        for queue in 0..queues(interface) {
            let socket = io.open_queue(&mut pool, Queue { ifindex: hop.ifindex, queue, generic })?;
            program.maps().set_socket(queue, socket.as_fd())?;
        }
        io.fill(&mut pool);
        Ok(Self { io, pool, batch: FrameBatch::new(), hop, _program: program })
    }

    fn turn(&mut self) {
        self.io.receive(&mut self.pool, &mut self.batch);
        if self.batch.is_empty() {
            return self.io.wait(Duration::from_millis(100));
        }
        for frame in &mut self.batch {
            let Some(local) = frame.ingress().map(|ingress| ingress.local) else { continue };
            let call = usize::from(local.port()).saturating_sub(FIRST_PORT);
            frame.set_egress(TxMeta {
                socket: SocketToken { leg: 0, component: Component::Rtp },
                local,
                remote: peer_address(Role::Listener, call),
                next_hop: Some(self.hop),
                dscp: 0,
            });
        }
        self.io.transmit(&mut self.pool, &mut self.batch);
    }
}
