//! Key installs: how fast session keys of new calls can be derived and expanded.

use std::hint::black_box;
use std::time::Instant;

use sluice_srtp::{KeyId, Lifetime, MasterKey, Mki, SessionKeys, Suite};

use crate::packets::Session;

/// Installs per second that one core shall reach.
pub const TARGET: f64 = 1_500_000.0;

const SUITE: Suite = Suite::AesCm128HmacSha1_80;
const COUNT: usize = 2000;

/// Calls of [`SessionKeys::derive`] per second for AES_CM_128_HMAC_SHA1_80, best round: from the
/// master key to RTP and RTCP keys ready for use, each in memory of its own.
pub fn sluice(rounds: usize) -> f64 {
    let masters: Vec<_> = (0..COUNT)
        .map(|n| {
            let session = Session::new(SUITE, n);
            MasterKey::new(SUITE, session.key(), session.salt()).expect("lengths of the suite")
        })
        .collect();
    let mut keys = Vec::with_capacity(COUNT);
    best(rounds, || {
        keys.clear();
        let begin = Instant::now();
        for (n, master) in masters.iter().enumerate() {
            let id = KeyId(n as u64);
            keys.push(
                SessionKeys::derive(id, black_box(master), Mki::NONE, Lifetime::MAX).expect("a kernel"),
            );
        }
        begin.elapsed()
    })
}

/// The same for libsrtp: `srtp_create` and `srtp_add_stream`.
#[cfg(feature = "peers")]
pub fn libsrtp(rounds: usize) -> f64 {
    let sessions: Vec<_> = (0..COUNT).map(|n| Session::new(SUITE, n)).collect();
    best(rounds, || crate::peers::libsrtp_installs(&sessions))
}

fn best(rounds: usize, mut round: impl FnMut() -> std::time::Duration) -> f64 {
    let fastest = (0..rounds).map(|_| round().as_secs_f64()).fold(f64::INFINITY, f64::min);
    COUNT as f64 / fastest
}
