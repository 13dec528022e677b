//! DTLS 1.3, which OpenSSL has not: dimpl.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::dimpl::crypto::rust_crypto;
use ::dimpl::{Config, Dtls, DtlsCertificate, Error, Output, ProtocolVersion, SrtpProfile, TimeoutError};
use sluice_srtp::Suite;
use zeroize::Zeroizing;

use super::{Engine, Established, Outcome, Step};
use crate::dtls_srtp::wire::{self, SERVER_HELLO};
use crate::dtls_srtp::{Certificate, DtlsError, Fingerprint, KeyKind, PeerDtls, Settings, Version};

/// Configurations that connections are made from.
pub(in crate::dtls_srtp) struct Dimpls {
    certificate: DtlsCertificate,
    plain: Arc<Config>,
    cookie: Arc<Config>,
    hybrid: Arc<Config>,
}

/// Who begins, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dtls_srtp) enum Opens {
    /// A client that offers 1.3.
    Client,
    /// A client that offers 1.3 and 1.2.
    HybridClient,
    /// The peer, who has shown that it receives.
    Server,
    /// The peer, who is asked by a `HelloRetryRequest` to show it.
    ServerWithCookie,
}

impl Dimpls {
    /// Whether it can sign with a certificate's key.
    pub(in crate::dtls_srtp) fn can_use(certificate: &Certificate) -> bool {
        certificate.kind() != KeyKind::Rsa
    }

    pub(in crate::dtls_srtp) fn new(
        settings: &Settings,
        certificate: &Certificate,
    ) -> Result<Self, DtlsError> {
        let config = |cookie: bool, hybrid: bool| {
            let mut config = Config::builder()
                .with_crypto_provider(rust_crypto::default_provider())
                .mtu(settings.mtu)
                .flight_start_rto(settings.first_timeout)
                .flight_retries(MAX_RETRIES)
                .handshake_timeout(settings.handshake_timeout)
                .max_queue_rx(MAX_QUEUE)
                .use_server_cookie(cookie);
            if !hybrid {
                config = config.dtls12_cipher_suites(&[]);
            }
            config.build().map(Arc::new).map_err(|error| DtlsError::Library(error.to_string()))
        };
        let key = certificate.key_der().to_vec();
        Ok(Self {
            certificate: DtlsCertificate { certificate: certificate.der().to_vec(), private_key: key },
            plain: config(false, false)?,
            cookie: config(true, false)?,
            hybrid: config(false, true)?,
        })
    }

    /// A connection; a client's `ClientHello` is in the outcome.
    pub(in crate::dtls_srtp) fn open(
        &self,
        opens: Opens,
        now: Instant,
        outcome: &mut Outcome,
    ) -> Box<dyn Engine> {
        let certificate = self.certificate.clone();
        let mut dtls = match opens {
            Opens::HybridClient => Dtls::new_auto(Arc::clone(&self.hybrid), certificate, now),
            Opens::ServerWithCookie => Dtls::new_13(Arc::clone(&self.cookie), certificate, now),
            Opens::Client | Opens::Server => Dtls::new_13(Arc::clone(&self.plain), certificate, now),
        };
        if matches!(opens, Opens::Client | Opens::HybridClient) {
            dtls.set_active(true);
        }
        let mut dimpl = Dimpl {
            dtls,
            timer: None,
            over: false,
            buffer: vec![0; 2048],
            cipher: None,
            profile: None,
            connected: false,
            established: false,
            now,
            pause: LEAST_PAUSE,
        };
        dimpl.advance(now, outcome);
        Box::new(dimpl)
    }
}

/// A flight is sent again so often at most; the handshake's time is over sooner.
const MAX_RETRIES: usize = 16;

/// How long it has to wait at least if it wants to go on at once.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// Datagrams that are kept until they can be read.
const MAX_QUEUE: usize = 30;

struct Dimpl {
    dtls: Dtls,
    timer: Option<Instant>,
    over: bool,
    buffer: Vec<u8>,
    /// What the server chose.
    cipher: Option<u16>,
    /// What was exported, until the handshake is through.
    profile: Option<(Suite, Zeroizing<Vec<u8>>)>,
    connected: bool,
    established: bool,
    now: Instant,
    /// How long it has to wait if it wants to go on at once.
    pause: Duration,
}

impl Engine for Dimpl {
    fn receive(&mut self, now: Instant, datagram: &[u8], outcome: &mut Outcome) {
        self.advance(now, outcome);
        if self.over {
            return;
        }
        self.note_cipher(datagram);
        match self.dtls.handle_packet(datagram) {
            Ok(()) => self.collect(outcome),
            Err(error) => self.fail(&error, outcome),
        }
    }

    fn timeout(&mut self, now: Instant, outcome: &mut Outcome) {
        self.advance(now, outcome);
    }

    fn close(&mut self, now: Instant, outcome: &mut Outcome) {
        self.advance(now, outcome);
        if !self.over && self.dtls.close().is_ok() {
            self.collect(outcome);
        }
        self.over = true;
        self.timer = None;
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.timer
    }

