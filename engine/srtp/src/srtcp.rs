//! SRTCP, a packet at a time: control traffic is a twentieth of a session's at most (RFC 3550 §6.2).

use sluice_kernels::{CtrJob, GcmJob, MacJob, SHA1_LEN, ctr, gcm_open, gcm_seal, hmac_sha1};

use crate::keys::{Cipher, Direction};
use crate::rtcp::{CLEAR_LEN, sender_ssrc};
use crate::transform::{MAX_KEYSTREAM, gcm_iv, put_mki, put_tag, same_tag};
use crate::{Error, Inbound, Job, Kind, Outbound, SessionKeys};

/// SRTCP's E flag: the packet is encrypted (RFC 3711 §3.4).
const E_FLAG: u32 = 1 << 31;
/// Octets of E flag and index.
const WORD_LEN: usize = 4;

/// The sender's SSRC of a packet that may be protected or unprotected.
fn parse(packet: &[u8]) -> Result<u32, Error> {
    let ssrc = sender_ssrc(packet).ok_or(Error::TooShort)?;
    if packet[0] >> 6 != 2 {
        return Err(Error::Version);
    }
    if packet.len() > MAX_KEYSTREAM {
        return Err(Error::TooLong);
    }
    Ok(ssrc)
}

/// Protects one packet in place. The index is used up before anything is encrypted.
#[cold]
pub(crate) fn protect(context: &mut Outbound, job: &mut Job<'_>) -> Result<(), Error> {
    let end = job.len;
    let ssrc = parse(job.packet.get(..end).ok_or(Error::TooShort)?)?;
    if ssrc != context.ssrc() {
        return Err(Error::WrongSsrc);
    }
    let direction = context.keys().direction(Kind::Rtcp);
    let overhead = usize::from(direction.tag) + WORD_LEN + usize::from(direction.mki);
    if job.packet.len() < end + overhead {
        return Err(Error::NoTailroom);
    }
    let index = context.take_rtcp()?;
    let keys = context.keys();
    let direction = keys.direction(Kind::Rtcp);
    let flag = if direction.encrypt { E_FLAG } else { 0 };
    let word = (flag | index as u32).to_be_bytes();
    let iv = direction.iv(ssrc, index);
    match &direction.cipher {
        Cipher::CounterHmac { key, mac } => {
            if direction.encrypt {
                let data = &mut job.packet[CLEAR_LEN..end];
                ctr(keys.kernel(), &mut [CtrJob { key, iv, data }]);
            }
            // Word ‖ MKI ‖ tag; of these the word is authenticated (RFC 3711 figure 2).
            let (text, rest) = job.packet.split_at_mut(end);
            let mut macs = [MacJob { key: mac, data: [text, &word], tag: [0; SHA1_LEN] }];
            hmac_sha1(keys.kernel(), &mut macs);
            rest[..WORD_LEN].copy_from_slice(&word);
            let rest = &mut rest[WORD_LEN..];
            let mki = put_mki(rest, keys);
            put_tag(&mut rest[mki..], &macs[0].tag, direction.tag);
        }
        Cipher::Gcm(key) => {
            let mut tag = [0; 16];
            let ok = with_aad(job.packet, end, direction, word, |aad, data| {
                let mut jobs = [GcmJob { key, iv: gcm_iv(&iv), aad, data, tag: &mut tag, ok: false }];
                gcm_seal(keys.kernel(), &mut jobs);
                jobs[0].ok
            });
            if !ok {
                return Err(Error::TooLong);
            }
            // Tag ‖ word ‖ MKI (RFC 7714 figure 2).
            let rest = &mut job.packet[end..];
            put_tag(rest, &tag, 16);
            rest[16..16 + WORD_LEN].copy_from_slice(&word);
            put_mki(&mut rest[16 + WORD_LEN..], keys);
        }
    }
    job.len += overhead;
    Ok(())
}

/// Calls `run` with what GCM authenticates of a packet and with what it encrypts (RFC 7714 §9.2, §9.3):
/// header and word, and the rest; or, where nothing is encrypted, all of it and the word. The word is
/// put behind the packet for that: four octets there are overwritten.
fn with_aad<R>(
    packet: &mut [u8],
    end: usize,
    direction: &Direction,
    word: [u8; WORD_LEN],
    run: impl FnOnce(&[u8], &mut [u8]) -> R,
) -> R {
    if direction.encrypt {
        let mut aad = [0; CLEAR_LEN + WORD_LEN];
        aad[..CLEAR_LEN].copy_from_slice(&packet[..CLEAR_LEN]);
        aad[CLEAR_LEN..].copy_from_slice(&word);
        run(&aad, &mut packet[CLEAR_LEN..end])
    } else {
        packet[end..end + WORD_LEN].copy_from_slice(&word);
        run(&packet[..end + WORD_LEN], &mut [])
    }
}

