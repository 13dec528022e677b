//! Receiving: SRTP to RTP, in batches.

use arrayvec::ArrayVec;
use sluice_kernels::{CtrJob, GcmJob, Kernel, MacJob, ctr, gcm_open, gcm_seal, hmac_sha1};

use crate::keys::Cipher;
use crate::rtp::Header;
use crate::transform::{MAX_KEYSTREAM, gcm_iv, same_tag};
use crate::{Contexts, Error, Inbound, Job, Kind, MAX_BATCH, SessionKeys, single};

/// One try at a packet with one of its context's keys.
#[derive(Clone, Copy)]
struct Try {
    iv: [u8; 16],
    index: u64,
    roc: [u8; 4],
    /// First encrypted octet; 0 of a packet of which there is nothing to try.
    clear: u32,
    /// One past the last encrypted octet: the length of the result.
    end: u32,
    /// Where the tag begins.
    tag: u32,
    /// Which of the context's keys.
    key: u8,
}

impl Try {
    const EMPTY: Self = Self { iv: [0; 16], index: 0, roc: [0; 4], clear: 0, end: 0, tag: 0, key: 0 };
}

/// Where the jobs of a batch are between passes, a bit for each.
struct Progress {
    /// Jobs that still want a verdict.
    open: u32,
    /// The next key to try.
    next: [u8; MAX_BATCH],
}

const _: () = assert!(MAX_BATCH == u32::BITS as usize, "a bit for each job of a batch");

