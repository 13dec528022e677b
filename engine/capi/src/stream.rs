//! A stream: the cryptographic contexts of one SSRC, for sending and for receiving.

use std::hash::{BuildHasher, RandomState};
use std::slice::from_mut;
use std::sync::Arc;

use sluice_srtp::rtp::Header;
use sluice_srtp::{Error, Inbound, Job, Kind, Outbound, Position, SessionKeys, protect, unprotect};

use crate::policy::Crypto;
use crate::types::srtp_err_status_t::{
    self, srtp_err_status_auth_fail, srtp_err_status_bad_mki, srtp_err_status_bad_param,
    srtp_err_status_cant_check, srtp_err_status_fail, srtp_err_status_key_expired, srtp_err_status_no_ctx,
    srtp_err_status_parse_err, srtp_err_status_pkt_idx_old, srtp_err_status_replay_fail,
    srtp_err_status_replay_old,
};
use crate::types::srtp_event_t::{
    self, event_key_hard_limit, event_key_soft_limit, event_packet_index_limit, event_ssrc_collision,
};

type Result<T> = std::result::Result<T, srtp_err_status_t>;

/// What is to be told once the call's work is done.
pub(crate) type Events = Vec<srtp_event_t>;

/// Packets left to a key when the program is told of it: a warning of half a minute at 2,000 packets a second.
const SOFT_LIMIT: u64 = 1 << 16;
/// How far an index may be from the stream's to be taken for near it: half of the sequence numbers.
const NEAR: u64 = 1 << 15;
const LAST_INDEX: u64 = (1 << 48) - 1;
/// libsrtp's first SRTCP index is 1, where RFC 3711 §3.4 says 0: to be the same octet by octet.
const FIRST: Position = Position { rtp: None, rtcp: Some(0) };

pub(crate) struct Stream {
    ssrc: u32,
    crypto: Arc<Crypto>,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
    /// The rollover counter that the next RTP packet is to have; 0 if nothing was said.
    pending_roc: u32,
}

struct Sender {
    context: Outbound,
    /// If packets may be sent again.
    sent: Option<Box<Sent>>,
}

struct Receiver {
    context: Inbound,
    /// Whether packets are expected to carry an MKI.
    mki: bool,
}

impl Stream {
    pub(crate) fn new(ssrc: u32, crypto: &Arc<Crypto>) -> Self {
        Self { ssrc, crypto: Arc::clone(crypto), sender: None, receiver: None, pending_roc: 0 }
    }

    pub(crate) const fn crypto(&self) -> &Arc<Crypto> {
        &self.crypto
    }

    /// Whether the stream's keys are those of this policy.
    pub(crate) fn shares(&self, crypto: &Arc<Crypto>) -> bool {
        Arc::ptr_eq(&self.crypto, crypto)
    }

    /// Other keys from the next packet on.
    pub(crate) fn update(&mut self, crypto: &Arc<Crypto>) {
        if let Some(Receiver { context, mki }) = &mut self.receiver {
            replace_keys(context, [(&self.crypto, *mki), (crypto, *mki)]);
        }
        if let Some(sender) = &mut self.sender {
            sender.sent = sent(crypto);
        }
        self.crypto = Arc::clone(crypto);
    }

    /// The rollover counter of the highest index so far.
    pub(crate) fn roc(&self) -> u32 {
        let receiver = self.receiver.as_ref().and_then(|receiver| receiver.context.position().rtp);
        let sender = self.sender.as_ref().and_then(|sender| sender.context.position().rtp);
        receiver.max(sender).map_or(self.pending_roc, |index| (index >> 16) as u32)
    }

    /// Says what rollover counter the next RTP packet has; 0 takes it back.
    pub(crate) const fn set_roc(&mut self, roc: u32) {
        self.pending_roc = roc;
    }

