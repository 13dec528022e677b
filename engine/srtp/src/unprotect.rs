//! Receiving: SRTP to RTP, SRTCP to RTCP.

use arrayvec::ArrayVec;
use sluice_kernels::{CtrJob, GcmJob, Kernel, MacJob, ctr, gcm_open, gcm_seal, hmac_sha1};

use crate::keys::{Cipher, Direction};
use crate::protect::{gcm_iv, rtcp_sender};
use crate::rtcp::CLEAR_LEN;
use crate::rtp::Header;
use crate::transform::{E_FLAG, MAX_KEYSTREAM, same_tag};
use crate::{Contexts, Error, Inbound, Job, Kind, MAX_BATCH, SessionKeys};

/// One try at a packet with one of its context's keys.
#[derive(Clone, Copy)]
struct Try {
    /// Which job of the batch.
    job: u8,
    /// Which of the context's keys.
    key: u8,
    authentic: bool,
    /// First encrypted octet, and one past the last; the length of the result.
    clear: u32,
    end: u32,
    /// Where the tag begins.
    tag: u32,
    /// ROC for RTP, E flag and index for RTCP.
    word: [u8; 4],
    /// Of RTCP under GCM: what is authenticated, in one piece.
    aad: [u8; CLEAR_LEN + 4],
    index: u64,
    iv: [u8; 16],
}

impl Try {
    const EMPTY: Self = Self {
        job: 0,
        key: 0,
        authentic: false,
        clear: 0,
        end: 0,
        tag: 0,
        word: [0; 4],
        aad: [0; CLEAR_LEN + 4],
        index: 0,
        iv: [0; 16],
    };
}

/// The keys of the tries, in the same order.
type Keys<'c, const N: usize> = ArrayVec<&'c SessionKeys, N>;

