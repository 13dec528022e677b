//! x86-64: AES-NI, PCLMULQDQ and SHA-NI; VAES, VPCLMULQDQ and AVX-512.
//!
//! A CPU token ([`Aesni`], [`Avx512`]) is proof that the CPU has the instructions: it is made by
//! detection only, and whatever needs the instructions asks for it, or for a key that was made with one.
#![allow(
    clippy::inline_always,
    reason = "generic vector code must be inlined into what enables the instructions"
)]
#![allow(clippy::wildcard_imports, reason = "of intrinsics")]
#![allow(clippy::many_single_char_names, reason = "the standards' names")]
#![allow(clippy::large_types_passed_by_value, reason = "vectors, in registers once inlined")]
#![allow(clippy::needless_range_loop, reason = "lanes and streams go in step over several arrays")]

mod aes;
mod blocks;
pub(crate) mod ctr;
pub(crate) mod gcm;
mod ghash;
mod hashing;
pub(crate) mod hmac;
mod packets;
mod sha1_ni;
mod sha1_x16;

pub(crate) use aes::AesKey;
pub(crate) use gcm::GcmKey;
pub(crate) use hmac::HmacKey;

/// Proof of AES-NI, PCLMULQDQ, SHA-NI, SSSE3 and SSE4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Aesni(());

/// Proof of VAES, VPCLMULQDQ, AVX-512 F, BW and VL, BMI2, and all that [`Aesni`] proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Avx512(());

impl Aesni {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        has.then_some(Self(()))
    }
}

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("bmi2");
        Aesni::detect().filter(|_| has).map(|_| Self(()))
    }
}

impl From<Avx512> for Aesni {
    fn from(_: Avx512) -> Self {
        Self(())
    }
}
