//! How handshakes are made: one set of choices for each certificate and list of suites.

use std::sync::Arc;

use sluice_keying::dtls_srtp::{DtlsError, Sessions, Settings, Versions};
use sluice_srtp::Suite;

use super::identity::Identity;
use crate::config::{Dtls, DtlsVersion};

/// Sets that are kept: policies have few lists of suites.
const KEPT: usize = 64;

/// The sets that there are.
pub(super) struct AllSettings {
    config: Dtls,
    /// Suites of legs that name none.
    usual: Vec<Suite>,
    sessions: Option<Arc<Sessions>>,
    made: Vec<(String, Vec<Suite>, Arc<Settings>)>,
}

impl AllSettings {
    pub(super) fn new(config: Dtls, usual: Vec<Suite>, sessions: Option<Arc<Sessions>>) -> Self {
        Self { config, usual, sessions, made: Vec::new() }
    }

    /// The choices for legs that show this certificate and take these suites.
    pub(super) fn of(&mut self, identity: &Identity, suites: &[Suite]) -> Result<Arc<Settings>, DtlsError> {
        let suites = if suites.is_empty() { &self.usual } else { suites };
        let is_it = |(name, of, _): &&(String, Vec<Suite>, Arc<Settings>)| name == identity.name() && of == suites;
        if let Some((_, _, settings)) = self.made.iter().find(is_it) {
            return Ok(Arc::clone(settings));
        }
        let settings = Arc::new(self.make(identity, suites)?);
        if self.made.len() == KEPT {
            self.made.remove(0);
        }
        self.made.push((identity.name().to_owned(), suites.to_vec(), Arc::clone(&settings)));
        Ok(settings)
    }

    fn make(&self, identity: &Identity, suites: &[Suite]) -> Result<Settings, DtlsError> {
        let speaks = |version| self.config.versions.contains(&version);
        Ok(Settings {
            certificate: Arc::clone(&identity.certificate),
            versions: Versions { v1_2: speaks(DtlsVersion::V1_2), v1_3: speaks(DtlsVersion::V1_3) },
            suites: suites.to_vec(),
            pfs_only: self.config.pfs_only,
            fips_only: self.config.fips_only,
            mtu: self.config.mtu.0 as usize,
            resumption: self.sessions.clone(),
        })
    }
}
