//! Sluice: the whole engine, and its kernels alone.

use std::time::Duration;

use arrayvec::ArrayVec;
use sluice_kernels::{
    CtrJob, CtrKey, GCM_IV_LEN, GCM_TAG_LEN, GcmJob, GcmKey, MacJob, MacKey, SHA1_LEN, ctr, gcm_open,
    gcm_seal, hmac_sha1,
};
use sluice_srtp::{Inbound, Job, Kernel, Kind, Outbound, ReplayWindow, Suite, protect, unprotect};

use crate::engine::{Direction, Engine, Peer, Scope, in_batches};
use crate::packets::{HEADER, Packet, RawKeys, Session, is_gcm};

/// Most jobs in a batch here.
const MOST: usize = 64;

/// Batch sizes that Sluice is measured with.
pub const BATCHES: &[usize] = &[1, 8, 16, 32, 64];

/// Sluice as the data path uses it.
pub fn whole() -> anyhow::Result<Peer> {
    Ok(Peer {
        name: "sluice",
        version: version()?,
        scope: Scope::Whole,
        batches: BATCHES,
        most_sessions: usize::MAX,
        open: |_, sessions| Ok(Some(Box::new(Whole::new(sessions)))),
    })
}

/// Sluice's kernels.
pub fn kernels() -> anyhow::Result<Peer> {
    Ok(Peer {
        name: "sluice-kernels",
        version: version()?,
        scope: Scope::Crypto,
        batches: BATCHES,
        most_sessions: 1000,
        open: |suite, sessions| Ok(Some(Box::new(Crypto::new(suite, sessions)?))),
    })
}

fn version() -> anyhow::Result<String> {
    Ok(format!("{} kernel {}", env!("CARGO_PKG_VERSION"), sluice_srtp::selected_kernel()?))
}

struct Whole {
    outbound: Vec<Outbound>,
    inbound: Vec<Inbound>,
}

impl Whole {
    fn new(sessions: &[Session]) -> Self {
        let receive =
            |session: &Session| Inbound::new(session.ssrc, session.keys(), ReplayWindow::default(), 0);
        Self {
            outbound: sessions.iter().map(|session| Outbound::new(session.ssrc, session.keys(), 0)).collect(),
            inbound: sessions.iter().map(receive).collect(),
        }
    }
}

