//! Keys from a DTLS handshake in the media path (RFC 5763, RFC 5764), whose certificates signalling vouches for.

mod fingerprint;
mod parameters;

pub use fingerprint::{Fingerprint, FingerprintError, HashFunction};
pub use parameters::{AgreedDtls, OwnDtls, PeerDtls, Role};
