//! Random text, as names in descriptions are.

use zeroize::Zeroizing;

/// Letters of which each has six bits, all of `tls-id-char` (RFC 8842 section 4).
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Text of so many letters with six random bits each.
pub(super) fn random_name(letters: usize, random: &mut dyn FnMut(&mut [u8])) -> String {
    let mut octets = Zeroizing::new(vec![0; letters]);
    random(&mut octets);
    octets.iter().map(|octet| char::from(LETTERS[usize::from(octet & 63)])).collect()
}
