//! Key material from a file, standard input or the command line.

use std::io::Read;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sluice_proto::v1;

use super::args::{KeyArgs, Material};

/// The request for one key.
pub(super) fn install(args: KeyArgs) -> Result<v1::KeyInstall> {
    Ok(v1::KeyInstall {
        session: args.session,
        leg: args.leg,
        key: args.key,
        direction: v1::Direction::from(args.direction).into(),
        suite: args.suite,
        key_salt: read(&args.material)?,
        mki: hex::decode(&args.mki).context("--mki: write the MKI in hex")?,
        lifetime_rtp_packets: args.lifetime,
        lifetime_rtcp_packets: args.lifetime.min(1 << 31),
    })
}

fn read(material: &Material) -> Result<Vec<u8>> {
    match (&material.key_salt, &material.key_file) {
        (Some(text), _) => decode(text),
        (None, Some(path)) if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read the key from standard input")?;
            decode(&text)
        }
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the key from {}", path.display()))?;
            decode(&text)
        }
        (None, None) => bail!("no key: give --key-file or --key-salt"),
    }
}

/// Hex or base64, padded or not. Every suite's key and salt have a length at which the two cannot be
/// confused: 30, 28 and 44 bytes are 60, 56 and 88 hex digits, but 40, 38–40 and 59–60 base64 ones.
fn decode(text: &str) -> Result<Vec<u8>> {
    let text = text.trim();
    let as_hex = hex::decode(text).ok().filter(|bytes| [28, 30, 44].contains(&bytes.len()));
    let as_base64 = || STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok();
    match as_hex.or_else(as_base64) {
        Some(bytes) => Ok(bytes),
        // The text itself is a secret, even if it is wrong.
        None => bail!("the key is neither hex nor base64 ({} characters)", text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_base64_with_and_without_padding_are_the_same_key() {
        for length in [28, 30, 44] {
            let key: Vec<u8> = (0..length).map(|i| i * 5 + 1).collect();
            for text in [hex::encode(&key), STANDARD.encode(&key), STANDARD_NO_PAD.encode(&key)] {
                assert_eq!(decode(&format!(" {text}\n")).unwrap(), key);
            }
        }
    }

    #[test]
    fn a_wrong_key_is_not_repeated_in_the_error() {
        let error = decode("s3cr3t!!").unwrap_err().to_string();
        assert!(!error.contains("s3cr3t") && error.contains("8 characters"));
    }
}
