//! From a master key to expanded session keys (RFC 3711 §4.3, RFC 7714 §11).

use sluice_kernels::{CtrKey, GcmKey, Kernel, MacKey, prefetch, selected};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::kdf::{Label, Prf, SALT_BLOCK};
use crate::rate::{Current, DerivationRate, Rederivation};
use crate::single::{
    BlockAead, BlockCipher, BlockStream, Cryptex, ExtensionCipher, ExtensionIds, F8, Rcc, RccMode, Single,
    Stream,
};
use crate::suite::Transform;
use crate::transform::counter_block;
use crate::{Indices, KeyError, KeyId, KeyOptions, Kind, Lifetime, MasterKey, Mki, Suite};

const MAC_KEY: usize = 20;
/// Octets of a tag of 32 bits.
const SHORT_TAG: u8 = 4;

/// What is encrypted of RTP headers.
pub(crate) struct HeaderProtection {
    pub(crate) cryptex: Cryptex,
    pub(crate) ids: ExtensionIds,
    /// If there are identifiers.
    pub(crate) cipher: Option<ExtensionCipher>,
}

/// The expanded session keys of one master key, for RTP and RTCP; shared by its streams in an `Arc`.
#[repr(C)]
pub struct SessionKeys {
    kernel: Kernel,
    suite: Suite,
    rtp: Direction,
    rtcp: Direction,
    id: KeyId,
    lifetime: Lifetime,
    mki: Mki,
    /// The RTP packet indices that the keys are for.
    pub(crate) indices: Indices,
    /// Of a double suite what protects end to end; the rest is then the outer half.
    pub(crate) inner: Option<Box<SessionKeys>>,
    /// If RTP packets carry the ROC.
    pub(crate) rcc: Option<Rcc>,
    /// If anything of RTP headers is encrypted.
    pub(crate) header: Option<Box<HeaderProtection>>,
    /// With a key derivation rate; this is then what holds from index 0 on.
    rate: Option<Box<Rederivation>>,
}

/// Session keys of RTP or of RTCP as the key derivation gives them (RFC 3711 §4.3.1). Zeroized on
/// drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionMaterial {
    key: [u8; 32],
    salt: [u8; SALT_BLOCK],
    auth: [u8; MAC_KEY],
}

impl SessionMaterial {
    /// Takes encryption key and salt of the suite's lengths; the 20-byte authentication key is of no
    /// account in AEAD suites.
    pub fn new(suite: Suite, key: &[u8], salt: &[u8], auth: [u8; MAC_KEY]) -> Result<Self, KeyError> {
        if suite.half().is_some() {
            return Err(KeyError::Double { suite });
        }
        let master = MasterKey::new(suite, key, salt)?;
        let mut new = Self { key: [0; 32], salt: *master.salt_block(), auth };
        new.key[..key.len()].copy_from_slice(key);
        Ok(new)
    }

    /// Of RTP and of RTCP.
    fn derive(suite: Suite, prf: &Prf, r: u64) -> [Self; 2] {
        let empty = || Self { key: [0; 32], salt: [0; SALT_BLOCK], auth: [0; MAC_KEY] };
        let (key, salt) = (suite.key_len(), suite.salt_len());
        let [mut rtp, mut rtcp] = [empty(), empty()];
        prf.derive_each(
            r,
            [
                (Label::RtpEncryption, &mut rtp.key[..key]),
                (Label::RtpSalt, &mut rtp.salt[..salt]),
                (Label::RtcpEncryption, &mut rtcp.key[..key]),
                (Label::RtcpSalt, &mut rtcp.salt[..salt]),
            ],
        );
        if suite.parameters().transform.has_hmac() {
            let auth = [
                (Label::RtpAuthentication, &mut rtp.auth[..]),
                (Label::RtcpAuthentication, &mut rtcp.auth[..]),
            ];
            prf.derive_each(r, auth);
        }
        [rtp, rtcp]
    }
}

