//! Two associations, and a network between them that does what a script says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_keying::dtls_srtp::{
    Admission, Association, Certificate, Cookies, Endpoint, Event, HashFunction, Keys, Output, PeerDtls,
    Role, Settings,
};
use sluice_srtp::Suite;

use super::clock;

pub(crate) const DAY: Duration = Duration::from_hours(24);
pub(crate) const ALL: [Suite; 4] =
    [Suite::AeadAes256Gcm, Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];

/// What happens to a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    Lost,
    Twice,
    /// Overtaken by those of the next milliseconds.
    Late(u64),
}

/// An endpoint with a certificate of its own.
pub(crate) fn endpoint(settings: Settings) -> Arc<Endpoint> {
    Arc::new(Endpoint::new(settings, Arc::new(Certificate::generate(DAY).unwrap())).unwrap())
}

/// What signalling would say of an endpoint.
pub(crate) fn peer(endpoint: &Endpoint) -> PeerDtls {
    PeerDtls { fingerprints: vec![endpoint.certificate().fingerprint(HashFunction::Sha256)], tls_id: None }
}

/// One end.
pub(crate) struct End {
    pub(crate) association: Association,
    pub(crate) events: Vec<Event>,
    pub(crate) timeout: Option<Instant>,
    /// Datagrams that were left alone.
    pub(crate) ignored: usize,
    /// What asks the other end first, until it is let in, and what that says.
    cookies: Option<Cookies>,
    replies: Vec<Vec<u8>>,
}

impl End {
    pub(crate) fn new(
        endpoint: &Arc<Endpoint>,
        role: Role,
        suites: &[Suite],
        peer: Option<&PeerDtls>,
    ) -> Self {
        let association = Association::new(endpoint, role, suites, peer, clock::now()).unwrap();
        Self {
            association,
            events: Vec::new(),
            timeout: None,
            ignored: 0,
            cookies: None,
            replies: Vec::new(),
        }
    }

    /// Has the other end show first that it receives.
    #[must_use]
    pub(crate) fn behind(mut self, cookies: Cookies) -> Self {
        self.cookies = Some(cookies);
        self
    }

    pub(crate) fn take(&mut self, datagram: &[u8]) {
        if let Some(cookies) = &self.cookies {
            match cookies.admit(clock::now(), SocketAddr::from(([192, 0, 2, 1], 5004)), datagram) {
                Admission::Admit(first) => {
                    self.association.admit(clock::now(), first).unwrap();
                    self.cookies = None;
                }
                Admission::Reply(reply) => self.replies.push(reply),
                Admission::Drop(_) => self.ignored += 1,
            }
            return;
        }
        self.ignored += usize::from(self.association.handle_datagram(clock::now(), datagram).is_err());
    }

    /// What it sends.
    pub(crate) fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = std::mem::take(&mut self.replies);
        loop {
            match self.association.poll() {
                Output::Transmit(datagram) => datagrams.push(datagram),
                Output::Event(event) => self.events.push(event),
                Output::Timeout(at) => {
                    self.timeout = at;
                    return datagrams;
                }
            }
        }
    }

    pub(crate) fn keys(&self) -> Option<&Keys> {
        self.events.iter().find_map(|event| match event {
            Event::Keys(keys) => Some(&**keys),
            _ => None,
        })
    }
}

/// Both ends and what is on its way between them.
pub(crate) struct Pair {
    pub(crate) ends: [End; 2],
    on_the_way: VecDeque<(Instant, usize, Vec<u8>)>,
    script: VecDeque<Fate>,
    /// Every datagram that was sent, and by whom.
    pub(crate) sent: Vec<(usize, Vec<u8>)>,
}

impl Pair {
    pub(crate) fn new(ends: [End; 2]) -> Self {
        Self { ends, on_the_way: VecDeque::new(), script: VecDeque::new(), sent: Vec::new() }
    }

    /// A client and a server that know each other.
    pub(crate) fn acquainted(client: &Arc<Endpoint>, server: &Arc<Endpoint>, suites: [&[Suite]; 2]) -> Self {
        let client_end = End::new(client, Role::Client, suites[0], Some(&peer(server)));
        Self::new([client_end, End::new(server, Role::Server, suites[1], Some(&peer(client)))])
    }

    /// What happens to the datagrams to come, one after the other; those after the last are delivered.
    #[must_use]
    pub(crate) fn with_script(mut self, script: impl IntoIterator<Item = Fate>) -> Self {
        self.script = script.into_iter().collect();
        self
    }

    /// Lets time pass until nothing is to happen for a while, or so much has passed.
    pub(crate) fn run(&mut self, at_most: Duration) {
        let end = clock::now() + at_most;
        let mut steps = 0;
        while self.next().is_some_and(|next| next <= end) {
            self.step();
            steps += 1;
            let states = self.ends.each_ref().map(|end| (end.association.state(), end.timeout));
            assert!(steps < 5_000, "they do not come to rest: {states:?} at {:?}", clock::now());
        }
    }

    /// When something is to happen.
    fn next(&mut self) -> Option<Instant> {
        self.send();
        let timeouts = self.ends.iter().filter_map(|end| end.timeout);
        self.on_the_way.iter().map(|(at, ..)| *at).chain(timeouts).min()
    }

    /// Lets the next thing happen.
    pub(crate) fn step(&mut self) {
        let Some(next) = self.next() else { return };
        clock::advance_to(next);
        while let Some(at) = self.on_the_way.iter().position(|(at, ..)| *at <= clock::now()) {
            let (_, to, datagram) = self.on_the_way.remove(at).unwrap();
            self.ends[to].take(&datagram);
            self.send();
        }
        for end in &mut self.ends {
            if end.timeout.is_some_and(|at| at <= clock::now()) {
                end.association.handle_timeout(clock::now());
            }
        }
        self.send();
    }

    /// Loses what is on its way from one end; the number of flights that this was.
    pub(crate) fn lose_from(&mut self, from: usize) -> usize {
        let before = self.on_the_way.len();
        self.on_the_way.retain(|(_, to, _)| *to == from);
        usize::from(self.on_the_way.len() < before)
    }

    fn send(&mut self) {
        for from in 0..2 {
            for datagram in self.ends[from].drain() {
                self.sent.push((from, datagram.clone()));
                let arrival = clock::now() + Duration::from_millis(10);
                let mut put = |late: u64| {
                    self.on_the_way.push_back((
                        arrival + Duration::from_millis(late),
                        1 - from,
                        datagram.clone(),
                    ));
                };
                match self.script.pop_front().unwrap_or(Fate::Delivered) {
                    Fate::Delivered => put(0),
                    Fate::Lost => {}
                    Fate::Twice => [0, 3].into_iter().for_each(put),
                    Fate::Late(by) => put(by),
                }
            }
        }
        self.on_the_way.make_contiguous().sort_by_key(|(at, ..)| *at);
    }

    /// Asserts that both have the keys that belong together, and gives the client's.
    pub(crate) fn assert_keyed(&self) -> &Keys {
        let [client, server] = &self.ends;
        let states = [&client.association.state(), &server.association.state()];
        let keys = client.keys().zip(server.keys());
        let (client, server) =
            keys.unwrap_or_else(|| panic!("{states:?} {:?} {:?}", client.events, server.events));
        assert_eq!(client.inbound, server.outbound);
        assert_eq!(client.outbound, server.inbound);
        assert_ne!(client.inbound, client.outbound);
        assert_eq!(
            (client.suite, client.version, &client.cipher),
            (server.suite, server.version, &server.cipher)
        );
        client
    }
}