impl Engine for Whole {
    fn run(&mut self, direction: Direction, packets: &mut [Packet<'_>], batch: usize) -> Duration {
        let mut jobs: Vec<_> =
            packets.iter_mut().map(|p| Job::new(p.session, Kind::Rtp, &mut *p.buffer, p.len)).collect();
        let time = match direction {
            Direction::Protect => in_batches(&mut jobs, batch, |jobs| protect(&mut self.outbound[..], jobs)),
            Direction::Unprotect => {
                in_batches(&mut jobs, batch, |jobs| unprotect(&mut self.inbound[..], jobs))
            }
        };
        let results: Vec<_> = jobs.iter().map(|job| (job.len, job.result.is_ok())).collect();
        for (packet, (len, ok)) in packets.iter_mut().zip(results) {
            (packet.len, packet.ok) = (len, ok);
        }
        time
    }
}

enum Crypto {
    CounterHmac(Kernel, Vec<(CtrKey, MacKey)>),
    Gcm(Kernel, Vec<GcmKey>),
}

/// Octets of the tag of AES_CM_128_HMAC_SHA1_80.
const HMAC_TAG: usize = 10;

impl Crypto {
    fn new(suite: Suite, sessions: &[Session]) -> anyhow::Result<Self> {
        let kernel = sluice_srtp::selected_kernel()?;
        let raw = sessions.iter().map(Session::raw_keys);
        Ok(if is_gcm(suite) {
            Self::Gcm(kernel, raw.map(|raw| gcm_key(kernel, &raw)).collect())
        } else {
            Self::CounterHmac(kernel, raw.map(|raw| counter_keys(kernel, &raw)).collect())
        })
    }
}

fn gcm_key(kernel: Kernel, raw: &RawKeys) -> GcmKey {
    GcmKey::new(kernel, &raw.key).expect("a key of the suite")
}

fn counter_keys(kernel: Kernel, raw: &RawKeys) -> (CtrKey, MacKey) {
    (CtrKey::new(kernel, &raw.key).expect("a key of the suite"), MacKey::new(kernel, &raw.auth))
}

impl Engine for Crypto {
    fn run(&mut self, direction: Direction, packets: &mut [Packet<'_>], batch: usize) -> Duration {
        in_batches(packets, batch, |packets| match (&*self, direction) {
            (Self::CounterHmac(kernel, keys), Direction::Protect) => {
                cipher(*kernel, keys, packets);
                tags(*kernel, keys, packets, |packet, tag| {
                    packet.buffer[packet.len..][..HMAC_TAG].copy_from_slice(tag);
                    packet.len += HMAC_TAG;
                    packet.ok = true;
                });
            }
            (Self::CounterHmac(kernel, keys), Direction::Unprotect) => {
                for packet in &mut *packets {
                    packet.len -= HMAC_TAG;
                }
                tags(*kernel, keys, packets, |packet, tag| {
                    packet.ok = packet.buffer[packet.len..][..HMAC_TAG] == *tag;
                });
                cipher(*kernel, keys, packets);
            }
            (Self::Gcm(kernel, keys), _) => gcm(*kernel, keys, direction, packets),
        })
    }
}

fn cipher(kernel: Kernel, keys: &[(CtrKey, MacKey)], packets: &mut [Packet<'_>]) {
    let job = |packet| {
        let Packet { session, iv, buffer, len, .. }: &mut Packet<'_> = packet;
        CtrJob { key: &keys[*session].0, iv: *iv, data: &mut buffer[HEADER..*len] }
    };
    let mut jobs: ArrayVec<_, MOST> = packets.iter_mut().map(job).collect();
    ctr(kernel, &mut jobs);
}

fn tags(
    kernel: Kernel,
    keys: &[(CtrKey, MacKey)],
    packets: &mut [Packet<'_>],
    mut then: impl FnMut(&mut Packet<'_>, &[u8]),
) {
    let rocs: ArrayVec<_, MOST> = packets.iter().map(Packet::roc).collect();
    let mut jobs: ArrayVec<_, MOST> = packets
        .iter()
        .zip(&rocs)
        .map(|(packet, roc)| MacJob {
            key: &keys[packet.session].1,
            data: [&packet.buffer[..packet.len], roc],
            tag: [0; SHA1_LEN],
        })
        .collect();
    hmac_sha1(kernel, &mut jobs);
    let tags: ArrayVec<_, MOST> = jobs.iter().map(|job| job.tag).collect();
    drop(jobs);
    packets.iter_mut().zip(&tags).for_each(|(packet, tag)| then(packet, &tag[..HMAC_TAG]));
}

fn gcm(kernel: Kernel, keys: &[GcmKey], direction: Direction, packets: &mut [Packet<'_>]) {
    if direction == Direction::Unprotect {
        for packet in &mut *packets {
            packet.len -= GCM_TAG_LEN;
        }
    }
    let mut lens: ArrayVec<(&mut usize, &mut bool), MOST> = ArrayVec::new();
    let mut jobs: ArrayVec<GcmJob<'_>, MOST> = ArrayVec::new();
    for packet in packets {
        let Packet { session, iv, buffer, len, ok, .. } = packet;
        let (aad, rest) = buffer.split_at_mut(HEADER);
        let (data, end) = rest.split_at_mut(*len - HEADER);
        let tag = end.first_chunk_mut().expect("room for a tag");
        let mut job = GcmJob { key: &keys[*session], iv: [0; GCM_IV_LEN], aad, data, tag, ok: false };
        job.iv.copy_from_slice(&iv[..GCM_IV_LEN]);
        jobs.push(job);
        lens.push((len, ok));
    }
    match direction {
        Direction::Protect => gcm_seal(kernel, &mut jobs),
        Direction::Unprotect => gcm_open(kernel, &mut jobs),
    }
    for (job, (len, ok)) in jobs.iter().zip(lens) {
        *ok = job.ok;
        if direction == Direction::Protect {
            *len += GCM_TAG_LEN;
        }
    }
}
