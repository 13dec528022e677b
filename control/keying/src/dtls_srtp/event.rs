//! What an association has to say.

use std::fmt;
use std::time::Instant;

use super::{DtlsError, Fingerprint, KeyKind, Keys, Role, Version};

/// What is to be done next.
#[derive(Debug)]
pub enum Output {
    /// Send this to the peer.
    Transmit(Vec<u8>),
    /// Something happened.
    Event(Event),
    /// Nothing, until a datagram comes or this instant.
    Timeout(Option<Instant>),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is one step further.
    Progress(Progress),
    /// The peer has shown a certificate, and that it has its key.
    PeerCertificate {
        /// Of what kind.
        kind: Option<KeyKind>,
        /// Its hash by SHA-256.
        fingerprint: Fingerprint,
    },
    /// Keys to install. They come once.
    Keys(Box<Keys>),
    /// The peer is not who signalling says: [`DtlsError::FingerprintMismatch`] or [`DtlsError::NoPeerCertificate`]. There
    /// will be no keys, and ones that came are not to be used any more.
    Refused(DtlsError),
    /// The peer has closed the association. Its keys go on until signalling says otherwise (RFC 8842 section 5.5).
    Closed,
    /// There will be no keys.
    Failed(DtlsError),
}

/// A step of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its own `ClientHello` is out.
    ClientHelloSent,
    /// A client's came, and this version is spoken.
    ClientHello(Version),
    /// The server answers.
    ServerAnswers,
    /// The handshake is through. Keys come with it if the certificate is known to be right, or later.
    Handshaken(Version),
}

/// How far an association is. In words it says why there are no keys yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing came that begins a handshake.
    AwaitingClientHello {
        /// Why the last `ClientHello` was not answered, if one came.
        rejected: Option<DtlsError>,
    },
    /// The handshake is under way.
    Handshaking {
        /// The gateway's part.
        role: Role,
        /// Datagrams that went out.
        sent: u64,
        /// Datagrams that came and belong to it.
        received: u64,
        /// What the peer seems to have given up with.
        alert: Option<super::Alert>,
    },
    /// The handshake is through; signalling has not said yet whose certificate is right.
    AwaitingFingerprint {
        /// What the certificate hashes to by SHA-256.
        shown: Fingerprint,
    },
    /// Keys were given.
    Established {
        /// The version that is spoken.
        version: Version,
        /// The cipher suite of the handshake.
        cipher: String,
    },
    /// Closed by either end.
    Closed,
    /// Failed or refused.
    Failed(DtlsError),
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientHelloSent => f.write_str("the ClientHello is sent"),
            Self::ClientHello(version) => write!(f, "a ClientHello came; {version} is spoken"),
            Self::ServerAnswers => f.write_str("the server answers"),
            Self::Handshaken(version) => write!(f, "the {version} handshake is through"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwaitingClientHello { rejected: None } => {
                f.write_str("no ClientHello has come from the peer, which is to begin")
            }
            Self::AwaitingClientHello { rejected: Some(error) } => {
                write!(f, "no ClientHello has come that could be answered; of the last one: {error}")
            }
            Self::Handshaking { role: Role::Client, sent, received: 0, .. } => {
                write!(f, "no answer to the ClientHello yet ({sent} datagrams sent)")
            }
            Self::Handshaking { alert: Some(alert), .. } => {
                write!(f, "the handshake stands still since an alert that anybody could have sent: {alert}")
            }
            Self::Handshaking { sent, received, .. } => {
                write!(f, "the handshake is under way ({sent} datagrams sent, {received} received)")
            }
            Self::AwaitingFingerprint { shown } => {
                write!(
                    f,
                    "the handshake is through, but signalling has brought no fingerprint yet to hold {shown} against"
                )
            }
            Self::Established { version, cipher } => write!(f, "keys are there, by {version} with {cipher}"),
            Self::Closed => f.write_str("the association is closed"),
            Self::Failed(error) => write!(f, "there will be no keys: {error}"),
        }
    }
}
