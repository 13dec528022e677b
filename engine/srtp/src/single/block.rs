//! Block ciphers beside AES: ARIA (RFC 8269) and SEED (RFC 5669), by RustCrypto's modes.

use aes_gcm::AesGcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::cipher::consts::{U1, U10, U12, U16};
use aria::{Aria128, Aria256};
use ccm::Ccm;
use ctr::cipher::common::KeySizeUser;
use ctr::cipher::inout::InOut;
use ctr::cipher::{
    Block, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, InnerIvInit, Key,
    ParBlocksSizeUser, StreamCipher, StreamCipherCoreWrapper,
};
use ctr::{CtrCore, flavors};
use old_cipher::{BlockEncrypt as _, KeyInit as _};
use sluice_kernels::{GCM_IV_LEN, KeyLength};

use crate::transform::same_tag;

/// A block cipher by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockCipher {
    Aria,
    Seed,
}

/// A block cipher in counter mode, which is also its PRF (RFC 8269 §3, RFC 5669 §4).
pub(crate) enum BlockStream {
    Aria128(Aria128),
    Aria256(Aria256),
    Seed(Seed),
}

impl BlockStream {
    pub(crate) fn new(cipher: BlockCipher, key: &[u8]) -> Result<Self, KeyLength> {
        let wrong = |_| KeyLength { given: key.len() };
        Ok(match (cipher, key.len()) {
            (BlockCipher::Aria, 16) => Self::Aria128(Aria128::new_from_slice(key).map_err(wrong)?),
            (BlockCipher::Aria, 32) => Self::Aria256(Aria256::new_from_slice(key).map_err(wrong)?),
            (BlockCipher::Seed, 16) => Self::Seed(Seed::new_from_slice(key).map_err(wrong)?),
            (_, given) => return Err(KeyLength { given }),
        })
    }