    /// Protects a packet in place, whose buffer has room for what is added: `mki` is the number of the key
    /// if packets are to carry MKIs. The packet's new length.
    pub(crate) fn protect(
        &mut self,
        kind: Kind,
        packet: &mut [u8],
        len: usize,
        mki: Option<usize>,
        events: &mut Events,
    ) -> Result<usize> {
        let keys = self.crypto.key(mki).ok_or(srtp_err_status_bad_mki)?;
        if self.receiver.is_some() {
            events.push(event_ssrc_collision);
        }
        let sender = self.sender.get_or_insert_with(|| Sender {
            context: outbound(self.ssrc, keys, &self.crypto, FIRST, 0),
            sent: sent(&self.crypto),
        });
        if sender.context.key_id() != keys.id() {
            sender.context.switch(Arc::clone(keys));
        }
        let (mut number, mut resend) = (None, None);
        if kind == Kind::Rtp {
            let header = Header::parse(&packet[..len]).map_err(status)?;
            if self.pending_roc != 0 {
                sender.jump(index(self.pending_roc, header.sequence), keys, &self.crypto)?;
                self.pending_roc = 0;
            }
            number = sender.context.index_of(header.sequence).ok();
            if let (Some(sent), Some(index)) = (&sender.sent, number) {
                let from = if self.crypto.header_counts { 0 } else { header.len };
                resend = Some((index, sent.digest.hash_one(&packet[from..len])));
            }
        }
        let mut result = seal(&mut sender.context, kind, packet, len);
        if let (Some(sent), Some((index, digest))) = (&mut sender.sent, resend) {
            match result {
                Ok(_) => sent.remember(index, digest),
                Err(Error::IndexReused) if sent.was(index, digest) => {
                    let position = Position { rtp: index.checked_sub(1), rtcp: None };
                    let mut again = Outbound::resume(self.ssrc, Arc::clone(keys), position, 0);
                    result = seal(&mut again, kind, packet, len);
                }
                Err(_) => {}
            }
        }
        let (position, window) = (sender.context.position().rtp, u64::from(self.crypto.window.packets()));
        let left = sender.context.remaining().0;
        tell_of_limits(kind, result.err(), position, left, events);
        result.map_err(|error| match error {
            Error::IndexReused if number.is_some_and(|index| Some(index + window) <= position) => {
                srtp_err_status_replay_old
            }
            error => status(error),
        })
    }

    /// Unprotects a packet in place: its new length. A packet that is refused stays as it is.
    pub(crate) fn unprotect(
        &mut self,
        kind: Kind,
        packet: &mut [u8],
        mki: bool,
        events: &mut Events,
    ) -> Result<usize> {
        if self.sender.is_some() {
            events.push(event_ssrc_collision);
        }
        let (ssrc, crypto) = (self.ssrc, &self.crypto);
        let receiver =
            self.receiver.get_or_insert_with(|| Receiver { context: inbound(ssrc, crypto, mki, 0), mki });
        if receiver.mki != mki {
            // The first packets decide; a program that changes its mind gets other keys tried.
            replace_keys(&mut receiver.context, [(crypto, receiver.mki), (crypto, mki)]);
            receiver.mki = mki;
        }
        let far = match self.pending_roc {
            0 => None,
            _ if kind == Kind::Rtcp => None,
            roc => receiver.far(index(roc, Header::parse(packet).map_err(status)?.sequence))?,
        };
        let result = match far {
            None => open(&mut receiver.context, kind, packet),
            Some(index) => {
                let mut trial = inbound(ssrc, crypto, mki, (index >> 16) as u32);
                let result = open(&mut trial, kind, packet);
                receiver.context.advance(trial.position());
                result
            }
        };
        if kind == Kind::Rtp && result.is_ok() {
            self.pending_roc = 0;
        }
        let left = receiver.context.remaining().map_or(u64::MAX, |(_, rtp, _)| rtp);
        tell_of_limits(kind, result.err(), receiver.context.position().rtp, left, events);
        result.map_err(status)
    }
}

impl Sender {
    /// Goes to an index that was set from outside, unless the stream is near it anyway. Never back.
    fn jump(&mut self, index: u64, keys: &Arc<SessionKeys>, crypto: &Crypto) -> Result<()> {
        let position = self.context.position();
        let rtp = match position.rtp {
            Some(highest) if index + NEAR < highest => return Err(srtp_err_status_pkt_idx_old),
            Some(highest) if index <= highest + NEAR => return Ok(()),
            Some(_) => index.checked_sub(1),
            None => None,
        };
        let position = Position { rtp, ..position };
        self.context = outbound(self.context.ssrc(), keys, crypto, position, (index >> 16) as u32);
        Ok(())
    }
}

impl Receiver {
    /// If an index that was set from outside is far ahead of the stream, the index.
    fn far(&mut self, index: u64) -> Result<Option<u64>> {
        match self.context.position().rtp {
            None => {
                self.context.begin_at((index >> 16) as u32);
                Ok(None)
            }
            Some(highest) if index + NEAR < highest => Err(srtp_err_status_pkt_idx_old),
            Some(highest) => Ok((index > highest + NEAR).then_some(index)),
        }
    }
}

