//! Protection profiles: data, so that a new one is a table entry and one transform (R-AGILITY).

use std::fmt;
use std::str::FromStr;

use crate::perc::INNER_LEN;
use crate::single::BlockCipher;

/// An SRTP crypto suite by its IANA name (RFC 4568 §6.2, RFC 7714 §14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// AES-128 counter mode, HMAC-SHA1 truncated to 80 bits (RFC 3711).
    AesCm128HmacSha1_80,
    /// AES-128 counter mode, HMAC-SHA1 truncated to 32 bits for RTP, 80 bits for RTCP (RFC 4568 §6.2.2).
    AesCm128HmacSha1_32,
    /// AES-192 counter mode, HMAC-SHA1 truncated to 80 bits (RFC 6188).
    AesCm192HmacSha1_80,
    /// AES-192 counter mode, HMAC-SHA1 truncated to 32 bits for RTP, 80 bits for RTCP (RFC 6188).
    AesCm192HmacSha1_32,
    /// AES-256 counter mode, HMAC-SHA1 truncated to 80 bits (RFC 6188).
    AesCm256HmacSha1_80,
    /// AES-256 counter mode, HMAC-SHA1 truncated to 32 bits for RTP, 80 bits for RTCP (RFC 6188).
    AesCm256HmacSha1_32,
    /// AES-128 in f8-mode, HMAC-SHA1 truncated to 80 bits (RFC 3711 §4.1.2, RFC 4568 §6.2.3).
    F8_128HmacSha1_80,
    /// No encryption, HMAC-SHA1 truncated to 80 bits (RFC 3711 §4.1.3, RFC 5764 §4.1.2).
    NullHmacSha1_80,
    /// No encryption, HMAC-SHA1 truncated to 32 bits for RTP, 80 bits for RTCP (RFC 5764 §4.1.2).
    NullHmacSha1_32,
    /// ARIA-128 counter mode, HMAC-SHA1 truncated to 80 bits (RFC 8269).
    Aria128CtrHmacSha1_80,
    /// ARIA-128 counter mode, HMAC-SHA1 truncated to 32 bits for RTP, 80 bits for RTCP (RFC 8269).
    Aria128CtrHmacSha1_32,
    /// ARIA-256 counter mode, HMAC-SHA1 truncated to 80 bits (RFC 8269).
    Aria256CtrHmacSha1_80,
    /// ARIA-256 counter mode, HMAC-SHA1 truncated to 32 bits for RTP, 80 bits for RTCP (RFC 8269).
    Aria256CtrHmacSha1_32,
    /// SEED counter mode, HMAC-SHA1 truncated to 80 bits (RFC 5669).
    SeedCtr128HmacSha1_80,
    /// SEED in counter mode with CBC-MAC, a tag of 80 bits (RFC 5669).
    Seed128Ccm80,
    /// SEED in Galois/counter mode, a tag of 96 bits (RFC 5669).
    Seed128Gcm96,
    /// ARIA-128 in Galois/counter mode (RFC 8269).
    AeadAria128Gcm,
    /// ARIA-256 in Galois/counter mode (RFC 8269).
    AeadAria256Gcm,
    /// AES-128 in Galois/counter mode (RFC 7714).
    AeadAes128Gcm,
    /// AES-256 in Galois/counter mode (RFC 7714).
    AeadAes256Gcm,
    /// AES-128-GCM end to end, and again hop by hop (RFC 8723).
    DoubleAeadAes128Gcm,
    /// AES-256-GCM end to end, and again hop by hop (RFC 8723).
    DoubleAeadAes256Gcm,
}

/// Which transform protects a suite's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    /// AES in counter mode and a truncated HMAC-SHA1 over packet and ROC (RFC 3711 §4).
    CounterHmac,
    /// The same with AES in f8-mode.
    F8Hmac,
    /// The same without a cipher.
    NullHmac,
    /// The same with another block cipher than AES.
    BlockHmac(BlockCipher),
    /// AES-GCM; the tag belongs to the cipher text (RFC 7714).
    Gcm,
    /// GCM with another block cipher.
    BlockGcm(BlockCipher),
    /// CCM of SEED.
    SeedCcm,
    /// AES-GCM twice, of which each has half of the key.
    DoubleGcm,
}

