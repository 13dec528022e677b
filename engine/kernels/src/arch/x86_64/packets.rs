//! GCM over vectors of blocks: `N` packets in lock-step, `Z` vectors of each at a time.
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
use super::gcm::{GcmKey, Shell};
use super::ghash::{POWERS, Product};
use super::{AesKey, ctr};
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

/// What is at hand of `N` packets.
struct Packets<'a, V: Shell, const N: usize> {
    cpu: V::Cpu,
    keys: [&'a GcmKey; N],
    /// Where block 0 would be.
    place: [*mut u8; N],
    /// Octets from there to the end of the text.
    end: [usize; N],
    /// Blocks of the run.
    blocks: [usize; N],
    /// The initialization vector with a counter of zero, plus the first round key.
    start: [V; N],
    /// The hash so far, to be added to the next blocks, lane by lane.
    hash: [V; N],
    lengths: [__m128i; N],
    /// E(K, J₀), which the tag is padded with.
    pad: [__m128i; N],
}

/// Packets that `Z` vectors hold, and all but the last of them do not.
#[inline(always)]
pub(super) fn group<V: Shell, const N: usize, const Z: usize, const ROUNDS: usize, const SEAL: bool>(
    cpu: V::Cpu,
    keys: [&GcmKey; N],
    jobs: &mut [&mut GcmJob<'_>; N],
) {
    let mut packets = Packets::<V, N>::new(cpu, keys, jobs);
    packets.end::<Z, ROUNDS, SEAL>(&counters(cpu, 0), 0);
    packets.finish::<SEAL>(jobs);
}

/// One packet of any length, `Z` vectors at a time.
#[inline(always)]
pub(super) fn lone<V: Shell, const Z: usize, const ROUNDS: usize, const SEAL: bool>(
    cpu: V::Cpu,
    key: &GcmKey,
    job: &mut GcmJob<'_>,
) {
    let span = Z * V::LANES;
    let mut packets = Packets::<V, 1>::new(cpu, [key], &mut [job]);
    let mut counters: [V; Z] = counters(cpu, 0);
    let mut at = 0;
    if packets.full(span) {
        let schedule = [&Held::new::<ROUNDS>(cpu, key.aes())];
        let powers = strides(cpu, key);
        let mut texts = packets.step::<Z, ROUNDS, SEAL, false>(schedule, &counters, 0, true, ());
        at = span;
        advance(cpu, &mut counters, at);
        while packets.full(at + span) {
            // The cipher text of a step is hashed during the next.
            let mut hashing = Hashing::new(&packets, Some(&powers), texts, 0);
            texts = packets.step::<Z, ROUNDS, SEAL, false>(schedule, &counters, at, false, &mut hashing);
            packets.hash = hashing.residues();
            at += span;
            advance(cpu, &mut counters, at);
        }
        packets.absorb(texts, at - span);
    }
    // Twice if the lengths have no room beside the last of the text.
    while at < packets.blocks[0] {
        match (packets.blocks[0] - at).div_ceil(V::LANES).min(Z) {
            1 => packets.end::<1, ROUNDS, SEAL>(&prefix(&counters), at),
            2 => packets.end::<2, ROUNDS, SEAL>(&prefix(&counters), at),
            _ if Z == 3 => packets.end::<3, ROUNDS, SEAL>(&prefix(&counters), at),
            3 => packets.end::<3, ROUNDS, SEAL>(&prefix(&counters), at),
            _ => packets.end::<4, ROUNDS, SEAL>(&prefix(&counters), at),
        }
        at += span;
    }
    packets.finish::<SEAL>(&mut [job]);
}

impl<'a, V: Shell, const N: usize> Packets<'a, V, N> {
    #[inline(always)]
    fn new(cpu: V::Cpu, keys: [&'a GcmKey; N], jobs: &mut [&mut GcmJob<'_>; N]) -> Self {
        let zero = V::splat(cpu, &[0; 16]);
        let none = zero.first();
        let mut new = Self {
            cpu,
            keys,
            place: [std::ptr::null_mut(); N],
            end: [0; N],
            blocks: [0; N],
            start: [zero; N],
            hash: [zero; N],
            lengths: [none; N],
            pad: [none; N],
        };
        unroll!(n < N, {
            let job = &mut *jobs[n];
            new.place[n] = job.data.as_mut_ptr().wrapping_sub(16);
            new.end[n] = 16 + job.data.len();
            new.blocks[n] = blocks(job);
            let iv = One::broadcast(cpu.into(), V::load_short(cpu, &job.iv));
            let start = iv.xor(One::broadcast(cpu.into(), keys[n].aes().whitening()));
            new.start[n] = V::broadcast(cpu, start.first());
            let [aad, text] = [job.aad.len(), job.data.len()].map(|len| (len as i64) << 3);
            // SAFETY: SSE2 is part of x86-64.
            new.lengths[n] = unsafe { _mm_set_epi64x(aad, text) };
            new.hash[n] = V::from_first(cpu, associated::<V>(cpu, keys[n], job.aad));
        });
        new
    }

    /// Whether all blocks before block `to` are full of text.
    #[inline(always)]
    fn full(&self, to: usize) -> bool {
        16 * to <= self.end[0]
    }

    /// The end of a run, or all but its lengths if they have no room in `Z` vectors.
    #[inline(always)]
    fn end<const Z: usize, const ROUNDS: usize, const SEAL: bool>(&mut self, counters: &[V; Z], at: usize) {
        let schedules = self.schedules();
        let first = at == 0;
        if SEAL {
            let texts = self.step::<Z, ROUNDS, SEAL, true>(schedules, counters, at, first, ());
            self.absorb(texts, at);
        } else {
            let texts = self.read::<Z>(at, first);
            let mut hashing = Hashing::new(self, None, texts, at);
            self.step::<Z, ROUNDS, SEAL, true>(schedules, counters, at, first, &mut hashing);
            self.hash = hashing.residues();
        }
    }

    /// `Z` vectors, full of text unless `END`. Returns what to hash of them.
    #[inline(always)]
    fn step<const Z: usize, const ROUNDS: usize, const SEAL: bool, const END: bool>(
        &mut self,
        schedules: [impl Schedule<V>; N],
        counters: &[V; Z],
        at: usize,
        first: bool,
        meanwhile: impl Meanwhile,
    ) -> [[V; Z]; N] {
        let mut stream = [[self.start[0]; Z]; N];
        unroll!(n < N, {
            unroll!(z < Z, {
                stream[n][z] = self.start[n].xor(counters[z]);
            });
        });
        encrypt::<V, N, Z, ROUNDS>(self.cpu, schedules, &mut stream, meanwhile);
        if first {
            unroll!(n < N, {
                self.pad[n] = stream[n][0].first();
            });
        }
        self.write::<Z, SEAL, END>(at, first, &stream)
    }

    /// Hashes the blocks of a step.
    #[inline(always)]
    fn absorb<const Z: usize>(&mut self, texts: [[V; Z]; N], at: usize) {
        let mut hashing = Hashing::new(self, None, texts, at);
        unroll!(n < N, {
            unroll!(back < Z, {
                hashing.multiply(n, Z - 1 - back);
            });
        });
        self.hash = hashing.residues();
    }

    /// Compares or writes the tags.
    #[inline(always)]
    fn finish<const SEAL: bool>(self, jobs: &mut [&mut GcmJob<'_>; N]) {
        unroll!(n < N, {
            let job = &mut *jobs[n];
            let hash = One::broadcast(self.cpu.into(), self.hash[n].first()).reverse();
            let tag = hash.xor(One::broadcast(self.cpu.into(), self.pad[n])).first();
            if SEAL {
                job.tag = bytes(tag);
                job.ok = true;
            } else {
                // All bytes are compared, whichever differ. SAFETY: SSE2 is part of x86-64.
                job.ok = unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(tag, load(&job.tag))) == 0xffff };
                if !job.ok {
                    restore(self.keys[n], &job.iv, job.data);
                }
            }
        });
    }

    #[inline(always)]
    fn schedules(&self) -> [&'a AesKey; N] {
        let mut schedules = [self.keys[0].aes(); N];
        unroll!(n < N, {
            schedules[n] = self.keys[n].aes();
        });
        schedules
    }

    /// Which octets are text in vector `z` of `Z`.
    #[inline(always)]
    fn mask<const Z: usize, const END: bool>(&self, n: usize, z: usize, at: usize, first: bool) -> V::Mask {
        // The lengths are in the last vector, so that text ends there or in the one before.
        let full = !END || z + 2 < Z;
        let here = 16 * (at + z * V::LANES);
        let octets = if full { 16 * V::LANES } else { self.end[n].saturating_sub(here) };
        V::mask(self.cpu, octets, z == 0 && first)
    }

    #[inline(always)]
    fn place(&self, n: usize, z: usize, at: usize) -> *mut u8 {
        self.place[n].wrapping_add(16 * (at + z * V::LANES))
    }

    /// What to hash at the end of a packet that is opened.
    #[inline(always)]
    fn read<const Z: usize>(&self, at: usize, first: bool) -> [[V; Z]; N] {
        let mut texts = [[self.start[0]; Z]; N];
        unroll!(n < N, {
            unroll!(z < Z, {
                let mask = self.mask::<Z, true>(n, z, at, first);
                // SAFETY: the mask covers text only.
                let text = unsafe { V::load_masked(self.cpu, self.place(n, z, at), mask) };
                texts[n][z] = self.to_hash::<Z, true>(text, n, z, at);
            });
        });
        texts
    }

    /// XORs text with the key stream in place, and returns what to hash: the cipher text.
    #[inline(always)]
    fn write<const Z: usize, const SEAL: bool, const END: bool>(
        &self,
        at: usize,
        first: bool,
        stream: &[[V; Z]; N],
    ) -> [[V; Z]; N] {
        let mut texts = *stream;
        unroll!(n < N, {
            unroll!(z < Z, {
                let mask = self.mask::<Z, END>(n, z, at, first);
                let place = self.place(n, z, at);
                // SAFETY: the mask covers text only.
                let (before, after) = unsafe {
                    let before = V::load_masked(self.cpu, place, mask);
                    let after = before.xor(stream[n][z]);
                    after.store_masked(place, mask);
                    (before, after)
                };
                let cipher_text = if SEAL { after.keep(mask) } else { before };
                texts[n][z] = self.to_hash::<Z, END>(cipher_text, n, z, at);
            });
        });
        texts
    }

    /// A vector as it is hashed: reversed, and with the lengths if they are in it.
    #[inline(always)]
    fn to_hash<const Z: usize, const END: bool>(&self, text: V, n: usize, z: usize, at: usize) -> V {
        let text = text.reverse();
        if !END || z + 1 < Z {
            return text;
        }
        text.set(self.blocks[n] - 1 - at - z * V::LANES, self.lengths[n])
    }
}

