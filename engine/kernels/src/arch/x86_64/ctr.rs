//! Counter mode (NIST SP 800-38A §6.5) with a 128-bit big-endian counter.

use super::aes::{Rounds, encrypt};
use super::blocks::{Block, Blocks, Four, One, unroll};
use super::{AesKey, Aesni, Avx512};
use crate::CtrJob;

pub(crate) fn aesni(cpu: Aesni, jobs: &mut [CtrJob<'_>]) {
    // SAFETY: the token proves the features.
    unsafe { each_aesni(cpu, jobs) }
}

pub(crate) fn avx512(cpu: Avx512, jobs: &mut [CtrJob<'_>]) {
    // SAFETY: the token proves the features.
    unsafe { each_avx512(cpu, jobs) }
}

/// A key of this architecture in a batch for the portable kernel.
pub(crate) fn one(key: &AesKey, iv: &Block, data: &mut [u8]) {
    #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
    fn one(cpu: Aesni, key: &AesKey, iv: &Block, data: &mut [u8]) {
        run::<One>(cpu, key, iv, data);
    }
    // SAFETY: a key has the token that it was made with.
    unsafe { one(key.cpu(), key, iv, data) }
}

#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn each_aesni(cpu: Aesni, jobs: &mut [CtrJob<'_>]) {
    for job in jobs {
        each::<One>(cpu, job);
    }
}

#[target_feature(enable = "vaes,vpclmulqdq,avx512f,avx512bw,avx512vl,bmi2")]
fn each_avx512(cpu: Avx512, jobs: &mut [CtrJob<'_>]) {
    for job in jobs {
        each::<Four>(cpu, job);
    }
}

/// One after another: nothing in a packet waits for another's, so that the CPU overlaps them.
#[inline(always)]
fn each<V: Blocks>(cpu: V::Cpu, job: &mut CtrJob<'_>) {
    match job.key.x86() {
        Some(key) => run::<V>(cpu, key, &job.iv, job.data),
        None => crate::ctr::one(job),
    }
}

#[inline(always)]
fn run<V: Blocks>(cpu: V::Cpu, key: &AesKey, iv: &Block, data: &mut [u8]) {
    let low = u32::from_be_bytes([iv[12], iv[13], iv[14], iv[15]]);
    // Blocks until the low word wraps. In SRTP it never does: it ends in the packet's 16-bit block
    // counter (RFC 3711 §4.1.1).
    let before_wrap = (1_u64 << 32) - u64::from(low);
    if (data.len() as u64).div_ceil(16) > before_wrap {
        return wrapping(key, iv, data);
    }
    match key.rounds() {
        Rounds::Ten => stream::<V, 10>(cpu, key, iv, data),
        Rounds::Twelve => stream::<V, 12>(cpu, key, iv, data),
        Rounds::Fourteen => stream::<V, 14>(cpu, key, iv, data),
    }
}

/// A run whose low counter word wraps: as many runs as it has words.
#[cold]
#[inline(never)]
fn wrapping(key: &AesKey, iv: &Block, data: &mut [u8]) {
    let (mut iv, mut data) = (u128::from_be_bytes(*iv), data);
    while !data.is_empty() {
        let before_wrap = ((1_u64 << 32) - u64::from(iv as u32)) as usize;
        let (head, tail) = data.split_at_mut(data.len().min(before_wrap.saturating_mul(16)));
        one(key, &iv.to_be_bytes(), head);
        iv = iv.wrapping_add(before_wrap as u128);
        data = tail;
    }
}

#[inline(always)]
fn stream<V: Blocks, const ROUNDS: usize>(cpu: V::Cpu, key: &AesKey, iv: &Block, data: &mut [u8]) {
    let mut counter = V::splat(cpu, iv).reverse().add(V::index(cpu));
    let mut data = data;
    while data.len() > 4 * 16 * V::LANES {
        let (head, tail) = data.split_at_mut(4 * 16 * V::LANES);
        counter = step::<V, 4, ROUNDS>(cpu, key, counter, head);
        data = tail;
    }
    match data.len().div_ceil(16 * V::LANES) {
        0 => return,
        1 => step::<V, 1, ROUNDS>(cpu, key, counter, data),
        2 => step::<V, 2, ROUNDS>(cpu, key, counter, data),
        3 => step::<V, 3, ROUNDS>(cpu, key, counter, data),
        _ => step::<V, 4, ROUNDS>(cpu, key, counter, data),
    };
}

#[inline(always)]
fn step<V: Blocks, const Z: usize, const ROUNDS: usize>(
    cpu: V::Cpu,
    key: &AesKey,
    mut counter: V,
    data: &mut [u8],
) -> V {
    let next = V::splat(cpu, &(V::LANES as u128).to_le_bytes());
    let first = V::broadcast(cpu, key.whitening());
    let mut state = [counter; Z];
    unroll!(z < Z, {
        state[z] = counter.reverse().xor(first);
        counter = counter.add(next);
    });
    encrypt::<V, Z, ROUNDS>(cpu, key, &mut state, ());
    unroll!(z < Z, {
        let at = z * 16 * V::LANES;
        let mask = V::mask(cpu, data.len().saturating_sub(at), false);
        let place = data.as_mut_ptr().wrapping_add(at);
        // SAFETY: the mask covers what `data` has from `at` on.
        unsafe {
            V::load_masked(cpu, place, mask).xor(state[z]).store_masked(place, mask);
        }
    });
    counter
}