/// Session keys of RTP or of RTCP, expanded. In memory what every packet needs comes first.
#[repr(C)]
pub(crate) struct Direction {
    /// The salt where it stands in a 128-bit counter block, upper and lower half.
    salt: Zeroizing<[u64; 2]>,
    /// How many bits further left than in counter mode SSRC and index are added to it.
    shift: u8,
    /// Octets of the tag.
    pub(crate) tag: u8,
    /// Octets of the MKI.
    pub(crate) mki: u8,
    pub(crate) encrypt: bool,
    /// Whether a batch's common way will do.
    pub(crate) batched: bool,
    /// Packets that the key may protect.
    pub(crate) lifetime: u64,
    pub(crate) cipher: Cipher,
}

impl Direction {
    fn expand(
        kernel: Kernel,
        suite: Suite,
        material: &SessionMaterial,
        kind: Kind,
        options: &KeyOptions,
    ) -> Result<Self, KeyError> {
        let parameters = suite.parameters();
        let (mut tag, lifetime, plain) = match kind {
            Kind::Rtp => (parameters.rtp_tag, options.lifetime.rtp_packets, options.omit.rtp_encryption),
            Kind::Rtcp => (parameters.rtcp_tag, options.lifetime.rtcp_packets, options.omit.rtcp_encryption),
        };
        let rcc = options.rcc.filter(|_| kind == Kind::Rtp);
        let has_hmac = parameters.transform.has_hmac();
        if options.short_rtcp_tags && !has_hmac {
            return Err(KeyError::ShortTags { suite });
        }
        let hmac = has_hmac && !options.omit.rtp_authentication;
        if rcc.is_some_and(|rcc| rcc.mode() != RccMode::Three) && !hmac {
            return Err(KeyError::RccMode { suite });
        }
        let without_mac = rcc.is_some_and(|rcc| rcc.mode() == RccMode::Three) && hmac;
        let unauthenticated = kind == Kind::Rtp && (options.omit.rtp_authentication || without_mac);
        if parameters.transform.is_aead() && kind == Kind::Rtp {
            // RFC 7714 §8.2 encrypts every payload; §9.3 is for RTCP only.
            let what = [(plain, "encryption"), (unauthenticated, "authentication")];
            if let Some((_, what)) = what.into_iter().find(|(left_out, _)| *left_out) {
                return Err(KeyError::Inseparable { suite, what });
            }
        }
        let encrypt = !plain && suite.encrypts();
        if kind == Kind::Rtp && !encrypt && options.cryptex != Cryptex::Off {
            return Err(KeyError::Cryptex { suite });
        }
        let key = &material.key[..suite.key_len()];
        let length = |e: sluice_kernels::KeyLength| KeyError::KeyLength { suite, got: e.given };
        let mut salt = Zeroizing::new([0; 16]);
        salt[..SALT_BLOCK].copy_from_slice(&material.salt);
        let mac = || MacKey::new(kernel, &material.auth);
        let counter = || CtrKey::new(kernel, key).map_err(length);
        let single = |stream| {
            let mac = if unauthenticated { None } else { Some(mac()) };
            Cipher::Single(Box::new(Single::StreamHmac { stream, mac }))
        };
        let aead = |aead: Result<BlockAead, sluice_kernels::KeyLength>| {
            aead.map(|aead| (Cipher::Single(Box::new(Single::Aead(Box::new(aead)))), 16)).map_err(length)
        };
        let (cipher, shift) = match parameters.transform {
            Transform::CounterHmac if unauthenticated => (single(Stream::AesCm(Box::new(counter()?))), 0),
            Transform::CounterHmac => (Cipher::CounterHmac { mac: mac(), key: counter()? }, 0),
            Transform::F8Hmac => {
                let f8 = F8::new(kernel, key, &material.salt).map_err(length)?;
                (single(Stream::AesF8(Box::new(f8))), 0)
            }
            Transform::NullHmac => (single(Stream::Null), 0),
            Transform::BlockHmac(cipher) => {
                let block = BlockStream::new(cipher, key).map_err(length)?;
                (single(Stream::Block(Box::new(block))), 0)
            }
            Transform::Gcm => (Cipher::Gcm(GcmKey::new(kernel, key).map_err(length)?), 16),
            Transform::BlockGcm(BlockCipher::Aria) => aead(BlockAead::aria_gcm(key))?,
            Transform::BlockGcm(BlockCipher::Seed) => aead(BlockAead::seed_gcm(key))?,
            Transform::SeedCcm => aead(BlockAead::seed_ccm(key))?,
            Transform::DoubleGcm => return Err(KeyError::Double { suite }),
        };
        if unauthenticated {
            tag = 0;
        } else if kind == Kind::Rtcp && options.short_rtcp_tags {
            tag = SHORT_TAG;
        }
        let plain_header = options.cryptex == Cryptex::Off && options.encrypted_extensions.is_empty();
        let batched = plain_header
            && options.rcc.is_none()
            && options.indices == Indices::ALL
            && encrypt
            && !matches!(cipher, Cipher::Single(_))
            && options.derivation_rate == DerivationRate::NONE;
        let salt = u128::from_be_bytes(*salt);
        let salt = Zeroizing::new([(salt >> 64) as u64, salt as u64]);
        let mki = options.mki.len() as u8;
        Ok(Self { salt, shift, tag, mki, encrypt, batched, lifetime, cipher })
    }

