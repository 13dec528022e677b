//! What is written for one instruction set. The only unsafe code of this crate.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vector instructions")]
pub(crate) mod x86_64;
