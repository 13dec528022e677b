//! One packet at a time: SRTCP, a twentieth of the traffic at most (RFC 3550 §6.2), and whatever of
//! SRTP the batches do not know: other transforms than AES counter mode and GCM, a key derivation
//! rate, packets in the clear or without a tag.
//!
//! Both kinds of packets go the same way; they differ in the word behind the packet:
//!
//! ```text
//!                 authenticated, not sent    sent
//! RTP             ROC                        -                   RFC 3711 figure 1, RFC 7714 figure 1
//! RTCP            -                          E flag ‖ index      RFC 3711 figure 2, RFC 7714 figure 2
//!
//! HMAC suites     packet ‖ word (of RTCP) ‖ MKI ‖ ROC (of RFC 4771) ‖ tag
//! AEAD suites     packet ‖ tag ‖ word (of RTCP) ‖ MKI ‖ ROC (of RFC 4771)
//! ```

mod block;
mod cipher;
mod cryptex;
mod double;
mod extension;
mod f8;
mod rcc;

pub(crate) use block::{BlockAead, BlockCipher, BlockStream};
pub(crate) use cipher::{Nonce, Single, Stream};
pub use cryptex::Cryptex;
pub(crate) use extension::ExtensionCipher;
pub use extension::ExtensionIds;
pub(crate) use f8::F8;
pub use rcc::{Rcc, RccMode};

use std::ops::Range;

use crate::keys::{Direction, HeaderProtection};
use crate::perc::INNER_LEN;
use crate::rtcp::{CLEAR_LEN, sender_ssrc};
use crate::rtp::Header;
use crate::transform::{MAX_KEYSTREAM, put_mki};
use crate::{Error, Inbound, Job, Kind, Outbound, SessionKeys};

/// SRTCP's E flag: the packet is encrypted (RFC 3711 §3.4).
const E_FLAG: u32 = 1 << 31;
/// Octets of E flag and index.
const WORD_LEN: usize = 4;
/// Octets of the longest tag: what HMAC-SHA1 gives.
const MAX_TAG: usize = 20;

/// What a packet says of itself.
struct Head {
    ssrc: u32,
    /// Of RTP.
    sequence: u16,
    /// Octets that are never encrypted.
    clear: usize,
}

impl Head {
    fn parse(packet: &[u8], kind: Kind) -> Result<Self, Error> {
        let head = match kind {
            Kind::Rtp => {
                let header = Header::parse(packet)?;
                Self { ssrc: header.ssrc, sequence: header.sequence, clear: header.len }
            }
            Kind::Rtcp => {
                let ssrc = sender_ssrc(packet).ok_or(Error::TooShort)?;
                if packet[0] >> 6 != 2 {
                    return Err(Error::Version);
                }
                Self { ssrc, sequence: 0, clear: CLEAR_LEN }
            }
        };
        Ok(head)
    }
}

/// Where a suite puts what follows the packet.
struct Layout {
    word: usize,
    mki: usize,
    /// Of RTP that carries the ROC.
    roc: Option<usize>,
    tag: Range<usize>,
    /// Octets of all of them.
    len: usize,
}

impl Layout {
    fn new(keys: &SessionKeys, kind: Kind, sequence: u16) -> Self {
        let direction = keys.direction(kind);
        let rcc = keys.rcc.filter(|_| kind == Kind::Rtp);
        let word = if kind == Kind::Rtcp { WORD_LEN } else { 0 };
        let roc = if rcc.is_some_and(|rcc| rcc.carries(sequence)) { rcc::ROC_LEN } else { 0 };
        let aead = direction.cipher.is_aead();
        let tag = match rcc {
            Some(rcc) if !aead => usize::from(rcc.mac(sequence)),
            _ => usize::from(direction.tag),
        };
        let mki = usize::from(direction.mki);
        let len = word + mki + roc + tag;
        let place = |at| (roc > 0).then_some(at);
        if aead {
            Self { word: tag, mki: tag + word, roc: place(tag + word + mki), tag: 0..tag, len }
        } else {
            Self { word: 0, mki: word, roc: place(word + mki), tag: len - tag..len, len }
        }
    }
}

