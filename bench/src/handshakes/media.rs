//! SRTP from callers who are keyed by a handshake to a listener in the clear, and how long each packet takes.
//!
//! Sender and listener run before everything else on their CPU (SCHED_FIFO): neither waits for whoever makes handshakes there.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::slice::from_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::thread::gettid;
use sluice_keying::dtls_srtp::Fingerprint;
use sluice_srtp::{Job, KeyId, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Outbound, SessionKeys, protect};

use super::client::{Client, Protocol, SUITE};
use super::load::Leg;
use crate::signalling::load::histogram;

/// Octets of an RTP header without CSRCs and extensions.
const HEADER: usize = 12;
/// Octets of payload: 20 ms of G.711.
const PAYLOAD: usize = 160;
/// How long a packet may be under way.
const DRAIN: Duration = Duration::from_millis(300);
/// How often a listener that hears nothing looks whether there is more to come.
const LOOK: Duration = Duration::from_millis(50);

/// Calls that go on.
pub struct Media {
    senders: Vec<Sender>,
    listener: UdpSocket,
    /// Packets of all runs so far, by which they are told apart.
    sent: u64,
}

/// What was heard in a run.
pub struct Heard {
    /// Packets that were sent.
    pub sent: usize,
    /// Packets of them that did not come.
    pub lost: usize,
    /// Nanoseconds from sending to receiving.
    pub latency: Histogram<u64>,
}

struct Sender {
    socket: Arc<UdpSocket>,
    context: Outbound,
    ssrc: u32,
    sequence: u16,
}

/// A socket of whoever listens. On a thread of the tester's end.
pub fn listen(at: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(at).with_context(|| format!("no socket at {at}"))?;
    set_socket_recv_buffer_size_force(&socket, 16 << 20)?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

impl Media {
    /// Has each caller make its handshake. On a thread of the tester's end.
    pub fn open(client: &Client, server: &Fingerprint, legs: &[Leg], listener: UdpSocket) -> Result<Self> {
        let mut senders = Vec::with_capacity(legs.len());
        for (leg, ssrc) in legs.iter().zip(0x5100_0000..) {
            let socket = UdpSocket::bind(leg.peer)?;
            socket.connect(leg.gateway)?;
            let shaken = client.shake(Protocol::Dtls12, socket, server, None)?;
            let (key, rest) = shaken.exported.split_at(SUITE.key_len());
            // After the server's key come the salts, the client's first.
            let salt = rest.get(SUITE.key_len()..).and_then(|salts| salts.get(..SUITE.salt_len()));
            let master = MasterKey::new(SUITE, key, salt.context("too little was exported")?)?;
            let keys = SessionKeys::derive(KeyId(1), &master, Mki::NONE, Lifetime::MAX)?;
            let context = Outbound::new(ssrc, Arc::new(keys), 0);
            senders.push(Sender { context, ssrc, sequence: 0, socket: shaken.leave() });
        }
        Ok(Self { senders, listener, sent: 0 })
    }

    /// Sends for a time, so many packets a second, the callers in turn; all of it is heard, but for what is lost.
    pub fn run(&mut self, rate: f64, time: Duration) -> Result<Heard> {
        let (first, count) = (self.sent, (rate * time.as_secs_f64()) as usize);
        self.sent += count as u64;
        let Self { senders, listener, .. } = self;
        let over = AtomicBool::new(false);
        let (sent, came) = thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let sent = before_all_else("2").and_then(|()| send(senders, first, count, rate));
                over.store(true, Ordering::Release);
                sent
            });
            // Before the sender: what is on its way is not to wait for what comes after it.
            let hearing =
                scope.spawn(|| before_all_else("3").and_then(|()| hear(listener, first, count, &over)));
            let (Ok(sent), Ok(came)) = (sending.join(), hearing.join()) else {
                bail!("a thread has panicked")
            };
            anyhow::Ok((sent?, came?))
        })?;
        let mut latency = histogram()?;
        for (sent, came) in sent.iter().zip(&came) {
            if let Some(came) = came {
                latency.saturating_record(came.saturating_duration_since(*sent).as_nanos() as u64);
            }
        }
        let lost = came.iter().filter(|came| came.is_none()).count();
        Ok(Heard { sent: count, lost, latency })
    }
}

