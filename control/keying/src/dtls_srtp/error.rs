//! What goes wrong in a handshake, and whose doing it is.

use std::fmt;

use super::{Fingerprint, Version};

/// Why there is no association, no keys, or no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DtlsError {
    /// A datagram was left alone; the association is what it was.
    #[error("the datagram is ignored: {0}")]
    Ignored(#[from] Ignored),
    /// The gateway's own certificate cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] CertificateError),
    /// None of the suites that were asked for can come from a handshake.
    #[error(
        "none of the suites has a protection profile that the library knows; allow AES_CM_128_HMAC_SHA1_80 or an AES-GCM one"
    )]
    NoSuite,
    /// FIPS is asked for, and OpenSSL has no provider for it, or is not bound to it.
    #[error(
        "fips_only, but OpenSSL is not in FIPS mode: install its FIPS provider, and set default_properties = fips=yes in \
         openssl.cnf"
    )]
    FipsUnavailable,
    /// What the settings leave cannot be had together.
    #[error("these settings leave no handshake: {0}")]
    Settings(&'static str),
    /// The library failed before anything came from the peer.
    #[error("the TLS library cannot be set up: {0}")]
    Library(String),
    /// The peer speaks no version that is allowed.
    #[error("the peer offers no version of DTLS that is allowed here ({0})")]
    NoCommonVersion(&'static str),
    /// The peer's profiles and the allowed suites have none in common, or it has no `use_srtp` at all.
    #[error("no SRTP protection profile in common: the peer offers [{0}]")]
    NoCommonProfile(String),
    /// The peer chose a profile that was not offered, or is not allowed.
    #[error("the peer chose an SRTP protection profile that is not allowed here")]
    WrongProfile,
    /// The peer has shown no certificate, so nothing ties it to what signalling said.
    #[error("the peer has shown no certificate")]
    NoPeerCertificate,
    /// The peer's certificate is not the one that signalling vouches for.
    #[error("the peer's certificate is {shown}, and signalling says {}", List(signalled))]
    FingerprintMismatch {
        /// What the certificate hashes to, with the hash function that counts.
        shown: Fingerprint,
        /// What would have been right.
        signalled: Vec<Fingerprint>,
    },
    /// The peer gave up.
    #[error("the peer gave up with the alert {0}")]
    PeerAlert(Alert),
    /// What the peer sent breaks the handshake.
    #[error("the {version} handshake failed: {reason}")]
    Handshake {
        /// Of what.
        version: Version,
        /// In the library's words.
        reason: String,
    },
    /// The handshake has taken too long.
    #[error("the handshake was not through in time; {0}")]
    TimedOut(&'static str),
}

/// Why a datagram was left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// It is not made of DTLS records.
    #[error("it is not made of DTLS records")]
    NotDtls,
    /// A message is longer than any that is waited for.
    #[error("a handshake message in it is too long")]
    TooLong,
    /// A `ClientHello` that does not belong to this handshake: of somebody else, or for another association, which has to be
    /// signalled first (RFC 8842 section 4).
    #[error("it is a ClientHello of another handshake")]
    StrayClientHello,
    /// Nothing has begun that it could belong to.
    #[error("there is no handshake that it belongs to")]
    NoHandshake,
    /// The association is over.
    #[error("the association is over")]
    Over,
    /// An alert that nothing vouches for; the handshake ends with it only if it stalls.
    #[error("it is an alert that anybody could have sent")]
    UnprotectedAlert,
    /// The peer is to show first that it receives.
    #[error("it has a cookie that is not, or no longer, valid")]
    Cookie,
    /// There are as many handshakes with peers that have not shown that they receive as there may be.
    #[error("there are too many handshakes with peers that have not shown that they receive")]
    TooManyUnproven,
}

/// Why a certificate is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is none in the file.
    #[error("there is no certificate in the PEM text")]
    Missing,
    /// The certificates cannot be read.
    #[error("the chain is not PEM: {0}")]
    Chain(String),
    /// The key cannot be read; one that is encrypted cannot.
    #[error("the key is not an unencrypted PEM key: {0}")]
    Key(String),
    /// The key is not that of the first certificate.
    #[error("the key is not that of the first certificate in the chain")]
    OtherKey,
    /// The key is of a kind that peers do not know.
    #[error("the key is neither RSA (2048 bits or more) nor ECDSA on P-256 or P-384")]
    KeyKind,
    /// A certificate could not be made.
    #[error("no certificate could be generated: {0}")]
    Generate(String),
}

/// An alert (RFC 8446 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert(pub u8);

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            40 => "handshake_failure",
            41 => "no_certificate",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            116 => "certificate_required",
            _ => return write!(f, "{}", self.0),
        };
        write!(f, "{name} ({})", self.0)
    }
}

struct List<'a>(&'a [Fingerprint]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fingerprint) in self.0.iter().enumerate() {
            let between = if at == 0 { "" } else { " or " };
            write!(f, "{between}{fingerprint}")?;
        }
        if self.0.is_empty() { f.write_str("none that is known here") } else { Ok(()) }
    }
}