/// Protects one packet in place. The index is used up before anything is encrypted.
#[cold]
pub(crate) fn protect(context: &mut Outbound, job: &mut Job<'_>) -> Result<(), Error> {
    let packet = job.packet.get(..job.len).ok_or(Error::TooShort)?;
    let mut head = Head::parse(packet, job.kind)?;
    if head.ssrc != context.ssrc() {
        return Err(Error::WrongSsrc);
    }
    if job.len > MAX_KEYSTREAM {
        return Err(Error::TooLong);
    }
    let layout = Layout::new(context.keys(), job.kind, head.sequence);
    let header = context.keys().header.as_deref().filter(|_| job.kind == Kind::Rtp);
    let how = header.map_or(Cryptex::Off, |header| header.cryptex);
    let cryptex = how != Cryptex::Off;
    let inner = if job.kind == Kind::Rtp && context.keys().inner.is_some() && !context.is_repair() {
        INNER_LEN
    } else {
        0
    };
    let end = job.len + inner + if cryptex { cryptex::growth(packet) } else { 0 };
    if cryptex && cryptex::forbids(how, packet) {
        return Err(Error::ExtensionProfile);
    }
    if header.is_some_and(|header| header.cipher.is_some()) {
        extension::check(packet)?;
    }
    if job.packet.len() < end + layout.len {
        return Err(Error::NoTailroom);
    }
    if job.kind == Kind::Rtp && !context.keys().indices.contains(context.index_of(head.sequence)?) {
        return Err(Error::KeyExpired);
    }
    let index = match job.kind {
        Kind::Rtp => context.take_rtp(head.sequence)?,
        Kind::Rtcp => context.take_rtcp()?,
    };
    let keys = context.keys().at(job.kind, index).ok_or(Error::NoKey)?;
    let direction = keys.direction(job.kind);
    let word = match job.kind {
        Kind::Rtp => (index >> 16) as u32,
        Kind::Rtcp if direction.encrypt => E_FLAG | index as u32,
        Kind::Rtcp => index as u32,
    };
    let nonce = Nonce::new(direction.iv(head.ssrc, index), job.kind, job.packet, word.to_be_bytes());
    if inner > 0 {
        let payload = [head.clear, job.len];
        let sealed = keys
            .inner
            .as_deref()
            .and_then(|inner| double::seal(inner, job.packet, payload, head.ssrc, index));
        sealed.ok_or(Error::TooLong)?;
    }
    let text = &mut job.packet[..end];
    let marked = cryptex && cryptex::concerns(text) && cryptex::mark(text);
    if marked {
        head.clear = cryptex::CLEAR;
        cryptex::gather(text);
    } else if let Some(HeaderProtection { ids, cipher: Some(cipher), .. }) = keys.header.as_deref()
        && job.kind == Kind::Rtp
    {
        cipher.apply(keys.kernel(), ids, text, nonce.clone(), head.ssrc, index);
    }
    let mut tag = [0; MAX_TAG];
    if direction.cipher.is_aead() {
        let ok = with_aad(job.packet, head.clear, end, direction, &nonce, |aad, data| {
            direction.cipher.seal(keys.kernel(), &nonce, aad, data, &mut tag[..layout.tag.len()])
        });
        if !ok {
            return Err(Error::TooLong);
        }
        if marked {
            cryptex::scatter(&mut job.packet[..end]);
        }
    } else {
        if direction.encrypt {
            direction.cipher.apply(keys.kernel(), &nonce, &mut job.packet[head.clear..end]);
        }
        if marked {
            cryptex::scatter(&mut job.packet[..end]);
        }
        direction.cipher.tag(keys.kernel(), [&job.packet[..end], &nonce.word], &mut tag);
    }
    let trailer = &mut job.packet[end..];
    trailer[layout.tag.clone()].copy_from_slice(&tag[..layout.tag.len()]);
    put_mki(&mut trailer[layout.mki..], &keys);
    let word = if job.kind == Kind::Rtcp { Some(layout.word) } else { layout.roc };
    if let Some(at) = word {
        trailer[at..at + WORD_LEN].copy_from_slice(&nonce.word);
    }
    job.len = end + layout.len;
    Ok(())
}

/// Calls `run` with what an AEAD authenticates of a packet and with what it encrypts.
///
/// Of RTP that is header and rest (RFC 7714 §8.2); of RTCP header ‖ word and rest (§9.2) or, where nothing is
/// encrypted, all of it ‖ word (§9.3). The word is put behind the packet for that: four octets there
/// are overwritten.
fn with_aad<R>(
    packet: &mut [u8],
    clear: usize,
    end: usize,
    direction: &Direction,
    nonce: &Nonce,
    run: impl FnOnce(&[u8], &mut [u8]) -> R,
) -> R {
    if nonce.kind == Kind::Rtp {
        let (aad, data) = packet[..end].split_at_mut(clear);
        run(aad, data)
    } else if direction.encrypt {
        let mut aad = [0; CLEAR_LEN + WORD_LEN];
        aad[..CLEAR_LEN].copy_from_slice(&packet[..CLEAR_LEN]);
        aad[CLEAR_LEN..].copy_from_slice(&nonce.word);
        run(&aad, &mut packet[clear..end])
    } else {
        packet[end..end + WORD_LEN].copy_from_slice(&nonce.word);
        run(&packet[..end + WORD_LEN], &mut [])
    }
}

