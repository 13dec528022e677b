//! Galois/counter mode (NIST SP 800-38D §7) with an initialization vector of 96 bits.

use std::arch::x86_64::*;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::aes::{Rounds, encrypt};
use super::blocks::{Block, Blocks, Four, One, bytes, load};
use super::ghash::{POWERS, Powers, Product};
use super::{AesKey, Aesni, Avx512, ctr};
use crate::{GcmJob, KeyLength};

/// Powers of the hash key and round keys. Seven cache lines, of which a short packet with AES-128
/// touches four or five: the powers it needs are next to the round keys.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub(crate) struct GcmKey {
    powers: Powers,
    aes: AesKey,
}

impl GcmKey {
    pub(crate) fn new(cpu: Aesni, key: &[u8]) -> Result<Self, KeyLength> {
        let aes = AesKey::new(cpu, key)?;
        // SAFETY: the token proves the features.
        let powers = unsafe { powers(cpu, &aes) };
        Ok(Self { powers, aes })
    }

    /// As many powers as there are lanes, from H to the power of `blocks` down. What follows H itself
    /// is not zero: it is for blocks that are.
    #[inline(always)]
    fn powers<V: Blocks>(&self, cpu: V::Cpu, skip: usize) -> V {
        const { assert!(V::LANES * 16 <= size_of::<AesKey>()) };
        debug_assert!(skip < POWERS + 10);
        let powers = std::ptr::from_ref(self).cast::<Block>();
        // SAFETY: the powers come first in this struct, and the round keys behind them are longer
        // than a vector.
        unsafe { V::load(cpu, powers.add(skip)) }
    }
}

#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn powers(cpu: Aesni, aes: &AesKey) -> Powers {
    Powers::new(cpu, aes.encrypt(cpu, One::splat(cpu, &[0; 16])))
}

/// Octets that counter mode has counters for (SP 800-38D §5.2.1.1).
const MAX_DATA: u64 = (1 << 36) - 32;

