//! What the gateway brings to every handshake.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::engine::{Dimpls, Openssls};
use super::{Certificate, Certificates, DtlsError, Settings};

/// A certificate and settings, made ready for any number of associations.
pub struct Endpoint {
    settings: Settings,
    certificate: Arc<Certificate>,
    pub(super) openssl: Option<Openssls>,
    pub(super) dimpl: Option<Dimpls>,
}

impl Endpoint {
    /// Makes it ready.
    ///
    /// # Errors
    /// [`DtlsError::Settings`] or [`DtlsError::FipsUnavailable`] if what is asked for cannot be had, [`DtlsError::Library`] if
    /// a library does not take the certificate.
    pub fn new(settings: Settings, certificate: Arc<Certificate>) -> Result<Self, DtlsError> {
        settings.check()?;
        let openssl =
            settings.versions.dtls12().then(|| Openssls::new(&settings, &certificate)).transpose()?;
        // DTLS 1.3 is not OpenSSL's FIPS provider's, and dimpl signs with ECDSA alone.
        let dimpl = settings.versions.dtls13() && !settings.fips_only && Dimpls::can_use(&certificate);
        if openssl.is_none() && !dimpl {
            return Err(DtlsError::Settings("DTLS 1.3 alone wants an ECDSA certificate"));
        }
        let dimpl = dimpl.then(|| Dimpls::new(&settings, &certificate)).transpose()?;
        Ok(Self { settings, certificate, openssl, dimpl })
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its certificate, whose fingerprints are to be signalled.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Endpoint");
        debug
            .field("settings", &self.settings)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Endpoints of the same settings, whose certificate is replaced in time. Sessions are not resumed beyond that.
#[derive(Debug)]
pub struct Endpoints {
    settings: Settings,
    certificates: Certificates,
    current: Mutex<Arc<Endpoint>>,
}

impl Endpoints {
    /// Makes the first one ready.
    ///
    /// # Errors
    /// Those of [`Endpoint::new`].
    pub fn new(settings: Settings, certificates: Certificates, now: Instant) -> Result<Self, DtlsError> {
        let endpoint = Endpoint::new(settings.clone(), certificates.current(now)?)?;
        Ok(Self { settings, certificates, current: Mutex::new(Arc::new(endpoint)) })
    }

    /// The one for an association that begins now. Whoever signals its certificate keeps it for the handshake.
    ///
    /// # Errors
    /// [`DtlsError::Certificate`] if it is time for another certificate, and none can be made.
    pub fn current(&self, now: Instant) -> Result<Arc<Endpoint>, DtlsError> {
        let certificate = self.certificates.current(now)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current.certificate, &certificate) {
            *current = Arc::new(Endpoint::new(self.settings.clone(), certificate)?);
        }
        Ok(Arc::clone(&current))
    }
}
