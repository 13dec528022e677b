//! Keys of a crypto line as text: base64, lifetime, MKI (RFC 4568 section 6.1).

use std::fmt::{self, Write};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{MAX_KEYS, SdesError};

/// 2^48 RTP packets: the longest lifetime (RFC 3711 section 9.2).
pub(super) const MAX_LIFETIME_EXPONENT: u8 = 48;
/// Digits of 2^1024 - 1, the largest MKI.
const MAX_MKI_DIGITS: usize = 309;

/// A master key with its salt, in base64, and what is said of it.
#[derive(Clone)]
pub struct InlineKey {
    pub(super) key_salt: Zeroizing<String>,
    pub(super) lifetime: Option<KeyLifetime>,
    pub(super) mki: Option<KeyMki>,
}

impl InlineKey {
    /// How long it may be used, if that is said.
    pub fn lifetime(&self) -> Option<KeyLifetime> {
        self.lifetime
    }

    /// Its MKI, if it has one.
    pub fn mki(&self) -> Option<&KeyMki> {
        self.mki.as_ref()
    }

    /// Reads `inline:…`. What is in base64 is not decoded.
    pub(super) fn parse(text: &str) -> Result<Self, SdesError> {
        let (method, info) = text.split_once(':').ok_or(SdesError::Form)?;
        // Section 4: values are case-insensitive unless noted, and the method is not.
        if !method.eq_ignore_ascii_case("inline") {
            return Err(SdesError::Method);
        }
        let mut fields = info.split('|');
        let key_salt = fields.next().filter(|text| is_base64(text)).ok_or(SdesError::Key)?;
        // A lifetime never has a colon, and an MKI always does.
        let (lifetime, mki) = match (fields.next(), fields.next(), fields.next()) {
            (lifetime, mki, None) if mki.is_some() => (lifetime, mki),
            (Some(mki), None, None) if mki.contains(':') => (None, Some(mki)),
            (lifetime, None, None) => (lifetime, None),
            _ => return Err(SdesError::Key),
        };
        Ok(Self {
            key_salt: Zeroizing::new(key_salt.to_owned()),
            lifetime: lifetime.map(KeyLifetime::parse).transpose()?,
            mki: mki.map(KeyMki::parse).transpose()?,
        })
    }

    /// Octets of [`InlineKey::write`] at most.
    pub(super) fn size(&self) -> usize {
        self.key_salt.len() + self.mki.as_ref().map_or(0, |mki| mki.digits.len()) + 32
    }

    pub(super) fn write(&self, out: &mut String) -> fmt::Result {
        write!(out, "inline:{}", self.key_salt.as_str())?;
        match self.lifetime {
            Some(KeyLifetime::PowerOfTwo(exponent)) => write!(out, "|2^{exponent}")?,
            Some(KeyLifetime::Packets(packets)) => write!(out, "|{packets}")?,
            None => {}
        }
        match &self.mki {
            Some(mki) => write!(out, "|{}:{}", mki.digits, mki.length),
            None => Ok(()),
        }
    }
}

/// In constant time for keys of one length.
impl PartialEq for InlineKey {
    fn eq(&self, other: &Self) -> bool {
        let keys = self.key_salt.as_bytes().ct_eq(other.key_salt.as_bytes());
        bool::from(keys) && self.lifetime == other.lifetime && self.mki == other.mki
    }
}

impl Eq for InlineKey {}

impl fmt::Debug for InlineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineKey")
            .field("lifetime", &self.lifetime)
            .field("mki", &self.mki)
            .finish_non_exhaustive()
    }
}

/// Reads a key parameter: keys with `;` between them. All of them have MKIs of one length if there are several.
pub(super) fn parse_keys(text: &str) -> Result<Vec<InlineKey>, SdesError> {
    let mut keys: Vec<InlineKey> = Vec::new();
    for key in text.split(';') {
        if keys.len() == MAX_KEYS {
            return Err(SdesError::TooManyKeys);
        }
        let key = InlineKey::parse(key)?;
        if keys.iter().any(|other| other.mki.is_some() && other.mki == key.mki) {
            return Err(SdesError::RepeatedMki);
        }
        keys.push(key);
    }
    if keys.len() > 1 && keys.iter().any(|key| key.mki.is_none()) {
        return Err(SdesError::MkiMissing);
    }
    Ok(keys)
}

