//! Key material as people write it, and ways to give it that keep it out of the process list.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use sluice_srtp::Suite;
use zeroize::Zeroizing;

/// Longest key file: thousands of lines of keys.
const MAX_FILE: u64 = 1 << 20;

/// Key ‖ salt. Zeroized on drop, never printed.
pub(crate) type Material = Zeroizing<Vec<u8>>;

/// A key as it was written. Zeroized on drop.
pub(crate) type Text = Zeroizing<String>;

/// Reads key ‖ salt in hex (colons and blanks allowed) or in base64 (padded or not, either alphabet,
/// with or without SDES' `inline:`). What is all hex digits is hex: taken for base64, a digit lost
/// from the key of one suite would make it a key of another.
pub(crate) fn parse(text: &str) -> Result<Material> {
    let text = text.trim();
    let text = text.strip_prefix("inline:").unwrap_or(text);
    if text.contains('|') {
        bail!(
            "give only the part of the SDES inline key before the first '|'; the MKI has an option of its own"
        );
    }
    if let Some(digits) = hex_digits(text) {
        let (bytes, odd) = (digits.len() / 2, digits.len() % 2 == 1);
        if odd || !is_key_length(bytes) {
            bail!("the key has {bytes}{} bytes of hex; {}", if odd { "½" } else { "" }, lengths());
        }
        return Ok(Zeroizing::new(hex::decode(digits.as_str())?));
    }
    let unpadded = text.trim_end_matches('=');
    let decoded = STANDARD_NO_PAD.decode(unpadded).or_else(|_| URL_SAFE_NO_PAD.decode(unpadded));
    match decoded.map(Zeroizing::new) {
        Ok(bytes) if is_key_length(bytes.len()) => Ok(bytes),
        Ok(bytes) => bail!("the key has {} bytes; {}", bytes.len(), lengths()),
        // The text itself is a secret, even if it is wrong.
        Err(_) => bail!("the key is neither hex nor base64 ({} characters); {}", text.len(), lengths()),
    }
}

/// The text without the separators that hex dumps have; `None` if anything but hex digits is left.
fn hex_digits(text: &str) -> Option<Zeroizing<String>> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ' | '\t')).collect();
    let digits = Zeroizing::new(digits);
    digits.chars().all(|c| c.is_ascii_hexdigit()).then_some(digits)
}

fn is_key_length(length: usize) -> bool {
    Suite::ALL.iter().any(|suite| suite.key_len() + suite.salt_len() == length)
}

fn lengths() -> String {
    let each = |suite: &Suite| format!("{} for {suite}", suite.key_len() + suite.salt_len());
    let all: Vec<_> = Suite::ALL.iter().map(each).collect();
    format!("master key and salt together have, in bytes: {}", all.join(", "))
}

/// The suites that a key of this many bytes is likely to be for: AES in counter mode or GCM. Others must be
/// named.
pub(crate) fn suites_of(length: usize) -> impl Iterator<Item = Suite> {
    let likely = |suite: &Suite| ["AES_", "AEAD_AES_"].iter().any(|start| suite.name().starts_with(start));
    let fits = move |suite: &Suite| suite.key_len() + suite.salt_len() == length;
    Suite::ALL.into_iter().filter(likely).filter(fits)
}

/// An MKI in hex.
pub(crate) fn parse_mki(text: &str) -> Result<Vec<u8>> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let bytes = hex::decode(text).with_context(|| format!("the MKI {text:?} is not hex"))?;
    if bytes.is_empty() || bytes.len() > sluice_srtp::MAX_MKI {
        bail!("an MKI has 1 to 128 bytes, not {}", bytes.len());
    }
    Ok(bytes)
}

/// The text of a key file, or of standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Text> {
    let mut text = Zeroizing::new(String::new());
    if path.as_os_str() == "-" {
        let read = std::io::stdin().lock().take(MAX_FILE).read_to_string(&mut text);
        read.context("cannot read the key from standard input")?;
        return Ok(text);
    }
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    read.with_context(|| format!("cannot read the key from {}", path.display()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_base64_give_the_same_key_for_every_suite() {
        for suite in Suite::ALL {
            let key: Vec<u8> = (0..suite.key_len() + suite.salt_len()).map(|i| i as u8 ^ 0xa5).collect();
            let base64 = base64::engine::general_purpose::STANDARD.encode(&key);
            let colons: Vec<_> = key.iter().map(|byte| format!("{byte:02X}")).collect();
            let forms = [hex::encode(&key), colons.join(":"), base64.clone(), format!("inline:{base64}\n")];
            for form in forms {
                assert_eq!(*parse(&format!(" {form}\n")).unwrap(), key, "{suite}");
            }
            assert_eq!(*parse(base64.trim_end_matches('=')).unwrap(), key);
        }
    }

    #[test]
    fn a_key_of_no_suites_length_is_refused_with_the_lengths() {
        // 59 base64 characters are 44 octets: the lost digit must not make another suite's key.
        let cases = [("00", "1 bytes"), (&"0".repeat(62), "31 bytes"), (&"0".repeat(59), "29½ bytes")];
        for (bad, length) in [("", "0 bytes"), ("QUJDRA==", "4 bytes")].into_iter().chain(cases) {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(length) && error.contains("44 for AEAD_AES_256_GCM"), "{bad}: {error}");
        }
        for bad in ["!!!", "inline:AAAA|2^20|1:4"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("bytes") || error.contains('|'), "{bad}: {error}");
        }
    }

    #[test]
    fn errors_never_repeat_the_key() {
        let error = format!("{:#}", parse("c0ffeec0ffee").unwrap_err());
        assert!(!error.contains("c0ffee"), "{error}");
        let error = format!("{:#}", parse("s3cr3t!!").unwrap_err());
        assert!(!error.contains("s3cr3t") && error.contains("8 characters"), "{error}");
    }
}
