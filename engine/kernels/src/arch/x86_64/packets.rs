//! GCM over vectors of blocks, `Z` of them at a time.
//!
//! A packet is a run of blocks: the end of its associated data, its text, its lengths. That is what
//! is hashed, and it lies like the key stream, whose first block pads the tag:
//!
//! ```text
//! block        0             1 … n-2   n-1
//! hashed       end of AAD    text      lengths
//! key stream   pad of tag    text      (unused)
//! ```

use std::arch::x86_64::*;

use super::aes::{Held, Meanwhile, Schedule, encrypt};
use super::blocks::{Block, Blocks, One, bytes, load, unroll};
use super::ctr;
use super::gcm::{GcmKey, Shell};
use super::hashing::{Hashing, Powers, associated, strides};
use crate::GcmJob;

/// Blocks of a packet's run.
#[allow(
    clippy::manual_div_ceil,
    reason = "a slice is not long enough to overflow, and this is two instructions"
)]
#[inline(always)]
pub(super) fn blocks(job: &GcmJob<'_>) -> usize {
    (job.data.len() + 15) / 16 + 2
}

/// What is at hand of a packet.
struct Packet<'a, V: Shell> {
    cpu: V::Cpu,
    key: &'a GcmKey,
    /// Where block 0 would be.
    place: *mut u8,
    /// Octets from there to the end of the text.
    end: usize,
    /// Blocks of the run.
    blocks: usize,
    /// The initialization vector with a counter of zero, plus the first round key.
    start: V,
    /// The hash so far, to be added to the next blocks, lane by lane.
    hash: V,
    /// Bits of associated data and of text, byte-reversed.
    lengths: __m128i,
    /// E(K, J₀), which the tag is padded with.
    pad: __m128i,
}