/// Unprotects one packet in place, trying the context's keys newest first.
#[cold]
pub(crate) fn unprotect(context: &mut Inbound, job: &mut Job<'_>) -> Result<(), Error> {
    let kind = job.kind;
    let packet = job.packet.get_mut(..job.len).ok_or(Error::TooShort)?;
    let head = Head::parse(packet, kind)?;
    if head.ssrc != context.ssrc() {
        return Err(Error::WrongSsrc);
    }
    if packet.len() > MAX_KEYSTREAM {
        return Err(Error::TooLong);
    }
    let mut failure = Error::UnknownMki;
    for candidate in 0.. {
        let Some(keys) = context.to_try(candidate) else { return Err(failure) };
        let direction = keys.direction(kind);
        let layout = Layout::new(keys, kind, head.sequence);
        let Some(end) = packet.len().checked_sub(layout.len).filter(|end| *end >= head.clear) else {
            // Too short for this key; a shorter tag or MKI of another may still fit.
            if failure == Error::UnknownMki {
                failure = Error::TooShort;
            }
            continue;
        };
        let trailer = &packet[end..];
        if trailer[layout.mki..][..usize::from(direction.mki)] != *keys.mki().as_slice() {
            continue;
        }
        let read = |at: usize| {
            let mut word = [0; WORD_LEN];
            word.copy_from_slice(&trailer[at..at + WORD_LEN]);
            word
        };
        let (index, word) = match (kind, layout.roc) {
            (Kind::Rtp, None) => match context.estimate(head.sequence, candidate) {
                Ok(index) => (index, ((index >> 16) as u32).to_be_bytes()),
                // Of another key it may be another index.
                Err(error) if context.has_lists() => {
                    failure = error;
                    continue;
                }
                Err(error) => return Err(error),
            },
            // RFC 4771 §2: the ROC of the packet takes the place of the receiver's.
            (Kind::Rtp, Some(at)) => {
                let roc = read(at);
                (u64::from(u32::from_be_bytes(roc)) << 16 | u64::from(head.sequence), roc)
            }
            (Kind::Rtcp, _) => {
                let word = read(layout.word);
                (u64::from(u32::from_be_bytes(word) & !E_FLAG), word)
            }
        };
        if kind == Kind::Rtp && !keys.indices.contains(index) {
            failure = Error::KeyExpired;
            continue;
        }
        let aead = direction.cipher.is_aead();
        let misled = layout.roc.is_some() && keys.rcc.is_some_and(|rcc| rcc.may_mislead(aead));
        match context.check(kind, index, candidate) {
            // Packets without a MAC may have led this end's ROC astray, and this one sets it right.
            Err(Error::TooOld) if misled => {}
            Err(error) if context.has_lists() => {
                failure = error;
                continue;
            }
            checked => checked?,
        }
        if context.expired(kind, candidate) {
            return Err(Error::KeyExpired);
        }
        // A packet that says it is in the clear where the key wants it encrypted, or the reverse, is
        // nothing that this sender sent.
        if kind == Kind::Rtcp && (word[0] & 0x80 != 0) != direction.encrypt {
            return Err(Error::NotEncrypted);
        }
        let keys = keys.at(kind, index).ok_or(Error::NoKey)?;
        let header = keys.header.as_deref().filter(|_| kind == Kind::Rtp);
        let cryptex = header.map_or(Cryptex::Off, |header| header.cryptex);
        let marked = cryptex != Cryptex::Off && cryptex::is_marked(packet);
        if cryptex == Cryptex::Required && !marked && cryptex::concerns(packet) {
            return Err(Error::NotEncrypted);
        }
        let cipher =
            header.filter(|_| !marked).and_then(|header| Some((&header.ids, header.cipher.as_ref()?)));
        if cipher.is_some() {
            extension::check(packet)?;
        }
        let iv = keys.direction(kind).iv(head.ssrc, index);
        let nonce = Nonce::new(iv, kind, packet, word);
        let clear = if marked { cryptex::CLEAR } else { head.clear };
        let tag = end + layout.tag.start..end + layout.tag.end;
        if open(packet, &keys, clear, end, tag, &nonce, marked) {
            let (mut len, mut inner_index) = (end, None);
            if kind == Kind::Rtp
                && let Some(inner) = keys.inner.as_deref().filter(|_| !context.is_repair())
            {
                match double::open(inner, context, packet, [head.clear, end], head.ssrc, index) {
                    Ok(opened) => {
                        (len, inner_index) = (opened.end, Some(opened.index));
                        packet[1] = packet[1] & 0x7f | u8::from(opened.marker) << 7;
                    }
                    Err(error) => {
                        seal_again(packet, &keys, clear, end, &nonce, marked);
                        return Err(error);
                    }
                }
            }
            if let Some((ids, cipher)) = cipher {
                cipher.apply(keys.kernel(), ids, &mut packet[..end], nonce, head.ssrc, index);
            }
            if let Some(index) = inner_index {
                context.commit_inner(index)?;
            }
            if misled {
                context.set_index(index, candidate);
            }
            context.commit(kind, index, candidate)?;
            job.len = len;
            return Ok(());
        }
        failure = Error::AuthFailed;
    }
    Err(failure)
}

