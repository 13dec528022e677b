//! Galois/counter mode.

use super::{Aesni, Avx512};
use crate::{GcmJob, KeyLength, portable};

/// Round keys and powers of the hash key.
pub(crate) struct GcmKey(portable::Gcm);

impl GcmKey {
    pub(crate) fn new(_cpu: Aesni, key: &[u8]) -> Result<Self, KeyLength> {
        portable::Gcm::new(key).map(Self)
    }
}

pub(crate) fn aesni_seal(_cpu: Aesni, jobs: &mut [GcmJob<'_>]) {
    jobs.iter_mut().for_each(crate::gcm::seal_one);
}

pub(crate) fn aesni_open(_cpu: Aesni, jobs: &mut [GcmJob<'_>]) {
    jobs.iter_mut().for_each(crate::gcm::open_one);
}

pub(crate) fn avx512_seal(_cpu: Avx512, jobs: &mut [GcmJob<'_>]) {
    jobs.iter_mut().for_each(crate::gcm::seal_one);
}

pub(crate) fn avx512_open(_cpu: Avx512, jobs: &mut [GcmJob<'_>]) {
    jobs.iter_mut().for_each(crate::gcm::open_one);
}

pub(crate) fn seal_one(key: &GcmKey, job: &mut GcmJob<'_>) {
    let tag = key.0.seal(job.iv, job.aad, job.data);
    job.ok = tag.map(|tag| job.tag = tag).is_some();
}

pub(crate) fn open_one(key: &GcmKey, job: &mut GcmJob<'_>) {
    job.ok = key.0.open(job.iv, job.aad, job.data, job.tag);
}
