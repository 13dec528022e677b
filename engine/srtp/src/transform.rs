//! What both directions share: initialization vectors and where the parts of a packet lie.

/// SRTCP's E flag: the packet is encrypted (RFC 3711 §3.4).
pub(crate) const E_FLAG: u32 = 1 << 31;

/// Octets of keystream that one packet index has: 2^16 blocks (RFC 3711 §4.1.1). Beyond them the next
/// index's would begin.
pub(crate) const MAX_KEYSTREAM: usize = 16 << 16;

/// Counter-mode IV: (k_s * 2^16) XOR (SSRC * 2^64) XOR (i * 2^16) (RFC 3711 §4.1.1).
pub(crate) fn counter_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    xor(&mut iv[4..8], &ssrc.to_be_bytes());
    xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
    iv
}

/// GCM IV: 00 00 ‖ SSRC ‖ 48-bit index, XOR the salt (RFC 7714 §8.1 for RTP, whose index is
/// ROC ‖ SEQ, and §9.1 for RTCP, whose index has 31 bits).
pub(crate) fn gcm_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 12] {
    let mut iv = [0; 12];
    iv.copy_from_slice(&salt[..12]);
    xor(&mut iv[2..6], &ssrc.to_be_bytes());
    xor(&mut iv[6..12], &index.to_be_bytes()[2..]);
    iv
}

fn xor(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to ^= from);
}
