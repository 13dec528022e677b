//! From a master key to expanded session keys (RFC 3711 §4.3, RFC 7714 §11).

use sluice_kernels::{CtrJob, CtrKey, GcmKey, Kernel, MacKey, SelectError, ctr, selected};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Suite;
use crate::suite::Transform;

/// Longest MKI in octets (RFC 4568 §6.1: 1 to 128).
pub const MAX_MKI: usize = 128;
const SALT_BLOCK: usize = 14;
const MAC_KEY: usize = 20;

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
    key: [u8; 32],
    salt: [u8; SALT_BLOCK],
}

impl MasterKey {
    /// Takes a key and a salt of exactly the suite's lengths.
    pub fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        if key.len() != suite.key_len() {
            return Err(KeyError::KeyLength { suite, got: key.len() });
        }
        if salt.len() != suite.salt_len() {
            return Err(KeyError::SaltLength { suite, got: salt.len() });
        }
        let mut master = Self { suite, key: [0; 32], salt: [0; SALT_BLOCK] };
        master.key[..key.len()].copy_from_slice(key);
        // RFC 7714 §11: a 96-bit salt is the high end of the 112-bit one that the KDF takes.
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

/// The expanded session keys of one master key, for RTP and RTCP; shared by its streams in an `Arc`.
pub struct SessionKeys {
    id: KeyId,
    suite: Suite,
    mki: Mki,
    lifetime: Lifetime,
    kernel: Kernel,
    pub(crate) rtp: Direction,
    pub(crate) rtcp: Direction,
}

/// Session keys of RTP or of RTCP.
pub(crate) struct Direction {
    pub(crate) cipher: Cipher,
    pub(crate) salt: Zeroizing<[u8; SALT_BLOCK]>,
    pub(crate) tag: usize,
    pub(crate) encrypt: bool,
}

#[allow(clippy::large_enum_variant, reason = "one per master key, behind an Arc")]
pub(crate) enum Cipher {
    CounterHmac { key: CtrKey, mac: MacKey },
    Gcm(GcmKey),
}

impl SessionKeys {
    /// Derives and expands all session keys (key derivation rate 0).
    ///
    /// # Errors
    /// [`KeyError::NoKernel`] if no kernel passed its self-test.
    pub fn derive(id: KeyId, master: &MasterKey, mki: Mki, lifetime: Lifetime) -> Result<Self, KeyError> {
        let kernel = selected()?;
        let suite = master.suite;
        let kdf = Kdf { kernel, master, key: expand_ctr(master, &master.key[..suite.key_len()])? };
        Ok(Self {
            id,
            suite,
            mki,
            lifetime,
            kernel,
            rtp: kdf.direction(0, suite.parameters().rtp_tag)?,
            rtcp: kdf.direction(3, suite.parameters().rtcp_tag)?,
        })
    }

    /// Leaves SRTCP packets authenticated but in the clear: E flag 0 (RFC 3711 §3.4).
    #[must_use]
    pub const fn with_clear_rtcp(mut self) -> Self {
        self.rtcp.encrypt = false;
        self
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

/// RFC 3711 §4.3.1 with §4.3.3's AES-CM PRF; key derivation rate 0, so that index DIV kdr is 0.
struct Kdf<'a> {
    kernel: Kernel,
    master: &'a MasterKey,
    key: CtrKey,
}

impl Kdf<'_> {
    /// Labels `first`, `first + 1` and `first + 2` are cipher key, authentication key and salt.
    fn direction(&self, first: u8, tag: usize) -> Result<Direction, KeyError> {
        let suite = self.master.suite;
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..suite.key_len()];
        self.derive(first, key);
        let mut salt = Zeroizing::new([0; SALT_BLOCK]);
        self.derive(first + 2, &mut salt[..suite.salt_len()]);
        let cipher = match suite.parameters().transform {
            Transform::CounterHmac => {
                let mut mac = Zeroizing::new([0; MAC_KEY]);
                self.derive(first + 1, &mut *mac);
                Cipher::CounterHmac { key: expand_ctr(self.master, key)?, mac: MacKey::new(&*mac) }
            }
            Transform::Gcm => {
                Cipher::Gcm(GcmKey::new(key).map_err(|e| KeyError::KeyLength { suite, got: e.given })?)
            }
        };
        Ok(Direction { cipher, salt, tag, encrypt: true })
    }

    fn derive(&self, label: u8, out: &mut [u8]) {
        // x = key_id XOR master_salt, key_id = label || r with r = 0 of 48 bits; IV = x * 2^16.
        let mut iv = Zeroizing::new([0; 16]);
        iv[..SALT_BLOCK].copy_from_slice(&self.master.salt);
        iv[7] ^= label;
        out.fill(0);
        ctr(self.kernel, &mut [CtrJob { key: &self.key, iv: *iv, data: out }]);
    }
}

fn expand_ctr(master: &MasterKey, key: &[u8]) -> Result<CtrKey, KeyError> {
    CtrKey::new(key).map_err(|e| KeyError::KeyLength { suite: master.suite, got: e.given })
}
