//! Interactive Connectivity Establishment (RFC 8445): by which addresses a peer is reached, shown by checks that only it
//! can make.

mod parameters;

pub use parameters::{AgreedIce, Candidate, CandidateKind, Credentials, OwnIce, PeerIce};
