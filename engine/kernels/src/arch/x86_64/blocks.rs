//! Vectors of AES blocks: what counter mode and GCM are written over.
//!
//! A vector exists only where a CPU token did, so that every operation on one is safe.

mod four;
mod one;

use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};

use super::Aesni;

pub(super) use four::Four;
pub(super) use one::One;

/// An AES block as it is in memory.
pub(super) type Block = [u8; 16];

/// Moves the bytes of a block into the order of a little-endian integer, and back.
const REVERSE: Block = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];

/// `unroll!(i < N, { … })` is a loop over `0..N`, and `unroll!(1 <= i < N, { … })` one over `1..N`,
/// that is unrolled before any pass of the compiler sees it: the vectors of an array stay in
/// registers only if every index is a constant. `N` is a constant.
macro_rules! unroll {
    ($i:ident < $n:expr, $body:block) => {
        const { assert!($n <= 4) };
        unroll!(@ $i, $i < $n, $body, 0 1 2 3)
    };
    (1 <= $i:ident < $n:expr, $body:block) => {
        const { assert!($n <= 14) };
        unroll!(@ $i, $i < $n, $body, 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $i:ident, $while:expr, $body:block, $($at:literal)*) => {
        $({
            let $i: usize = $at;
            if $while $body
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
}

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