impl Transform {
    /// Whether tags are HMAC-SHA1's.
    pub(crate) const fn has_hmac(self) -> bool {
        !self.is_aead()
    }

    /// Whether encryption and tag are one.
    pub(crate) const fn is_aead(self) -> bool {
        matches!(self, Self::Gcm | Self::BlockGcm(_) | Self::SeedCcm | Self::DoubleGcm)
    }

    /// What derives keys, if not AES.
    pub(crate) const fn block_cipher(self) -> Option<BlockCipher> {
        match self {
            Self::BlockHmac(cipher) | Self::BlockGcm(cipher) => Some(cipher),
            Self::SeedCcm => Some(BlockCipher::Seed),
            _ => None,
        }
    }
}

pub(crate) struct Parameters {
    pub(crate) name: &'static str,
    pub(crate) transform: Transform,
    pub(crate) key: usize,
    pub(crate) salt: usize,
    pub(crate) rtp_tag: u8,
    pub(crate) rtcp_tag: u8,
}

const fn row(
    suite: Suite,
    name: &'static str,
    transform: Transform,
    [key, salt]: [usize; 2],
    [rtp_tag, rtcp_tag]: [u8; 2],
) -> (Suite, Parameters) {
    (suite, Parameters { name, transform, key, salt, rtp_tag, rtcp_tag })
}

const ARIA_CTR: Transform = Transform::BlockHmac(BlockCipher::Aria);
const ARIA_GCM: Transform = Transform::BlockGcm(BlockCipher::Aria);
const DOUBLE: Transform = Transform::DoubleGcm;
const SEED_CTR: Transform = Transform::BlockHmac(BlockCipher::Seed);

/// Suite, name, transform, octets of master key and salt, octets of the tags of RTP and RTCP.
#[rustfmt::skip]
const TABLE: [(Suite, Parameters); 22] = [
    row(Suite::AesCm128HmacSha1_80, "AES_CM_128_HMAC_SHA1_80", Transform::CounterHmac, [16, 14], [10, 10]),
    row(Suite::AesCm128HmacSha1_32, "AES_CM_128_HMAC_SHA1_32", Transform::CounterHmac, [16, 14], [4, 10]),
    row(Suite::AesCm192HmacSha1_80, "AES_192_CM_HMAC_SHA1_80", Transform::CounterHmac, [24, 14], [10, 10]),
    row(Suite::AesCm192HmacSha1_32, "AES_192_CM_HMAC_SHA1_32", Transform::CounterHmac, [24, 14], [4, 10]),
    row(Suite::AesCm256HmacSha1_80, "AES_256_CM_HMAC_SHA1_80", Transform::CounterHmac, [32, 14], [10, 10]),
    row(Suite::AesCm256HmacSha1_32, "AES_256_CM_HMAC_SHA1_32", Transform::CounterHmac, [32, 14], [4, 10]),
    row(Suite::F8_128HmacSha1_80, "F8_128_HMAC_SHA1_80", Transform::F8Hmac, [16, 14], [10, 10]),
    row(Suite::NullHmacSha1_80, "NULL_HMAC_SHA1_80", Transform::NullHmac, [16, 14], [10, 10]),
    row(Suite::NullHmacSha1_32, "NULL_HMAC_SHA1_32", Transform::NullHmac, [16, 14], [4, 10]),
    row(Suite::Aria128CtrHmacSha1_80, "ARIA_128_CTR_HMAC_SHA1_80", ARIA_CTR, [16, 14], [10, 10]),
    row(Suite::Aria128CtrHmacSha1_32, "ARIA_128_CTR_HMAC_SHA1_32", ARIA_CTR, [16, 14], [4, 10]),
    row(Suite::Aria256CtrHmacSha1_80, "ARIA_256_CTR_HMAC_SHA1_80", ARIA_CTR, [32, 14], [10, 10]),
    row(Suite::Aria256CtrHmacSha1_32, "ARIA_256_CTR_HMAC_SHA1_32", ARIA_CTR, [32, 14], [4, 10]),
    row(Suite::SeedCtr128HmacSha1_80, "SEED_CTR_128_HMAC_SHA1_80", SEED_CTR, [16, 14], [10, 10]),
    row(Suite::Seed128Ccm80, "SEED_128_CCM_80", Transform::SeedCcm, [16, 12], [10, 10]),
    row(Suite::Seed128Gcm96, "SEED_128_GCM_96", Transform::BlockGcm(BlockCipher::Seed), [16, 12], [12, 12]),
    row(Suite::AeadAria128Gcm, "AEAD_ARIA_128_GCM", ARIA_GCM, [16, 12], [16, 16]),
    row(Suite::AeadAria256Gcm, "AEAD_ARIA_256_GCM", ARIA_GCM, [32, 12], [16, 16]),
    row(Suite::AeadAes128Gcm, "AEAD_AES_128_GCM", Transform::Gcm, [16, 12], [16, 16]),
    row(Suite::AeadAes256Gcm, "AEAD_AES_256_GCM", Transform::Gcm, [32, 12], [16, 16]),
    row(Suite::DoubleAeadAes128Gcm, "DOUBLE_AEAD_AES_128_GCM_AEAD_AES_128_GCM", DOUBLE, [32, 24], [16, 16]),
    row(Suite::DoubleAeadAes256Gcm, "DOUBLE_AEAD_AES_256_GCM_AEAD_AES_256_GCM", DOUBLE, [64, 24], [16, 16]),
];