/// The powers of the hash key that are as far apart as steps are: every lane is hashed by itself.
#[inline(always)]
fn strides<V: Shell, const Z: usize>(cpu: V::Cpu, key: &GcmKey) -> [V; Z] {
    let mut strides = [V::splat(cpu, &[0; 16]); Z];
    unroll!(z < Z, {
        strides[z] = V::broadcast(cpu, key.power((Z - z) * V::LANES)).pin();
    });
    strides
}

/// Products of a step's blocks with powers of the hash key.
struct Hashing<'a, V: Shell, const N: usize, const Z: usize> {
    cpu: V::Cpu,
    keys: [&'a GcmKey; N],
    hash: [V; N],
    texts: [[V; Z]; N],
    /// Those of a step that others follow; at the end, the lanes have consecutive powers.
    powers: Option<&'a [V; Z]>,
    /// At the end: powers that are too high for the first block.
    skips: [usize; N],
    products: [Product<V>; N],
}

impl<'a, V: Shell, const N: usize, const Z: usize> Hashing<'a, V, N, Z> {
    #[inline(always)]
    fn new(packets: &Packets<'a, V, N>, powers: Option<&'a [V; Z]>, texts: [[V; Z]; N], at: usize) -> Self {
        let Packets { cpu, keys, hash, .. } = *packets;
        let mut skips = [0; N];
        unroll!(n < N, {
            // Only a lone packet may have a block too many.
            let left = packets.blocks[n] - at;
            skips[n] = POWERS - if N > 1 { left } else { left.min(Z * V::LANES) };
        });
        Self { cpu, keys, hash, texts, powers, skips, products: [Product::zero(cpu); N] }
    }