    /// The initial counter block of a packet. Counter mode: (k_s * 2^16) XOR (SSRC * 2^64) XOR (i * 2^16)
    /// (RFC 3711 §4.1.1). GCM takes the first 12 octets: 00 00 ‖ SSRC ‖ 48-bit index, XOR the salt
    /// (RFC 7714 §8.1 for RTP, whose index is ROC ‖ SEQ, and §9.1 for RTCP, whose index has 31 bits).
    #[inline]
    pub(crate) fn iv(&self, ssrc: u32, index: u64) -> [u8; 16] {
        counter_block(&self.salt, self.shift, ssrc, index)
    }
}

#[allow(clippy::large_enum_variant, reason = "one per master key, behind an Arc")]
pub(crate) enum Cipher {
    CounterHmac {
        mac: MacKey,
        key: CtrKey,
    },
    Gcm(GcmKey),
    /// Whatever goes a packet at a time.
    Single(Box<Single>),
}

impl SessionKeys {
    /// Derives and expands all session keys (key derivation rate 0).
    ///
    /// # Errors
    /// [`KeyError::NoKernel`] if no kernel passed its self-test.
    pub fn derive(id: KeyId, master: &MasterKey, mki: Mki, lifetime: Lifetime) -> Result<Self, KeyError> {
        Self::derive_with(id, master, &KeyOptions { mki, lifetime, ..KeyOptions::default() })
    }

    /// Derives and expands all session keys.
    ///
    /// # Errors
    /// [`KeyError::Inseparable`] if the suite cannot leave out what the options say;
    /// [`KeyError::NoKernel`] if no kernel passed its self-test.
    pub fn derive_with(id: KeyId, master: &MasterKey, options: &KeyOptions) -> Result<Self, KeyError> {
        let mut keys = Self::derive_at(id, master, options, 0)?;
        keys.rate = Rederivation::new(master, options).map(Box::new);
        Ok(keys)
    }

    /// The session keys of the r-th interval of the key derivation rate (RFC 3711 §4.3.1).
    pub(crate) fn derive_at(
        id: KeyId,
        master: &MasterKey,
        options: &KeyOptions,
        r: u64,
    ) -> Result<Self, KeyError> {
        if let (Some(inner), Some(outer)) = (master.inner(), master.outer()) {
            let mut keys = Self::derive_at(id, &outer, options, r)?;
            let plain = KeyOptions { lifetime: options.lifetime, ..KeyOptions::default() };
            keys.inner = Some(Box::new(Self::derive_at(id, &inner, &plain, r)?));
            keys.suite = master.suite();
            keys.rtp.batched = false;
            return Ok(keys);
        }
        let suite = master.suite();
        let prf = Prf::of(suite, master.key(), &master.salt_block())?;
        let [rtp, rtcp] = SessionMaterial::derive(suite, &prf, r);
        let mut keys = Self::expand_all(id, suite, [&rtp, &rtcp], options)?;
        let ids = options.encrypted_extensions;
        let cipher = if ids.is_empty() {
            None
        } else {
            let transform = suite.parameters().transform;
            let cipher =
                ExtensionCipher::derive(keys.kernel, transform, &prf, [suite.key_len(), suite.salt_len()], r);
            Some(cipher.map_err(|e| KeyError::KeyLength { suite, got: e.given })?)
        };
        if cipher.is_some() || options.cryptex != Cryptex::Off {
            keys.header = Some(Box::new(HeaderProtection { cryptex: options.cryptex, ids, cipher }));
        }
        Ok(keys)
    }

