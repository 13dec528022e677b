//! HMAC-SHA1 (RFC 2104) over batches: which messages run in step, and what their last blocks are.

use std::mem::MaybeUninit;

use arrayvec::ArrayVec;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::sha1_ni::{BLOCK, States as Streams};
use super::sha1_x16::{LANES, States as Lanes, put_rest};
use super::{Aesni, Avx512};
use crate::{MacJob, SHA1_LEN};

/// Jobs that are sorted together.
const CHUNK: usize = 64;
/// Streams of SHA-NI in step.
const STREAMS: usize = 4;
/// What a block costs in sixteen lanes, however many are filled, and in four streams: picoseconds measured
/// on Zen 4 (`benches/hmac.rs`; on Zen 5 it is 90 and 48 ns). Nine jobs alike are cheaper in lanes.
const LANES_COST: usize = 149_000;
const STREAMS_COST: usize = 57_000;
/// Bits of what the outer hash of an HMAC hashes: a block and a digest.
pub(super) const OUTER_BITS: i32 = (BLOCK as i32 + SHA1_LEN as i32) * 8;

/// A SHA-1 state: a, b, c, d, e.
#[derive(Clone, Copy, Zeroize)]
#[repr(C)]
pub(crate) struct State(pub(super) [u32; 5]);

impl State {
    /// FIPS 180-4 §5.3.1.
    const INITIAL: Self = Self([0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]);

    #[inline]
    fn digest(&self) -> [u8; SHA1_LEN] {
        let mut digest = [0; SHA1_LEN];
        for (octets, word) in digest.as_chunks_mut().0.iter_mut().zip(self.0) {
            *octets = word.to_be_bytes();
        }
        digest
    }
}

/// The states after the inner and the outer pad, one after the other, as [`Lanes::of_keys`] reads them.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct HmacKey {
    words: [u32; 16],
    #[zeroize(skip)]
    cpu: Aesni,
}

impl HmacKey {
    pub(crate) fn new(cpu: Aesni, key: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        if key.len() <= BLOCK {
            block[..key.len()].copy_from_slice(key);
        } else {
            let mut state = sha1(cpu, key);
            block[..SHA1_LEN].copy_from_slice(&state.digest());
            state.zeroize();
        }
        let mut pads = [block.map(|octet| octet ^ 0x36), block.map(|octet| octet ^ 0x5c)];
        // SAFETY: the token proves SHA-NI, SSSE3 and SSE4.1.
        let mut states = unsafe { run(&[State::INITIAL; 2], [&pads[..1], &pads[1..]]) };
        let mut words = [0; 16];
        words[..5].copy_from_slice(&states[0].0);
        words[5..10].copy_from_slice(&states[1].0);
        pads.zeroize();
        block.zeroize();
        states.zeroize();
        Self { words, cpu }
    }

    #[inline]
    fn inner(&self) -> State {
        let [a, b, c, d, e, ..] = self.words;
        State([a, b, c, d, e])
    }

    #[inline]
    fn outer(&self) -> State {
        let [_, _, _, _, _, a, b, c, d, e, ..] = self.words;
        State([a, b, c, d, e])
    }
}

/// Runs states over as many blocks as the first of them has.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn run<const N: usize>(states: &[State; N], blocks: [&[[u8; BLOCK]]; N]) -> [State; N] {
    let mut running = Streams::load(states.each_ref());
    for at in 0..blocks[0].len() {
        running.compress(blocks.map(|blocks| &blocks[at]));
    }
    std::array::from_fn(|i| running.store(i))
}

/// SHA-1 of a key that is longer than a block.
fn sha1(cpu: Aesni, message: &[u8]) -> State {
    let (blocks, rest) = message.as_chunks();
    let mut tail = Tail::new(rest, &[], message.len());
    let states = [State::INITIAL];
    // SAFETY: the token proves SHA-NI, SSSE3 and SSE4.1.
    let state = unsafe { run(&run(&states, [blocks]), [tail.blocks()]) };
    tail.0.zeroize();
    let _ = cpu;
    state[0]
}

/// What is left of a message after its whole blocks, with the padding (FIPS 180-4 §5.1.1).
struct Tail([[u8; BLOCK]; 2], usize);

