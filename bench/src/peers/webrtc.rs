//! webrtc-srtp of webrtc-rs, on RustCrypto.

use std::time::Duration;

use bytes::Bytes;
use sluice_srtp::Suite;
use webrtc_srtp::context::Context;
use webrtc_srtp::option::srtp_replay_protection;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::{ALONE, WINDOW};
use crate::engine::{Direction, Engine, Peer, Scope, one_by_one};
use crate::packets::{Packet, RING, Session};

pub(super) fn peer() -> Peer {
    Peer {
        name: "webrtc-srtp",
        version: env!("VERSION_WEBRTC_SRTP").into(),
        scope: Scope::Whole,
        batches: ALONE,
        most_sessions: usize::MAX,
        open: |_, sessions| Ok(Some(Box::new(Webrtc::new(sessions)?))),
    }
}

struct Webrtc {
    outbound: Vec<Context>,
    inbound: Vec<Context>,
    /// Its results are new buffers; each is freed when the next of its slot comes.
    results: Vec<Bytes>,
}

impl Webrtc {
    fn new(sessions: &[Session]) -> anyhow::Result<Self> {
        Ok(Self {
            outbound: sessions.iter().map(|session| context(session, false)).collect::<Result<_, _>>()?,
            inbound: sessions.iter().map(|session| context(session, true)).collect::<Result<_, _>>()?,
            results: vec![Bytes::new(); RING],
        })
    }
}

fn context(session: &Session, receives: bool) -> anyhow::Result<Context> {
    let profile = match session.suite {
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        _ => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let replay = receives.then(|| srtp_replay_protection(WINDOW));
    Ok(Context::new(session.key(), session.salt(), profile, replay, None)?)
}

impl Engine for Webrtc {
    fn run(&mut self, direction: Direction, packets: &mut [Packet<'_>], _: usize) -> Duration {
        let mut results = self.results.iter_mut();
        one_by_one(packets, |packet| {
            let octets = &packet.buffer[..packet.len];
            let result = match direction {
                Direction::Protect => self.outbound[packet.session].encrypt_rtp(octets),
                Direction::Unprotect => self.inbound[packet.session].decrypt_rtp(octets),
            };
            if let (Ok(result), Some(slot)) = (result, results.next()) {
                packet.ok = true;
                packet.len = result.len();
                *slot = result;
            }
        })
    }

    fn output<'a>(&'a self, _: &'a [Packet<'_>], at: usize) -> &'a [u8] {
        &self.results[at]
    }
}
