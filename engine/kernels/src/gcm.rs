//! AES-GCM with the tag detached.

#[cfg(target_arch = "x86_64")]
use crate::arch::x86_64;
use crate::select::Isa;
use crate::{Kernel, KeyLength, portable};

/// Octets of a GCM initialization vector.
pub const GCM_IV_LEN: usize = 12;
/// Octets of a GCM tag; SRTP never truncates it (RFC 7714 §13.2).
pub const GCM_TAG_LEN: usize = 16;

/// An expanded AES-GCM key with its hash key. Zeroized on drop.
pub struct GcmKey(Schedule);

#[allow(
    clippy::large_enum_variant,
    reason = "the boxed one is the slow one; the other is read for every packet"
)]
enum Schedule {
    Portable(Box<portable::Gcm>),
    #[cfg(target_arch = "x86_64")]
    X86(x86_64::GcmKey),
}

impl GcmKey {
    /// Expands a key of 16 or 32 bytes for a kernel.
    pub fn new(kernel: Kernel, key: &[u8]) -> Result<Self, KeyLength> {
        if !matches!(key.len(), 16 | 32) {
            return Err(KeyLength { given: key.len() });
        }
        Ok(Self(match kernel.0 {
            Isa::Portable => Schedule::Portable(Box::new(portable::Gcm::new(key)?)),
            #[cfg(target_arch = "x86_64")]
            Isa::Aesni(cpu) => Schedule::X86(x86_64::GcmKey::new(cpu, key)?),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(cpu) => Schedule::X86(x86_64::GcmKey::new(cpu.into(), key)?),
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
    /// Written by [`gcm_seal`], read by [`gcm_open`]: where the packet has it.
    pub tag: &'a mut [u8; GCM_TAG_LEN],
    /// Set by both: whether the job was done; after [`gcm_open`], whether the tag was right.
    pub ok: bool,
}

/// Encrypts every job and writes its tag.
pub fn gcm_seal(kernel: Kernel, jobs: &mut [GcmJob<'_>]) {
    match kernel.0 {
        Isa::Portable => jobs.iter_mut().for_each(seal_one),
        #[cfg(target_arch = "x86_64")]
        Isa::Aesni(cpu) => x86_64::gcm::aesni_seal(cpu, jobs),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(cpu) => x86_64::gcm::avx512_seal(cpu, jobs),
    }
}

/// Checks every job's tag in constant time and decrypts the jobs whose tag is right.
pub fn gcm_open(kernel: Kernel, jobs: &mut [GcmJob<'_>]) {
    match kernel.0 {
        Isa::Portable => jobs.iter_mut().for_each(open_one),
        #[cfg(target_arch = "x86_64")]
        Isa::Aesni(cpu) => x86_64::gcm::aesni_open(cpu, jobs),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(cpu) => x86_64::gcm::avx512_open(cpu, jobs),
    }
}

/// Seals one job as its key wants it.
pub(crate) fn seal_one(job: &mut GcmJob<'_>) {
    match &job.key.0 {
        Schedule::Portable(key) => {
            let tag = key.seal(job.iv, job.aad, job.data);
            job.ok = tag.map(|tag| *job.tag = tag).is_some();
        }
        #[cfg(target_arch = "x86_64")]
        Schedule::X86(key) => x86_64::gcm::seal_one(key, job),
    }
}

/// Opens one job as its key wants it.
pub(crate) fn open_one(job: &mut GcmJob<'_>) {
    match &job.key.0 {
        Schedule::Portable(key) => job.ok = key.open(job.iv, job.aad, job.data, *job.tag),
        #[cfg(target_arch = "x86_64")]
        Schedule::X86(key) => x86_64::gcm::open_one(key, job),
    }
}

#[cfg(target_arch = "x86_64")]
impl GcmKey {
    /// Round keys and powers of the hash key, if expanded for a kernel of this architecture.
    pub(crate) const fn x86(&self) -> Option<&x86_64::GcmKey> {
        match &self.0 {
            Schedule::X86(key) => Some(key),
            Schedule::Portable(_) => None,
        }
    }
}
