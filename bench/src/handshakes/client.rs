//! Clients of handshakes: OpenSSL in DTLS 1.2, and dimpl in 1.3, which the packaged OpenSSL does not speak.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    ErrorCode, ShutdownState, Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::{X509, X509Name};
use sluice_keying::dtls_srtp::{
    Association, Certificate as Own, Endpoint, Event, Fingerprint, HashFunction, Output, PeerDtls, Role,
    Settings, Versions,
};
use sluice_openssl_dtls::Resumable;
use sluice_srtp::Suite;

/// The suite of media, and its protection profile as OpenSSL calls it.
pub const SUITE: Suite = Suite::AesCm128HmacSha1_80;
/// See [`SUITE`].
pub const PROFILE: &str = "SRTP_AES128_CM_SHA1_80";
/// What legs may agree on: dimpl's first profile, without which they do not speak DTLS 1.3, and [`SUITE`].
pub const SUITES: [Suite; 2] = [Suite::AeadAes256Gcm, SUITE];
/// What is offered in DTLS 1.2, alone: all servers speak the same then. A browser prefers it with a P-256 certificate.
pub const CIPHER: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";
/// The group of the key exchange, and behind it the certificates' curve, without which none of them could be shown (RFC 8422
/// section 5.1).
pub const GROUPS: &str = "X25519:P-256";
/// Octets of the largest datagram, of all servers.
pub const MTU: u32 = 1200;
/// The label of exported keys (RFC 5764 section 4.2).
pub const EXPORTER: &str = "EXTRACTOR-dtls_srtp";
/// Octets of them: two keys of 16 and two salts of 14.
pub const EXPORTED: usize = 60;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a datagram is waited for before timers are looked at.
const WAIT: Duration = Duration::from_millis(100);

/// An ECDSA certificate on P-256 that signs itself, and its key.
pub struct Certificate {
    certificate: X509,
    key: PKey<Private>,
}

impl Certificate {
    /// Makes one.
    pub fn generate() -> Result<Self> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let mut name = X509Name::builder()?;
        name.append_entry_by_nid(Nid::COMMONNAME, "bench")?;
        let name = name.build();
        let mut serial = BigNum::new()?;
        serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
        let mut certificate = X509::builder()?;
        certificate.set_version(2)?;
        certificate.set_serial_number(&*serial.to_asn1_integer()?)?;
        certificate.set_subject_name(&name)?;
        certificate.set_issuer_name(&name)?;
        certificate.set_not_before(&*Asn1Time::days_from_now(0)?)?;
        certificate.set_not_after(&*Asn1Time::days_from_now(30)?)?;
        certificate.set_pubkey(&key)?;
        certificate.sign(&key, MessageDigest::sha256())?;
        Ok(Self { certificate: certificate.build(), key })
    }

    /// Its hash.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Ok(Fingerprint::of(HashFunction::Sha256, &self.certificate.to_der()?))
    }

    /// Writes certificate and key to a directory; their paths.
    pub fn write(&self, directory: &Path) -> Result<[PathBuf; 2]> {
        let files = ["certificate.pem", "key.pem"].map(|name| directory.join(name));
        fs::write(&files[0], self.certificate.to_pem()?)?;
        fs::write(&files[1], self.key.private_key_to_pem_pkcs8()?)?;
        Ok(files)
    }

    fn endpoint(&self, settings: Settings) -> Result<Arc<Endpoint>> {
        let (chain, key) = (self.certificate.to_pem()?, self.key.private_key_to_pem_pkcs8()?);
        Ok(Arc::new(Endpoint::new(settings, Arc::new(Own::from_pem(&chain, &key)?))?))
    }
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// DTLS 1.2, by OpenSSL.
    Dtls12,
    /// DTLS 1.3, by dimpl.
    Dtls13,
}

impl Protocol {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dtls12 => "DTLS 1.2",
            Self::Dtls13 => "DTLS 1.3",
        }
    }
}

/// Who begins handshakes: any number, on any thread.
pub struct Client {
    fingerprint: String,
    context: SslContext,
    endpoint: Arc<Endpoint>,
}

/// What a handshake came to. The socket stays open as long as this.
pub struct Shaken {
    socket: Arc<UdpSocket>,
    stream: Option<SslStream<Wire>>,
    /// Whether a session of before was resumed.
    pub resumed: bool,
    /// Keys as exported: what the client writes with, what the server does, the client's salt, the server's.
    pub exported: Vec<u8>,
}

impl Client {
    /// With a certificate of its own.
    pub fn new() -> Result<Self> {
        let certificate = Certificate::generate()?;
        let settings = Settings { versions: Versions::Dtls13, ..Settings::default() };
        let mut context = SslContext::builder(SslMethod::dtls())?;
        context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
        context.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
        context.set_certificate(&certificate.certificate)?;
        context.set_private_key(&certificate.key)?;
        context.set_cipher_list(CIPHER)?;
        context.set_groups_list(GROUPS)?;
        context.set_tlsext_use_srtp(PROFILE)?;
        // It is held against the fingerprint, and signed by nobody.
        context.set_verify(SslVerifyMode::NONE);
        context.set_options(SslOptions::NO_QUERY_MTU);
        Ok(Self {
            fingerprint: certificate.fingerprint()?.to_string(),
            context: context.build(),
            endpoint: certificate.endpoint(settings)?,
        })
    }

