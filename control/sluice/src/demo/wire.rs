//! Watching the wire at the peers' end: a packet capture where we may, a relay where we may not.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use sluice_classifier::{Endpoint, locate};

use crate::demo::process::Process;
use crate::demo::world::Place;

/// A UDP datagram as seen at the peers' end of the wire.
#[derive(Clone, Debug)]
pub struct Observed {
    /// When, in nanoseconds since the epoch.
    pub at: u64,
    /// Its source.
    pub source: SocketAddr,
    /// Its destination.
    pub destination: SocketAddr,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Everything seen so far; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Wire(Arc<Mutex<Vec<Observed>>>);

impl Wire {
    /// What was seen so far.
    pub fn packets(&self) -> MutexGuard<'_, Vec<Observed>> {
        // A panic while pushing leaves a whole vector behind: nothing to be afraid of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something that satisfies `wanted` is seen, and returns it.
    pub fn wait_for(&self, limit: Duration, wanted: impl Fn(&Observed) -> bool) -> Option<Observed> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(packet) = self.packets().iter().find(|packet| wanted(packet)) {
                return Some(packet.clone());
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn push(&self, packet: Observed) {
        self.packets().push(packet);
    }
}

/// A running tcpdump whose packets go to a [`Wire`].
#[derive(Debug)]
pub struct Capture {
    tcpdump: Process,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    /// Starts capturing on an interface; returns when tcpdump listens.
    pub fn start(place: &Place, interface: &str, wire: &Wire, directory: &Path) -> Result<Self> {
        let mut command = place.command("tcpdump");
        command.args(["-i", interface, "-n", "-U", "--immediate-mode", "-s", "0"]);
        command.args(["--time-stamp-precision=nano", "-w", "-", "udp"]);
        let mut tcpdump = Process::spawn_piped("tcpdump", command, directory)?;
        let output = tcpdump.take_stdout().context("tcpdump has no output")?;
        let wire = wire.clone();
        // The reader ends with tcpdump's output.
        let reader = thread::spawn(move || {
            let _ = read_capture(output, &wire);
        });
        let deadline = Instant::now() + Duration::from_secs(5);
        while !tcpdump.output().contains("listening on") {
            if tcpdump.finished()?.is_some() || Instant::now() > deadline {
                bail!("tcpdump does not capture:\n{}", tcpdump.last_words());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { tcpdump, reader: Some(reader) })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.tcpdump.kill();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Forwards datagrams from one address to another and records them on the way.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    forwarder: Option<JoinHandle<()>>,
}

/// Which leg of a relayed datagram's journey is the wire that is watched.
#[derive(Clone, Copy, Debug)]
pub enum Watch {
    /// From the relay to the destination: the relay stands beside the sender.
    Departure,
    /// From the origin to the relay: the relay stands beside the receiver.
    Arrival,
}

impl Relay {
    /// Takes what arrives at `inlet` and sends it on from `outlet` to `to`.
    pub fn start(
        inlet: UdpSocket,
        outlet: UdpSocket,
        to: SocketAddr,
        watch: Watch,
        wire: &Wire,
    ) -> Result<Self> {
        inlet.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, wire) = (Arc::clone(&stop), wire.clone());
        let (inlet_address, outlet_address) = (inlet.local_addr()?, outlet.local_addr()?);
        let forwarder = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, origin)) = inlet.recv_from(&mut buffer) else { continue };
                let (source, destination) = match watch {
                    Watch::Departure => (outlet_address, to),
                    Watch::Arrival => (origin, inlet_address),
                };
                let payload = buffer[..length].to_vec();
                wire.push(Observed { at: now(), source, destination, payload });
                // A receiver that is gone is the receiver's business.
                let _ = outlet.send_to(&buffer[..length], to);
            }
        });
        Ok(Self { stop, forwarder: Some(forwarder) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(forwarder) = self.forwarder.take() {
            let _ = forwarder.join();
        }
    }
}

/// Reads a capture file of nanosecond precision as it is being written.
fn read_capture(mut input: impl Read, wire: &Wire) -> io::Result<()> {
    const FILE_HEADER: usize = 24;
    const NANOSECOND_MAGIC: u32 = 0xa1b2_3c4d;
    let mut header = [0; FILE_HEADER];
    input.read_exact(&mut header)?;
    if word(&header, 0) != NANOSECOND_MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a nanosecond capture"));
    }
    loop {
        let mut record = [0; 16];
        input.read_exact(&mut record)?;
        let mut frame = vec![0; word(&record, 8) as usize];
        input.read_exact(&mut frame)?;
        let at = u64::from(word(&record, 0)) * 1_000_000_000 + u64::from(word(&record, 4));
        if let Ok(datagram) = locate(frame.as_slice()) {
            let payload = frame[datagram.payload..][..datagram.length].to_vec();
            let (source, destination) = (datagram.source, datagram.destination);
            wire.push(Observed { at, source: socket(source), destination: socket(destination), payload });
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn socket(endpoint: Endpoint) -> SocketAddr {
    let address = Ipv6Addr::from(endpoint.addr);
    let address = address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4);
    SocketAddr::new(address, endpoint.port)
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
