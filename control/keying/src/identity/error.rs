//! Why an identity was not verified.

use thiserror::Error;

use super::certificates::CertificateError;
use super::fingerprints::FingerprintError;
use super::header::HeaderError;
use super::party::{Party, PartyError};
use super::passport::TokenError;

/// Why an identity was not verified, and what that is to the one who sent it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// There is none.
    #[error("there is no Identity header field")]
    Missing,
    /// The header field breaks RFC 8224's grammar.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// An extension that must be understood, and is not (RFC 8225 section 8.1).
    #[error("PASSporTs of type {0:?} are not known here: sign without \"ppt\"")]
    UnsupportedType(String),
    /// Another algorithm than ES256, "none" among them.
    #[error("the algorithm is {0:?}, and must be ES256")]
    UnsupportedAlgorithm(String),
    /// From or To is no identity.
    #[error("{field}: {error}")]
    Party {
        /// Of which header field.
        field: &'static str,
        /// What is wrong.
        error: PartyError,
    },
    /// A fingerprint of the SDP cannot be read.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    /// The token is none.
    #[error("the PASSporT: {0}")]
    Token(#[from] TokenError),
    /// The compact form has no time of its own, and there is no Date.
    #[error("the compact form needs a Date header field, of which \"iat\" is made")]
    NoDate,
    /// Date is no date.
    #[error("the Date header field cannot be read: write it as \"Fri, 25 Sep 2015 19:12:25 GMT\"")]
    Date,
    /// Too old, or of the future.
    #[error("{field} is {seconds} seconds from now, more than the {freshness} that are taken")]
    Stale {
        /// `Date` or `iat`.
        field: &'static str,
        /// How far from now.
        seconds: u64,
        /// What is taken.
        freshness: u64,
    },
    /// A claim does not say what the request says.
    #[error("the claim {0:?} is not what the request and its SDP say")]
    Mismatch(&'static str),
    /// No certificate for the URL.
    #[error(
        "there is no certificate for {0:?}: hand it over with the request, or put it into the configured folder"
    )]
    UnknownCertificate(String),
    /// The certificate cannot be trusted.
    #[error("the certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The certificate does not speak for who calls.
    #[error("the certificate has no authority over {0}")]
    NoAuthority(Party),
    /// Not by the key of the certificate, or over something else.
    #[error("the signature is not of this certificate over this request")]
    Signature,
    /// Seen before.
    #[error("this PASSporT was used before")]
    Replayed,
    /// More are fresh at once than can be remembered.
    #[error("more PASSporTs are fresh at once than are remembered: raise the limit")]
    TooManyToRemember,
}

impl IdentityError {
    /// The SIP status that says so (RFC 8224 section 6.2.2).
    pub const fn sip_status(&self) -> u16 {
        match self {
            Self::Missing | Self::UnsupportedType(_) => 428,
            Self::UnknownCertificate(_) => 436,
            Self::Certificate(_) | Self::NoAuthority(_) => 437,
            Self::Stale { .. } => 403,
            Self::TooManyToRemember => 503,
            Self::Header(_)
            | Self::UnsupportedAlgorithm(_)
            | Self::Party { .. }
            | Self::Fingerprint(_)
            | Self::Token(_)
            | Self::NoDate
            | Self::Date
            | Self::Mismatch(_)
            | Self::Signature
            | Self::Replayed => 438,
        }
    }
}
