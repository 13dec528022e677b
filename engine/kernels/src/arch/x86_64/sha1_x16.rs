//! SHA-1 (FIPS 180-4 §6.1) over sixteen independent messages, one in each 32-bit lane of AVX-512.

use std::arch::x86_64::{
    __m512i, __mmask16, _mm512_add_epi32, _mm512_loadu_si512, _mm512_mask_add_epi32, _mm512_rol_epi32,
    _mm512_set_epi8, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4,
    _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use super::Avx512;
use super::hmac::State;
use super::sha1_ni::BLOCK;

/// Messages in step.
pub(super) const LANES: usize = 16;

/// Truth tables of the round functions and of x ^ y ^ z.
const CHOOSE: i32 = 0xca;
const PARITY: i32 = 0x96;
const MAJORITY: i32 = 0xe8;

/// Sixteen states, word by word. Zeroized by whoever holds secrets in them.
pub(super) struct States([__m512i; 5]);

impl States {
    /// The states that `of` names for each lane.
    pub(super) fn gather<'a>(cpu: Avx512, of: impl Fn(usize) -> &'a State) -> Self {
        let mut words = [[0_u32; LANES]; 5];
        for lane in 0..LANES {
            let state = of(lane);
            for (words, word) in words.iter_mut().zip(state.0) {
                words[lane] = word;
            }
        }
        // SAFETY: the token proves AVX-512F; each array has the 64 octets of a vector.
        let load = |words: &[u32; LANES]| unsafe { load(cpu, words.as_ptr().cast()) };
        Self([load(&words[0]), load(&words[1]), load(&words[2]), load(&words[3]), load(&words[4])])
    }

    /// Calls `each` with every lane's state.
    pub(super) fn scatter(&self, _cpu: Avx512, mut each: impl FnMut(usize, State)) {
        let mut words = [[0_u32; LANES]; 5];
        for (words, vector) in words.iter_mut().zip(self.0) {
            // SAFETY: the token proves AVX-512F; the array has the 64 octets of a vector.
            unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
        }
        for lane in 0..LANES {
            each(lane, State(words.map(|words| words[lane])));
        }
    }

    /// Runs the lanes of `mask` over their blocks; the others stay as they are.
    pub(super) fn compress(&mut self, _cpu: Avx512, mask: u16, blocks: [&[u8; BLOCK]; LANES]) {
        // SAFETY: the token proves AVX-512F and BW.
        unsafe { self.rounds(mask, transpose(blocks)) }
    }

    /// Runs all lanes over the one block that pads a digest of twenty octets after a block: the end of the
    /// outer hash of an HMAC (RFC 2104 §2) whose inner digests are `inner`.
    pub(super) fn finish_outer(&mut self, _cpu: Avx512, inner: &Self) {
        // SAFETY: the token proves AVX-512F and BW.
        unsafe {
            let mut words = [_mm512_setzero_si512(); 16];
            words[..5].copy_from_slice(&inner.0);
            words[5] = _mm512_set1_epi32(i32::MIN);
            words[15] = _mm512_set1_epi32((BLOCK as i32 + 20) * 8);
            self.rounds(u16::MAX, words);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn rounds(&mut self, mask: __mmask16, mut words: [__m512i; 16]) {
        let before = self.0;
        let mut state = before;
        twenty::<CHOOSE, 0>(&mut state, &mut words, 0x5a82_7999);
        twenty::<PARITY, 20>(&mut state, &mut words, 0x6ed9_eba1);
        twenty::<MAJORITY, 40>(&mut state, &mut words, 0x8f1b_bcdc);
        twenty::<PARITY, 60>(&mut state, &mut words, 0xca62_c1d6);
        for i in 0..5 {
            self.0[i] = _mm512_mask_add_epi32(before[i], mask, before[i], state[i]);
        }
    }
}

/// # Safety
/// 64 octets must be readable at `from`.
unsafe fn load(_cpu: Avx512, from: *const u8) -> __m512i {
    // SAFETY: the token proves AVX-512F; the caller answers for the octets; no alignment is asked for.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

/// Rounds `FROM` to `FROM` + 19.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(clippy::many_single_char_names, reason = "FIPS 180-4's names")]
fn twenty<const F: i32, const FROM: usize>(state: &mut [__m512i; 5], words: &mut [__m512i; 16], k: u32) {
    let k = _mm512_set1_epi32(k as i32);
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for round in FROM..FROM + 20 {
        if round >= 16 {
            let [w16, w14, w8, w3] = [0, 2, 8, 13].map(|back| words[(round + back) % 16]);
            let mixed = _mm512_xor_si512(_mm512_ternarylogic_epi32::<PARITY>(w3, w8, w14), w16);
            words[round % 16] = _mm512_rol_epi32::<1>(mixed);
        }
        // What does not wait for `a` first: the chain from one `a` to the next is a rotation and an addition.
        let ready = _mm512_add_epi32(_mm512_add_epi32(e, k), words[round % 16]);
        let ready = _mm512_add_epi32(ready, _mm512_ternarylogic_epi32::<F>(b, c, d));
        let next = _mm512_add_epi32(_mm512_rol_epi32::<5>(a), ready);
        (e, d, c, b, a) = (d, c, _mm512_rol_epi32::<30>(b), a, next);
    }
    *state = [a, b, c, d, e];
}

/// Word `i` of every lane's block in vector `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(blocks: [&[u8; BLOCK]; LANES]) -> [__m512i; 16] {
    let swap = _mm512_set_epi8(
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, //
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, //
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, //
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
    );
    let zero = _mm512_setzero_si512();
    let mut rows = [zero; 16];
    for (row, block) in rows.iter_mut().zip(blocks) {
        // SAFETY: the 64 octets are there, and the load asks for no alignment.
        *row = _mm512_shuffle_epi8(unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }, swap);
    }
    // 32-bit, then 64-bit pieces change places within the 128-bit quarters…
    let mut pairs = [zero; 16];
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = [zero; 16];
    for i in 0..4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| pairs[4 * i + at]);
        fours[4 * i] = _mm512_unpacklo_epi64(a, c);
        fours[4 * i + 1] = _mm512_unpackhi_epi64(a, c);
        fours[4 * i + 2] = _mm512_unpacklo_epi64(b, d);
        fours[4 * i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    // … then the quarters: `fours[4 * i + j]` holds words j, j + 4, j + 8, j + 12 of lanes 4 * i to 4 * i + 3.
    let mut words = [zero; 16];
    for j in 0..4 {
        let [a, b, c, d] = [0, 4, 8, 12].map(|at| fours[at + j]);
        let (ab_even, ab_odd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (cd_even, cd_odd) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
        words[j] = _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even);
        words[j + 8] = _mm512_shuffle_i32x4::<0xdd>(ab_even, cd_even);
        words[j + 4] = _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd);
        words[j + 12] = _mm512_shuffle_i32x4::<0xdd>(ab_odd, cd_odd);
    }
    words
}
