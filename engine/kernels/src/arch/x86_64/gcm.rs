//! Galois/counter mode (NIST SP 800-38D §7) with an initialization vector of 96 bits.

use std::arch::x86_64::__m128i;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::aes::Rounds;
use super::blocks::{Block, Blocks, Four, One};
use super::ghash::Powers;
use super::hashing;
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

    /// A power of the hash key.
    #[inline(always)]
    pub(super) fn power(&self, n: usize) -> __m128i {
        self.powers.get(n)
    }

    /// As many powers as there are lanes, without the `skip` highest. The first power is followed by
    /// round keys, for blocks that are zero.
    ///
    /// # Safety
    /// `skip` and the lanes are together at most [`Self::BLOCKS`].
    #[inline(always)]
    pub(super) unsafe fn powers<V: Blocks>(&self, cpu: V::Cpu, skip: usize) -> V {
        debug_assert!(skip + V::LANES <= Self::BLOCKS);
        let powers = std::ptr::from_ref(self).cast::<Block>();
        // SAFETY: the powers come first in this struct; the caller's promise keeps within it.
        unsafe { V::load(cpu, powers.add(skip)) }
    }

    /// Blocks that may be read from the first power on.
    pub(super) const BLOCKS: usize = size_of::<Self>() / 16 - 1;
}

#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn powers(cpu: Aesni, aes: &AesKey) -> Powers {
    Powers::new(cpu, aes.encrypt(cpu, One::splat(cpu, &[0; 16])))
}

/// Octets that counter mode has counters for (SP 800-38D §5.2.1.1).
const MAX_DATA: u64 = (1 << 36) - 32;