    /// Expands session keys, of RTP and of RTCP, that were derived elsewhere. They hold for every index: a
    /// key derivation rate is of no account.
    ///
    /// # Errors
    /// As [`Self::derive_with`]; [`KeyError::NoHeaderKeys`] if header extensions are to be encrypted.
    pub fn expand(
        id: KeyId,
        suite: Suite,
        materials: [&SessionMaterial; 2],
        options: &KeyOptions,
    ) -> Result<Self, KeyError> {
        if !options.encrypted_extensions.is_empty() {
            return Err(KeyError::NoHeaderKeys);
        }
        let mut keys = Self::expand_all(id, suite, materials, options)?;
        if options.cryptex != Cryptex::Off {
            let header = HeaderProtection { cryptex: options.cryptex, ids: ExtensionIds::NONE, cipher: None };
            keys.header = Some(Box::new(header));
        }
        Ok(keys)
    }

    fn expand_all(
        id: KeyId,
        suite: Suite,
        [rtp, rtcp]: [&SessionMaterial; 2],
        options: &KeyOptions,
    ) -> Result<Self, KeyError> {
        let kernel = selected()?;
        Ok(Self {
            id,
            suite,
            mki: options.mki,
            lifetime: options.lifetime,
            kernel,
            rtp: Direction::expand(kernel, suite, rtp, Kind::Rtp, options)?,
            rtcp: Direction::expand(kernel, suite, rtcp, Kind::Rtcp, options)?,
            indices: options.indices,
            inner: None,
            rcc: options.rcc,
            header: None,
            rate: None,
        })
    }

    /// The session keys that hold for a packet index (RFC 3711 §4.3.1); `None` if they cannot be derived.
    pub(crate) fn at(&self, kind: Kind, index: u64) -> Option<Current<'_>> {
        match &self.rate {
            None => Some(Current::Same(self)),
            Some(rate) => rate.at(self, kind, index),
        }
    }

    /// The key's name.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The suite.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The MKI that marks packets under this key; possibly none.
    pub const fn mki(&self) -> &Mki {
        &self.mki
    }

    /// How long the key may be used.
    pub const fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// The kernel that the key was expanded for.
    pub const fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Whether every RTP packet has a tag. Where not (RFC 4568 §6.3.3, RFC 4771's modes 1 and 3), a packet that
    /// is accepted shows nothing about who sent it.
    pub fn authenticates_rtp(&self) -> bool {
        let every = self.rcc.is_none_or(|rcc| rcc.mode() != RccMode::One);
        self.rtp.tag > 0 && every
    }

    /// Whether a batch's common way will do for RTP packets.
    #[inline]
    pub(crate) const fn batched(&self) -> bool {
        self.rtp.batched
    }

    /// Asks the CPU to have at hand soon what protects packets of this kind.
    pub(crate) fn prefetch(&self, kind: Kind) {
        prefetch(self.direction(kind));
    }

    pub(crate) const fn direction(&self, kind: crate::Kind) -> &Direction {
        match kind {
            crate::Kind::Rtp => &self.rtp,
            crate::Kind::Rtcp => &self.rtcp,
        }
    }
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionKeys({:?}, {}, secret)", self.id, self.suite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_material_of_a_master_key_takes_at_most_one_kibibyte() {
        let both = 2 * size_of::<Direction>();
        assert!(both <= 1024, "{both} bytes");
    }
}