/// All MKIs of a line have one length, those of FEC_KEY too.
pub(super) fn check_mki_lengths<'k>(mut keys: impl Iterator<Item = &'k InlineKey>) -> Result<(), SdesError> {
    let length = |key: &InlineKey| key.mki.as_ref().map(|mki| mki.length);
    let first = keys.next().and_then(length);
    let same = keys.all(|key| length(key) == first);
    same.then_some(()).ok_or(SdesError::MkiLengthsDiffer)
}

pub(super) fn write_keys(keys: &[InlineKey], out: &mut String) -> fmt::Result {
    keys.iter().enumerate().try_for_each(|(at, key)| {
        out.push_str(if at == 0 { "" } else { ";" });
        key.write(out)
    })
}

/// How many packets, of RTP and of RTCP each, a key may protect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLifetime {
    /// Written as 2^n, with n up to 48.
    PowerOfTwo(u8),
    /// Written in decimal, 1 to 2^48.
    Packets(u64),
}

impl KeyLifetime {
    /// The packets.
    pub const fn packets(self) -> u64 {
        match self {
            Self::PowerOfTwo(exponent) if exponent <= MAX_LIFETIME_EXPONENT => 1 << exponent,
            Self::PowerOfTwo(_) => 1 << MAX_LIFETIME_EXPONENT,
            Self::Packets(packets) => packets,
        }
    }

    fn parse(text: &str) -> Result<Self, SdesError> {
        let read = match text.strip_prefix("2^") {
            Some(exponent) => decimal(exponent)
                .filter(|exponent| *exponent <= u64::from(MAX_LIFETIME_EXPONENT))
                .map(|exponent| Self::PowerOfTwo(exponent as u8)),
            None => decimal(text)
                .filter(|packets| (1..=1 << MAX_LIFETIME_EXPONENT).contains(packets))
                .map(Self::Packets),
        };
        read.ok_or(SdesError::Lifetime)
    }
}

/// A master key identifier as a number, and its octets in packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMki {
    /// Decimal, without leading zeroes, so that equal numbers are equal texts.
    digits: String,
    length: u8,
}

impl KeyMki {
    /// An MKI of a number.
    ///
    /// # Errors
    /// [`SdesError::Mki`] of 0; [`SdesError::MkiLength`] if the length is not 1 to 128; [`SdesError::MkiTooLarge`]
    /// if it does not hold the number.
    pub fn new(value: u64, length: u8) -> Result<Self, SdesError> {
        let mki = Self::parse(&format!("{value}:{length}"))?;
        mki.to_bytes().map(|_| mki)
    }

    /// Octets that it has in packets, 1 to 128.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// As it is in packets: the number, big-endian.
    ///
    /// # Errors
    /// [`SdesError::MkiTooLarge`] if the length does not hold it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SdesError> {
        let mut bytes = vec![0; usize::from(self.length)];
        for digit in self.digits.bytes() {
            let mut carry = u16::from(digit - b'0');
            for byte in bytes.iter_mut().rev() {
                let value = u16::from(*byte) * 10 + carry;
                *byte = value as u8;
                carry = value >> 8;
            }
            if carry != 0 {
                return Err(SdesError::MkiTooLarge { length: self.length });
            }
        }
        Ok(bytes)
    }

    fn parse(text: &str) -> Result<Self, SdesError> {
        let (digits, length) = text.split_once(':').ok_or(SdesError::MkiLength)?;
        let positive = is_decimal(digits) && digits != "0" && digits.len() <= MAX_MKI_DIGITS;
        if !positive {
            return Err(SdesError::Mki);
        }
        let length =
            decimal(length).filter(|length| (1..=128).contains(length)).ok_or(SdesError::MkiLength)?;
        Ok(Self { digits: digits.to_owned(), length: length as u8 })
    }
}

/// A decimal number without leading zeroes.
pub(super) fn decimal(text: &str) -> Option<u64> {
    is_decimal(text).then(|| text.parse().ok()).flatten()
}

fn is_decimal(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
}

/// By its characters alone.
fn is_base64(text: &str) -> bool {
    let is_char = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=');
    !text.is_empty() && text.bytes().all(is_char)
}
