//! Datagrams, candidates, restarts and time to an ICE agent, lite or full: nothing panics, what the agent sends is STUN, it is
//! done at some time, and a datagram that nobody with the password made has no effect and gets no more back than it has.
//!
//! The first octet chooses the agent; each step is an octet of what, one of who, one of how much, and that much.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use sluice_keying::ice::{Agent, Candidate, Credentials, Output, OwnIce, PeerIce};
use stun_types::attribute::Username;
use stun_types::message::{
    BINDING, IntegrityAlgorithm, Message, MessageClass, MessageType, MessageWrite, MessageWriteExt,
    MessageWriteVec, ShortTermCredentials, TransactionId,
};

const OWN: [&str; 2] = ["ownu", "ownpasswordownpassword"];
const PEER: [&str; 2] = ["peer", "peerpasswordpeerpassword"];

fuzz_target!(|input: &[u8]| {
    let Some((kind, mut rest)) = input.split_first() else { return };
    let mut world = World::new(*kind);
    while let [what, who, length, tail @ ..] = rest {
        let (body, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        world.step(*what, *who, body);
        rest = tail;
    }
});

struct World {
    agent: Agent,
    own: OwnIce,
    now: Instant,
    /// Of the last check that went out, where it went to.
    asked: Option<(TransactionId, SocketAddr, SocketAddr)>,
}

impl World {
    fn new(kind: u8) -> Self {
        let now = Instant::now();
        let host = |component, text: &str| Candidate::host(component, text.parse().unwrap(), 65535);
        let candidates =
            vec![host(1, "192.0.2.1:5000"), host(2, "192.0.2.1:5001"), host(1, "[2001:db8::1]:5000")];
        let credentials = Credentials::new(OWN[0], OWN[1]).unwrap();
        let own = OwnIce { credentials, candidates, lite: kind & 1 == 0 };
        let agent = Agent::new(&own, kind & 2 == 0, now);
        let mut world = Self { agent, own, now, asked: None };
        if kind & 4 == 0 {
            world.set_peer(kind);
        }
        world
    }

    fn set_peer(&mut self, kind: u8) {
        let candidates = vec![Candidate::host(1, address(0), 65535)];
        let credentials = Credentials::new(PEER[0], PEER[1]).unwrap();
        let peer = PeerIce { credentials, candidates, lite: kind & 8 != 0, more: kind & 16 != 0 };
        self.agent.set_peer(&peer, self.now);
    }

    fn step(&mut self, what: u8, who: u8, body: &[u8]) {
        match what % 10 {
            0 => self.raw(who, body),
            1 => self.request(who, body),
            2 => self.response(MessageClass::Success, who, body),
            3 => self.response(MessageClass::Error, who, body),
            4 => self.now += Duration::from_millis(100 * u64::from(who)),
            5 => {
                if let Ok(candidate) = std::str::from_utf8(body).unwrap_or_default().parse::<Candidate>() {
                    assert_eq!(candidate.to_string().parse(), Ok(candidate.clone()));
                    let _ = self.agent.add_peer_candidate(candidate, self.now);
                }
            }
            6 => self.agent.restart(&OwnIce { lite: who & 1 == 0, ..self.own.clone() }, self.now),
            7 => self.set_peer(who),
            8 => _ = self.agent.abandon_restart(self.now),
            _ => self.agent.end_of_candidates(self.now),
        }
        self.drain(true);
        self.agent.handle_timeout(self.now);
        self.drain(true);
    }

    /// Nothing that the fuzzer writes has the right HMAC.
    fn raw(&mut self, who: u8, body: &[u8]) {
        self.drain(true);
        let before = (self.agent.selected(1), self.agent.is_checked(1, address(who)));
        let _ = self.agent.handle_datagram(self.now, self.own.candidates[0].address, address(who), 1, body);
        assert!(self.drain(false) <= body.len(), "no more goes out than came in");
        assert_eq!(before, (self.agent.selected(1), self.agent.is_checked(1, address(who))));
    }

    fn request(&mut self, who: u8, body: &[u8]) {
        let kind = MessageType::from_class_method(MessageClass::Request, BINDING);
        let mut writer = Message::builder(kind, TransactionId::generate(), MessageWriteVec::new());
        writer.add_attribute(&Username::new(&format!("{}:{}", OWN[0], PEER[0])).unwrap()).unwrap();
        let component = 1 + u16::from(who & 1);
        let local = self.own.candidates[usize::from(who % 3)].address;
        let datagram = seal(writer, body, OWN[1]);
        let _ = self.agent.handle_datagram(self.now, local, address(who), component, &datagram);
    }

    fn response(&mut self, class: MessageClass, who: u8, body: &[u8]) {
        let Some((transaction, local, remote)) = self.asked else { return };
        let kind = MessageType::from_class_method(class, BINDING);
        let datagram = seal(Message::builder(kind, transaction, MessageWriteVec::new()), body, PEER[1]);
        let remote = if who == 255 { address(who) } else { remote };
        let _ = self.agent.handle_datagram(self.now, local, remote, 1, &datagram);
    }

    /// Takes all that the agent has to say, and returns how many octets it sent.
    fn drain(&mut self, may_tell: bool) -> usize {
        let mut octets = 0;
        for _ in 0..10_000 {
            match self.agent.poll() {
                Output::Transmit(transmit) => {
                    octets += transmit.bytes.len();
                    let message = Message::from_bytes(&transmit.bytes).unwrap();
                    if message.has_class(MessageClass::Request) {
                        self.asked = Some((message.transaction_id(), transmit.local, transmit.remote));
                    }
                }
                Output::Event(event) => assert!(may_tell, "{event:?}"),
                Output::Timeout(_) => return octets,
            }
        }
        panic!("an agent that is never done");
    }
}

/// `body`, as attributes, under the password.
fn seal(mut writer: MessageWriteVec, body: &[u8], password: &str) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    writer.push_data(&body);
    let key = ShortTermCredentials::new(password.to_owned()).into();
    writer.add_message_integrity(&key, IntegrityAlgorithm::Sha1).unwrap();
    writer.add_fingerprint().unwrap();
    writer.finish()
}

fn address(who: u8) -> SocketAddr {
    SocketAddr::new([198, 51, 100, who].into(), 4000 + u16::from(who))
}