impl Tail {
    /// `rest` ‖ `more` end a message of `total` octets. They have at most two blocks less nine octets.
    #[inline]
    fn new(rest: &[u8], more: &[u8], total: usize) -> Self {
        let mut tail = Self([[0; BLOCK]; 2], 1);
        let octets = tail.0.as_flattened_mut();
        octets[..rest.len()].copy_from_slice(rest);
        let end = rest.len() + more.len();
        octets[rest.len()..end].copy_from_slice(more);
        octets[end] = 0x80;
        let used = 1 + usize::from(end + 9 > BLOCK);
        octets[used * BLOCK - 8..used * BLOCK].copy_from_slice(&(total as u64 * 8).to_be_bytes());
        tail.1 = used;
        tail
    }

    fn blocks(&self) -> &[[u8; BLOCK]] {
        &self.0[..self.1]
    }
}

/// Whole blocks, and the tail of a message that follows a key's pad.
#[derive(Clone, Copy)]
struct Message<'a> {
    key: &'a HmacKey,
    blocks: &'a [[u8; BLOCK]],
    rest: &'a [u8],
    /// What SRTP appends: the ROC, or E flag and index.
    word: [u8; 4],
    /// Which job of the chunk it is of.
    job: u8,
}

impl<'a> Message<'a> {
    /// `None` for what SRTP never asks for, or if the key is of another kernel.
    #[inline]
    fn of(job: &MacJob<'a>, number: usize) -> Option<Self> {
        let key = job.key.x86()?;
        let word = *job.data[1].first_chunk()?;
        let (blocks, rest) = job.data[0].as_chunks();
        (job.data[1].len() == 4).then_some(Self { key, blocks, rest, word, job: number as u8 })
    }

    /// Blocks, the tail's included.
    #[inline]
    fn count(&self) -> usize {
        self.blocks.len() + 1 + usize::from(self.rest.len() + 4 + 9 > BLOCK)
    }

    /// What follows the rest in a tail that is zero from there on.
    #[inline]
    fn pad(&self, tail: &mut [u8; 2 * BLOCK]) {
        // In eight octets, of which those after the first five are zero anyway.
        let [a, b, c, d] = self.word;
        let len = self.rest.len() % BLOCK;
        tail[len..len + 8].copy_from_slice(&[a, b, c, d, 0x80, 0, 0, 0]);
        let used = if len + 4 + 9 > BLOCK { 2 * BLOCK } else { BLOCK };
        // The key's pad is a block before the message.
        let bits = ((BLOCK + self.blocks.len() * BLOCK + len + 4) as u64 * 8).to_be_bytes();
        tail[used - 8..used].copy_from_slice(&bits);
    }

    /// Block number `at`, below [`Self::count`].
    #[inline]
    fn block<'b>(&'b self, tail: &'b [u8; 2 * BLOCK], at: usize) -> &'b [u8; BLOCK] {
        match self.blocks.get(at) {
            Some(block) => block,
            None => &tail.as_chunks().0[usize::from(at > self.blocks.len())],
        }
    }
}

/// Less than a block, without a call: in pieces of sixteen, eight, four, two octets and one.
#[inline]
fn copy_rest(from: &[u8], to: &mut [u8; 2 * BLOCK]) {
    let mut at = 0;
    while from.len() - at >= 16 {
        to[at..at + 16].copy_from_slice(&from[at..at + 16]);
        at += 16;
    }
    if from.len() - at >= 8 {
        to[at..at + 8].copy_from_slice(&from[at..at + 8]);
        at += 8;
    }
    if from.len() - at >= 4 {
        to[at..at + 4].copy_from_slice(&from[at..at + 4]);
        at += 4;
    }
    while at < from.len() {
        to[at] = from[at];
        at += 1;
    }
}

