//! DTLS 1.2 with certificates of any kind, resumption and the FIPS provider: OpenSSL.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::md::Md;
use openssl::ssl::{
    Error, ErrorCode, ShutdownState, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions,
    SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::{X509StoreContextRef, X509VerifyResult};
use sluice_openssl_dtls::{Backoff, Resumable};
use sluice_srtp::Suite;
use zeroize::Zeroizing;

use super::sessions::Sessions;
use super::{Engine, Established, Outcome, Step};
use crate::dtls_srtp::wire::{self, CLIENT_HELLO, DTLS_1_0};
use crate::dtls_srtp::{
    Alert, Certificate, DtlsError, Fingerprint, PeerDtls, Role, Settings, Version, keys, profile,
};

/// Contexts that connections are made from. One that comes after a cookie differs in an option, which connections do not
/// have for themselves.
pub(in crate::dtls_srtp) struct Openssls {
    client: SslContext,
    server: SslContext,
    server_after_cookie: SslContext,
    sessions: Option<Sessions>,
    mtu: u32,
    backoff: Backoff,
}

/// Octets by which OpenSSL exceeds the MTU at most, where a rest of a message is smaller than its header.
const OVERSHOOT: usize = 32;

/// How a `ClientHello` that brought a valid cookie is continued.
#[derive(Clone, Copy)]
pub(in crate::dtls_srtp) struct AfterCookie {
    /// The sequence number of its record: "the server MUST use the record sequence number in the ClientHello as the record
    /// sequence number in the initial ServerHello" (RFC 6347 section 4.2.1).
    pub(in crate::dtls_srtp) sequence: u64,
    /// Its random.
    pub(in crate::dtls_srtp) random: [u8; 32],
}

/// Whether OpenSSL has the profile of a suite.
pub(in crate::dtls_srtp) fn openssl_knows(suite: Suite) -> bool {
    static KNOWN: OnceLock<Vec<Suite>> = OnceLock::new();
    let known = |suite: &Suite| {
        let Some(name) = profile::openssl_name(*suite) else { return false };
        let context = SslContext::builder(SslMethod::dtls());
        context.is_ok_and(|mut context| context.set_tlsext_use_srtp(name).is_ok())
    };
    KNOWN.get_or_init(|| profile::OFFERED.into_iter().filter(known).collect()).contains(&suite)
}

impl Openssls {
    pub(in crate::dtls_srtp) fn new(
        settings: &Settings,
        certificate: &Certificate,
    ) -> Result<Self, DtlsError> {
        if settings.fips_only {
            check_fips()?;
        }
        let build = |cookie: bool| context(settings, certificate, cookie).map_err(|error| library(&error));
        Ok(Self {
            client: build(false)?,
            server: build(false)?,
            server_after_cookie: build(true)?,
            sessions: settings.resumption.then(Sessions::default),
            mtu: (settings.mtu - OVERSHOOT) as u32,
            backoff: Backoff { first: settings.first_timeout, longest: Duration::from_mins(1) },
        })
    }

    /// A client, whose `ClientHello` is in the outcome.
    pub(in crate::dtls_srtp) fn client(
        &self,
        suites: &[Suite],
        peer: Option<&PeerDtls>,
        now: Instant,
        outcome: &mut Outcome,
    ) -> Result<Box<dyn Engine>, DtlsError> {
        let resumed = self.sessions.as_ref().zip(peer).and_then(|(sessions, peer)| sessions.take(peer, now));
        let mut openssl = self.connection(&self.client, Role::Client, suites, peer, resumed.as_ref())?;
        openssl.drive(now, outcome);
        Ok(Box::new(openssl))
    }

    /// A server, which waits for the `ClientHello`.
    pub(in crate::dtls_srtp) fn server(
        &self,
        suites: &[Suite],
        peer: Option<&PeerDtls>,
        cookie: Option<AfterCookie>,
        now: Instant,
    ) -> Result<Box<dyn Engine>, DtlsError> {
        let Some(cookie) = cookie else {
            return Ok(Box::new(self.connection(&self.server, Role::Server, suites, peer, None)?));
        };
        let mut openssl = self.connection(&self.server_after_cookie, Role::Server, suites, peer, None)?;
        openssl.ask_for_cookie(&cookie, now);
        Ok(Box::new(openssl))
    }

    fn connection(
        &self,
        context: &SslContext,
        role: Role,
        suites: &[Suite],
        peer: Option<&PeerDtls>,
        resumed: Option<&Resumable>,
    ) -> Result<Openssl, DtlsError> {
        let peer = Arc::new(Mutex::new(Vouched { peer: peer.cloned(), refused: None }));
        let make = || -> Result<SslStream<Datagrams>, ErrorStack> {
            let mut ssl = Ssl::new(context)?;
            ssl.set_tlsext_use_srtp(&profiles(suites))?;
            ssl.set_mtu(self.mtu)?;
            let vouched = Arc::clone(&peer);
            ssl.set_verify_callback(VERIFY, move |_, store| verify(&vouched, store));
            sluice_openssl_dtls::set_backoff(&mut ssl, self.backoff).map_err(|error| error.0)?;
            match role {
                Role::Client => ssl.set_connect_state(),
                Role::Server => ssl.set_accept_state(),
            }
            if let Some(session) = resumed {
                // One that is refused is one that is not resumed.
                let _ = session.resume(&mut ssl);
            }
            SslStream::new(ssl, Datagrams::default())
        };
        let stream = make().map_err(|error| library(&error))?;
        let sessions = self.sessions.clone().filter(|_| role == Role::Client);
        Ok(Openssl {
            stream,
            peer,
            sessions,
            handshaken: false,
            over: false,
            early: 0,
            timer: None,
            sequences: 0,
        })
    }
}

struct Openssl {
    stream: SslStream<Datagrams>,
    peer: Arc<Mutex<Vouched>>,
    sessions: Option<Sessions>,
    handshaken: bool,
    over: bool,
    /// Protected records that came before there were keys to read them with.
    early: u8,
    timer: Option<Instant>,
    /// What is added to the sequence numbers of unprotected records.
    sequences: u64,
}

/// Protected records that are let through before the end of the handshake. OpenSSL keeps those that come too early, with
/// 17 KB for each; a peer that sends its last flight again does so less often than this within any handshake's time.
const MAX_EARLY: u8 = 16;

impl Engine for Openssl {
    fn receive(&mut self, now: Instant, datagram: &[u8], outcome: &mut Outcome) {
        if !self.handshaken {
            let protected = wire::records(datagram)
                .map_or(0, |records| records.iter().filter(|record| record.epoch > 0).count());
            self.early = self.early.saturating_add(protected as u8);
            if self.early > MAX_EARLY && protected > 0 {
                return;
            }
        }
        self.stream.get_mut().inbound.push_back(datagram.to_vec());
        self.drive(now, outcome);
    }

    fn timeout(&mut self, now: Instant, outcome: &mut Outcome) {
        // OpenSSL looks at its timer whenever it is about to read.
        self.drive(now, outcome);
    }

    fn close(&mut self, _: Instant, outcome: &mut Outcome) {
        // Within a handshake there is nothing to say it with.
        let _ = self.stream.shutdown();
        self.over = true;
        self.timer = None;
        self.collect(outcome);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.timer
    }

    fn set_peer(&mut self, peer: &PeerDtls) {
        lock(&self.peer).peer = Some(peer.clone());
    }

    fn remember(&mut self, peer: &Fingerprint, now: Instant) {
        if let Some((sessions, session)) = self.sessions.as_ref().zip(Resumable::of(self.stream.ssl())) {
            sessions.keep(peer.clone(), session, now);
        }
    }
}

impl Openssl {
    /// Feeds it a `ClientHello` without a cookie, so that it asks for one, and drops that: the peer was asked by
    /// [`Cookies`](crate::dtls_srtp::Cookies), which keep nothing. What the peer answered then fits.
    fn ask_for_cookie(&mut self, cookie: &AfterCookie, now: Instant) {
        let mut body = vec![0xfe, 0xfd];
        body.extend(cookie.random);
        // No session, no cookie, one cipher suite, no compression.
        body.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        let mut dropped = Outcome::default();
        self.receive(now, &wire::handshake_record(DTLS_1_0, 0, CLIENT_HELLO, 0, &body), &mut dropped);
        // Its `HelloVerifyRequest` had number 0, the `ServerHello` would have 1.
        self.sequences = cookie.sequence.wrapping_sub(1);
    }

    fn drive(&mut self, now: Instant, outcome: &mut Outcome) {
        if self.over {
            return;
        }
        let turned = self.turn(outcome);
        if let Err(error) = turned {
            self.fail(&error, outcome);
        }
        self.collect(outcome);
        let left = sluice_openssl_dtls::timeout(self.stream.ssl()).filter(|_| !self.over && !self.handshaken);
        self.timer = left.map(|left| now + left.max(Duration::from_millis(1)));
    }

    /// Has it do what can be done. Nothing that is left to be read is an error.
    fn turn(&mut self, outcome: &mut Outcome) -> Result<(), Error> {
        if !self.handshaken {
            match self.stream.do_handshake() {
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(()),
                result => result?,
            }
            self.handshaken = true;
            self.establish(outcome);
        }
        // Application data has no place here; reading has it look at everything else.
        let mut data = [0; 1024];
        while !self.over {
            match self.stream.ssl_read(&mut data) {
                Ok(_) => {}
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn establish(&mut self, outcome: &mut Outcome) {
        match self.established() {
            Ok((certificate, established)) => {
                outcome.steps.push(Step::PeerCertificate(certificate));
                outcome.steps.push(Step::Established(Box::new(established)));
            }
            Err(error) => {
                let _ = self.stream.shutdown();
                self.over = true;
                outcome.steps.push(Step::Failed(error));
            }
        }
    }

    fn established(&self) -> Result<(Vec<u8>, Established), DtlsError> {
        let ssl = self.stream.ssl();
        let certificate = ssl.peer_certificate().and_then(|certificate| certificate.to_der().ok());
        let certificate = certificate.ok_or(DtlsError::NoPeerCertificate)?;
        let number = ssl.selected_srtp_profile().map(|profile| profile.id().as_raw());
        let suite = number.and_then(|number| profile::suite(u16::try_from(number).ok()?));
        let suite = suite.ok_or_else(|| DtlsError::NoCommonProfile(String::new()))?;
        let mut material = Zeroizing::new(vec![0; keys::exported_len(suite)]);
        ssl.export_keying_material(&mut material, keys::EXPORTER_LABEL, None)
            .map_err(|error| handshake(&error))?;
        let cipher = ssl.current_cipher().map(|cipher| cipher.standard_name().unwrap_or(cipher.name()));
        let cipher = cipher.unwrap_or_default().to_owned();
        let resumed = ssl.session_reused();
        let forward_secret = !resumed && (cipher.starts_with("TLS_ECDHE_") || cipher.starts_with("TLS_DHE_"));
        let established =
            Established { version: Version::Dtls12, cipher, suite, material, resumed, forward_secret };
        Ok((certificate, established))
    }

    fn fail(&mut self, error: &Error, outcome: &mut Outcome) {
        self.over = true;
        if error.code() == ErrorCode::ZERO_RETURN {
            // "The other party MUST respond with a close_notify alert of its own" (RFC 5246 section 7.2.1).
            let _ = self.stream.shutdown();
            outcome.steps.push(Step::Closed);
            return;
        }
        if let Some(certificate) = lock(&self.peer).refused.take() {
            outcome.steps.push(Step::PeerCertificate(certificate));
        }
        let step = if self.handshaken { Step::Closed } else { Step::Failed(reason(error)) };
        outcome.steps.push(step);
    }

    fn collect(&mut self, outcome: &mut Outcome) {
        for mut datagram in self.stream.get_mut().outbound.drain(..) {
            wire::move_sequences(&mut datagram, self.sequences);
            outcome.datagrams.push(datagram);
        }
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        // OpenSSL takes a connection that is dropped without this for one that was cut off, whose session it spoils. Here
        // media goes on under the keys, and whether a close_notify was sent says nothing about them.
        if self.handshaken {
            self.stream.set_shutdown(ShutdownState::SENT | ShutdownState::RECEIVED);
        }
    }
}

/// Datagrams in and out.
#[derive(Default)]
struct Datagrams {
    inbound: VecDeque<Vec<u8>>,
    outbound: Vec<Vec<u8>>,
}

impl Read for Datagrams {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.inbound.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }
}

impl Write for Datagrams {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.outbound.push(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Who is vouched for, and a certificate that nobody vouches for.
struct Vouched {
    peer: Option<PeerDtls>,
    refused: Option<Vec<u8>>,
}

const VERIFY: SslVerifyMode = SslVerifyMode::PEER.union(SslVerifyMode::FAIL_IF_NO_PEER_CERT);

/// Holds the peer's own certificate against the fingerprints. Chains are not looked at: "the certificate fingerprint" is
/// what ties a certificate to the description, whoever signed it (RFC 8122 section 6.2).
fn verify(vouched: &Mutex<Vouched>, store: &mut X509StoreContextRef) -> bool {
    if store.error_depth() > 0 {
        return true;
    }
    let mut vouched = lock(vouched);
    let Some(certificate) = store.current_cert().and_then(|certificate| certificate.to_der().ok()) else {
        return false;
    };
    if vouched.peer.as_ref().is_none_or(|peer| peer.vouching_for(&certificate).is_some()) {
        return true;
    }
    vouched.refused = Some(certificate);
    // Nothing is wrong with it in itself.
    store.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
    false
}

fn lock(vouched: &Mutex<Vouched>) -> std::sync::MutexGuard<'_, Vouched> {
    vouched.lock().unwrap_or_else(PoisonError::into_inner)
}

fn profiles(suites: &[Suite]) -> String {
    suites.iter().filter_map(|suite| profile::openssl_name(*suite)).collect::<Vec<_>>().join(":")
}

fn context(settings: &Settings, certificate: &Certificate, cookie: bool) -> Result<SslContext, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::dtls())?;
    context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    context.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
    set_certificate(&mut context, certificate)?;
    context.set_cipher_list(&ciphers(settings))?;
    context.set_groups_list(if settings.fips_only { "P-256:P-384" } else { "X25519:P-256:P-384" })?;
    context.set_verify(VERIFY);
    context.set_session_id_context(b"DTLS-SRTP")?;
    // As a server it gives tickets, and keeps nothing.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_options(
        SslOptions::NO_QUERY_MTU
            | SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::CIPHER_SERVER_PREFERENCE,
    );
    if !settings.resumption {
        context.set_options(SslOptions::NO_TICKET);
    }
    if cookie {
        context.set_options(SslOptions::COOKIE_EXCHANGE);
        context.set_cookie_generate_cb(|_, cookie| {
            cookie[..1].fill(1);
            Ok(1)
        });
        // It was verified before a connection was made.
        context.set_cookie_verify_cb(|_, _| true);
    }
    Ok(context.build())
}

fn set_certificate(context: &mut SslContextBuilder, certificate: &Certificate) -> Result<(), ErrorStack> {
    let mut chain = certificate.chain().iter();
    if let Some(own) = chain.next() {
        context.set_certificate(own)?;
    }
    for issuer in chain {
        context.add_extra_chain_cert(issuer.clone())?;
    }
    context.set_private_key(certificate.key())
}

fn ciphers(settings: &Settings) -> String {
    let mut ciphers = vec!["ECDHE+AESGCM"];
    if !settings.fips_only {
        ciphers.push("ECDHE+CHACHA20");
    }
    // Old endpoints know no AEAD in DTLS.
    ciphers.push("ECDHE+AES");
    if !settings.pfs_only {
        ciphers.extend(["kRSA+AESGCM", "kRSA+AES"]);
    }
    ciphers.extend(["!aNULL", "!PSK", "!SRP", "!AESCCM"]);
    ciphers.join(":")
}

/// Whether OpenSSL's default is its FIPS provider: what that has not is not found.
fn check_fips() -> Result<(), DtlsError> {
    let approved = Md::fetch(None, "SHA2-256", Some("fips=yes")).is_ok();
    let other = Md::fetch(None, "MD5", None).is_ok();
    if approved && !other { Ok(()) } else { Err(DtlsError::FipsUnavailable) }
}

fn library(error: &ErrorStack) -> DtlsError {
    DtlsError::Library(error.to_string())
}

fn handshake(error: &ErrorStack) -> DtlsError {
    let reasons: Vec<_> = error.errors().iter().filter_map(openssl::error::Error::reason).collect();
    let reason = if reasons.is_empty() { "no reason is given".to_owned() } else { reasons.join(", ") };
    DtlsError::Handshake { version: Version::Dtls12, reason }
}

/// What an error in a handshake comes to.
fn reason(error: &Error) -> DtlsError {
    /// `SSL_AD_REASON_OFFSET` of `openssl/ssl.h`: reasons above it are the peer's alerts.
    const ALERTS: i32 = 1000;
    /// `SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE` of `openssl/sslerr.h`.
    const NO_CERTIFICATE: i32 = 199;
    let Some(stack) = error.ssl_error() else {
        return DtlsError::Handshake { version: Version::Dtls12, reason: error.to_string() };
    };
    let code = stack.errors().first().map_or(0, openssl::error::Error::reason_code);
    match u8::try_from(code - ALERTS) {
        Ok(alert) => DtlsError::PeerAlert(Alert(alert)),
        Err(_) if code == NO_CERTIFICATE => DtlsError::NoPeerCertificate,
        Err(_) => handshake(stack),
    }
}
