//! One handshake and what follows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_srtp::Suite;

use super::collector::{Collected, Collector};
use super::cookies::Unproven;
use super::engine::{AfterCookie, Engine, Established, Opens, Outcome, Step};
use super::event::{Event, Output, Progress, State};
use super::keys::{self, Keys, Version};
use super::wire::{self, CLIENT_HELLO, Record};
use super::{
    Alert, DtlsError, Endpoint, Fingerprint, HashFunction, Ignored, PeerDtls, Role, certificate, choice,
    profile,
};

/// A DTLS association with one peer: another one whenever its `a=tls-id` is another (RFC 8842 section 4). Renegotiation
/// within it is refused.
///
/// After every call [`poll`](Self::poll) it until it says [`Output::Timeout`]. It stays for as long as the peer may need
/// the last flight again, and to close it. While its handshake lasts it has 40 to 100 KB, most of it OpenSSL's, and under
/// the worst that a peer can send 700 KB: what is put together of messages and kept of records that came too early is
/// bounded.
pub struct Association {
    endpoint: Arc<Endpoint>,
    role: Role,
    suites: Vec<Suite>,
    peer: Option<PeerDtls>,
    stage: Stage,
    transmit: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    /// The peer's, in DER.
    certificate: Option<Vec<u8>>,
    established: Option<Box<Established>>,
    released: bool,
    deadline: Option<Instant>,
    /// The random of the `ClientHello` that is answered.
    random: Option<[u8; 32]>,
    /// What the peer seems to have given up with, and when that is believed.
    alert: Option<(Alert, Instant)>,
    after_cookie: bool,
    /// Why the last `ClientHello` was not answered.
    rejected: Option<DtlsError>,
    unproven: Option<Unproven>,
    sent: u64,
    received: u64,
}

enum Stage {
    /// For a `ClientHello`.
    Awaiting(Collector),
    Running(Box<dyn Engine>),
    Over(State),
}

/// A `ClientHello` that was let in by [`Cookies`](super::Cookies).
#[derive(Debug)]
pub struct FirstFlight {
    datagram: Vec<u8>,
    unproven: Option<Unproven>,
}

impl FirstFlight {
    pub(super) fn proven(datagram: &[u8]) -> Self {
        Self { datagram: datagram.to_vec(), unproven: None }
    }

    pub(super) fn unproven(datagram: &[u8], place: Unproven) -> Self {
        Self { datagram: datagram.to_vec(), unproven: Some(place) }
    }
}

/// A handshake that stands still so long after an unprotected alert is over. One that gets on was not the alert's.
const ALERT_GRACE: Duration = Duration::from_secs(2);

const HANDSHAKE_FAILURE: Alert = Alert(40);
const PROTOCOL_VERSION: Alert = Alert(70);

impl Association {
    /// Begins one: as a client with a `ClientHello`, as a server by waiting for the peer's.
    ///
    /// The suites are the ones that were agreed on, the preferred one first; those that no handshake can bring are left out.
    /// Of the peer nothing may be known yet: its handshake may come before its answer (RFC 5763 section 6.2). Keys are
    /// given when its certificate has a signalled fingerprint.
    ///
    /// # Errors
    /// [`DtlsError::NoSuite`] if no suite is left, [`DtlsError::Library`] if a library cannot begin.
    pub fn new(
        endpoint: &Arc<Endpoint>,
        role: Role,
        suites: &[Suite],
        peer: Option<&PeerDtls>,
        now: Instant,
    ) -> Result<Self, DtlsError> {
        let suites = usable(endpoint, suites);
        if suites.is_empty() {
            return Err(DtlsError::NoSuite);
        }
        let mut association = Self {
            endpoint: Arc::clone(endpoint),
            role,
            suites,
            peer: peer.cloned(),
            stage: Stage::Awaiting(Collector::default()),
            transmit: VecDeque::new(),
            events: VecDeque::new(),
            certificate: None,
            established: None,
            released: false,
            deadline: None,
            random: None,
            alert: None,
            after_cookie: false,
            rejected: None,
            unproven: None,
            sent: 0,
            received: 0,
        };
        if role == Role::Client {
            association.begin(now)?;
        }
        Ok(association)
    }

    /// Signalling's fingerprints came, or came again. Keys that wait for them are given; if another certificate was shown
    /// the peer is refused.
    pub fn set_peer(&mut self, peer: &PeerDtls, now: Instant) {
        self.peer = Some(peer.clone());
        if let Stage::Running(engine) = &mut self.stage {
            engine.set_peer(peer);
        }
        self.judge(now);
    }

