//! Sending: RTP to SRTP, RTCP to SRTCP.

use arrayvec::ArrayVec;
use sluice_kernels::{CtrJob, GcmJob, Kernel, MacJob, ctr, gcm_seal, hmac_sha1};

use crate::keys::{Cipher, Direction};
use crate::rtcp::CLEAR_LEN;
use crate::rtp::Header;
use crate::transform::{E_FLAG, MAX_KEYSTREAM, put_tag};
use crate::{Contexts, Error, Job, Kind, MAX_BATCH, Outbound, SessionKeys};

/// What stage 1 found out about a packet.
#[derive(Clone, Copy)]
struct Plan {
    /// Which job of the batch.
    job: u8,
    /// First octet to encrypt, and one past the last.
    clear: u32,
    end: u32,
    /// ROC for RTP, E flag and index for RTCP.
    word: [u8; 4],
    /// Of RTCP under GCM: what is authenticated, in one piece.
    aad: [u8; CLEAR_LEN + 4],
    iv: [u8; 16],
}

impl Plan {
    const EMPTY: Self = Self { job: 0, clear: 0, end: 0, word: [0; 4], aad: [0; CLEAR_LEN + 4], iv: [0; 16] };
}

/// Protects every job's packet in place; each gets its own result. The packet grows by the suite's
/// overhead and the key's MKI.
pub fn protect<C: Contexts<Outbound> + ?Sized>(contexts: &mut C, jobs: &mut [Job<'_>]) {
    // A lone packet, and a few, do not pay for the arrays of many.
    for batch in jobs.chunks_mut(MAX_BATCH) {
        match batch.len() {
            1 => protect_batch::<_, 1>(contexts, batch),
            2..=8 => protect_batch::<_, 8>(contexts, batch),
            _ => protect_batch::<_, MAX_BATCH>(contexts, batch),
        }
    }
}

/// At most `N` jobs.
fn protect_batch<C: Contexts<Outbound> + ?Sized, const N: usize>(contexts: &mut C, jobs: &mut [Job<'_>]) {
    if N > 1 {
        prefetch(contexts, jobs);
    }
    // Filled in place: a plan that is made elsewhere and copied costs more than all else in stage 1.
    let mut plans = [Plan::EMPTY; N];
    let mut planned = 0;
    for (number, job) in jobs.iter_mut().enumerate() {
        let Some(context) = contexts.get_mut(job.context) else {
            job.result = Err(Error::NoKey);
            continue;
        };
        match plan(context, job, number as u8, &mut plans[planned]) {
            Ok(()) => planned += 1,
            Err(error) => job.result = Err(error),
        }
    }
    let plans = &plans[..planned];
    let mut keys: ArrayVec<&SessionKeys, N> = ArrayVec::new();
    for plan in plans {
        match contexts.get(jobs[usize::from(plan.job)].context) {
            Some(context) => keys.push(context.keys()),
            None => unreachable!("stage 1 found the context"),
        }
    }
    let Some(kernel) = keys.first().map(|keys| keys.kernel()) else { return };
    encrypt::<N>(kernel, jobs, plans, &keys);
    authenticate::<N>(kernel, jobs, plans, &keys);
}

/// Contexts first, then the keys that they point to.
fn prefetch<C: Contexts<Outbound> + ?Sized>(contexts: &C, jobs: &[Job<'_>]) {
    for job in jobs {
        contexts.prefetch(job.context);
    }
    for job in jobs {
        if let Some(context) = contexts.get(job.context) {
            context.keys().prefetch(job.kind);
        }
    }
}

/// Stage 1: header, index, layout. The index is used up here, before anything is encrypted.
#[allow(clippy::inline_always, reason = "called apart, it would fill the plan by way of the stack")]
#[inline(always)]
fn plan(context: &mut Outbound, job: &Job<'_>, number: u8, plan: &mut Plan) -> Result<(), Error> {
    let packet = job.packet.get(..job.len).ok_or(Error::TooShort)?;
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
    let direction = context.keys().direction(job.kind);
    let index_len = if job.kind == Kind::Rtcp { 4 } else { 0 };
    let overhead = usize::from(direction.tag) + usize::from(direction.mki) + index_len;
    if job.packet.len() < job.len + overhead {
        return Err(Error::NoTailroom);
    }
    let index = match job.kind {
        Kind::Rtp => context.take_rtp(sequence)?,
        Kind::Rtcp => context.take_rtcp()?,
    };
    let direction = context.keys().direction(job.kind);
    let word = match job.kind {
        Kind::Rtp => (index >> 16) as u32,
        Kind::Rtcp if direction.encrypt => E_FLAG | index as u32,
        Kind::Rtcp => index as u32,
    };
    plan.job = number;
    plan.clear = clear as u32;
    plan.end = job.len as u32;
    plan.word = word.to_be_bytes();
    plan.iv = direction.iv(ssrc, index);
    if job.kind == Kind::Rtcp {
        plan.aad[..CLEAR_LEN].copy_from_slice(&packet[..CLEAR_LEN]);
        plan.aad[CLEAR_LEN..].copy_from_slice(&plan.word);
    }
    Ok(())
}

pub(crate) fn rtcp_sender(packet: &[u8]) -> Result<u32, Error> {
    let ssrc = crate::rtcp::sender_ssrc(packet).ok_or(Error::TooShort)?;
    if packet[0] >> 6 == 2 { Ok(ssrc) } else { Err(Error::Version) }
}

/// Counter mode is done with this; of GCM (RFC 7714 §8, §9) the tag is written too.
fn encrypt<const N: usize>(kernel: Kernel, jobs: &mut [Job<'_>], plans: &[Plan], keys: &[&SessionKeys]) {
    let mut runs: ArrayVec<CtrJob<'_>, N> = ArrayVec::new();
    let mut seals: ArrayVec<GcmJob<'_>, N> = ArrayVec::new();
    let mut todo = plans.iter().zip(keys).peekable();
    for (number, job) in jobs.iter_mut().enumerate() {
        let Some((plan, keys)) = todo.next_if(|(plan, _)| usize::from(plan.job) == number) else { continue };
        let direction = keys.direction(job.kind);
        let (clear, end) = (plan.clear as usize, plan.end as usize);
        match &direction.cipher {
            Cipher::CounterHmac { key, .. } if direction.encrypt => {
                runs.push(CtrJob { key, iv: plan.iv, data: &mut job.packet[clear..end] });
            }
            Cipher::CounterHmac { .. } => {}
            Cipher::Gcm(key) => {
                let (aad, data): (&[u8], _) = if job.kind == Kind::Rtp {
                    let (header, rest) = job.packet.split_at_mut(clear);
                    (header, &mut rest[..end - clear])
                } else if direction.encrypt {
                    (&plan.aad, &mut job.packet[clear..end])
                } else {
                    // All of the packet is associated data; the word, too, stands at its place only then.
                    job.packet[end..end + 4].copy_from_slice(&plan.word);
                    let (all, rest) = job.packet.split_at_mut(end + 4);
                    (all, &mut rest[..0])
                };
                let iv = gcm_iv(&plan.iv);
                seals.push(GcmJob { key, iv, aad, data, tag: [0; 16], ok: false });
            }
        }
    }
    if !runs.is_empty() {
        ctr(kernel, &mut runs);
    }
    drop(runs);
    if seals.is_empty() {
        return;
    }
    gcm_seal(kernel, &mut seals);
    let tags: ArrayVec<([u8; 16], bool), N> = seals.iter().map(|run| (run.tag, run.ok)).collect();
    drop(seals);
    let mut tags = tags.iter();
    for (plan, keys) in plans.iter().zip(keys) {
        let job = &mut jobs[usize::from(plan.job)];
        // A tag is taken for a job of this cipher only: a batch may hold both.
        if matches!(keys.direction(job.kind).cipher, Cipher::Gcm(_))
            && let Some((tag, ok)) = tags.next()
        {
            finish_gcm(job, plan, keys, tag, *ok);
        }
    }
}

/// Tag ‖ word (of RTCP) ‖ MKI (RFC 7714 figures 1 and 2).
fn finish_gcm(job: &mut Job<'_>, plan: &Plan, keys: &SessionKeys, tag: &[u8; 16], ok: bool) {
    if !ok {
        job.result = Err(Error::TooLong);
        return;
    }
    let mut at = plan.end as usize;
    put_tag(&mut job.packet[at..], tag, 16);
    at += 16;
    if job.kind == Kind::Rtcp {
        job.packet[at..at + 4].copy_from_slice(&plan.word);
        at += 4;
    }
    job.len = put_mki(job.packet, at, keys);
}

/// HMAC over packet and ROC, or over packet, E flag and index (RFC 3711 §3.3, §3.4), of what counter mode
/// encrypted: word (of RTCP) ‖ MKI ‖ tag (RFC 3711 figures 1 and 2).
fn authenticate<const N: usize>(kernel: Kernel, jobs: &mut [Job<'_>], plans: &[Plan], keys: &[&SessionKeys]) {
    let mut macs: ArrayVec<MacJob<'_>, N> = ArrayVec::new();
    for (plan, keys) in plans.iter().zip(keys) {
        let job = &jobs[usize::from(plan.job)];
        if let Cipher::CounterHmac { mac, .. } = &keys.direction(job.kind).cipher {
            let data: [&[u8]; 2] = [&job.packet[..plan.end as usize], &plan.word];
            macs.push(MacJob { key: mac, data, tag: [0; 20] });
        }
    }
    if macs.is_empty() {
        return;
    }
    hmac_sha1(kernel, &mut macs);
    let tags: ArrayVec<[u8; 20], N> = macs.iter().map(|mac| mac.tag).collect();
    drop(macs);
    let mut tags = tags.iter();
    for (plan, keys) in plans.iter().zip(keys) {
        let job = &mut jobs[usize::from(plan.job)];
        let Direction { cipher: Cipher::CounterHmac { .. }, tag: len, .. } = keys.direction(job.kind) else {
            continue;
        };
        let Some(tag) = tags.next() else { continue };
        let mut at = plan.end as usize;
        if job.kind == Kind::Rtcp {
            job.packet[at..at + 4].copy_from_slice(&plan.word);
            at += 4;
        }
        at = put_mki(job.packet, at, keys);
        put_tag(&mut job.packet[at..], tag, *len);
        job.len = at + usize::from(*len);
    }
}

/// Writes the MKI, if there is one; where it ends.
fn put_mki(packet: &mut [u8], at: usize, keys: &SessionKeys) -> usize {
    if keys.direction(Kind::Rtp).mki == 0 {
        return at;
    }
    let mki = keys.mki().as_slice();
    packet[at..at + mki.len()].copy_from_slice(mki);
    at + mki.len()
}

/// The IV of GCM: the initial counter block without its counter.
pub(crate) fn gcm_iv(block: &[u8; 16]) -> [u8; 12] {
    let mut iv = [0; 12];
    iv.copy_from_slice(&block[..12]);
    iv
}
