//! Key derivation: AES in counter mode as a pseudo-random function (RFC 3711 §4.3, RFC 6188 §3).

use sluice_kernels::{CtrJob, CtrKey, Kernel, ctr, selected};
use zeroize::{Zeroize, Zeroizing};

use crate::single::BlockStream;
use crate::{KeyError, Suite};

/// Octets of the master salt that the PRF takes. The shorter salts of RFC 7714 are padded with zeros
/// on the right.
pub const SALT_BLOCK: usize = 14;

/// What a derived key is for (RFC 3711 §4.3.1, §4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Label {
    /// SRTP encryption key.
    RtpEncryption = 0,
    /// SRTP authentication key.
    RtpAuthentication = 1,
    /// SRTP salt.
    RtpSalt = 2,
    /// SRTCP encryption key.
    RtcpEncryption = 3,
    /// SRTCP authentication key.
    RtcpAuthentication = 4,
    /// SRTCP salt.
    RtcpSalt = 5,
    /// SRTP header encryption key (RFC 6904 §3).
    RtpHeaderEncryption = 6,
    /// SRTP header salt (RFC 6904 §3).
    RtpHeaderSalt = 7,
}

/// The PRF of one master key: AES_CM of RFC 3711 §4.3.3 for 128 bits; AES_192_CM_PRF and
/// AES_256_CM_PRF of RFC 6188 §3 for longer ones, which RFC 7714 §11 prescribes for AEAD_AES_256_GCM.
pub struct Prf {
    kernel: Kernel,
    key: PrfKey,
    salt: Zeroizing<[u8; SALT_BLOCK]>,
}

#[allow(clippy::large_enum_variant, reason = "on the stack while keys are installed by the thousand")]
enum PrfKey {
    Aes(CtrKey),
    Block(Box<BlockStream>),
}

impl Prf {
    /// The PRF that a suite prescribes: ARIA's and SEED's their own (RFC 8269 §3, RFC 5669 §4), AES for all
    /// others.
    pub fn of(suite: Suite, key: &[u8], salt: &[u8; SALT_BLOCK]) -> Result<Self, KeyError> {
        let Some(cipher) = suite.parameters().transform.block_cipher() else { return Self::new(key, salt) };
        let length = |e: sluice_kernels::KeyLength| KeyError::KeyLength { suite, got: e.given };
        let key = PrfKey::Block(Box::new(BlockStream::new(cipher, key).map_err(length)?));
        Ok(Self { kernel: selected()?, key, salt: Zeroizing::new(*salt) })
    }

    /// Expands a master key of 16, 24 or 32 bytes.
    pub fn new(key: &[u8], salt: &[u8; SALT_BLOCK]) -> Result<Self, KeyError> {
        let kernel = selected()?;
        let key = CtrKey::new(kernel, key).map_err(|e| KeyError::AesKey { got: e.given })?;
        Ok(Self { kernel, key: PrfKey::Aes(key), salt: Zeroizing::new(*salt) })
    }

    /// Fills `out` with the key for `label`; `r` is the packet index divided by the key derivation
    /// rate, of which 48 bits count, and 0 for a rate of 0.
    pub fn derive(&self, label: Label, r: u64, out: &mut [u8]) {
        self.derive_each(r, [(label, out)]);
    }

    /// Fills every `out` with the key for its label, all in one batch of the kernel.
    pub fn derive_each<const N: usize>(&self, r: u64, keys: [(Label, &mut [u8]); N]) {
        let key = match &self.key {
            PrfKey::Aes(key) => key,
            PrfKey::Block(block) => {
                for (label, data) in keys {
                    data.fill(0);
                    block.apply(&Zeroizing::new(self.iv(label, r)), data);
                }
                return;
            }
        };
        let mut jobs = keys.map(|(label, data)| {
            data.fill(0);
            CtrJob { key, iv: self.iv(label, r), data }
        });
        ctr(self.kernel, &mut jobs);
        for job in &mut jobs {
            job.iv.zeroize();
        }
    }

    /// x = (label ‖ r) XOR master salt, aligned at their right ends; IV = x * 2^16.
    fn iv(&self, label: Label, r: u64) -> [u8; 16] {
        let mut iv = [0; 16];
        iv[..SALT_BLOCK].copy_from_slice(&*self.salt);
        iv[7] ^= label as u8;
        for (byte, r) in iv[8..SALT_BLOCK].iter_mut().zip(&r.to_be_bytes()[2..]) {
            *byte ^= r;
        }
        iv
    }
}
