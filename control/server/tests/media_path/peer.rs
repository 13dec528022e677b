//! A peer that makes checks and a handshake, and speaks SRTP under the keys that come of it.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::slice::from_mut;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use sluice_keying::dtls_srtp::{
    Association, Certificate, Endpoint, Event, HashFunction, Keys, Output, PeerDtls, Role, Settings,
};
use sluice_keying::ice::{self, Agent, Candidate, Credentials, OwnIce, PeerIce};
use sluice_keying::negotiation::NegotiatedKey;
use sluice_srtp::{
    Inbound, Job, KeyId, Kind, MAX_OVERHEAD, MasterKey, Outbound, ReplayWindow, SessionKeys, Suite, protect,
    unprotect,
};

/// Suites of peers that say nothing else: in the order of DTLS 1.3's library, which knows no other.
pub const SUITES: [Suite; 3] = [Suite::AeadAes256Gcm, Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80];
/// How long anything may take: machines of tests are busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate that most peers have.
static USUAL: LazyLock<Arc<Endpoint>> = LazyLock::new(|| endpoint(&Settings::default()));

/// A peer with one medium.
pub struct Peer {
    pub socket: UdpSocket,
    pub endpoint: Arc<Endpoint>,
    agent: Option<Agent>,
    own_ice: Option<OwnIce>,
    /// Whether it nominates.
    pub controls: bool,
    association: Option<Association>,
    /// The one whose place that took: both are alive.
    older: Option<Association>,
    /// With more keys than these what it has to say of handshakes is held back.
    holds_back_after: Option<usize>,
    held_back: Vec<Vec<u8>>,
    /// Datagrams of the newest handshake that came.
    pub heard: usize,
    /// Where the gateway is.
    pub gateway: Option<SocketAddr>,
    pub keys: Vec<Keys>,
    pub events: Vec<Event>,
    media: VecDeque<Vec<u8>>,
    sending: HashMap<(usize, u32), Outbound>,
    receiving: HashMap<(usize, u32), Inbound>,
}

/// An endpoint with a certificate of its own.
pub fn endpoint(settings: &Settings) -> Arc<Endpoint> {
    let certificate = Certificate::generate(Duration::from_hours(24)).unwrap();
    Arc::new(Endpoint::new(settings.clone(), Arc::new(certificate)).unwrap())
}

impl Peer {
    pub fn new() -> Self {
        Self::with(Arc::clone(&USUAL))
    }

