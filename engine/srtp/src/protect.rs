//! Sending: RTP to SRTP, in batches.

use arrayvec::ArrayVec;
use sluice_kernels::{CtrJob, GcmJob, Kernel, MacJob, ctr, gcm_seal, hmac_sha1};

use crate::keys::Cipher;
use crate::rtp::Header;
use crate::transform::{MAX_KEYSTREAM, gcm_iv, put_mki, put_tag};
use crate::{Contexts, Error, Job, Kind, MAX_BATCH, Outbound, single};

/// What stage 1 found out about a packet.
#[derive(Clone, Copy)]
struct Plan {
    iv: [u8; 16],
    roc: [u8; 4],
    /// First octet to encrypt; 0 of a packet that is not to be protected here.
    clear: u32,
}

impl Plan {
    const EMPTY: Self = Self { iv: [0; 16], roc: [0; 4], clear: 0 };
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
    for (job, plan) in jobs.iter_mut().zip(&mut plans) {
        job.result = match contexts.get_mut(job.context) {
            None => Err(Error::NoKey),
            Some(context) if job.kind == Kind::Rtp && context.keys().batched() => {
                self::plan(context, job, plan)
            }
            Some(context) => single::protect(context, job),
        };
    }
    if let Some(kernel) = encrypt::<_, N>(contexts, jobs, &plans) {
        authenticate::<_, N>(kernel, contexts, jobs, &plans);
    }
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
fn plan(context: &mut Outbound, job: &Job<'_>, plan: &mut Plan) -> Result<(), Error> {
    let header = Header::parse(job.packet.get(..job.len).ok_or(Error::TooShort)?)?;
    if header.ssrc != context.ssrc() {
        return Err(Error::WrongSsrc);
    }
    if job.len > MAX_KEYSTREAM {
        return Err(Error::TooLong);
    }
    let direction = context.keys().direction(Kind::Rtp);
    if job.packet.len() < job.len + usize::from(direction.tag) + usize::from(direction.mki) {
        return Err(Error::NoTailroom);
    }
    let index = context.take_rtp(header.sequence)?;
    plan.iv = context.keys().direction(Kind::Rtp).iv(header.ssrc, index);
    plan.roc = ((index >> 16) as u32).to_be_bytes();
    plan.clear = header.len as u32;
    Ok(())
}

/// All that there is to do under GCM (RFC 7714 §8); of counter mode the encryption. The kernel that is
/// to go on with counter mode.
fn encrypt<C: Contexts<Outbound> + ?Sized, const N: usize>(
    contexts: &C,
    jobs: &mut [Job<'_>],
    plans: &[Plan; N],
) -> Option<Kernel> {
    let mut runs: ArrayVec<CtrJob<'_>, N> = ArrayVec::new();
    let mut seals: ArrayVec<GcmJob<'_>, N> = ArrayVec::new();
    let mut kernel = None;
    for (job, plan) in jobs.iter_mut().zip(plans) {
        if plan.clear == 0 {
            continue;
        }
        let Some(context) = contexts.get(job.context) else { unreachable!("stage 1 found the context") };
        let keys = context.keys();
        let (text, end) = job.packet.split_at_mut(job.len);
        let (header, data) = text.split_at_mut(plan.clear as usize);
        kernel = Some(keys.kernel());
        match &keys.direction(Kind::Rtp).cipher {
            Cipher::CounterHmac { key, .. } => runs.push(CtrJob { key, iv: plan.iv, data }),
            Cipher::Gcm(key) => {
                let Some((tag, end)) = end.split_first_chunk_mut() else {
                    unreachable!("stage 1 found the room");
                };
                // Tag ‖ MKI (RFC 7714 figure 1).
                job.len += tag.len() + put_mki(end, keys);
                seals.push(GcmJob { key, iv: gcm_iv(&plan.iv), aad: header, data, tag, ok: false });
            }
            Cipher::Single(_) => unreachable!("not batched"),
        }
    }
    let kernel = kernel?;
    if !seals.is_empty() {
        gcm_seal(kernel, &mut seals);
        debug_assert!(seals.iter().all(|seal| seal.ok), "GCM takes more than a key stream of SRTP's is long");
    }
    if runs.is_empty() {
        return None;
    }
    ctr(kernel, &mut runs);
    Some(kernel)
}

/// HMAC over packet and ROC of what counter mode encrypted (RFC 3711 §3.3, §4.2).
fn authenticate<C: Contexts<Outbound> + ?Sized, const N: usize>(
    kernel: Kernel,
    contexts: &C,
    jobs: &mut [Job<'_>],
    plans: &[Plan; N],
) {
    let mut macs: ArrayVec<MacJob<'_>, N> = ArrayVec::new();
    let mut ends: ArrayVec<(&mut [u8], u8), N> = ArrayVec::new();
    for (job, plan) in jobs.iter_mut().zip(plans) {
        if plan.clear == 0 {
            continue;
        }
        let Some(context) = contexts.get(job.context) else { unreachable!("stage 1 found the context") };
        let direction = context.keys().direction(Kind::Rtp);
        if let Cipher::CounterHmac { mac, .. } = &direction.cipher {
            let (text, end) = job.packet.split_at_mut(job.len);
            // MKI ‖ tag (RFC 3711 figure 1).
            let mki = put_mki(end, context.keys());
            job.len += mki + usize::from(direction.tag);
            macs.push(MacJob { key: mac, data: [text, &plan.roc], tag: [0; 20] });
            ends.push((&mut end[mki..], direction.tag));
        }
    }
    hmac_sha1(kernel, &mut macs);
    for (mac, (end, len)) in macs.iter().zip(ends) {
        put_tag(end, &mac.tag, len);
    }
}
