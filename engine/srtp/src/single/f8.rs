//! AES in f8-mode (RFC 3711 §4.1.2).

use sluice_kernels::{CtrJob, CtrKey, Kernel, KeyLength, ctr};
use zeroize::Zeroize;

use super::Nonce;
use crate::Kind;

/// The cipher under a session key, and under that key XOR the mask.
pub(crate) struct F8 {
    key: CtrKey,
    masked: CtrKey,
}

impl F8 {
    /// Expands an encryption key and salt of the same session (RFC 3711 §4.1.2: m = k_s ‖ 0x5555…, as
    /// long as the key).
    pub(crate) fn new(kernel: Kernel, key: &[u8], salt: &[u8]) -> Result<Self, KeyLength> {
        let mut masked: Vec<u8> =
            key.iter().zip(salt.iter().chain(std::iter::repeat(&0x55))).map(|(k, m)| k ^ m).collect();
        let expanded = CtrKey::new(kernel, &masked);
        masked.zeroize();
        Ok(Self { key: CtrKey::new(kernel, key)?, masked: expanded? })
    }

    /// XORs the key stream S(0) ‖ S(1) ‖ … to the data: S(j) = E(k_e, IV' XOR j XOR S(j-1)).
    pub(crate) fn apply(&self, kernel: Kernel, nonce: &Nonce, data: &mut [u8]) {
        let start = encrypt(kernel, &self.masked, initial(nonce));
        let mut stream = 0;
        for (j, block) in data.chunks_mut(16).enumerate() {
            stream = encrypt(kernel, &self.key, start ^ j as u128 ^ stream);
            block.iter_mut().zip(stream.to_be_bytes()).for_each(|(octet, key)| *octet ^= key);
        }
    }
}

/// The IV: of SRTP 0 ‖ M ‖ PT ‖ SEQ ‖ TS ‖ SSRC ‖ ROC (RFC 3711 §4.1.2.2); of SRTCP 0..0 ‖ E ‖ index ‖ V ‖ P ‖
/// RC ‖ PT ‖ length ‖ SSRC (§4.1.2.3).
fn initial(nonce: &Nonce) -> u128 {
    let mut iv = [0; 16];
    match nonce.kind {
        Kind::Rtp => {
            iv[1..12].copy_from_slice(&nonce.head[1..]);
            iv[12..].copy_from_slice(&nonce.word);
        }
        Kind::Rtcp => {
            iv[4..8].copy_from_slice(&nonce.word);
            iv[8..].copy_from_slice(&nonce.head[..8]);
        }
    }
    u128::from_be_bytes(iv)
}

/// One block: counter mode over zeros encrypts the counter.
fn encrypt(kernel: Kernel, key: &CtrKey, block: u128) -> u128 {
    let mut out = [0; 16];
    ctr(kernel, &mut [CtrJob { key, iv: block.to_be_bytes(), data: &mut out }]);
    u128::from_be_bytes(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 B.1, whose salt has four octets; the text is read by `tests/vectors.rs` where salts have
    /// fourteen.
    #[test]
    fn the_vectors_of_rfc3711_b1() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/rfc3711/B.1.txt");
        let text = std::fs::read_to_string(vectors).unwrap();
        let field = |name: &str| -> Vec<u8> {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.trim().strip_prefix(':'));
            hex(line.unwrap_or_else(|| panic!("{name}")).trim())
        };
        let all = |name: &str| -> Vec<u8> {
            let lines =
                text.lines().filter_map(|line| line.trim().strip_prefix(name)?.trim().strip_prefix(':'));
            lines.flat_map(|line| hex(line.trim())).collect()
        };
        let kernel = sluice_kernels::selected().unwrap();
        let f8 = F8::new(kernel, &field("key"), &field("salt key")).unwrap();
        let word = field("ROC").try_into().unwrap();
        let nonce = Nonce::new([0; 16], Kind::Rtp, &field("RTP packet header"), word);
        assert_eq!(initial(&nonce).to_be_bytes(), *field("IV"));
        assert_eq!(encrypt(kernel, &f8.masked, initial(&nonce)).to_be_bytes(), *field("IV'"));
        let mut data = all("plaintext");
        f8.apply(kernel, &nonce, &mut data);
        assert_eq!(data, all("ciphertext"));
    }
}