    /// XORs the key stream that starts at a counter block to the data.
    pub(crate) fn apply(&self, iv: &[u8; 16], data: &mut [u8]) {
        match self {
            Self::Aria128(key) => stream(key, iv, data),
            Self::Aria256(key) => stream(key, iv, data),
            Self::Seed(key) => stream(key, iv, data),
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

/// An AEAD mode of a block cipher.
pub(crate) enum BlockAead {
    AriaGcm128(AesGcm<Aria128, U12>),
    AriaGcm256(AesGcm<Aria256, U12>),
    SeedGcm(AesGcm<Seed, U12, U12>),
    /// With a length field of three octets (RFC 5669 §2.2).
    SeedCcm(Ccm<Seed, U10, U12>, Seed),
}

impl BlockAead {
    pub(crate) fn aria_gcm(key: &[u8]) -> Result<Self, KeyLength> {
        let wrong = |_| KeyLength { given: key.len() };
        match key.len() {
            16 => Ok(Self::AriaGcm128(AesGcm::new_from_slice(key).map_err(wrong)?)),
            _ => Ok(Self::AriaGcm256(AesGcm::new_from_slice(key).map_err(wrong)?)),
        }
    }

    pub(crate) fn seed_gcm(key: &[u8]) -> Result<Self, KeyLength> {
        AesGcm::new_from_slice(key).map(Self::SeedGcm).map_err(|_| KeyLength { given: key.len() })
    }

    pub(crate) fn seed_ccm(key: &[u8]) -> Result<Self, KeyLength> {
        let wrong = |_| KeyLength { given: key.len() };
        let seed = Seed::new_from_slice(key).map_err(wrong)?;
        Ok(Self::SeedCcm(Ccm::new_from_slice(key).map_err(wrong)?, seed))
    }

    /// Encrypts and writes the tag, of the suite's length; not if there is too much.
    pub(crate) fn seal(&self, iv: [u8; GCM_IV_LEN], aad: &[u8], data: &mut [u8], tag: &mut [u8]) -> bool {
        match self {
            Self::AriaGcm128(key) => seal(key, iv, aad, data, tag),
            Self::AriaGcm256(key) => seal(key, iv, aad, data, tag),
            Self::SeedGcm(key) => seal(key, iv, aad, data, tag),
            Self::SeedCcm(key, _) => seal(key, iv, aad, data, tag),
        }
    }

    /// Decrypts if the tag is right, else leaves the data as they were.
    pub(crate) fn open(&self, iv: [u8; GCM_IV_LEN], aad: &[u8], data: &mut [u8], tag: &[u8]) -> bool {
        match self {
            Self::AriaGcm128(key) => open(key, iv, aad, data, tag),
            Self::AriaGcm256(key) => open(key, iv, aad, data, tag),
            Self::SeedGcm(key) => open(key, iv, aad, data, tag),
            Self::SeedCcm(key, seed) => open_ccm(key, seed, iv, aad, data, tag),
        }
    }
}

fn seal<A>(key: &A, iv: [u8; GCM_IV_LEN], aad: &[u8], data: &mut [u8], tag: &mut [u8]) -> bool
where
    A: AeadInOut<NonceSize = U12>,
{
    let sealed = key.encrypt_inout_detached(&iv.into(), aad, data.into());
    sealed.map(|made| tag.copy_from_slice(&made)).is_ok()
}

fn open<A>(key: &A, iv: [u8; GCM_IV_LEN], aad: &[u8], data: &mut [u8], tag: &[u8]) -> bool
where
    A: AeadInOut<NonceSize = U12>,
{
    let Ok(tag) = tag.try_into() else { return false };
    key.decrypt_inout_detached(&iv.into(), aad, data.into(), tag).is_ok()
}

/// CCM authenticates the plain text, and the crate's way to open leaves nothing of what is forged: here
/// the packet is decrypted, sealed again, and decrypted if that gave the tag.
fn open_ccm(
    key: &Ccm<Seed, U10, U12>,
    seed: &Seed,
    iv: [u8; GCM_IV_LEN],
    aad: &[u8],
    data: &mut [u8],
    tag: &[u8],
) -> bool {
    // RFC 3610 §2.3: flags with the length field's length less one, nonce, counter; 0 is the tag's.
    let mut counter = [0; 16];
    (counter[0], counter[15]) = (2, 1);
    counter[1..13].copy_from_slice(&iv);
    stream(seed, &counter, data);
    let mut right = [0; 10];
    let sealed = seal(key, iv, aad, data, &mut right);
    let opened = sealed && same_tag(&right, tag);
    if opened {
        stream(seed, &counter, data);
    }
    opened
}

/// SEED (RFC 4269). Its crate speaks the traits of an earlier generation than the modes.
pub(crate) struct Seed(kisaseed::SEED);

impl BlockSizeUser for Seed {
    type BlockSize = U16;
}

impl KeySizeUser for Seed {
    type KeySize = U16;
}

impl KeyInit for Seed {
    fn new(key: &Key<Self>) -> Self {
        let key: [u8; 16] = (*key).into();
        Self(kisaseed::SEED::new(&key.into()))
    }
}

impl BlockCipherEncrypt for Seed {
    fn encrypt_with_backend(&self, closure: impl BlockCipherEncClosure<BlockSize = U16>) {
        closure.call(&Backend(self));
    }
}

struct Backend<'a>(&'a Seed);

impl BlockSizeUser for Backend<'_> {
    type BlockSize = U16;
}

impl ParBlocksSizeUser for Backend<'_> {
    type ParBlocksSize = U1;
}

impl BlockCipherEncBackend for Backend<'_> {
    fn encrypt_block(&self, mut block: InOut<'_, '_, Block<Self>>) {
        let mut octets: [u8; 16] = (*block.get_in()).into();
        self.0.0.encrypt_block((&mut octets).into());
        *block.get_out() = octets.into();
    }
}
