//! STUN messages of ICE (RFC 8445 sections 7.1 and 16): reading and writing.

use std::net::SocketAddr;

use stun_types::attribute::{
    AttributeType, ErrorCode, Fingerprint, RawAttribute, Username, XorMappedAddress,
};
use stun_types::message::{
    BINDING, Message, MessageClass, MessageHeader, MessageType, MessageWrite, MessageWriteExt,
    MessageWriteVec, TransactionId,
};
use stun_types::prelude::*;

use super::IceError;
use super::integrity::{Algorithm, IntegrityKey};
use super::role::Role;

const PRIORITY: AttributeType = AttributeType::new(0x0024);
const USE_CANDIDATE: AttributeType = AttributeType::new(0x0025);
const ICE_CONTROLLED: AttributeType = AttributeType::new(0x8029);
const ICE_CONTROLLING: AttributeType = AttributeType::new(0x802a);
const UNKNOWN_ATTRIBUTES: AttributeType = AttributeType::new(0x000a);
/// Attributes that have to be understood (RFC 8489 section 14) and are, or mean nothing under short-term credentials.
const UNDERSTOOD: [u16; 12] =
    [0x0001, 0x0006, 0x0008, 0x0009, 0x000a, 0x0014, 0x0015, 0x001c, 0x0020, 0x0024, 0x0025, 0x001e];
/// No check is longer: two fragments of 256 characters, and 200 octets of other attributes.
const MAX_LENGTH: usize = 1280;
/// What a response takes, so that it is allocated once.
const RESPONSE: usize = 96;

/// What a check says beside who it is from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    /// That of the peer-reflexive candidate that its sender may be (RFC 8445 section 7.1.1).
    pub(super) priority: u32,
    /// The tiebreaker of a sender that controls.
    pub(super) controlling: Option<u64>,
    /// The tiebreaker of a sender that is controlled.
    pub(super) controlled: Option<u64>,
    /// Whether the pair is nominated.
    pub(super) use_candidate: bool,
}

/// `datagram` as a Binding message, whose FINGERPRINT is right (RFC 8489 section 14.7).
pub(super) fn parse(datagram: &[u8]) -> Result<Message<'_>, IceError> {
    use IceError::Malformed;
    if datagram.len() > MAX_LENGTH {
        return Err(Malformed("it is too long"));
    }
    // Looked at before the library does, which writes a line to the log for each message that is wrong.
    let header = MessageHeader::from_bytes(datagram).map_err(|_| Malformed("the header is wrong"))?;
    if usize::from(header.data_length()) + MessageHeader::LENGTH != datagram.len() {
        return Err(Malformed("the length is wrong"));
    }
    if !has_right_fingerprint(datagram) {
        return Err(Malformed("FINGERPRINT does not end it, or is wrong"));
    }
    if header.get_type().method() != BINDING {
        return Err(IceError::NotBinding);
    }
    Message::from_bytes(datagram).map_err(|_| Malformed("the attributes are wrong"))
}

/// The two fragments of a request's USERNAME: the receiver's and the sender's.
pub(super) fn users<'a>(username: &'a RawAttribute<'_>) -> Option<(&'a str, &'a str)> {
    std::str::from_utf8(&username.value).ok()?.split_once(':')
}

/// The request's USERNAME.
pub(super) fn username<'a>(request: &'a Message<'_>) -> Option<RawAttribute<'a>> {
    request.raw_attribute(Username::TYPE)
}

/// An attribute that has to be understood and is not.
pub(super) fn not_understood(request: &Message<'_>) -> Option<u16> {
    let mut types = request.iter_attributes().map(|(_, attribute)| attribute.get_type());
    types
        .find(|kind| kind.comprehension_required() && !UNDERSTOOD.contains(&kind.value()))
        .map(|kind| kind.value())
}

