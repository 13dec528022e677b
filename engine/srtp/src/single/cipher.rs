//! What a cipher does to one packet.

use sluice_kernels::{CtrJob, CtrKey, GCM_TAG_LEN, GcmJob, Kernel, MacJob, MacKey, SHA1_LEN};
use sluice_kernels::{ctr, gcm_open, gcm_seal, hmac_sha1};

use super::block::{BlockAead, BlockStream};
use super::f8::F8;
use crate::Kind;
use crate::keys::Cipher;
use crate::transform::{gcm_iv, same_tag};

/// A cipher that the batches do not know.
pub(crate) enum Single {
    /// A key stream and a truncated HMAC-SHA1, or no authentication.
    StreamHmac { stream: Stream, mac: Option<MacKey> },
    /// An AEAD.
    Aead(Box<BlockAead>),
}

/// What gives a key stream.
pub(crate) enum Stream {
    /// None: the NULL cipher (RFC 3711 §4.1.3).
    Null,
    /// AES in counter mode (RFC 3711 §4.1.1, RFC 6188 §2).
    AesCm(Box<CtrKey>),
    /// AES in f8-mode (RFC 3711 §4.1.2).
    AesF8(Box<F8>),
    /// Another block cipher in counter mode.
    Block(Box<BlockStream>),
}

impl Stream {
    /// Encrypts or decrypts.
    pub(super) fn apply(&self, kernel: Kernel, nonce: &Nonce, data: &mut [u8]) {
        match self {
            Self::Null => {}
            Self::AesCm(key) => ctr(kernel, &mut [CtrJob { key, iv: nonce.iv, data }]),
            Self::AesF8(f8) => f8.apply(kernel, nonce, data),
            Self::Block(block) => block.apply(&nonce.iv, data),
        }
    }
}

/// What is different for every packet.
#[derive(Clone)]
pub(crate) struct Nonce {
    pub(crate) kind: Kind,
    /// Counter block, or IV in its first octets.
    pub(crate) iv: [u8; 16],
    /// The fixed RTP header, or the first eight octets of RTCP.
    pub(crate) head: [u8; 12],
    /// ROC, or E flag and index.
    pub(crate) word: [u8; 4],
}

impl Nonce {
    /// Of a packet that was found long enough for its kind.
    pub(crate) fn new(iv: [u8; 16], kind: Kind, packet: &[u8], word: [u8; 4]) -> Self {
        let mut head = [0; 12];
        let len = if kind == Kind::Rtp { 12 } else { 8 };
        head[..len].copy_from_slice(&packet[..len]);
        Self { kind, iv, head, word }
    }
}

impl Cipher {
    /// Whether encryption and tag are one.
    pub(crate) const fn is_aead(&self) -> bool {
        match self {
            Self::CounterHmac { .. } => false,
            Self::Gcm(_) => true,
            Self::Single(single) => match &**single {
                Single::StreamHmac { .. } => false,
                Single::Aead(_) => true,
            },
        }
    }

    /// Of HMAC suites: encrypts or decrypts.
    pub(crate) fn apply(&self, kernel: Kernel, nonce: &Nonce, data: &mut [u8]) {
        match self {
            Self::CounterHmac { key, .. } => ctr(kernel, &mut [CtrJob { key, iv: nonce.iv, data }]),
            Self::Gcm(_) => unreachable!("an AEAD has no key stream of its own"),
            Self::Single(single) => match &**single {
                Single::StreamHmac { stream, .. } => stream.apply(kernel, nonce, data),
                Single::Aead(_) => unreachable!("an AEAD has no key stream of its own"),
            },
        }
    }

    /// Of HMAC suites: the untruncated tag; zeros without authentication.
    pub(crate) fn tag(&self, kernel: Kernel, data: [&[u8]; 2], tag: &mut [u8; SHA1_LEN]) {
        let key = match self {
            Self::CounterHmac { mac, .. } => Some(mac),
            Self::Gcm(_) => unreachable!("an AEAD's tag comes with its cipher text"),
            Self::Single(single) => match &**single {
                Single::StreamHmac { mac, .. } => mac.as_ref(),
                Single::Aead(_) => unreachable!("an AEAD's tag comes with its cipher text"),
            },
        };
        if let Some(key) = key {
            let mut jobs = [MacJob { key, data, tag: [0; SHA1_LEN] }];
            hmac_sha1(kernel, &mut jobs);
            *tag = jobs[0].tag;
        }
    }

    /// Of HMAC suites: whether a tag, which may be truncated, is right. Without authentication an empty
    /// one is.
    pub(crate) fn verify(&self, kernel: Kernel, data: [&[u8]; 2], given: &[u8]) -> bool {
        let mut tag = [0; SHA1_LEN];
        self.tag(kernel, data, &mut tag);
        same_tag(&tag[..given.len()], given)
    }

    /// Of AEAD suites: encrypts and writes the tag; not if there is too much.
    pub(crate) fn seal(
        &self,
        kernel: Kernel,
        nonce: &Nonce,
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> bool {
        match self {
            Self::Gcm(key) => {
                let mut whole = [0; GCM_TAG_LEN];
                let mut jobs = [GcmJob { key, iv: gcm_iv(&nonce.iv), aad, data, tag: &mut whole, ok: false }];
                gcm_seal(kernel, &mut jobs);
                let ok = jobs[0].ok;
                tag.copy_from_slice(&whole[..tag.len()]);
                ok
            }
            Self::CounterHmac { .. } => unreachable!("not an AEAD"),
            Self::Single(single) => match &**single {
                Single::Aead(aead) => aead.seal(gcm_iv(&nonce.iv), aad, data, tag),
                Single::StreamHmac { .. } => unreachable!("not an AEAD"),
            },
        }
    }

    /// Of AEAD suites: decrypts if the tag is right, else leaves the data as they were.
    pub(crate) fn open(
        &self,
        kernel: Kernel,
        nonce: &Nonce,
        aad: &[u8],
        data: &mut [u8],
        given: &[u8],
    ) -> bool {
        match self {
            Self::Gcm(key) => {
                let Ok(mut tag) = <[u8; GCM_TAG_LEN]>::try_from(given) else { return false };
                let mut jobs = [GcmJob { key, iv: gcm_iv(&nonce.iv), aad, data, tag: &mut tag, ok: false }];
                gcm_open(kernel, &mut jobs);
                jobs[0].ok
            }
            Self::CounterHmac { .. } => unreachable!("not an AEAD"),
            Self::Single(single) => match &**single {
                Single::Aead(aead) => aead.open(gcm_iv(&nonce.iv), aad, data, given),
                Single::StreamHmac { .. } => unreachable!("not an AEAD"),
            },
        }
    }
}
