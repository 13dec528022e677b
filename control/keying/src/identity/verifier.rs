//! Verifies the Identity header fields of requests (RFC 8224 section 6.2).

use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use p256::ecdsa::signature::Verifier as _;

use super::Request;
use super::certificates::{CertificateError, CertificateStore, Chain, Leaf, TrustAnchors};
use super::error::IdentityError;
use super::fingerprints::MediaKeys;
use super::header::IdentityHeader;
use super::options::VerifierOptions;
use super::party::{DialPlan, Party};
use super::passport::{Claims, ES256, Form, FullForm, Token};
use super::replays::{Replays, Seen};

/// An Identity header field as it came.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// Its value.
    pub value: &'a str,
    /// The certificates for it, if they came with the request: PEM or DER. They count before those of the store.
    pub certificates: Option<&'a [u8]>,
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who calls.
    pub orig: Party,
    /// Who is called, as the request says.
    pub dest: Party,
    /// When it was signed, in seconds since 1970.
    pub iat: u64,
    /// The fingerprints that the signature binds to who calls: all of the SDP. Without any, no key is bound to anyone.
    pub keys: MediaKeys,
    /// Where the certificate is from.
    pub url: String,
    /// The form in which it came.
    pub form: Form,
}

impl Verified {
    /// Whether media keys are bound to the identity (R-ID-BINDING).
    pub fn binds_keys(&self) -> bool {
        !self.keys.is_empty()
    }
}

/// Verifies requests against trust anchors, and remembers what was used.
#[derive(Debug)]
pub struct Verifier {
    anchors: TrustAnchors,
    store: CertificateStore,
    options: VerifierOptions,
    replays: Mutex<Replays>,
}

impl Verifier {
    /// Takes whom to trust, the certificates that are known, and what is taken.
    pub fn new(anchors: TrustAnchors, store: CertificateStore, options: VerifierOptions) -> Self {
        let replays = Mutex::new(Replays::new(options.freshness_seconds, options.remembered));
        Self { anchors, store, options, replays }
    }

