//! Two agents, and what is between them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sluice_keying::ice::{Agent, Candidate, Credentials, Event, Output, OwnIce, PeerIce, Transmit};

/// The usual addresses of the gateway, and of its peer.
pub(crate) const GATEWAY: &str = "192.0.2.1:5000";
pub(crate) const BROWSER: &str = "198.51.100.7:6000";

/// Nothing that is tested here takes as many steps.
const MAX_STEPS: usize = 200_000;

/// One side: an agent and the world as it sees it.
pub(crate) struct End {
    pub(crate) agent: Agent,
    pub(crate) own: OwnIce,
    pub(crate) events: Vec<(Instant, Event)>,
    /// What it sent, and when.
    pub(crate) sent: Vec<(Instant, Transmit)>,
    /// By which address others see one of its own.
    pub(crate) nat: HashMap<SocketAddr, SocketAddr>,
}

impl End {
    pub(crate) fn peer_ice(&self) -> PeerIce {
        let OwnIce { credentials, candidates, lite } = self.own.clone();
        PeerIce { credentials, candidates, lite, more: false }
    }

    /// The events, without times.
    pub(crate) fn told(&self) -> Vec<Event> {
        self.events.iter().map(|(_, event)| event.clone()).collect()
    }

    fn sees(&self, public: SocketAddr) -> Option<SocketAddr> {
        let behind = self.nat.iter().find(|(_, seen)| **seen == public).map(|(own, _)| *own);
        let open = |base: &SocketAddr| *base == public && !self.nat.contains_key(base);
        behind.or_else(|| self.own.candidates.iter().map(Candidate::base).find(open))
    }

    fn component(&self, local: SocketAddr) -> u16 {
        let own = self.own.candidates.iter().find(|own| own.base() == local);
        own.expect("an agent sends from its own addresses").component
    }
}

struct Flying {
    at: Instant,
    from: SocketAddr,
    to: SocketAddr,
    receiver: usize,
    bytes: Vec<u8>,
}

/// The network. Everything in it comes again alike, but for what agents draw at random.
pub(crate) struct Network {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) ends: [End; 2],
    /// Of a hundred datagrams, how many are lost.
    pub(crate) loss: u64,
    /// Of a hundred datagrams, how many come twice.
    pub(crate) twice: u64,
    /// How long they take, and how much longer at most.
    pub(crate) delay: (Duration, Duration),
    /// Addresses that nothing comes to, or from.
    pub(crate) dead: Vec<SocketAddr>,
    flying: Vec<Flying>,
    random: u64,
}

impl Network {
    /// Of a browser and a gateway that have told each other nothing.
    pub(crate) fn pair(lite: bool) -> Self {
        Self::new([own('b', false, &[BROWSER]), own('g', lite, &[GATEWAY])])
    }

    /// Of the two, who have found their way.
    pub(crate) fn connected(lite: bool) -> Self {
        let mut network = Self::pair(lite);
        network.signal();
        network.connect(SECOND);
        network.run(SECOND);
        network
    }

    /// Of two that have told each other nothing; the first controls.
    pub(crate) fn new(ends: [OwnIce; 2]) -> Self {
        Self::with_roles(ends, [true, false])
    }

    pub(crate) fn with_roles(ends: [OwnIce; 2], controlling: [bool; 2]) -> Self {
        let now = Instant::now();
        let mut index = 0;
        let ends = ends.map(|own| {
            index += 1;
            End {
                agent: Agent::new(&own, controlling[index - 1], now),
                own,
                events: Vec::new(),
                sent: Vec::new(),
                nat: HashMap::new(),
            }
        });
        let delay = (Duration::from_millis(10), Duration::ZERO);
        let (loss, twice, random) = (0, 0, 0x9e37_79b9_7f4a_7c15);
        Self { start: now, now, ends, loss, twice, delay, dead: Vec::new(), flying: Vec::new(), random }
    }

    /// Has each know of the other.
    pub(crate) fn signal(&mut self) {
        for receiver in 0..2 {
            let peer = self.ends[1 - receiver].peer_ice();
            self.ends[receiver].agent.set_peer(&peer, self.now);
        }
    }

