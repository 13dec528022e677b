//! The callers' packets, every one new and valid, and the listeners' look at what became of them.

use std::sync::Arc;

use anyhow::Result;
use arrayvec::ArrayVec;
use sluice_io::{BATCH, FrameBatch, Pool};
use sluice_srtp::{
    Inbound, Job, Kind, MAX_OVERHEAD, Outbound, ReplayWindow, SessionKeys, protect, unprotect,
};

use super::bed::{Role, peer_of};
use super::case::{Case, Key, split_mix};

/// Octets of an RTP header without CSRCs and extensions.
const HEADER: usize = 12;
/// Octets of a packet's number at the head of its payload.
const NUMBER: usize = 8;
/// Packets of which is remembered when they were sent and how many of them came.
pub(super) const MEMORY: usize = 1 << 20;

/// Streams of all calls at both ends.
pub struct Media {
    case: Case,
    /// In which order calls take turns: not that of their making, which the CPU would foresee.
    order: Vec<u32>,
    senders: Vec<Outbound>,
    receivers: Vec<Inbound>,
    /// Packets come back as they were sent, from whoever forwards without a look at them.
    unchanged: bool,
    sequence: Vec<u16>,
    sent: u64,
    log: Vec<Sent>,
}

#[derive(Clone, Copy, Default)]
struct Sent {
    number: u64,
    at: u64,
    copies: u32,
}

/// What came, since the last time that somebody asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Packets that are right: from a listener's device, authentic, with the payload that was sent, and not had before.
    pub good: u64,
    /// Packets that are not.
    pub bad: u64,
}

impl Media {
    /// Streams for a case; `listener_key` says under which key the device sends to a listener.
    pub fn new(
        case: Case,
        unchanged: bool,
        mut listener_key: impl FnMut(usize) -> Option<Key>,
    ) -> Result<Self> {
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        let inbound = |ssrc, keys: Arc<SessionKeys>| Inbound::new(ssrc, keys, ReplayWindow::default(), 0);
        for call in 0..case.calls {
            let Some(key) = case.caller_key(call) else { break };
            let keys = key.derive()?;
            if unchanged {
                receivers.push(inbound(Case::ssrc(call), Arc::clone(&keys)));
            }
            senders.push(Outbound::new(Case::ssrc(call), keys, 0));
        }
        for listener in 0..if unchanged { 0 } else { case.listeners() } {
            let Some(key) = listener_key(listener) else { break };
            receivers.push(inbound(Case::ssrc(listener / case.fanout), key.derive()?));
        }
        let (mut order, mut state) = ((0..case.calls as u32).collect::<Vec<_>>(), 1);
        for last in (1..order.len()).rev() {
            order.swap(last, (split_mix(&mut state) % (last as u64 + 1)) as usize);
        }
        let log = vec![Sent::default(); MEMORY];
        Ok(Self { case, order, senders, receivers, unchanged, sequence: vec![0; case.calls], sent: 0, log })
    }

    /// Octets of a caller's packet as it is sent.
    pub fn packet_len(&self) -> Result<usize> {
        let plain = HEADER + self.case.payload;
        let Some(key) = self.case.caller_key(0) else { return Ok(plain) };
        // Under an SSRC that nobody has.
        let mut context = [Outbound::new(0, key.derive()?, 0)];
        let mut packet = vec![0; plain + MAX_OVERHEAD];
        packet[0] = 0x80;
        let mut jobs = [Job::new(0, Kind::Rtp, &mut packet, plain)];
        protect(&mut context[..], &mut jobs);
        jobs[0].result?;
        Ok(jobs[0].len)
    }

    /// How many packets of callers there were.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Makes the next packet of each frame, sent `now`; says of which calls they are, in order.
    pub fn make(&mut self, batch: &mut FrameBatch, now: u64, mut of: impl FnMut(usize)) {
        let first = self.sent;
        for frame in batch.iter_mut() {
            let call = turn(&self.order, self.sent);
            self.sent += 1;
            let sequence = self.sequence[call];
            self.sequence[call] = sequence.wrapping_add(1);
            write_packet(frame.buffer_mut(), call, sequence, self.sent, self.case.payload);
            frame.set_len(HEADER + self.case.payload);
            self.log[self.sent as usize % MEMORY] = Sent { number: self.sent, at: now, copies: 0 };
            of(call);
        }
        self.protect(batch, first);
    }

