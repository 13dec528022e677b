//! HMAC-SHA1 (RFC 2104) over batches: which messages run in step, and what their last blocks are.

use arrayvec::ArrayVec;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::sha1_ni::{BLOCK, compress};
use super::sha1_x16::{LANES, States};
use super::{Aesni, Avx512};
use crate::{MacJob, SHA1_LEN};

/// Jobs that are sorted together.
const CHUNK: usize = 64;
/// Streams of SHA-NI in step. Measured per block: see `benches/hmac.rs`.
const STREAMS: usize = 4;
/// From so many jobs on a pass of sixteen lanes is cheaper than SHA-NI.
const CROSSOVER: usize = 7;

/// A SHA-1 state: a, b, c, d, e.
#[derive(Clone, Zeroize)]
pub(crate) struct State(pub(super) [u32; 5]);

impl State {
    /// FIPS 180-4 §5.3.1.
    const INITIAL: Self = Self([0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]);

    fn digest(&self) -> [u8; SHA1_LEN] {
        let mut digest = [0; SHA1_LEN];
        for (octets, word) in digest.as_chunks_mut().0.iter_mut().zip(self.0) {
            *octets = word.to_be_bytes();
        }
        digest
    }
}

/// The states after the inner and the outer pad.
#[derive(ZeroizeOnDrop)]
pub(crate) struct HmacKey {
    inner: State,
    outer: State,
    #[zeroize(skip)]
    cpu: Aesni,
}

impl HmacKey {
    pub(crate) fn new(cpu: Aesni, key: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        if key.len() <= BLOCK {
            block[..key.len()].copy_from_slice(key);
        } else {
            let mut digest = sha1(cpu, key);
            block[..SHA1_LEN].copy_from_slice(&digest);
            digest.zeroize();
        }
        let mut pads = [block.map(|octet| octet ^ 0x36), block.map(|octet| octet ^ 0x5c)];
        let mut states = [State::INITIAL; 2];
        compress(cpu, &mut states, [&pads[0], &pads[1]]);
        pads.zeroize();
        block.zeroize();
        let [inner, outer] = states;
        Self { inner, outer, cpu }
    }
}

/// SHA-1 of a key that is longer than a block.
fn sha1(cpu: Aesni, message: &[u8]) -> [u8; SHA1_LEN] {
    let mut states = [State::INITIAL];
    let mut run = |block: &[u8; BLOCK]| compress(cpu, &mut states, [block]);
    let (blocks, rest) = message.as_chunks();
    blocks.iter().for_each(&mut run);
    let mut tail = [0; 2 * BLOCK];
    let used = pad(&mut tail, rest.len(), message.len(), |tail| tail[..rest.len()].copy_from_slice(rest));
    tail[..used].as_chunks().0.iter().for_each(&mut run);
    tail.zeroize();
    states[0].digest()
}

/// Fills a zeroed tail with what `content` writes, `len` octets, and the padding of a message of `total`
/// octets (FIPS 180-4 §5.1.1); the octets used, whole blocks.
fn pad(tail: &mut [u8; 2 * BLOCK], len: usize, total: usize, content: impl FnOnce(&mut [u8])) -> usize {
    content(tail);
    tail[len] = 0x80;
    let used = if len + 9 <= BLOCK { BLOCK } else { 2 * BLOCK };
    tail[used - 8..used].copy_from_slice(&(total as u64 * 8).to_be_bytes());
    used
}

/// An inner message, cut into blocks: whole ones of the first segment, then the tail.
struct Message<'a> {
    blocks: &'a [[u8; BLOCK]],
    tail: [u8; 2 * BLOCK],
    /// Blocks of both.
    count: u32,
}

