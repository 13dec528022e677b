//! HMAC-SHA1.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::Kernel;

/// Octets of an untruncated HMAC-SHA1 tag.
pub const SHA1_LEN: usize = 20;

/// An HMAC-SHA1 key with the states after the inner and the outer pad. Zeroized on drop.
pub struct MacKey(Hmac<Sha1>);

impl MacKey {
    /// Runs the key through both pads; any length will do (RFC 2104).
    pub fn new(key: &[u8]) -> Self {
        match Hmac::new_from_slice(key) {
            Ok(state) => Self(state),
            Err(_) => unreachable!("HMAC takes keys of every length (RFC 2104 §2)"),
        }
    }
}

/// One tag to compute over two segments, taken as one string.
pub struct MacJob<'a> {
    /// The expanded key.
    pub key: &'a MacKey,
    /// The authenticated portion of the packet, then what is authenticated without being sent there
    /// (RFC 3711 §4.2: the ROC for RTP).
    pub data: [&'a [u8]; 2],
    /// Out: the untruncated tag.
    pub tag: [u8; SHA1_LEN],
}

/// Computes every job's tag.
pub fn hmac_sha1(kernel: Kernel, jobs: &mut [MacJob<'_>]) {
    match kernel {
        Kernel::Portable => jobs.iter_mut().for_each(portable),
    }
}

fn portable(job: &mut MacJob<'_>) {
    let mut state = job.key.0.clone();
    state.update(job.data[0]);
    state.update(job.data[1]);
    job.tag = state.finalize().into_bytes().into();
}
