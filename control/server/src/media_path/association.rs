//! A DTLS association of a leg, and what is known of it.

use std::net::SocketAddr;
use std::time::Instant;

use sluice_keying::dtls_srtp::{Association, Fingerprint, Keys, Role, State};
use sluice_proto::v1;

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Flights go to and fro.
    Handshake,
    /// It has brought keys.
    Established,
    /// The peer ended it.
    Closed,
    /// It is of no use, and why.
    Failed(String),
}

/// An association.
pub(super) struct Line {
    pub(super) machine: Association,
    pub(super) role: Role,
    pub(super) name: Name,
    /// Where it is made with.
    pub(super) remote: SocketAddr,
    pub(super) begun: Instant,
    pub(super) stage: Stage,
    /// Whether it counts as half open.
    pub(super) is_half_open: bool,
    /// When its machine wants to be woken.
    pub(super) timeout: Option<Instant>,
    pub(super) facts: Facts,
}

/// Names an association of a leg.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Name {
    /// Tells those apart that the gateway calls the same.
    pub(super) number: u32,
    /// As the gateway tells it the peer (RFC 8842 section 4).
    pub(super) tls_id: String,
}

/// What its handshake came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) cipher: String,
    pub(super) suite: String,
    pub(super) peer: Option<Fingerprint>,
    pub(super) resumed: bool,
    pub(super) forward_secret: bool,
}

impl Facts {
    pub(super) fn of(keys: &Keys) -> Self {
        Self {
            version: keys.version.to_string(),
            cipher: keys.cipher.clone(),
            suite: keys.suite.name().to_owned(),
            peer: Some(keys.peer_fingerprint.clone()),
            resumed: keys.resumed,
            forward_secret: keys.forward_secret,
        }
    }
}

impl Line {
    /// Whether it may yet bring keys.
    pub(super) fn is_under_way(&self) -> bool {
        self.stage == Stage::Handshake
    }

    /// Whether another may take its place.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.stage, Stage::Failed(_))
    }

    /// Where it stands, as the API says it.
    pub(super) fn state(&self) -> v1::DtlsState {
        match &self.stage {
            Stage::Handshake if matches!(self.machine.state(), State::AwaitingFingerprint { .. }) => {
                v1::DtlsState::Unverified
            }
            Stage::Handshake => v1::DtlsState::Handshake,
            Stage::Established => v1::DtlsState::Established,
            Stage::Closed => v1::DtlsState::Closed,
            Stage::Failed(_) => v1::DtlsState::Failed,
        }
    }

    /// In words, why it has brought no keys; empty: it has.
    pub(super) fn explanation(&self) -> String {
        match &self.stage {
            Stage::Handshake => self.machine.state().to_string(),
            Stage::Established => String::new(),
            Stage::Closed => {
                "the peer has closed its DTLS association: nothing is sent to it any more".to_owned()
            }
            Stage::Failed(why) => why.clone(),
        }
    }
}

/// Whether a datagram begins with a ClientHello: a handshake record (22) in the clear whose message is of type 1.
pub(super) fn is_client_hello(datagram: &[u8]) -> bool {
    datagram.first() == Some(&22) && datagram.get(3..5) == Some(&[0, 0]) && datagram.get(13) == Some(&1)
}

/// Whether a datagram begins with a protected record: of an epoch after the first (RFC 6347 section 4.1), or with a unified
/// header (RFC 9147 section 4).
pub(super) fn is_protected(datagram: &[u8]) -> bool {
    let unified = matches!(datagram.first(), Some(0x20..=0x3f));
    unified || datagram.get(3..5).is_some_and(|epoch| epoch != [0, 0])
}

/// A role as the API names it.
pub(super) const fn role_shown(role: Role) -> v1::DtlsRole {
    match role {
        Role::Client => v1::DtlsRole::Client,
        Role::Server => v1::DtlsRole::Server,
    }
}