    /// It has no way to refuse a certificate with an alert.
    fn set_peer(&mut self, _: &PeerDtls) {}

    /// It resumes nothing.
    fn remember(&mut self, _: &Fingerprint, _: Instant) {}
}

impl Dimpl {
    fn advance(&mut self, now: Instant, outcome: &mut Outcome) {
        if self.over {
            return;
        }
        self.now = now;
        match self.dtls.handle_timeout(now) {
            Ok(()) => self.collect(outcome),
            Err(error) => self.fail(&error, outcome),
        }
    }

    fn collect(&mut self, outcome: &mut Outcome) {
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(datagram) => {
                    self.note_cipher(datagram);
                    outcome.datagrams.push(datagram.to_vec());
                }
                Output::BufferTooSmall { needed } if needed <= wire::MAX_MESSAGE => buffer.resize(needed, 0),
                Output::PeerCert(certificate) => {
                    outcome.steps.push(Step::PeerCertificate(certificate.to_vec()));
                }
                Output::KeyingMaterial(material, chosen) => {
                    let material = Zeroizing::new(material.to_vec());
                    self.profile = suite(chosen).map(|suite| (suite, material));
                    self.establish(outcome);
                }
                Output::Connected => self.connected = true,
                Output::CloseNotify => {
                    let _ = self.dtls.close();
                    outcome.steps.push(Step::Closed);
                }
                Output::Timeout(at) => {
                    self.timer = Some(self.no_sooner_than(at));
                    if self.connected && !self.established {
                        // The peer has taken no profile.
                        self.over = true;
                        outcome.steps.push(Step::Failed(DtlsError::NoCommonProfile(String::new())));
                    }
                    break;
                }
                Output::BufferTooSmall { .. } => break,
                _ => {}
            }
        }
        self.buffer = buffer;
    }

    /// When to come back, if it says when. Some of what a peer may send has it send the same again at once, without end: it
    /// is made to wait, twice as long each time.
    fn no_sooner_than(&mut self, at: Instant) -> Instant {
        if at > self.now {
            self.pause = LEAST_PAUSE;
            return at;
        }
        let at = self.now + self.pause;
        self.pause = (self.pause * 2).min(Duration::from_mins(1));
        at
    }

    fn establish(&mut self, outcome: &mut Outcome) {
        let Some((suite, material)) = self.profile.take() else {
            outcome.steps.push(Step::Failed(DtlsError::WrongProfile));
            return;
        };
        self.established = true;
        outcome.steps.push(Step::Established(Box::new(Established {
            version: self.version(),
            cipher: self.cipher.map(cipher_name).unwrap_or_default(),
            suite,
            material,
            resumed: false,
            forward_secret: true,
        })));
    }

    fn version(&self) -> Version {
        match self.dtls.protocol_version() {
            Some(ProtocolVersion::DTLS1_2) => Version::Dtls12,
            _ => Version::Dtls13,
        }
    }

    /// Reads the cipher suite off a `ServerHello`, which it does not tell.
    fn note_cipher(&mut self, datagram: &[u8]) {
        for record in wire::records(datagram).unwrap_or_default() {
            for fragment in record.fragments().unwrap_or_default() {
                if fragment.message == SERVER_HELLO && fragment.offset == 0 {
                    self.cipher = server_cipher(fragment.bytes).or(self.cipher);
                }
            }
        }
    }

    fn fail(&mut self, error: &Error, outcome: &mut Outcome) {
        self.over = true;
        self.timer = None;
        let step = match error {
            Error::ConnectionClosed => Step::Closed,
            Error::Timeout(TimeoutError::Handshake | TimeoutError::Connect) => {
                Step::Failed(DtlsError::TimedOut("the peer fell silent"))
            }
            Error::CertificateError(::dimpl::CertificateError::NoClientCertificateReceived) => {
                Step::Failed(DtlsError::NoPeerCertificate)
            }
            error => {
                Step::Failed(DtlsError::Handshake { version: self.version(), reason: error.to_string() })
            }
        };
        outcome.steps.push(step);
    }
}

/// Behind version, random and session identifier.
fn server_cipher(hello: &[u8]) -> Option<u16> {
    let session_id = usize::from(*hello.get(34)?);
    hello.get(35 + session_id..37 + session_id).map(|cipher| wire::number(cipher) as u16)
}

fn cipher_name(number: u16) -> String {
    let name = match number {
        0x1301 => "TLS_AES_128_GCM_SHA256",
        0x1302 => "TLS_AES_256_GCM_SHA384",
        0x1303 => "TLS_CHACHA20_POLY1305_SHA256",
        0xc02b => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        0xc02c => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        0xcca9 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        _ => return format!("{number:#06x}"),
    };
    name.to_owned()
}

fn suite(profile: SrtpProfile) -> Option<Suite> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(Suite::AesCm128HmacSha1_80),
        SrtpProfile::AEAD_AES_128_GCM => Some(Suite::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Suite::AeadAes256Gcm),
        _ => None,
    }
}