/// One message of two segments of any lengths.
pub(crate) fn one(key: &HmacKey, data: [&[u8]; 2]) -> [u8; SHA1_LEN] {
    let mut state = key.inner();
    let (blocks, rest) = data[0].as_chunks();
    let total = BLOCK + data[0].len() + data[1].len();
    // SAFETY: the key's token proves SHA-NI, SSSE3 and SSE4.1.
    unsafe {
        [state] = run(&[state], [blocks]);
        let mut joint = [0; BLOCK];
        joint[..rest.len()].copy_from_slice(rest);
        let fill = (BLOCK - rest.len()).min(data[1].len());
        let (fitting, more) = data[1].split_at(fill);
        joint[rest.len()..rest.len() + fill].copy_from_slice(fitting);
        let filled = rest.len() + fill;
        let tail = if filled < BLOCK {
            Tail::new(&joint[..filled], &[], total)
        } else {
            let (blocks, rest) = more.as_chunks();
            [state] = run(&[state], [&[joint]]);
            [state] = run(&[state], [blocks]);
            Tail::new(rest, &[], total)
        };
        let [inner] = run(&[state], [tail.blocks()]);
        let mut outer = Streams::load([&key.outer()]);
        outer.finish_outer(&Streams::load([&inner]));
        outer.store(0).digest()
    }
}

/// Four streams of SHA-NI.
pub(crate) fn aesni(cpu: Aesni, jobs: &mut [MacJob<'_>]) {
    for chunk in jobs.chunks_mut(CHUNK) {
        let (mut messages, mut order) = (Messages::new(), Order::new());
        prepare(chunk, &mut messages, &mut order);
        for group in order.chunks(STREAMS) {
            by_streams(cpu, chunk, &messages, group);
        }
    }
}

/// Sixteen lanes, and SHA-NI for few.
pub(crate) fn avx512(cpu: Avx512, jobs: &mut [MacJob<'_>]) {
    for chunk in jobs.chunks_mut(CHUNK) {
        let (mut messages, mut order) = (Messages::new(), Order::new());
        prepare(chunk, &mut messages, &mut order);
        for group in order.chunks(LANES) {
            let (short, long) = group.split_at(cut(group));
            if !short.is_empty() {
                // SAFETY: the token proves AVX-512F and BW.
                unsafe { by_lanes(chunk, &messages, short) };
            }
            for group in long.chunks(STREAMS) {
                by_streams(cpu.into(), chunk, &messages, group);
            }
        }
    }
}

/// A message's place among the messages in the lowest octet, above it its count of blocks.
type Place = u32;

fn place(place: Place) -> usize {
    (place & 0xff) as usize
}

fn count(place: Place) -> usize {
    (place >> 8) as usize
}

/// How many of at most sixteen messages, the shorter ones first, go by lanes for all to cost the least; the
/// others, few or far longer, go by streams. Each message has an outer block, too.
fn cut(group: &[Place]) -> usize {
    let blocks = |at: usize| count(group[at]) + 1;
    let by_lanes = |len: usize| if len == 0 { 0 } else { LANES_COST * blocks(len - 1) };
    let by_streams = |from: usize| -> usize {
        (from..group.len())
            .step_by(STREAMS)
            .map(|at| STREAMS_COST * blocks((at + STREAMS).min(group.len()) - 1))
            .sum()
    };
    let all_alike =
        group.first().zip(group.last()).is_some_and(|(first, last)| count(*first) == count(*last));
    let cuts = |at: &usize| *at == 0 || *at == group.len() || !all_alike && blocks(*at) > blocks(*at - 1);
    (0..=group.len()).filter(cuts).min_by_key(|at| by_lanes(*at) + by_streams(*at)).unwrap_or(0)
}

type Messages<'a> = ArrayVec<Message<'a>, CHUNK>;
type Order = ArrayVec<Place, CHUNK>;

/// Finds the messages, and their places by block counts, so that those in step have like ones. What SRTP
/// never asks for is done at once.
#[inline]
fn prepare<'a>(jobs: &mut [MacJob<'a>], messages: &mut Messages<'a>, order: &mut Order) {
    let (mut last, mut sorted) = (0, true);
    for (number, job) in jobs.iter_mut().enumerate() {
        if let Some(message) = Message::of(job, number) {
            let count = message.count() as Place;
            sorted &= count >= last;
            last = count;
            order.push(count << 8 | messages.len() as Place);
            messages.push(message);
        } else {
            crate::mac::one(job);
        }
    }
    if !sorted {
        order.sort_unstable();
    }
}

