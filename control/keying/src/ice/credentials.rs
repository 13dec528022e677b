//! Username fragments and passwords.

use std::fmt;

use zeroize::Zeroizing;

use super::CredentialsError;

/// Characters of which a fragment and a password consist: `ice-char` of RFC 8839 section 5.1, 6 bits each.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Characters of a fragment of our own: 48 bits, of which 24 are asked for, since ports are shared by fragment.
const UFRAG: usize = 8;
/// Characters of a password of our own: 144 bits, of which 128 are asked for.
const PASSWORD: usize = 24;
const MAX_LENGTH: usize = 256;

/// A username fragment and a password (RFC 8839 section 5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// 4 to 256 characters.
    pub ufrag: String,
    /// 22 to 256 characters.
    pub password: Zeroizing<String>,
}

impl Credentials {
    /// Fresh ones (RFC 8445 section 5.3). `random` fills what it is given from a cryptographic source.
    pub fn generate(random: &mut dyn FnMut(&mut [u8])) -> Self {
        Self { ufrag: text::<UFRAG>(random), password: Zeroizing::new(text::<PASSWORD>(random)) }
    }

    /// Those that signalling brought.
    ///
    /// # Errors
    /// If they are not as RFC 8839 section 5.4 has them.
    pub fn new(ufrag: &str, password: &str) -> Result<Self, CredentialsError> {
        if !is_text(ufrag, 4) {
            return Err(CredentialsError::Ufrag);
        }
        if !is_text(password, 22) {
            return Err(CredentialsError::Password);
        }
        Ok(Self { ufrag: ufrag.to_owned(), password: Zeroizing::new(password.to_owned()) })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// Whether `text` has `least` to 256 characters, all of them ice-chars.
pub(super) fn is_text(text: &str, least: usize) -> bool {
    (least..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(is_ice_char)
}

/// Whether `byte` is an ice-char.
pub(super) fn is_ice_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

fn text<const N: usize>(random: &mut dyn FnMut(&mut [u8])) -> String {
    let mut octets = Zeroizing::new([0; N]);
    random(octets.as_mut_slice());
    octets.iter().map(|octet| char::from(ICE_CHARS[usize::from(octet & 63)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_random_octet_counts_and_what_is_made_is_taken() {
        let mut seed = 0_u8;
        let mut random = |octets: &mut [u8]| {
            for octet in octets {
                *octet = seed;
                seed = seed.wrapping_add(37);
            }
        };
        let first = Credentials::generate(&mut random);
        let second = Credentials::generate(&mut random);
        assert_ne!(first, second);
        assert_eq!((first.ufrag.len(), first.password.len()), (8, 24));
        assert_eq!(Credentials::new(&first.ufrag, &first.password).unwrap(), first);
    }

    #[test]
    fn what_is_too_short_too_long_or_of_other_characters_is_refused() {
        let password = "a".repeat(22);
        for ufrag in ["abc", "ab:d", "ab d", "abc\u{e9}", &"a".repeat(257)] {
            assert_eq!(Credentials::new(ufrag, &password), Err(CredentialsError::Ufrag), "{ufrag}");
        }
        for password in ["a".repeat(21), "a".repeat(257), "=".repeat(24)] {
            assert_eq!(Credentials::new("abcd", &password), Err(CredentialsError::Password));
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let credentials = Credentials::new("frag", "secretsecretsecretsecret").unwrap();
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
