//! Crypto lines of the gateway's own.

use base64::Engine;
use sluice_srtp::Suite;
use zeroize::Zeroizing;

use super::decode::BASE64;
use super::key::{InlineKey, KeyLifetime, KeyMki, MAX_LIFETIME_EXPONENT};
use super::{CryptoLine, Parameter, SdesError};

/// The largest tag: nine digits.
const MAX_TAG: u32 = 999_999_999;
/// Octets of an MKI that are chosen at random; what is before them is 0.
const RANDOM_MKI: u8 = 4;

impl CryptoLine {
    /// A new line with one fresh key.
    ///
    /// `mki_length` is that of its MKI in octets, 0 for none; `lifetime` the logarithm to base 2 of its lifetime in
    /// packets. `random` fills what it is given from a cryptographic source: key and salt are unique to this line.
    ///
    /// # Errors
    /// [`SdesError::Tag`] if it has more than nine digits, [`SdesError::MkiLength`] above 128,
    /// [`SdesError::Lifetime`] above 48.
    pub fn generate(
        tag: u32,
        suite: Suite,
        mki_length: u8,
        lifetime: Option<u8>,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, SdesError> {
        if tag > MAX_TAG {
            return Err(SdesError::Tag);
        }
        let key = InlineKey::generate(suite, mki_length, lifetime, random)?;
        let suite_name = suite.name().to_owned();
        Ok(Self { tag, suite_name, suite: Some(suite), keys: vec![key], parameters: Vec::new() })
    }

    /// The line that accepts this one: its tag, suite and negotiated parameters, with a fresh key (RFC 4568
    /// section 5.1.2). The other arguments are those of [`CryptoLine::generate`].
    ///
    /// # Errors
    /// As of [`CryptoLine::generate`] and [`CryptoLine::check`].
    pub fn accept(
        &self,
        mki_length: u8,
        lifetime: Option<u8>,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, SdesError> {
        let suite = self.check()?;
        let key = InlineKey::generate(suite, mki_length, lifetime, random)?;
        let parameters =
            self.parameters.iter().filter(|parameter| parameter.is_negotiated()).cloned().collect();
        let suite_name = self.suite_name.clone();
        Ok(Self { tag: self.tag, suite_name, suite: Some(suite), keys: vec![key], parameters })
    }

    /// Adds a session parameter.
    ///
    /// # Errors
    /// What [`CryptoLine::parse`] would find wrong with it.
    pub fn with(mut self, parameter: Parameter) -> Result<Self, SdesError> {
        self.parameters.push(parameter);
        Self::parse(&self.value())
    }
}

impl InlineKey {
    fn generate(
        suite: Suite,
        mki_length: u8,
        lifetime: Option<u8>,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, SdesError> {
        let lifetime = match lifetime {
            Some(exponent) if exponent > MAX_LIFETIME_EXPONENT => return Err(SdesError::Lifetime),
            exponent => exponent.map(KeyLifetime::PowerOfTwo),
        };
        let mki = (mki_length > 0).then(|| random_mki(mki_length, random)).transpose()?;
        let mut octets = Zeroizing::new(vec![0; suite.key_len() + suite.salt_len()]);
        random(&mut octets);
        Ok(Self { key_salt: encode(&octets), lifetime, mki })
    }
}

/// An MKI that is not 0, since RFC 4568 section 6.1 has positive ones only.
fn random_mki(length: u8, random: &mut dyn FnMut(&mut [u8])) -> Result<KeyMki, SdesError> {
    let mut octets = [0; 8];
    let from = octets.len() - usize::from(length.min(RANDOM_MKI));
    random(&mut octets[from..]);
    KeyMki::new(u64::from_be_bytes(octets).max(1), length)
}

fn encode(octets: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(octets.len().div_ceil(3) * 4));
    BASE64.encode_string(octets, &mut text);
    text
}
