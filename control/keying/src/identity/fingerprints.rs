//! The key fingerprints of an SDP, in the order and form in which they are signed (RFC 8225 section 5.2.2).

use serde::Serialize;
use thiserror::Error;

/// One fingerprint. Ordered as RFC 8225 says: by the concatenation of both strings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct MediaKey {
    /// The hash function, in lower case.
    alg: String,
    /// The digest in upper-case hexadecimal, without colons.
    dig: String,
}

/// A fingerprint that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FingerprintError {
    /// Not as RFC 8122 section 5 writes it.
    #[error(
        "line {line} of the SDP: a=fingerprint is a hash function and octets in hexadecimal with colons between"
    )]
    Attribute {
        /// Counted from 1.
        line: usize,
    },
    /// Not as RFC 8225 section 5.2.2 writes it.
    #[error("a fingerprint is a hash function and hexadecimal octets without colons")]
    Claim,
}

impl MediaKey {
    /// Takes a hash function and a digest without colons.
    ///
    /// # Errors
    /// [`FingerprintError::Claim`] if the first is no token or the second no whole octets.
    pub fn new(alg: &str, dig: &str) -> Result<Self, FingerprintError> {
        let token = !alg.is_empty() && alg.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let octets = !dig.is_empty()
            && dig.len().is_multiple_of(2)
            && dig.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !token || !octets {
            return Err(FingerprintError::Claim);
        }
        Ok(Self { alg: alg.to_ascii_lowercase(), dig: dig.to_ascii_uppercase() })
    }

    /// The hash function, in lower case: `sha-256`.
    pub fn algorithm(&self) -> &str {
        &self.alg
    }

    /// The digest in upper-case hexadecimal, without colons.
    pub fn digest(&self) -> &str {
        &self.dig
    }

    fn of_attribute(value: &str) -> Option<Self> {
        let (alg, octets) = value.trim().split_once(' ')?;
        let octets: Vec<_> = octets.trim().split(':').collect();
        if octets.iter().any(|octet| octet.len() != 2) {
            return None;
        }
        Self::new(alg, &octets.concat()).ok()
    }

    fn sorting(&self) -> impl Iterator<Item = u8> + '_ {
        self.alg.bytes().chain(self.dig.bytes())
    }
}

/// All fingerprints of an SDP: sorted, each once (RFC 8224 section 4.1: "if they differ").
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct MediaKeys(Vec<MediaKey>);

impl MediaKeys {
    /// The fingerprints of all `a=fingerprint` lines, of the session and of its media.
    ///
    /// # Errors
    /// [`FingerprintError::Attribute`] at the first that cannot be read: what cannot be read cannot be signed.
    pub fn of_sdp(sdp: &str) -> Result<Self, FingerprintError> {
        let attributes = sdp.lines().enumerate().filter_map(|(at, line)| {
            let value = line.strip_prefix("a=fingerprint:")?;
            Some(MediaKey::of_attribute(value).ok_or(FingerprintError::Attribute { line: at + 1 }))
        });
        attributes.collect::<Result<Vec<_>, _>>().map(Self::from_iter)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the claim.
    pub fn iter(&self) -> std::slice::Iter<'_, MediaKey> {
        self.0.iter()
    }
}

impl FromIterator<MediaKey> for MediaKeys {
    fn from_iter<I: IntoIterator<Item = MediaKey>>(keys: I) -> Self {
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_by(|one, other| one.sorting().cmp(other.sorting()));
        keys.dedup();
        Self(keys)
    }
}

impl<'a> IntoIterator for &'a MediaKeys {
    type Item = &'a MediaKey;
    type IntoIter = std::slice::Iter<'a, MediaKey>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\na=fingerprint:sha-256 4A:AD:b9:B1\r\nm=audio 9 UDP/TLS/RTP/SAVP 0\r\n\
                       a=fingerprint:SHA-256 02:1A:CC:54\r\na=fingerprint:sha-1 FF:00\r\na=fingerprint:sha-256 02:1a:cc:54\r\n";

    #[test]
    fn fingerprints_are_sorted_by_function_and_digest_and_each_is_there_once() {
        let keys = MediaKeys::of_sdp(SDP).unwrap();
        let told: Vec<_> = keys.iter().map(|key| (key.algorithm(), key.digest())).collect();
        assert_eq!(told, [("sha-1", "FF00"), ("sha-256", "021ACC54"), ("sha-256", "4AADB9B1")]);
    }

    #[test]
    fn a_fingerprint_that_cannot_be_read_is_told_by_its_line() {
        for value in [
            "sha-256",
            "sha-256 4A:A",
            "sha-256 4AADB9B1",
            "sha-256 4A:AD:",
            "sha 256 4A",
            " 4A:AD",
            "sha-256 4A:ZZ",
        ] {
            let sdp = format!("v=0\r\na=fingerprint:{value}\r\n");
            assert_eq!(MediaKeys::of_sdp(&sdp), Err(FingerprintError::Attribute { line: 2 }), "{value}");
        }
        assert!(MediaKeys::of_sdp("v=0\r\n").unwrap().is_empty());
    }
}
