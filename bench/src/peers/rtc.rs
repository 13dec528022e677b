//! rtc-srtp, the sans-IO branch of webrtc-rs, on its default crypto provider, ring.

use std::time::Duration;

use bytes::BytesMut;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::RTCCryptoProvider;
use rtc_srtp::crypto::providers::RingProvider;
use rtc_srtp::option::srtp_replay_protection;
use rtc_srtp::protection_profile::ProtectionProfile;
use sluice_srtp::Suite;

use super::{ALONE, WINDOW};
use crate::engine::{Direction, Engine, Peer, Scope, one_by_one};
use crate::packets::{Packet, RING, Session};

pub(super) fn peer() -> Peer {
    Peer {
        name: "rtc-srtp",
        version: format!("{} on ring {}", env!("VERSION_RTC_SRTP"), env!("VERSION_RING")),
        scope: Scope::Whole,
        batches: ALONE,
        most_sessions: usize::MAX,
        open: |_, sessions| Ok(Some(Box::new(Rtc::new(sessions)?))),
    }
}

struct Rtc {
    outbound: Vec<Context>,
    inbound: Vec<Context>,
    /// Its results are new buffers; each is freed when the next of its slot comes.
    results: Vec<BytesMut>,
}

impl Rtc {
    fn new(sessions: &[Session]) -> anyhow::Result<Self> {
        Ok(Self {
            outbound: sessions.iter().map(|session| context(session, false)).collect::<Result<_, _>>()?,
            inbound: sessions.iter().map(|session| context(session, true)).collect::<Result<_, _>>()?,
            results: vec![BytesMut::new(); RING],
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
    let provider = RingProvider::new();
    Ok(Context::new(session.key(), session.salt(), profile, replay, None, provider.crypto())?)
}

impl Engine for Rtc {
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
