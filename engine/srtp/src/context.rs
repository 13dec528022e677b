//! Cryptographic contexts: all SRTP state of one SSRC in one direction (RFC 3711 §3.2).

use std::sync::Arc;

use arrayvec::ArrayVec;
use sluice_kernels::prefetch;

use crate::index::{INDEX_END, estimate};
use crate::replay::{Replay, ReplayWindow};
use crate::{Error, KeyId, Kind, SessionKeys};

/// Master keys that one context can hold at a time: the newest and those not retired yet.
pub const MAX_KEYS: usize = 16;
/// SRTCP indices have 31 bits (RFC 3711 §3.4).
const RTCP_INDEX_END: u64 = 1 << 31;

/// A table of contexts, named by number. Several jobs of one batch may name the same context.
pub trait Contexts<C> {
    /// The context of that number.
    fn get(&self, index: usize) -> Option<&C>;
    /// The context of that number, to change.
    fn get_mut(&mut self, index: usize) -> Option<&mut C>;
    /// Asks the CPU to have the context at hand soon. A batch asks for all of its contexts first.
    fn prefetch(&self, index: usize) {
        if let Some(context) = self.get(index) {
            prefetch(context);
        }
    }
}

impl<C> Contexts<C> for [C] {
    fn get(&self, index: usize) -> Option<&C> {
        <[C]>::get(self, index)
    }

    fn get_mut(&mut self, index: usize) -> Option<&mut C> {
        <[C]>::get_mut(self, index)
    }
}

/// Where a stream stands: enough to carry on elsewhere (RFC 3711 §3.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Highest RTP packet index so far: ROC in the upper 32 of 48 bits.
    pub rtp: Option<u64>,
    /// Highest SRTCP index so far.
    pub rtcp: Option<u64>,
}

impl Position {
    /// The rollover counter.
    pub fn roc(&self) -> u32 {
        self.rtp.map_or(0, |index| (index >> 16) as u32)
    }
}

/// Why a packet has no index: it lies after the last one, or else it has the reason `before`.
#[cold]
fn no_index(highest: Option<u64>, before: Error) -> Error {
    if highest.is_some_and(|highest| highest >= INDEX_END / 2) { Error::KeyExpired } else { before }
}

/// A key in a context with what it has done there.
struct Held {
    keys: Arc<SessionKeys>,
    rtp: u64,
    rtcp: u64,
}

impl Held {
    const fn new(keys: Arc<SessionKeys>) -> Self {
        Self { keys, rtp: 0, rtcp: 0 }
    }

    fn left(&self, kind: Kind) -> u64 {
        let used = match kind {
            Kind::Rtp => self.rtp,
            Kind::Rtcp => self.rtcp,
        };
        self.keys.direction(kind).lifetime.saturating_sub(used)
    }

    const fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Rtp => self.rtp += 1,
            Kind::Rtcp => self.rtcp += 1,
        }
    }
}

/// The context of a received SSRC. In memory what an RTP packet needs comes first.
#[repr(C)]
pub struct Inbound {
    newest: Option<Held>,
    ssrc: u32,
    initial_roc: u32,
    rtp: Replay,
    rtcp: Replay,
    /// No memory while there is but one key, and that of no double suite.
    more: Option<Box<More>>,
    authenticated: bool,
    repair: bool,
    roc_trials: u8,
}

/// What few contexts need.
#[derive(Default)]
struct More {
    /// Other keys that still verify, newest first.
    older: ArrayVec<Held, { MAX_KEYS - 1 }>,
    /// Of double suites, whose inner index goes its own way (RFC 8723 §3).
    inner: Replay,
}

impl Inbound {
    /// A context that has seen nothing. `roc` is the rollover counter of the first packet: 0 unless
    /// signalling told otherwise.
    pub fn new(ssrc: u32, keys: Arc<SessionKeys>, window: ReplayWindow, roc: u32) -> Self {
        let more = keys.inner.is_some().then(Box::default);
        Self {
            newest: Some(Held::new(keys)),
            ssrc,
            initial_roc: roc,
            rtp: Replay::new(window),
            rtcp: Replay::new(window),
            more,
            authenticated: false,
            repair: false,
            roc_trials: 0,
        }
    }

    /// Lets the first packet try up to `rocs` rollover counters after the initial one, for who joins a stream
    /// late and was told no better (RFC 3711 §3.3.1). Each costs a tag, for forged packets as well; once a packet
    /// was authentic there is no more trying.
    #[must_use]
    pub const fn trying_rocs(mut self, rocs: u8) -> Self {
        self.roc_trials = rocs;
        self
    }

