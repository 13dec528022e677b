//! Sending: RTP to SRTP, RTCP to SRTCP.

use arrayvec::ArrayVec;
use sluice_kernels::{CtrJob, GcmJob, Kernel, MacJob, ctr, gcm_seal, hmac_sha1};

use crate::keys::{Cipher, Direction};
use crate::rtcp::CLEAR_LEN;
use crate::rtp::Header;
use crate::transform::{E_FLAG, MAX_KEYSTREAM, counter_iv, gcm_iv};
use crate::{Contexts, Error, Job, Kind, MAX_BATCH, Outbound, SessionKeys};

/// What stage 1 found out about a packet.
struct Plan {
    ssrc: u32,
    index: u64,
    /// First octet to encrypt, and one past the last.
    clear: usize,
    end: usize,
    /// ROC for RTP, E flag and index for RTCP.
    word: [u8; 4],
}

type Plans = [Option<Plan>; MAX_BATCH];

/// Protects every job's packet in place; each gets its own result. The packet grows by the suite's
/// overhead and the key's MKI.
pub fn protect<C: Contexts<Outbound> + ?Sized>(contexts: &mut C, jobs: &mut [Job<'_>]) {
    for batch in jobs.chunks_mut(MAX_BATCH) {
        protect_batch(contexts, batch);
    }
}

fn protect_batch<C: Contexts<Outbound> + ?Sized>(contexts: &mut C, jobs: &mut [Job<'_>]) {
    let mut plans: Plans = [const { None }; MAX_BATCH];
    let mut kernel = Kernel::PORTABLE;
    for (job, slot) in jobs.iter_mut().zip(&mut plans) {
        let Some(context) = contexts.get_mut(job.context) else {
            job.result = Err(Error::NoKey);
            continue;
        };
        kernel = context.keys().kernel();
        match plan(context, job) {
            Ok(plan) => *slot = Some(plan),
            Err(error) => job.result = Err(error),
        }
    }
    seal_counter(kernel, contexts, jobs, &plans);
    seal_gcm(kernel, contexts, jobs, &plans);
}

/// Stage 1: header, index, layout. The index is used up here, before anything is encrypted.
fn plan(context: &mut Outbound, job: &Job<'_>) -> Result<Plan, Error> {
    let packet = job.packet.get(..job.len).ok_or(Error::TooShort)?;
    let overhead = overhead(context.keys(), job.kind);
    let (ssrc, clear, sequence) = match job.kind {
        Kind::Rtp => {
            let header = Header::parse(packet)?;
            (header.ssrc, header.len, header.sequence)
        }
        Kind::Rtcp => (rtcp_sender(packet)?, CLEAR_LEN, 0),
    };
    if ssrc != context.ssrc() {
        return Err(Error::WrongSsrc);
    }
    if job.len > MAX_KEYSTREAM {
        return Err(Error::TooLong);
    }
    if job.packet.len() < job.len + overhead {
        return Err(Error::NoTailroom);
    }
    let index = match job.kind {
        Kind::Rtp => context.take_rtp(sequence)?,
        Kind::Rtcp => context.take_rtcp()?,
    };
    let word = match job.kind {
        Kind::Rtp => (index >> 16) as u32,
        Kind::Rtcp if context.keys().rtcp.encrypt => E_FLAG | index as u32,
        Kind::Rtcp => index as u32,
    };
    Ok(Plan { ssrc, index, clear, end: job.len, word: word.to_be_bytes() })
}

pub(crate) fn rtcp_sender(packet: &[u8]) -> Result<u32, Error> {
    let ssrc = crate::rtcp::sender_ssrc(packet).ok_or(Error::TooShort)?;
    if packet[0] >> 6 == 2 { Ok(ssrc) } else { Err(Error::Version) }
}

fn overhead(keys: &SessionKeys, kind: Kind) -> usize {
    let suite = keys.suite();
    keys.mki().len()
        + match kind {
            Kind::Rtp => suite.rtp_overhead(),
            Kind::Rtcp => suite.rtcp_overhead(),
        }
}

/// Encrypt, then MAC over packet and ROC, or over packet, E flag and index (RFC 3711 §3.3, §3.4).
fn seal_counter<C: Contexts<Outbound> + ?Sized>(
    kernel: Kernel,
    contexts: &C,
    jobs: &mut [Job<'_>],
    plans: &Plans,
) {
    let mut runs: ArrayVec<CtrJob<'_>, MAX_BATCH> = ArrayVec::new();
    for (job, plan) in jobs.iter_mut().zip(plans) {
        let Some((plan, direction)) = planned(contexts, job, plan.as_ref()) else { continue };
        if let Cipher::CounterHmac { key, .. } = &direction.cipher
            && direction.encrypt
        {
            let iv = counter_iv(&direction.salt, plan.ssrc, plan.index);
            runs.push(CtrJob { key, iv, data: &mut job.packet[plan.clear..plan.end] });
        }
    }
    ctr(kernel, &mut runs);
    drop(runs);

    let mut macs: ArrayVec<MacJob<'_>, MAX_BATCH> = ArrayVec::new();
    for (job, plan) in jobs.iter_mut().zip(plans) {
        let Some((plan, direction)) = planned(contexts, job, plan.as_ref()) else { continue };
        if let Cipher::CounterHmac { mac, .. } = &direction.cipher {
            macs.push(MacJob { key: mac, data: [&job.packet[..plan.end], &plan.word], tag: [0; 20] });
        }
    }
    hmac_sha1(kernel, &mut macs);
    let tags: ArrayVec<[u8; 20], MAX_BATCH> = macs.iter().map(|mac| mac.tag).collect();
    drop(macs);

    let mut tags = tags.iter();
    for (job, plan) in jobs.iter_mut().zip(plans) {
        let Some(context) = contexts.get(job.context) else { continue };
        let Some((plan, direction)) = planned(contexts, job, plan.as_ref()) else { continue };
        // A tag is taken for a job of this cipher only: a batch may hold both.
        if matches!(direction.cipher, Cipher::CounterHmac { .. })
            && let Some(tag) = tags.next()
        {
            let mut tail = Tail { packet: job.packet, at: plan.end };
            if job.kind == Kind::Rtcp {
                tail.put(&plan.word);
            }
            tail.put(context.keys().mki().as_slice());
            tail.put(&tag[..direction.tag]);
            job.len = tail.at;
        }
    }
}

/// One AEAD over header and payload (RFC 7714 §8, §9).
fn seal_gcm<C: Contexts<Outbound> + ?Sized>(
    kernel: Kernel,
    contexts: &C,
    jobs: &mut [Job<'_>],
    plans: &Plans,
) {
    let mut aads = [[0; CLEAR_LEN + 4]; MAX_BATCH];
    let mut runs: ArrayVec<GcmJob<'_>, MAX_BATCH> = ArrayVec::new();
    for ((job, plan), aad) in jobs.iter_mut().zip(plans).zip(&mut aads) {
        let Some((plan, direction)) = planned(contexts, job, plan.as_ref()) else { continue };
        let Cipher::Gcm(key) = &direction.cipher else { continue };
        let iv = gcm_iv(&direction.salt, plan.ssrc, plan.index);
        let (aad, data): (&[u8], _) = if job.kind == Kind::Rtp {
            let (header, rest) = job.packet.split_at_mut(plan.clear);
            (header, &mut rest[..plan.end - plan.clear])
        } else if direction.encrypt {
            aad[..CLEAR_LEN].copy_from_slice(&job.packet[..CLEAR_LEN]);
            aad[CLEAR_LEN..].copy_from_slice(&plan.word);
            (aad, &mut job.packet[plan.clear..plan.end])
        } else {
            job.packet[plan.end..plan.end + 4].copy_from_slice(&plan.word);
            let (all, rest) = job.packet.split_at_mut(plan.end + 4);
            (all, &mut rest[..0])
        };
        runs.push(GcmJob { key, iv, aad, data, tag: [0; 16], ok: false });
    }
    gcm_seal(kernel, &mut runs);
    let tags: ArrayVec<([u8; 16], bool), MAX_BATCH> = runs.iter().map(|run| (run.tag, run.ok)).collect();
    drop(runs);

    let mut tags = tags.iter();
    for (job, plan) in jobs.iter_mut().zip(plans) {
        let Some(context) = contexts.get(job.context) else { continue };
        let Some((plan, direction)) = planned(contexts, job, plan.as_ref()) else { continue };
        if matches!(direction.cipher, Cipher::Gcm(_))
            && let Some((tag, ok)) = tags.next()
        {
            if !ok {
                job.result = Err(Error::TooLong);
                continue;
            }
            let mut tail = Tail { packet: job.packet, at: plan.end };
            tail.put(tag);
            if job.kind == Kind::Rtcp {
                tail.put(&plan.word);
            }
            tail.put(context.keys().mki().as_slice());
            job.len = tail.at;
        }
    }
}

fn planned<'c, 'p, C: Contexts<Outbound> + ?Sized>(
    contexts: &'c C,
    job: &Job<'_>,
    plan: Option<&'p Plan>,
) -> Option<(&'p Plan, &'c Direction)> {
    Some((plan?, contexts.get(job.context)?.keys().direction(job.kind)))
}

/// Appends to a packet; stage 1 made sure of the room.
struct Tail<'a> {
    packet: &'a mut [u8],
    at: usize,
}

impl Tail<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.packet[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}