    pub fn with(endpoint: Arc<Endpoint>) -> Self {
        Self {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            endpoint,
            agent: None,
            own_ice: None,
            controls: true,
            association: None,
            older: None,
            holds_back_after: None,
            held_back: Vec::new(),
            heard: 0,
            gateway: None,
            keys: Vec::new(),
            events: Vec::new(),
            media: VecDeque::new(),
            sending: HashMap::new(),
            receiving: HashMap::new(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// As `a=fingerprint` has it.
    pub fn fingerprint(&self) -> String {
        self.endpoint.certificate().fingerprint(HashFunction::Sha256).to_string()
    }

    /// What it says of itself, with credentials that are fresh.
    pub fn own_ice(&mut self) -> OwnIce {
        let mut seed = u64::from(self.address().port()) << 16 | u64::from(self.keys.len() as u32);
        let mut random = |octets: &mut [u8]| {
            for octet in octets {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *octet = (seed >> 33) as u8;
            }
        };
        let credentials = Credentials::generate(&mut random);
        let candidates = vec![Candidate::host(1, self.address(), u16::MAX)];
        let own = OwnIce { credentials, candidates, lite: false };
        self.own_ice = Some(own.clone());
        own
    }

    /// Begins checks with a lite agent.
    pub fn check(&mut self, gateway: SocketAddr, ufrag: &str, password: &str) {
        let candidates = vec![Candidate::host(1, gateway, u16::MAX)];
        self.gateway = Some(gateway);
        self.check_with(candidates, ufrag, password, true);
    }

    /// Begins checks with what it knows of the gateway, which may make some as well.
    pub fn check_with(&mut self, candidates: Vec<Candidate>, ufrag: &str, password: &str, lite: bool) {
        let now = Instant::now();
        let own = self.own_ice.clone().unwrap_or_else(|| self.own_ice());
        let mut agent = Agent::new(&own, self.controls, now);
        agent.drop_component(2, now);
        let peer = PeerIce {
            credentials: Credentials::new(ufrag, password).unwrap(),
            candidates,
            lite,
            more: false,
        };
        agent.set_peer(&peer, now);
        self.agent = Some(agent);
    }

    /// Moves to another address, as a NAT does, and checks from there.
    pub fn move_on(&mut self, ufrag: &str, password: &str) {
        self.socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let gateway = self.gateway.unwrap();
        // The credentials stay: no restart.
        if let Some(own) = &mut self.own_ice {
            own.candidates = vec![Candidate::host(1, self.socket.local_addr().unwrap(), u16::MAX)];
        }
        self.check(gateway, ufrag, password);
    }

    /// Begins a handshake, or awaits the gateway's; fingerprints as signalling says them.
    pub fn handshake(&mut self, role: Role, fingerprints: &[String], suites: &[Suite]) {
        let fingerprints = fingerprints.iter().map(|one| one.parse().unwrap()).collect();
        let peer = PeerDtls { fingerprints, tls_id: None };
        let association = Association::new(&self.endpoint, role, suites, Some(&peer), Instant::now());
        self.older = self.association.replace(association.unwrap());
        self.heard = 0;
    }

    /// Holds back its last flight of the handshake to come, which goes out once it has the keys.
    pub fn hold_back(&mut self) {
        self.holds_back_after = Some(self.keys.len());
    }

    /// Sends what it held back.
    pub fn let_go(&mut self) {
        self.holds_back_after = None;
        self.work();
    }

    pub fn close(&mut self) {
        self.association.as_mut().unwrap().close(Instant::now());
        self.work();
    }

    /// Closes the association whose place another takes, and at once: whatever else is held back.
    pub fn close_older(&mut self) -> Vec<u8> {
        let older = self.older.as_mut().unwrap();
        older.close(Instant::now());
        let Output::Transmit(farewell) = older.poll() else { panic!("a close_notify") };
        self.send_raw(&farewell);
        farewell
    }

    /// Sends a datagram as it is.
    pub fn send_raw(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.gateway.unwrap()).unwrap();
    }

    /// Whether the gateway has closed an association.
    pub fn was_closed(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Closed))
    }

