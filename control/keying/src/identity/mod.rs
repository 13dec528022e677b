//! Identities that media keys are bound to (R-ID-BINDING): the Identity header field of SIP (RFC 8224), whose PASSporT
//! (RFC 8225) signs who calls whom, when, and with which key fingerprints (the claim `mky`).
//!
//! ```text
//!  From, To, Date, SDP ──► Signer ──► Identity: header.payload.signature;info=<x5u>
//!  From, To, Date, SDP, Identity, certificates, anchors, now ──► Verifier ──► Verified | IdentityError
//! ```
//!
//! Nothing is fetched: a certificate comes with the request, or from a [`CertificateStore`] by its URL. Time is passed in,
//! in seconds since 1970.

mod authority;
mod certificates;
mod error;
mod fingerprints;
mod header;
mod json;
mod options;
mod party;
mod passport;
mod replays;
mod signer;
mod verifier;

pub use authority::Authority;
pub use certificates::{CertificateError, CertificateStore, Chain, StoreError, TrustAnchors};
pub use error::IdentityError;
pub use fingerprints::{FingerprintError, MediaKey, MediaKeys};
pub use header::{HeaderError, IdentityHeader};
pub use options::{OptionsError, VerifierOptions};
pub use party::{DialPlan, Party, PartyError};
pub use passport::{Claims, Form, TokenError};
pub use signer::{Signed, Signer, SignerError};
pub use verifier::{Presented, Verified, Verifier};

/// What a signature covers of a SIP request (RFC 8224 section 4.1).
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The URI of From, or of P-Asserted-Identity where that is what counts (RFC 8224 section 8): the addr-spec alone,
    /// without display name and angle brackets.
    pub from: &'a str,
    /// The URI of To, likewise.
    pub to: &'a str,
    /// The Date header field's value, if there is one.
    pub date: Option<&'a str>,
    /// The SDP that goes with it; empty if there is none.
    pub sdp: &'a str,
}

/// How far Date and `iat` may be from now, in seconds (RFC 8224 section 4.1 recommends sixty).
pub const FRESHNESS_SECONDS: u64 = 60;

#[cfg(test)]
mod tests;
