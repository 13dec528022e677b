//! Vectors of AES blocks: what counter mode and GCM are written over.
//!
//! A vector exists only where a CPU token did, so that every operation on one is safe.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Aesni, Avx512};

/// An AES block as it is in memory.
pub(super) type Block = [u8; 16];

/// Moves the bytes of a block into the order of a little-endian integer, and back.
const REVERSE: Block = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];

/// A loop over `0..N`, `N` at most 4 and constant, that is unrolled before any pass of the compiler
/// sees it: vectors in an array stay in registers only if every index is a constant.
macro_rules! unroll {
    ($i:ident < $n:expr, $body:block) => {
        unroll!(@ $i $n, $body, 0 1 2 3)
    };
    ($i:ident <= $n:expr, $body:block) => {
        unroll!(@@ $i $n, $body, 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@@ $i:ident $n:expr, $body:block, $($at:literal)*) => {
        $(if $at <= $n {
            let $i: usize = $at;
            $body
        })*
    };
    (@ $i:ident $n:expr, $body:block, $($at:literal)*) => {
        const { assert!($n <= 4) };
        $(if $at < $n {
            let $i: usize = $at;
            $body
        })*
    };
}
pub(super) use unroll;

/// Some blocks side by side. Everything is inlined into a function that enables the instructions.
pub(super) trait Blocks: Copy {
    /// Proof of the instructions.
    type Cpu: Copy + Into<Aesni>;
    /// Which bytes of a vector are there: a prefix, perhaps without the first block.
    type Mask: Copy;
    /// Blocks in a vector.
    const LANES: usize;

    /// The same block in every lane.
    fn splat(cpu: Self::Cpu, block: &Block) -> Self;
    /// The same block in every lane.
    fn broadcast(cpu: Self::Cpu, block: __m128i) -> Self;
    /// 0, 1, 2… in the lowest 32 bits of the lanes.
    fn index(cpu: Self::Cpu) -> Self;
    /// Lanes of consecutive blocks in memory.
    ///
    /// # Safety
    /// `LANES` blocks are readable at `from`.
    unsafe fn load(cpu: Self::Cpu, from: *const Block) -> Self;

    /// The first `bytes` bytes, without block 0 if `skip_first`. More than a vector holds is all of it.
    fn mask(cpu: Self::Cpu, bytes: usize, skip_first: bool) -> Self::Mask;
    /// The bytes of `mask`; the others are zero.
    ///
    /// # Safety
    /// The bytes of `mask` are readable at `from`.
    unsafe fn load_masked(cpu: Self::Cpu, from: *const u8, mask: Self::Mask) -> Self;
    /// Writes the bytes of `mask`.
    ///
    /// # Safety
    /// The bytes of `mask` are writable at `to`.
    unsafe fn store_masked(self, to: *mut u8, mask: Self::Mask);
    /// The same, computed where it is written: the compiler sorts instructions by register pressure,
    /// chain after chain, and a CPU's scheduler does not look far enough ahead to undo that.
    fn pin(self) -> Self;
    /// The first 16 bytes of `bytes` or fewer, and zeros.
    fn load_short(cpu: Self::Cpu, bytes: &[u8]) -> __m128i;
    /// Zero where `mask` is not.
    fn keep(self, mask: Self::Mask) -> Self;

    /// Bitwise exclusive or.
    fn xor(self, other: Self) -> Self;
    /// Bitwise exclusive or of three.
    fn xor3(self, b: Self, c: Self) -> Self;
    /// Adds the 32-bit words, modulo 2³².
    fn add(self, other: Self) -> Self;
    /// The bytes of every block in reverse order.
    fn reverse(self) -> Self;
    /// The 64-bit halves of every block swapped.
    fn swap(self) -> Self;
    /// An AES round with a key per lane.
    fn round(self, key: Self) -> Self;
    /// The last AES round.
    fn last_round(self, key: Self) -> Self;
    /// Carry-less product of half `IMM & 1` of `self` and half `IMM >> 4` of `other`, in every lane.
    fn clmul<const IMM: i32>(self, other: Self) -> Self;

    /// A block in lane 0, zero in the others.
    fn from_first(cpu: Self::Cpu, block: __m128i) -> Self;
    /// The first lane.
    fn first(self) -> __m128i;
    /// A block in lane `lane`, if there is such a lane.
    fn set(self, lane: usize, block: __m128i) -> Self;
    /// The sum of the lanes.
    fn sum(self) -> One;
    /// The sums of the lanes of up to `LANES` vectors, side by side.
    fn sums<const N: usize>(vectors: [Self; N]) -> Self;
    /// The lanes.
    fn split<const N: usize>(self) -> [__m128i; N];
}

/// One block, with AES-NI and PCLMULQDQ.
#[derive(Clone, Copy)]
pub(super) struct One(__m128i);

/// Four blocks, with VAES, VPCLMULQDQ and AVX-512.
#[derive(Clone, Copy)]
pub(super) struct Four(__m512i);

/// Reads a block.
#[inline(always)]
pub(super) fn load(block: &Block) -> __m128i {
    // SAFETY: a reference to 16 bytes; SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

/// A register as bytes.
#[inline(always)]
pub(super) fn bytes(block: __m128i) -> Block {
    let mut bytes = [0; 16];
    // SAFETY: a reference to 16 bytes; SSE2 is part of x86-64.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), block) };
    bytes
}

impl Blocks for One {
    type Cpu = Aesni;
    type Mask = usize;
    const LANES: usize = 1;

    #[inline(always)]
    fn splat(_: Aesni, block: &Block) -> Self {
        Self(load(block))
    }

    #[inline(always)]
    fn broadcast(_: Aesni, block: __m128i) -> Self {
        Self(block)
    }

    #[inline(always)]
    fn index(_: Aesni) -> Self {
        Self(load(&[0; 16]))
    }

    #[inline(always)]
    unsafe fn load(_: Aesni, from: *const Block) -> Self {
        // SAFETY: the caller's promise; SSE2 is part of x86-64.
        Self(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline(always)]
    fn mask(_: Aesni, bytes: usize, skip_first: bool) -> usize {
        if skip_first { 0 } else { bytes.min(16) }
    }

    #[inline(always)]
    unsafe fn load_masked(_: Aesni, from: *const u8, mask: usize) -> Self {
        if mask == 16 {
            // SAFETY: the caller's promise; SSE2 is part of x86-64.
            return Self(unsafe { _mm_loadu_si128(from.cast()) });
        }
        let mut block = [0; 16];
        // SAFETY: fewer than 16 bytes, readable by the caller's promise, into an array of 16.
        unsafe { copy_short(from, block.as_mut_ptr(), mask) };
        Self(load(&block))
    }

    #[inline(always)]
    fn load_short(cpu: Aesni, bytes: &[u8]) -> __m128i {
        // SAFETY: a prefix of `bytes`.
        unsafe { Self::load_masked(cpu, bytes.as_ptr(), Self::mask(cpu, bytes.len(), false)) }.0
    }

    #[inline(always)]
    unsafe fn store_masked(self, to: *mut u8, mask: usize) {
        if mask == 16 {
            // SAFETY: the caller's promise; SSE2 is part of x86-64.
            return unsafe { _mm_storeu_si128(to.cast(), self.0) };
        }
        // SAFETY: fewer than 16 bytes, writable by the caller's promise, from an array of 16.
        unsafe { copy_short(bytes(self.0).as_ptr(), to, mask) };
    }

    #[inline(always)]
    fn pin(self) -> Self {
        let mut block = self.0;
        // SAFETY: no instruction. Not `pure`, so that the order is kept.
        unsafe { asm!("/* {0} */", inout(xmm_reg) block, options(nomem, nostack, preserves_flags)) };
        Self(block)
    }

    #[inline(always)]
    fn keep(self, mask: usize) -> Self {
        /// A window of `n` bytes of ones ahead of zeros starts at `16 - n`.
        const ONES: [u8; 32] = {
            let mut ones = [0; 32];
            let mut i = 0;
            while i < 16 {
                ones[i] = 0xff;
                i += 1;
            }
            ones
        };
        // SAFETY: a mask is at most 16, so that the window lies within the 32 bytes; SSE2 as above.
        Self(unsafe { _mm_and_si128(self.0, _mm_loadu_si128(ONES.as_ptr().add(16 - mask).cast())) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: SSE2 is part of x86-64.
        Self(unsafe { _mm_xor_si128(self.0, other.0) })
    }

    #[inline(always)]
    fn xor3(self, b: Self, c: Self) -> Self {
        self.xor(b).xor(c)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: SSE2 is part of x86-64.
        Self(unsafe { _mm_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn reverse(self) -> Self {
        // SAFETY: a `One` exists only where an `Aesni` did, which proves SSSE3.
        Self(unsafe { _mm_shuffle_epi8(self.0, load(&REVERSE)) })
    }

    #[inline(always)]
    fn swap(self) -> Self {
        // SAFETY: SSE2 is part of x86-64.
        Self(unsafe { _mm_shuffle_epi32::<0x4e>(self.0) })
    }

    #[inline(always)]
    fn round(self, key: Self) -> Self {
        // SAFETY: a `One` exists only where an `Aesni` did.
        Self(unsafe { _mm_aesenc_si128(self.0, key.0) })
    }

    #[inline(always)]
    fn last_round(self, key: Self) -> Self {
        // SAFETY: a `One` exists only where an `Aesni` did.
        Self(unsafe { _mm_aesenclast_si128(self.0, key.0) })
    }

    #[inline(always)]
    fn clmul<const IMM: i32>(self, other: Self) -> Self {
        // SAFETY: a `One` exists only where an `Aesni` did.
        Self(unsafe { _mm_clmulepi64_si128::<IMM>(self.0, other.0) })
    }

    #[inline(always)]
    fn from_first(_: Aesni, block: __m128i) -> Self {
        Self(block)
    }

    #[inline(always)]
    fn first(self) -> __m128i {
        self.0
    }

    #[inline(always)]
    fn set(self, lane: usize, block: __m128i) -> Self {
        if lane == 0 { Self(block) } else { self }
    }

    #[inline(always)]
    fn sum(self) -> One {
        self
    }

    #[inline(always)]
    fn sums<const N: usize>(vectors: [Self; N]) -> Self {
        const { assert!(N == 1) };
        vectors[0]
    }

    #[inline(always)]
    fn split<const N: usize>(self) -> [__m128i; N] {
        const { assert!(N == 1) };
        [self.0; N]
    }
}

/// Copies fewer than 16 bytes in at most four moves: a call of `memcpy` costs more than the block.
///
/// # Safety
/// `len` bytes are readable at `from` and writable at `to`, and the two do not overlap.
#[inline(always)]
unsafe fn copy_short(from: *const u8, to: *mut u8, len: usize) {
    let mut at = 0;
    // SAFETY: each move starts at the sum of the larger powers of two in `len`, so that it ends
    // at or before `len`; the caller's promise covers that.
    unsafe {
        if len & 8 != 0 {
            to.cast::<[u8; 8]>().write(from.cast::<[u8; 8]>().read());
            at = 8;
        }
        if len & 4 != 0 {
            to.add(at).cast::<[u8; 4]>().write(from.add(at).cast::<[u8; 4]>().read());
            at += 4;
        }
        if len & 2 != 0 {
            to.add(at).cast::<[u8; 2]>().write(from.add(at).cast::<[u8; 2]>().read());
            at += 2;
        }
        if len & 1 != 0 {
            to.add(at).write(from.add(at).read());
        }
    }
}

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

    #[inline(always)]
    fn sums<const N: usize>(vectors: [Self; N]) -> Self {
        const { assert!(N <= 4) };
        // SAFETY: a `Four` exists only where an `Avx512` did.
        unsafe {
            let vector = |i: usize| if i < N { vectors[i].0 } else { _mm512_setzero_si512() };
            let (a, b, c, d) = (vector(0), vector(1), vector(2), vector(3));
            let ab = _mm512_xor_si512(_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b));
            let cd = _mm512_xor_si512(_mm512_shuffle_i64x2::<0x44>(c, d), _mm512_shuffle_i64x2::<0xee>(c, d));
            Self(_mm512_xor_si512(_mm512_shuffle_i64x2::<0x88>(ab, cd), _mm512_shuffle_i64x2::<0xdd>(ab, cd)))
        }
    }

    #[inline(always)]
    fn split<const N: usize>(self) -> [__m128i; N] {
        let mut lanes = [self.first(); N];
        // SAFETY: a `Four` exists only where an `Avx512` did.
        unsafe {
            unroll!(n < N, {
                lanes[n] = match n {
                    0 => self.first(),
                    1 => _mm512_extracti32x4_epi32::<1>(self.0),
                    2 => _mm512_extracti32x4_epi32::<2>(self.0),
                    _ => _mm512_extracti32x4_epi32::<3>(self.0),
                };
            });
        }
        lanes
    }
}
