//! Counter mode.

use super::{AesKey, Aesni, Avx512};
use crate::CtrJob;

pub(crate) fn aesni(_cpu: Aesni, jobs: &mut [CtrJob<'_>]) {
    jobs.iter_mut().for_each(crate::ctr::one);
}

pub(crate) fn avx512(_cpu: Avx512, jobs: &mut [CtrJob<'_>]) {
    jobs.iter_mut().for_each(crate::ctr::one);
}

pub(crate) fn one(key: &AesKey, iv: &[u8; 16], data: &mut [u8]) {
    key.0.apply(iv, data);
}
