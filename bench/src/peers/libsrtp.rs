//! libsrtp, built from source on OpenSSL, built from source too.

use std::io::Cursor;
use std::time::{Duration, Instant};

use sluice_srtp::Suite;
use srtp::{CryptoPolicy, StreamPolicy};

use super::{ALONE, WINDOW};
use crate::engine::{Direction, Engine, Peer, Scope, one_by_one};
use crate::packets::{Packet, Session};

/// libsrtp writes up to so many octets behind a packet.
const TRAILER: usize = srtp::sys::SRTP_MAX_TRAILER_LEN as usize;

pub(super) fn peer() -> Peer {
    Peer {
        name: "libsrtp",
        version: format!("{}, {}", srtp::get_version_string(), openssl::version::version()),
        scope: Scope::Whole,
        batches: ALONE,
        most_sessions: usize::MAX,
        open: |_, sessions| Ok(Some(Box::new(Libsrtp::new(sessions)?))),
    }
}

struct Libsrtp {
    outbound: Vec<srtp::Session>,
    inbound: Vec<srtp::Session>,
}

impl Libsrtp {
    fn new(sessions: &[Session]) -> Result<Self, srtp::Error> {
        let contexts = || sessions.iter().map(context).collect::<Result<Vec<_>, _>>();
        Ok(Self { outbound: contexts()?, inbound: contexts()? })
    }
}

fn context(session: &Session) -> Result<srtp::Session, srtp::Error> {
    let policy = match session.suite {
        Suite::AeadAes128Gcm => CryptoPolicy::aes_gcm_128_16_auth(),
        Suite::AeadAes256Gcm => CryptoPolicy::aes_gcm_256_16_auth(),
        _ => CryptoPolicy::aes_cm_128_hmac_sha1_80(),
    };
    let key = session.key_and_salt();
    let mut context = srtp::Session::new()?;
    let policy = StreamPolicy {
        rtp: policy,
        rtcp: policy,
        key,
        window_size: WINDOW as u64,
        ..StreamPolicy::default()
    };
    context.add_stream(session.ssrc, policy)?;
    Ok(context)
}

impl Engine for Libsrtp {
    fn run(&mut self, direction: Direction, packets: &mut [Packet<'_>], _: usize) -> Duration {
        match direction {
            Direction::Protect => one_by_one(packets, |packet| {
                // The wrapper wants a buffer of exactly the room that libsrtp may use.
                let mut packet_and_room = Cursor::new(&mut packet.buffer[..packet.len + TRAILER]);
                packet_and_room.set_position(packet.len as u64);
                packet.ok = self.outbound[packet.session].protect(&mut packet_and_room).is_ok();
                packet.len = packet_and_room.position() as usize;
            }),
            Direction::Unprotect => one_by_one(packets, |packet| {
                let mut octets = Cursor::new(&mut packet.buffer[..packet.len]);
                octets.set_position(packet.len as u64);
                packet.ok = self.inbound[packet.session].unprotect(&mut octets).is_ok();
                packet.len = octets.position() as usize;
            }),
        }
    }
}

/// Time to set up contexts of these sessions: `srtp_create` and one stream each.
pub fn installs(sessions: &[Session]) -> Duration {
    let mut contexts = Vec::with_capacity(sessions.len());
    let begin = Instant::now();
    contexts.extend(sessions.iter().map(|session| context(session).expect("a valid policy")));
    begin.elapsed()
}