/// Unprotects every job's packet in place; each gets its own result. A job that fails leaves its
/// packet as it was.
///
/// Keys without MKI are tried newest first. A context that has not seen a packet yet decides on its
/// first one before it looks at the next, whose index depends on it.
pub fn unprotect<C: Contexts<Inbound> + ?Sized>(contexts: &mut C, jobs: &mut [Job<'_>]) {
    // A lone packet, and a few, do not pay for the arrays of many.
    for batch in jobs.chunks_mut(MAX_BATCH) {
        match batch.len() {
            1 => unprotect_batch::<_, 1>(contexts, batch),
            2..=8 => unprotect_batch::<_, 8>(contexts, batch),
            _ => unprotect_batch::<_, MAX_BATCH>(contexts, batch),
        }
    }
}

/// At most `N` jobs, and at least one.
fn unprotect_batch<C: Contexts<Inbound> + ?Sized, const N: usize>(contexts: &mut C, jobs: &mut [Job<'_>]) {
    if N > 1 {
        prefetch(contexts, jobs);
    }
    let open = u32::MAX >> (MAX_BATCH - jobs.len());
    let mut progress = Progress { open, next: [0; MAX_BATCH] };
    while progress.open != 0 {
        pass::<_, N>(contexts, jobs, &mut progress);
    }
    for job in jobs.iter_mut().filter(|job| job.result == Err(Error::AuthFailed)) {
        if job.kind == Kind::Rtp
            && let Some(context) = contexts.get_mut(job.context)
        {
            if context.roc_trial().1 > 0 {
                job.result = single::try_rocs(context, job);
            }
            if job.result.is_err() && context.pending() {
                job.result = single::try_next_round(context, job);
            }
        }
    }
}

/// Contexts first, then the keys that they point to.
fn prefetch<C: Contexts<Inbound> + ?Sized>(contexts: &C, jobs: &[Job<'_>]) {
    for job in jobs {
        contexts.prefetch(job.context);
    }
    for job in jobs {
        if let Some(keys) = contexts.get(job.context).and_then(|context| context.key(0)) {
            keys.prefetch(job.kind);
        }
    }
}

/// Tries one key on every job that is open: stage 1 scalar, stage 2 on the kernel, stage 3 scalar.
/// Each job taken up either ends or moves on to its next key.
fn pass<C: Contexts<Inbound> + ?Sized, const N: usize>(
    contexts: &mut C,
    jobs: &mut [Job<'_>],
    progress: &mut Progress,
) {
    // Filled in place: a try that is made elsewhere and copied costs more than all else in stage 1.
    let mut tries = [Try::EMPTY; N];
    let mut fresh: ArrayVec<usize, N> = ArrayVec::new();
    for (number, (job, attempt)) in jobs.iter_mut().zip(&mut tries).enumerate() {
        let bit = 1 << number;
        if progress.open & bit == 0 || (!fresh.is_empty() && fresh.contains(&job.context)) {
            continue;
        }
        let outcome = match contexts.get_mut(job.context) {
            None => Err(Error::NoKey),
            Some(context) if job.kind == Kind::Rtcp || !context.batched() => {
                job.result = single::unprotect(context, job);
                progress.open &= !bit;
                continue;
            }
            Some(context) => {
                if context.fresh() {
                    fresh.push(job.context);
                }
                plan(context, job, progress.next[number], attempt)
            }
        };
        if let Err(error) = outcome {
            job.result = Err(error);
            progress.open &= !bit;
        }
    }
    let Some(verdict) = check::<_, N>(contexts, jobs, &tries) else { return };
    for (number, (job, attempt)) in jobs.iter_mut().zip(&tries).enumerate() {
        let bit = 1 << number;
        if verdict.authentic & bit != 0 {
            commit(contexts, job, attempt);
            progress.open &= !bit;
        } else if attempt.clear != 0 {
            progress.next[number] = attempt.key + 1;
        }
    }
    decrypt::<_, N>(&verdict, contexts, jobs, &tries);
}

/// Estimates the index, checks for replay, finds the parts under the next key that may fit: key `first`, or
/// one after it.
#[allow(clippy::inline_always, reason = "called apart, it would fill the plan by way of the stack")]
#[inline(always)]
fn plan(context: &Inbound, job: &Job<'_>, first: u8, attempt: &mut Try) -> Result<(), Error> {
    let packet = job.packet.get(..job.len).ok_or(Error::TooShort)?;
    let header = Header::parse(packet)?;
    if header.ssrc != context.ssrc() {
        return Err(Error::WrongSsrc);
    }
    if job.len > MAX_KEYSTREAM {
        return Err(Error::TooLong);
    }
    let mut failure = if first == 0 { Error::UnknownMki } else { Error::AuthFailed };
    for key in first.. {
        let candidate = usize::from(key);
        let Some(keys) = context.to_try(candidate) else { return Err(failure) };
        let direction = keys.direction(Kind::Rtp);
        let (tag_len, mki_len) = (usize::from(direction.tag), usize::from(direction.mki));
        let end = packet.len().wrapping_sub(tag_len + mki_len);
        if end < header.len || end > packet.len() {
            // Too short for this key; a shorter tag or MKI of another may still fit.
            if failure == Error::UnknownMki {
                failure = Error::TooShort;
            }
            continue;
        }
        let mut tag = end;
        if mki_len != 0 {
            // Counter mode: packet ‖ MKI ‖ tag (RFC 3711 figure 1); GCM: packet ‖ tag ‖ MKI (RFC 7714 figure 1).
            let mki = match direction.cipher {
                Cipher::CounterHmac { .. } => std::mem::replace(&mut tag, end + mki_len),
                Cipher::Gcm(_) | Cipher::Single(_) => end + tag_len,
            };
            if packet[mki..][..mki_len] != *keys.mki().as_slice() {
                continue;
            }
        }
        let index = context.estimate(header.sequence, candidate);
        let index = match index.and_then(|index| context.check(Kind::Rtp, index, candidate).map(|()| index)) {
            Ok(index) => index,
            Err(error) if context.has_lists() => {
                // Of another key it may be another index.
                failure = if first == 0 { error } else { failure };
                continue;
            }
            Err(error) => return Err(error),
        };
        if context.expired(Kind::Rtp, candidate) {
            return Err(Error::KeyExpired);
        }
        attempt.iv = direction.iv(header.ssrc, index);
        attempt.index = index;
        attempt.roc = ((index >> 16) as u32).to_be_bytes();
        (attempt.clear, attempt.end, attempt.tag) = (header.len as u32, end as u32, tag as u32);
        attempt.key = key;
        return Ok(());
    }
    Err(failure)
}

/// What became of the tags of a batch.
struct Verdict {
    kernel: Kernel,
    /// A bit for each job: whether its tag is right.
    authentic: u32,
}

/// The keys of a try.
#[inline]
fn keys_of<'c, C: Contexts<Inbound> + ?Sized>(
    contexts: &'c C,
    context: usize,
    attempt: &Try,
) -> &'c SessionKeys {
    match contexts.get(context).and_then(|context| context.key(usize::from(attempt.key))) {
        Some(found) => found,
        None => unreachable!("stage 1 found the context and its key"),
    }
}

/// Checks all tags in constant time; what GCM protects is decrypted, too. `None` if nothing was tried.
fn check<C: Contexts<Inbound> + ?Sized, const N: usize>(
    contexts: &C,
    jobs: &mut [Job<'_>],
    tries: &[Try; N],
) -> Option<Verdict> {
    let mut macs: ArrayVec<MacJob<'_>, N> = ArrayVec::new();
    let mut tags: ArrayVec<(&[u8], u32), N> = ArrayVec::new();
    let mut opens: ArrayVec<GcmJob<'_>, N> = ArrayVec::new();
    let mut bits: ArrayVec<u32, N> = ArrayVec::new();
    let mut kernel = None;
    for (number, (job, attempt)) in jobs.iter_mut().zip(tries).enumerate() {
        if attempt.clear == 0 {
            continue;
        }
        let keys = keys_of(contexts, job.context, attempt);
        kernel = Some(keys.kernel());
        let direction = keys.direction(Kind::Rtp);
        let (text, rest) = job.packet.split_at_mut(attempt.end as usize);
        match &direction.cipher {
            Cipher::CounterHmac { mac, .. } => {
                let tag = &rest[(attempt.tag - attempt.end) as usize..][..usize::from(direction.tag)];
                macs.push(MacJob { key: mac, data: [text, &attempt.roc], tag: [0; 20] });
                tags.push((tag, 1 << number));
            }
            Cipher::Gcm(key) => {
                let (aad, data) = text.split_at_mut(attempt.clear as usize);
                let Some(tag) = rest.first_chunk_mut() else { unreachable!("stage 1 found the tag") };
                opens.push(GcmJob { key, iv: gcm_iv(&attempt.iv), aad, data, tag, ok: false });
                bits.push(1 << number);
            }
            Cipher::Single(_) => unreachable!("not batched"),
        }
    }
    let kernel = kernel?;
    let mut authentic = 0;
    if !macs.is_empty() {
        hmac_sha1(kernel, &mut macs);
        for (mac, (tag, bit)) in macs.iter().zip(tags) {
            if same_tag(&mac.tag[..tag.len()], tag) {
                authentic |= bit;
            }
        }
    }
    if !opens.is_empty() {
        gcm_open(kernel, &mut opens);
        for (open, bit) in opens.iter().zip(bits) {
            if open.ok {
                authentic |= bit;
            }
        }
    }
    Some(Verdict { kernel, authentic })
}

/// The final verdict on replay.
fn commit<C: Contexts<Inbound> + ?Sized>(contexts: &mut C, job: &mut Job<'_>, attempt: &Try) {
    let Some(context) = contexts.get_mut(job.context) else { return };
    job.result = context.commit(Kind::Rtp, attempt.index, usize::from(attempt.key));
    if job.result.is_ok() {
        job.len = attempt.end as usize;
    }
}

/// Counter mode decrypts what the commit has accepted. What GCM opened and the commit then refused as a
/// replay, a copy in the same batch, gets its cipher text back: the same plaintext under the same IV gives
/// the same octets; the tag was never touched.
fn decrypt<C: Contexts<Inbound> + ?Sized, const N: usize>(
    verdict: &Verdict,
    contexts: &C,
    jobs: &mut [Job<'_>],
    tries: &[Try; N],
) {
    let mut runs: ArrayVec<CtrJob<'_>, N> = ArrayVec::new();
    for (number, (job, attempt)) in jobs.iter_mut().zip(tries).enumerate() {
        if verdict.authentic & 1 << number == 0 {
            continue;
        }
        let keys = keys_of(contexts, job.context, attempt);
        let data = attempt.clear as usize..attempt.end as usize;
        match &keys.direction(Kind::Rtp).cipher {
            Cipher::CounterHmac { key, .. } if job.result.is_ok() => {
                runs.push(CtrJob { key, iv: attempt.iv, data: &mut job.packet[data] });
            }
            Cipher::Gcm(key) if job.result.is_err() => {
                let (iv, data, mut tag) = (gcm_iv(&attempt.iv), &mut job.packet[data], [0; 16]);
                let seal = GcmJob { key, iv, aad: &[], data, tag: &mut tag, ok: false };
                gcm_seal(verdict.kernel, &mut [seal]);
            }
            Cipher::CounterHmac { .. } | Cipher::Gcm(_) | Cipher::Single(_) => {}
        }
    }
    if !runs.is_empty() {
        ctr(verdict.kernel, &mut runs);
    }
}
