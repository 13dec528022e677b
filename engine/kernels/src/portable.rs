//! The reference: RustCrypto's `aes`, `aes-gcm` and `hmac`, one packet at a time. They pick AES-NI,
//! PCLMULQDQ and SHA-NI by themselves where the CPU has them.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use ctr::cipher::consts::U16;
use ctr::cipher::{BlockCipherEncrypt, BlockSizeUser, InnerIvInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::{CtrCore, flavors};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::{GCM_IV_LEN, GCM_TAG_LEN, KeyLength, SHA1_LEN};

/// An expanded AES key.
pub(crate) enum Ctr {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

impl Ctr {
    pub(crate) fn new(key: &[u8]) -> Result<Self, KeyLength> {
        let wrong = |_| KeyLength { given: key.len() };
        Ok(match key.len() {
            16 => Self::Aes128(Aes128::new_from_slice(key).map_err(wrong)?),
            24 => Self::Aes192(Aes192::new_from_slice(key).map_err(wrong)?),
            32 => Self::Aes256(Aes256::new_from_slice(key).map_err(wrong)?),
            given => return Err(KeyLength { given }),
        })
    }

    pub(crate) fn apply(&self, iv: &[u8; 16], data: &mut [u8]) {
        match self {
            Self::Aes128(key) => stream(key, iv, data),
            Self::Aes192(key) => stream(key, iv, data),
            Self::Aes256(key) => stream(key, iv, data),
        }
    }
}

fn stream<C>(key: &C, iv: &[u8; 16], data: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let core = CtrCore::<&C, flavors::Ctr128BE>::inner_iv_init(key, &(*iv).into());
    StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
}

/// An expanded AES-GCM key with its hash key.
pub(crate) enum Gcm {
    Aes128(Aes128Gcm),
    Aes256(Aes256Gcm),
}

impl Gcm {
    pub(crate) fn new(key: &[u8]) -> Result<Self, KeyLength> {
        let wrong = |_| KeyLength { given: key.len() };
        Ok(match key.len() {
            16 => Self::Aes128(Aes128Gcm::new_from_slice(key).map_err(wrong)?),
            32 => Self::Aes256(Aes256Gcm::new_from_slice(key).map_err(wrong)?),
            given => return Err(KeyLength { given }),
        })
    }

    /// The tag; none if there is more data than GCM can take.
    pub(crate) fn seal(
        &self,
        iv: [u8; GCM_IV_LEN],
        aad: &[u8],
        data: &mut [u8],
    ) -> Option<[u8; GCM_TAG_LEN]> {
        let iv = iv.into();
        let tag = match self {
            Self::Aes128(key) => key.encrypt_inout_detached(&iv, aad, data.into()),
            Self::Aes256(key) => key.encrypt_inout_detached(&iv, aad, data.into()),
        };
        tag.ok().map(Into::into)
    }

    /// Whether the tag was right; if not, the data are as they were.
    pub(crate) fn open(
        &self,
        iv: [u8; GCM_IV_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: [u8; GCM_TAG_LEN],
    ) -> bool {
        let (iv, tag) = (iv.into(), tag.into());
        match self {
            Self::Aes128(key) => key.decrypt_inout_detached(&iv, aad, data.into(), &tag),
            Self::Aes256(key) => key.decrypt_inout_detached(&iv, aad, data.into(), &tag),
        }
        .is_ok()
    }
}

/// An HMAC-SHA1 key with the states after the inner and the outer pad.
pub(crate) struct HmacSha1(Hmac<Sha1>);

impl HmacSha1 {
    pub(crate) fn new(key: &[u8]) -> Self {
        match Hmac::new_from_slice(key) {
            Ok(state) => Self(state),
            Err(_) => unreachable!("HMAC takes keys of every length (RFC 2104 §2)"),
        }
    }

    pub(crate) fn tag(&self, data: [&[u8]; 2]) -> [u8; SHA1_LEN] {
        let mut state = self.0.clone();
        for segment in data {
            state.update(segment);
        }
        state.finalize().into_bytes().into()
    }
}
