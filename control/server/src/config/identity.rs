//! `[identity]`: whose signatures count, and the gateway's own.

use serde::Deserialize;
use sluice_keying::identity::VerifierOptions;

use super::AbsolutePath;

/// `[identity]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Certification authorities that are trusted, PEM. None: no identity is verified.
    pub anchors: Option<AbsolutePath>,
    /// A folder of signers' certificates, each file named by its URL.
    pub certificates: Option<AbsolutePath>,
    /// What is taken.
    pub verify: VerifierOptions,
    /// What the gateway signs with. None: it signs nothing.
    pub sign: Option<Signing>,
}

/// `[identity.sign]`: all three keys are needed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    /// A private key on P-256, PKCS #8 in PEM.
    pub key: AbsolutePath,
    /// Its certificate, with those up to an authority, PEM.
    pub certificate: AbsolutePath,
    /// Where others find that.
    pub url: String,
}
