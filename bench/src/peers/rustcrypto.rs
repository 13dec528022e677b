//! RustCrypto, crypto alone: keys and pads expanded once per session.

use std::time::Duration;

use aes::Aes128;
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};
use ctr::cipher::{InnerIvInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::{CtrCore, flavors};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sluice_srtp::Suite;
use subtle::ConstantTimeEq;

use super::ALONE;
use crate::engine::{Direction, Engine, Peer, Scope, one_by_one};
use crate::packets::{HEADER, Packet, RawKeys, Session};

const GCM_TAG: usize = 16;
const HMAC_TAG: usize = 10;

pub(super) fn peer() -> Peer {
    Peer {
        name: "rustcrypto",
        version: format!(
            "aes {}, aes-gcm {}, sha1 {}",
            env!("VERSION_AES"),
            env!("VERSION_AES_GCM"),
            env!("VERSION_SHA1")
        ),
        scope: Scope::Crypto,
        batches: ALONE,
        most_sessions: 1000,
        open: |suite, sessions| {
            let raw = sessions.iter().map(Session::raw_keys);
            Ok(Some(match suite {
                Suite::AeadAes128Gcm => Box::new(Gcm::<Aes128Gcm>::new(raw)),
                Suite::AeadAes256Gcm => Box::new(Gcm::<Aes256Gcm>::new(raw)),
                _ => Box::new(CounterHmac::new(raw)),
            }))
        },
    }
}

struct Gcm<A>(Vec<A>);

impl<A: KeyInit> Gcm<A> {
    fn new(raw: impl Iterator<Item = RawKeys>) -> Self {
        Self(raw.map(|raw| A::new_from_slice(&raw.key).expect("a key of the suite")).collect())
    }
}

impl<A: AeadInOut> Engine for Gcm<A> {
    fn run(&mut self, direction: Direction, packets: &mut [Packet<'_>], _: usize) -> Duration {
        one_by_one(packets, |packet| {
            let key = &self.0[packet.session];
            let nonce = packet.iv[..12].try_into().expect("twelve octets");
            let (header, rest) = packet.buffer.split_at_mut(HEADER);
            let length = packet.len - HEADER;
            match direction {
                Direction::Protect => {
                    let (data, end) = rest.split_at_mut(length);
                    let sealed = key.encrypt_inout_detached(nonce, header, data.into());
                    packet.ok = sealed.map(|tag| end[..GCM_TAG].copy_from_slice(&tag)).is_ok();
                    packet.len += GCM_TAG;
                }
                Direction::Unprotect => {
                    let (data, end) = rest.split_at_mut(length - GCM_TAG);
                    let tag = end[..GCM_TAG].try_into().expect("sixteen octets");
                    packet.ok = key.decrypt_inout_detached(nonce, header, data.into(), tag).is_ok();
                    packet.len -= GCM_TAG;
                }
            }
        })
    }
}

struct CounterHmac(Vec<(Aes128, Hmac<Sha1>)>);

impl CounterHmac {
    fn new(raw: impl Iterator<Item = RawKeys>) -> Self {
        let keys = |raw: RawKeys| {
            let cipher = Aes128::new_from_slice(&raw.key).expect("a key of the suite");
            (cipher, Hmac::new_from_slice(&raw.auth).expect("a key of any length"))
        };
        Self(raw.map(keys).collect())
    }
}

impl Engine for CounterHmac {
    fn run(&mut self, direction: Direction, packets: &mut [Packet<'_>], _: usize) -> Duration {
        one_by_one(packets, |packet| {
            let (cipher, mac) = &self.0[packet.session];
            if direction == Direction::Unprotect {
                packet.len -= HMAC_TAG;
                packet.ok = tag(mac, packet)[..].ct_eq(&packet.buffer[packet.len..][..HMAC_TAG]).into();
            }
            let core = CtrCore::<&Aes128, flavors::Ctr128BE>::inner_iv_init(cipher, &packet.iv.into());
            let data = &mut packet.buffer[HEADER..packet.len];
            StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
            if direction == Direction::Protect {
                let tag = tag(mac, packet);
                packet.buffer[packet.len..][..HMAC_TAG].copy_from_slice(&tag);
                packet.len += HMAC_TAG;
                packet.ok = true;
            }
        })
    }
}

fn tag(key: &Hmac<Sha1>, packet: &Packet<'_>) -> [u8; HMAC_TAG] {
    let mut state = key.clone();
    state.update(&packet.buffer[..packet.len]);
    state.update(&packet.roc());
    let mut tag = [0; HMAC_TAG];
    tag.copy_from_slice(&state.finalize().into_bytes()[..HMAC_TAG]);
    tag
}
