//! The AES key schedule (FIPS 197 §5.2) and the rounds.

use std::arch::x86_64::*;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Aesni;
use super::blocks::{Blocks, One, load, unroll};
use crate::KeyLength;

/// Round keys in the order of encryption: four cache lines, of which AES-128 uses three.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub(crate) struct AesKey {
    keys: [__m128i; 15],
    #[zeroize(skip)]
    rounds: Rounds,
    #[zeroize(skip)]
    cpu: Aesni,
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
    pub(crate) fn new(cpu: Aesni, key: &[u8]) -> Result<Self, KeyLength> {
        let mut new = Self { keys: [zero(); 15], rounds: Rounds::Ten, cpu };
        // SAFETY: the token proves AES-NI.
        unsafe {
            if let Ok(key) = <&[u8; 16]>::try_from(key) {
                new.expand_128(key);
            } else if let Ok(key) = <&[u8; 24]>::try_from(key) {
                new.rounds = Rounds::Twelve;
                new.expand_192(key);
            } else if let Ok(key) = <&[u8; 32]>::try_from(key) {
                new.rounds = Rounds::Fourteen;
                new.expand_256(key);
            } else {
                return Err(KeyLength { given: key.len() });
            }
        }
        Ok(new)
    }

    /// The token that the key was made with.
    pub(super) const fn cpu(&self) -> Aesni {
        self.cpu
    }

    pub(super) const fn rounds(&self) -> Rounds {
        self.rounds
    }

    /// One block through the cipher.
    #[inline(always)]
    pub(super) fn encrypt(&self, cpu: Aesni, block: One) -> One {
        let rounds = self.rounds as usize;
        let mut state = block.xor(One::broadcast(cpu, self.keys[0]));
        for &key in &self.keys[1..rounds] {
            state = state.round(One::broadcast(cpu, key));
        }
        state.last_round(One::broadcast(cpu, self.keys[rounds]))
    }

    #[target_feature(enable = "aes")]
    fn expand_128(&mut self, key: &[u8; 16]) {
        let mut last = load(key);
        self.keys[0] = last;
        let mut at = 1;
        macro_rules! step {
            ($($rcon:literal)*) => {$(
                let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$rcon>(last));
                last = _mm_xor_si128(prefix_sums(last), word);
                self.keys[at] = last;
                at += 1;
            )*};
        }
        step!(0x01 0x02 0x04 0x08 0x10 0x20 0x40 0x80 0x1b 0x36);
        debug_assert_eq!(at, 11);
    }

    #[target_feature(enable = "aes")]
    fn expand_192(&mut self, key: &[u8; 24]) {
        let [head, tail] = [0, 8].map(|at| std::array::from_fn(|i| key[at + i]));
        // The last four words, and the last two of them again in the upper half: a step makes six.
        let (mut four, mut two) = (load(&head), load(&tail));
        self.keys[0] = four;
        self.keys[1] = _mm_unpackhi_epi64(two, zero());
        let mut at = 1;
        macro_rules! step {
            ($($rcon:literal)*) => {$(
                let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$rcon>(two));
                four = _mm_xor_si128(prefix_sums(four), word);
                let last = _mm_shuffle_epi32::<0xff>(four);
                two = _mm_xor_si128(_mm_xor_si128(two, _mm_slli_epi64::<32>(two)), last);
                // A step starts in the middle of a round key or at its start.
                if at % 3 == 1 {
                    self.keys[at] = _mm_unpacklo_epi64(self.keys[at], four);
                    self.keys[at + 1] = _mm_unpackhi_epi64(four, two);
                    at += 2;
                } else {
                    self.keys[at] = four;
                    self.keys[at + 1] = _mm_unpackhi_epi64(two, zero());
                    at += 1;
                }
            )*};
        }
        // The eighth step makes two words more than thirteen round keys have.
        step!(0x01 0x02 0x04 0x08 0x10 0x20 0x40 0x80);
        debug_assert_eq!(at, 13);
    }

    #[target_feature(enable = "aes")]
    fn expand_256(&mut self, key: &[u8; 32]) {
        let [head, tail] = [0, 16].map(|at| std::array::from_fn(|i| key[at + i]));
        let (mut even, mut odd) = (load(&head), load(&tail));
        (self.keys[0], self.keys[1]) = (even, odd);
        let mut at = 2;
        macro_rules! step {
            ($($rcon:literal)*) => {$(
                let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$rcon>(odd));
                even = _mm_xor_si128(prefix_sums(even), word);
                self.keys[at] = even;
                // The seventh step has no odd half: fifteen keys are enough.
                if $rcon != 0x40 {
                    let word = _mm_shuffle_epi32::<0xaa>(_mm_aeskeygenassist_si128::<0>(even));
                    odd = _mm_xor_si128(prefix_sums(odd), word);
                    self.keys[at + 1] = odd;
                }
                at += 2;
            )*};
        }
        step!(0x01 0x02 0x04 0x08 0x10 0x20 0x40);
        debug_assert_eq!(at, 16);
    }
}

/// Zero.
#[inline(always)]
fn zero() -> __m128i {
    load(&[0; 16])
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
        self.keys[0]
    }
}

/// Where round keys are taken from.
pub(super) trait Schedule<V: Blocks>: Copy {
    /// Key `round` in every lane.
    fn key(self, cpu: V::Cpu, round: usize) -> V;
}

/// From memory, each time.
impl<V: Blocks> Schedule<V> for &AesKey {
    #[inline(always)]
    fn key(self, cpu: V::Cpu, round: usize) -> V {
        V::broadcast(cpu, self.keys[round])
    }
}

/// From registers, as far as there are enough: worth it for several steps with one key.
#[derive(Clone, Copy)]
pub(super) struct Held<V>([V; 15]);

impl<V: Blocks> Held<V> {
    #[inline(always)]
    pub(super) fn new<const ROUNDS: usize>(cpu: V::Cpu, key: &AesKey) -> Self {
        let mut keys = [V::broadcast(cpu, key.keys[ROUNDS]).pin(); 15];
        unroll!(1 <= round < ROUNDS, {
            keys[round] = V::broadcast(cpu, key.keys[round]).pin();
        });
        Self(keys)
    }
}

impl<V: Blocks> Schedule<V> for &Held<V> {
    #[inline(always)]
    fn key(self, _: V::Cpu, round: usize) -> V {
        self.0[round]
    }
}

/// `Z` vectors through the cipher in lock-step: a round waits for the one before, but not for its
/// neighbours. The first key has been added.
#[inline(always)]
pub(super) fn encrypt<V: Blocks, const Z: usize, const ROUNDS: usize>(
    cpu: V::Cpu,
    schedule: impl Schedule<V>,
    state: &mut [V; Z],
    mut meanwhile: impl Meanwhile,
) {
    unroll!(1 <= round < ROUNDS, {
        let key = schedule.key(cpu, round);
        unroll!(z < Z, {
            state[z] = state[z].round(key).pin();
        });
        meanwhile.after(round, ROUNDS - 1);
    });
    let key = schedule.key(cpu, ROUNDS);
    unroll!(z < Z, {
        state[z] = state[z].last_round(key);
    });
}
