//! GHASH (NIST SP 800-38D §6.4) by carry-less multiplication.
//!
//! Blocks are byte-reversed, so that a register holds GHASH's polynomial with its bits reflected.
//! The product of two reflected polynomials lacks a factor of x: every power of the hash key carries
//! that factor, and products are reduced from the low end (Gueron and Kounavis, "Intel Carry-Less
//! Multiplication Instruction and its Usage for Computing the GCM Mode").

use std::arch::x86_64::__m128i;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Aesni;
use super::blocks::{Blocks, One, bytes, load};

/// Powers in a key: the blocks that one reduction serves. Twelve are a packet of 160 bytes with its
/// header and lengths, and keep a GCM key at seven cache lines.
pub(super) const POWERS: usize = 12;

/// The hash key's powers, the highest first, as the blocks come that they multiply.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(transparent)]
pub(super) struct Powers([__m128i; POWERS]);

impl Powers {
    /// The powers of the hash key E(K, 0¹²⁸).
    #[inline(always)]
    pub(super) fn new(cpu: Aesni, hash_key: One) -> Self {
        let h = u128::from_be_bytes(bytes(hash_key.first()));
        // Times x: shift, and reduce by the bit that falls out, without a branch.
        let out = 0_u128.wrapping_sub(h >> 127);
        let h = (h << 1) ^ (out & 0xc200_0000_0000_0000_0000_0000_0000_0001);
        let mut powers = [load(&h.to_le_bytes()); POWERS];
        for n in 2..=POWERS {
            // The halves of n, so that a product waits for few others.
            let [a, b] = [n / 2, n - n / 2].map(|half| One::broadcast(cpu, powers[POWERS - half]));
            powers[POWERS - n] = Product::zero(cpu).add(a, b).reduce(cpu).first();
        }
        Self(powers)
    }
}

impl Powers {
    /// Power `n`.
    #[inline(always)]
    pub(super) fn get(&self, n: usize) -> __m128i {
        self.0[POWERS - n]
    }
}

/// A sum of products that is not reduced yet, in every lane.
#[derive(Clone, Copy)]
pub(super) struct Product<V> {
    low: V,
    middle: V,
    high: V,
}

impl<V: Blocks> Product<V> {
    #[inline(always)]
    pub(super) fn zero(cpu: V::Cpu) -> Self {
        let zero = V::splat(cpu, &[0; 16]);
        Self { low: zero, middle: zero, high: zero }
    }

    /// Adds the product of `a` and `b`.
    #[inline(always)]
    pub(super) fn add(self, a: V, b: V) -> Self {
        let (c, d) = (a.xor(a.swap()), b.xor(b.swap()));
        Self {
            low: self.low.xor(a.clmul::<0x00>(b)),
            middle: self.middle.xor(c.clmul::<0x00>(d)),
            high: self.high.xor(a.clmul::<0x11>(b)),
        }
    }

    /// The residue of the sum of the lanes.
    #[inline(always)]
    pub(super) fn sum_residue(self, cpu: V::Cpu) -> __m128i {
        let Self { low, middle, high } = self;
        let sum = Product { low: low.sum(), middle: middle.sum(), high: high.sum() };
        sum.reduce(cpu.into()).first()
    }

    /// The residue modulo x¹²⁸ + x⁷ + x² + x + 1, in every lane.
    #[inline(always)]
    pub(super) fn reduce(self, cpu: V::Cpu) -> V {
        // The modulus reflected, without its ends.
        let modulus = V::splat(cpu, &(0xc2_u128 << 56).to_le_bytes());
        let middle =
            self.middle.xor3(self.low, self.high).xor3(self.low.swap(), self.low.clmul::<0>(modulus));
        self.high.xor3(middle.swap(), middle.clmul::<0>(modulus))
    }

    /// Computes what has been added so far before what follows.
    #[inline(always)]
    pub(super) fn pin(self) -> Self {
        Self { low: self.low.pin(), middle: self.middle.pin(), high: self.high.pin() }
    }
}
