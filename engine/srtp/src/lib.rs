//! SRTP and SRTCP: cryptographic contexts and batched protection (RFC 3711, RFC 7714).
//!
//! Sans-IO, without allocation per packet. A batch is a slice of [`Job`]s, each a packet in its own
//! buffer with tailroom and the number of its cryptographic context; every job gets its own result.
//!
//! ```text
//! MasterKey ──derive──▶ SessionKeys ──Arc──▶ Inbound  ◀── unprotect(contexts, jobs)
//!  (suite, key, salt)    (expanded)      └──▶ Outbound ◀── protect(contexts, jobs)
//! ```
//!
//! Receiving has one order, in one function: estimate the index, check for replay, authenticate,
//! decrypt, commit (RFC 3711 §3.3). Two copies of a packet in one batch both pass the check; the
//! commit decides.
//!
//! The [`guide`] shows by example how it is used. A single packet is a batch of one:
//!
//! ```
//! use std::slice::from_mut;
//! use std::sync::Arc;
//! use sluice_srtp::{Inbound, Job, KeyId, Kind, Lifetime, MasterKey, Mki, Outbound, ReplayWindow};
//! use sluice_srtp::{MAX_OVERHEAD, SessionKeys, Suite, protect, unprotect};
//!
//! let master = MasterKey::new(Suite::AesCm128HmacSha1_80, &[1; 16], &[2; 14])?;
//! let keys = Arc::new(SessionKeys::derive(KeyId(1), &master, Mki::NONE, Lifetime::MAX)?);
//! let mut sender = Outbound::new(0xcafe_babe, keys.clone(), 0);
//! let mut receiver = Inbound::new(0xcafe_babe, keys, ReplayWindow::default(), 0);
//!
//! let packet = [&[0x80, 0, 0, 1, 0, 0, 0, 0, 0xca, 0xfe, 0xba, 0xbe][..], b"media"].concat();
//! let mut buffer = [&packet[..], &[0; MAX_OVERHEAD]].concat();
//! let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, packet.len())];
//! protect(from_mut(&mut sender), &mut jobs);
//! jobs[0].result?;
//! assert_eq!(jobs[0].len, packet.len() + 10);
//!
//! unprotect(from_mut(&mut receiver), &mut jobs);
//! jobs[0].result?;
//! assert_eq!(jobs[0].packet[..jobs[0].len], packet);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod context;
mod error;
pub mod guide;
mod inbound;
mod index;
pub mod kdf;
mod keys;
mod master;
mod outbound;
pub mod perc;
mod protect;
mod rate;
mod replay;
pub mod rtcp;
pub mod rtp;
mod single;
mod suite;
mod transform;
mod unprotect;

pub use context::{Contexts, MAX_KEYS, Position, RocOnRekey};
pub use error::Error;
pub use inbound::Inbound;
pub use keys::{SessionKeys, SessionMaterial};
pub use master::{Indices, KeyError, KeyId, KeyOptions, Lifetime, MAX_MKI, MasterKey, Mki, Omit};
pub use outbound::Outbound;
pub use protect::protect;
pub use rate::DerivationRate;
pub use replay::ReplayWindow;
pub use single::{Cryptex, ExtensionIds, Rcc, RccMode};
pub use suite::{Suite, UnknownSuite};
pub use unprotect::unprotect;

pub use sluice_kernels::{Kernel, SelectError, prefetch, selected as selected_kernel};

/// Most jobs that are worked through together; a longer slice takes several rounds. More would gain nothing:
/// the kernels are full with sixteen, and what 32 jobs need of memory stays in the first cache.
pub const MAX_BATCH: usize = 32;

/// Most octets that protection can add: two GCM tags with an original header block, a ROC or an SRTCP index, cryptex's empty extension, MKI.
pub const MAX_OVERHEAD: usize = 33 + 4 + 4 + MAX_MKI;

/// Whether a packet is RTP or RTCP; RFC 5761 §4 tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A media packet.
    Rtp,
    /// A control packet, compound or reduced-size.
    Rtcp,
}

/// One packet to protect or unprotect.
pub struct Job<'a> {
    /// Number of the packet's cryptographic context in the [`Contexts`] given beside the batch.
    pub context: usize,
    /// RTP or RTCP.
    pub kind: Kind,
    /// The packet's buffer: the packet, then tailroom.
    pub packet: &'a mut [u8],
    /// In: octets of the packet. Out: octets of the result, if there is one.
    pub len: usize,
    /// Out: what became of the packet. On an error the packet's octets are as they were.
    pub result: Result<(), Error>,
}

impl<'a> Job<'a> {
    /// A job that has not run yet.
    pub const fn new(context: usize, kind: Kind, packet: &'a mut [u8], len: usize) -> Self {
        Self { context, kind, packet, len, result: Ok(()) }
    }
}
