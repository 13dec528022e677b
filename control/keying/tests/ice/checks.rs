//! Checks written by hand, with the integrity of the STUN library rather than ours.

use std::net::SocketAddr;
use std::time::Instant;

use sluice_keying::ice::{Agent, Event, IceError, Output};
use stun_types::attribute::{AttributeType, ErrorCode, RawAttribute, Username, XorMappedAddress};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, Message, MessageWrite, MessageWriteExt, MessageWriteVec,
    ShortTermCredentials,
};
use stun_types::prelude::*;

use crate::network::address;

/// A check to be.
#[derive(Clone)]
pub(crate) struct Check {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) algorithms: Vec<IntegrityAlgorithm>,
    pub(crate) fingerprint: bool,
    pub(crate) attributes: Vec<(u16, Vec<u8>)>,
}

pub(crate) const PRIORITY: u16 = 0x24;
pub(crate) const USE_CANDIDATE: u16 = 0x25;
pub(crate) const CONTROLLED: u16 = 0x8029;
pub(crate) const CONTROLLING: u16 = 0x802a;

impl Check {
    /// A right one, of a peer that controls, from the agent called `from` to the one called `to`.
    pub(crate) fn new(from: char, to: char) -> Self {
        let [from, ufrag] = [from, to].map(|name| name.to_string().repeat(8));
        Self {
            username: Some(format!("{ufrag}:{from}")),
            password: Some(to.to_string().repeat(24)),
            algorithms: vec![IntegrityAlgorithm::Sha1],
            fingerprint: true,
            attributes: vec![(PRIORITY, 1_845_501_695_u32.to_be_bytes().to_vec()), (CONTROLLING, vec![7; 8])],
        }
    }

    pub(crate) fn nominating(mut self) -> Self {
        self.attributes.push((USE_CANDIDATE, Vec::new()));
        self
    }

    pub(crate) fn with_priority(mut self, priority: u32) -> Self {
        self.attributes[0].1 = priority.to_be_bytes().to_vec();
        self
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut writer = Message::builder_request(BINDING, MessageWriteVec::new());
        if let Some(username) = &self.username {
            writer.add_attribute(&RawAttribute::new(Username::TYPE, username.as_bytes())).unwrap();
        }
        for (kind, value) in &self.attributes {
            writer.add_attribute(&RawAttribute::new(AttributeType::new(*kind), value)).unwrap();
        }
        if let Some(password) = &self.password {
            let key = ShortTermCredentials::new(password.clone()).into();
            for algorithm in &self.algorithms {
                writer.add_message_integrity(&key, *algorithm).unwrap();
            }
        }
        if self.fingerprint {
            writer.add_fingerprint().unwrap();
        }
        writer.finish()
    }
}

/// What a datagram did.
pub(crate) struct Effect {
    pub(crate) result: Result<(), IceError>,
    pub(crate) responses: Vec<Vec<u8>>,
    pub(crate) events: Vec<Event>,
}

impl Effect {
    /// The code of the one error response.
    pub(crate) fn refusal(&self) -> u16 {
        assert_eq!(self.responses.len(), 1);
        Message::from_bytes(&self.responses[0]).unwrap().attribute::<ErrorCode>().unwrap().code()
    }

    /// The address in the one success response, whose integrity has to be of `password`.
    pub(crate) fn mapped(&self, password: &str) -> (SocketAddr, IntegrityAlgorithm) {
        assert_eq!(self.responses.len(), 1, "{:?}", self.result);
        let response = Message::from_bytes(&self.responses[0]).unwrap();
        let key = ShortTermCredentials::new(password.to_owned()).into();
        let algorithm = response.validate_integrity(&key).unwrap();
        assert!(!response.has_attribute(Username::TYPE));
        let mapped = response.attribute::<XorMappedAddress>().unwrap();
        (mapped.addr(response.transaction_id()), algorithm)
    }
}

/// Has `agent` take `datagram` from `remote`, for component 1 at 192.0.2.1:5000.
pub(crate) fn receive(agent: &mut Agent, now: Instant, remote: SocketAddr, datagram: &[u8]) -> Effect {
    let result = agent.handle_datagram(now, address("192.0.2.1:5000"), remote, 1, datagram);
    let (mut responses, mut events) = (Vec::new(), Vec::new());
    loop {
        match agent.poll() {
            Output::Transmit(transmit) if transmit.remote == remote && transmit.bytes[0] == 1 => {
                responses.push(transmit.bytes);
            }
            Output::Transmit(_) => {}
            Output::Event(event) => events.push(event),
            Output::Timeout(_) => return Effect { result, responses, events },
        }
    }
}