/// Seals packets that need all of `Z` vectors: jobs of `order`, whose keys are of this architecture.
/// While a packet's key stream is made, the packet before is hashed.
#[inline(always)]
pub(super) fn seal_short<V: Shell, const Z: usize, const ROUNDS: usize>(
    cpu: V::Cpu,
    jobs: &mut [GcmJob<'_>],
    order: &[u8],
) {
    let counters = counters::<V, Z>(cpu, 0);
    let mut before: Option<(usize, Packet<'_, V>, [V; Z])> = None;
    for &at in order {
        let at = usize::from(at);
        let Some(key) = jobs[at].key.x86() else { continue };
        let mut packet = Packet::<V>::new(cpu, key, &mut jobs[at]);
        let texts = match before {
            Some((last, mut done, texts)) => {
                let mut hashing = done.hashing(texts, 0);
                let texts = packet.step::<Z, ROUNDS, true, true>(key.aes(), &counters, 0, true, &mut hashing);
                done.hash = hashing.residue();
                done.finish::<true>(&mut jobs[last]);
                texts
            }
            None => packet.step::<Z, ROUNDS, true, true>(key.aes(), &counters, 0, true, ()),
        };
        before = Some((at, packet, texts));
    }
    if let Some((last, mut done, texts)) = before {
        done.absorb(texts, 0);
        done.finish::<true>(&mut jobs[last]);
    }
}

/// Seals or opens one packet of any length, `Z` vectors at a time.
#[inline(always)]
pub(super) fn lone<V: Shell, const Z: usize, const ROUNDS: usize, const SEAL: bool>(
    cpu: V::Cpu,
    key: &GcmKey,
    job: &mut GcmJob<'_>,
) {
    let span = Z * V::LANES;
    let mut packet = Packet::<V>::new(cpu, key, job);
    let mut counters: [V; Z] = counters(cpu, 0);
    let mut at = 0;
    if packet.full(span) {
        let schedule = &Held::new::<ROUNDS>(cpu, key.aes());
        let powers = strides(cpu, key);
        let mut texts = packet.step::<Z, ROUNDS, SEAL, false>(schedule, &counters, 0, true, ());
        at = span;
        advance(cpu, &mut counters, at);
        while packet.full(at + span) {
            // The cipher text of a step is hashed during the next.
            let mut hashing = Hashing::new(cpu, key, packet.hash, texts, Powers::Apart(&powers));
            texts = packet.step::<Z, ROUNDS, SEAL, false>(schedule, &counters, at, false, &mut hashing);
            packet.hash = hashing.residue();
            at += span;
            advance(cpu, &mut counters, at);
        }
        let hashing = packet.hashing(texts, at - span);
        packet.ends::<Z, ROUNDS, SEAL>(&counters, at, Some(hashing));
    } else {
        packet.ends::<Z, ROUNDS, SEAL>(&counters, 0, None);
    }
    if at + span < packet.blocks {
        // The lengths had no room beside the last of the text.
        packet.end::<1, Z, ROUNDS, SEAL>(&counters, at + span, None);
    }
    packet.finish::<SEAL>(job);
}

impl<'a, V: Shell> Packet<'a, V> {
    #[inline(always)]
    fn new(cpu: V::Cpu, key: &'a GcmKey, job: &mut GcmJob<'_>) -> Self {
        let iv = One::broadcast(cpu.into(), V::load_short(cpu, &job.iv));
        let start = iv.xor(One::broadcast(cpu.into(), key.aes().whitening()));
        let [aad, text] = [job.aad.len(), job.data.len()].map(|octets| (octets as i64) << 3);
        Self {
            cpu,
            key,
            place: job.data.as_mut_ptr().wrapping_sub(16),
            end: 16 + job.data.len(),
            blocks: blocks(job),
            start: V::broadcast(cpu, start.first()),
            hash: V::from_first(cpu, associated::<V>(cpu, key, job.aad)),
            // SAFETY: SSE2 is part of x86-64.
            lengths: unsafe { _mm_set_epi64x(aad, text) },
            pad: start.first(),
        }
    }

    /// Whether all blocks before block `to` are full of text.
    #[inline(always)]
    fn full(&self, to: usize) -> bool {
        16 * to <= self.end
    }

    /// [`Self::end`] in as many vectors as there are blocks for, at most `Z`.
    #[inline(always)]
    fn ends<const Z: usize, const ROUNDS: usize, const SEAL: bool>(
        &mut self,
        counters: &[V; Z],
        at: usize,
        before: Option<Hashing<'a, V, Z>>,
    ) {
        match (self.blocks - at).div_ceil(V::LANES).min(Z) {
            1 => self.end::<1, Z, ROUNDS, SEAL>(counters, at, before),
            2 => self.end::<2, Z, ROUNDS, SEAL>(counters, at, before),
            _ if Z == 3 => self.end::<3, Z, ROUNDS, SEAL>(counters, at, before),
            3 => self.end::<3, Z, ROUNDS, SEAL>(counters, at, before),
            _ => self.end::<4, Z, ROUNDS, SEAL>(counters, at, before),
        }
    }

    /// The end of a run in `Z` vectors, or all but its lengths if they have no room. Hashes the step
    /// before, if there was one, while the key stream is made.
    #[inline(always)]
    fn end<const Z: usize, const M: usize, const ROUNDS: usize, const SEAL: bool>(
        &mut self,
        counters: &[V; M],
        at: usize,
        before: Option<Hashing<'a, V, M>>,
    ) {
        let (key, first) = (self.key.aes(), at == 0);
        let counters = &prefix::<V, M, Z>(counters);
        if let Some(mut hashing) = before {
            let texts = self.step::<Z, ROUNDS, SEAL, true>(key, counters, at, first, &mut hashing);
            self.hash = hashing.residue();
            self.absorb(texts, at);
        } else if SEAL {
            let texts = self.step::<Z, ROUNDS, SEAL, true>(key, counters, at, first, ());
            self.absorb(texts, at);
        } else {
            let texts = self.read::<Z>(at, first);
            let mut hashing = self.hashing(texts, at);
            self.step::<Z, ROUNDS, SEAL, true>(key, counters, at, first, &mut hashing);
            self.hash = hashing.residue();
        }
    }

    /// `Z` vectors from block `at` on, full of text unless `END`. Returns what to hash of them.
    #[inline(always)]
    fn step<const Z: usize, const ROUNDS: usize, const SEAL: bool, const END: bool>(
        &mut self,
        schedule: impl Schedule<V>,
        counters: &[V; Z],
        at: usize,
        first: bool,
        meanwhile: impl Meanwhile,
    ) -> [V; Z] {
        let mut stream = *counters;
        unroll!(z < Z, {
            stream[z] = self.start.xor(counters[z]);
        });
        encrypt::<V, Z, ROUNDS>(self.cpu, schedule, &mut stream, meanwhile);
        if first {
            self.pad = stream[0].first();
        }
        self.write::<Z, SEAL, END>(at, first, &stream)
    }

    /// To hash the step at block `at`, the last or the last but one.
    #[inline(always)]
    fn hashing<const Z: usize>(&self, texts: [V; Z], at: usize) -> Hashing<'a, V, Z> {
        Hashing::new(self.cpu, self.key, self.hash, texts, Powers::Consecutive(self.blocks - at))
    }

    /// Hashes the blocks of a step.
    #[inline(always)]
    fn absorb<const Z: usize>(&mut self, texts: [V; Z], at: usize) {
        let mut hashing = self.hashing(texts, at);
        unroll!(back < Z, {
            hashing.multiply(Z - 1 - back);
        });
        self.hash = hashing.residue();
    }

    /// Writes or compares the tag.
    #[inline(always)]
    fn finish<const SEAL: bool>(&self, job: &mut GcmJob<'_>) {
        let hash = One::broadcast(self.cpu.into(), self.hash.first()).reverse();
        let tag = hash.xor(One::broadcast(self.cpu.into(), self.pad)).first();
        if SEAL {
            *job.tag = bytes(tag);
            job.ok = true;
        } else {
            // All bytes are compared, whichever differ.
            // SAFETY: SSE2 is part of x86-64.
            job.ok = unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(tag, load(job.tag))) == 0xffff };
            if !job.ok {
                restore(self.key, &job.iv, job.data);
            }
        }
    }

    /// Which octets are text in vector `z` of `Z`.
    #[inline(always)]
    fn mask<const Z: usize, const END: bool>(&self, z: usize, at: usize, first: bool) -> V::Mask {
        // The lengths are in the last vector, so that text ends there or in the one before.
        let full = !END || z + 2 < Z;
        let here = 16 * (at + z * V::LANES);
        let octets = if full { 16 * V::LANES } else { self.end.saturating_sub(here) };
        V::mask(self.cpu, octets, z == 0 && first)
    }

    #[inline(always)]
    fn place(&self, z: usize, at: usize) -> *mut u8 {
        self.place.wrapping_add(16 * (at + z * V::LANES))
    }

    /// What to hash at the end of a packet that is opened.
    #[inline(always)]
    fn read<const Z: usize>(&self, at: usize, first: bool) -> [V; Z] {
        let mut texts = [self.start; Z];
        unroll!(z < Z, {
            let mask = self.mask::<Z, true>(z, at, first);
            // SAFETY: the mask covers text only.
            let text = unsafe { V::load_masked(self.cpu, self.place(z, at), mask) };
            texts[z] = self.to_hash::<Z, true>(text, z, at);
        });
        texts
    }

    /// XORs text with the key stream in place, and returns what to hash: the cipher text.
    #[inline(always)]
    fn write<const Z: usize, const SEAL: bool, const END: bool>(
        &self,
        at: usize,
        first: bool,
        stream: &[V; Z],
    ) -> [V; Z] {
        let mut texts = *stream;
        unroll!(z < Z, {
            let mask = self.mask::<Z, END>(z, at, first);
            let place = self.place(z, at);
            // SAFETY: the mask covers text only.
            let (before, after) = unsafe {
                let before = V::load_masked(self.cpu, place, mask);
                let after = before.xor(stream[z]);
                after.store_masked(place, mask);
                (before, after)
            };
            let cipher_text = if SEAL { after.keep(mask) } else { before };
            texts[z] = self.to_hash::<Z, END>(cipher_text, z, at);
        });
        texts
    }

    /// A vector as it is hashed: reversed, and with the lengths if they are in it.
    #[inline(always)]
    fn to_hash<const Z: usize, const END: bool>(&self, text: V, z: usize, at: usize) -> V {
        let text = text.reverse();
        if !END || z + 1 < Z {
            return text;
        }
        text.set(self.blocks - 1 - at - z * V::LANES, self.lengths)
    }
}

