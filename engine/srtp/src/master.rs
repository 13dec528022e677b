//! Master keys and how they are used (RFC 3711 §3.2.1, RFC 4568 §6).

use sluice_kernels::SelectError;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Suite;
use crate::index::INDEX_END;
use crate::kdf::SALT_BLOCK;
use crate::rate::DerivationRate;
use crate::single::{Cryptex, ExtensionIds, Rcc};

/// Longest MKI in octets (RFC 4568 §6.1: 1 to 128).
pub const MAX_MKI: usize = 128;

/// Why key material was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The master key has the wrong length for the suite.
    #[error("{suite} takes a master key of {want} bytes, not {got}", want = suite.key_len())]
    KeyLength {
        /// The suite.
        suite: Suite,
        /// Bytes given.
        got: usize,
    },
    /// The master salt has the wrong length for the suite.
    #[error("{suite} takes a master salt of {want} bytes, not {got}", want = suite.salt_len())]
    SaltLength {
        /// The suite.
        suite: Suite,
        /// Bytes given.
        got: usize,
    },
    /// Key and salt in one string have the wrong length for the suite.
    #[error("{suite} takes a key and salt of {want} bytes together, not {got}",
        want = suite.key_len() + suite.salt_len())]
    ConcatenatedLength {
        /// The suite.
        suite: Suite,
        /// Bytes given.
        got: usize,
    },
    /// The MKI is longer than [`MAX_MKI`].
    #[error("an MKI has at most 128 bytes, not {got}")]
    MkiLength {
        /// Bytes given.
        got: usize,
    },
    /// A replay window outside 64..=32768.
    #[error("a replay window holds 64 to 32768 packets, not {got}")]
    ReplayWindow {
        /// Packets asked for.
        got: u32,
    },
    /// A lifetime of nothing, or longer than RFC 3711 §9.2 allows.
    #[error("a key's lifetime is 1 to 2^48 RTP packets and 1 to 2^31 RTCP packets")]
    Lifetime,
    /// A key derivation rate that is no power of two up to 2^24.
    #[error("a key derivation rate is 0 or a power of two up to 2^24 (RFC 3711 §4.3.1), not {got}")]
    DerivationRate {
        /// Packets asked for.
        got: u64,
    },
    /// What the suite cannot do.
    #[error("{suite} cannot go without {what}")]
    Inseparable {
        /// The suite.
        suite: Suite,
        /// Encryption or authentication.
        what: &'static str,
    },
    /// A rate of 0, or a tag that the mode of RFC 4771 cannot have.
    #[error(
        "RFC 4771 has no transform with the ROC in every {rate}th packet and a tag of {tag} bytes in this mode"
    )]
    Rcc {
        /// The rate, in packets.
        rate: u16,
        /// Bytes of the tag, ROC included.
        tag: u8,
    },
    /// RFC 4771's modes 1 and 2 with a suite that has no MAC, or without authentication.
    #[error("RFC 4771's modes 1 and 2 need an HMAC, which packets of {suite} do not have here")]
    RccMode {
        /// The suite.
        suite: Suite,
    },
    /// Session keys of a double suite, which are those of two keys (RFC 8723 §3.1).
    #[error("session keys of {suite} come from a master key")]
    Double {
        /// The suite.
        suite: Suite,
    },
    /// ⟨From, To⟩ with nothing between them, or of more than 48 bits.
    #[error(
        "a key is for RTP packet indices from one to another that is not less, below 2^48: not {from} to {to}"
    )]
    Indices {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Cryptex where packets are not encrypted.
    #[error("cryptex needs RTP packets to be encrypted; under these keys of {suite} they are not")]
    Cryptex {
        /// The suite.
        suite: Suite,
    },
    /// Short tags of RTCP in a suite whose tags are its cipher's.
    #[error("RTCP tags of {suite} have one length only")]
    ShortTags {
        /// The suite.
        suite: Suite,
    },
    /// Encrypted header extensions, whose keys only a master key gives (RFC 6904 §3).
    #[error("encrypted header extensions need keys of their own, from a master key")]
    NoHeaderKeys,
    /// The key is not one of AES.
    #[error("AES takes a key of 16, 24 or 32 bytes, not {got}")]
    AesKey {
        /// Bytes given.
        got: usize,
    },
    /// No kernel can be trusted on this machine.
    #[error("no SRTP kernel: see the log of the start-up self-test")]
    NoKernel,
}