/// Tries the rollover counters after the one that a stream should begin with, on its first packet: of one that is
/// joined late. As many as the context allows, each at the price of a tag.
#[cold]
pub(crate) fn try_rocs(context: &mut Inbound, job: &mut Job<'_>) -> Result<(), Error> {
    let (first, trials) = context.roc_trial();
    for roc in (1..=u32::from(trials)).filter_map(|step| first.checked_add(step)) {
        context.begin_at(roc);
        match unprotect(context, job) {
            Err(Error::AuthFailed) => {}
            done => return done,
        }
    }
    context.begin_at(first);
    Err(Error::AuthFailed)
}

/// Tries the first packet of a key under which the peer begins anew with rollover counter 1: the peer's sequence number
/// wrapped soon after, and what it sent before that was lost.
#[cold]
pub(crate) fn try_next_round(context: &mut Inbound, job: &mut Job<'_>) -> Result<(), Error> {
    // So soon after a wrap the sequence number is in its lower half; of others no forgery costs a second tag.
    if job.packet.get(2).is_none_or(|high| *high >= 0x80) {
        return Err(Error::AuthFailed);
    }
    context.begin_lists_at(1);
    let result = unprotect(context, job);
    context.begin_lists_at(0);
    result
}

/// Undoes [`open`] of an AEAD suite, whose tag is where it was: the same text under the same nonce gives the same
/// octets.
fn seal_again(packet: &mut [u8], keys: &SessionKeys, clear: usize, end: usize, nonce: &Nonce, marked: bool) {
    let direction = keys.direction(nonce.kind);
    if marked {
        cryptex::mark(&mut packet[..end]);
        cryptex::gather(&mut packet[..end]);
    }
    let mut tag = [0; MAX_TAG];
    with_aad(packet, clear, end, direction, nonce, |aad, data| {
        direction.cipher.seal(keys.kernel(), nonce, aad, data, &mut tag[..usize::from(direction.tag)])
    });
    if marked {
        cryptex::scatter(&mut packet[..end]);
    }
}

/// Checks the tag and, if it is right, decrypts; else the packet is as it was. `marked` says that cryptex
/// encrypted CSRCs and header extension, too.
fn open(
    packet: &mut [u8],
    keys: &SessionKeys,
    clear: usize,
    end: usize,
    tag: Range<usize>,
    nonce: &Nonce,
    marked: bool,
) -> bool {
    let direction = keys.direction(nonce.kind);
    let len = tag.len();
    let mut given = [0; MAX_TAG];
    given[..len].copy_from_slice(&packet[tag.clone()]);
    if direction.cipher.is_aead() {
        if marked {
            cryptex::gather(&mut packet[..end]);
        }
        let ok = with_aad(packet, clear, end, direction, nonce, |aad, data| {
            direction.cipher.open(keys.kernel(), nonce, aad, data, &given[..len])
        });
        if marked {
            cryptex::scatter(&mut packet[..end]);
            if ok {
                cryptex::unmark(packet);
            }
        }
        // The word may have been put over it.
        packet[tag].copy_from_slice(&given[..len]);
        return ok;
    }
    if !direction.cipher.verify(keys.kernel(), [&packet[..end], &nonce.word], &given[..len]) {
        return false;
    }
    if marked {
        cryptex::gather(&mut packet[..end]);
    }
    if direction.encrypt {
        direction.cipher.apply(keys.kernel(), nonce, &mut packet[clear..end]);
    }
    if marked {
        cryptex::scatter(&mut packet[..end]);
        cryptex::unmark(packet);
    }
    true
}
