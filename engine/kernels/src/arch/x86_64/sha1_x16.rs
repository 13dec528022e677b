//! SHA-1 (FIPS 180-4 §6.1) over sixteen independent messages, one in each 32-bit lane of AVX-512.
//!
//! No closures in what handles vectors: a function such as `array::map` is compiled without AVX-512 and
//! cannot have them inlined.

use std::arch::x86_64::{
    __m512i, __mmask16, _mm512_add_epi32, _mm512_loadu_si512, _mm512_mask_add_epi32, _mm512_maskz_loadu_epi8,
    _mm512_rol_epi32, _mm512_set1_epi32, _mm512_set4_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use std::mem::MaybeUninit;

use super::hmac::OUTER_BITS;
use super::sha1_ni::BLOCK;

/// Messages in step.
pub(super) const LANES: usize = 16;

/// Truth tables of the round functions and of x ^ y ^ z.
const CHOOSE: i32 = 0xca;
const PARITY: i32 = 0x96;
const MAJORITY: i32 = 0xe8;

/// Sixteen states, word by word.
#[derive(Clone, Copy)]
pub(super) struct States([__m512i; 5]);

impl States {
    /// Inner and outer states of sixteen keys, each of whose memory begins with the five words of either.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn of_keys(keys: [&[u32; 16]; LANES]) -> [Self; 2] {
        let mut rows = [_mm512_setzero_si512(); 16];
        for lane in 0..LANES {
            // SAFETY: sixteen words are the 64 octets of a vector; the load asks for no alignment.
            rows[lane] = unsafe { _mm512_loadu_si512(keys[lane].as_ptr().cast()) };
        }
        let [a, b, c, d, e, f, g, h, i, j, ..] = transpose(rows);
        [Self([a, b, c, d, e]), Self([f, g, h, i, j])]
    }

    /// The digests as words in network order: word by word, lane by lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn digests(&self) -> [[u32; LANES]; 5] {
        let mut words = [[0; LANES]; 5];
        for (words, vector) in words.iter_mut().zip(self.0) {
            // SAFETY: sixteen words are the 64 octets of a vector; the store asks for no alignment.
            unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), swap_octets(vector)) };
        }
        words
    }

    /// Runs the lanes of `mask` over their blocks; the others stay as they are.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn compress(&mut self, mask: u16, blocks: [&[u8; BLOCK]; LANES]) {
        let mut rows = [_mm512_setzero_si512(); 16];
        for lane in 0..LANES {
            // SAFETY: the 64 octets are there, and the load asks for no alignment.
            rows[lane] = swap_octets(unsafe { _mm512_loadu_si512(blocks[lane].as_ptr().cast()) });
        }
        self.rounds(mask, transpose(rows));
    }

    /// Runs outer states over the one block that is left of an HMAC (RFC 2104 §2): the digests of `inner`,
    /// padded.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn finish_outer(&mut self, inner: &Self) {
        let zero = _mm512_setzero_si512();
        let [a, b, c, d, e] = inner.0;
        let (end, bits) = (_mm512_set1_epi32(i32::MIN), _mm512_set1_epi32(OUTER_BITS));
        let words = [a, b, c, d, e, end, zero, zero, zero, zero, zero, zero, zero, zero, zero, bits];
        self.rounds(u16::MAX, words);
    }

    // One copy for inner and outer blocks: inlined twice it would not stay in the instruction cache.
    #[inline(never)]
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