impl From<SelectError> for KeyError {
    fn from(_: SelectError) -> Self {
        Self::NoKernel
    }
}

/// A master key and salt with their suite. Zeroized on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    suite: Suite,
    key: [u8; MAX_KEY],
    /// RFC 7714 §11: a 96-bit salt is the high end of the 112-bit one that the KDF takes.
    salt: [u8; MAX_SALT],
}

/// Octets of the longest master key and salt: double suites'.
const MAX_KEY: usize = 64;
const MAX_SALT: usize = 24;

impl MasterKey {
    /// Takes a key and a salt of exactly the suite's lengths.
    pub fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        if key.len() != suite.key_len() {
            return Err(KeyError::KeyLength { suite, got: key.len() });
        }
        if salt.len() != suite.salt_len() {
            return Err(KeyError::SaltLength { suite, got: salt.len() });
        }
        let mut master = Self { suite, key: [0; MAX_KEY], salt: [0; MAX_SALT] };
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        Ok(master)
    }

    /// Takes key ‖ salt in one string, as SDES carries it (RFC 4568 §6.1).
    pub fn from_concatenated(suite: Suite, key_salt: &[u8]) -> Result<Self, KeyError> {
        if key_salt.len() != suite.key_len() + suite.salt_len() {
            return Err(KeyError::ConcatenatedLength { suite, got: key_salt.len() });
        }
        let (key, salt) = key_salt.split_at(suite.key_len());
        Self::new(suite, key, salt)
    }

    /// The suite that the key is for.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Of a double suite the half that protects end to end (RFC 8723 §3): the first.
    pub fn inner(&self) -> Option<Self> {
        let suite = self.suite.half()?;
        Self::new(suite, &self.key[..suite.key_len()], &self.salt[..suite.salt_len()]).ok()
    }

    /// Of a double suite the half that protects hop by hop, all that a media distributor may have: the second.
    pub fn outer(&self) -> Option<Self> {
        let suite = self.suite.half()?;
        let (key, salt) = (&self.key[suite.key_len()..], &self.salt[suite.salt_len()..]);
        Self::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()]).ok()
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key[..self.suite.key_len()]
    }

    /// The salt as the KDF takes it.
    pub(crate) fn salt_block(&self) -> Zeroizing<[u8; SALT_BLOCK]> {
        let mut block = Zeroizing::new([0; SALT_BLOCK]);
        block.copy_from_slice(&self.salt[..SALT_BLOCK]);
        block
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({}, secret)", self.suite)
    }
}

/// A master key identifier: 0 (none) to 128 octets appended to each packet (RFC 3711 §3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mki {
    bytes: [u8; MAX_MKI],
    len: u8,
}

impl Mki {
    /// No MKI.
    pub const NONE: Self = Self { bytes: [0; MAX_MKI], len: 0 };

    /// An MKI of these bytes; empty means none.
    pub fn new(mki: &[u8]) -> Result<Self, KeyError> {
        let mut bytes = [0; MAX_MKI];
        bytes.get_mut(..mki.len()).ok_or(KeyError::MkiLength { got: mki.len() })?.copy_from_slice(mki);
        Ok(Self { bytes, len: mki.len() as u8 })
    }

    /// The octets.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    /// How many octets.
    #[allow(clippy::len_without_is_empty, reason = "an MKI of no octets is Mki::NONE")]
    pub const fn len(&self) -> usize {
        self.len as usize
    }
}

impl Default for Mki {
    fn default() -> Self {
        Self::NONE
    }
}

