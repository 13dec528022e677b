//! Certificates of who signs: read, found by URL, and chained to trust anchors (RFC 8224 section 7, RFC 5280).

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use p256::ecdsa::VerifyingKey;
use p256::pkcs8::DecodePublicKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use thiserror::Error;
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage, RequiredEkuNotFoundContext,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::Authority;

/// Octets of the largest file or field of certificates that is looked at.
const LARGEST: usize = 64 * 1024;
/// Most certificates in a chain, the signer's own included.
const LONGEST_CHAIN: usize = 8;
/// id-kp-sipDomain (RFC 5924), in DER.
const SIP_DOMAIN: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 20];
/// The same, and anyExtendedKeyUsage (RFC 5280 section 4.2.1.12).
const PURPOSES: [&[usize]; 2] = [&[1, 3, 6, 1, 5, 5, 7, 3, 20], &[2, 5, 29, 37, 0]];

/// What is wrong with a certificate or its chain.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// None there, or too many.
    #[error(
        "there must be 1 to {LONGEST_CHAIN} certificates, the signer's first, in PEM or one in DER, of {LARGEST} octets"
    )]
    Count,
    /// Not X.509.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Not a key of ES256.
    #[error("its key is none of ECDSA on P-256, which ES256 needs")]
    Key,
    /// A key that may not sign.
    #[error("its key usage does not have digitalSignature")]
    KeyUsage,
    /// No chain to a trust anchor, or one that does not hold now.
    #[error("it does not lead to a configured trust anchor: {0}")]
    Untrusted(String),
    /// It did not hold when the request was signed.
    #[error("it was not valid when the request was signed")]
    NotValidThen,
}

/// A certificate and those between it and a trust anchor.
#[derive(Clone, PartialEq, Eq)]
pub struct Chain {
    /// Never empty; the first is the signer's.
    certificates: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({} certificates)", self.certificates.len())
    }
}

/// What a certificate says of itself; whether it may is another question.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) key: VerifyingKey,
    pub(super) authority: Authority,
    /// Seconds since 1970, both included.
    not_before: i64,
    not_after: i64,
}

impl Chain {
    /// Reads certificates in PEM, the signer's first, or one in DER.
    ///
    /// # Errors
    /// [`CertificateError::Count`] or [`CertificateError::Unreadable`].
    pub fn read(bytes: &[u8]) -> Result<Self, CertificateError> {
        if bytes.len() > LARGEST {
            return Err(CertificateError::Count);
        }
        // A DER certificate is a SEQUENCE.
        let certificates = if bytes.first() == Some(&0x30) {
            vec![CertificateDer::from(bytes.to_vec())]
        } else {
            let read: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(bytes).take(LONGEST_CHAIN + 1).collect();
            read.map_err(|error| CertificateError::Unreadable(error.to_string()))?
        };
        if !(1..=LONGEST_CHAIN).contains(&certificates.len()) {
            return Err(CertificateError::Count);
        }
        Ok(Self { certificates })
    }

    /// The signer's certificate, read but not trusted.
    pub(super) fn leaf(&self) -> Result<Leaf, CertificateError> {
        let (_, certificate) = X509Certificate::from_der(&self.certificates[0])
            .map_err(|error| CertificateError::Unreadable(error.to_string()))?;
        let key_usage =
            certificate.key_usage().map_err(|error| CertificateError::Unreadable(error.to_string()))?;
        if key_usage.is_some_and(|usage| !usage.value.digital_signature()) {
            return Err(CertificateError::KeyUsage);
        }
        let key = VerifyingKey::from_public_key_der(certificate.public_key().raw);
        Ok(Leaf {
            key: key.map_err(|_| CertificateError::Key)?,
            authority: Authority::of(&certificate)?,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }

    /// The signer's certificate, if it leads to an anchor at a time. Revocation is not looked at.
    pub(super) fn trusted(&self, anchors: &TrustAnchors, now: u64) -> Result<Leaf, CertificateError> {
        let untrusted = |error: webpki::Error| CertificateError::Untrusted(error.to_string());
        let [own, between @ ..] = &self.certificates[..] else { return Err(CertificateError::Count) };
        EndEntityCert::try_from(own)
            .map_err(untrusted)?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors.0,
                between,
                UnixTime::since_unix_epoch(Duration::from_secs(now)),
                Purpose,
                None,
                None,
            )
            .map_err(untrusted)?;
        self.leaf()
    }
}

impl Leaf {
    /// Whether it holds at a time.
    pub(super) fn holds_at(&self, seconds: u64) -> bool {
        i64::try_from(seconds).is_ok_and(|seconds| (self.not_before..=self.not_after).contains(&seconds))
    }
}

/// A certificate without an extended key usage may sign, or one with that of SIP (RFC 5924 section 4).
struct Purpose;

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let present: Vec<_> =
            purposes.map(|purpose| Ok(purpose?.to_decoded_oid())).collect::<Result<_, _>>()?;
        if present.is_empty() || present.iter().any(|purpose| PURPOSES.contains(&&purpose[..])) {
            return Ok(());
        }
        let required = KeyUsage::required(SIP_DOMAIN);
        Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
    }
}