    fn protect(&mut self, batch: &mut FrameBatch, first: u64) {
        if self.senders.is_empty() {
            return;
        }
        let mut jobs: ArrayVec<Job<'_>, BATCH> = batch
            .iter_mut()
            .zip(first..)
            .map(|(frame, number)| {
                let len = frame.len();
                let room = &mut frame.buffer_mut()[..len + MAX_OVERHEAD];
                Job::new(turn(&self.order, number), Kind::Rtp, room, len)
            })
            .collect();
        protect(&mut self.senders[..], &mut jobs);
        let lengths: ArrayVec<usize, BATCH> = jobs.iter().map(|job| job.len).collect();
        drop(jobs);
        batch.iter_mut().zip(lengths).for_each(|(frame, len)| frame.set_len(len));
    }

    /// Looks at what came, gives its frames back, and tells how long each packet was under way, in nanoseconds.
    pub fn take(&mut self, batch: &mut FrameBatch, pool: &mut Pool, mut latency: impl FnMut(u64)) -> Arrived {
        let mut arrived = Arrived::default();
        let mut of: ArrayVec<Option<usize>, BATCH> =
            batch.iter().map(|frame| self.listener_of(frame.ingress()?.local)).collect();
        self.unprotect(batch, &mut of);
        for (frame, listener) in batch.iter().zip(of) {
            let received_at = frame.ingress().map_or(0, |ingress| ingress.received_at);
            let call =
                listener.map(|listener| if self.unchanged { listener } else { listener / self.case.fanout });
            match call.and_then(|call| self.check(call, frame.payload())) {
                Some(sent_at) => {
                    arrived.good += 1;
                    latency(received_at.saturating_sub(sent_at));
                }
                None => arrived.bad += 1,
            }
        }
        batch.free(pool);
        arrived
    }

    /// The number of a listener's address; of a caller's own, if packets come back to those.
    fn listener_of(&self, address: std::net::SocketAddr) -> Option<usize> {
        let (role, peer) = peer_of(address)?;
        let most = if self.unchanged { self.case.calls } else { self.case.listeners() };
        (peer < most && (self.unchanged || role == Role::Listener)).then_some(peer)
    }

    fn unprotect(&mut self, batch: &mut FrameBatch, of: &mut [Option<usize>]) {
        if self.receivers.is_empty() {
            return;
        }
        let mut jobs: ArrayVec<Job<'_>, BATCH> = ArrayVec::new();
        for (frame, listener) in batch.iter_mut().zip(of.iter()) {
            let Some(listener) = *listener else { continue };
            let packet = frame.payload_mut();
            let len = packet.len();
            jobs.push(Job::new(listener, Kind::Rtp, packet, len));
        }
        unprotect(&mut self.receivers[..], &mut jobs);
        let results: ArrayVec<_, BATCH> =
            jobs.iter().map(|job| job.result.is_ok().then_some(job.len)).collect();
        drop(jobs);
        let known = batch.iter_mut().zip(of).filter(|(_, listener)| listener.is_some());
        for ((frame, listener), len) in known.zip(results) {
            match len {
                Some(len) => frame.set_len(len),
                None => *listener = None,
            }
        }
    }

    /// When a packet was sent, if it is one that was, and has not come as often as it may.
    fn check(&mut self, call: usize, packet: &[u8]) -> Option<u64> {
        let number = u64::from_be_bytes(*packet.get(HEADER..)?.first_chunk::<NUMBER>()?);
        let sent = self.log.get_mut(number as usize % MEMORY).filter(|sent| sent.number == number)?;
        let most = if self.unchanged { 1 } else { self.case.fanout as u32 };
        let whole = packet.len() == HEADER + self.case.payload
            && packet[8..HEADER] == Case::ssrc(call).to_be_bytes()
            && packet[HEADER + NUMBER..].iter().all(|octet| *octet == number as u8);
        if !whole || sent.copies >= most {
            return None;
        }
        sent.copies += 1;
        Some(sent.at)
    }
}