impl std::fmt::Debug for Mki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mki({:02x?})", self.as_slice())
    }
}

/// The process-wide name of an installed master key, chosen by the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u64);

/// How many packets one key may protect in one stream (RFC 3711 §9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// RTP packets, at most 2^48.
    pub rtp_packets: u64,
    /// RTCP packets, at most 2^31.
    pub rtcp_packets: u64,
}

impl Lifetime {
    /// What RFC 3711 §9.2 allows at most.
    pub const MAX: Self = Self { rtp_packets: 1 << 48, rtcp_packets: 1 << 31 };

    /// Checks both counts against RFC 3711 §9.2.
    pub const fn new(rtp_packets: u64, rtcp_packets: u64) -> Result<Self, KeyError> {
        if rtp_packets == 0
            || rtcp_packets == 0
            || rtp_packets > Self::MAX.rtp_packets
            || rtcp_packets > Self::MAX.rtcp_packets
        {
            return Err(KeyError::Lifetime);
        }
        Ok(Self { rtp_packets, rtcp_packets })
    }
}

impl Default for Lifetime {
    fn default() -> Self {
        Self::MAX
    }
}

/// How a master key is used, beside the suite: session parameters of RFC 4568 §6.3 among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyOptions {
    /// What marks packets under the key.
    pub mki: Mki,
    /// How many packets it may protect.
    pub lifetime: Lifetime,
    /// How often session keys are derived anew.
    pub derivation_rate: DerivationRate,
    /// Which packets go in the clear, or without a tag.
    pub omit: Omit,
    /// Elements of RTP header extensions that are encrypted one by one (RFC 6904): their identifiers.
    pub encrypted_extensions: ExtensionIds,
    /// Whether CSRCs and header extensions are encrypted with the payload (RFC 9335).
    pub cryptex: Cryptex,
    /// Whether RTP packets carry the rollover counter (RFC 4771).
    pub rcc: Option<Rcc>,
    /// The RTP packet indices that the key is for: ⟨From, To⟩ (RFC 3711 §8.1.1).
    pub indices: Indices,
    /// RTCP packets have tags of 32 bits, as some endpoints send them under the suites whose RTP packets have
    /// such, against RFC 4568 §6.2.2. AEAD suites know no such thing.
    pub short_rtcp_tags: bool,
}

/// ⟨From, To⟩: the first and the last RTP packet index that a key is for, of 48 bits each (RFC 3711 §8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indices {
    from: u64,
    to: u64,
}

impl Indices {
    /// Every index.
    pub const ALL: Self = Self { from: 0, to: INDEX_END - 1 };

    /// Takes both ends.
    ///
    /// # Errors
    /// [`KeyError::Indices`] if there is nothing between them, or an end has more than 48 bits.
    pub const fn new(from: u64, to: u64) -> Result<Self, KeyError> {
        if from > to || to >= INDEX_END {
            return Err(KeyError::Indices { from, to });
        }
        Ok(Self { from, to })
    }

    /// The first.
    pub const fn from(self) -> u64 {
        self.from
    }

    /// The last.
    pub const fn to(self) -> u64 {
        self.to
    }

    pub(crate) const fn contains(self, index: u64) -> bool {
        self.from <= index && index <= self.to
    }
}

impl Default for Indices {
    fn default() -> Self {
        Self::ALL
    }
}

/// Protection that is left out (RFC 4568 §6.3.2, §6.3.3). RFC 3711 §9.5 says what that costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Omit {
    /// RTP packets are not encrypted: UNENCRYPTED_SRTP. Not with AEAD suites.
    pub rtp_encryption: bool,
    /// RTCP packets are not encrypted: UNENCRYPTED_SRTCP, E flag 0 (RFC 3711 §3.4).
    pub rtcp_encryption: bool,
    /// RTP packets have no tag: UNAUTHENTICATED_SRTP. Not with AEAD suites. Whoever knows a
    /// payload can then send another in its place.
    pub rtp_authentication: bool,
}