/// Rounds `FROM` to `FROM` + 19. Unrolled by hand: in a loop the words would not stay in registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn twenty<const F: i32, const FROM: usize>(state: &mut [__m512i; 5], words: &mut [__m512i; 16], k: u32) {
    let k = _mm512_set1_epi32(k as i32);
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    macro_rules! rounds {
        ($($number:literal)*) => { $({
            let round = FROM + $number;
            if round >= 16 {
                let (w16, w14) = (words[round % 16], words[(round + 2) % 16]);
                let (w8, w3) = (words[(round + 8) % 16], words[(round + 13) % 16]);
                let mixed = _mm512_xor_si512(_mm512_ternarylogic_epi32::<PARITY>(w3, w8, w14), w16);
                words[round % 16] = _mm512_rol_epi32::<1>(mixed);
            }
            // What does not wait for `a` first: from one `a` to the next is a rotation and an addition.
            let ready = _mm512_add_epi32(_mm512_add_epi32(e, k), words[round % 16]);
            let ready = _mm512_add_epi32(ready, _mm512_ternarylogic_epi32::<F>(b, c, d));
            let next = _mm512_add_epi32(_mm512_rol_epi32::<5>(a), ready);
            (e, d, c, b, a) = (d, c, _mm512_rol_epi32::<30>(b), a, next);
        })* };
    }
    rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
    *state = [a, b, c, d, e];
}

/// Two blocks that begin with `rest`, less than a block, and are zero from there on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn put_rest<'a>(
    rest: &[u8],
    blocks: &'a mut MaybeUninit<[u8; 2 * BLOCK]>,
) -> &'a mut [u8; 2 * BLOCK] {
    let mask = (1_u64 << (rest.len() % BLOCK)) - 1;
    let to = blocks.as_mut_ptr().cast::<u8>();
    // SAFETY: octets that the mask leaves out are not read, and it leaves out all but those of `rest`; the
    // two stores write all of the blocks and stay in them; nothing asks for alignment.
    unsafe {
        let octets = _mm512_maskz_loadu_epi8(mask, rest.as_ptr().cast());
        _mm512_storeu_si512(to.cast(), octets);
        _mm512_storeu_si512(to.add(BLOCK).cast(), _mm512_setzero_si512());
        blocks.assume_init_mut()
    }
}

/// Turns the octets of every word around.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn swap_octets(words: __m512i) -> __m512i {
    let order = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    _mm512_shuffle_epi8(words, order)
}

/// From word `j` of row `i` to word `i` of row `j`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    // 32-bit, then 64-bit pieces change places within the 128-bit quarters…
    let mut fours = [zero; 16];
    for i in 0..4 {
        let [p, q, r, s] = [rows[4 * i], rows[4 * i + 1], rows[4 * i + 2], rows[4 * i + 3]];
        let (low_pq, high_pq) = (_mm512_unpacklo_epi32(p, q), _mm512_unpackhi_epi32(p, q));
        let (low_rs, high_rs) = (_mm512_unpacklo_epi32(r, s), _mm512_unpackhi_epi32(r, s));
        fours[4 * i] = _mm512_unpacklo_epi64(low_pq, low_rs);
        fours[4 * i + 1] = _mm512_unpackhi_epi64(low_pq, low_rs);
        fours[4 * i + 2] = _mm512_unpacklo_epi64(high_pq, high_rs);
        fours[4 * i + 3] = _mm512_unpackhi_epi64(high_pq, high_rs);
    }
    // … then the quarters: `fours[4 * i + j]` holds words j, j + 4, j + 8, j + 12 of rows 4 * i to 4 * i + 3.
    let mut words = [zero; 16];
    for j in 0..4 {
        let [p, q, r, s] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
        let (even_pq, odd_pq) = (_mm512_shuffle_i32x4::<0x88>(p, q), _mm512_shuffle_i32x4::<0xdd>(p, q));
        let (even_rs, odd_rs) = (_mm512_shuffle_i32x4::<0x88>(r, s), _mm512_shuffle_i32x4::<0xdd>(r, s));
        words[j] = _mm512_shuffle_i32x4::<0x88>(even_pq, even_rs);
        words[j + 8] = _mm512_shuffle_i32x4::<0xdd>(even_pq, even_rs);
        words[j + 4] = _mm512_shuffle_i32x4::<0x88>(odd_pq, odd_rs);
        words[j + 12] = _mm512_shuffle_i32x4::<0xdd>(odd_pq, odd_rs);
    }
    words
}
