//! Galois/counter mode (NIST SP 800-38D §7) with an initialization vector of 96 bits.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::aes::Rounds;
use super::blocks::{Block, Blocks, Four, One};
use super::ghash::{POWERS, Powers};
use super::packets::{self, blocks};
use super::{AesKey, Aesni, Avx512};
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

    pub(super) const fn aes(&self) -> &AesKey {
        &self.aes
    }

    /// As many powers as there are lanes, from H to the power of `blocks` down. What follows H itself
    /// is not zero: it is for blocks that are.
    #[inline(always)]
    pub(super) fn powers<V: Blocks>(&self, cpu: V::Cpu, skip: usize) -> V {
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

/// Classes of packets that run in lock-step: rounds, and vectors of the run.
const CLASSES: usize = 6;

/// Sorts jobs into groups of one class as they come, and runs a group when it is full.
fn batch<V: Shell, const N: usize, const SEAL: bool>(cpu: V::Cpu, jobs: &mut [GcmJob<'_>]) {
    if jobs.len() < N || N == 1 {
        return jobs.iter_mut().for_each(|job| one::<V, SEAL>(cpu, job));
    }
    let mut waiting = [[0; N]; CLASSES];
    let mut counts = [0; CLASSES];
    for at in 0..jobs.len() {
        let Some(class) = class(&jobs[at]) else {
            one::<V, SEAL>(cpu, &mut jobs[at]);
            continue;
        };
        waiting[class][counts[class]] = at;
        counts[class] += 1;
        if counts[class] == N {
            counts[class] = 0;
            if let Ok(mut group) = jobs.get_disjoint_mut(waiting[class]) {
                V::group::<N, SEAL>(cpu, &mut group);
            }
        }
    }
    for class in 0..CLASSES {
        for &at in &waiting[class][..counts[class]] {
            one::<V, SEAL>(cpu, &mut jobs[at]);
        }
    }
}

/// The class of a packet that may run in lock-step.
fn class(job: &GcmJob<'_>) -> Option<usize> {
    let key = job.key.x86()?;
    let vectors = blocks(job).div_ceil(4);
    let long_key = key.aes.rounds() == Rounds::Fourteen;
    (vectors <= 3).then_some(vectors - 1 + if long_key { 3 } else { 0 })
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
    V::lone::<SEAL>(cpu, key, job);
}

/// Where the instructions are enabled.
pub(super) trait Shell: Blocks {
    /// [`packets::lone`].
    fn lone<const SEAL: bool>(cpu: Self::Cpu, key: &GcmKey, job: &mut GcmJob<'_>);
    /// [`packets::long_header`].
    fn long_header(cpu: Self::Cpu, key: &GcmKey, aad: &[u8]) -> Block;
    /// [`packets::group`] of one class.
    fn group<const N: usize, const SEAL: bool>(cpu: Self::Cpu, jobs: &mut [&mut GcmJob<'_>; N]);
}

impl Shell for One {
    fn lone<const SEAL: bool>(cpu: Aesni, key: &GcmKey, job: &mut GcmJob<'_>) {
        #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
        fn shell<const ROUNDS: usize, const SEAL: bool>(cpu: Aesni, key: &GcmKey, job: &mut GcmJob<'_>) {
            packets::lone::<One, 4, ROUNDS, SEAL>(cpu, key, job);
        }
        // SAFETY: the token proves the features.
        unsafe {
            match key.aes.rounds() {
                Rounds::Fourteen => shell::<14, SEAL>(cpu, key, job),
                _ => shell::<10, SEAL>(cpu, key, job),
            }
        }
    }

    #[inline(always)]
    fn long_header(cpu: Aesni, key: &GcmKey, aad: &[u8]) -> Block {
        #[inline(never)]
        #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
        fn shell(cpu: Aesni, key: &GcmKey, aad: &[u8]) -> Block {
            packets::long_header::<One>(cpu, key, aad)
        }
        // SAFETY: the token proves the features.
        unsafe { shell(cpu, key, aad) }
    }

    fn group<const N: usize, const SEAL: bool>(cpu: Aesni, jobs: &mut [&mut GcmJob<'_>; N]) {
        for job in jobs {
            one::<One, SEAL>(cpu, job);
        }
    }
}

impl Shell for Four {
    #[inline(always)]
    fn lone<const SEAL: bool>(cpu: Avx512, key: &GcmKey, job: &mut GcmJob<'_>) {
        #[target_feature(enable = "vaes,vpclmulqdq,avx512f,avx512bw,avx512vl,bmi2")]
        fn shell<const ROUNDS: usize, const SEAL: bool>(cpu: Avx512, key: &GcmKey, job: &mut GcmJob<'_>) {
            packets::lone::<Four, 3, ROUNDS, SEAL>(cpu, key, job);
        }
        // SAFETY: the token proves the features.
        unsafe {
            match key.aes.rounds() {
                Rounds::Fourteen => shell::<14, SEAL>(cpu, key, job),
                _ => shell::<10, SEAL>(cpu, key, job),
            }
        }
    }

    #[inline(always)]
    fn long_header(cpu: Avx512, key: &GcmKey, aad: &[u8]) -> Block {
        #[inline(never)]
        #[target_feature(enable = "vaes,vpclmulqdq,avx512f,avx512bw,avx512vl,bmi2")]
        fn shell(cpu: Avx512, key: &GcmKey, aad: &[u8]) -> Block {
            packets::long_header::<Four>(cpu, key, aad)
        }
        // SAFETY: the token proves the features.
        unsafe { shell(cpu, key, aad) }
    }

    fn group<const N: usize, const SEAL: bool>(cpu: Avx512, jobs: &mut [&mut GcmJob<'_>; N]) {
        #[target_feature(enable = "vaes,vpclmulqdq,avx512f,avx512bw,avx512vl,bmi2")]
        fn shell<const N: usize, const Z: usize, const ROUNDS: usize, const SEAL: bool>(
            cpu: Avx512,
            keys: [&GcmKey; N],
            jobs: &mut [&mut GcmJob<'_>; N],
        ) {
            packets::group::<Four, N, Z, ROUNDS, SEAL>(cpu, keys, jobs);
        }
        let Some(class) = class(jobs[0]) else { return };
        let mut keys = [None; N];
        for n in 0..N {
            keys[n] = jobs[n].key.x86();
        }
        let keys = keys.map(|key| key.expect("a class has keys"));
        // SAFETY: the token proves the features.
        unsafe {
            match class {
                0 => shell::<N, 1, 10, SEAL>(cpu, keys, jobs),
                1 => shell::<N, 2, 10, SEAL>(cpu, keys, jobs),
                2 => shell::<N, 3, 10, SEAL>(cpu, keys, jobs),
                3 => shell::<N, 1, 14, SEAL>(cpu, keys, jobs),
                4 => shell::<N, 2, 14, SEAL>(cpu, keys, jobs),
                _ => shell::<N, 3, 14, SEAL>(cpu, keys, jobs),
            }
        }
    }
}
