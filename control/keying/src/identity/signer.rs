//! Signs requests (RFC 8224 section 6.1): an authentication service's part that comes after the caller is authenticated.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey;
use thiserror::Error;

use super::certificates::{CertificateError, Chain, Leaf};
use super::error::IdentityError;
use super::fingerprints::MediaKeys;
use super::header::IdentityHeader;
use super::party::{DialPlan, Party};
use super::passport::{Claims, Form};
use super::verifier::{fresh, parties, seconds_of};
use super::{FRESHNESS_SECONDS, Request};

/// Signs requests under one key and certificate.
pub struct Signer {
    /// Zeroized when dropped, by its type.
    key: SigningKey,
    leaf: Leaf,
    url: String,
    plan: DialPlan,
    freshness: u64,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why nothing can be signed with what was configured.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignerError {
    /// The private key is none of P-256 in PKCS #8.
    #[error(
        "the key is no private key on P-256 in PKCS #8, PEM: make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
    )]
    Key,
    /// The certificate cannot be used.
    #[error("the certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The certificate is another key's.
    #[error("the certificate is not of this key")]
    OtherKey,
    /// No URL for `info`.
    #[error("{0:?} is no URL of the certificate, as \"https://cert.example.org/passport.cer\"")]
    Url(String),
}

/// What is added to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The value of the Identity header field.
    pub identity: String,
    /// The value of the Date header field, which the request must have.
    pub date: String,
}

impl Signer {
    /// Takes a private key (PKCS #8 in PEM), its certificate with those up to a trust anchor, and the URL where others
    /// find them. The text of the key is the caller's to zeroize; what is made of it is when dropped.
    ///
    /// # Errors
    /// What of the three cannot be used, or does not belong together.
    pub fn new(key_pem: &str, certificates: &Chain, url: &str, plan: DialPlan) -> Result<Self, SignerError> {
        let key = SigningKey::from_pkcs8_pem(key_pem).map_err(|_| SignerError::Key)?;
        let leaf = certificates.leaf()?;
        if *key.verifying_key() != leaf.key {
            return Err(SignerError::OtherKey);
        }
        let visible = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte));
        if !visible || !url.contains("://") {
            return Err(SignerError::Url(url.to_owned()));
        }
        Ok(Self { key, leaf, url: url.to_owned(), plan, freshness: FRESHNESS_SECONDS })
    }

    /// Another time than [`FRESHNESS_SECONDS`] that a Date may be from now.
    #[must_use]
    pub fn with_freshness(self, seconds: u64) -> Self {
        Self { freshness: seconds, ..self }
    }

    /// Signs a request, with the fingerprints of its SDP. That its caller is who it says is for the API's caller to know
    /// (RFC 8224 section 6.1, step 2).
    ///
    /// # Errors
    /// What RFC 8224 has a request not be signed for: the certificate has no authority over who calls or does not hold now,
    /// the Date is not fresh, or From, To, Date or SDP cannot be read.
    pub fn sign(&self, request: &Request<'_>, form: Form, now: u64) -> Result<Signed, IdentityError> {
        let (orig, dest) = parties(request, &self.plan)?;
        self.authorise(&orig, now)?;
        let (iat, date) = match request.date {
            Some(date) => (seconds_of(date)?, date.trim().to_owned()),
            None => (now, httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now))),
        };
        fresh("Date", iat, now, self.freshness)?;
        if !self.leaf.holds_at(iat) {
            return Err(CertificateError::NotValidThen.into());
        }
        let keys = MediaKeys::of_sdp(request.sdp)?;
        let signing_input = Claims { orig, dest: vec![dest], iat, keys }.signing_input(&self.url);
        // Deterministic, by RFC 6979, as RFC 8225 section 4.2 asks.
        let signature: Signature = self.key.sign(signing_input.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.to_bytes());
        let token = match form {
            Form::Full => format!("{signing_input}.{signature}"),
            Form::Compact => format!("..{signature}"),
        };
        let header = IdentityHeader { token: &token, info: &self.url, alg: None, ppt: None };
        Ok(Signed { identity: header.to_string(), date })
    }

    /// RFC 8224 section 6.1, steps 1 and 3. The certificate is the operator's own: a service provider's code in it counts
    /// for all numbers.
    fn authorise(&self, orig: &Party, now: u64) -> Result<(), IdentityError> {
        if !self.leaf.authority.covers(orig, self.leaf.authority.providers()) {
            return Err(IdentityError::NoAuthority(orig.clone()));
        }
        if !self.leaf.holds_at(now) {
            return Err(CertificateError::NotValidThen.into());
        }
        Ok(())
    }
}