    /// Takes a datagram from the peer's address.
    ///
    /// # Errors
    /// Why it was left alone, or why a `ClientHello` cannot be answered. The association is what it was. A handshake that
    /// fails is an [`Event::Failed`].
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DtlsError> {
        let records = wire::records(datagram)?;
        self.screen(now, &records)?;
        match &mut self.stage {
            Stage::Over(_) => Err(Ignored::Over.into()),
            Stage::Awaiting(collector) => match collector.take(datagram, &records)? {
                Some(collected) => self.answer(now, collected),
                None => Ok(()),
            },
            Stage::Running(engine) => {
                let mut outcome = Outcome::default();
                engine.receive(now, datagram, &mut outcome);
                self.received += 1;
                if self.role == Role::Client && self.received == 1 {
                    self.events.push_back(Event::Progress(Progress::ServerAnswers));
                }
                if !outcome.datagrams.is_empty() || !outcome.steps.is_empty() {
                    self.alert = None;
                }
                self.absorb(now, outcome);
                Ok(())
            }
        }
    }

    /// Takes a `ClientHello` that [`Cookies`](super::Cookies) let in.
    ///
    /// # Errors
    /// Those of [`handle_datagram`](Self::handle_datagram).
    pub fn admit(&mut self, now: Instant, first: FirstFlight) -> Result<(), DtlsError> {
        if matches!(self.stage, Stage::Awaiting(_)) {
            self.after_cookie = first.unproven.is_none();
            self.unproven = first.unproven;
        }
        self.handle_datagram(now, &first.datagram)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Stage::Running(engine) = &mut self.stage else { return };
        let mut outcome = Outcome::default();
        if engine.next_timeout().is_some_and(|at| at <= now) {
            engine.timeout(now, &mut outcome);
        }
        self.absorb(now, outcome);
        if matches!(self.stage, Stage::Over(_)) || self.established.is_some() || self.released {
            return;
        }
        if let Some((alert, _)) = self.alert.filter(|(_, at)| *at <= now) {
            self.fail(DtlsError::PeerAlert(alert));
        } else if self.deadline.is_some_and(|at| at <= now) {
            let silent =
                if self.received == 0 { "nothing came from the peer" } else { "the peer fell silent" };
            self.fail(DtlsError::TimedOut(silent));
        }
    }