/// Counters of a step that starts at block `at`, where they are in a counter block (SP 800-38D §7.1:
/// block 0 has the counter 1).
#[inline(always)]
fn counters<V: Blocks, const Z: usize>(cpu: V::Cpu, at: usize) -> [V; Z] {
    let mut counters = [V::index(cpu); Z];
    unroll!(z < Z, {
        let first = (1 + at + z * V::LANES) as u128;
        counters[z] = V::splat(cpu, &first.to_le_bytes()).add(V::index(cpu)).reverse();
    });
    counters
}

/// The counters of the step at block `at`, from those of the step before.
#[inline(always)]
fn advance<V: Blocks, const Z: usize>(cpu: V::Cpu, counters: &mut [V; Z], at: usize) {
    let span = Z * V::LANES;
    // A carry out of the last byte goes the wrong way, but comes in every twentieth step only.
    if at & 0xff < (at - span) & 0xff || (at + span) & 0xff < at & 0xff {
        *counters = self::counters(cpu, at);
    } else {
        let more = V::splat(cpu, &((span as u128) << 120).to_le_bytes());
        unroll!(z < Z, {
            counters[z] = counters[z].add(more);
        });
    }
}

#[inline(always)]
fn prefix<V: Blocks, const Z: usize, const M: usize>(counters: &[V; Z]) -> [V; M] {
    let mut prefix = [counters[0]; M];
    unroll!(m < M, {
        prefix[m] = counters[if m < Z { m } else { 0 }];
    });
    prefix
}

/// Puts back the cipher text of a packet that is not authentic: no one has seen the plain text.
#[cold]
#[inline(never)]
fn restore(key: &GcmKey, iv: &[u8; 12], data: &mut [u8]) {
    let mut block: Block = [0; 16];
    block[..12].copy_from_slice(iv);
    block[15] = 2;
    ctr::one(key.aes(), &block, data);
}