    /// Until both have a way for all components, which has to be before `most` is over.
    pub(crate) fn connect(&mut self, most: Duration) {
        let end = self.now + most;
        let connected = |network: &Self| {
            network.ends.iter().all(|end| {
                let mut components = end.own.candidates.iter().map(|own| own.component);
                components.all(|component| end.agent.selected(component).is_some())
            })
        };
        while !connected(self) && self.now < end {
            self.run(Duration::from_millis(1));
        }
        let states: Vec<_> = self.ends.iter().map(|end| (end.agent.state(), end.told())).collect();
        assert!(connected(self), "after {most:?}: {states:#?}");
    }

    /// For so long.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..MAX_STEPS {
            let due = self.drain();
            let arrival = self.flying.iter().map(|one| one.at).min();
            let next = due.into_iter().flatten().chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.deliver();
            for (end, due) in self.ends.iter_mut().zip(due) {
                if due.is_some_and(|due| due <= self.now) {
                    end.agent.handle_timeout(self.now);
                }
            }
        }
        panic!("agents that are never done");
    }

    /// What `event` of component 1 says when it last came to the side, with the time since the start.
    pub(crate) fn when(&self, side: usize, which: impl Fn(&Event) -> bool) -> Option<Duration> {
        let mut events = self.ends[side].events.iter().rev();
        events.find(|(_, event)| which(event)).map(|(at, _)| *at - self.start)
    }

    /// Takes all that agents have to say, and returns when they want to be asked again.
    fn drain(&mut self) -> [Option<Instant>; 2] {
        let mut due = [None; 2];
        for (side, due) in due.iter_mut().enumerate() {
            for _ in 0..MAX_STEPS {
                match self.ends[side].agent.poll() {
                    Output::Transmit(transmit) => self.send(side, &transmit),
                    Output::Event(event) => self.ends[side].events.push((self.now, event)),
                    Output::Timeout(at) => {
                        *due = at;
                        break;
                    }
                }
            }
        }
        due
    }

    fn send(&mut self, side: usize, transmit: &Transmit) {
        let end = &mut self.ends[side];
        assert_eq!(end.component(transmit.local), transmit.component);
        end.sent.push((self.now, transmit.clone()));
        let from = end.nat.get(&transmit.local).copied().unwrap_or(transmit.local);
        let copies = 1 + usize::from(self.chance(self.twice));
        let local = self.ends[1 - side].sees(transmit.remote);
        let dead = [from, transmit.remote].iter().any(|address| self.dead.contains(address));
        for _ in 0..copies {
            let lost = self.chance(self.loss);
            let jitter = Duration::from_micros(self.next() % (self.delay.1.as_micros() as u64 + 1));
            if let Some(to) = local.filter(|_| !dead && !lost) {
                let at = self.now + self.delay.0 + jitter;
                self.flying.push(Flying { at, from, to, receiver: 1 - side, bytes: transmit.bytes.clone() });
            }
        }
    }

    fn deliver(&mut self) {
        let mut due: Vec<_> = self.flying.extract_if(.., |one| one.at <= self.now).collect();
        due.sort_by_key(|one| one.at);
        for Flying { from, to, receiver, bytes, .. } in due {
            let end = &mut self.ends[receiver];
            let component = end.component(to);
            // What is late or of before a restart is no fault; what is is seen in the events.
            let _ = end.agent.handle_datagram(self.now, to, from, component, &bytes);
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// An agent's own, with candidates for component 1 at `addresses`, the best first.
pub(crate) fn own(name: char, lite: bool, addresses: &[&str]) -> OwnIce {
    own_of(name, lite, &addresses.iter().map(|address| (1, *address)).collect::<Vec<_>>())
}

/// The same of several components.
pub(crate) fn own_of(name: char, lite: bool, addresses: &[(u16, &str)]) -> OwnIce {
    let candidates = addresses.iter().enumerate().map(|(index, (component, address))| {
        let preference = 65535 - index as u16;
        Candidate::host(*component, address.parse().unwrap(), preference)
    });
    OwnIce { credentials: credentials(name), candidates: candidates.collect(), lite }
}

pub(crate) fn credentials(name: char) -> Credentials {
    Credentials::new(&name.to_string().repeat(8), &name.to_string().repeat(24)).unwrap()
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn is_selected(event: &Event) -> bool {
    matches!(event, Event::Selected { .. })
}

pub(crate) fn is_lost(event: &Event) -> bool {
    matches!(event, Event::ConsentLost { .. })
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