    /// Closes it with a `close_notify`, if there are keys to send one with.
    pub fn close(&mut self, now: Instant) {
        if let Stage::Running(engine) = &mut self.stage {
            let mut outcome = Outcome::default();
            engine.close(now, &mut outcome);
            self.send(outcome.datagrams);
        }
        if !matches!(self.stage, Stage::Over(_)) {
            self.stage = Stage::Over(State::Closed);
        }
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Output {
        if let Some(datagram) = self.transmit.pop_front() {
            return Output::Transmit(datagram);
        }
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        let Stage::Running(engine) = &self.stage else { return Output::Timeout(None) };
        let alert = self.alert.map(|(_, at)| at);
        Output::Timeout([engine.next_timeout(), self.deadline, alert].into_iter().flatten().min())
    }

    /// How far it is.
    pub fn state(&self) -> State {
        let alert = self.alert.map(|(alert, _)| alert);
        match (&self.stage, &self.established, &self.certificate) {
            (Stage::Over(state), ..) => state.clone(),
            (Stage::Awaiting(_), ..) => State::AwaitingClientHello { rejected: self.rejected.clone() },
            (_, Some(established), _) if self.released => {
                State::Established { version: established.version, cipher: established.cipher.clone() }
            }
            (_, Some(_), Some(certificate)) => {
                State::AwaitingFingerprint { shown: Fingerprint::of(HashFunction::Sha256, certificate) }
            }
            _ => State::Handshaking { role: self.role, sent: self.sent, received: self.received, alert },
        }
    }

    /// The gateway's part.
    pub fn role(&self) -> Role {
        self.role
    }

    fn begin(&mut self, now: Instant) -> Result<(), DtlsError> {
        let mut outcome = Outcome::default();
        let hybrid = self.endpoint.openssl.is_some()
            && self.endpoint.settings().client_offers_dtls13
            && self.suits_dimpl();
        let engine = match (&self.endpoint.openssl, &self.endpoint.dimpl) {
            (Some(_), Some(dimpl)) if hybrid => dimpl.open(Opens::HybridClient, now, &mut outcome),
            (Some(openssl), _) => openssl.client(&self.suites, self.peer.as_ref(), now, &mut outcome)?,
            (None, Some(dimpl)) => dimpl.open(Opens::Client, now, &mut outcome),
            (None, None) => return Err(DtlsError::Settings("no version is left")),
        };
        self.stage = Stage::Running(engine);
        self.deadline = Some(now + self.endpoint.settings().handshake_timeout);
        self.events.push_back(Event::Progress(Progress::ClientHelloSent));
        self.absorb(now, outcome);
        Ok(())
    }

    /// Whether what dimpl offers, which cannot be changed, is allowed, and nothing is preferred that it has not.
    fn suits_dimpl(&self) -> bool {
        let known: Vec<_> =
            self.suites.iter().copied().filter(|suite| profile::DIMPL.contains(suite)).collect();
        known == profile::DIMPL && self.suites.starts_with(&known)
    }

    /// Answers a `ClientHello`, in the version that was chosen.
    fn answer(&mut self, now: Instant, collected: Collected) -> Result<(), DtlsError> {
        let Collected { hello, datagrams, sequence } = collected;
        let settings = self.endpoint.settings().clone();
        let chosen = choice::choose(&settings, self.endpoint.certificate().kind(), &self.suites, &hello);
        let version = chosen.inspect_err(|error| self.reject(error, sequence))?;
        let cookie = self.after_cookie.then_some(AfterCookie { sequence, random: hello.random });
        let opens = if self.unproven.is_some() { Opens::ServerWithCookie } else { Opens::Server };
        let mut outcome = Outcome::default();
        let mut engine = match (version, &self.endpoint.openssl, &self.endpoint.dimpl) {
            (Version::Dtls12, Some(openssl), _) => {
                openssl.server(&self.suites, self.peer.as_ref(), cookie, now)?
            }
            (Version::Dtls13, _, Some(dimpl)) => dimpl.open(opens, now, &mut outcome),
            _ => return Err(DtlsError::NoCommonVersion("one that the gateway's certificate is not for")),
        };
        for datagram in &datagrams {
            engine.receive(now, datagram, &mut outcome);
        }
        self.received += datagrams.len() as u64;
        self.random = Some(hello.random);
        self.deadline = Some(now + settings.handshake_timeout);
        self.stage = Stage::Running(engine);
        self.events.push_back(Event::Progress(Progress::ClientHello(version)));
        self.absorb(now, outcome);
        Ok(())
    }

    /// Says no to a `ClientHello`, and waits for another: anybody could have sent it.
    fn reject(&mut self, error: &DtlsError, sequence: u64) {
        let alert =
            if matches!(error, DtlsError::NoCommonVersion(_)) { PROTOCOL_VERSION } else { HANDSHAKE_FAILURE };
        self.rejected = Some(error.clone());
        self.send(vec![wire::alert_record(sequence, alert)]);
    }

    /// Keeps from the library what would disturb it and comes from anybody.
    fn screen(&mut self, now: Instant, records: &[Record<'_>]) -> Result<(), Ignored> {
        if matches!(self.stage, Stage::Over(_)) {
            return Err(Ignored::Over);
        }
        for record in records {
            if let Some(alert) = record.plain_alert() {
                // "Implementations SHOULD silently discard" what is not protected (RFC 6347 section 4.1.2.7): but a peer
                // that has no keys yet cannot say otherwise that it gives up.
                let running = matches!(self.stage, Stage::Running(_)) && self.established.is_none();
                if running && alert.fatal && self.alert.is_none() {
                    self.alert = Some((alert.alert, now + ALERT_GRACE));
                }
                return Err(Ignored::UnprotectedAlert);
            }
            for fragment in record.fragments()? {
                let stray = fragment.message == CLIENT_HELLO
                    && match (&self.stage, self.role) {
                        (Stage::Running(_), Role::Client) => true,
                        (Stage::Running(_), Role::Server) => fragment
                            .client_random()
                            .is_some_and(|random| self.random.is_none_or(|own| random != own)),
                        _ => false,
                    };
                if stray {
                    return Err(Ignored::StrayClientHello);
                }
            }
        }
        Ok(())
    }

    /// Takes in what came of a call to the library.
    fn absorb(&mut self, now: Instant, outcome: Outcome) {
        self.send(outcome.datagrams);
        for step in outcome.steps {
            if matches!(self.stage, Stage::Over(_)) {
                return;
            }
            match step {
                Step::PeerCertificate(certificate) => self.take_certificate(now, certificate),
                Step::Established(established) => self.establish(now, established),
                Step::Failed(_) | Step::Closed if self.established.is_some() => {
                    self.events.push_back(Event::Closed);
                    self.stage = Stage::Over(State::Closed);
                }
                Step::Closed => self.fail(DtlsError::PeerAlert(Alert(0))),
                Step::Failed(DtlsError::NoPeerCertificate) => self.refuse(now, DtlsError::NoPeerCertificate),
                Step::Failed(error) => self.fail(error),
            }
        }
    }

    fn take_certificate(&mut self, now: Instant, certificate: Vec<u8>) {
        self.unproven = None;
        let kind = certificate::kind_of(&certificate);
        let fingerprint = Fingerprint::of(HashFunction::Sha256, &certificate);
        self.events.push_back(Event::PeerCertificate { kind, fingerprint });
        self.certificate = Some(certificate);
        self.judge(now);
    }

    fn establish(&mut self, now: Instant, established: Box<Established>) {
        self.unproven = None;
        if !self.suites.contains(&established.suite) {
            self.refuse_with(now, Event::Failed, DtlsError::WrongProfile);
            return;
        }
        self.events.push_back(Event::Progress(Progress::Handshaken(established.version)));
        self.deadline = None;
        self.alert = None;
        self.established = Some(established);
        self.judge(now);
    }

    /// Holds the certificate against the fingerprints, if both are there: keys are given, or the peer refused.
    fn judge(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Over(_)) {
            return;
        }
        let Some((peer, certificate)) = self.peer.as_ref().zip(self.certificate.as_ref()) else { return };
        let Some(fingerprint) = peer.vouching_for(certificate).cloned() else {
            let signalled: Vec<_> = peer.decisive().cloned().collect();
            let hash = signalled.first().map_or(HashFunction::Sha256, Fingerprint::hash);
            let shown = Fingerprint::of(hash, certificate);
            self.refuse(now, DtlsError::FingerprintMismatch { shown, signalled });
            return;
        };
        if !self.released {
            self.release(now, fingerprint);
        }
    }

    fn release(&mut self, now: Instant, peer_fingerprint: Fingerprint) {
        let Some(established) = &mut self.established else { return };
        let Some([inbound, outbound]) = keys::cut(established.suite, &established.material, self.role) else {
            self.fail(DtlsError::WrongProfile);
            return;
        };
        if let Stage::Running(engine) = &mut self.stage {
            engine.remember(&peer_fingerprint, now);
        }
        // They are the receiver's now.
        established.material = zeroize::Zeroizing::default();
        self.released = true;
        self.events.push_back(Event::Keys(Box::new(Keys {
            suite: established.suite,
            inbound,
            outbound,
            version: established.version,
            cipher: established.cipher.clone(),
            peer_fingerprint,
            resumed: established.resumed,
            forward_secret: established.forward_secret,
        })));
    }

    fn refuse(&mut self, now: Instant, error: DtlsError) {
        self.refuse_with(now, Event::Refused, error);
    }

    fn refuse_with(&mut self, now: Instant, event: impl FnOnce(DtlsError) -> Event, error: DtlsError) {
        if let Stage::Running(engine) = &mut self.stage {
            let mut outcome = Outcome::default();
            engine.close(now, &mut outcome);
            self.send(outcome.datagrams);
        }
        self.established = None;
        self.events.push_back(event(error.clone()));
        self.stage = Stage::Over(State::Failed(error));
    }

    fn fail(&mut self, error: DtlsError) {
        self.events.push_back(Event::Failed(error.clone()));
        self.stage = Stage::Over(State::Failed(error));
    }

    fn send(&mut self, datagrams: Vec<Vec<u8>>) {
        self.sent += datagrams.len() as u64;
        self.transmit.extend(datagrams);
    }
}

impl std::fmt::Debug for Association {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Association")
            .field("role", &self.role)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Those of the suites that a library can agree on.
fn usable(endpoint: &Endpoint, suites: &[Suite]) -> Vec<Suite> {
    let openssl = |suite| endpoint.openssl.is_some() && profile::can_be_negotiated(suite);
    let dimpl = |suite| endpoint.dimpl.is_some() && profile::DIMPL.contains(&suite);
    suites.iter().copied().filter(|suite| openssl(*suite) || dimpl(*suite)).collect()
}