    /// The initial rollover counter, and how many after it may be tried.
    pub(crate) const fn roc_trial(&self) -> (u32, u8) {
        (self.initial_roc, self.roc_trials)
    }

    /// The rollover counter of the first RTP packet, or the first of those that it may try.
    pub const fn initial_roc(&self) -> u32 {
        self.initial_roc
    }

    /// Makes another rollover counter the initial one; of no effect once an RTP packet was authentic.
    pub const fn begin_at(&mut self, roc: u32) {
        self.initial_roc = roc;
    }

    /// Of double suites: packets are repair data, and have the outer transform only (RFC 8723 §5.1, §7).
    #[must_use]
    pub const fn repairing(mut self) -> Self {
        self.repair = true;
        self
    }

    pub(crate) const fn is_repair(&self) -> bool {
        self.repair
    }

    /// The index of the inner transform, checked for replay. `outer` is the index of the outer one, if both
    /// have one sequence number: a good guess for the first packet.
    pub(crate) fn estimate_inner(&self, sequence: u16, outer: Option<u64>) -> Result<u64, Error> {
        let inner = self.more.as_ref().map(|more| &more.inner);
        let highest = inner.and_then(Replay::highest);
        let roc = outer.map_or(self.initial_roc, |outer| (outer >> 16) as u32);
        let index = estimate(highest, roc, sequence).ok_or_else(|| no_index(highest, Error::TooOld))?;
        inner.map_or(Ok(()), |inner| inner.check(index)).map(|()| index)
    }

    pub(crate) fn commit_inner(&mut self, index: u64) -> Result<(), Error> {
        self.more.get_or_insert_default().inner.commit(index)
    }

    /// Makes this the unused context of another SSRC under the same keys; allocates nothing.
    pub fn rebind(&mut self, ssrc: u32) {
        self.ssrc = ssrc;
        self.authenticated = false;
        self.rtp.reset();
        self.rtcp.reset();
        if let Some(more) = &mut self.more {
            more.inner.reset();
        }
    }

    /// Counts every index up to `position` as seen, as if its packets had been received; never goes back.
    /// With the position that another context had, a stream carries on here and no packet is accepted twice.
    pub fn advance(&mut self, position: Position) {
        for (list, index) in [(&mut self.rtp, position.rtp), (&mut self.rtcp, position.rtcp)] {
            if let Some(index) = index.filter(|index| list.highest() < Some(*index)) {
                list.close(index);
            }
        }
    }

    /// Adds a master key. It is tried before the older ones, which go on verifying until retired; the
    /// ROC goes on (RFC 3711 §3.3.1). With no room left the oldest key goes.
    pub fn install(&mut self, keys: Arc<SessionKeys>) {
        self.retire(keys.id());
        if let Some(replaced) = self.newest.replace(Held::new(keys)) {
            let older = &mut self.more.get_or_insert_default().older;
            if older.is_full() {
                older.pop();
            }
            older.insert(0, replaced);
        }
    }

    /// Removes a master key; whether it was there.
    pub fn retire(&mut self, id: KeyId) -> bool {
        let before = self.key_count();
        if let Some(More { older, .. }) = self.more.as_deref_mut() {
            older.retain(|held| held.keys.id() != id);
        }
        if self.newest.as_ref().is_some_and(|held| held.keys.id() == id) {
            self.newest = self.more.as_mut().and_then(|more| more.older.pop_at(0));
        }
        let double = self.held().any(|held| held.keys.inner.is_some());
        if !double && self.more.as_ref().is_some_and(|more| more.older.is_empty()) {
            self.more = None;
        }
        self.key_count() < before
    }

    /// Whether any packet has authenticated here (late binding, RFC 5479 App. A.4.3).
    pub const fn authenticated(&self) -> bool {
        self.authenticated
    }

    /// The SSRC.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// How many keys verify packets here.
    pub fn key_count(&self) -> usize {
        self.held().count()
    }

    /// Highest indices so far.
    pub fn position(&self) -> Position {
        Position { rtp: self.rtp.highest(), rtcp: self.rtcp.highest() }
    }

    /// The newest key, and how many RTP and RTCP packets may still be accepted under it here.
    pub fn remaining(&self) -> Option<(KeyId, u64, u64)> {
        let held = self.newest.as_ref()?;
        Some((held.keys.id(), held.left(Kind::Rtp), held.left(Kind::Rtcp)))
    }