/// Where the jobs of a batch are between passes, a bit for each.
struct Progress {
    /// Jobs that still want a verdict.
    open: u32,
    /// Jobs for which one key did not do; only then is `next` of account.
    again: u32,
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
    let mut progress = Progress { open, again: 0, next: [0; MAX_BATCH] };
    while progress.open != 0 {
        pass::<_, N>(contexts, jobs, &mut progress);
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
    let mut planned = 0;
    let mut fresh: ArrayVec<usize, N> = ArrayVec::new();
    for (number, job) in jobs.iter_mut().enumerate() {
        let bit = 1 << number;
        if progress.open & bit == 0 || (!fresh.is_empty() && fresh.contains(&job.context)) {
            continue;
        }
        let outcome = match contexts.get(job.context) {
            None => Err(Error::NoKey),
            Some(context) => {
                if job.kind == Kind::Rtp && context.fresh() {
                    fresh.push(job.context);
                }
                let attempt = &mut tries[planned];
                attempt.job = number as u8;
                let tried = progress.again & bit != 0;
                attempt.key = if tried { progress.next[number] } else { 0 };
                plan(context, job, tried, attempt)
            }
        };
        match outcome {
            Ok(()) => planned += 1,
            Err(error) => {
                job.result = Err(error);
                progress.open &= !bit;
            }
        }
    }
    let tries = &mut tries[..planned];
    let Some(kernel) = check::<_, N>(contexts, jobs, tries) else { return };
    for attempt in &*tries {
        let bit = 1 << attempt.job;
        if attempt.authentic {
            commit(contexts, &mut jobs[usize::from(attempt.job)], attempt);
            progress.open &= !bit;
        } else {
            progress.again |= bit;
            progress.next[usize::from(attempt.job)] = attempt.key + 1;
        }
    }
    decrypt::<_, N>(kernel, contexts, jobs, tries);
}

/// Estimate the index, check for replay, find the parts under the next key that may fit: the try's own, or
/// one after it.
#[allow(clippy::inline_always, reason = "called apart, it would fill the plan by way of the stack")]
#[inline(always)]
fn plan(context: &Inbound, job: &Job<'_>, tried: bool, attempt: &mut Try) -> Result<(), Error> {
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
    let mut failure = if tried { Error::AuthFailed } else { Error::UnknownMki };
    for key in attempt.key.. {
        let Some(keys) = context.key(usize::from(key)) else { return Err(failure) };
        let direction = keys.direction(job.kind);
        let Some(parts) = Parts::find(packet, direction, job.kind, clear) else {
            // Too short for this key; a shorter tag or MKI of another may still fit.
            if failure == Error::UnknownMki {
                failure = Error::TooShort;
            }
            continue;
        };
        if direction.mki != 0 && parts.mki != keys.mki().as_slice() {
            continue;
        }
        let index = match job.kind {
            Kind::Rtp => context.estimate(sequence)?,
            Kind::Rtcp => u64::from(u32::from_be_bytes(parts.word) & !E_FLAG),
        };
        context.check(job.kind, index)?;
        if context.expired(job.kind, usize::from(key)) {
            return Err(Error::KeyExpired);
        }
        if job.kind == Kind::Rtcp && (parts.word[0] & 0x80 != 0) != direction.encrypt {
            return Err(Error::NotEncrypted);
        }
        attempt.key = key;
        attempt.authentic = false;
        (attempt.clear, attempt.end, attempt.tag) = (clear as u32, parts.end as u32, parts.tag as u32);
        attempt.index = index;
        attempt.iv = direction.iv(ssrc, index);
        attempt.word = match job.kind {
            Kind::Rtp => ((index >> 16) as u32).to_be_bytes(),
            Kind::Rtcp => {
                attempt.aad[..CLEAR_LEN].copy_from_slice(&packet[..CLEAR_LEN]);
                attempt.aad[CLEAR_LEN..].copy_from_slice(&parts.word);
                parts.word
            }
        };
        return Ok(());
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
    fn find(packet: &'a [u8], direction: &Direction, kind: Kind, clear: usize) -> Option<Self> {
        let (tag_len, mki_len) = (usize::from(direction.tag), usize::from(direction.mki));
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

/// The keys of the tries.
fn keys_of<'c, C: Contexts<Inbound> + ?Sized, const N: usize>(
    contexts: &'c C,
    jobs: &[Job<'_>],
    tries: &[Try],
) -> Keys<'c, N> {
    let mut keys = Keys::new();
    for attempt in tries {
        let context = contexts.get(jobs[usize::from(attempt.job)].context);
        match context.and_then(|context| context.key(usize::from(attempt.key))) {
            Some(found) => keys.push(found),
            None => unreachable!("stage 1 found the context and its key"),
        }
    }
    keys
}

/// Checks all tags in constant time; what GCM protects is decrypted, too. The kernel that did it, if there
/// was anything to do.
fn check<C: Contexts<Inbound> + ?Sized, const N: usize>(
    contexts: &C,
    jobs: &mut [Job<'_>],
    tries: &mut [Try],
) -> Option<Kernel> {
    let keys: Keys<'_, N> = keys_of(contexts, jobs, tries);
    let kernel = keys.first()?.kernel();
    check_counter(kernel, jobs, tries, &keys);
    open_gcm(kernel, jobs, tries, &keys);
    Some(kernel)
}

fn check_counter<const N: usize>(kernel: Kernel, jobs: &[Job<'_>], tries: &mut [Try], keys: &Keys<'_, N>) {
    let mut macs: ArrayVec<MacJob<'_>, N> = ArrayVec::new();
    for (attempt, keys) in tries.iter().zip(keys) {
        let job = &jobs[usize::from(attempt.job)];
        if let Cipher::CounterHmac { mac, .. } = &keys.direction(job.kind).cipher {
            let data: [&[u8]; 2] = [&job.packet[..attempt.end as usize], &attempt.word];
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
    for (attempt, keys) in tries.iter_mut().zip(keys) {
        let job = &jobs[usize::from(attempt.job)];
        let Direction { cipher: Cipher::CounterHmac { .. }, tag: len, .. } = keys.direction(job.kind) else {
            continue;
        };
        let Some(tag) = tags.next() else { continue };
        let (at, len) = (attempt.tag as usize, usize::from(*len));
        attempt.authentic = same_tag(&tag[..len], &job.packet[at..at + len]);
    }
}

/// Tag check and decryption in one (RFC 7714 §8, §9).
fn open_gcm<const N: usize>(kernel: Kernel, jobs: &mut [Job<'_>], tries: &mut [Try], keys: &Keys<'_, N>) {
    let mut runs: ArrayVec<GcmJob<'_>, N> = ArrayVec::new();
    let mut todo = tries.iter().zip(keys).peekable();
    for (number, job) in jobs.iter_mut().enumerate() {
        let Some((attempt, keys)) = todo.next_if(|(attempt, _)| usize::from(attempt.job) == number) else {
            continue;
        };
        let direction = keys.direction(job.kind);
        let Cipher::Gcm(key) = &direction.cipher else { continue };
        let (clear, end, at) = (attempt.clear as usize, attempt.end as usize, attempt.tag as usize);
        let mut tag = [0; 16];
        tag.copy_from_slice(&job.packet[at..at + 16]);
        let (aad, data): (&[u8], _) = if job.kind == Kind::Rtp {
            let (header, rest) = job.packet.split_at_mut(clear);
            (header, &mut rest[..end - clear])
        } else if direction.encrypt {
            (&attempt.aad, &mut job.packet[clear..end])
        } else {
            // All of the packet is associated data; the word moves up to it, and back below.
            job.packet[end..end + 4].copy_from_slice(&attempt.word);
            let (all, rest) = job.packet.split_at_mut(end + 4);
            (all, &mut rest[..0])
        };
        runs.push(GcmJob { key, iv: gcm_iv(&attempt.iv), aad, data, tag, ok: false });
    }
    if runs.is_empty() {
        return;
    }
    gcm_open(kernel, &mut runs);
    let opened: ArrayVec<([u8; 16], bool), N> = runs.iter().map(|run| (run.tag, run.ok)).collect();
    drop(runs);

    let mut opened = opened.iter();
    for (attempt, keys) in tries.iter_mut().zip(keys) {
        let job = &mut jobs[usize::from(attempt.job)];
        let direction = keys.direction(job.kind);
        let Cipher::Gcm(_) = &direction.cipher else { continue };
        let Some((tag, ok)) = opened.next() else { continue };
        attempt.authentic = *ok;
        if job.kind == Kind::Rtcp && !direction.encrypt {
            let at = attempt.tag as usize;
            job.packet[at..at + 4].copy_from_slice(&tag[..4]);
        }
    }
}

/// The final verdict on replay.
fn commit<C: Contexts<Inbound> + ?Sized>(contexts: &mut C, job: &mut Job<'_>, attempt: &Try) {
    let Some(context) = contexts.get_mut(job.context) else { return };
    job.result = context.commit(job.kind, attempt.index, usize::from(attempt.key));
    if job.result.is_ok() {
        job.len = attempt.end as usize;
    }
}

/// Counter mode decrypts what the commit has accepted. What GCM opened and the commit then refused as a
/// replay, a copy in the same batch, gets its cipher text back: the same plaintext under the same IV gives
/// the same octets; the tag was never touched.
fn decrypt<C: Contexts<Inbound> + ?Sized, const N: usize>(
    kernel: Kernel,
    contexts: &C,
    jobs: &mut [Job<'_>],
    tries: &[Try],
) {
    let keys: Keys<'_, N> = keys_of(contexts, jobs, tries);
    let mut runs: ArrayVec<CtrJob<'_>, N> = ArrayVec::new();
    let mut todo = tries.iter().zip(&keys).peekable();
    for (number, job) in jobs.iter_mut().enumerate() {
        let Some((attempt, keys)) = todo.next_if(|(attempt, _)| usize::from(attempt.job) == number) else {
            continue;
        };
        let direction = keys.direction(job.kind);
        if !direction.encrypt || !attempt.authentic {
            continue;
        }
        let data = &mut job.packet[attempt.clear as usize..attempt.end as usize];
        match &direction.cipher {
            Cipher::CounterHmac { key, .. } if job.result.is_ok() => {
                runs.push(CtrJob { key, iv: attempt.iv, data });
            }
            Cipher::Gcm(key) if job.result.is_err() => {
                let iv = gcm_iv(&attempt.iv);
                gcm_seal(kernel, &mut [GcmJob { key, iv, aad: &[], data, tag: [0; 16], ok: false }]);
            }
            Cipher::CounterHmac { .. } | Cipher::Gcm(_) => {}
        }
    }
    if !runs.is_empty() {
        ctr(kernel, &mut runs);
    }
}
