//! Key management messages in a description: `a=key-mgmt:<protocol> <base64>` (RFC 4567 section 3.1).
//!
//! What a message says is its protocol's matter; this is its envelope.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::sdes::decode_base64;
use crate::sdp::{Attribute, Sdp, Section};

/// The attribute's name.
pub const ATTRIBUTE: &str = "key-mgmt";

/// Why a `key-mgmt` attribute was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyMgmtError {
    /// No protocol and message.
    #[error("line {line}: a=key-mgmt must be \"<protocol> <base64>\" (RFC 4567 section 3.1)")]
    Form {
        /// Which; 0 if it was not read from a description.
        line: u32,
    },
    /// The message is no base64.
    #[error("the message of a=key-mgmt is no base64 (RFC 4567 section 3.1)")]
    Base64,
}

/// A message of a key management protocol. `Debug` does not show it.
#[derive(Clone)]
pub struct KeyMgmt {
    protocol: String,
    data: Zeroizing<String>,
}

impl KeyMgmt {
    /// Reads an attribute's value, and checks its form; nothing is decoded.
    ///
    /// # Errors
    /// [`KeyMgmtError::Form`].
    pub fn parse(value: &str) -> Result<Self, KeyMgmtError> {
        Self::read(value).ok_or(KeyMgmtError::Form { line: 0 })
    }

    /// The protocol's identifier, such as `mikey`; case does not count.
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// The message, decoded.
    ///
    /// # Errors
    /// [`KeyMgmtError::Base64`].
    pub fn message(&self) -> Result<Zeroizing<Vec<u8>>, KeyMgmtError> {
        decode_base64(&self.data).ok_or(KeyMgmtError::Base64)
    }

    /// The attribute's value.
    pub fn value(&self) -> Zeroizing<String> {
        let (protocol, data) = (&self.protocol, self.data.as_str());
        let mut value = Zeroizing::new(String::with_capacity(protocol.len() + data.len() + 1));
        value.push_str(protocol);
        value.push(' ');
        value.push_str(data);
        value
    }

    fn read(value: &str) -> Option<Self> {
        // One space may come first (section 3.1).
        let (protocol, data) = value.strip_prefix(' ').unwrap_or(value).split_once(' ')?;
        let data = data.trim_matches(' ');
        let is_id = !protocol.is_empty() && protocol.bytes().all(|octet| octet.is_ascii_alphanumeric());
        let is_char = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=');
        let valid = is_id && !data.is_empty() && data.bytes().all(is_char);
        valid.then(|| Self { protocol: protocol.to_owned(), data: Zeroizing::new(data.to_owned()) })
    }
}

/// Messages of one length are compared in constant time: they may hold keys.
impl PartialEq for KeyMgmt {
    fn eq(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.data.as_bytes().ct_eq(other.data.as_bytes()).into()
    }
}

impl Eq for KeyMgmt {}

impl fmt::Debug for KeyMgmt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMgmt").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// The messages of a section, in their order: the preferred protocol first (RFC 4567 section 4.1).
///
/// # Errors
/// [`KeyMgmtError::Form`].
pub fn messages(section: &Section) -> Result<Vec<KeyMgmt>, KeyMgmtError> {
    let read = |attribute: Attribute<'_>| {
        KeyMgmt::read(attribute.text()).ok_or(KeyMgmtError::Form { line: attribute.line })
    };
    section.all(ATTRIBUTE).map(read).collect()
}

/// The messages that hold for a media line: its own, or else the session's (RFC 4567 section 3.1).
///
/// # Errors
/// [`KeyMgmtError::Form`].
pub fn messages_for(sdp: &Sdp, media: usize) -> Result<Vec<KeyMgmt>, KeyMgmtError> {
    match sdp.media().get(media).filter(|media| media.has(ATTRIBUTE)) {
        Some(media) => messages(media),
        None => messages(sdp.session()),
    }
}
