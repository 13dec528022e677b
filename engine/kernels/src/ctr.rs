//! AES in counter mode.

#[cfg(target_arch = "x86_64")]
use crate::arch::x86_64;
use crate::select::Isa;
use crate::{Kernel, KeyLength, portable};

/// An expanded AES key for counter mode. Zeroized on drop.
pub struct CtrKey(Schedule);

#[allow(
    clippy::large_enum_variant,
    reason = "the boxed one is the slow one; the other is read for every packet"
)]
enum Schedule {
    Portable(Box<portable::Ctr>),
    #[cfg(target_arch = "x86_64")]
    X86(x86_64::AesKey),
}

impl CtrKey {
    /// Expands a key of 16, 24 or 32 bytes for a kernel.
    pub fn new(kernel: Kernel, key: &[u8]) -> Result<Self, KeyLength> {
        Ok(Self(match kernel.0 {
            Isa::Portable => Schedule::Portable(Box::new(portable::Ctr::new(key)?)),
            #[cfg(target_arch = "x86_64")]
            Isa::Aesni(cpu) => Schedule::X86(x86_64::AesKey::new(cpu, key)?),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(cpu) => Schedule::X86(x86_64::AesKey::new(cpu.into(), key)?),
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

/// Runs every job. Keys that were expanded for another kernel are of that kernel's speed.
pub fn ctr(kernel: Kernel, jobs: &mut [CtrJob<'_>]) {
    match kernel.0 {
        Isa::Portable => jobs.iter_mut().for_each(one),
        #[cfg(target_arch = "x86_64")]
        Isa::Aesni(cpu) => x86_64::ctr::aesni(cpu, jobs),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(cpu) => x86_64::ctr::avx512(cpu, jobs),
    }
}

/// Runs one job as its key wants it.
pub(crate) fn one(job: &mut CtrJob<'_>) {
    match &job.key.0 {
        Schedule::Portable(key) => key.apply(&job.iv, job.data),
        #[cfg(target_arch = "x86_64")]
        Schedule::X86(key) => x86_64::ctr::one(key, &job.iv, job.data),
    }
}

#[cfg(target_arch = "x86_64")]
impl CtrKey {
    /// The round keys, if the key was expanded for a kernel of this architecture.
    pub(crate) const fn x86(&self) -> Option<&x86_64::AesKey> {
        match &self.0 {
            Schedule::X86(key) => Some(key),
            Schedule::Portable(_) => None,
        }
    }
}
