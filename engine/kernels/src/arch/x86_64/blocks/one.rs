//! One block, with AES-NI and PCLMULQDQ.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::Aesni;
use super::{Block, Blocks, REVERSE, bytes, load};

/// One block, with AES-NI and PCLMULQDQ.
#[derive(Clone, Copy)]
pub(in crate::arch::x86_64) struct One(pub(super) __m128i);

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