impl Suite {
    /// Every suite.
    pub const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::AesCm128HmacSha1_80; TABLE.len()];
        let mut at = 0;
        while at < all.len() {
            assert!(TABLE[at].0 as usize == at, "rows are in the order of the suites");
            all[at] = TABLE[at].0;
            at += 1;
        }
        all
    };

    pub(crate) const fn parameters(self) -> &'static Parameters {
        &TABLE[self as usize].1
    }

    /// The IANA name.
    pub const fn name(self) -> &'static str {
        self.parameters().name
    }

    /// Whether encryption and authentication are one, and neither can be left out.
    pub const fn is_aead(self) -> bool {
        self.parameters().transform.is_aead()
    }

    /// Whether packets are encrypted at all.
    pub const fn encrypts(self) -> bool {
        !matches!(self.parameters().transform, Transform::NullHmac)
    }

    /// Octets of the master key.
    pub const fn key_len(self) -> usize {
        self.parameters().key
    }

    /// Octets of the master salt.
    pub const fn salt_len(self) -> usize {
        self.parameters().salt
    }

    /// Octets that protection adds to an RTP packet, without MKI.
    pub const fn rtp_overhead(self) -> usize {
        let inner = if self.half().is_some() { INNER_LEN } else { 0 };
        self.parameters().rtp_tag as usize + inner
    }

    /// Of a double suite the suite of either half (RFC 8723 §3).
    pub const fn half(self) -> Option<Self> {
        match self {
            Self::DoubleAeadAes128Gcm => Some(Self::AeadAes128Gcm),
            Self::DoubleAeadAes256Gcm => Some(Self::AeadAes256Gcm),
            _ => None,
        }
    }

    /// Octets that protection adds to an RTCP packet, without MKI: tag, E flag and index.
    pub const fn rtcp_overhead(self) -> usize {
        self.parameters().rtcp_tag as usize + 4
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A suite name that is not in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSuite(pub String);

impl fmt::Display for UnknownSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no suite is called {:?}; known are", self.0)?;
        Suite::ALL.iter().try_for_each(|suite| write!(f, " {suite}"))
    }
}

impl std::error::Error for UnknownSuite {}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| UnknownSuite(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_their_suite_and_only_theirs() {
        for suite in Suite::ALL {
            assert_eq!(suite.name().parse(), Ok(suite));
        }
        let error = "AES_CM_512".parse::<Suite>().unwrap_err();
        assert!(error.to_string().contains("AEAD_AES_256_GCM"), "{error}");
    }
}
