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

type Tries = ArrayVec<Try, MAX_BATCH>;
/// The keys of the tries, in the same order.
type Keys<'c> = ArrayVec<&'c SessionKeys, MAX_BATCH>;

/// Where the jobs of a batch are between passes, a bit for each.
struct Progress {
    /// Jobs that still want a verdict.
    open: u64,
    /// Jobs on which a key was tried.
    tried: u64,
    /// Jobs for which one key did not do; only then is `next` of account.
    again: u64,
    /// The next key to try.
    next: [u8; MAX_BATCH],
}

const _: () = assert!(MAX_BATCH == u64::BITS as usize, "a bit for each job of a batch");

/// Unprotects every job's packet in place; each gets its own result. A job that fails leaves its
/// packet as it was.
///
/// Keys without MKI are tried newest first. A context that has not seen a packet yet decides on its
/// first one before it looks at the next, whose index depends on it.
pub fn unprotect<C: Contexts<Inbound> + ?Sized>(contexts: &mut C, jobs: &mut [Job<'_>]) {
    for batch in jobs.chunks_mut(MAX_BATCH) {
        if batch.len() > 1 {
            prefetch(contexts, batch);
        }
        let open = u64::MAX >> (MAX_BATCH - batch.len());
        let mut progress = Progress { open, tried: 0, again: 0, next: [0; MAX_BATCH] };
        while progress.open != 0 {
            pass(contexts, batch, &mut progress);
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
fn pass<C: Contexts<Inbound> + ?Sized>(contexts: &mut C, jobs: &mut [Job<'_>], progress: &mut Progress) {
    let mut tries = Tries::new();
    let mut fresh: ArrayVec<usize, MAX_BATCH> = ArrayVec::new();
    for (number, job) in jobs.iter_mut().enumerate() {
        let bit = 1 << number;
        if progress.open & bit == 0 || (!fresh.is_empty() && fresh.contains(&job.context)) {
            continue;
        }
        let planned = match contexts.get(job.context) {
            None => Err(Error::NoKey),
            Some(context) => {
                if job.kind == Kind::Rtp && context.fresh() {
                    fresh.push(job.context);
                }
                let first = if progress.again & bit == 0 { 0 } else { progress.next[number] };
                plan(context, job, number as u8, first, progress.tried & bit != 0)
            }
        };
        match planned {
            Ok(attempt) => tries.push(attempt),
            Err(error) => {
                job.result = Err(error);
                progress.open &= !bit;
            }
        }
    }
    let Some(kernel) = check(contexts, jobs, &mut tries) else { return };
    for attempt in &tries {
        let job = &mut jobs[usize::from(attempt.job)];
        let bit = 1 << attempt.job;
        if attempt.authentic {
            commit(contexts, job, attempt);
            progress.open &= !bit;
        } else {
            progress.tried |= bit;
            progress.again |= bit;
            progress.next[usize::from(attempt.job)] = attempt.key + 1;
        }
    }
    tries.retain(|attempt| attempt.authentic);
    decrypt(kernel, contexts, jobs, &tries);
}

/// Estimate the index, check for replay, find the parts under the next key that may fit.
fn plan(context: &Inbound, job: &Job<'_>, number: u8, first: u8, tried: bool) -> Result<Try, Error> {
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
    for key in first.. {
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
        let mut aad = [0; CLEAR_LEN + 4];
        let word = match job.kind {
            Kind::Rtp => ((index >> 16) as u32).to_be_bytes(),
            Kind::Rtcp => {
                aad[..CLEAR_LEN].copy_from_slice(&packet[..CLEAR_LEN]);
                aad[CLEAR_LEN..].copy_from_slice(&parts.word);
                parts.word
            }
        };
        return Ok(Try {
            job: number,
            key,
            authentic: false,
            clear: clear as u32,
            end: parts.end as u32,
            tag: parts.tag as u32,
            word,
            aad,
            index,
            iv: direction.iv(ssrc, index),
        });
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
fn keys_of<'c, C: Contexts<Inbound> + ?Sized>(contexts: &'c C, jobs: &[Job<'_>], tries: &Tries) -> Keys<'c> {
    let key =
        |attempt: &Try| contexts.get(jobs[usize::from(attempt.job)].context)?.key(usize::from(attempt.key));
    let mut keys = Keys::new();
    for attempt in tries {
        match key(attempt) {
            Some(found) => keys.push(found),
            None => unreachable!("stage 1 found the context and its key"),
        }
    }
    keys
}

/// Checks all tags in constant time; what GCM protects is decrypted, too. The kernel that did it, if there
/// was anything to do.
fn check<C: Contexts<Inbound> + ?Sized>(
    contexts: &C,
    jobs: &mut [Job<'_>],
    tries: &mut Tries,
) -> Option<Kernel> {
    let keys = keys_of(contexts, jobs, tries);
    let kernel = keys.first()?.kernel();
    check_counter(kernel, jobs, tries, &keys);
    open_gcm(kernel, jobs, tries, &keys);
    Some(kernel)
}

fn check_counter(kernel: Kernel, jobs: &[Job<'_>], tries: &mut Tries, keys: &Keys<'_>) {
    let mut macs: ArrayVec<MacJob<'_>, MAX_BATCH> = ArrayVec::new();
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
    let tags: ArrayVec<[u8; 20], MAX_BATCH> = macs.iter().map(|mac| mac.tag).collect();
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
fn open_gcm(kernel: Kernel, jobs: &mut [Job<'_>], tries: &mut Tries, keys: &Keys<'_>) {
    let mut runs: ArrayVec<GcmJob<'_>, MAX_BATCH> = ArrayVec::new();
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
    let opened: ArrayVec<([u8; 16], bool), MAX_BATCH> = runs.iter().map(|run| (run.tag, run.ok)).collect();
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
fn decrypt<C: Contexts<Inbound> + ?Sized>(kernel: Kernel, contexts: &C, jobs: &mut [Job<'_>], tries: &Tries) {
    let keys = keys_of(contexts, jobs, tries);
    let mut runs: ArrayVec<CtrJob<'_>, MAX_BATCH> = ArrayVec::new();
    let mut todo = tries.iter().zip(&keys).peekable();
    for (number, job) in jobs.iter_mut().enumerate() {
        let Some((attempt, keys)) = todo.next_if(|(attempt, _)| usize::from(attempt.job) == number) else {
            continue;
        };
        let direction = keys.direction(job.kind);
        if !direction.encrypt {
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
