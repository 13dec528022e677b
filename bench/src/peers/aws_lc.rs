//! aws-lc-rs, crypto alone.

use std::time::Duration;

use anyhow::bail;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use sluice_srtp::Suite;

use super::ALONE;
use crate::engine::{Direction, Engine, Opened, Peer, Scope, one_by_one};
use crate::packets::{HEADER, Packet, RawKeys, Session};

const GCM_TAG: usize = 16;
const HMAC_TAG: usize = 10;

pub(super) fn peer() -> Peer {
    Peer {
        name: "aws-lc-rs",
        version: format!("{} (aws-lc-sys {})", env!("VERSION_AWS_LC_RS"), env!("VERSION_AWS_LC_SYS")),
        scope: Scope::Crypto,
        batches: ALONE,
        most_sessions: 1000,
        open,
    }
}

fn open(suite: Suite, sessions: &[Session]) -> Opened {
    let raw = sessions.iter().map(Session::raw_keys);
    let opened: Result<Box<dyn Engine>, Unspecified> = match suite {
        Suite::AeadAes128Gcm => Gcm::new(&AES_128_GCM, raw).map(|gcm| Box::new(gcm) as _),
        Suite::AeadAes256Gcm => Gcm::new(&AES_256_GCM, raw).map(|gcm| Box::new(gcm) as _),
        _ => CounterHmac::new(raw).map(|engine| Box::new(engine) as _),
    };
    let Ok(engine) = opened else { bail!("aws-lc-rs refuses a key") };
    Ok(Some(engine))
}

struct Gcm(Vec<LessSafeKey>);

impl Gcm {
    fn new(
        algorithm: &'static aws_lc_rs::aead::Algorithm,
        raw: impl Iterator<Item = RawKeys>,
    ) -> Result<Self, Unspecified> {
        let key = |raw: RawKeys| UnboundKey::new(algorithm, &raw.key).map(LessSafeKey::new);
        raw.map(key).collect::<Result<_, _>>().map(Self)
    }
}

impl Engine for Gcm {
    fn run(&mut self, direction: Direction, packets: &mut [Packet<'_>], _: usize) -> Duration {
        one_by_one(packets, |packet| {
            let key = &self.0[packet.session];
            let nonce = Nonce::try_assume_unique_for_key(&packet.iv[..12]).expect("twelve octets");
            let (header, rest) = packet.buffer.split_at_mut(HEADER);
            let length = packet.len - HEADER;
            match direction {
                Direction::Protect => {
                    let (data, end) = rest.split_at_mut(length);
                    let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(&*header), data);
                    packet.ok = sealed.map(|tag| end[..GCM_TAG].copy_from_slice(tag.as_ref())).is_ok();
                    packet.len += GCM_TAG;
                }
                Direction::Unprotect => {
                    packet.ok = key.open_in_place(nonce, Aad::from(&*header), &mut rest[..length]).is_ok();
                    packet.len -= GCM_TAG;
                }
            }
        })
    }
}

struct CounterHmac(Vec<(EncryptingKey, hmac::Key)>);

impl CounterHmac {
    fn new(raw: impl Iterator<Item = RawKeys>) -> Result<Self, Unspecified> {
        let keys = |raw: RawKeys| {
            let cipher = EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, &raw.key)?)?;
            Ok((cipher, hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &raw.auth)))
        };
        raw.map(keys).collect::<Result<_, _>>().map(Self)
    }
}

impl Engine for CounterHmac {
    fn run(&mut self, direction: Direction, packets: &mut [Packet<'_>], _: usize) -> Duration {
        one_by_one(packets, |packet| {
            let (cipher, mac) = &self.0[packet.session];
            if direction == Direction::Unprotect {
                packet.len -= HMAC_TAG;
                packet.ok = tag(mac, packet)[..] == packet.buffer[packet.len..][..HMAC_TAG];
            }
            let iv = EncryptionContext::Iv128(FixedLength::from(&packet.iv));
            let data = &mut packet.buffer[HEADER..packet.len];
            let ciphered = cipher.less_safe_encrypt(data, iv).is_ok();
            if direction == Direction::Protect {
                packet.ok = ciphered;
                let tag = tag(mac, packet);
                packet.buffer[packet.len..][..HMAC_TAG].copy_from_slice(&tag);
                packet.len += HMAC_TAG;
            }
        })
    }
}

fn tag(key: &hmac::Key, packet: &Packet<'_>) -> [u8; HMAC_TAG] {
    let mut context = hmac::Context::with_key(key);
    context.update(&packet.buffer[..packet.len]);
    context.update(&packet.roc());
    let mut tag = [0; HMAC_TAG];
    tag.copy_from_slice(&context.sign().as_ref()[..HMAC_TAG]);
    tag
}
