//! SHA-1 with SHA-NI (FIPS 180-4 §6.1), `N` independent messages in step: one message alone waits for the
//! latency of `sha1rnds4`, several fill it.
//!
//! No closures in what handles vectors: a function such as `array::map` is compiled without SHA-NI and
//! cannot have them inlined.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_extract_epi32, _mm_loadu_si128, _mm_set_epi8, _mm_set_epi32,
    _mm_setzero_si128, _mm_sha1msg1_epu32, _mm_sha1msg2_epu32, _mm_sha1nexte_epu32, _mm_sha1rnds4_epu32,
    _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128, _mm_xor_si128,
};

use super::hmac::{OUTER_BITS, State};

/// Octets of a block.
pub(super) const BLOCK: usize = 64;

/// Sixteen octets of each message's block, the first word in the highest lane.
type Words<const N: usize> = [__m128i; N];

/// The states of `N` messages.
#[derive(Clone, Copy)]
pub(super) struct States<const N: usize> {
    /// a, b, c, d from the highest lane down.
    abcd: Words<N>,
    /// e in the highest lane.
    e: Words<N>,
}

impl<const N: usize> States<N> {
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    pub(super) fn load(states: [&State; N]) -> Self {
        let mut loaded = Self { abcd: [_mm_setzero_si128(); N], e: [_mm_setzero_si128(); N] };
        for i in 0..N {
            // SAFETY: the state's first four words are there, and the load asks for no alignment.
            let abcd = unsafe { _mm_loadu_si128(states[i].0.as_ptr().cast()) };
            loaded.abcd[i] = _mm_shuffle_epi32::<0b00_01_10_11>(abcd);
            loaded.e[i] = _mm_set_epi32(states[i].0[4] as i32, 0, 0, 0);
        }
        loaded
    }

    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    pub(super) fn store(&self, i: usize) -> State {
        let mut state = State([0; 5]);
        let abcd = _mm_shuffle_epi32::<0b00_01_10_11>(self.abcd[i]);
        // SAFETY: the state's first four words are there, and the store asks for no alignment.
        unsafe { _mm_storeu_si128(state.0.as_mut_ptr().cast(), abcd) };
        state.0[4] = _mm_extract_epi32::<3>(self.e[i]) as u32;
        state
    }

    /// Runs each state over its block.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    pub(super) fn compress(&mut self, blocks: [&[u8; BLOCK]; N]) {
        let swap = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let mut words = [[_mm_setzero_si128(); N]; 4];
        for part in 0..4 {
            for i in 0..N {
                let octets: &[u8; 16] = &blocks[i].as_chunks().0[part];
                // SAFETY: the sixteen octets are there, and the load asks for no alignment.
                let loaded = unsafe { _mm_loadu_si128(octets.as_ptr().cast()) };
                words[part][i] = _mm_shuffle_epi8(loaded, swap);
            }
        }
        self.rounds(words);
    }

    /// Runs outer states over the one block that is left of an HMAC (RFC 2104 §2): the digests of `inner`,
    /// padded.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    pub(super) fn finish_outer(&mut self, inner: &Self) {
        let mut second = inner.e;
        for word in &mut second {
            // e is alone in its vector.
            *word = _mm_xor_si128(*word, _mm_set_epi32(0, i32::MIN, 0, 0));
        }
        let last = [_mm_set_epi32(0, 0, 0, OUTER_BITS); N];
        self.rounds([inner.abcd, second, [_mm_setzero_si128(); N], last]);
    }

    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn rounds(&mut self, mut words: [Words<N>; 4]) {
        let before = *self;
        // In the first group the state's e is added to the words; from then on it is what a was four rounds
        // ago.
        let mut old = self.abcd;
        for i in 0..N {
            let e = _mm_add_epi32(self.e[i], words[0][i]);
            self.abcd[i] = _mm_sha1rnds4_epu32::<0>(self.abcd[i], e);
        }
        groups::<0, 1, 5, N>(&mut self.abcd, &mut old, &mut words);
        groups::<1, 5, 10, N>(&mut self.abcd, &mut old, &mut words);
        groups::<2, 10, 15, N>(&mut self.abcd, &mut old, &mut words);
        groups::<3, 15, 20, N>(&mut self.abcd, &mut old, &mut words);
        for i in 0..N {
            self.e[i] = _mm_sha1nexte_epu32(old[i], before.e[i]);
            self.abcd[i] = _mm_add_epi32(self.abcd[i], before.abcd[i]);
        }
    }
}

/// Groups of four rounds, `FROM` to before `TO`, all with the function and constant number `F`.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn groups<const F: i32, const FROM: usize, const TO: usize, const N: usize>(
    abcd: &mut Words<N>,
    old: &mut Words<N>,
    words: &mut [Words<N>; 4],
) {
    for group in FROM..TO {
        for i in 0..N {
            if group >= 4 {
                let (w4, w3) = (words[group % 4][i], words[(group + 1) % 4][i]);
                let (w2, w1) = (words[(group + 2) % 4][i], words[(group + 3) % 4][i]);
                let mixed = _mm_xor_si128(_mm_sha1msg1_epu32(w4, w3), w2);
                words[group % 4][i] = _mm_sha1msg2_epu32(mixed, w1);
            }
            let e = _mm_sha1nexte_epu32(old[i], words[group % 4][i]);
            old[i] = abcd[i];
            abcd[i] = _mm_sha1rnds4_epu32::<F>(abcd[i], e);
        }
    }
}
