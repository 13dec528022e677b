//! The gateway's own certificates: which one new legs show, and those that older ones have shown.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sluice_keying::dtls_srtp::{
    Certificate, Certificates, DtlsError, Endpoint, Endpoints, Fingerprint, HashFunction, Settings, Versions,
};
use zeroize::Zeroizing;

use crate::config::{Dtls, DtlsVersion};

/// Certificates of before that are kept for the legs that have shown them.
const KEPT: usize = 8;

/// A certificate with what handshakes under it are like, by the fingerprint that names it.
pub(crate) struct Identity {
    name: String,
    fingerprints: Arc<[Fingerprint]>,
    pub(super) endpoint: Arc<Endpoint>,
}

impl Identity {
    fn new(endpoint: Arc<Endpoint>) -> Self {
        let fingerprint = endpoint.certificate().fingerprint(HashFunction::Sha256);
        Self { name: fingerprint.to_string(), fingerprints: Arc::new([fingerprint]), endpoint }
    }

    /// The fingerprint that names it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What peers are told.
    pub(crate) fn fingerprints(&self) -> &Arc<[Fingerprint]> {
        &self.fingerprints
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.name).finish()
    }
}

/// The certificates that there are.
pub(crate) struct OwnCertificates {
    endpoints: Endpoints,
    /// The newest last.
    all: RwLock<Vec<Arc<Identity>>>,
}

impl OwnCertificates {
    /// Reads the operator's, or makes one.
    pub(crate) fn open(config: &Dtls) -> Result<Self, String> {
        let now = Instant::now();
        let certificates = if let (Some(certificate), Some(key)) = (&config.certificate, &config.key) {
            let (chain, key) = (read(&certificate.0)?, Zeroizing::new(read(&key.0)?));
            let certificate = Certificate::from_pem(&chain, &key);
            let named = |error| format!("{}: {error}", key_and_chain(config));
            Certificates::own(certificate.map_err(named)?, now)
        } else {
            let every = Duration::from_secs(config.rotation_days.0 * 86_400);
            Certificates::generated(every, now).map_err(|error| error.to_string())?
        };
        let endpoints =
            Endpoints::new(settings(config), certificates, now).map_err(|error| error.to_string())?;
        Ok(Self { endpoints, all: RwLock::default() })
    }

    /// The certificate of new legs. One that has served for its time is followed by another.
    pub(crate) fn newest(&self) -> Result<Arc<Identity>, DtlsError> {
        let endpoint = self.endpoints.current(Instant::now())?;
        let is_newest = |all: &[Arc<Identity>]| {
            let newest = all.last();
            newest.filter(|newest| Arc::ptr_eq(&newest.endpoint, &endpoint)).cloned()
        };
        if let Some(identity) = is_newest(&self.all.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(identity);
        }
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = is_newest(&all) {
            return Ok(identity);
        }
        let made = Arc::new(Identity::new(endpoint));
        tracing::info!(fingerprint = made.name(), "the certificate of new legs in DTLS handshakes");
        if all.len() == KEPT {
            all.remove(0);
        }
        all.push(Arc::clone(&made));
        Ok(made)
    }

    /// The certificate of a name, of those that were shown lately.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Identity>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().find(|identity| identity.name.eq_ignore_ascii_case(name)).cloned()
    }
}

/// What the configuration says of handshakes.
fn settings(config: &Dtls) -> Settings {
    let speaks = |version| config.versions.contains(&version);
    Settings {
        versions: match (speaks(DtlsVersion::V1_2), speaks(DtlsVersion::V1_3)) {
            (true, false) => Versions::Dtls12,
            (false, true) => Versions::Dtls13,
            _ => Versions::Both,
        },
        pfs_only: config.pfs_only,
        fips_only: config.fips_only,
        resumption: config.resumption,
        mtu: config.mtu.0 as usize,
        handshake_timeout: Duration::from_secs(config.handshake_seconds.0),
        ..Settings::default()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn key_and_chain(config: &Dtls) -> String {
    let files = [&config.certificate, &config.key].into_iter().flatten();
    files.map(|file| file.0.display().to_string()).collect::<Vec<_>>().join(" and ")
}
