//! Protection profiles: data, so that a new one is a table entry and one transform (R-AGILITY).

use std::fmt;
use std::str::FromStr;

/// An SRTP crypto suite by its IANA name (RFC 4568 §6.2, RFC 7714 §14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// AES-128 counter mode, HMAC-SHA1 truncated to 80 bits (RFC 3711).
    AesCm128HmacSha1_80,
    /// AES-128 counter mode, HMAC-SHA1 truncated to 32 bits for RTP, 80 bits for RTCP (RFC 4568 §6.2.2).
    AesCm128HmacSha1_32,
    /// AES-128 in Galois/counter mode (RFC 7714).
    AeadAes128Gcm,
    /// AES-256 in Galois/counter mode (RFC 7714).
    AeadAes256Gcm,
}

/// Which transform protects a suite's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    /// Counter mode and a truncated HMAC-SHA1 over packet and ROC (RFC 3711 §4).
    CounterHmac,
    /// GCM; the tag belongs to the cipher text (RFC 7714).
    Gcm,
}

pub(crate) struct Parameters {
    pub(crate) name: &'static str,
    pub(crate) transform: Transform,
    pub(crate) key: usize,
    pub(crate) salt: usize,
    pub(crate) rtp_tag: u8,
    pub(crate) rtcp_tag: u8,
}

const TABLE: [Parameters; 4] = [
    Parameters {
        name: "AES_CM_128_HMAC_SHA1_80",
        transform: Transform::CounterHmac,
        key: 16,
        salt: 14,
        rtp_tag: 10,
        rtcp_tag: 10,
    },
    Parameters {
        name: "AES_CM_128_HMAC_SHA1_32",
        transform: Transform::CounterHmac,
        key: 16,
        salt: 14,
        rtp_tag: 4,
        rtcp_tag: 10,
    },
    Parameters {
        name: "AEAD_AES_128_GCM",
        transform: Transform::Gcm,
        key: 16,
        salt: 12,
        rtp_tag: 16,
        rtcp_tag: 16,
    },
    Parameters {
        name: "AEAD_AES_256_GCM",
        transform: Transform::Gcm,
        key: 32,
        salt: 12,
        rtp_tag: 16,
        rtcp_tag: 16,
    },
];

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 4] =
        [Self::AesCm128HmacSha1_80, Self::AesCm128HmacSha1_32, Self::AeadAes128Gcm, Self::AeadAes256Gcm];

    pub(crate) const fn parameters(self) -> &'static Parameters {
        &TABLE[self as usize]
    }

    /// The IANA name.
    pub const fn name(self) -> &'static str {
        self.parameters().name
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
        self.parameters().rtp_tag as usize
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
