//! What the gateway puts up with in a handshake.

use std::time::Duration;

use super::DtlsError;

/// Versions of DTLS that are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// DTLS 1.2 alone.
    Dtls12,
    /// DTLS 1.3 alone. Peers with RSA certificates cannot be spoken to.
    Dtls13,
    /// Both. A server speaks 1.3 if the client offers it and can verify the gateway's certificate; a client offers 1.2, which
    /// every peer knows and which takes certificates of any kind, unless [`Settings::client_offers_dtls13`].
    #[default]
    Both,
}

impl Versions {
    /// Whether DTLS 1.2 may be spoken.
    pub const fn dtls12(self) -> bool {
        !matches!(self, Self::Dtls13)
    }

    /// Whether DTLS 1.3 may be spoken.
    pub const fn dtls13(self) -> bool {
        !matches!(self, Self::Dtls12)
    }
}

/// What the gateway puts up with in a handshake: the same for every association of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Versions of DTLS.
    pub versions: Versions,
    /// With [`Versions::Both`], whether a client offers 1.3 and 1.2 in one `ClientHello`. It then takes ECDSA certificates
    /// only, in either version.
    pub client_offers_dtls13: bool,
    /// Whether cipher suites without forward secrecy are left out (R-PFS).
    pub pfs_only: bool,
    /// Whether only what FIPS 140 approves is used, in OpenSSL's FIPS provider: DTLS 1.2 then.
    pub fips_only: bool,
    /// Whether sessions are resumed: as a server by tickets, which keep nothing here, as a client by what was kept. DTLS 1.2
    /// only.
    pub resumption: bool,
    /// Octets of the largest datagram that a handshake sends, without UDP and IP.
    pub mtu: usize,
    /// How long a flight is waited for before it is sent again, at first; it doubles each time.
    pub first_timeout: Duration,
    /// How long a handshake may take from its first `ClientHello`.
    pub handshake_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            versions: Versions::default(),
            client_offers_dtls13: false,
            pfs_only: true,
            fips_only: false,
            resumption: false,
            // Fits IPv6's least MTU of 1280 behind UDP and a tunnel.
            mtu: 1200,
            // "It is RECOMMENDED that for DTLS-SRTP, a default timeout of 400 ms be used" (RFC 9147 section 5.8.2).
            first_timeout: Duration::from_millis(400),
            handshake_timeout: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// Refuses what cannot be had together.
    pub(super) fn check(&self) -> Result<(), DtlsError> {
        let least = Duration::from_millis(20);
        if !(296..=16_384).contains(&self.mtu) {
            return Err(DtlsError::Settings("the MTU is to be between 296 and 16384 octets"));
        }
        if self.first_timeout < least || self.first_timeout > Duration::from_mins(1) {
            return Err(DtlsError::Settings("the first timeout is to be between 20 ms and a minute"));
        }
        if self.handshake_timeout < self.first_timeout || self.handshake_timeout > Duration::from_hours(1) {
            return Err(DtlsError::Settings(
                "the handshake timeout is to be between the first timeout and an hour",
            ));
        }
        if self.fips_only && !self.versions.dtls12() {
            return Err(DtlsError::Settings("fips_only has DTLS 1.2 alone, which is not among the versions"));
        }
        Ok(())
    }
}