fn by_streams(_cpu: Aesni, jobs: &mut [MacJob<'_>], messages: &[Message<'_>], group: &[Place]) {
    // SAFETY: the token proves SHA-NI, SSSE3 and SSE4.1.
    unsafe {
        match *group {
            [a] => streams(jobs, messages, [a]),
            [a, b] => streams(jobs, messages, [a, b]),
            [a, b, c] => streams(jobs, messages, [a, b, c]),
            [a, b, c, d] => streams(jobs, messages, [a, b, c, d]),
            _ => {}
        }
    }
}

/// `N` messages in step, as long as each has blocks; shorter ones come first.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn streams<const N: usize>(jobs: &mut [MacJob<'_>], all: &[Message<'_>], group: [Place; N]) {
    let mut messages = [&all[place(group[0])]; N];
    let mut tails = [[0; 2 * BLOCK]; N];
    let mut states = [State([0; 5]); N];
    for i in 0..N {
        messages[i] = &all[place(group[i])];
        copy_rest(messages[i].rest, &mut tails[i]);
        messages[i].pad(&mut tails[i]);
        states[i] = messages[i].key.inner();
    }
    let mut inner = Streams::load(states.each_ref());
    let together = count(group[0]);
    let mut blocks = [&[0; BLOCK]; N];
    for at in 0..together {
        for i in 0..N {
            blocks[i] = messages[i].block(&tails[i], at);
        }
        inner.compress(blocks);
    }
    if count(group[N - 1]) > together {
        for i in 0..N {
            let mut alone = Streams::load([&inner.store(i)]);
            for at in together..count(group[i]) {
                alone.compress([messages[i].block(&tails[i], at)]);
            }
            states[i] = alone.store(0);
        }
        inner = Streams::load(states.each_ref());
    }
    for i in 0..N {
        states[i] = messages[i].key.outer();
    }
    let mut outer = Streams::load(states.each_ref());
    outer.finish_outer(&inner);
    for i in 0..N {
        jobs[usize::from(messages[i].job)].tag = outer.store(i).digest();
    }
}

/// At most sixteen messages, shorter ones first; lanes beyond them run along with the last.
#[target_feature(enable = "avx512f,avx512bw")]
fn by_lanes(jobs: &mut [MacJob<'_>], all: &[Message<'_>], group: &[Place]) {
    let mut messages = [&all[place(group[group.len() - 1])]; LANES];
    for (message, at) in messages.iter_mut().zip(group) {
        *message = &all[place(*at)];
    }
    let mut tails = [const { MaybeUninit::uninit() }; LANES];
    let mut keys = [&messages[0].key.words; LANES];
    for lane in 0..LANES {
        let tail = put_rest(messages[lane].rest, &mut tails[lane]);
        messages[lane].pad(tail);
        keys[lane] = &messages[lane].key.words;
    }
    // SAFETY: every tail was written above.
    let tails = unsafe { &*(&raw const tails).cast::<[[u8; 2 * BLOCK]; LANES]>() };
    let [mut inner, mut outer] = Lanes::of_keys(keys);
    let mut blocks = [&[0; BLOCK]; LANES];
    let together = count(group[0]);
    for at in 0..together {
        for lane in 0..LANES {
            blocks[lane] = messages[lane].block(&tails[lane], at);
        }
        inner.compress(u16::MAX, blocks);
    }
    for at in together..count(group[group.len() - 1]) {
        let mut mask = 0;
        for lane in 0..LANES {
            // A message that is at its end stays as it is, and its block does not matter.
            if at < count(group[lane.min(group.len() - 1)]) {
                mask |= 1 << lane;
                blocks[lane] = messages[lane].block(&tails[lane], at);
            }
        }
        inner.compress(mask, blocks);
    }
    outer.finish_outer(&inner);
    let digests = outer.digests();
    for lane in 0..group.len() {
        let tag = &mut jobs[usize::from(messages[lane].job)].tag;
        for (octets, words) in tag.as_chunks_mut().0.iter_mut().zip(&digests) {
            *octets = words[lane].to_ne_bytes();
        }
    }
}
