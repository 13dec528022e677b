//! Handshakes and connectivity checks in the media path.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{AbsolutePath, Bounded, MediaAddress};

/// `[dtls]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dtls {
    /// The gateway's certificate chain, PEM; none: certificates that it makes and signs itself.
    pub certificate: Option<AbsolutePath>,
    /// Its private key, PEM.
    pub key: Option<AbsolutePath>,
    /// After so many days new legs get another certificate, where the gateway makes them.
    pub rotation_days: Bounded<1, 3_650>,
    /// Which versions are spoken.
    pub versions: Vec<DtlsVersion>,
    /// Whether a peer that was here before may take up its session. A session lasts for as long as the gateway keeps it.
    pub resumption: bool,
    /// Only what keeps keys from whoever gets the certificates later (R-PFS).
    pub pfs_only: bool,
    /// Only what FIPS 140-3 approves.
    pub fips_only: bool,
    /// The largest datagram of a handshake.
    pub mtu: Bounded<256, 16_384>,
    /// Threads that handshakes and checks run on.
    pub threads: Bounded<1, 64>,
    /// Handshakes that peers may begin in a second.
    pub handshakes_per_second: Bounded<1, 1_000_000>,
    /// Of them, those that one address may; of IPv6 one network of 64 bits.
    pub handshakes_per_source: Bounded<1, 1_000_000>,
    /// Handshakes that have begun and not ended at a time.
    pub half_open: Bounded<1, 1_000_000>,
    /// A handshake that takes longer has failed.
    pub handshake_seconds: Bounded<1, 3_600>,
}

impl Default for Dtls {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            rotation_days: Bounded(30),
            versions: vec![DtlsVersion::V1_2, DtlsVersion::V1_3],
            resumption: true,
            pfs_only: true,
            fips_only: false,
            mtu: Bounded(1_200),
            threads: Bounded(1),
            handshakes_per_second: Bounded(1_000),
            handshakes_per_source: Bounded(200),
            half_open: Bounded(4_096),
            handshake_seconds: Bounded(30),
        }
    }
}

impl Dtls {
    /// What is wrong with it as a whole, if anything is.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.certificate.is_some() != self.key.is_some() {
            return Some("dtls.certificate and dtls.key go together: give both, or neither");
        }
        if self.versions.is_empty() {
            return Some("dtls.versions is empty: name \"1.2\", \"1.3\" or both, or leave it out");
        }
        None
    }
}

/// A version of DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum DtlsVersion {
    /// RFC 6347.
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 9147.
    #[serde(rename = "1.3")]
    V1_3,
}

/// `[ice]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ice {
    /// By which address each local one is reached from outside, behind a NAT that maps one to one and keeps ports.
    pub external: BTreeMap<MediaAddress, MediaAddress>,
}
