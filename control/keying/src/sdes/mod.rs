//! SDP security descriptions: master keys in `a=crypto` (RFC 4568).
//!
//! Reading a line looks at its form alone. Keys stay the text that they are until [`CryptoLine::keys`]: an offer with
//! many lines costs no more than its reading until one of them is answered (R-COMPUTE).
//!
//! ```
//! use sluice_keying::sdes::CryptoLine;
//! use sluice_srtp::Suite;
//!
//! let line = "1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:4";
//! let line = CryptoLine::parse(line)?;
//! assert_eq!(line.suite(), Some(Suite::AesCm128HmacSha1_80));
//! let keys = line.keys()?;
//! assert_eq!(keys[0].options.mki.as_slice(), [0, 0, 0, 1]);
//! assert_eq!(keys[0].options.lifetime.rtp_packets, 1 << 20);
//! # Ok::<(), sluice_keying::sdes::SdesError>(())
//! ```

mod answer;
mod decode;
mod error;
mod generate;
mod key;
mod line;
mod parameter;

use std::collections::HashSet;

use sluice_srtp::Suite;

use crate::sdp::Section;

pub use answer::match_answer;
pub(crate) use decode::decode_base64;
pub use error::SdesError;
pub use key::{InlineKey, KeyLifetime, KeyMki};
pub use line::CryptoLine;
pub use parameter::{FecOrder, Parameter};

/// Most master keys of a key parameter: what a cryptographic context can hold.
pub const MAX_KEYS: usize = sluice_srtp::MAX_KEYS;
/// Most session parameters of a line.
pub const MAX_PARAMETERS: usize = 64;

/// Reads all crypto lines of a media section, in the offerer's order of preference. A line that is no valid one is
/// its error: of an offer it is to be passed over (RFC 4568 section 5.1.2).
///
/// # Errors
/// [`SdesError::RepeatedTag`] if two have one tag: an answer could not say which it means (section 4.1).
pub fn crypto_lines(media: &Section) -> Result<Vec<Result<CryptoLine, SdesError>>, SdesError> {
    let lines: Vec<_> = media.all("crypto").map(|attribute| CryptoLine::parse(attribute.text())).collect();
    let mut tags = HashSet::new();
    match lines.iter().flatten().find(|line| !tags.insert(line.tag())) {
        Some(line) => Err(SdesError::RepeatedTag { tag: line.tag() }),
        None => Ok(lines),
    }
}

/// Reads the crypto line of a media section of an answer; it has none if SRTP was not accepted.
///
/// # Errors
/// [`SdesError::SeveralLines`] if there are more (RFC 4568 section 7.1.2); else what is wrong with it.
pub fn answered_line(media: &Section) -> Result<Option<CryptoLine>, SdesError> {
    let mut lines = media.all("crypto");
    let line = lines.next().map(|attribute| CryptoLine::parse(attribute.text())).transpose()?;
    if lines.next().is_some() {
        return Err(SdesError::SeveralLines);
    }
    Ok(line)
}

/// Whether IANA's registry of crypto suites for SDP security descriptions has a suite. The others of the engine have
/// names for DTLS-SRTP only; some peers use them here as well.
pub const fn is_registered(suite: Suite) -> bool {
    matches!(
        suite,
        // RFC 4568 section 6.2
        Suite::AesCm128HmacSha1_80
            | Suite::AesCm128HmacSha1_32
            | Suite::F8_128HmacSha1_80
            // RFC 5669 section 7
            | Suite::SeedCtr128HmacSha1_80
            | Suite::Seed128Ccm80
            | Suite::Seed128Gcm96
            // RFC 6188 section 5
            | Suite::AesCm192HmacSha1_80
            | Suite::AesCm192HmacSha1_32
            | Suite::AesCm256HmacSha1_80
            | Suite::AesCm256HmacSha1_32
            // RFC 7714 section 14.1
            | Suite::AeadAes128Gcm
            | Suite::AeadAes256Gcm
    )
}