    #[inline(always)]
    fn multiply(&mut self, n: usize, z: usize) {
        let mut text = self.texts[n][z];
        if z == 0 {
            text = text.xor(self.hash[n]);
        }
        let power = match self.powers {
            Some(powers) => powers[z],
            None => self.keys[n].powers(self.cpu, self.skips[n] + z * V::LANES),
        };
        self.products[n] = self.products[n].add(text, power);
    }

    /// What to add to the blocks that follow.
    #[inline(always)]
    fn residues(self) -> [V; N] {
        let mut residues = self.hash;
        if self.powers.is_some() {
            unroll!(n < N, {
                residues[n] = self.products[n].reduce(self.cpu);
            });
        } else {
            let sums = Product::residues(self.cpu, self.products);
            unroll!(n < N, {
                residues[n] = V::from_first(self.cpu, sums[n]);
            });
        }
        residues
    }
}

impl<V: Shell, const N: usize, const Z: usize> Meanwhile for &mut Hashing<'_, V, N, Z> {
    #[inline(always)]
    fn after(&mut self, round: usize, rounds: usize) {
        // The first blocks last: they wait for the hash of those before.
        unroll!(back < Z, {
            unroll!(n < N, {
                let turn = back * N + n;
                if turn * rounds / (N * Z) + 1 == round {
                    self.multiply(n, Z - 1 - back);
                    self.products[n] = self.products[n].pin();
                }
            });
        });
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

/// The hash of the associated data, but that its last block is only added.
#[inline(always)]
fn associated<V: Shell>(cpu: V::Cpu, key: &GcmKey, aad: &[u8]) -> __m128i {
    // A header of 12 bytes without extensions is one block.
    if aad.len() > 16 {
        return load(&V::long_header(cpu, key, aad));
    }
    One::broadcast(cpu.into(), V::load_short(cpu, aad)).reverse().first()
}

/// [`associated`] for more than a block.
#[inline(always)]
pub(super) fn long_header<V: Shell>(cpu: V::Cpu, key: &GcmKey, aad: &[u8]) -> Block {
    let mut aad = aad;
    let mut hash = One::splat(cpu.into(), &[0; 16]);
    while aad.len() > 16 {
        // Up to a vector of blocks; at least the last stays behind.
        let blocks = (aad.len().div_ceil(16) - 1).min(V::LANES);
        let (head, tail) = aad.split_at(16 * blocks);
        // SAFETY: the mask covers `head`.
        let head = unsafe { V::load_masked(cpu, head.as_ptr(), V::mask(cpu, head.len(), false)) };
        let sum = head.reverse().xor(V::from_first(cpu, hash.first()));
        let product = Product::zero(cpu).add(sum, key.powers(cpu, POWERS - blocks));
        hash = One::broadcast(cpu.into(), Product::residues(cpu, [product])[0]);
        aad = tail;
    }
    let last = One::broadcast(cpu.into(), V::load_short(cpu, aad)).reverse();
    bytes(last.xor(hash).first())
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
