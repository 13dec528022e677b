//! Interactive Connectivity Establishment (RFC 8445): by which addresses a peer is reached, shown by checks that only it
//! can make.
//!
//! [`Agent`] is the machine, lite or full; [`Candidate`] reads and writes candidate lines (RFC 8839); what is said of
//! either side in signalling is [`OwnIce`] and [`PeerIce`].

mod agent;
mod answer;
mod candidate;
mod checks;
mod credentials;
mod error;
mod integrity;
mod limits;
mod message;
mod output;
mod pair;
mod parameters;
mod role;
mod selection;
mod session;

pub use agent::Agent;
pub use candidate::priority;
pub use credentials::Credentials;
pub use error::{CandidateError, CredentialsError, IceError};
pub use limits::{CONSENT_LIFETIME, MAX_PAIRS, MAX_PEER_CANDIDATES};
pub use output::{Event, Output, State, Statistics, Transmit};
pub use parameters::{AgreedIce, Candidate, CandidateKind, OwnIce, PeerIce};
