//! The gateway's own certificates: which one new legs show, and those that older ones have shown.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sluice_keying::dtls_srtp::{Certificate, Fingerprint, HashFunction};

use crate::config::Dtls;

/// Certificates of before that are kept for the legs that have shown them.
const KEPT: usize = 8;

/// A certificate, by the fingerprint that names it.
pub(crate) struct Identity {
    name: String,
    fingerprints: Vec<Fingerprint>,
    pub(super) certificate: Arc<Certificate>,
}

impl Identity {
    fn new(certificate: Certificate) -> Self {
        let fingerprints = vec![certificate.fingerprint(HashFunction::Sha256)];
        let name = fingerprints.first().map(ToString::to_string).unwrap_or_default();
        Self { name, fingerprints, certificate: Arc::new(certificate) }
    }

    /// The fingerprint that names it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What peers are told.
    pub(crate) fn fingerprints(&self) -> &[Fingerprint] {
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
    /// None: it is the operator's, and stays.
    rotation: Option<Duration>,
    /// The newest last.
    all: RwLock<Vec<(Arc<Identity>, Instant)>>,
}

impl OwnCertificates {
    /// Reads the operator's, or makes one.
    pub(crate) fn open(config: &Dtls) -> Result<Self, String> {
        let (certificate, rotation) = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => {
                let read = |path: &std::path::Path| {
                    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
                };
                let (chain, key) = (read(&certificate.0)?, zeroize::Zeroizing::new(read(&key.0)?));
                let certificate = Certificate::from_pem(&chain, &key);
                (certificate.map_err(|error| error.to_string())?, None)
            }
            _ => {
                let rotation = Duration::from_secs(config.rotation_days.0 * 86_400);
                (Certificate::generate().map_err(|error| error.to_string())?, Some(rotation))
            }
        };
        let all = RwLock::new(vec![(Arc::new(Identity::new(certificate)), Instant::now())]);
        Ok(Self { rotation, all })
    }

    /// The certificate of new legs. One that has served for its time is followed by another; should that not be made, it
    /// serves on.
    pub(crate) fn newest(&self) -> Option<Arc<Identity>> {
        let newest = |all: &Vec<(Arc<Identity>, Instant)>| all.last().cloned();
        let (identity, since) = newest(&self.all.read().unwrap_or_else(PoisonError::into_inner))?;
        let Some(rotation) = self.rotation.filter(|rotation| since.elapsed() >= *rotation) else {
            return Some(identity);
        };
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let (identity, since) = newest(&all)?;
        if since.elapsed() < rotation {
            return Some(identity);
        }
        match Certificate::generate() {
            Ok(certificate) => {
                let made = Arc::new(Identity::new(certificate));
                tracing::info!(fingerprint = made.name(), "new legs show another certificate");
                all.push((Arc::clone(&made), Instant::now()));
                if all.len() > KEPT {
                    all.remove(0);
                }
                Some(made)
            }
            Err(error) => {
                tracing::error!(%error, "cannot make another certificate: the one before serves on");
                Some(identity)
            }
        }
    }

    /// The certificate of a name; an empty one: that of new legs.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Identity>> {
        if name.is_empty() {
            return self.newest();
        }
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().rev().find(|(identity, _)| identity.name.eq_ignore_ascii_case(name));
        found.map(|(identity, _)| Arc::clone(identity))
    }
}
