//! HMAC-SHA1.

#[cfg(target_arch = "x86_64")]
use crate::arch::x86_64;
use crate::select::Isa;
use crate::{Kernel, portable};

/// Octets of an untruncated HMAC-SHA1 tag.
pub const SHA1_LEN: usize = 20;

/// An HMAC-SHA1 key with the states after the inner and the outer pad. Zeroized on drop.
pub struct MacKey(States);

enum States {
    Portable(Box<portable::HmacSha1>),
    #[cfg(target_arch = "x86_64")]
    X86(x86_64::HmacKey),
}

impl MacKey {
    /// Runs the key through both pads for a kernel; any length will do (RFC 2104).
    pub fn new(kernel: Kernel, key: &[u8]) -> Self {
        Self(match kernel.0 {
            Isa::Portable => States::Portable(Box::new(portable::HmacSha1::new(key))),
            #[cfg(target_arch = "x86_64")]
            Isa::Aesni(cpu) => States::X86(x86_64::HmacKey::new(cpu, key)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(cpu) => States::X86(x86_64::HmacKey::new(cpu.into(), key)),
        })
    }
}

/// One tag to compute over two segments, taken as one string.
pub struct MacJob<'a> {
    /// The expanded key.
    pub key: &'a MacKey,
    /// The authenticated portion of the packet, then what is authenticated without being sent there
    /// (RFC 3711 §4.2: the ROC for RTP).
    pub data: [&'a [u8]; 2],
    /// Out: the untruncated tag.
    pub tag: [u8; SHA1_LEN],
}

/// Computes every job's tag.
pub fn hmac_sha1(kernel: Kernel, jobs: &mut [MacJob<'_>]) {
    match kernel.0 {
        Isa::Portable => jobs.iter_mut().for_each(one),
        #[cfg(target_arch = "x86_64")]
        Isa::Aesni(cpu) => x86_64::hmac::aesni(cpu, jobs),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(cpu) => x86_64::hmac::avx512(cpu, jobs),
    }
}

/// Computes one tag as its key wants it.
pub(crate) fn one(job: &mut MacJob<'_>) {
    job.tag = match &job.key.0 {
        States::Portable(key) => key.tag(job.data),
        #[cfg(target_arch = "x86_64")]
        States::X86(key) => x86_64::hmac::one(key, job.data),
    };
}

#[cfg(target_arch = "x86_64")]
impl MacKey {
    /// The states, if made for a kernel of this architecture.
    pub(crate) const fn x86(&self) -> Option<&x86_64::HmacKey> {
        match &self.0 {
            States::X86(key) => Some(key),
            States::Portable(_) => None,
        }
    }
}