/// Whom to trust: certification authorities.
#[derive(Clone, Default)]
pub struct TrustAnchors(Vec<TrustAnchor<'static>>);

impl fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustAnchors({})", self.0.len())
    }
}

impl TrustAnchors {
    /// Reads certificates of certification authorities in PEM.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`] at the first that cannot be read; [`CertificateError::Count`] if there are none.
    pub fn read(pem: &[u8]) -> Result<Self, CertificateError> {
        let unreadable = |error: String| CertificateError::Unreadable(error);
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
            let anchor = webpki::anchor_from_trusted_cert(&certificate)
                .map_err(|error| unreadable(error.to_string()))?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() { Err(CertificateError::Count) } else { Ok(Self(anchors)) }
    }
}

/// Certificates by the URL that signers give for them (`info`, `x5u`).
#[derive(Clone, Debug, Default)]
pub struct CertificateStore {
    chains: HashMap<String, Chain>,
}

/// Why a folder of certificates could not be read.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder or a file in it cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file is named after no URL.
    #[error("{}: its name must be a URL with every octet but letters, digits and -._~ as %XX", .0.display())]
    Name(PathBuf),
    /// A file has no certificates.
    #[error("{}: {error}", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: CertificateError,
    },
}

impl CertificateStore {
    /// Reads a folder whose files have the URL as their name, each octet but letters, digits and `-._~` as `%XX`:
    /// `https%3A%2F%2Fcert.example.org%2Fpassport.cer`. Files whose names begin with a dot are passed over.
    ///
    /// This is for the start of a program, or when it is told to read anew.
    ///
    /// # Errors
    /// The first file that is not as it should be, by its path.
    pub fn from_folder(folder: &Path) -> Result<Self, StoreError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| StoreError::Io { path, error }
        };
        let mut store = Self::default();
        for entry in folder.read_dir().map_err(io(folder))? {
            let path = entry.map_err(io(folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with('.') {
                continue;
            }
            let url = url_of_file(name).ok_or_else(|| StoreError::Name(path.clone()))?;
            let bytes = std::fs::read(&path).map_err(io(&path))?;
            let chain = Chain::read(&bytes).and_then(|chain| chain.leaf().map(|_| chain));
            store.insert(url, chain.map_err(|error| StoreError::Certificate { path, error })?);
        }
        Ok(store)
    }

    /// Puts a chain in, in the place of one that was there.
    pub fn insert(&mut self, url: impl Into<String>, chain: Chain) {
        self.chains.insert(url.into(), chain);
    }

    /// The chain of a URL, compared as RFC 3986 section 6.2.1 says: octet for octet.
    pub fn get(&self, url: &str) -> Option<&Chain> {
        self.chains.get(url)
    }
}

fn url_of_file(name: &str) -> Option<String> {
    let mut url = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        let octet = match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                (digit()? << 4 | digit()?) as u8
            }
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => byte,
            _ => return None,
        };
        url.push(octet);
    }
    String::from_utf8(url).ok().filter(|url| url.contains(':'))
}