    /// The keys, newest first, each with how many packets it has authenticated.
    pub fn usage(&self) -> impl Iterator<Item = (&SessionKeys, u64)> {
        self.held().map(|held| (&*held.keys, held.rtp + held.rtcp))
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        self.newest.iter().chain(self.more.iter().flat_map(|more| more.older.iter()))
    }

    fn candidate(&self, candidate: usize) -> Option<&Held> {
        match candidate.checked_sub(1) {
            None => self.newest.as_ref(),
            Some(older) => self.more.as_ref()?.older.get(older),
        }
    }

    pub(crate) fn key(&self, candidate: usize) -> Option<&SessionKeys> {
        self.candidate(candidate).map(|held| &*held.keys)
    }

    /// Whether a batch's common way will do for all keys.
    #[inline]
    pub(crate) fn batched(&self) -> bool {
        self.newest.as_ref().is_some_and(|held| held.keys.batched())
            && self.more.as_ref().is_none_or(|more| more.older.iter().all(|held| held.keys.batched()))
    }

    pub(crate) const fn fresh(&self) -> bool {
        self.rtp.is_empty()
    }

    #[inline]
    pub(crate) fn estimate(&self, sequence: u16) -> Result<u64, Error> {
        let highest = self.rtp.highest();
        estimate(highest, self.initial_roc, sequence).ok_or_else(|| no_index(highest, Error::TooOld))
    }

    #[inline]
    pub(crate) fn check(&self, kind: Kind, index: u64) -> Result<(), Error> {
        self.replay(kind).check(index)
    }

    #[allow(clippy::inline_always, reason = "a call costs as much as what it does")]
    #[inline(always)]
    pub(crate) fn commit(&mut self, kind: Kind, index: u64, candidate: usize) -> Result<(), Error> {
        match kind {
            Kind::Rtp => self.rtp.commit(index)?,
            Kind::Rtcp => self.rtcp.commit(index)?,
        }
        self.authenticated = true;
        let held = match candidate.checked_sub(1) {
            None => self.newest.as_mut(),
            Some(older) => self.more.as_mut().and_then(|more| more.older.get_mut(older)),
        };
        if let Some(held) = held {
            held.count(kind);
        }
        Ok(())
    }

    /// Makes `index`, which lies before the replay window, the next one to accept.
    pub(crate) fn set_index(&mut self, index: u64) {
        if self.rtp.check(index) == Err(Error::TooOld) {
            match index.checked_sub(1) {
                Some(highest) => self.rtp.close(highest),
                None => self.rtp.reset(),
            }
        }
    }

    #[inline]
    pub(crate) fn expired(&self, kind: Kind, candidate: usize) -> bool {
        self.candidate(candidate).is_some_and(|held| held.left(kind) == 0)
    }

    const fn replay(&self, kind: Kind) -> &Replay {
        match kind {
            Kind::Rtp => &self.rtp,
            Kind::Rtcp => &self.rtcp,
        }
    }
}

/// The context of a sent SSRC. It never uses an index twice under one key.
#[repr(C)]
pub struct Outbound {
    held: Held,
    ssrc: u32,
    initial_roc: u32,
    rtp: Replay,
    /// At most 2^31.
    next_rtcp: u32,
    repair: bool,
}

impl Outbound {
    /// A context that has sent nothing. `roc` is the rollover counter of the first packet.
    pub fn new(ssrc: u32, keys: Arc<SessionKeys>, roc: u32) -> Self {
        Self::resume(ssrc, keys, Position::default(), roc)
    }

    /// Carries on after `position`: nothing at or before it is ever sent again. Without an RTP
    /// position the first packet has rollover counter `roc`.
    pub fn resume(ssrc: u32, keys: Arc<SessionKeys>, position: Position, roc: u32) -> Self {
        let mut rtp = Replay::new(ReplayWindow::default());
        if let Some(highest) = position.rtp {
            rtp.close(highest);
        }
        let next_rtcp = position.rtcp.map_or(0, |index| (index + 1).min(RTCP_INDEX_END) as u32);
        Self { ssrc, initial_roc: roc, rtp, next_rtcp, repair: false, held: Held::new(keys) }
    }

    /// Counts every index up to `position` as used, as if its packets had been sent; never goes back. The key
    /// and what it has done stay.
    pub fn advance(&mut self, position: Position) {
        if let Some(index) = position.rtp.filter(|index| self.rtp.highest() < Some(*index)) {
            self.rtp.close(index);
        }
        if let Some(index) = position.rtcp {
            self.next_rtcp = self.next_rtcp.max((index + 1).min(RTCP_INDEX_END) as u32);
        }
    }

