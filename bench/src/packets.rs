//! Packets: their keys, their buffers, and a sender whose every packet is new and valid.

use std::sync::Arc;

use sluice_srtp::kdf::{Label, Prf, SALT_BLOCK};
use sluice_srtp::{
    Job, KeyId, Kind, Lifetime, MAX_BATCH, MasterKey, Mki, Outbound, Position, SessionKeys, Suite, protect,
};

use crate::engine::Direction;

/// Octets of the RTP header; no CSRC, no extension.
pub const HEADER: usize = 12;
/// Octets from one buffer of the ring to the next, as in packet memory shared with a NIC.
pub const STRIDE: usize = 2048;
/// Buffers in the ring, and packets between two readings of the clock.
pub const RING: usize = 64;

/// How long the payloads of a stream of packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// All of so many octets.
    Fixed(usize),
    /// Audio and video of a call: of ten packets seven have 160 octets and three 1200.
    Mix,
}

impl Payload {
    /// Octets of the `n`th packet's payload.
    pub const fn octets(self, n: usize) -> usize {
        match (self, n % 10) {
            (Self::Fixed(octets), _) => octets,
            (Self::Mix, 2 | 5 | 9) => 1200,
            (Self::Mix, _) => 160,
        }
    }
}

/// A session as signalling gives it: suite, SSRC, master key and salt.
pub struct Session {
    /// The suite.
    pub suite: Suite,
    /// The SSRC of its only stream.
    pub ssrc: u32,
    material: [u8; 46],
}

impl Session {
    /// Session number `n` of a suite; its key is its own.
    pub fn new(suite: Suite, n: usize) -> Self {
        let mut state = (n as u64) ^ ((suite.key_len() as u64) << 32);
        let mut material = [0; 46];
        for chunk in material.chunks_mut(8) {
            chunk.copy_from_slice(&split_mix(&mut state).to_le_bytes()[..chunk.len()]);
        }
        Self { suite, ssrc: 0x5e55_0000_u32.wrapping_add(n as u32), material }
    }

    /// The master key.
    pub fn key(&self) -> &[u8] {
        &self.material[..self.suite.key_len()]
    }

    /// The master salt.
    pub fn salt(&self) -> &[u8] {
        &self.material[self.suite.key_len()..][..self.suite.salt_len()]
    }

    /// Key ‖ salt, as SDES carries them and libsrtp takes them.
    pub fn key_and_salt(&self) -> &[u8] {
        &self.material[..self.suite.key_len() + self.suite.salt_len()]
    }

    /// Session keys of Sluice's own, derived anew at each call.
    pub fn keys(&self) -> Arc<SessionKeys> {
        let master = MasterKey::new(self.suite, self.key(), self.salt()).expect("lengths of the suite");
        let id = KeyId(self.ssrc.into());
        Arc::new(SessionKeys::derive(id, &master, Mki::NONE, Lifetime::MAX).expect("a kernel"))
    }

    /// The RTP session keys in the clear, for engines that are crypto alone.
    pub fn raw_keys(&self) -> RawKeys {
        let mut salt = [0; SALT_BLOCK];
        salt[..self.suite.salt_len()].copy_from_slice(self.salt());
        let prf = Prf::new(self.key(), &salt).expect("a kernel");
        let mut raw = RawKeys { key: vec![0; self.suite.key_len()], auth: [0; 20], salt: [0; SALT_BLOCK] };
        prf.derive(Label::RtpEncryption, 0, &mut raw.key);
        prf.derive(Label::RtpAuthentication, 0, &mut raw.auth);
        prf.derive(Label::RtpSalt, 0, &mut raw.salt[..self.suite.salt_len()]);
        raw
    }
}

/// The next number of the generator SplitMix64. Nothing here is secret: numbers must only differ.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The numbers below `count`, the same order each time (Fisher and Yates).
fn shuffled(count: usize) -> Vec<usize> {
    let (mut order, mut state) = ((0..count).collect::<Vec<_>>(), 1);
    for last in (1..count).rev() {
        order.swap(last, (split_mix(&mut state) % (last as u64 + 1)) as usize);
    }
    order
}

