//! Receiving: SRTP to RTP, SRTCP to RTCP.

use arrayvec::ArrayVec;
use sluice_kernels::{CtrJob, GcmJob, Kernel, MacJob, ctr, gcm_open, gcm_seal, hmac_sha1};
use subtle::ConstantTimeEq;

use crate::keys::{Cipher, Direction};
use crate::protect::rtcp_sender;
use crate::rtcp::CLEAR_LEN;
use crate::rtp::Header;
use crate::transform::{E_FLAG, MAX_KEYSTREAM, counter_iv, gcm_iv};
use crate::{Contexts, Error, Inbound, Job, Kind, MAX_BATCH, SessionKeys};

/// One try at a packet with one of its context's keys.
struct Try {
    ssrc: u32,
    index: u64,
    /// Which of the context's keys.
    key: usize,
    /// First encrypted octet, and one past the last; the length of the result.
    clear: usize,
    end: usize,
    /// Where the tag begins.
    tag: usize,
    /// ROC for RTP, E flag and index for RTCP.
    word: [u8; 4],
    authentic: bool,
}

type Tries = [Option<Try>; MAX_BATCH];

/// Where a job is between passes.
#[derive(Clone, Copy)]
struct Progress {
    done: bool,
    /// The next key to try, and whether one was tried already.
    key: usize,
    tried: bool,
}

