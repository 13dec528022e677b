//! Keys from a DTLS handshake in the media path (RFC 5763, RFC 5764), whose certificates signalling vouches for.
//!
//! An [`Endpoint`] is what the gateway brings to every handshake: its certificate, and what it puts up with. An
//! [`Association`] is one handshake and what follows, as a machine without sockets or clocks: datagrams and instants in,
//! datagrams, events and the next instant out. Where no check has shown that a peer receives, [`Cookies`] stand before it.
//!
//! Which TLS library does the work, and why there are two, is in `docs/dtls-srtp.md`.

mod association;
mod certificate;
mod choice;
mod collector;
mod cookies;
mod endpoint;
mod engine;
mod error;
mod event;
mod fingerprint;
mod hello;
mod keys;
mod parameters;
mod profile;
mod settings;
mod wire;

pub use association::{Association, FirstFlight};
pub use certificate::{Certificate, Certificates, KeyKind};
pub use cookies::{Admission, Cookies};
pub use endpoint::{Endpoint, Endpoints};
pub use error::{Alert, CertificateError, DtlsError, Ignored};
pub use event::{Event, Output, Progress, State};
pub use fingerprint::{Fingerprint, FingerprintError, HashFunction};
pub use keys::{Keys, Version};
pub use parameters::{AgreedDtls, OwnDtls, PeerDtls, Role};
pub use profile::{OFFERED, can_be_negotiated};
pub use settings::{Settings, Versions};