pub(crate) fn aesni_seal(cpu: Aesni, jobs: &mut [GcmJob<'_>]) {
    One::each::<true>(cpu, jobs);
}

pub(crate) fn aesni_open(cpu: Aesni, jobs: &mut [GcmJob<'_>]) {
    One::each::<false>(cpu, jobs);
}

pub(crate) fn avx512_seal(cpu: Avx512, jobs: &mut [GcmJob<'_>]) {
    if jobs.len() < SORTED_FROM {
        return Four::each::<true>(cpu, jobs);
    }
    jobs.chunks_mut(SORTED).for_each(|jobs| seal_sorted(cpu, jobs));
}

/// One after another: their hashes wait for no cipher, so that the CPU overlaps packets by itself.
/// In groups of four packets in lock-step, 20, 160 and 1,200 bytes took 16.9, 26.5 and 110 ns; one
/// after another, 14.4, 21.6 and 110 (before later gains, Zen 4).
pub(crate) fn avx512_open(cpu: Avx512, jobs: &mut [GcmJob<'_>]) {
    Four::each::<false>(cpu, jobs);
}

/// A key of this architecture in a batch for the portable kernel.
pub(crate) fn seal_one(key: &GcmKey, job: &mut GcmJob<'_>) {
    One::each::<true>(key.aes.cpu(), std::slice::from_mut(job));
}

/// A key of this architecture in a batch for the portable kernel.
pub(crate) fn open_one(key: &GcmKey, job: &mut GcmJob<'_>) {
    One::each::<false>(key.aes.cpu(), std::slice::from_mut(job));
}

/// Classes of short packets: by rounds, and by vectors.
const CLASSES: usize = 6;

/// Jobs that are sorted at a time.
const SORTED: usize = 64;

/// Jobs from which on sorting pays. 20 and 160 bytes (AES-128, Zen 4, ns each), sorted and not: 8 jobs
/// 15.9 and 24.0 against 15.0 and 24.4, 12 jobs 15.0 and 23.3 against 15.0 and 24.4, 32 jobs 14.3 and
/// 22.6 against 14.9 and 24.4.
const SORTED_FROM: usize = 12;

/// Sorts short packets into classes, each of which is sealed by one loop.
fn seal_sorted(cpu: Avx512, jobs: &mut [GcmJob<'_>]) {
    let mut order = [[0; SORTED]; CLASSES];
    let mut counts = [0; CLASSES];
    for at in 0..jobs.len() {
        if let Some(class) = class(&jobs[at]) {
            order[class][counts[class]] = at as u8;
            counts[class] += 1;
        } else {
            Four::each::<true>(cpu, &mut jobs[at..=at]);
        }
    }
    for (class, order) in order.iter().enumerate().filter(|(class, _)| counts[*class] > 0) {
        seal_class(cpu, class, jobs, &order[..counts[class]]);
    }
}

/// The class of a packet of up to three vectors.
fn class(job: &GcmJob<'_>) -> Option<usize> {
    let long_key = job.key.x86()?.aes.rounds() == Rounds::Fourteen;
    let vectors = blocks(job).div_ceil(Four::LANES);
    (vectors <= 3).then_some(vectors - 1 + if long_key { 3 } else { 0 })
}

fn seal_class(cpu: Avx512, class: usize, jobs: &mut [GcmJob<'_>], order: &[u8]) {
    #[target_feature(enable = "vaes,vpclmulqdq,avx512f,avx512bw,avx512vl,bmi2")]
    fn shell<const Z: usize, const ROUNDS: usize>(cpu: Avx512, jobs: &mut [GcmJob<'_>], order: &[u8]) {
        packets::seal_short::<Four, Z, ROUNDS>(cpu, jobs, order);
    }
    // SAFETY: the token proves the features.
    unsafe {
        match class {
            0 => shell::<1, 10>(cpu, jobs, order),
            1 => shell::<2, 10>(cpu, jobs, order),
            2 => shell::<3, 10>(cpu, jobs, order),
            3 => shell::<1, 14>(cpu, jobs, order),
            4 => shell::<2, 14>(cpu, jobs, order),
            _ => shell::<3, 14>(cpu, jobs, order),
        }
    }
}

/// Where the instructions are enabled.
pub(super) trait Shell: Blocks {
    /// Seals or opens packets one after another.
    fn each<const SEAL: bool>(cpu: Self::Cpu, jobs: &mut [GcmJob<'_>]);
    /// [`hashing::long_header`].
    fn long_header(cpu: Self::Cpu, key: &GcmKey, aad: &[u8]) -> Block;
}

macro_rules! shell {
    ($blocks:ty, $cpu:ty, $vectors:literal, $features:literal) => {
        impl Shell for $blocks {
            fn each<const SEAL: bool>(cpu: $cpu, jobs: &mut [GcmJob<'_>]) {
                #[target_feature(enable = $features)]
                fn shell<const SEAL: bool>(cpu: $cpu, jobs: &mut [GcmJob<'_>]) {
                    for job in jobs {
                        each::<$blocks, $vectors, SEAL>(cpu, job);
                    }
                }
                // SAFETY: the token proves the features.
                unsafe { shell::<SEAL>(cpu, jobs) }
            }

            #[inline(never)]
            fn long_header(cpu: $cpu, key: &GcmKey, aad: &[u8]) -> Block {
                #[target_feature(enable = $features)]
                fn shell(cpu: $cpu, key: &GcmKey, aad: &[u8]) -> Block {
                    hashing::long_header::<$blocks>(cpu, key, aad)
                }
                // SAFETY: the token proves the features.
                unsafe { shell(cpu, key, aad) }
            }
        }
    };
}

shell!(One, Aesni, 4, "aes,pclmulqdq,ssse3,sse4.1");
shell!(Four, Avx512, 3, "vaes,vpclmulqdq,avx512f,avx512bw,avx512vl,bmi2");

#[inline(always)]
fn each<V: Shell, const Z: usize, const SEAL: bool>(cpu: V::Cpu, job: &mut GcmJob<'_>) {
    let Some(key) = job.key.x86() else {
        return if SEAL { crate::gcm::seal_one(job) } else { crate::gcm::open_one(job) };
    };
    if job.data.len() as u64 > MAX_DATA {
        job.ok = false;
        return;
    }
    match key.aes.rounds() {
        Rounds::Fourteen => packets::lone::<V, Z, 14, SEAL>(cpu, key, job),
        _ => packets::lone::<V, Z, 10, SEAL>(cpu, key, job),
    }
}
