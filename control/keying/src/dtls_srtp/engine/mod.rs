//! What does a handshake: one trait, and a library behind each of its two implementations.

mod dimpl;
mod openssl;
mod sessions;

use std::time::Instant;

use sluice_srtp::Suite;
use zeroize::Zeroizing;

pub(super) use self::dimpl::{Dimpls, Opens};
pub(super) use self::openssl::{AfterCookie, Openssls, openssl_knows};
use super::{DtlsError, Fingerprint, PeerDtls, Version};

/// A handshake in a library. It is never handed a datagram that is not made of records.
pub(super) trait Engine: Send {
    /// Takes what the peer sent.
    fn receive(&mut self, now: Instant, datagram: &[u8], outcome: &mut Outcome);

    /// Time has passed.
    fn timeout(&mut self, now: Instant, outcome: &mut Outcome);

    /// Says that it is over, if there are keys to say it with.
    fn close(&mut self, now: Instant, outcome: &mut Outcome);

    /// When time is next of interest.
    fn next_timeout(&self) -> Option<Instant>;

    /// Whom to take a certificate from, so that another one is refused with an alert.
    fn set_peer(&mut self, peer: &PeerDtls);

    /// Keeps the session for the peer whose certificate this signalled fingerprint is of.
    fn remember(&mut self, peer: &Fingerprint, now: Instant);
}

/// What came of a call.
#[derive(Default)]
pub(super) struct Outcome {
    /// To be sent.
    pub(super) datagrams: Vec<Vec<u8>>,
    pub(super) steps: Vec<Step>,
}

/// What came of it besides datagrams.
pub(super) enum Step {
    /// The peer has shown this certificate, in DER. Before [`Step::Established`].
    PeerCertificate(Vec<u8>),
    /// The handshake is through.
    Established(Box<Established>),
    /// The peer closed the association.
    Closed,
    /// It is over before its time.
    Failed(DtlsError),
}

/// What a handshake brought.
pub(super) struct Established {
    pub(super) version: Version,
    pub(super) cipher: String,
    pub(super) suite: Suite,
    /// As exported (RFC 5764 section 4.2).
    pub(super) material: Zeroizing<Vec<u8>>,
    pub(super) resumed: bool,
    pub(super) forward_secret: bool,
}