/// What a request says.
pub(super) fn check(request: &Message<'_>) -> Result<Check, IceError> {
    let mut check = Check { priority: 0, controlling: None, controlled: None, use_candidate: false };
    for (_, attribute) in request.iter_attributes() {
        let value = &*attribute.value;
        let word = || value.try_into().map(u64::from_be_bytes);
        match attribute.get_type() {
            PRIORITY => {
                let priority = value.try_into().map(u32::from_be_bytes);
                check.priority = priority.map_err(|_| IceError::BadRequest("PRIORITY has a wrong length"))?;
            }
            USE_CANDIDATE => check.use_candidate = true,
            ICE_CONTROLLING => {
                check.controlling =
                    Some(word().map_err(|_| IceError::BadRequest("ICE-CONTROLLING has a wrong length"))?);
            }
            ICE_CONTROLLED => {
                check.controlled =
                    Some(word().map_err(|_| IceError::BadRequest("ICE-CONTROLLED has a wrong length"))?);
            }
            _ => {}
        }
    }
    if check.priority == 0 {
        return Err(IceError::BadRequest("PRIORITY is missing, or 0"));
    }
    Ok(check)
}

/// The code of an error response.
pub(super) fn error_code(response: &Message<'_>) -> Option<u16> {
    response.attribute::<ErrorCode>().ok().map(|error| error.code())
}

/// A check.
pub(super) fn write_check(
    transaction: TransactionId,
    username: &str,
    priority: u32,
    role: Role,
    use_candidate: bool,
    key: &IntegrityKey,
) -> Vec<u8> {
    let mtype = MessageType::from_class_method(MessageClass::Request, BINDING);
    let mut writer =
        Message::builder(mtype, transaction, MessageWriteVec::with_capacity(RESPONSE + username.len()));
    writer.push_attribute_unchecked(&RawAttribute::new(Username::TYPE, username.as_bytes()));
    writer.push_attribute_unchecked(&RawAttribute::new(PRIORITY, &priority.to_be_bytes()));
    let kind = if role.controlling { ICE_CONTROLLING } else { ICE_CONTROLLED };
    writer.push_attribute_unchecked(&RawAttribute::new(kind, &role.tie_breaker.to_be_bytes()));
    if use_candidate {
        writer.push_attribute_unchecked(&RawAttribute::new(USE_CANDIDATE, &[]));
    }
    key.sign(Algorithm::Sha1, &mut writer);
    end(writer)
}

/// The response that tells the sender of `request` its address.
pub(super) fn write_success(
    request: &Message<'_>,
    source: SocketAddr,
    key: &IntegrityKey,
    algorithm: Algorithm,
) -> Vec<u8> {
    let mut writer = Message::builder_success(request, MessageWriteVec::with_capacity(RESPONSE));
    writer.push_attribute_unchecked(&XorMappedAddress::new(source, request.transaction_id()));
    key.sign(algorithm, &mut writer);
    end(writer)
}

/// An error response; signed if the request was authenticated (RFC 8489 section 9.1.3).
pub(super) fn write_error(
    request: &Message<'_>,
    code: u16,
    unknown: Option<u16>,
    key: Option<(&IntegrityKey, Algorithm)>,
) -> Vec<u8> {
    let mut writer = Message::builder_error(request, MessageWriteVec::with_capacity(RESPONSE));
    // Without a reason phrase, so that no response is longer than what it responds to.
    let value = [0, 0, (code / 100) as u8, (code % 100) as u8];
    writer.push_attribute_unchecked(&RawAttribute::new(ErrorCode::TYPE, &value));
    if let Some(unknown) = unknown {
        writer.push_attribute_unchecked(&RawAttribute::new(UNKNOWN_ATTRIBUTES, &unknown.to_be_bytes()));
    }
    if let Some((key, algorithm)) = key {
        key.sign(algorithm, &mut writer);
    }
    end(writer)
}

fn end(mut writer: MessageWriteVec) -> Vec<u8> {
    let added = writer.add_fingerprint();
    debug_assert!(added.is_ok(), "a message has one, and room for it");
    writer.finish()
}

/// Whether the last attribute is FINGERPRINT, and right (RFC 8489 section 14.7).
fn has_right_fingerprint(datagram: &[u8]) -> bool {
    let Some((before, attribute)) = datagram.split_last_chunk::<8>() else { return false };
    // The message ends with it, so that the length in the header is the one to be covered.
    let is_last = attribute[..4] == [0x80, 0x28, 0, 4];
    let fingerprint =
        RawAttribute::from_bytes(attribute).ok().and_then(|raw| Fingerprint::from_raw_ref(&raw).ok());
    is_last && fingerprint.is_some_and(|stated| *stated.fingerprint() == Fingerprint::compute(&[before]))
}