/// Puts the calling thread before all that are not of the kernel, and among its like at this place.
fn before_all_else(place: &str) -> Result<()> {
    let thread = gettid().as_raw_nonzero().to_string();
    let output = Command::new("chrt").args(["--fifo", "--pid", place, &thread]).output();
    let output = output.context("cannot run chrt: install util-linux")?;
    ensure!(output.status.success(), "chrt: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Sends packets when they are due; when each was sent.
fn send(senders: &mut [Sender], first: u64, count: usize, rate: f64) -> Result<Vec<Instant>> {
    let (start, mut sent) = (Instant::now(), Vec::with_capacity(count));
    let callers = senders.len();
    for number in 0..count {
        let sender = senders.get_mut(number % callers.max(1)).context("nobody calls")?;
        let packet = sender.next(first + number as u64)?;
        let due = start + Duration::from_secs_f64(number as f64 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        sent.push(Instant::now());
        sender.socket.send(&packet)?;
    }
    Ok(sent)
}

impl Sender {
    /// The next packet, protected; its payload is a number, and then that number's last octet.
    fn next(&mut self, number: u64) -> Result<Vec<u8>> {
        let mut packet = vec![number as u8; HEADER + PAYLOAD + MAX_OVERHEAD];
        packet[..2].copy_from_slice(&[0x80, 0]);
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(self.sequence) * PAYLOAD as u32).to_be_bytes());
        packet[8..HEADER].copy_from_slice(&self.ssrc.to_be_bytes());
        packet[HEADER..HEADER + 8].copy_from_slice(&number.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        let mut jobs = [Job::new(0, Kind::Rtp, &mut packet, HEADER + PAYLOAD)];
        protect(from_mut(&mut self.context), &mut jobs);
        let [Job { result, len, .. }] = jobs;
        result?;
        packet.truncate(len);
        Ok(packet)
    }
}

/// When each packet came.
fn hear(listener: &UdpSocket, first: u64, count: usize, over: &AtomicBool) -> Result<Vec<Option<Instant>>> {
    let (mut came, mut left) = (vec![None; count], count);
    let mut heard_at = Instant::now();
    while left > 0 && !(over.load(Ordering::Acquire) && heard_at.elapsed() > DRAIN) {
        let Some((number, at)) = hear_one(listener)? else { continue };
        heard_at = Instant::now();
        // One of a run before, or one that the gateway made up, is none of these.
        let place = number.checked_sub(first).and_then(|place| came.get_mut(place as usize));
        if let Some(place) = place.filter(|place| place.is_none()) {
            *place = Some(at);
            left -= 1;
        }
    }
    Ok(came)
}

/// The number of the next packet and when it came; none if none came for a while.
fn hear_one(listener: &UdpSocket) -> Result<Option<(u64, Instant)>> {
    let mut packet = [0; 2048];
    let length = match listener.recv(&mut packet) {
        Ok(length) => length,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let at = Instant::now();
    let number = number_of(packet.get(..length).unwrap_or_default());
    Ok(Some((number.with_context(|| format!("a packet of {length} octets that nobody sent"))?, at)))
}

/// The number of a packet that is as it was sent.
fn number_of(packet: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(*packet.get(HEADER..)?.first_chunk()?);
    let rest = packet.get(HEADER + 8..)?;
    (packet.len() == HEADER + PAYLOAD && rest.iter().all(|octet| *octet == number as u8)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_known_by_its_number_in_the_clear_and_not_otherwise() {
        let master = MasterKey::new(SUITE, &[1; 16], &[2; 14]).unwrap();
        let keys = SessionKeys::derive(KeyId(1), &master, Mki::NONE, Lifetime::MAX).unwrap();
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let context = Outbound::new(7, Arc::new(keys), 0);
        let mut sender = Sender { socket, context, ssrc: 7, sequence: 0 };
        assert_eq!(number_of(&sender.next(300).unwrap()), None, "it is protected");
        let mut plain = vec![44; HEADER + PAYLOAD];
        plain[HEADER..HEADER + 8].copy_from_slice(&300_u64.to_be_bytes());
        assert_eq!(number_of(&plain), Some(300));
        plain[100] ^= 1;
        assert_eq!(number_of(&plain), None, "it was changed");
    }
}
