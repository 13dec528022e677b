//! What of GCM is hashed while something else is done.

use std::arch::x86_64::__m128i;

use super::aes::Meanwhile;
use super::blocks::{Block, Blocks, One, bytes, load, unroll};
use super::gcm::{GcmKey, Shell};
use super::ghash::{POWERS, Product};

/// The hash of the associated data, but that its last block is only added.
#[inline(always)]
pub(super) fn associated<V: Shell>(cpu: V::Cpu, key: &GcmKey, aad: &[u8]) -> __m128i {
    // A header of 12 bytes without extensions is one block.
    if aad.len() > 16 {
        return load(&V::long_header(cpu, key, aad));
    }
    One::broadcast(cpu.into(), V::load_short(cpu, aad)).reverse().first()
}

/// [`associated`] for more than a block.
#[inline(always)]
pub(super) fn long_header<V: Shell>(cpu: V::Cpu, key: &GcmKey, aad: &[u8]) -> Block {
    let mut aad = aad;
    let mut hash = One::splat(cpu.into(), &[0; 16]);
    while aad.len() > 16 {
        // Up to a vector of blocks; at least the last stays behind.
        let blocks = (aad.len().div_ceil(16) - 1).min(V::LANES);
        let (head, tail) = aad.split_at(16 * blocks);
        // SAFETY: the mask covers `head`.
        let head = unsafe { V::load_masked(cpu, head.as_ptr(), V::mask(cpu, head.len(), false)) };
        let sum = head.reverse().xor(V::from_first(cpu, hash.first()));
        // SAFETY: from 1 to `LANES` blocks, which no kernel has more of than powers.
        let powers = unsafe { key.powers(cpu, POWERS - blocks) };
        let product = Product::zero(cpu).add(sum, powers);
        hash = One::broadcast(cpu.into(), product.sum_residue(cpu));
        aad = tail;
    }
    let last = One::broadcast(cpu.into(), V::load_short(cpu, aad)).reverse();
    bytes(last.xor(hash).first())
}

/// The powers of the hash key that are as far apart as steps are: every lane is hashed by itself.
#[inline(always)]
pub(super) fn strides<V: Shell, const Z: usize>(cpu: V::Cpu, key: &GcmKey) -> [V; Z] {
    let mut strides = [V::splat(cpu, &[0; 16]); Z];
    unroll!(z < Z, {
        strides[z] = V::broadcast(cpu, key.power((Z - z) * V::LANES)).pin();
    });
    strides
}

/// What the blocks of a step are multiplied by.
#[derive(Clone, Copy)]
pub(super) enum Powers<'a, V, const Z: usize> {
    /// All lanes of a vector by the same, [`strides`]: a step of full vectors comes after this one.
    Apart(&'a [V; Z]),
    /// Blocks by consecutive powers, of which the first is this, or as many as there are blocks.
    Consecutive(usize),
}

/// Products of a step's blocks with powers of the hash key.
pub(super) struct Hashing<'a, V: Shell, const Z: usize> {
    cpu: V::Cpu,
    key: &'a GcmKey,
    hash: V,
    texts: [V; Z],
    powers: Powers<'a, V, Z>,
    product: Product<V>,
}

impl<'a, V: Shell, const Z: usize> Hashing<'a, V, Z> {
    #[inline(always)]
    pub(super) fn new(
        cpu: V::Cpu,
        key: &'a GcmKey,
        hash: V,
        texts: [V; Z],
        powers: Powers<'a, V, Z>,
    ) -> Self {
        Self { cpu, key, hash, texts, powers, product: Product::zero(cpu) }
    }

    #[inline(always)]
    pub(super) fn multiply(&mut self, z: usize) {
        let text = if z == 0 { self.texts[0].xor(self.hash) } else { self.texts[z] };
        let power = match self.powers {
            Powers::Apart(powers) => powers[z],
            Powers::Consecutive(blocks) => {
                let skip = POWERS - blocks.min(Z * V::LANES);
                const { assert!(POWERS - 1 + Z * V::LANES <= GcmKey::BLOCKS) };
                // SAFETY: there is at least one block, and that is what was asserted.
                unsafe { self.key.powers(self.cpu, skip + z * V::LANES) }
            }
        };
        self.product = self.product.add(text, power);
    }

    /// What to add to the blocks that follow.
    #[inline(always)]
    pub(super) fn residue(self) -> V {
        match self.powers {
            Powers::Apart(_) => self.product.reduce(self.cpu),
            Powers::Consecutive(_) => V::from_first(self.cpu, self.product.sum_residue(self.cpu)),
        }
    }
}

impl<V: Shell, const Z: usize> Meanwhile for &mut Hashing<'_, V, Z> {
    #[inline(always)]
    fn after(&mut self, round: usize, rounds: usize) {
        // The first blocks last: they wait for the hash of those before.
        unroll!(back < Z, {
            if back * rounds / Z + 1 == round {
                self.multiply(Z - 1 - back);
                self.product = self.product.pin();
            }
        });
    }
}
