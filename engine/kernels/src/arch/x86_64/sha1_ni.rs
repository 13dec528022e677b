//! SHA-1 with SHA-NI (FIPS 180-4 §6.1), `N` independent messages in step: one message alone waits for the
//! latency of `sha1rnds4`, several fill it.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_extract_epi32, _mm_loadu_si128, _mm_set_epi8, _mm_set_epi32, _mm_set1_epi32,
    _mm_sha1msg1_epu32, _mm_sha1msg2_epu32, _mm_sha1nexte_epu32, _mm_sha1rnds4_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32, _mm_storeu_si128, _mm_xor_si128,
};

use super::Aesni;
use super::hmac::State;

/// Octets of a block.
pub(super) const BLOCK: usize = 64;

/// Runs each state over its block.
pub(super) fn compress<const N: usize>(_cpu: Aesni, states: &mut [State; N], blocks: [&[u8; BLOCK]; N]) {
    // SAFETY: the token proves SHA-NI, SSSE3 and SSE4.1.
    unsafe { blocks_in_step(states, blocks) }
}

/// Four words of the message schedule, or of a state, per message.
type Words<const N: usize> = [__m128i; N];

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn blocks_in_step<const N: usize>(states: &mut [State; N], blocks: [&[u8; BLOCK]; N]) {
    let zero = _mm_set1_epi32(0);
    let (mut abcd, mut e): (Words<N>, Words<N>) = ([zero; N], [zero; N]);
    for i in 0..N {
        (abcd[i], e[i]) = load_state(&states[i]);
    }
    let (abcd_before, e_before) = (abcd, e);
    let mut words = [[zero; N]; 4];
    for (part, words) in words.iter_mut().enumerate() {
        for i in 0..N {
            words[i] = load_words(blocks[i], part);
        }
    }
    // In the first group the state's e is added to the words; from then on it is what a was four rounds ago.
    let mut old_a = abcd;
    for i in 0..N {
        e[i] = _mm_add_epi32(e[i], words[0][i]);
        abcd[i] = _mm_sha1rnds4_epu32::<0>(abcd[i], e[i]);
    }
    groups::<0, 1, 5, N>(&mut abcd, &mut old_a, &mut words);
    groups::<1, 5, 10, N>(&mut abcd, &mut old_a, &mut words);
    groups::<2, 10, 15, N>(&mut abcd, &mut old_a, &mut words);
    groups::<3, 15, 20, N>(&mut abcd, &mut old_a, &mut words);
    for i in 0..N {
        let e = _mm_sha1nexte_epu32(old_a[i], e_before[i]);
        store_state(&mut states[i], _mm_add_epi32(abcd[i], abcd_before[i]), e);
    }
}

/// Groups of four rounds, `FROM` to before `TO`, all with the function and constant number `F`.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn groups<const F: i32, const FROM: usize, const TO: usize, const N: usize>(
    abcd: &mut Words<N>,
    old_a: &mut Words<N>,
    words: &mut [Words<N>; 4],
) {
    for group in FROM..TO {
        for i in 0..N {
            if group >= 4 {
                let [w4, w3, w2, w1] = [0, 1, 2, 3].map(|back| words[(group + back) % 4][i]);
                let mixed = _mm_xor_si128(_mm_sha1msg1_epu32(w4, w3), w2);
                words[group % 4][i] = _mm_sha1msg2_epu32(mixed, w1);
            }
            let e = _mm_sha1nexte_epu32(old_a[i], words[group % 4][i]);
            old_a[i] = abcd[i];
            abcd[i] = _mm_sha1rnds4_epu32::<F>(abcd[i], e);
        }
    }
}

/// Words 4·`part` to 4·`part` + 3 of a block, the first in the highest lane.
#[inline]
#[target_feature(enable = "ssse3")]
fn load_words(block: &[u8; BLOCK], part: usize) -> __m128i {
    let swap = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let octets: &[u8; 16] = &block.as_chunks().0[part];
    // SAFETY: the 16 octets are there, and the load asks for no alignment.
    _mm_shuffle_epi8(unsafe { _mm_loadu_si128(octets.as_ptr().cast()) }, swap)
}

/// a, b, c, d from the highest lane down, and e in the highest lane.
#[inline]
#[target_feature(enable = "sse4.1")]
fn load_state(state: &State) -> (__m128i, __m128i) {
    // SAFETY: the state's first four words are there, and the load asks for no alignment.
    let abcd = unsafe { _mm_loadu_si128(state.0.as_ptr().cast()) };
    (_mm_shuffle_epi32::<0b00_01_10_11>(abcd), _mm_set_epi32(state.0[4] as i32, 0, 0, 0))
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn store_state(state: &mut State, abcd: __m128i, e: __m128i) {
    let abcd = _mm_shuffle_epi32::<0b00_01_10_11>(abcd);
    // SAFETY: the state's first four words are there, and the store asks for no alignment.
    unsafe { _mm_storeu_si128(state.0.as_mut_ptr().cast(), abcd) };
    state.0[4] = _mm_extract_epi32::<3>(e) as u32;
}