/// Session keys of RTP (RFC 3711 §4.3.1).
pub struct RawKeys {
    /// Encryption key of the suite's length.
    pub key: Vec<u8>,
    /// HMAC-SHA1 key; of no account in AEAD suites.
    pub auth: [u8; 20],
    /// Salt: 14 octets, or 12 in AEAD suites.
    pub salt: [u8; SALT_BLOCK],
}

impl RawKeys {
    /// The initial counter block (RFC 3711 §4.1.1), or in AEAD suites the initialization vector in
    /// its first 12 octets (RFC 7714 §8.1).
    pub fn iv(&self, suite: Suite, ssrc: u32, index: u64) -> [u8; 16] {
        let mut iv = [0; 16];
        let at = if is_gcm(suite) { 2 } else { 4 };
        iv[at..at + 4].copy_from_slice(&ssrc.to_be_bytes());
        iv[at + 4..at + 10].copy_from_slice(&index.to_be_bytes()[2..]);
        iv.iter_mut().zip(&self.salt).for_each(|(iv, salt)| *iv ^= salt);
        iv
    }
}

/// Whether the suite is AES-GCM rather than counter mode with HMAC-SHA1.
pub const fn is_gcm(suite: Suite) -> bool {
    matches!(suite, Suite::AeadAes128Gcm | Suite::AeadAes256Gcm)
}

/// One packet on its way through an engine.
pub struct Packet<'a> {
    /// Number of its session.
    pub session: usize,
    /// ROC ‖ sequence number (RFC 3711 §3.3.1).
    pub index: u64,
    /// For engines that are crypto alone: what [`RawKeys::iv`] says.
    pub iv: [u8; 16],
    /// The packet's buffer, with tailroom.
    pub buffer: &'a mut [u8],
    /// In: octets of the packet. Out: octets of the result.
    pub len: usize,
    /// Out: whether the engine reported success.
    pub ok: bool,
}

impl Packet<'_> {
    /// The rollover counter as HMAC takes it.
    pub fn roc(&self) -> [u8; 4] {
        ((self.index >> 16) as u32).to_be_bytes()
    }
}

/// Packets made in advance, each to be used once.
pub struct Supply {
    octets: Vec<u8>,
    plan: Vec<Planned>,
}

struct Planned {
    session: usize,
    index: u64,
    iv: [u8; 16],
    start: usize,
    len: usize,
}

impl Supply {
    /// Fills the ring with the packets of pass number `pass`.
    pub fn load(&self, pass: usize, ring: &mut [Packet<'_>]) {
        for (packet, planned) in ring.iter_mut().zip(&self.plan[pass * RING..][..RING]) {
            let octets = &self.octets[planned.start..][..planned.len];
            packet.buffer[..planned.len].copy_from_slice(octets);
            packet.session = planned.session;
            packet.index = planned.index;
            packet.iv = planned.iv;
            packet.len = planned.len;
            packet.ok = false;
        }
    }

    /// The octets of packet `at` of pass `pass`.
    pub fn octets(&self, pass: usize, at: usize) -> &[u8] {
        let planned = &self.plan[pass * RING + at];
        &self.octets[planned.start..][..planned.len]
    }
}

/// Makes packets of every session, plain or protected. It shares no key in memory with the engines
/// under test, so that it does not warm their caches, and keeps no state but keys: where a stream
/// stands is told to it, so that engines need not all be given the same packets.
///
/// Sessions take turns in a shuffled order: in the order of their making, which is that of their
/// memory, the CPU would foresee the next one's address, as it cannot in a relay.
pub struct Sender {
    sessions: Vec<Session>,
    order: Vec<usize>,
    keys: Vec<Arc<SessionKeys>>,
    raw: Vec<RawKeys>,
}

impl Sender {
    /// A sender for `count` sessions of a suite.
    pub fn new(suite: Suite, count: usize) -> Self {
        let sessions: Vec<_> = (0..count).map(|n| Session::new(suite, n)).collect();
        let keys = sessions.iter().map(Session::keys).collect();
        let raw = sessions.iter().map(Session::raw_keys).collect();
        Self { sessions, order: shuffled(count), keys, raw }
    }