/// Unprotects one packet in place, trying the context's keys newest first.
#[cold]
pub(crate) fn unprotect(context: &mut Inbound, job: &mut Job<'_>) -> Result<(), Error> {
    let packet = job.packet.get_mut(..job.len).ok_or(Error::TooShort)?;
    let ssrc = parse(packet)?;
    if ssrc != context.ssrc() {
        return Err(Error::WrongSsrc);
    }
    let mut failure = Error::UnknownMki;
    for candidate in 0.. {
        let Some(keys) = context.key(candidate) else { return Err(failure) };
        let direction = keys.direction(Kind::Rtcp);
        let Some(parts) = Parts::find(packet, direction) else {
            // Too short for this key; a shorter tag or MKI of another may still fit.
            if failure == Error::UnknownMki {
                failure = Error::TooShort;
            }
            continue;
        };
        if packet[parts.mki..][..usize::from(direction.mki)] != *keys.mki().as_slice() {
            continue;
        }
        let index = u64::from(u32::from_be_bytes(parts.word) & !E_FLAG);
        context.check(Kind::Rtcp, index)?;
        if context.expired(Kind::Rtcp, candidate) {
            return Err(Error::KeyExpired);
        }
        // A packet that says it is in the clear where the key wants it encrypted, or the reverse, is
        // nothing that this sender sent.
        if (parts.word[0] & 0x80 != 0) != direction.encrypt {
            return Err(Error::NotEncrypted);
        }
        if open(packet, keys, direction, &parts, direction.iv(ssrc, index)) {
            context.commit(Kind::Rtcp, index, candidate)?;
            job.len = parts.end;
            return Ok(());
        }
        failure = Error::AuthFailed;
    }
    Err(failure)
}

/// Checks the tag and, if it is right, decrypts.
fn open(packet: &mut [u8], keys: &SessionKeys, direction: &Direction, parts: &Parts, iv: [u8; 16]) -> bool {
    let (end, tag) = (parts.end, parts.tag..parts.tag + usize::from(direction.tag));
    match &direction.cipher {
        Cipher::CounterHmac { key, mac } => {
            let mut macs = [MacJob { key: mac, data: [&packet[..end], &parts.word], tag: [0; SHA1_LEN] }];
            hmac_sha1(keys.kernel(), &mut macs);
            if !same_tag(&macs[0].tag[..tag.len()], &packet[tag]) {
                return false;
            }
            if direction.encrypt {
                ctr(keys.kernel(), &mut [CtrJob { key, iv, data: &mut packet[CLEAR_LEN..end] }]);
            }
            true
        }
        Cipher::Gcm(key) => {
            let mut right = [0; 16];
            right.copy_from_slice(&packet[tag.clone()]);
            let given = right;
            let ok = with_aad(packet, end, direction, parts.word, |aad, data| {
                let mut jobs = [GcmJob { key, iv: gcm_iv(&iv), aad, data, tag: &mut right, ok: false }];
                gcm_open(keys.kernel(), &mut jobs);
                jobs[0].ok
            });
            // The word may have been put over it.
            packet[tag].copy_from_slice(&given);
            ok
        }
    }
}

/// Where a suite puts what follows the packet.
struct Parts {
    end: usize,
    tag: usize,
    mki: usize,
    word: [u8; WORD_LEN],
}

impl Parts {
    /// `None` if the packet is too short for all of them.
    fn find(packet: &[u8], direction: &Direction) -> Option<Self> {
        let (tag_len, mki_len) = (usize::from(direction.tag), usize::from(direction.mki));
        let end = packet.len().checked_sub(tag_len + WORD_LEN + mki_len)?;
        if end < CLEAR_LEN {
            return None;
        }
        // Counter mode: packet ‖ word ‖ MKI ‖ tag (RFC 3711 figure 2).
        // GCM: packet ‖ tag ‖ word ‖ MKI (RFC 7714 figure 2).
        let (word, mki, tag) = match direction.cipher {
            Cipher::CounterHmac { .. } => (end, end + WORD_LEN, end + WORD_LEN + mki_len),
            Cipher::Gcm(_) => (end + tag_len, end + tag_len + WORD_LEN, end),
        };
        let word = packet.get(word..)?.first_chunk().copied()?;
        Some(Self { end, tag, mki, word })
    }
}
