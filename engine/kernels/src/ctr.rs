//! AES in counter mode.

use aes::{Aes128, Aes192, Aes256};
use ctr::cipher::consts::U16;
use ctr::cipher::{
    BlockCipherEncrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper,
};
use ctr::{CtrCore, flavors};

use crate::{Kernel, KeyLength};

/// An expanded AES key for counter mode. Zeroized on drop.
pub struct CtrKey(Schedule);

#[allow(clippy::large_enum_variant, reason = "the key lives in a shared SessionKeys, once per master key")]
enum Schedule {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

impl CtrKey {
    /// Expands a key of 16, 24 or 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self, KeyLength> {
        let wrong = |_| KeyLength { given: key.len() };
        Ok(Self(match key.len() {
            16 => Schedule::Aes128(Aes128::new_from_slice(key).map_err(wrong)?),
            24 => Schedule::Aes192(Aes192::new_from_slice(key).map_err(wrong)?),
            32 => Schedule::Aes256(Aes256::new_from_slice(key).map_err(wrong)?),
            given => return Err(KeyLength { given }),
        }))
    }
}

/// One run of counter mode: `data` is XORed with the key stream that starts at `iv`.
pub struct CtrJob<'a> {
    /// The expanded key.
    pub key: &'a CtrKey,
    /// Initial counter block; the last 16 bits count blocks in SRTP.
    pub iv: [u8; 16],
    /// Plain text in, cipher text out, or the reverse.
    pub data: &'a mut [u8],
}

/// Runs every job.
pub fn ctr(kernel: Kernel, jobs: &mut [CtrJob<'_>]) {
    match kernel {
        Kernel::Portable => jobs.iter_mut().for_each(portable),
    }
}

fn portable(job: &mut CtrJob<'_>) {
    match &job.key.0 {
        Schedule::Aes128(key) => stream(key, &job.iv, job.data),
        Schedule::Aes192(key) => stream(key, &job.iv, job.data),
        Schedule::Aes256(key) => stream(key, &job.iv, job.data),
    }
}

fn stream<C>(key: &C, iv: &[u8; 16], data: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let core = CtrCore::<&C, flavors::Ctr128BE>::inner_iv_init(key, &(*iv).into());
    StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
}
