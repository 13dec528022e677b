//! HMAC-SHA1.

use super::{Aesni, Avx512};
use crate::{MacJob, SHA1_LEN, portable};

/// The states after the inner and the outer pad.
pub(crate) struct HmacKey(portable::HmacSha1);

impl HmacKey {
    pub(crate) fn new(_cpu: Aesni, key: &[u8]) -> Self {
        Self(portable::HmacSha1::new(key))
    }
}

pub(crate) fn aesni(_cpu: Aesni, jobs: &mut [MacJob<'_>]) {
    jobs.iter_mut().for_each(crate::mac::one);
}

pub(crate) fn avx512(_cpu: Avx512, jobs: &mut [MacJob<'_>]) {
    jobs.iter_mut().for_each(crate::mac::one);
}

pub(crate) fn one(key: &HmacKey, data: [&[u8]; 2]) -> [u8; SHA1_LEN] {
    key.0.tag(data)
}