/// What was sent lately, index by index: enough to tell a packet that is sent again from another one under
/// the same index, whose key stream would then be used twice.
struct Sent {
    /// A packet's index and the digest of what must not change, at its index modulo their number.
    packets: Box<[(u64, u64)]>,
    /// Keyed for this stream alone: who can choose packets cannot choose digests.
    digest: RandomState,
}

fn sent(crypto: &Crypto) -> Option<Box<Sent>> {
    let packets = crypto.window.packets() as usize;
    crypto
        .repeats
        .then(|| Box::new(Sent { packets: vec![(u64::MAX, 0); packets].into(), digest: RandomState::new() }))
}

impl Sent {
    fn place(&mut self, index: u64) -> &mut (u64, u64) {
        let place = index % self.packets.len() as u64;
        &mut self.packets[place as usize]
    }

    fn remember(&mut self, index: u64, digest: u64) {
        *self.place(index) = (index, digest);
    }

    fn was(&mut self, index: u64, digest: u64) -> bool {
        *self.place(index) == (index, digest)
    }
}

fn index(roc: u32, sequence: u16) -> u64 {
    u64::from(roc) << 16 | u64::from(sequence)
}

fn outbound(ssrc: u32, keys: &Arc<SessionKeys>, crypto: &Crypto, position: Position, roc: u32) -> Outbound {
    Outbound::resume(ssrc, Arc::clone(keys), position, roc).with_window(crypto.window)
}

fn inbound(ssrc: u32, crypto: &Crypto, mki: bool, roc: u32) -> Inbound {
    let mut keys = crypto.inbound(mki).cloned();
    let Some(first) = keys.next() else { unreachable!("a policy has at least one key") };
    let mut context = Inbound::new(ssrc, first, crypto.window, roc);
    keys.for_each(|keys| context.install(keys));
    context
}

/// The keys of one policy go, those of another come; each with or without its MKI.
fn replace_keys(context: &mut Inbound, [before, after]: [(&Arc<Crypto>, bool); 2]) {
    for keys in before.0.inbound(before.1) {
        context.retire(keys.id());
    }
    for keys in after.0.inbound(after.1) {
        context.install(Arc::clone(keys));
    }
}

fn seal(
    context: &mut Outbound,
    kind: Kind,
    packet: &mut [u8],
    len: usize,
) -> std::result::Result<usize, Error> {
    let mut jobs = [Job::new(0, kind, packet, len)];
    protect(from_mut(context), &mut jobs);
    jobs[0].result.map(|()| jobs[0].len)
}

fn open(context: &mut Inbound, kind: Kind, packet: &mut [u8]) -> std::result::Result<usize, Error> {
    let len = packet.len();
    let mut jobs = [Job::new(0, kind, packet, len)];
    unprotect(from_mut(context), &mut jobs);
    jobs[0].result.map(|()| jobs[0].len)
}

fn tell_of_limits(kind: Kind, error: Option<Error>, highest: Option<u64>, left: u64, events: &mut Events) {
    match error {
        Some(Error::KeyExpired) if highest.is_some_and(|highest| highest + NEAR > LAST_INDEX) => {
            events.push(event_packet_index_limit);
        }
        Some(Error::KeyExpired) => events.push(event_key_hard_limit),
        None if kind == Kind::Rtp && left < SOFT_LIMIT => events.push(event_key_soft_limit),
        _ => {}
    }
}

/// The engine's reasons as libsrtp's statuses.
fn status(error: Error) -> srtp_err_status_t {
    match error {
        Error::AuthFailed => srtp_err_status_auth_fail,
        Error::Replayed | Error::IndexReused => srtp_err_status_replay_fail,
        Error::TooOld => srtp_err_status_replay_old,
        Error::UnknownMki => srtp_err_status_bad_mki,
        Error::KeyExpired => srtp_err_status_key_expired,
        Error::NotEncrypted => srtp_err_status_cant_check,
        Error::NoKey | Error::WrongSsrc => srtp_err_status_no_ctx,
        Error::ExtensionLength => srtp_err_status_parse_err,
        Error::NoTailroom => srtp_err_status_fail,
        _ => srtp_err_status_bad_param,
    }
}
