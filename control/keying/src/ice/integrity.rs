//! MESSAGE-INTEGRITY under a short-term credential (RFC 8489 sections 9.1, 14.5, 14.6).
//!
//! `stun-types` does this as well, with keys that print themselves in `Debug` and stay in memory when they are dropped;
//! here they are wiped, and expanded once for all messages of a password.

use hmac::digest::array::Array;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use stun_types::attribute::{MessageIntegrity, MessageIntegritySha256};
use stun_types::message::{Message, MessageWrite, MessageWriteVec};
use stun_types::prelude::*;

/// Type and length of an attribute, in octets.
const ATTRIBUTE_HEADER: usize = 4;
const MESSAGE_HEADER: usize = 20;
/// The shortest tag of MESSAGE-INTEGRITY-SHA256 (RFC 8489 section 14.6).
const SHORTEST_SHA256: usize = 16;

/// Which of the two attributes a message has, and its response must have (RFC 8489 section 9.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha1,
    Sha256,
}

/// A password, expanded for both.
#[derive(Clone)]
pub(super) struct IntegrityKey {
    sha1: Hmac<Sha1>,
    sha256: Hmac<Sha256>,
}

impl IntegrityKey {
    pub(super) fn new(password: &str) -> Self {
        Self { sha1: keyed(password), sha256: keyed(password) }
    }

    /// By which attribute `message` is of this password; `None` if it is not.
    pub(super) fn verify(&self, message: &Message<'_>) -> Option<Algorithm> {
        // RFC 8489 section 9.1.3: if both are there, the stronger one counts.
        if let Some((offset, tag)) = message.raw_attribute_and_offset(MessageIntegritySha256::TYPE) {
            let tag = &*tag.value;
            let right_length = (SHORTEST_SHA256..=32).contains(&tag.len()) && tag.len() % 4 == 0;
            let mac = authenticated(self.sha256.clone(), message, offset, tag.len());
            return (right_length && mac.verify_truncated_left(tag).is_ok()).then_some(Algorithm::Sha256);
        }
        let (offset, tag) = message.raw_attribute_and_offset(MessageIntegrity::TYPE)?;
        let mac = authenticated(self.sha1.clone(), message, offset, tag.value.len());
        mac.verify_slice(&tag.value).is_ok().then_some(Algorithm::Sha1)
    }

    /// Ends `writer` with the attribute; but FINGERPRINT may follow.
    pub(super) fn sign(&self, algorithm: Algorithm, writer: &mut MessageWriteVec) {
        let before = writer.len();
        // What is authenticated has the length of the message with the attribute, so that it is put there first.
        match algorithm {
            Algorithm::Sha1 => {
                writer.push_attribute_unchecked(&MessageIntegrity::new([0; 20]));
                let tag = self.sha1.clone().chain_update(&writer.data()[..before]).finalize().into_bytes();
                writer.mut_data()[before + ATTRIBUTE_HEADER..].copy_from_slice(&tag);
            }
            Algorithm::Sha256 => {
                let tag = stun_types::attribute::RawAttribute::new(MessageIntegritySha256::TYPE, &[0; 32]);
                writer.push_attribute_unchecked(&tag);
                let tag = self.sha256.clone().chain_update(&writer.data()[..before]).finalize().into_bytes();
                writer.mut_data()[before + ATTRIBUTE_HEADER..].copy_from_slice(&tag);
            }
        }
    }
}

fn keyed<M: KeyInit>(password: &str) -> M {
    // The only error is that of a key of a wrong length, of which HMAC has none.
    M::new_from_slice(password.as_bytes()).unwrap_or_else(|_| M::new(&Array::default()))
}

/// `mac` over `message` up to the attribute at `offset`, with the length that it had when it ended with that one.
fn authenticated<M: Mac>(mac: M, message: &Message<'_>, offset: usize, tag: usize) -> M {
    let octets = message.as_bytes();
    let length = (offset + ATTRIBUTE_HEADER + tag - MESSAGE_HEADER) as u16;
    mac.chain_update(&octets[..2]).chain_update(length.to_be_bytes()).chain_update(&octets[4..offset])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 section 2.2.
    const RESPONSE: [u8; 80] =
        *b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0btest vector \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
        \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
        \x80\x28\x00\x04\xc0\x7d\x4c\x96";

    #[test]
    fn the_sample_response_is_of_its_password_and_of_no_other() {
        let response = super::super::message::parse(&RESPONSE).unwrap();
        assert_eq!(IntegrityKey::new("VOkJxbRl1RmTxUk/WvJxBt").verify(&response), Some(Algorithm::Sha1));
        assert_eq!(IntegrityKey::new("VOkJxbRl1RmTxUk/WvJxBT").verify(&response), None);
    }
}
