//! The AES key schedule (FIPS 197 §5.2) and the rounds.

use std::arch::x86_64::*;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Aesni;
use super::blocks::{Block, Blocks, One, bytes, load, unroll};
use crate::KeyLength;

/// Round keys in the order of encryption: four cache lines, of which AES-128 uses three.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub(crate) struct AesKey {
    keys: [Block; 15],
    #[zeroize(skip)]
    rounds: Rounds,
}

/// Rounds after the first key is added. An enum, so that the values it does not have are free for
/// what tells kinds of keys apart: that saves a cache line.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Rounds {
    /// AES-128.
    Ten = 10,
    /// AES-192.
    Twelve = 12,
    /// AES-256.
    Fourteen = 14,
}

impl AesKey {
    pub(crate) fn new(_cpu: Aesni, key: &[u8]) -> Result<Self, KeyLength> {
        let mut new = Self { keys: [[0; 16]; 15], rounds: Rounds::Ten };
        // SAFETY: the token proves AES-NI.
        unsafe {
            if let Ok(key) = key.try_into() {
                new.expand_128(key);
            } else if let Ok(key) = key.try_into() {
                new.rounds = Rounds::Twelve;
                new.expand_192(key);
            } else if let Ok(key) = key.try_into() {
                new.rounds = Rounds::Fourteen;
                new.expand_256(key);
            } else {
                return Err(KeyLength { given: key.len() });
            }
        }
        Ok(new)
    }

    /// A key was made with a token, and is as good a proof.
    pub(super) const fn cpu(&self) -> Aesni {
        Aesni(())
    }

    pub(super) const fn rounds(&self) -> Rounds {
        self.rounds
    }

    /// One block through the cipher.
    #[inline(always)]
    pub(super) fn encrypt(&self, cpu: Aesni, block: One) -> One {
        let rounds = self.rounds as usize;
        let mut state = block.xor(One::splat(cpu, &self.keys[0]));
        for key in &self.keys[1..rounds] {
            state = state.round(One::splat(cpu, key));
        }
        state.last_round(One::splat(cpu, &self.keys[rounds]))
    }

    #[target_feature(enable = "aes")]
    fn expand_128(&mut self, key: &[u8; 16]) {
        let mut last = load(key);
        self.keys[0] = *key;
        let mut at = 1;
        macro_rules! step {
            ($($rcon:literal)*) => {$(
                let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$rcon>(last));
                last = _mm_xor_si128(prefix_sums(last), word);
                self.keys[at] = bytes(last);
                at += 1;
            )*};
        }
        step!(0x01 0x02 0x04 0x08 0x10 0x20 0x40 0x80 0x1b 0x36);
        debug_assert_eq!(at, 11);
    }

    #[target_feature(enable = "aes")]
    fn expand_192(&mut self, key: &[u8; 24]) {
        let [head, tail] = [0, 8].map(|at| std::array::from_fn(|i| key[at + i]));
        // Four words, and two more in the upper half.
        let (mut four, mut two) = (load(&head), load(&tail));
        let keys = self.keys.as_flattened_mut();
        keys[..24].copy_from_slice(key);
        let mut at = 24;
        macro_rules! step {
            ($($rcon:literal)*) => {$(
                let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$rcon>(two));
                four = _mm_xor_si128(prefix_sums(four), word);
                let last = _mm_shuffle_epi32::<0xff>(four);
                two = _mm_xor_si128(_mm_xor_si128(two, _mm_slli_epi64::<32>(two)), last);
                keys[at..at + 16].copy_from_slice(&bytes(four));
                keys[at + 16..at + 24].copy_from_slice(&bytes(two)[8..]);
                at += 24;
            )*};
        }
        // The eighth step makes two words more than thirteen round keys have.
        step!(0x01 0x02 0x04 0x08 0x10 0x20 0x40 0x80);
        debug_assert_eq!(at, 13 * 16 + 8);
    }

    #[target_feature(enable = "aes")]
    fn expand_256(&mut self, key: &[u8; 32]) {
        let [head, tail] = [0, 16].map(|at| std::array::from_fn(|i| key[at + i]));
        let (mut even, mut odd) = (load(&head), load(&tail));
        (self.keys[0], self.keys[1]) = (head, tail);
        let mut at = 2;
        macro_rules! step {
            ($($rcon:literal)*) => {$(
                let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$rcon>(odd));
                even = _mm_xor_si128(prefix_sums(even), word);
                self.keys[at] = bytes(even);
                // The seventh step has no odd half: fifteen keys are enough.
                if $rcon != 0x40 {
                    let word = _mm_shuffle_epi32::<0xaa>(_mm_aeskeygenassist_si128::<0>(even));
                    odd = _mm_xor_si128(prefix_sums(odd), word);
                    self.keys[at + 1] = bytes(odd);
                }
                at += 2;
            )*};
        }
        step!(0x01 0x02 0x04 0x08 0x10 0x20 0x40);
        debug_assert_eq!(at, 16);
    }
}

/// Every word XORed with those before it.
#[inline]
fn prefix_sums(words: __m128i) -> __m128i {
    // SAFETY: SSE2 is part of x86-64.
    unsafe {
        let pairs = _mm_xor_si128(words, _mm_slli_si128::<4>(words));
        _mm_xor_si128(pairs, _mm_slli_si128::<8>(pairs))
    }
}

/// What is done between rounds, while they wait for one another.
pub(super) trait Meanwhile {
    /// A share of it, after each of the rounds 1 to `rounds`.
    fn after(&mut self, round: usize, rounds: usize);
}

/// Nothing.
impl Meanwhile for () {
    #[inline(always)]
    fn after(&mut self, _: usize, _: usize) {}
}

impl AesKey {
    /// The key that is added before the first round.
    #[inline(always)]
    pub(super) fn whitening(&self) -> __m128i {
        load(&self.keys[0])
    }
}

/// `Z` vectors with each of `N` keys through the cipher, in lock-step: a round waits for the one
/// before, but not for its neighbours. The first key has been added.
#[inline(always)]
pub(super) fn encrypt<V: Blocks, const N: usize, const Z: usize, const ROUNDS: usize>(
    cpu: V::Cpu,
    keys: [&AesKey; N],
    state: &mut [[V; Z]; N],
    mut meanwhile: impl Meanwhile,
) {
    unroll!(round <= ROUNDS - 1, {
        unroll!(n < N, {
            let key = V::splat(cpu, &keys[n].keys[round]);
            unroll!(z < Z, {
                state[n][z] = state[n][z].round(key).pin();
            });
        });
        meanwhile.after(round, ROUNDS - 1);
    });
    unroll!(n < N, {
        let key = V::splat(cpu, &keys[n].keys[ROUNDS]);
        unroll!(z < Z, {
            state[n][z] = state[n][z].last_round(key);
        });
    });
}