    /// Verifies a request. Of several Identity header fields one that is valid is enough (RFC 8224 section 6.2.1).
    ///
    /// # Errors
    /// Of several the first that is not an unknown extension's (RFC 8224 section 6.2: such are passed over).
    pub fn verify(
        &self,
        request: &Request<'_>,
        identities: &[Presented<'_>],
        now: u64,
    ) -> Result<Verified, IdentityError> {
        let mut refusal = None;
        for presented in identities {
            match self.verify_one(request, presented, now) {
                Ok(verified) => return Ok(verified),
                Err(error)
                    if refusal.is_none() || matches!(refusal, Some(IdentityError::UnsupportedType(_))) =>
                {
                    refusal = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(refusal.unwrap_or(IdentityError::Missing))
    }

    /// RFC 8224 section 6.2, steps 1 to 5.
    fn verify_one(
        &self,
        request: &Request<'_>,
        presented: &Presented<'_>,
        now: u64,
    ) -> Result<Verified, IdentityError> {
        let header = IdentityHeader::read(presented.value)?;
        if let Some(ppt) = header.ppt {
            return Err(IdentityError::UnsupportedType(ppt.to_owned()));
        }
        es256(header.alg.unwrap_or(ES256))?;
        let (orig, dest) = parties(request, &self.options.dial_plan)?;
        let keys = MediaKeys::of_sdp(request.sdp)?;
        let token = Token::read(header.token)?;
        let date = request.date.map(seconds_of).transpose()?;
        // A compact form's `iat` is the Date; a full form has its own, which counts (step 4).
        let iat = match &token.full {
            Some(full) => full.claims.iat,
            None => date.ok_or(IdentityError::NoDate)?,
        };
        for (field, seconds) in [("Date", date), ("iat", Some(iat))] {
            seconds.map_or(Ok(()), |seconds| fresh(field, seconds, now, self.options.freshness_seconds))?;
        }
        let expected = Claims { orig, dest: vec![dest], iat, keys };
        let signing_input = match &token.full {
            Some(full) => full.says(&expected, header.info)?.to_owned(),
            None => expected.signing_input(header.info),
        };
        let leaf = self.leaf(&header, presented, iat, now)?;
        leaf.key.verify(signing_input.as_bytes(), &token.signature).map_err(|_| IdentityError::Signature)?;
        if !leaf.authority.covers(&expected.orig, &self.options.service_providers) {
            return Err(IdentityError::NoAuthority(expected.orig));
        }
        // Last, so that only what is valid takes room.
        self.first_use(&signing_input, now)?;
        let Claims { orig, mut dest, iat, keys } = expected;
        let form = if token.full.is_some() { Form::Full } else { Form::Compact };
        Ok(Verified { orig, dest: dest.swap_remove(0), iat, keys, url: header.info.to_owned(), form })
    }

    fn leaf(
        &self,
        header: &IdentityHeader<'_>,
        presented: &Presented<'_>,
        iat: u64,
        now: u64,
    ) -> Result<Leaf, IdentityError> {
        let leaf = if let Some(bytes) = presented.certificates {
            Chain::read(bytes)?.trusted(&self.anchors, now)?
        } else {
            let unknown = || IdentityError::UnknownCertificate(header.info.to_owned());
            self.store.get(header.info).ok_or_else(unknown)?.trusted(&self.anchors, now)?
        };
        if leaf.holds_at(iat) { Ok(leaf) } else { Err(CertificateError::NotValidThen.into()) }
    }

    fn first_use(&self, signing_input: &str, now: u64) -> Result<(), IdentityError> {
        // A set of marks is whole at any time, so that a panic elsewhere does not make it wrong.
        let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        match replays.see(signing_input, now) {
            Seen::New => Ok(()),
            Seen::Before => Err(IdentityError::Replayed),
            Seen::NoRoom => Err(IdentityError::TooManyToRemember),
        }
    }
}

impl FullForm<'_> {
    /// What was signed, if it says what the request says. Claims that are not known here may be there besides (RFC 8225
    /// section 8.1).
    fn says(&self, expected: &Claims, info: &str) -> Result<&str, IdentityError> {
        if let Some(ppt) = &self.header.ppt {
            return Err(IdentityError::UnsupportedType(ppt.clone()));
        }
        es256(&self.header.alg)?;
        let claims = &self.claims;
        for (claim, same) in [
            ("x5u", self.header.x5u == info),
            ("orig", claims.orig == expected.orig),
            ("dest", expected.dest.iter().all(|party| claims.dest.contains(party))),
            ("mky", claims.keys == expected.keys),
        ] {
            if !same {
                return Err(IdentityError::Mismatch(claim));
            }
        }
        Ok(self.signing_input)
    }
}

/// From and To, in the form in which they are signed.
pub(super) fn parties(request: &Request<'_>, plan: &DialPlan) -> Result<(Party, Party), IdentityError> {
    let party = |field, uri| Party::of_uri(uri, plan).map_err(|error| IdentityError::Party { field, error });
    Ok((party("From", request.from)?, party("To", request.to)?))
}

/// A Date in seconds since 1970.
pub(super) fn seconds_of(date: &str) -> Result<u64, IdentityError> {
    let date = httpdate::parse_http_date(date.trim()).map_err(|_| IdentityError::Date)?;
    date.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).map_err(|_| IdentityError::Date)
}

pub(super) fn fresh(field: &'static str, time: u64, now: u64, freshness: u64) -> Result<(), IdentityError> {
    let seconds = time.abs_diff(now);
    if seconds > freshness { Err(IdentityError::Stale { field, seconds, freshness }) } else { Ok(()) }
}

fn es256(alg: &str) -> Result<(), IdentityError> {
    if alg == ES256 { Ok(()) } else { Err(IdentityError::UnsupportedAlgorithm(alg.to_owned())) }
}
