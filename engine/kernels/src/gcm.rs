//! AES-GCM with the tag detached.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};

use crate::{Kernel, KeyLength};

/// Octets of a GCM initialization vector.
pub const GCM_IV_LEN: usize = 12;
/// Octets of a GCM tag; SRTP never truncates it (RFC 7714 §13.2).
pub const GCM_TAG_LEN: usize = 16;

/// An expanded AES-GCM key with its hash key. Zeroized on drop.
pub struct GcmKey(Schedule);

#[allow(clippy::large_enum_variant, reason = "the key lives in a shared SessionKeys, once per master key")]
enum Schedule {
    Aes128(Aes128Gcm),
    Aes256(Aes256Gcm),
}

impl GcmKey {
    /// Expands a key of 16 or 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self, KeyLength> {
        let wrong = |_| KeyLength { given: key.len() };
        Ok(Self(match key.len() {
            16 => Schedule::Aes128(Aes128Gcm::new_from_slice(key).map_err(wrong)?),
            32 => Schedule::Aes256(Aes256Gcm::new_from_slice(key).map_err(wrong)?),
            given => return Err(KeyLength { given }),
        }))
    }
}

/// One packet to seal or open.
pub struct GcmJob<'a> {
    /// The expanded key.
    pub key: &'a GcmKey,
    /// Initialization vector.
    pub iv: [u8; GCM_IV_LEN],
    /// Associated data.
    pub aad: &'a [u8],
    /// Plain text in, cipher text out, or the reverse. Unchanged if opening fails.
    pub data: &'a mut [u8],
    /// Written by [`gcm_seal`], read by [`gcm_open`].
    pub tag: [u8; GCM_TAG_LEN],
    /// Set by both: whether the job was done; after [`gcm_open`], whether the tag was right.
    pub ok: bool,
}

/// Encrypts every job and writes its tag.
pub fn gcm_seal(kernel: Kernel, jobs: &mut [GcmJob<'_>]) {
    match kernel {
        Kernel::Portable => jobs.iter_mut().for_each(portable_seal),
    }
}

/// Checks every job's tag in constant time and decrypts the jobs whose tag is right.
pub fn gcm_open(kernel: Kernel, jobs: &mut [GcmJob<'_>]) {
    match kernel {
        Kernel::Portable => jobs.iter_mut().for_each(portable_open),
    }
}

fn portable_seal(job: &mut GcmJob<'_>) {
    let iv = job.iv.into();
    let sealed = match &job.key.0 {
        Schedule::Aes128(key) => key.encrypt_inout_detached(&iv, job.aad, (&mut *job.data).into()),
        Schedule::Aes256(key) => key.encrypt_inout_detached(&iv, job.aad, (&mut *job.data).into()),
    };
    job.ok = sealed.map(|tag| job.tag = tag.into()).is_ok();
}

fn portable_open(job: &mut GcmJob<'_>) {
    let (iv, tag) = (job.iv.into(), job.tag.into());
    let opened = match &job.key.0 {
        Schedule::Aes128(key) => key.decrypt_inout_detached(&iv, job.aad, (&mut *job.data).into(), &tag),
        Schedule::Aes256(key) => key.decrypt_inout_detached(&iv, job.aad, (&mut *job.data).into(), &tag),
    };
    job.ok = opened.is_ok();
}
