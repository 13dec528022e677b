//! What an agent wants done.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What [`super::Agent::poll`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Know this.
    Event(Event),
    /// There is nothing else to do until then, or until something comes; [`super::Agent::handle_timeout`] is to be called
    /// at that time, if there is one.
    Timeout(Option<Instant>),
}

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Of which component.
    pub component: u16,
    /// From which of the own addresses.
    pub local: SocketAddr,
    /// Where to.
    pub remote: SocketAddr,
    /// A STUN message.
    pub bytes: Vec<u8>,
}

/// What became of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer has shown at this address that it knows the password. A handshake may be taken from there
    /// ([`super::Agent::is_checked`]); media is not sent there yet.
    Checked {
        /// Of which component.
        component: u16,
        /// The peer's address.
        remote: SocketAddr,
    },
    /// Media is to be sent this way from now on. It comes again whenever the way changes.
    Selected {
        /// Of which component.
        component: u16,
        /// From which of the own addresses.
        local: SocketAddr,
        /// Where to.
        remote: SocketAddr,
    },
    /// The peer has not shown for 30 seconds that it wants media: sending has to stop (RFC 7675 section 5.1) until there is
    /// another [`Event::Selected`].
    ConsentLost {
        /// Of which component.
        component: u16,
    },
    /// No way to the peer was found in the time that checks may take. One that is found later is still selected.
    Failed {
        /// Of which component.
        component: u16,
    },
    /// Both sides had the same role, and this one changed its own (RFC 8445 section 7.3.1.1).
    Role {
        /// Whether it nominates now.
        controlling: bool,
    },
}

/// How far an agent is, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Signalling has not brought what the peer says of itself.
    NoPeer,
    /// A lite agent waits for the peer's first check.
    NotChecked,
    /// The peer has checked, and has nominated nothing.
    NotNominated,
    /// Checks are made.
    Checking {
        /// Pairs of addresses.
        pairs: usize,
        /// Those of them that do not work.
        failed: usize,
    },
    /// All components have their way.
    Selected,
    /// The peer went silent.
    ConsentLost,
    /// No way was found.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPeer => f.write_str("the peer's ICE credentials have not come yet"),
            Self::NotChecked => f.write_str("the peer has sent no connectivity check yet"),
            Self::NotNominated => {
                f.write_str("the peer has checked, and has not nominated a pair of addresses yet")
            }
            Self::Checking { pairs, failed } => {
                write!(f, "checking {pairs} pairs of addresses, of which {failed} failed so far")
            }
            Self::Selected => f.write_str("addresses are selected"),
            Self::ConsentLost => f.write_str("the peer has not answered or sent a check for 30 seconds"),
            Self::Failed => f.write_str("no pair of addresses worked in the time that checks may take"),
        }
    }
}

/// What an agent has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Checks of the peer that were answered with success.
    pub answered: u64,
    /// Requests that were refused with an error, 487 among them.
    pub refused: u64,
    /// Messages that changed nothing and got no response.
    pub ignored: u64,
    /// Checks that were sent, repetitions and consent checks among them.
    pub sent: u64,
    /// Responses that came to them.
    pub responses: u64,
    /// How long the last consent check of component 1 took; a full agent's only.
    pub round_trip: Option<Duration>,
}
