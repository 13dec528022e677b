//! The gateway's certificate.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, PKeyRef, Private};
use openssl::x509::{X509, X509Name};
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

use super::{CertificateError, Fingerprint, HashFunction};

/// Kinds of keys that certificates have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA.
    Rsa,
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
}

/// A certificate, what is sent along with it, and its key.
pub struct Certificate {
    chain: Vec<X509>,
    der: Vec<u8>,
    key: PKey<Private>,
    key_der: Zeroizing<Vec<u8>>,
    kind: KeyKind,
}

impl Certificate {
    /// Makes one with a key on P-256 that signs itself and is good for so long. Nobody has to trust it: its fingerprint is
    /// signalled.
    pub fn generate(valid: Duration) -> Result<Self, CertificateError> {
        let (certificate, key) =
            generate(valid).map_err(|error| CertificateError::Generate(error.to_string()))?;
        Self::new(vec![certificate], key)
    }

    /// The operator's own: a PEM chain whose first certificate is the gateway's, and its key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain =
            X509::stack_from_pem(chain).map_err(|error| CertificateError::Chain(error.to_string()))?;
        // No password is asked for: without one an encrypted key cannot be read.
        let key = PKey::private_key_from_pem_callback(key, |_| Ok(0));
        let key = key.map_err(|error| CertificateError::Key(error.to_string()))?;
        Self::new(chain, key)
    }

    /// Its own hash, for `a=fingerprint`.
    pub fn fingerprint(&self, hash: HashFunction) -> Fingerprint {
        Fingerprint::of(hash, &self.der)
    }

    /// The certificate alone, in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// What its key is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    pub(super) fn chain(&self) -> &[X509] {
        &self.chain
    }

    pub(super) fn key(&self) -> &PKeyRef<Private> {
        &self.key
    }

    /// The key in PKCS #8.
    pub(super) fn key_der(&self) -> &[u8] {
        &self.key_der
    }

    fn new(chain: Vec<X509>, key: PKey<Private>) -> Result<Self, CertificateError> {
        let first = chain.first().ok_or(CertificateError::Missing)?;
        let read = |error: ErrorStack| CertificateError::Chain(error.to_string());
        if !key.public_eq(&*first.public_key().map_err(read)?) {
            return Err(CertificateError::OtherKey);
        }
        let kind = kind(&key).ok_or(CertificateError::KeyKind)?;
        let der = first.to_der().map_err(read)?;
        let key_der = key.private_key_to_pkcs8().map_err(|error| CertificateError::Key(error.to_string()))?;
        Ok(Self { der, kind, chain, key, key_der: Zeroizing::new(key_der) })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.fingerprint(HashFunction::Sha256);
        f.debug_struct("Certificate")
            .field("kind", &self.kind)
            .field("fingerprint", &fingerprint)
            .finish_non_exhaustive()
    }
}

/// Where endpoints have their certificate from. One that is generated is replaced now and then, for associations to come.
#[derive(Debug)]
pub struct Certificates {
    renewal: Option<Duration>,
    current: Mutex<(Arc<Certificate>, Instant)>,
}

impl Certificates {
    /// Makes one now, and another whenever it has been in use for so long.
    pub fn generated(every: Duration, now: Instant) -> Result<Self, CertificateError> {
        let certificate = Certificate::generate(every + LEEWAY)?;
        Ok(Self { renewal: Some(every), current: Mutex::new((Arc::new(certificate), now)) })
    }

    /// The operator's own, as long as it is the operator's.
    pub fn own(certificate: Certificate, now: Instant) -> Self {
        Self { renewal: None, current: Mutex::new((Arc::new(certificate), now)) }
    }

    /// The one for an association that begins now.
    pub fn current(&self, now: Instant) -> Result<Arc<Certificate>, CertificateError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(every) = self.renewal
            && now.saturating_duration_since(current.1) >= every
        {
            *current = (Arc::new(Certificate::generate(every + LEEWAY)?), now);
        }
        Ok(Arc::clone(&current.0))
    }
}

/// Associations that began with a certificate go on for so long after it was replaced.
const LEEWAY: Duration = Duration::from_hours(30 * 24);

/// What a key is, if peers know its kind.
pub(super) fn kind<T: openssl::pkey::HasPublic>(key: &PKeyRef<T>) -> Option<KeyKind> {
    match key.id() {
        Id::RSA if key.bits() >= 2048 => Some(KeyKind::Rsa),
        Id::EC => match key.ec_key().ok()?.group().curve_name()? {
            Nid::X9_62_PRIME256V1 => Some(KeyKind::EcdsaP256),
            Nid::SECP384R1 => Some(KeyKind::EcdsaP384),
            _ => None,
        },
        _ => None,
    }
}

