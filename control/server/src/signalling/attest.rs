//! What signalling attests: hops, and identities that are verified and signed (RFC 8224).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use sluice_keying::identity::{
    CertificateStore, Chain, DialPlan, Form, IdentityError, Presented, Request, Signer, TrustAnchors,
    Verified, Verifier,
};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use zeroize::Zeroizing;

use super::Signalling;
use super::call::Attestation;
use crate::ApiError;
use crate::config::{AbsolutePath, IdentityConfig};

/// Identity header fields of a message that are looked at.
const MAX_IDENTITIES: usize = 8;

/// Who verifies and signs, as far as the configuration has what that takes.
#[derive(Default)]
pub(crate) struct Identities {
    verifier: Option<Verifier>,
    signer: Option<Signer>,
}

impl Identities {
    /// Reads what the configuration names; the error says which file, and why.
    pub(crate) fn open(config: &IdentityConfig) -> Result<Self, String> {
        let verifier = config.anchors.as_ref().map(|anchors| verifier(config, anchors)).transpose()?;
        let signer = config.sign.as_ref().map(|sign| {
            let key = Zeroizing::new(read(&sign.key)?);
            let text = std::str::from_utf8(&key).map_err(|_| wrong(&sign.key.0, &"it is not PEM"))?;
            let chain = read(&sign.certificate)?;
            let chain = Chain::read(&chain).map_err(|error| wrong(&sign.certificate.0, &error))?;
            let plan: DialPlan = config.verify.dial_plan.clone();
            Signer::new(text, &chain, &sign.url, plan).map_err(|error| wrong(&sign.key.0, &error))
        });
        Ok(Self { verifier, signer: signer.transpose()? })
    }
}

impl Signalling {
    /// What is attested of a message with an SDP. An identity that is not right is told, and counts as none.
    pub(super) fn attested(
        &self,
        session: &str,
        said: Option<&v1::SignallingAttestation>,
        sdp: &str,
    ) -> Result<Attestation, ApiError> {
        let Some(said) = said else { return Ok(Attestation::default()) };
        let mut attestation = Attestation { hop_tls: said.hop_tls, ..Attestation::default() };
        if said.identities.is_empty() {
            return Ok(attestation);
        }
        if said.identities.len() > MAX_IDENTITIES {
            let message = format!("has {} identities", said.identities.len());
            return Err(ApiError::invalid("attestation", message, "give at most 8"));
        }
        let result = match self.verify(said, sdp) {
            Ok(verified) => v1::IdentityResult {
                verified: true,
                origin: verified.orig.to_string(),
                certificate_url: verified.url.clone(),
                covers_keys: verified.binds_keys(),
                ..Default::default()
            },
            Err(Refused { reason, sip_status }) => v1::IdentityResult {
                reason,
                origin: said.from.clone(),
                sip_status: sip_status.into(),
                ..Default::default()
            },
        };
        self.tell_identity(session, &result);
        attestation.identity = Some(result);
        Ok(attestation)
    }

    /// Signs an SDP that goes out, if that is asked for.
    pub(super) fn signed(
        &self,
        asked: Option<&v1::IdentityRequest>,
        sdp: &str,
    ) -> Result<Option<v1::SignedIdentity>, ApiError> {
        let Some(asked) = asked else { return Ok(None) };
        let Some(signer) = &self.identities.signer else {
            let message = "the configuration has no key to sign with";
            let remedy = "set identity.sign, or leave the field out";
            return Err(ApiError::precondition("NO_SIGNING_KEY", message, remedy).at("sign"));
        };
        let date = Some(asked.date.as_str()).filter(|date| !date.is_empty());
        let request = Request { from: &asked.from, to: &asked.to, date, sdp };
        let signed = signer.sign(&request, Form::Full, now()).map_err(|error| {
            let remedy = "correct what is to be signed; the certificate must speak for who calls";
            ApiError::invalid("sign", error.to_string(), remedy)
        })?;
        Ok(Some(v1::SignedIdentity { identity: signed.identity, date: signed.date }))
    }

    fn verify(&self, said: &v1::SignallingAttestation, sdp: &str) -> Result<Verified, Refused> {
        let Some(verifier) = &self.identities.verifier else {
            let reason = "identity.anchors is not configured, so that nobody is trusted".to_owned();
            return Err(Refused { reason, sip_status: 0 });
        };
        let date = Some(said.date.as_str()).filter(|date| !date.is_empty());
        let request = Request { from: &said.from, to: &said.to, date, sdp };
        let presented: Vec<_> = said
            .identities
            .iter()
            .map(|signed| Presented {
                value: &signed.identity,
                certificates: (!signed.certificate.is_empty()).then_some(signed.certificate.as_bytes()),
            })
            .collect();
        Ok(verifier.verify(&request, &presented, now())?)
    }

    fn tell_identity(&self, session: &str, result: &v1::IdentityResult) {
        let origin = result.origin.clone();
        let kind = if result.verified {
            let certificate_url = result.certificate_url.clone();
            let covers_keys = result.covers_keys;
            Kind::IdentityVerified(v1::IdentityVerified { origin, certificate_url, covers_keys })
        } else {
            tracing::info!(session, origin, result.reason, "an identity is not verified");
            Kind::IdentityFailed(v1::IdentityFailed { origin, reason: result.reason.clone() })
        };
        self.publish(session, "", kind);
    }
}

/// Why an identity was not verified, and the SIP status that says so.
struct Refused {
    reason: String,
    sip_status: u16,
}

impl From<IdentityError> for Refused {
    fn from(error: IdentityError) -> Self {
        Self { reason: error.to_string(), sip_status: error.sip_status() }
    }
}

fn verifier(config: &IdentityConfig, anchors: &AbsolutePath) -> Result<Verifier, String> {
    let pem = read(anchors)?;
    let trusted = TrustAnchors::read(&pem).map_err(|error| wrong(&anchors.0, &error))?;
    let store = match &config.certificates {
        Some(folder) => CertificateStore::from_folder(&folder.0).map_err(|error| error.to_string())?,
        None => CertificateStore::default(),
    };
    Ok(Verifier::new(trusted, store, config.verify.clone()))
}

fn read(path: &AbsolutePath) -> Result<Vec<u8>, String> {
    std::fs::read(&path.0).map_err(|error| wrong(&path.0, &error))
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
