//! What both directions share.

use std::hint::black_box;

use crate::{Kind, SessionKeys};

/// Octets of keystream that one packet index has: 2^16 blocks (RFC 3711 §4.1.1). Beyond them the next
/// index's would begin.
pub(crate) const MAX_KEYSTREAM: usize = 16 << 16;

/// Writes the first `len` octets of a tag. Tags have few lengths, and a copy of a known length is one move.
pub(crate) fn put_tag(to: &mut [u8], tag: &[u8], len: u8) {
    match len {
        10 => to[..10].copy_from_slice(&tag[..10]),
        16 => to[..16].copy_from_slice(&tag[..16]),
        4 => to[..4].copy_from_slice(&tag[..4]),
        len => to[..usize::from(len)].copy_from_slice(&tag[..usize::from(len)]),
    }
}

/// Writes the MKI, if there is one, at the beginning of `to`; how long it is.
#[inline]
pub(crate) fn put_mki(to: &mut [u8], keys: &SessionKeys) -> usize {
    let mki = keys.direction(Kind::Rtp).mki;
    if mki != 0 {
        to[..usize::from(mki)].copy_from_slice(keys.mki().as_slice());
    }
    usize::from(mki)
}

/// The initial counter block of a packet: the salt, in halves, where it stands in the block, XOR (SSRC * 2^64),
/// XOR (i * 2^16), both shifted left by less than 64 bits.
#[inline]
pub(crate) fn counter_block(salt: &[u64; 2], shift: u8, ssrc: u32, index: u64) -> [u8; 16] {
    let shift = shift & 63;
    // A shift of 128 bits without the cases that a `u128` has for 64 and more.
    let (upper, lower) = (u64::from(ssrc), index << 16);
    let carried = lower >> 1 >> (63 - shift);
    let mut block = [0; 16];
    block[..8].copy_from_slice(&(salt[0] ^ (upper << shift | carried)).to_be_bytes());
    block[8..].copy_from_slice(&(salt[1] ^ lower << shift).to_be_bytes());
    block
}

/// The IV of GCM: the initial counter block without its counter.
#[inline]
pub(crate) fn gcm_iv(block: &[u8; 16]) -> [u8; 12] {
    let mut iv = [0; 12];
    iv.copy_from_slice(&block[..12]);
    iv
}

/// Whether two tags of the same length, at most 20 octets, are equal, in a time that tells nothing else.
pub(crate) fn same_tag(a: &[u8], b: &[u8]) -> bool {
    let difference = match (a.len(), b.len()) {
        (10, 10) => word::<8>(a, 0) ^ word::<8>(b, 0) | word::<2>(a, 8) ^ word::<2>(b, 8),
        (4, 4) => word::<4>(a, 0) ^ word::<4>(b, 0),
        (ours, theirs) if ours == theirs => a.iter().zip(b).fold(0, |all, (a, b)| all | u64::from(a ^ b)),
        _ => 1,
    };
    // Keeps the compiler from leaving early, should it ever see a way to.
    black_box(difference) == 0
}

/// `N` octets from `at` on as a number.
fn word<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_ne_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_bit_anywhere_is_noticed() {
        for len in [0, 1, 4, 10, 16, 20] {
            let tag: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(29)).collect();
            assert!(same_tag(&tag, &tag));
            for bit in 0..len * 8 {
                let mut wrong = tag.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert!(!same_tag(&tag, &wrong), "{len} octets, bit {bit}");
            }
        }
        assert!(!same_tag(&[0; 10], &[0; 4]));
    }
}