    /// Every session.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// The next `passes` × [`RING`] packets after the `sent` that one engine has seen: what it is to
    /// protect, or what it is to unprotect.
    pub fn supply(&self, direction: Direction, payload: Payload, passes: usize, sent: &mut u64) -> Supply {
        let count = passes * RING;
        let mut supply = Supply { octets: Vec::with_capacity(count * 256), plan: Vec::with_capacity(count) };
        for _ in 0..passes {
            let pass = self.pass(payload, sent);
            match direction {
                Direction::Protect => pass.into_iter().for_each(|(p, packet)| supply.push(&p, &packet)),
                Direction::Unprotect => self.protect(pass, &mut supply),
            }
        }
        supply
    }

    fn pass(&self, payload: Payload, sent: &mut u64) -> Vec<(Planned, Vec<u8>)> {
        (0..RING)
            .map(|at| {
                let session = self.order[(*sent % self.order.len() as u64) as usize];
                // From 1, so that there is always a position before it to resume at.
                let index = 1 + *sent / self.sessions.len() as u64;
                *sent += 1;
                let ssrc = self.sessions[session].ssrc;
                let iv = self.raw[session].iv(self.sessions[session].suite, ssrc, index);
                let packet = plain(ssrc, index, payload.octets(at));
                (Planned { session, index, iv, start: 0, len: packet.len() }, packet)
            })
            .collect()
    }

    fn protect(&self, mut pass: Vec<(Planned, Vec<u8>)>, supply: &mut Supply) {
        // A context of its own for every packet, standing just before it.
        let mut contexts: Vec<_> = pass
            .iter()
            .map(|(planned, _)| {
                let before = Position { rtp: Some(planned.index - 1), rtcp: None };
                let ssrc = self.sessions[planned.session].ssrc;
                Outbound::resume(ssrc, self.keys[planned.session].clone(), before, 0)
            })
            .collect();
        let mut jobs: Vec<_> = pass
            .iter_mut()
            .enumerate()
            .map(|(at, (planned, packet))| {
                packet.resize(planned.len + 16, 0);
                Job::new(at, Kind::Rtp, packet, planned.len)
            })
            .collect();
        for jobs in jobs.chunks_mut(MAX_BATCH) {
            protect(&mut contexts[..], jobs);
        }
        let lengths: Vec<_> = jobs
            .iter()
            .map(|job| {
                job.result.expect("the sender's packets are new");
                job.len
            })
            .collect();
        for ((planned, packet), len) in pass.into_iter().zip(lengths) {
            supply.push(&Planned { len, ..planned }, &packet[..len]);
        }
    }
}

impl Supply {
    fn push(&mut self, planned: &Planned, octets: &[u8]) {
        self.plan.push(Planned { start: self.octets.len(), ..*planned });
        self.octets.extend_from_slice(octets);
    }
}

/// An RTP packet in the clear.
pub fn plain(ssrc: u32, index: u64, payload: usize) -> Vec<u8> {
    let mut packet = vec![0; HEADER + payload];
    packet[..2].copy_from_slice(&[0x80, 96]);
    packet[2..4].copy_from_slice(&(index as u16).to_be_bytes());
    packet[4..8].copy_from_slice(&((index * 160) as u32).to_be_bytes());
    packet[8..HEADER].copy_from_slice(&ssrc.to_be_bytes());
    let seed = (index as u8) ^ (ssrc as u8);
    packet[HEADER..].iter_mut().zip((0_u8..=255).cycle()).for_each(|(octet, n)| *octet = n ^ seed);
    packet
}

/// [`RING`] buffers, [`STRIDE`] apart, the first at the start of a page.
pub struct Ring(Vec<u8>);

const PAGE: usize = 4096;

impl Ring {
    /// A ring of empty buffers.
    pub fn new() -> Self {
        Self(vec![0; PAGE + RING * STRIDE])
    }

    /// A packet for every buffer.
    pub fn packets(&mut self) -> Vec<Packet<'_>> {
        let empty = |buffer| Packet { session: 0, index: 0, iv: [0; 16], buffer, len: 0, ok: false };
        let start = self.0.as_ptr().align_offset(PAGE);
        self.0[start..][..RING * STRIDE].chunks_mut(STRIDE).map(empty).collect()
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}
