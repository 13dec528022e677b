//! Hashes of certificates, as `a=fingerprint` has them (RFC 8122 section 5).

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

/// A hash function that a fingerprint may be made with. Those that are broken (`md2`, `md5`, `sha-1`) are none: "endpoints
/// MUST NOT" use the first two, and SHA-1 no longer binds a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashFunction {
    /// `sha-256`.
    Sha256,
    /// `sha-384`.
    Sha384,
    /// `sha-512`.
    Sha512,
}

impl HashFunction {
    /// Every one, the weakest first.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// Octets of its hashes.
    pub const fn octets(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn hash(self, octets: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(octets).to_vec(),
            Self::Sha384 => Sha384::digest(octets).to_vec(),
            Self::Sha512 => Sha512::digest(octets).to_vec(),
        }
    }
}

/// The hash of a certificate.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    hash: HashFunction,
    digest: Vec<u8>,
}

impl Fingerprint {
    /// That of a certificate in DER.
    pub fn of(hash: HashFunction, certificate: &[u8]) -> Self {
        Self { hash, digest: hash.hash(certificate) }
    }

    /// What it was made with.
    pub fn hash(&self) -> HashFunction {
        self.hash
    }

    /// Its octets.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// Whether it is that of a certificate in DER.
    pub fn matches(&self, certificate: &[u8]) -> bool {
        self.hash.hash(certificate).ct_eq(&self.digest).into()
    }
}

impl fmt::Display for Fingerprint {
    /// As in SDP: `sha-256 4A:AD:…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash.name())?;
        for (at, octet) in self.digest.iter().enumerate() {
            let between = if at == 0 { ' ' } else { ':' };
            write!(f, "{between}{octet:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a value is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// The hash function is not known, or too weak.
    #[error("its hash function is not one of sha-256, sha-384, sha-512")]
    HashFunction,
    /// The octets cannot be read, or are not as many as the hash function makes.
    #[error("its octets are not as many as the hash function makes, in hexadecimal with a colon between two")]
    Octets,
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(value: &str) -> Result<Self, FingerprintError> {
        let (name, octets) = value.trim().split_once(' ').ok_or(FingerprintError::Octets)?;
        let found = HashFunction::ALL.into_iter().find(|hash| hash.name().eq_ignore_ascii_case(name));
        let hash = found.ok_or(FingerprintError::HashFunction)?;
        let octet = |octet: &str| match octet.len() {
            2 if octet.bytes().all(|digit| digit.is_ascii_hexdigit()) => u8::from_str_radix(octet, 16).ok(),
            _ => None,
        };
        let digest: Option<Vec<u8>> = octets.trim().split(':').map(octet).collect();
        let digest = digest.filter(|digest| digest.len() == hash.octets()).ok_or(FingerprintError::Octets)?;
        Ok(Self { hash, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_written_as_it_is_read() {
        for hash in HashFunction::ALL {
            let fingerprint = Fingerprint::of(hash, b"certificate");
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint.clone()));
            assert_eq!(fingerprint.to_string().to_lowercase().parse(), Ok(fingerprint.clone()));
            assert!(fingerprint.matches(b"certificate"));
            assert!(!fingerprint.matches(b"another"));
        }
    }

    #[test]
    fn weak_and_broken_ones_are_refused() {
        let sha1 = "sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB";
        assert_eq!(sha1.parse::<Fingerprint>(), Err(FingerprintError::HashFunction));
        for octets in ["", "4A", "4A:AD", "+A:AD", "4A AD"] {
            let value = format!("sha-256 {octets}");
            assert_eq!(value.parse::<Fingerprint>(), Err(FingerprintError::Octets), "{octets}");
        }
    }
}
