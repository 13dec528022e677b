//! PASSporTs (RFC 8225): what is signed, and the token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::Signature;
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;

use super::fingerprints::{MediaKey, MediaKeys};
use super::json;
use super::party::Party;

/// The one algorithm that all must have (RFC 8225 section 4.2), and the one that is taken.
pub(super) const ES256: &str = "ES256";

/// Which form a token has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Header, payload and signature. A changed Date does not break it (RFC 8224 section 12.1).
    #[default]
    Full,
    /// The signature alone (RFC 8225 section 7).
    Compact,
}

/// What a PASSporT says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who calls.
    pub orig: Party,
    /// Who is called.
    pub dest: Vec<Party>,
    /// When, in seconds since 1970.
    pub iat: u64,
    /// Fingerprints of the media's keys: the claim `mky`. Without any there is none.
    pub keys: MediaKeys,
}

/// What is wrong with a token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not three parts.
    #[error("it is neither header.payload.signature nor ..signature")]
    Parts,
    /// Not base64url without padding.
    #[error("its {0} is no base64url without padding")]
    Base64(&'static str),
    /// Not JSON, or a name twice.
    #[error("its {part} is no JSON object with each name once: {error}")]
    Json {
        /// Header or payload.
        part: &'static str,
        /// What the reader says.
        error: String,
    },
    /// Something that must be there is not, or is something else.
    #[error("{0:?} is missing, or not what RFC 8225 says it is")]
    Claim(&'static str),
    /// Not a signature of ES256.
    #[error("its signature is not the 64 octets of ES256")]
    Signature,
}

impl Claims {
    /// What is signed: header and payload in base64url, serialized as RFC 8225 section 9 says, with a dot between.
    pub fn signing_input(&self, x5u: &str) -> String {
        let header = Header { alg: ES256, typ: "passport", x5u };
        format!("{}.{}", encoded(&header), encoded(&Payload::of(self)))
    }
}

/// Fields are in the order of their names, which serde keeps: RFC 8225 section 9.
#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    x5u: &'a str,
}

#[derive(Serialize)]
struct Payload<'a> {
    dest: Dest<'a>,
    iat: u64,
    #[serde(skip_serializing_if = "MediaKeys::is_empty")]
    mky: &'a MediaKeys,
    orig: Orig<'a>,
}

#[derive(Serialize)]
struct Dest<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tn: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uri: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Orig<'a> {
    Tn(&'a str),
    Uri(&'a str),
}

impl<'a> Payload<'a> {
    fn of(claims: &'a Claims) -> Self {
        let mut dest = Dest { tn: Vec::new(), uri: Vec::new() };
        for party in &claims.dest {
            match party {
                Party::Number(number) => dest.tn.push(number),
                Party::Uri(uri) => dest.uri.push(uri),
            }
        }
        // RFC 8225 section 5.2.1: in lexicographical order.
        dest.tn.sort_unstable();
        dest.uri.sort_unstable();
        let orig = match &claims.orig {
            Party::Number(number) => Orig::Tn(number),
            Party::Uri(uri) => Orig::Uri(uri),
        };
        Self { dest, iat: claims.iat, mky: &claims.keys, orig }
    }
}

fn encoded<T: Serialize>(object: &T) -> String {
    let json = serde_json::to_vec(object).expect("objects of strings and numbers are JSON");
    URL_SAFE_NO_PAD.encode(json)
}

/// A token as it came.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// Header and payload, of the full form.
    pub(super) full: Option<FullForm<'a>>,
    pub(super) signature: Signature,
}

/// Header and payload as they came, and what they say.
#[derive(Debug)]
pub(super) struct FullForm<'a> {
    /// What was signed.
    pub(super) signing_input: &'a str,
    pub(super) header: TokenHeader,
    pub(super) claims: Claims,
}

/// A JOSE header, as far as it is PASSporT's.
#[derive(Debug)]
pub(super) struct TokenHeader {
    pub(super) alg: String,
    pub(super) x5u: String,
    pub(super) ppt: Option<String>,
}

impl<'a> Token<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, TokenError> {
        let (signing_input, signature) = text.rsplit_once('.').ok_or(TokenError::Parts)?;
        let (header, payload) = signing_input.split_once('.').ok_or(TokenError::Parts)?;
        if payload.contains('.') || header.is_empty() != payload.is_empty() {
            return Err(TokenError::Parts);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Base64("signature"))?;
        let signature = Signature::from_slice(&signature).map_err(|_| TokenError::Signature)?;
        if header.is_empty() {
            return Ok(Self { full: None, signature });
        }
        let header = TokenHeader::read(&part("header", header)?)?;
        let claims = claims(&part("payload", payload)?)?;
        Ok(Self { full: Some(FullForm { signing_input, header, claims }), signature })
    }
}

impl TokenHeader {
    fn read(header: &Map<String, Value>) -> Result<Self, TokenError> {
        let text = |name: &'static str| match header.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(TokenError::Claim(name)),
        };
        if text("typ")? != "passport" {
            return Err(TokenError::Claim("typ"));
        }
        // RFC 7515 section 4.1.11: what it names must be understood, and nothing of it is.
        if header.contains_key("crit") {
            return Err(TokenError::Claim("crit"));
        }
        let ppt = header.contains_key("ppt").then(|| text("ppt")).transpose()?;
        Ok(Self { alg: text("alg")?, x5u: text("x5u")?, ppt })
    }
}

fn part(name: &'static str, text: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Base64(name))?;
    json::object(&bytes).map_err(|error| TokenError::Json { part: name, error })
}

fn claims(payload: &Map<String, Value>) -> Result<Claims, TokenError> {
    let iat = payload.get("iat").and_then(Value::as_u64).ok_or(TokenError::Claim("iat"))?;
    let orig = payload.get("orig").and_then(orig).ok_or(TokenError::Claim("orig"))?;
    let dest = payload.get("dest").and_then(dest).ok_or(TokenError::Claim("dest"))?;
    let keys = match payload.get("mky") {
        None => MediaKeys::default(),
        // An array with nothing in it would be no claim in the form that is signed.
        Some(mky) => keys(mky).filter(|keys| !keys.is_empty()).ok_or(TokenError::Claim("mky"))?,
    };
    Ok(Claims { orig, dest, iat, keys })
}

/// Exactly one identity (RFC 8225 section 5.2.1).
fn orig(value: &Value) -> Option<Party> {
    let object = value.as_object()?;
    let (name, value) = object.iter().next().filter(|_| object.len() == 1)?;
    party(name, value)
}

fn dest(value: &Value) -> Option<Vec<Party>> {
    let mut parties = Vec::new();
    for (name, values) in value.as_object()? {
        for value in values.as_array()? {
            parties.push(party(name, value)?);
        }
    }
    (!parties.is_empty()).then_some(parties)
}

fn party(name: &str, value: &Value) -> Option<Party> {
    let text = value.as_str()?.to_owned();
    match name {
        "tn" => Some(Party::Number(text)),
        "uri" => Some(Party::Uri(text)),
        _ => None,
    }
}

fn keys(value: &Value) -> Option<MediaKeys> {
    let key = |value: &Value| {
        let object = value.as_object().filter(|object| object.len() == 2)?;
        MediaKey::new(object.get("alg")?.as_str()?, object.get("dig")?.as_str()?).ok()
    };
    value.as_array()?.iter().map(key).collect()
}
