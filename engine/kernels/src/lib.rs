//! Batched ciphers and MACs for SRTP.
//!
//! Every primitive takes a slice of jobs that mix keys, lengths and (for AES) key sizes freely; a
//! [`Kernel`] decides how the slice is worked through. Keys are expanded once for a kernel, when a
//! cryptographic context is created, never per packet.
//!
//! ```text
//! [CtrJob]  ──ctr──▶       AES counter mode          RFC 3711 §4.1.1
//! [GcmJob]  ──gcm_seal──▶  AES-GCM, tag detached      RFC 7714
//! [MacJob]  ──hmac_sha1──▶ HMAC-SHA1 over 2 segments  RFC 3711 §4.2.1
//! ```
//!
//! | kernel     | needs | how |
//! | ---------- | ----- | --- |
//! | `portable` | nothing | RustCrypto, one packet at a time: the reference |
//! | `aesni`    | AES-NI, PCLMULQDQ, SHA-NI, SSE4.1 | several packets interleaved, a block at a time |
//! | `avx512`   | VAES, VPCLMULQDQ, AVX-512 F/BW/VL and what `aesni` needs | four blocks at a time; sixteen SHA-1 lanes |
#![deny(unsafe_code)]

mod arch;
mod ctr;
mod gcm;
mod mac;
mod portable;
mod prefetch;
mod select;
mod selftest;

pub use ctr::{CtrJob, CtrKey, ctr};
pub use gcm::{GCM_IV_LEN, GCM_TAG_LEN, GcmJob, GcmKey, gcm_open, gcm_seal};
pub use mac::{MacJob, MacKey, SHA1_LEN, hmac_sha1};
pub use prefetch::prefetch;
pub use select::{Kernel, SelectError, selected};
pub use selftest::self_test;

/// A key of a length that the cipher does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLength {
    /// The length that was given, in bytes.
    pub given: usize,
}