/// Whose turn it is after so many packets.
fn turn(order: &[u32], sent: u64) -> usize {
    order[(sent % order.len() as u64) as usize] as usize
}

/// An RTP packet (G.711 by its payload type) whose payload is its number, and then that number's last octet.
fn write_packet(buffer: &mut [u8], call: usize, sequence: u16, number: u64, payload: usize) {
    buffer[..2].copy_from_slice(&[0x80, 0]);
    buffer[2..4].copy_from_slice(&sequence.to_be_bytes());
    buffer[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    buffer[8..HEADER].copy_from_slice(&Case::ssrc(call).to_be_bytes());
    let (head, rest) = buffer[HEADER..HEADER + payload].split_at_mut(NUMBER);
    head.copy_from_slice(&number.to_be_bytes());
    rest.fill(number as u8);
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use sluice_io::{Ingress, Path, PoolConfig};

    use super::super::bed::peer_address;
    use super::super::case::{CM, Protection};
    use super::*;

    /// Packets of a case whose forwarder is `device`.
    fn through(case: Case, mut device: impl FnMut(&mut FrameBatch, &mut Pool)) -> Arrived {
        let mut pool = Pool::new(PoolConfig { small: 64, large: 0 }).unwrap();
        let mut media = Media::new(case, false, |listener| case.listener_key(listener)).unwrap();
        let mut batch = FrameBatch::new();
        for _ in 0..8 {
            batch.push(pool.alloc_small().unwrap()).unwrap();
        }
        media.make(&mut batch, 1_000, |_| {});
        for frame in &mut batch {
            let remote = SocketAddr::from(([10, 77, 0, 1], 2000));
            let call = u32::from_be_bytes(frame.payload()[8..12].try_into().unwrap()) - Case::ssrc(0);
            let local = peer_address(Role::Listener, call as usize);
            frame.set_ingress(Ingress {
                local,
                remote,
                socket: None,
                path: Path::Memory,
                received_at: 1_500,
            });
        }
        device(&mut batch, &mut pool);
        let mut latencies = Vec::new();
        let arrived = media.take(&mut batch, &mut pool, |nanoseconds| latencies.push(nanoseconds));
        assert_eq!(latencies, vec![500; arrived.good as usize]);
        assert_eq!(pool.outstanding(), 0);
        arrived
    }

    #[test]
    fn what_a_device_forwards_is_good_and_what_it_changes_is_not() {
        let plain = Case::new(Protection::Rtp, Protection::Rtp, 160, 2);
        assert_eq!(through(plain, |_, _| {}), Arrived { good: 8, bad: 0 });
        let spoil = |batch: &mut FrameBatch, _: &mut Pool| {
            batch.iter_mut().take(3).for_each(|frame| frame.payload_mut()[100] ^= 1);
        };
        assert_eq!(through(plain, spoil), Arrived { good: 5, bad: 3 });
    }

    #[test]
    fn a_copy_too_many_is_bad() {
        let plain = Case::new(Protection::Rtp, Protection::Rtp, 160, 2);
        let twice = |batch: &mut FrameBatch, pool: &mut Pool| {
            let mut copy = pool.alloc_small().unwrap();
            let first = batch.iter().next().unwrap();
            assert!(copy.fill(first.payload()));
            copy.set_ingress(*first.ingress().unwrap());
            batch.push(copy).unwrap();
        };
        assert_eq!(through(plain, twice), Arrived { good: 8, bad: 1 });
    }

    #[test]
    fn a_device_that_leaves_media_in_the_clear_or_under_the_callers_key_is_found_out() {
        let keyed = Case::new(Protection::Rtp, CM, 160, 1);
        assert_eq!(through(keyed, |_, _| {}), Arrived { good: 0, bad: 8 });
        assert_eq!(through(Case { from: CM, ..keyed }, |_, _| {}), Arrived { good: 0, bad: 8 });
    }
}