/// The same of a peer's certificate, in DER. OpenSSL knows it as well, but takes its time to decode a certificate a second
/// time: almost as long as to verify a signature by its key.
pub(super) fn kind_of(der: &[u8]) -> Option<KeyKind> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let info = certificate.public_key();
    match info.parsed().ok()? {
        PublicKey::RSA(key) if key.key_size() >= 2048 => Some(KeyKind::Rsa),
        PublicKey::EC(_) => {
            let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
            let known = [(OID_EC_P256, KeyKind::EcdsaP256), (OID_NIST_EC_P384, KeyKind::EcdsaP384)];
            known.into_iter().find(|(oid, _)| *oid == curve).map(|(_, kind)| kind)
        }
        _ => None,
    }
}

fn generate(valid: Duration) -> Result<(X509, PKey<Private>), ErrorStack> {
    let key = PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?;
    Ok((self_signed(&key, valid)?, key))
}

fn self_signed(key: &PKey<Private>, valid: Duration) -> Result<X509, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "sluice")?;
    let name = name.build();
    // Browsers take two certificates of one name and number for a forgery.
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let days = u32::try_from(valid.as_secs().div_ceil(24 * 3600)).unwrap_or(u32::MAX).clamp(1, 36_500);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    // Clocks differ: it is good since yesterday.
    let since = i64::try_from(now.saturating_sub(24 * 3600)).unwrap_or_default();
    let mut certificate = X509::builder()?;
    certificate.set_version(2)?;
    certificate.set_serial_number(&*serial.to_asn1_integer()?)?;
    certificate.set_subject_name(&name)?;
    certificate.set_issuer_name(&name)?;
    certificate.set_not_before(&*Asn1Time::from_unix(since)?)?;
    certificate.set_not_after(&*Asn1Time::days_from_now(days)?)?;
    certificate.set_pubkey(key)?;
    certificate.sign(key, MessageDigest::sha256())?;
    Ok(certificate.build())
}

#[cfg(test)]
mod tests {
    use openssl::rsa::Rsa;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_generated_one_is_replaced_in_time() {
        let start = Instant::now();
        let certificates = Certificates::generated(DAY * 30, start).unwrap();
        let first = certificates.current(start + DAY * 29).unwrap();
        assert_eq!(first.kind(), KeyKind::EcdsaP256);
        let second = certificates.current(start + DAY * 30).unwrap();
        assert_ne!(first.fingerprint(HashFunction::Sha256), second.fingerprint(HashFunction::Sha256));
        assert!(Arc::ptr_eq(&second, &certificates.current(start + DAY * 59).unwrap()));
    }

    #[test]
    fn a_chain_in_pem_is_read_with_its_key() {
        let made = Certificate::generate(DAY).unwrap();
        let (chain, key) = (made.chain[0].to_pem().unwrap(), made.key.private_key_to_pem_pkcs8().unwrap());
        let read = Certificate::from_pem(&chain, &key).unwrap();
        assert_eq!(read.fingerprint(HashFunction::Sha384), made.fingerprint(HashFunction::Sha384));
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let [made, other] = [(); 2].map(|()| Certificate::generate(DAY).unwrap());
        let chain = made.chain[0].to_pem().unwrap();
        let key = other.key.private_key_to_pem_pkcs8().unwrap();
        assert_eq!(Certificate::from_pem(&chain, &key).unwrap_err(), CertificateError::OtherKey);
        assert_eq!(Certificate::from_pem(b"", &key).unwrap_err(), CertificateError::Missing);
        assert!(matches!(Certificate::from_pem(&chain, b"").unwrap_err(), CertificateError::Key(_)));
        let cipher = openssl::symm::Cipher::aes_128_cbc();
        let encrypted = made.key.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").unwrap();
        assert!(matches!(Certificate::from_pem(&chain, &encrypted).unwrap_err(), CertificateError::Key(_)));
    }

    #[test]
    fn a_key_is_of_the_same_kind_whoever_reads_it() {
        let rsa = |bits| PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        let ec = |curve| {
            let group = EcGroup::from_curve_name(curve).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        };
        for (key, expected) in [
            (rsa(2048), Some(KeyKind::Rsa)),
            (rsa(1024), None),
            (ec(Nid::X9_62_PRIME256V1), Some(KeyKind::EcdsaP256)),
            (ec(Nid::SECP384R1), Some(KeyKind::EcdsaP384)),
            (ec(Nid::SECP521R1), None),
        ] {
            let certificate = self_signed(&key, DAY).unwrap().to_der().unwrap();
            assert_eq!((kind(&key), kind_of(&certificate)), (expected, expected));
        }
        assert_eq!(kind_of(b"no certificate"), None);
    }
}