    /// Of its certificate, as signalling has it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Makes a handshake on a connected socket with who has this fingerprint, and a full one unless there is a session.
    pub fn shake(
        &self,
        protocol: Protocol,
        socket: UdpSocket,
        server: &Fingerprint,
        session: Option<&Resumable>,
    ) -> Result<Shaken> {
        socket.set_read_timeout(Some(WAIT))?;
        let socket = Arc::new(socket);
        match protocol {
            Protocol::Dtls12 => self.openssl(socket, server, session),
            Protocol::Dtls13 => self.dimpl(socket, server),
        }
    }

    fn openssl(
        &self,
        socket: Arc<UdpSocket>,
        server: &Fingerprint,
        session: Option<&Resumable>,
    ) -> Result<Shaken> {
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_mtu(MTU)?;
        if let Some(session) = session {
            session.resume(&mut ssl).map_err(|error| anyhow!("a session is not taken: {error:?}"))?;
        }
        ssl.set_connect_state();
        let mut stream = SslStream::new(ssl, Wire(Arc::clone(&socket)))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match stream.do_handshake() {
                Ok(()) => break,
                // It looks at its timers when it is asked again.
                Err(error) if error.code() == ErrorCode::WANT_READ && Instant::now() < until => {}
                Err(error) if error.code() == ErrorCode::WANT_READ => bail!("no answer in {PATIENCE:?}"),
                Err(error) => return Err(error.into()),
            }
        }
        let ssl = stream.ssl();
        let shown = ssl.peer_certificate().context("the server has no certificate")?.to_der()?;
        ensure!(server.matches(&shown), "the server shows a certificate that is not its own");
        ensure!(ssl.selected_srtp_profile().is_some_and(|profile| profile.name() == PROFILE), "no {PROFILE}");
        let mut exported = vec![0; EXPORTED];
        ssl.export_keying_material(&mut exported, EXPORTER, None)?;
        let resumed = ssl.session_reused();
        Ok(Shaken { socket, stream: Some(stream), resumed, exported })
    }

    fn dimpl(&self, socket: Arc<UdpSocket>, server: &Fingerprint) -> Result<Shaken> {
        let start = Instant::now();
        let peer = PeerDtls { fingerprints: vec![server.clone()], tls_id: None };
        let mut association = Association::new(&self.endpoint, Role::Client, &SUITES, Some(&peer), start)?;
        let mut exported = None;
        let mut buffer = [0; 2048];
        loop {
            match association.poll() {
                Output::Transmit(datagram) => drop(socket.send(&datagram)?),
                Output::Event(Event::Keys(keys)) => {
                    let (client, server) = (&keys.outbound.key_salt, &keys.inbound.key_salt);
                    let length = keys.suite.key_len();
                    let (client, server) = (client.split_at(length), server.split_at(length));
                    exported = Some([client.0, server.0, client.1, server.1].concat());
                }
                Output::Event(Event::Refused(error) | Event::Failed(error)) => return Err(error.into()),
                Output::Event(Event::Closed) => bail!("the server closed it"),
                Output::Event(Event::Progress(_) | Event::PeerCertificate { .. }) => {}
                Output::Timeout(_) => {
                    // Its last flight is out by now.
                    if let Some(exported) = exported {
                        return Ok(Shaken { socket, stream: None, resumed: false, exported });
                    }
                    ensure!(start.elapsed() < PATIENCE, "no answer in {PATIENCE:?}");
                    match socket.recv(&mut buffer) {
                        // One that it leaves alone may be of another's.
                        Ok(length) => drop(association.handle_datagram(Instant::now(), &buffer[..length])),
                        Err(error) if is_timeout(&error) => association.handle_timeout(Instant::now()),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }
}

impl Shaken {
    /// What a later handshake may take up.
    pub fn session(&self) -> Option<Resumable> {
        Resumable::of(self.stream.as_ref()?.ssl())
    }

    /// Closes the association, and waits until the server has.
    pub fn close(mut self) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let until = Instant::now() + PATIENCE;
        while !stream.get_shutdown().contains(ShutdownState::SENT | ShutdownState::RECEIVED) {
            match stream.shutdown() {
                Ok(_) => {}
                Err(error) if error.code() == ErrorCode::WANT_READ => {}
                Err(error) => return Err(error.into()),
            }
            ensure!(Instant::now() < until, "the server does not close");
        }
        Ok(())
    }

    /// Leaves the association to itself; its socket, which the server may yet send to.
    pub fn leave(mut self) -> Arc<UdpSocket> {
        if let Some(stream) = &mut self.stream {
            // One that is dropped otherwise spoils its session.
            stream.set_shutdown(ShutdownState::SENT | ShutdownState::RECEIVED);
        }
        self.socket
    }
}

/// A socket as OpenSSL reads and writes it.
struct Wire(Arc<UdpSocket>);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer).map_err(
            |error| {
                if is_timeout(&error) { ErrorKind::WouldBlock.into() } else { error }
            },
        )
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.0.send(datagram)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
