//! Four blocks, with VAES, VPCLMULQDQ and AVX-512.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::Avx512;
use super::{Block, Blocks, One, REVERSE, load};

/// Four blocks, with VAES, VPCLMULQDQ and AVX-512.
#[derive(Clone, Copy)]
pub(in crate::arch::x86_64) struct Four(__m512i);

impl Blocks for Four {
    type Cpu = Avx512;
    type Mask = __mmask64;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(_: Avx512, block: &Block) -> Self {
        // SAFETY: the token proves AVX-512F.
        Self(unsafe { _mm512_broadcast_i32x4(load(block)) })
    }

    #[inline(always)]
    fn broadcast(_: Avx512, block: __m128i) -> Self {
        // SAFETY: the token proves AVX-512F.
        Self(unsafe { _mm512_broadcast_i32x4(block) })
    }

    #[inline(always)]
    fn index(_: Avx512) -> Self {
        // SAFETY: the token proves AVX-512F.
        Self(unsafe { _mm512_set_epi32(0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0) })
    }

    #[inline(always)]
    unsafe fn load(_: Avx512, from: *const Block) -> Self {
        // SAFETY: the caller's promise; the token proves AVX-512F.
        Self(unsafe { _mm512_loadu_si512(from.cast()) })
    }

    #[inline(always)]
    fn mask(_: Avx512, bytes: usize, skip_first: bool) -> __mmask64 {
        // SAFETY: the token proves BMI2. More than 255 would be taken modulo 256.
        let all = unsafe { _bzhi_u64(u64::MAX, bytes.min(64) as u32) };
        if skip_first { all & !0xffff } else { all }
    }

    #[inline(always)]
    unsafe fn load_masked(_: Avx512, from: *const u8, mask: __mmask64) -> Self {
        // SAFETY: the caller's promise, and what is masked out is not accessed; the token proves
        // AVX-512BW.
        Self(unsafe { _mm512_maskz_loadu_epi8(mask, from.cast()) })
    }

    #[inline(always)]
    fn load_short(_: Avx512, bytes: &[u8]) -> __m128i {
        let mask = (1_u32 << bytes.len().min(16)) - 1;
        // SAFETY: a prefix of `bytes`, and what is masked out is not accessed; the token proves
        // AVX-512BW and VL.
        unsafe { _mm_maskz_loadu_epi8(mask as __mmask16, bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, to: *mut u8, mask: __mmask64) {
        // SAFETY: as for `load_masked`.
        unsafe { _mm512_mask_storeu_epi8(to.cast(), mask, self.0) }
    }

    #[inline(always)]
    fn pin(self) -> Self {
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn pin(mut blocks: __m512i) -> __m512i {
            // SAFETY: no instruction. Not `pure`, so that the order is kept.
            unsafe { asm!("/* {0} */", inout(zmm_reg) blocks, options(nomem, nostack, preserves_flags)) };
            blocks
        }
        // SAFETY: a `Four` exists only where an `Avx512` did.
        Self(unsafe { pin(self.0) })
    }

    #[inline(always)]
    fn keep(self, mask: __mmask64) -> Self {
        // SAFETY: a `Four` exists only where an `Avx512` did.
        Self(unsafe { _mm512_maskz_mov_epi8(mask, self.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: a `Four` exists only where an `Avx512` did.
        Self(unsafe { _mm512_xor_si512(self.0, other.0) })
    }

    #[inline(always)]
    fn xor3(self, b: Self, c: Self) -> Self {
        // SAFETY: a `Four` exists only where an `Avx512` did.
        Self(unsafe { _mm512_ternarylogic_epi64::<0x96>(self.0, b.0, c.0) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: a `Four` exists only where an `Avx512` did.
        Self(unsafe { _mm512_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn reverse(self) -> Self {
        // SAFETY: a `Four` exists only where an `Avx512` did.
        Self(unsafe { _mm512_shuffle_epi8(self.0, _mm512_broadcast_i32x4(load(&REVERSE))) })
    }

    #[inline(always)]
    fn swap(self) -> Self {
        // SAFETY: a `Four` exists only where an `Avx512` did.
        Self(unsafe { _mm512_shuffle_epi32::<0x4e>(self.0) })
    }

    #[inline(always)]
    fn round(self, key: Self) -> Self {
        // SAFETY: a `Four` exists only where an `Avx512` did, which proves VAES.
        Self(unsafe { _mm512_aesenc_epi128(self.0, key.0) })
    }

    #[inline(always)]
    fn last_round(self, key: Self) -> Self {
        // SAFETY: a `Four` exists only where an `Avx512` did, which proves VAES.
        Self(unsafe { _mm512_aesenclast_epi128(self.0, key.0) })
    }

    #[inline(always)]
    fn clmul<const IMM: i32>(self, other: Self) -> Self {
        // SAFETY: a `Four` exists only where an `Avx512` did, which proves VPCLMULQDQ.
        Self(unsafe { _mm512_clmulepi64_epi128::<IMM>(self.0, other.0) })
    }

    #[inline(always)]
    fn from_first(_: Avx512, block: __m128i) -> Self {
        // SAFETY: the token proves AVX-512F.
        Self(unsafe { _mm512_zextsi128_si512(block) })
    }

    #[inline(always)]
    fn first(self) -> __m128i {
        // SAFETY: a `Four` exists only where an `Avx512` did.
        unsafe { _mm512_castsi512_si128(self.0) }
    }

    #[inline(always)]
    fn set(self, lane: usize, block: __m128i) -> Self {
        let mask = (0xf_u64 << (4 * lane.min(8))) as __mmask16;
        // SAFETY: a `Four` exists only where an `Avx512` did.
        Self(unsafe { _mm512_mask_broadcast_i32x4(self.0, mask, block) })
    }

    #[inline(always)]
    fn sum(self) -> One {
        // SAFETY: a `Four` exists only where an `Avx512` did.
        One(unsafe {
            let high = _mm512_extracti64x4_epi64::<1>(self.0);
            let half = _mm256_xor_si256(_mm512_castsi512_si256(self.0), high);
            _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
        })
    }
}