/// Unprotects every job's packet in place; each gets its own result. A job that fails leaves its
/// packet as it was.
///
/// Keys without MKI are tried newest first. A context that has not seen a packet yet decides on its
/// first one before it looks at the next, whose index depends on it.
pub fn unprotect<C: Contexts<Inbound> + ?Sized>(contexts: &mut C, jobs: &mut [Job<'_>]) {
    for batch in jobs.chunks_mut(MAX_BATCH) {
        let mut progress = [Progress { done: false, key: 0, tried: false }; MAX_BATCH];
        while progress[..batch.len()].iter().any(|job| !job.done) {
            pass(contexts, batch, &mut progress);
        }
    }
}

/// Tries one key on every job that is not done: stage 1 scalar, stage 2 on the kernel, stage 3 scalar.
/// Each job taken up either ends or moves on to its next key.
fn pass<C: Contexts<Inbound> + ?Sized>(
    contexts: &mut C,
    jobs: &mut [Job<'_>],
    progress: &mut [Progress; MAX_BATCH],
) {
    let mut tries: Tries = [const { None }; MAX_BATCH];
    let mut kernel = Kernel::PORTABLE;
    let mut fresh: ArrayVec<usize, MAX_BATCH> = ArrayVec::new();
    for ((job, state), slot) in jobs.iter_mut().zip(progress.iter_mut()).zip(&mut tries) {
        if state.done || fresh.contains(&job.context) {
            continue;
        }
        let Some(context) = contexts.get(job.context) else {
            (job.result, state.done) = (Err(Error::NoKey), true);
            continue;
        };
        if context.fresh() && job.kind == Kind::Rtp {
            fresh.push(job.context);
        }
        match plan(context, job, state) {
            Ok(attempt) => {
                kernel = context.key(attempt.key).map_or(kernel, |keys| keys.kernel());
                *slot = Some(attempt);
            }
            Err(error) => (job.result, state.done) = (Err(error), true),
        }
    }
    authenticate_counter(kernel, contexts, jobs, &mut tries);
    open_gcm(kernel, contexts, jobs, &mut tries);
    for ((job, state), attempt) in jobs.iter_mut().zip(progress).zip(&tries) {
        let Some(attempt) = attempt else { continue };
        if attempt.authentic {
            commit(contexts, job, attempt);
            state.done = true;
        } else {
            (state.key, state.tried) = (attempt.key + 1, true);
        }
    }
    decrypt_counter(kernel, contexts, jobs, &tries);
    restore_gcm(kernel, contexts, jobs, &tries);
}

/// Estimate the index, check for replay, find the parts under the next key that may fit.
fn plan(context: &Inbound, job: &Job<'_>, state: &Progress) -> Result<Try, Error> {
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
    let mut failure = if state.tried { Error::AuthFailed } else { Error::UnknownMki };
    for key in state.key.. {
        let Some(keys) = context.key(key) else { return Err(failure) };
        let Some(parts) = Parts::find(packet, keys, job.kind, clear) else {
            // Too short for this key; a shorter tag or MKI of another may still fit.
            if failure == Error::UnknownMki {
                failure = Error::TooShort;
            }
            continue;
        };
        if parts.mki != keys.mki().as_slice() {
            continue;
        }
        let index = match job.kind {
            Kind::Rtp => context.estimate(sequence)?,
            Kind::Rtcp => u64::from(u32::from_be_bytes(parts.word) & !E_FLAG),
        };
        context.check(job.kind, index)?;
        if context.expired(job.kind, key) {
            return Err(Error::KeyExpired);
        }
        if job.kind == Kind::Rtcp && (parts.word[0] & 0x80 != 0) != keys.rtcp.encrypt {
            return Err(Error::NotEncrypted);
        }
        let word = match job.kind {
            Kind::Rtp => ((index >> 16) as u32).to_be_bytes(),
            Kind::Rtcp => parts.word,
        };
        return Ok(Try { ssrc, index, key, clear, end: parts.end, tag: parts.tag, word, authentic: false });
    }
    Err(failure)
}

/// Where a suite puts what follows the payload.
struct Parts<'a> {
    end: usize,
    tag: usize,
    word: [u8; 4],
    mki: &'a [u8],
}

impl<'a> Parts<'a> {
    fn find(packet: &'a [u8], keys: &SessionKeys, kind: Kind, clear: usize) -> Option<Self> {
        let direction = keys.direction(kind);
        let (tag_len, mki_len) = (direction.tag, keys.mki().len());
        let word_len = if kind == Kind::Rtcp { 4 } else { 0 };
        let end = packet.len().checked_sub(tag_len + mki_len + word_len)?;
        if end < clear {
            return None;
        }
        // Counter mode: packet ‖ word ‖ MKI ‖ tag (RFC 3711 figures 1 and 2).
        // GCM: packet ‖ tag ‖ word ‖ MKI (RFC 7714 figures 1 and 2).
        let (word, mki, tag) = match direction.cipher {
            Cipher::CounterHmac { .. } => (end, end + word_len, end + word_len + mki_len),
            Cipher::Gcm(_) => (end + tag_len, end + tag_len + word_len, end),
        };
        let word = packet.get(word..word + 4).filter(|_| word_len == 4);
        Some(Self {
            end,
            tag,
            word: word.and_then(|word| word.try_into().ok()).unwrap_or_default(),
            mki: packet.get(mki..mki + mki_len)?,
        })
    }
}

/// Tag check in constant time.
fn authenticate_counter<C: Contexts<Inbound> + ?Sized>(
    kernel: Kernel,
    contexts: &C,
    jobs: &[Job<'_>],
    tries: &mut Tries,
) {
    let mut macs: ArrayVec<MacJob<'_>, MAX_BATCH> = ArrayVec::new();
    for (job, attempt) in jobs.iter().zip(tries.iter()) {
        let Some((attempt, direction)) = attempted(contexts, job, attempt.as_ref()) else { continue };
        if let Cipher::CounterHmac { mac, .. } = &direction.cipher {
            macs.push(MacJob { key: mac, data: [&job.packet[..attempt.end], &attempt.word], tag: [0; 20] });
        }
    }
    hmac_sha1(kernel, &mut macs);
    let tags: ArrayVec<[u8; 20], MAX_BATCH> = macs.iter().map(|mac| mac.tag).collect();
    drop(macs);

    let mut tags = tags.iter();
    for (job, attempt) in jobs.iter().zip(tries.iter_mut()) {
        let Some((_, direction)) = attempted(contexts, job, attempt.as_ref()) else { continue };
        let (Cipher::CounterHmac { .. }, Some(attempt)) = (&direction.cipher, attempt) else { continue };
        let Some(tag) = tags.next() else { continue };
        let given = &job.packet[attempt.tag..attempt.tag + direction.tag];
        attempt.authentic = bool::from(tag[..direction.tag].ct_eq(given));
    }
}

/// Decryption of what the commit has accepted.
fn decrypt_counter<C: Contexts<Inbound> + ?Sized>(
    kernel: Kernel,
    contexts: &C,
    jobs: &mut [Job<'_>],
    tries: &Tries,
) {
    let mut runs: ArrayVec<CtrJob<'_>, MAX_BATCH> = ArrayVec::new();
    for (job, attempt) in jobs.iter_mut().zip(tries) {
        let Some((attempt, direction)) = attempted(contexts, job, attempt.as_ref()) else { continue };
        if let Cipher::CounterHmac { key, .. } = &direction.cipher
            && attempt.authentic
            && job.result.is_ok()
            && direction.encrypt
        {
            let iv = counter_iv(&direction.salt, attempt.ssrc, attempt.index);
            runs.push(CtrJob { key, iv, data: &mut job.packet[attempt.clear..attempt.end] });
        }
    }
    ctr(kernel, &mut runs);
}

/// Tag check and decryption in one (RFC 7714 §8, §9).
fn open_gcm<C: Contexts<Inbound> + ?Sized>(
    kernel: Kernel,
    contexts: &C,
    jobs: &mut [Job<'_>],
    tries: &mut Tries,
) {
    let mut aads = [[0; CLEAR_LEN + 4]; MAX_BATCH];
    let mut runs: ArrayVec<GcmJob<'_>, MAX_BATCH> = ArrayVec::new();
    for ((job, attempt), aad) in jobs.iter_mut().zip(tries.iter()).zip(&mut aads) {
        let Some((attempt, direction)) = attempted(contexts, job, attempt.as_ref()) else { continue };
        let Cipher::Gcm(key) = &direction.cipher else { continue };
        let iv = gcm_iv(&direction.salt, attempt.ssrc, attempt.index);
        let mut tag = [0; 16];
        tag.copy_from_slice(&job.packet[attempt.tag..attempt.tag + 16]);
        let (aad, data): (&[u8], _) = if job.kind == Kind::Rtp {
            let (header, rest) = job.packet.split_at_mut(attempt.clear);
            (header, &mut rest[..attempt.end - attempt.clear])
        } else if direction.encrypt {
            aad[..CLEAR_LEN].copy_from_slice(&job.packet[..CLEAR_LEN]);
            aad[CLEAR_LEN..].copy_from_slice(&attempt.word);
            (aad, &mut job.packet[attempt.clear..attempt.end])
        } else {
            // All of the packet is associated data; the word moves up to it, and back below.
            job.packet[attempt.end..attempt.end + 4].copy_from_slice(&attempt.word);
            let (all, rest) = job.packet.split_at_mut(attempt.end + 4);
            (all, &mut rest[..0])
        };
        runs.push(GcmJob { key, iv, aad, data, tag, ok: false });
    }
    if runs.is_empty() {
        return;
    }
    gcm_open(kernel, &mut runs);
    let opened: ArrayVec<([u8; 16], bool), MAX_BATCH> = runs.iter().map(|run| (run.tag, run.ok)).collect();
    drop(runs);

    let mut opened = opened.iter();
    for (job, attempt) in jobs.iter_mut().zip(tries.iter_mut()) {
        let Some((_, direction)) = attempted(contexts, job, attempt.as_ref()) else { continue };
        let (Cipher::Gcm(_), Some(attempt)) = (&direction.cipher, attempt) else { continue };
        let Some((tag, ok)) = opened.next() else { continue };
        attempt.authentic = *ok;
        if job.kind == Kind::Rtcp && !direction.encrypt {
            job.packet[attempt.tag..attempt.tag + 4].copy_from_slice(&tag[..4]);
        }
    }
}

/// Puts back the ciphertext of what was opened and then refused as a replay: a copy in the same batch.
/// The same plaintext under the same IV gives the same octets; the tag was never touched.
fn restore_gcm<C: Contexts<Inbound> + ?Sized>(
    kernel: Kernel,
    contexts: &C,
    jobs: &mut [Job<'_>],
    tries: &Tries,
) {
    for (job, attempt) in jobs.iter_mut().zip(tries) {
        let Some((attempt, direction)) = attempted(contexts, job, attempt.as_ref()) else { continue };
        let Cipher::Gcm(key) = &direction.cipher else { continue };
        if attempt.authentic && job.result.is_err() && direction.encrypt {
            let iv = gcm_iv(&direction.salt, attempt.ssrc, attempt.index);
            let data = &mut job.packet[attempt.clear..attempt.end];
            gcm_seal(kernel, &mut [GcmJob { key, iv, aad: &[], data, tag: [0; 16], ok: false }]);
        }
    }
}

/// The final verdict on replay.
fn commit<C: Contexts<Inbound> + ?Sized>(contexts: &mut C, job: &mut Job<'_>, attempt: &Try) {
    let Some(context) = contexts.get_mut(job.context) else { return };
    job.result = context.commit(job.kind, attempt.index, attempt.key);
    if job.result.is_ok() {
        job.len = attempt.end;
    }
}

fn attempted<'c, 't, C: Contexts<Inbound> + ?Sized>(
    contexts: &'c C,
    job: &Job<'_>,
    attempt: Option<&'t Try>,
) -> Option<(&'t Try, &'c Direction)> {
    let attempt = attempt?;
    Some((attempt, contexts.get(job.context)?.key(attempt.key)?.direction(job.kind)))
}
