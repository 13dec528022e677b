//! From a crypto line that is used to keys.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sluice_srtp::{DerivationRate, KeyOptions, Lifetime, Mki, Omit, Suite};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{CryptoLine, FecOrder, InlineKey, Parameter, SdesError};
use crate::negotiation::NegotiatedKey;

/// Padding is written, and read where it is there: not all peers write it (RFC 4568 section 6.1 discards it).
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Packets that a replay window can hold.
const MAX_WINDOW: u32 = 32_768;

impl CryptoLine {
    /// Whether the line can be accepted, so far as its keys need not be decoded for that; its suite.
    ///
    /// # Errors
    /// [`SdesError::UnknownSuite`], [`SdesError::UnknownParameter`], [`SdesError::FecOrder`],
    /// [`SdesError::Inseparable`].
    pub fn check(&self) -> Result<Suite, SdesError> {
        let tag = self.tag;
        let suite = self.suite.ok_or(SdesError::UnknownSuite { tag })?;
        for parameter in &self.parameters {
            match parameter {
                // Section 6.3.7.
                Parameter::Unknown { mandatory: true, .. } => {
                    return Err(SdesError::UnknownParameter { tag });
                }
                Parameter::FecOrder(FecOrder::SrtpFec) => return Err(SdesError::FecOrder { tag }),
                // RFC 7714 section 8.2 encrypts and authenticates every RTP packet.
                Parameter::UnencryptedSrtp if suite.is_aead() => {
                    return Err(SdesError::Inseparable { tag, suite, what: "encryption" });
                }
                Parameter::UnauthenticatedSrtp if suite.is_aead() => {
                    return Err(SdesError::Inseparable { tag, suite, what: "authentication" });
                }
                _ => {}
            }
        }
        Ok(suite)
    }

    /// Decodes the keys that the line's sender sends under, the first in use first.
    ///
    /// # Errors
    /// As of [`CryptoLine::check`]; [`SdesError::Base64`], [`SdesError::KeyLength`], [`SdesError::RepeatedKey`],
    /// [`SdesError::MkiTooLarge`].
    pub fn keys(&self) -> Result<Vec<NegotiatedKey>, SdesError> {
        self.decode(self.keys.iter())
    }

    /// Decodes the keys of FEC_KEY, under which the line's sender sends a FEC stream to another address or port; none
    /// if there is no such parameter. Their MKIs may be those of [`CryptoLine::keys`].
    ///
    /// # Errors
    /// As of [`CryptoLine::keys`]; [`SdesError::RepeatedKey`] too if one of them is a key of the media
    /// (section 6.3.5).
    pub fn fec_keys(&self) -> Result<Vec<NegotiatedKey>, SdesError> {
        if self.fec_inline_keys().next().is_none() {
            return Ok(Vec::new());
        }
        let mut all = self.decode(self.keys.iter().chain(self.fec_inline_keys()))?;
        Ok(all.split_off(self.keys.len()))
    }

    fn decode<'k>(&self, keys: impl Iterator<Item = &'k InlineKey>) -> Result<Vec<NegotiatedKey>, SdesError> {
        let suite = self.check()?;
        let mut decoded: Vec<NegotiatedKey> = Vec::new();
        for key in keys {
            let key = self.decode_one(suite, key)?;
            if decoded.iter().any(|other| same_master_key(other, &key)) {
                return Err(SdesError::RepeatedKey { tag: self.tag });
            }
            decoded.push(key);
        }
        Ok(decoded)
    }

    fn decode_one(&self, suite: Suite, key: &InlineKey) -> Result<NegotiatedKey, SdesError> {
        let tag = self.tag;
        let key_salt = decode_base64(&key.key_salt).ok_or(SdesError::Base64 { tag })?;
        if key_salt.len() != suite.key_len() + suite.salt_len() {
            return Err(SdesError::KeyLength { tag, suite, got: key_salt.len() });
        }
        let (options, window) = self.options(key)?;
        Ok(NegotiatedKey { suite, key_salt, options, window })
    }

    fn options(&self, key: &InlineKey) -> Result<(KeyOptions, Option<u32>), SdesError> {
        let refused = |error| SdesError::Refused { tag: self.tag, error };
        let mut options = KeyOptions::default();
        let mut window = None;
        if let Some(mki) = &key.mki {
            options.mki = Mki::new(&mki.to_bytes()?).map_err(refused)?;
        }
        if let Some(lifetime) = key.lifetime {
            // One number for both (section 6.1); of RTCP there are never more than 2^31 (RFC 3711 section 9.2).
            let packets = lifetime.packets();
            let rtcp = packets.min(Lifetime::MAX.rtcp_packets);
            options.lifetime = Lifetime::new(packets, rtcp).map_err(refused)?;
        }
        for parameter in &self.parameters {
            match parameter {
                Parameter::Kdr(exponent) => {
                    let packets = 1_u64.checked_shl(u32::from(*exponent)).unwrap_or(u64::MAX);
                    options.derivation_rate = DerivationRate::new(packets).map_err(refused)?;
                }
                Parameter::WindowSizeHint(packets) => window = Some((*packets).clamp(64, MAX_WINDOW)),
                _ => {}
            }
        }
        options.omit = self.omit();
        Ok((options, window))
    }

    /// What the negotiated parameters leave out.
    pub fn omit(&self) -> Omit {
        let has = |parameter| self.parameters.contains(&parameter);
        Omit {
            rtp_encryption: has(Parameter::UnencryptedSrtp),
            rtcp_encryption: has(Parameter::UnencryptedSrtcp),
            rtp_authentication: has(Parameter::UnauthenticatedSrtp),
        }
    }
}

/// Whether two keys of one suite have one master key, in constant time.
pub(super) fn same_master_key(one: &NegotiatedKey, other: &NegotiatedKey) -> bool {
    let master = |key: &NegotiatedKey| key.key_salt.len().min(key.suite.key_len());
    one.key_salt[..master(one)].ct_eq(&other.key_salt[..master(other)]).into()
}

/// `None` if it is no base64.
pub(crate) fn decode_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    // At its full size from the start, so that no copy is left behind by growing.
    let mut octets = Zeroizing::new(Vec::with_capacity(base64::decoded_len_estimate(text.len())));
    BASE64.decode_vec(text, &mut octets).ok()?;
    Some(octets)
}