    /// RTP and RTCP packets that the key has protected here, which count against its lifetime (RFC 3711 §9.2).
    pub const fn used(&self) -> (u64, u64) {
        (self.held.rtp, self.held.rtcp)
    }

    /// Counts packets that the key protected in this stream before it was resumed.
    #[must_use]
    pub const fn having_used(mut self, (rtp, rtcp): (u64, u64)) -> Self {
        (self.held.rtp, self.held.rtcp) = (rtp, rtcp);
        self
    }

    /// Lets packets be sent out of order by as much as `window`, instead of 128 packets. To be said before the
    /// first packet: what was sent until now counts as a window full of used indices.
    #[must_use]
    pub fn with_window(mut self, window: ReplayWindow) -> Self {
        let highest = self.rtp.highest();
        self.rtp = Replay::new(window);
        if let Some(highest) = highest {
            self.rtp.close(highest);
        }
        self
    }

    /// Of double suites: packets are repair data, and get the outer transform only (RFC 8723 §5.1, §7).
    #[must_use]
    pub const fn repairing(mut self) -> Self {
        self.repair = true;
        self
    }

    pub(crate) const fn is_repair(&self) -> bool {
        self.repair
    }

    /// Protects with another master key from the next packet on; ROC and indices go on
    /// (RFC 3711 §3.3.1, §3.4).
    pub fn switch(&mut self, keys: Arc<SessionKeys>) {
        self.held = Held::new(keys);
    }

    /// The SSRC.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The name of the key in use.
    pub fn key_id(&self) -> KeyId {
        self.held.keys.id()
    }

    /// RTP and RTCP packets that the key may still protect here.
    pub fn remaining(&self) -> (u64, u64) {
        let rtcp_indices = RTCP_INDEX_END.saturating_sub(u64::from(self.next_rtcp));
        let next = self.rtp.highest().map_or(self.held.keys.indices.from(), |highest| highest + 1);
        let rtp_indices = (self.held.keys.indices.to() + 1).saturating_sub(next);
        (self.held.left(Kind::Rtp).min(rtp_indices), self.held.left(Kind::Rtcp).min(rtcp_indices))
    }

    /// Highest indices used so far.
    pub fn position(&self) -> Position {
        Position { rtp: self.rtp.highest(), rtcp: self.next_rtcp.checked_sub(1).map(u64::from) }
    }

    pub(crate) fn keys(&self) -> &SessionKeys {
        &self.held.keys
    }

    /// The packet index that an RTP packet with this sequence number would have (RFC 3711 §3.3.1).
    ///
    /// # Errors
    /// [`Error::IndexReused`] if it would lie before the first packet ever, [`Error::KeyExpired`] if after the
    /// last that there can be.
    pub fn index_of(&self, sequence: u16) -> Result<u64, Error> {
        let highest = self.rtp.highest();
        estimate(highest, self.initial_roc, sequence).ok_or_else(|| no_index(highest, Error::IndexReused))
    }

    /// Takes the index of an RTP packet; it is used up from now on.
    #[allow(clippy::inline_always, reason = "a call costs as much as what it does")]
    #[inline(always)]
    pub(crate) fn take_rtp(&mut self, sequence: u16) -> Result<u64, Error> {
        let index = self.index_of(sequence)?;
        self.spend(Kind::Rtp)?;
        // A packet too far behind cannot be shown to be new: sending it could reuse its index.
        self.rtp.commit(index).map_err(|_| Error::IndexReused)?;
        self.held.count(Kind::Rtp);
        Ok(index)
    }

    /// Takes the next SRTCP index.
    pub(crate) fn take_rtcp(&mut self) -> Result<u64, Error> {
        self.spend(Kind::Rtcp)?;
        let index = u64::from(self.next_rtcp);
        if index >= RTCP_INDEX_END {
            return Err(Error::KeyExpired);
        }
        self.next_rtcp += 1;
        self.held.count(Kind::Rtcp);
        Ok(index)
    }

    fn spend(&self, kind: Kind) -> Result<(), Error> {
        if self.held.left(kind) == 0 { Err(Error::KeyExpired) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_replay_lists_and_at_most_64_bytes() {
        let list = size_of::<Replay>() - size_of::<u64>();
        assert!(size_of::<Inbound>() <= 64 + 2 * list, "{}", size_of::<Inbound>());
        assert!(size_of::<Outbound>() <= 64 + list, "{}", size_of::<Outbound>());
    }
}