impl<'a> Message<'a> {
    /// `None` if the second segment is longer than a tail can take.
    #[inline]
    fn new(data: [&'a [u8]; 2]) -> Option<Self> {
        let [first, second] = data;
        let (blocks, rest) = first.as_chunks();
        let len = rest.len() + second.len();
        if len + 9 > 2 * BLOCK {
            return None;
        }
        let mut tail = [0; 2 * BLOCK];
        // The key's pad is a block before the message.
        let used = pad(&mut tail, len, BLOCK + first.len() + second.len(), |tail| {
            tail[..rest.len()].copy_from_slice(rest);
            // The ROC, in nearly all cases: one move instead of a call.
            match <&[u8; 4]>::try_from(second) {
                Ok(roc) => tail[rest.len()..rest.len() + 4].copy_from_slice(roc),
                Err(_) => tail[rest.len()..len].copy_from_slice(second),
            }
        });
        Some(Self { blocks, tail, count: (blocks.len() + used / BLOCK) as u32 })
    }

    #[inline]
    fn block(&self, at: u32) -> &[u8; BLOCK] {
        let at = at as usize;
        match self.blocks.get(at) {
            Some(block) => block,
            None => &self.tail.as_chunks().0[usize::from(at > self.blocks.len())],
        }
    }
}

/// One message with two segments of any lengths.
pub(crate) fn one(key: &HmacKey, data: [&[u8]; 2]) -> [u8; SHA1_LEN] {
    if let Some(message) = Message::new(data) {
        return streams(key.cpu, [key], [&message])[0];
    }
    // Segments that SRTP does not have: block by block through a buffer.
    let mut states = [key.inner.clone()];
    let mut buffer = [0; BLOCK];
    let mut filled = 0;
    for octet in data.iter().copied().flatten() {
        buffer[filled] = *octet;
        filled += 1;
        if filled == BLOCK {
            compress(key.cpu, &mut states, [&buffer]);
            filled = 0;
        }
    }
    let mut tail = [0; 2 * BLOCK];
    let total = BLOCK + data[0].len() + data[1].len();
    let used = pad(&mut tail, filled, total, |tail| tail[..filled].copy_from_slice(&buffer[..filled]));
    for block in tail[..used].as_chunks().0 {
        compress(key.cpu, &mut states, [block]);
    }
    finish(key.cpu, [key], states)[0]
}

/// `N` messages in step by SHA-NI, as long as each has blocks.
fn streams<const N: usize>(
    cpu: Aesni,
    keys: [&HmacKey; N],
    messages: [&Message<'_>; N],
) -> [[u8; SHA1_LEN]; N] {
    let mut states = keys.map(|key| key.inner.clone());
    let together = messages.iter().map(|message| message.count).min().unwrap_or(0);
    for at in 0..together {
        compress(cpu, &mut states, messages.map(|message| message.block(at)));
    }
    for (state, message) in states.iter_mut().zip(messages) {
        for at in together..message.count {
            compress(cpu, std::array::from_mut(state), [message.block(at)]);
        }
    }
    finish(cpu, keys, states)
}

/// The outer hashes.
fn finish<const N: usize>(cpu: Aesni, keys: [&HmacKey; N], inner: [State; N]) -> [[u8; SHA1_LEN]; N] {
    let mut block = [0; BLOCK];
    block[SHA1_LEN] = 0x80;
    block[BLOCK - 8..].copy_from_slice(&((BLOCK + SHA1_LEN) as u64 * 8).to_be_bytes());
    let blocks = inner.map(|inner| {
        let mut block = block;
        block[..SHA1_LEN].copy_from_slice(&inner.digest());
        block
    });
    let mut states = keys.map(|key| key.outer.clone());
    compress(cpu, &mut states, blocks.each_ref());
    states.map(|state| state.digest())
}

/// Four streams of SHA-NI.
pub(crate) fn aesni(cpu: Aesni, jobs: &mut [MacJob<'_>]) {
    for chunk in jobs.chunks_mut(CHUNK) {
        let ready = prepare(chunk);
        for group in ready.chunks(STREAMS) {
            by_streams(cpu, chunk, group);
        }
    }
}

/// Sixteen lanes, and SHA-NI for few.
pub(crate) fn avx512(cpu: Avx512, jobs: &mut [MacJob<'_>]) {
    for chunk in jobs.chunks_mut(CHUNK) {
        let ready = prepare(chunk);
        for group in ready.chunks(LANES) {
            if group.len() >= CROSSOVER {
                by_lanes(cpu, chunk, group);
            } else {
                for group in group.chunks(STREAMS) {
                    by_streams(cpu.into(), chunk, group);
                }
            }
        }
    }
}

/// A job's number in its chunk, key and message.
type Ready<'a> = (u8, &'a HmacKey, Message<'a>);

/// Messages, short ones first, so that those in step have like block counts. Jobs that cannot be cut into
/// blocks are done at once.
fn prepare<'a>(jobs: &mut [MacJob<'a>]) -> ArrayVec<Ready<'a>, CHUNK> {
    let mut ready: ArrayVec<Ready<'a>, CHUNK> = ArrayVec::new();
    let mut last = 0;
    let mut sorted = true;
    for (number, job) in jobs.iter_mut().enumerate() {
        match (job.key.x86(), Message::new(job.data)) {
            (Some(key), Some(message)) => {
                sorted &= message.count >= last;
                last = message.count;
                ready.push((number as u8, key, message));
            }
            _ => crate::mac::one(job),
        }
    }
    if !sorted {
        ready.sort_unstable_by_key(|(_, _, message)| message.count);
    }
    ready
}

fn by_streams(cpu: Aesni, jobs: &mut [MacJob<'_>], group: &[Ready<'_>]) {
    let mut run = |tags: &[[u8; SHA1_LEN]]| {
        for ((number, _, _), tag) in group.iter().zip(tags) {
            jobs[usize::from(*number)].tag = *tag;
        }
    };
    match group {
        [a] => run(&streams(cpu, [a.1], [&a.2])),
        [a, b] => run(&streams(cpu, [a.1, b.1], [&a.2, &b.2])),
        [a, b, c] => run(&streams(cpu, [a.1, b.1, c.1], [&a.2, &b.2, &c.2])),
        [a, b, c, d] => run(&streams(cpu, [a.1, b.1, c.1, d.1], [&a.2, &b.2, &c.2, &d.2])),
        _ => {}
    }
}

/// At most sixteen messages; lanes without one run along with the last.
fn by_lanes(cpu: Avx512, jobs: &mut [MacJob<'_>], group: &[Ready<'_>]) {
    let Some(last) = group.last() else { return };
    let lane = |lane: usize| group.get(lane).unwrap_or(last);
    let lanes: [&Ready<'_>; LANES] = std::array::from_fn(lane);
    let mut inner = States::gather(cpu, |at| &lanes[at].1.inner);
    let together = group[0].2.count;
    for at in 0..together {
        inner.compress(cpu, u16::MAX, lanes.map(|(_, _, message)| message.block(at)));
    }
    for at in together..last.2.count {
        let mut mask = 0;
        let blocks = std::array::from_fn(|lane| {
            let message = &lanes[lane].2;
            mask |= u16::from(at < message.count) << lane;
            message.block(at.min(message.count - 1))
        });
        inner.compress(cpu, mask, blocks);
    }
    let mut outer = States::gather(cpu, |at| &lanes[at].1.outer);
    outer.finish_outer(cpu, &inner);
    outer.scatter(cpu, |lane, state| {
        if let Some((number, _, _)) = group.get(lane) {
            jobs[usize::from(*number)].tag = state.digest();
        }
    });
}