    /// Whether checks have found a way.
    pub fn is_connected(&self) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.selected(1).is_some())
    }

    /// Takes part until something is so.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "{what} did not happen: {:?}", self.events);
            self.step(Duration::from_millis(5));
        }
    }

    /// Takes part for a while.
    pub fn for_a_while(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step(Duration::from_millis(5));
        }
    }

    /// Takes part until there are keys of another association; how the gateway's machine knows them.
    pub fn until_keyed(&mut self) -> &Keys {
        let before = self.keys.len();
        self.until("keys", |peer| peer.keys.len() > before);
        self.keys.last().unwrap()
    }

    /// Sends under the newest keys, or others.
    pub fn send(&mut self, packet: &[u8]) {
        self.send_under(self.keys.len() - 1, packet);
    }

    pub fn send_under(&mut self, which: usize, packet: &[u8]) {
        let ssrc = sluice_srtp::rtp::ssrc(packet).unwrap();
        let key = &self.keys[which].outbound;
        let context =
            self.sending.entry((which, ssrc)).or_insert_with(|| Outbound::new(ssrc, session(key), 0));
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + MAX_OVERHEAD, 0);
        let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, packet.len())];
        protect(from_mut(context), &mut jobs);
        jobs[0].result.unwrap();
        let len = jobs[0].len;
        self.socket.send_to(&buffer[..len], self.gateway.unwrap()).unwrap();
    }

    /// Sends what looks like media and is under no key.
    pub fn send_forged(&self, packet: &[u8]) {
        self.send_raw(&[packet, &[0xee; 16]].concat());
    }

    /// The next media, under the newest keys.
    pub fn receive(&mut self) -> Vec<u8> {
        let newest = self.keys.len() - 1;
        let packet = self.receive_raw();
        self.open(newest, &packet).expect("it is under the newest keys")
    }

    /// The next media, and under which keys it is.
    pub fn receive_any(&mut self) -> (usize, Vec<u8>) {
        let packet = self.receive_raw();
        let found = (0..self.keys.len()).rev().find_map(|which| Some((which, self.open(which, &packet)?)));
        found.expect("it is under some key")
    }

    /// The next media as it is.
    pub fn receive_raw(&mut self) -> Vec<u8> {
        self.until("media", |peer| !peer.media.is_empty());
        self.media.pop_front().unwrap()
    }

    /// Whether no media arrives for a while.
    pub fn hears_nothing(&mut self) -> bool {
        self.for_a_while(Duration::from_millis(200));
        self.media.is_empty()
    }

    fn open(&mut self, which: usize, packet: &[u8]) -> Option<Vec<u8>> {
        let ssrc = sluice_srtp::rtp::ssrc(packet).unwrap();
        let key = &self.keys[which].inbound;
        let fresh = || Inbound::new(ssrc, session(key), ReplayWindow::default(), 0);
        let context = self.receiving.entry((which, ssrc)).or_insert_with(fresh);
        let mut packet = packet.to_vec();
        let len = packet.len();
        let mut jobs = [Job::new(0, Kind::Rtp, &mut packet, len)];
        unprotect(from_mut(context), &mut jobs);
        jobs[0].result.ok()?;
        let len = jobs[0].len;
        packet.truncate(len);
        Some(packet)
    }

    fn step(&mut self, wait: Duration) {
        self.work();
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut buffer = [0; 4096];
        match self.socket.recv_from(&mut buffer) {
            Ok((len, from)) => self.take(from, &buffer[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
        self.work();
    }

    /// RFC 7983 section 7.
    fn take(&mut self, from: SocketAddr, datagram: &[u8]) {
        let (now, local) = (Instant::now(), self.address());
        match datagram.first() {
            Some(0..=3) => {
                if let Some(agent) = &mut self.agent {
                    let _ = agent.handle_datagram(now, local, from, 1, datagram);
                }
            }
            Some(20..=63) => {
                self.heard += 1;
                for association in [&mut self.association, &mut self.older].into_iter().flatten() {
                    let _ = association.handle_datagram(now, datagram);
                }
            }
            Some(128..=191) => self.media.push_back(datagram.to_vec()),
            other => panic!("a datagram that begins with {other:?}"),
        }
    }

    fn work(&mut self) {
        let now = Instant::now();
        if let Some(agent) = &mut self.agent {
            agent.handle_timeout(now);
            loop {
                match agent.poll() {
                    ice::Output::Transmit(sent) => _ = self.socket.send_to(&sent.bytes, sent.remote).unwrap(),
                    ice::Output::Event(_) => {}
                    ice::Output::Timeout(_) => break,
                }
            }
        }
        let Some(gateway) = self.gateway else { return };
        for association in [&mut self.association, &mut self.older].into_iter().flatten() {
            association.handle_timeout(now);
            loop {
                match association.poll() {
                    Output::Transmit(bytes) => self.held_back.push(bytes),
                    Output::Event(Event::Keys(keys)) => self.keys.push(*keys),
                    Output::Event(event) => self.events.push(event),
                    Output::Timeout(_) => break,
                }
            }
        }
        if self.holds_back_after.is_none_or(|keys| self.keys.len() <= keys) {
            for bytes in self.held_back.drain(..) {
                self.socket.send_to(&bytes, gateway).unwrap();
            }
        }
    }
}

fn session(key: &NegotiatedKey) -> Arc<SessionKeys> {
    let master = MasterKey::from_concatenated(key.suite, &key.key_salt).unwrap();
    Arc::new(SessionKeys::derive_with(KeyId(1), &master, &key.options).unwrap())
}
