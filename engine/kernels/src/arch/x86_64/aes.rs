//! The AES key schedule.

use super::Aesni;
use crate::{KeyLength, portable};

/// Round keys.
pub(crate) struct AesKey(pub(super) portable::Ctr);

impl AesKey {
    pub(crate) fn new(_cpu: Aesni, key: &[u8]) -> Result<Self, KeyLength> {
        portable::Ctr::new(key).map(Self)
    }
}
