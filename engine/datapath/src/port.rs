//! A local address that legs share.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use sluice_classifier::LocalKey;
use sluice_io::{Component, SocketToken};

use crate::LegId;
use crate::config::Tuning;
use crate::leg::canonical;
use crate::rate::Bucket;
use crate::table::{Index, Key};

/// Names a shared port; chosen by control, unique on its worker.
pub type PortId = u32;

/// Numbers of legs and ports are below this, so that a socket's token can be of either.
pub const MAX_NUMBER: u32 = 1 << 31;

/// A shared port to be.
#[derive(Clone, Debug)]
pub struct PortSetup {
    /// The port's name.
    pub port: PortId,
    /// Its address: a specific one, not the wildcard.
    pub local: SocketAddr,
    /// The kernel socket bound to `local`, non-blocking.
    pub socket: Arc<UdpSocket>,
}

/// What tells a leg from the others of its port, beside its peer's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Which port.
    pub port: PortId,
    /// The SSRCs that signalling says the peer will send (RFC 5576 `a=ssrc`).
    pub ssrcs: Vec<u32>,
    /// The leg's own ICE username fragment (RFC 8839 `a=ice-ufrag`): checks to it are this leg's.
    pub ice_ufrag: Option<Box<str>>,
}

/// A shared port of this worker.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) local: SocketAddr,
    /// How many legs there are.
    pub(crate) legs: usize,
    /// Legs that were not heard yet, and that may be heard from an address that nobody knows.
    pub(crate) waiting: Vec<u32>,
    /// Whose turn it is among those.
    pub(crate) turn: usize,
    /// Legs by their ICE username fragment.
    pub(crate) ufrags: HashMap<Box<str>, u32>,
    /// Packets that more than one leg may try.
    pub(crate) trials: Bucket,
}

impl Port {
    pub(crate) fn new(setup: &PortSetup, tuning: &Tuning) -> Self {
        Self {
            local: canonical(setup.local),
            legs: 0,
            waiting: Vec::new(),
            turn: 0,
            ufrags: HashMap::new(),
            trials: Bucket::new(tuning.auth_failures_per_second.saturating_mul(TRIALS)),
        }
    }

    pub(crate) const fn token(port: PortId) -> SocketToken {
        SocketToken { leg: port | MAX_NUMBER, component: Component::Rtp }
    }
}

/// What a socket's token names.
pub(crate) enum Named {
    Leg(LegId),
    Port(PortId),
}

pub(crate) const fn named(token: SocketToken) -> Named {
    if token.leg < MAX_NUMBER { Named::Leg(token.leg) } else { Named::Port(token.leg - MAX_NUMBER) }
}

/// How many legs one packet may try, and how many times as often as a leg takes packets of unknown SSRCs a port
/// may have packets tried.
pub(crate) const TRIALS: u32 = 8;

/// A peer of a port: the port's place, and the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remote(pub(crate) u32, pub(crate) LocalKey);

impl Remote {
    pub(crate) fn new(port: u32, remote: SocketAddr) -> Self {
        Self(port, LocalKey::from(remote))
    }
}

impl Key for Remote {
    #[inline]
    fn words(&self) -> [u64; 3] {
        let [low, high, port] = self.1.words();
        [low, high, port | u64::from(self.0) << 32]
    }
}

/// The tables by which datagrams of shared ports find their legs' places.
#[derive(Debug)]
pub(crate) struct Finder {
    pub(crate) remotes: Index<Remote>,
    /// Port's place and SSRC, signalled or heard.
    pub(crate) ssrcs: Index<(u32, u32)>,
}

impl Finder {
    pub(crate) fn new(legs: usize, streams: usize) -> Self {
        Self { remotes: Index::new(legs), ssrcs: Index::new(legs + streams) }
    }

    /// What it takes.
    pub(crate) const fn bytes(legs: usize, streams: usize) -> usize {
        Index::<Remote>::bytes(legs) + Index::<(u32, u32)>::bytes(legs + streams)
    }

    /// The leg has the address, whoever had it before.
    pub(crate) fn set_remote(&mut self, remote: Remote, leg: u32) {
        self.remotes.remove(&remote);
        // Has room: a leg has one.
        self.remotes.insert(remote, leg);
    }

    pub(crate) fn forget_remote(&mut self, remote: &Remote, leg: u32) {
        if self.remotes.get(remote) == Some(leg) {
            self.remotes.remove(remote);
        }
    }

    /// The SSRC is the leg's, unless another one has it: then addresses have to tell.
    pub(crate) fn add_ssrc(&mut self, port: u32, ssrc: u32, leg: u32) {
        if self.ssrcs.get(&(port, ssrc)).is_none() {
            // Without room, addresses have to tell as well.
            self.ssrcs.insert((port, ssrc), leg);
        }
    }

    pub(crate) fn forget_ssrc(&mut self, port: u32, ssrc: u32, leg: u32) {
        if self.ssrcs.get(&(port, ssrc)) == Some(leg) {
            self.ssrcs.remove(&(port, ssrc));
        }
    }
}