pub(crate) fn aesni_seal(cpu: Aesni, jobs: &mut [GcmJob<'_>]) {
    batch::<One, 1, true>(cpu, jobs);
}

pub(crate) fn aesni_open(cpu: Aesni, jobs: &mut [GcmJob<'_>]) {
    batch::<One, 1, false>(cpu, jobs);
}

pub(crate) fn avx512_seal(cpu: Avx512, jobs: &mut [GcmJob<'_>]) {
    batch::<Four, 4, true>(cpu, jobs);
}

pub(crate) fn avx512_open(cpu: Avx512, jobs: &mut [GcmJob<'_>]) {
    batch::<Four, 4, false>(cpu, jobs);
}

/// A key of this architecture in a batch for the portable kernel.
pub(crate) fn seal_one(key: &GcmKey, job: &mut GcmJob<'_>) {
    single::<One, true>(key.aes.cpu(), key, job);
}

/// A key of this architecture in a batch for the portable kernel.
pub(crate) fn open_one(key: &GcmKey, job: &mut GcmJob<'_>) {
    single::<One, false>(key.aes.cpu(), key, job);
}

fn batch<V: Shell, const N: usize, const SEAL: bool>(cpu: V::Cpu, jobs: &mut [GcmJob<'_>]) {
    let (groups, rest) = jobs.as_chunks_mut::<N>();
    let max = std::env::var("MAXN").ok().and_then(|s| s.parse().ok()).unwrap_or(1000);
    for group in groups {
        let keys: [Option<&GcmKey>; N] = std::array::from_fn(|n| group[n].key.x86());
        let mut all = true;
        for n in 0..N {
            all &= match (keys[n], keys[0]) {
                (Some(key), Some(k0)) => key.aes.rounds() == k0.aes.rounds(),
                _ => false,
            } && blocks(&group[n]).div_ceil(4).min(3) == blocks(&group[0]).div_ceil(4).min(3)
                && blocks(&group[n]).div_ceil(12) == blocks(&group[0]).div_ceil(12);
        }
        if all && blocks(&group[0]) <= max {
            let keys = keys.map(|k| k.unwrap());
            dispatch::<V, N, SEAL>(cpu, keys, group);
        } else {
            for job in group {
                one::<V, SEAL>(cpu, job);
            }
        }
    }
    for job in rest {
        one::<V, SEAL>(cpu, job);
    }
}

fn one<V: Shell, const SEAL: bool>(cpu: V::Cpu, job: &mut GcmJob<'_>) {
    match job.key.x86() {
        Some(key) => single::<V, SEAL>(cpu, key, job),
        None if SEAL => crate::gcm::seal_one(job),
        None => crate::gcm::open_one(job),
    }
}

fn single<V: Shell, const SEAL: bool>(cpu: V::Cpu, key: &GcmKey, job: &mut GcmJob<'_>) {
    if job.data.len() as u64 > MAX_DATA {
        job.ok = false;
        return;
    }
    dispatch::<V, 1, SEAL>(cpu, [key], std::array::from_mut(job));
}

/// Blocks that are hashed together: the end of the associated data, the text, the lengths.
fn blocks(job: &GcmJob<'_>) -> usize {
    job.data.len().div_ceil(16) + 2
}

#[inline(always)]
fn dispatch<V: Shell, const N: usize, const SEAL: bool>(
    cpu: V::Cpu,
    keys: [&GcmKey; N],
    jobs: &mut [GcmJob<'_>; N],
) {
    match (keys[0].aes.rounds(), blocks(&jobs[0]).div_ceil(V::LANES)) {
        (Rounds::Fourteen, 1) => V::group::<N, 1, 14, SEAL>(cpu, keys, jobs),
        (Rounds::Fourteen, 2) => V::group::<N, 2, 14, SEAL>(cpu, keys, jobs),
        (Rounds::Fourteen, _) => V::group::<N, 3, 14, SEAL>(cpu, keys, jobs),
        (_, 1) => V::group::<N, 1, 10, SEAL>(cpu, keys, jobs),
        (_, 2) => V::group::<N, 2, 10, SEAL>(cpu, keys, jobs),
        (_, _) => V::group::<N, 3, 10, SEAL>(cpu, keys, jobs),
    }
}

/// Where the instructions are enabled.
trait Shell: Blocks {
    /// [`group`].
    fn group<const N: usize, const Z: usize, const ROUNDS: usize, const SEAL: bool>(
        cpu: Self::Cpu,
        keys: [&GcmKey; N],
        jobs: &mut [GcmJob<'_>; N],
    );
}

impl Shell for One {
    #[inline(always)]
    fn group<const N: usize, const Z: usize, const ROUNDS: usize, const SEAL: bool>(
        cpu: Aesni,
        keys: [&GcmKey; N],
        jobs: &mut [GcmJob<'_>; N],
    ) {
        #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
        fn shell<const N: usize, const Z: usize, const ROUNDS: usize, const SEAL: bool>(
            cpu: Aesni,
            keys: [&GcmKey; N],
            jobs: &mut [GcmJob<'_>; N],
        ) {
            group::<One, N, Z, ROUNDS, SEAL>(cpu, keys, jobs);
        }
        // SAFETY: the token proves the features.
        unsafe { shell::<N, Z, ROUNDS, SEAL>(cpu, keys, jobs) }
    }
}

impl Shell for Four {
    #[inline(always)]
    fn group<const N: usize, const Z: usize, const ROUNDS: usize, const SEAL: bool>(
        cpu: Avx512,
        keys: [&GcmKey; N],
        jobs: &mut [GcmJob<'_>; N],
    ) {
        #[target_feature(enable = "vaes,vpclmulqdq,avx512f,avx512bw,avx512vl")]
        fn shell<const N: usize, const Z: usize, const ROUNDS: usize, const SEAL: bool>(
            cpu: Avx512,
            keys: [&GcmKey; N],
            jobs: &mut [GcmJob<'_>; N],
        ) {
            group::<Four, N, Z, ROUNDS, SEAL>(cpu, keys, jobs);
        }
        // SAFETY: the token proves the features.
        unsafe { shell::<N, Z, ROUNDS, SEAL>(cpu, keys, jobs) }
    }
}

/// `N` packets of like rounds and like numbers of steps, a step of `Z` vectors each at a time.
#[inline(always)]
fn group<V: Blocks, const N: usize, const Z: usize, const ROUNDS: usize, const SEAL: bool>(
    cpu: V::Cpu,
    keys: [&GcmKey; N],
    jobs: &mut [GcmJob<'_>; N],
) {
    let zero = V::splat(cpu, &[0; 16]);
    let next = V::splat(cpu, &(V::LANES as u128).to_le_bytes());
    let span = Z * V::LANES;
    let steps = blocks(&jobs[0]).div_ceil(span);
    let mut hash = zero;
    let mut counter = [zero; N];
    let mut lengths = [zero.first(); N];
    let mut tag_pad = [zero.first(); N];
    let mut schedules = [&keys[0].aes; N];
    for n in 0..N {
        let job = &jobs[n];
        schedules[n] = &keys[n].aes;
        hash = hash.set(n, associated::<V>(cpu, keys[n], job.aad));
        counter[n] = first_counter(cpu, &job.iv);
        let bits = (job.aad.len() as u128) << 67 | (job.data.len() as u128) << 3;
        lengths[n] = load(&bits.to_le_bytes());
    }
    let mut at = 0; // in blocks
    for step in 0..steps {
        let mut stream = [[zero; Z]; N];
        for n in 0..N {
            for z in 0..Z {
                stream[n][z] = counter[n].reverse();
                counter[n] = counter[n].add(next);
            }
        }
        encrypt::<V, N, Z, ROUNDS>(cpu, schedules, &mut stream);
        if step == 0 {
            for n in 0..N {
                tag_pad[n] = stream[n][0].first();
            }
        }
        let mut products = [Product::zero(cpu); N];
        for n in 0..N {
            let end = blocks(&jobs[n]);
            let skip = POWERS - span.min(end - at);
            let data = &mut *jobs[n].data;
            for z in 0..Z {
                let here = at + z * V::LANES;
                let mask = V::mask((16 + data.len()).saturating_sub(16 * here), step == 0 && z == 0);
                let place = data.as_mut_ptr().wrapping_sub(16).wrapping_add(16 * here);
                // SAFETY: the mask covers what there is of `data`, which starts at block 1.
                let text = unsafe {
                    let before = V::load_masked(cpu, place, mask);
                    let after = before.xor(stream[n][z]);
                    after.store_masked(place, mask);
                    if SEAL { after.keep(mask) } else { before }
                };
                let mut text = text.reverse().set((end - 1).wrapping_sub(here), lengths[n]);
                if z == 0 {
                    text = text.xor(hash.take(n));
                }
                products[n] = products[n].add(text, keys[n].powers(cpu, skip + z * V::LANES));
            }
        }
        hash = Product::fold(products).reduce(cpu);
        at += span;
    }
    let tags = hash.reverse();
    for n in 0..N {
        // SAFETY: SSE2 is part of x86-64.
        let tag = unsafe { _mm_xor_si128(tags.lane(n), tag_pad[n]) };
        let job = &mut jobs[n];
        if SEAL {
            job.tag = bytes(tag);
            job.ok = true;
        } else {
            // SAFETY: SSE2 is part of x86-64.
            job.ok = unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(tag, load(&job.tag))) == 0xffff };
            if !job.ok {
                restore(keys[n], &job.iv, job.data);
            }
        }
    }
}

/// Counters 1, 2, 3… of an initialization vector (SP 800-38D §7.1, steps 2 and 3), byte-reversed.
#[inline(always)]
fn first_counter<V: Blocks>(cpu: V::Cpu, iv: &[u8; 12]) -> V {
    let mut block = [0; 16];
    block[..12].copy_from_slice(iv);
    block[15] = 1;
    V::splat(cpu, &block).reverse().add(V::index(cpu))
}

/// The hash of the associated data, but that the last block is only added.
#[inline(always)]
fn associated<V: Blocks>(cpu: V::Cpu, key: &GcmKey, aad: &[u8]) -> __m128i {
    let mut aad = aad;
    let mut hash = V::splat(cpu, &[0; 16]);
    while aad.len() > 16 {
        // Up to a vector of blocks; at least the last stays behind.
        let blocks = (aad.len().div_ceil(16) - 1).min(V::LANES);
        let (head, tail) = aad.split_at(16 * blocks);
        // SAFETY: the mask covers `head`.
        let head = unsafe { V::load_masked(cpu, head.as_ptr(), V::mask(head.len(), false)) };
        let sum = head.reverse().xor(hash.take(0));
        let product = Product::zero(cpu).add(sum, key.powers(cpu, POWERS - blocks));
        hash = Product::fold([product]).reduce(cpu);
        aad = tail;
    }
    // SAFETY: the mask covers `aad`.
    let last = unsafe { V::load_masked(cpu, aad.as_ptr(), V::mask(aad.len(), false)) };
    last.reverse().xor(hash).first()
}

/// Puts back the cipher text of a packet that is not authentic, before anyone has seen the plain text.
#[cold]
#[inline(never)]
fn restore(key: &GcmKey, iv: &[u8; 12], data: &mut [u8]) {
    let mut block = [0; 16];
    block[..12].copy_from_slice(iv);
    block[15] = 2;
    ctr::one(&key.aes, &block, data);
}
