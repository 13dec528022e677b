//! Receiving: the context of one SSRC, with all master keys that may be in use.
//!
//! Mostly there is one packet index, whatever the key (RFC 3711 §3.3.1). Where peers begin anew with each key, keys have
//! replay lists of their own: a context's list 0 is its oldest, later ones are in [`More`].

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::context::{Held, MAX_KEYS, Position, RocOnRekey, no_index};
use crate::index::estimate;
use crate::replay::{Replay, ReplayWindow};
use crate::{Error, KeyId, Kind, SessionKeys};

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
    /// The newest key's lists.
    lists: Lists,
    /// Whether there are lists in `more`: here, so that most streams need not look there.
    listed: bool,
    authenticated: bool,
    repair: bool,
    roc_trials: u8,
}

/// Which replay lists a key's packets are in.
#[derive(Clone, Copy, Default)]
struct Lists {
    rtp: u8,
    rtcp: u8,
}

/// What few contexts need.
#[derive(Default)]
struct More {
    /// Other keys that still verify, newest first.
    older: ArrayVec<(Held, Lists), { MAX_KEYS - 1 }>,
    /// Of double suites, whose inner index goes its own way (RFC 8723 §3).
    inner: Replay,
    /// Lists 1 and up, oldest first.
    rtp: Vec<Replay>,
    rtcp: Vec<Replay>,
    /// The rollover counter of the first RTP packet in one of them: 0, but while a packet is tried with another.
    roc: u32,
    /// The RTP list that is the newest key's if its first packet is authentic there rather than in the one that it has.
    trial: Option<u8>,
    /// Whether a key has seen no RTP packet yet in a list of its own.
    pending: bool,
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
            lists: Lists::default(),
            listed: false,
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

    /// The initial rollover counter, and how many after it may be tried: none once a packet was authentic.
    pub(crate) const fn roc_trial(&self) -> (u32, u8) {
        (self.initial_roc, if self.rtp.is_empty() { self.roc_trials } else { 0 })
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
            more.rtp.iter_mut().chain(&mut more.rtcp).for_each(Replay::reset);
        }
    }

    /// Counts every index up to `position` as seen, as if its packets had been received; never goes back.
    /// With the position that another context had, a stream carries on here and no packet is accepted twice.
    pub fn advance(&mut self, position: Position) {
        for (kind, index) in [(Kind::Rtp, position.rtp), (Kind::Rtcp, position.rtcp)] {
            let list = self.list_mut(kind, self.current(kind));
            if let Some(index) = index.filter(|index| list.highest() < Some(*index)) {
                list.close(index);
            }
        }
    }

    /// Adds a master key. It is tried before the older ones, which go on verifying until retired; the
    /// ROC goes on (RFC 3711 §3.3.1). With no room left the oldest key goes.
    pub fn install(&mut self, keys: Arc<SessionKeys>) {
        self.install_with(keys, RocOnRekey::Keep);
    }

    /// The same for a peer whose rollover counter goes on as `roc` says. A key with indices of its own has its own replay
    /// lists; those of the older keys stay for as long as these do. The inner index of double suites always goes on.
    pub fn install_with(&mut self, keys: Arc<SessionKeys>, roc: RocOnRekey) {
        self.retire(keys.id());
        let lists = self.lists;
        let begun = !self.list(Kind::Rtp, lists.rtp).is_empty() || lists.rtp == 0 && self.initial_roc != 0;
        let replaced = self.newest.replace(Held::new(keys));
        if replaced.is_none() && roc == RocOnRekey::Keep {
            return;
        }
        let more = self.more.get_or_insert_default();
        if let Some(replaced) = replaced {
            if more.older.is_full() {
                more.older.pop();
            }
            more.older.insert(0, (replaced, lists));
        }
        more.trial = None;
        if roc != RocOnRekey::Keep {
            // A packet's SRTCP index is no guess, so that it cannot tell one from the other.
            more.rtcp.push(self.rtcp.emptied());
            self.lists.rtcp = more.rtcp.len() as u8;
        }
        if roc == RocOnRekey::Reset || roc == RocOnRekey::TryBoth && begun {
            more.rtp.push(self.rtp.emptied());
            let list = more.rtp.len() as u8;
            match roc {
                RocOnRekey::TryBoth => more.trial = Some(list),
                _ => self.lists.rtp = list,
            }
        }
        self.tidy();
    }

    /// Removes a master key; whether it was there.
    pub fn retire(&mut self, id: KeyId) -> bool {
        let before = self.key_count();
        if let Some(More { older, .. }) = self.more.as_deref_mut() {
            older.retain(|(held, _)| held.keys.id() != id);
        }
        if self.newest.as_ref().is_some_and(|held| held.keys.id() == id) {
            let next = self.more.as_mut().and_then(|more| {
                more.trial = None;
                more.older.pop_at(0)
            });
            self.lists = next.as_ref().map_or(self.lists, |(_, lists)| *lists);
            self.newest = next.map(|(held, _)| held);
        }
        self.tidy();
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

    /// Highest indices so far; where keys have indices of their own, those of the newest under which a packet came.
    pub fn position(&self) -> Position {
        let highest = |kind| self.list(kind, self.current(kind)).highest();
        Position { rtp: highest(Kind::Rtp), rtcp: highest(Kind::Rtcp) }
    }

    /// Where keys have indices of their own, the newest key that authenticated a packet. [`Self::position`] says nothing
    /// of what came under older ones: in a context that carries on from it they must not be, or they would accept a
    /// packet twice.
    pub fn oldest_that_may_carry_on(&self) -> Option<KeyId> {
        if !self.listed {
            return None;
        }
        self.held().find(|held| held.rtp + held.rtcp > 0).map(|held| held.keys.id())
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

    /// The key of a candidate that is to be tried: the newest, the older ones, and the newest again if its packets may
    /// be in either of two lists.
    #[inline]
    pub(crate) fn to_try(&self, candidate: usize) -> Option<&SessionKeys> {
        let trial = || self.more.as_ref().is_some_and(|more| more.trial.is_some());
        self.key(candidate).filter(|_| candidate == 0 || !self.is_second(candidate) || trial())
    }

    #[inline]
    pub(crate) fn key(&self, candidate: usize) -> Option<&SessionKeys> {
        self.candidate(candidate).map(|held| &*held.keys)
    }

    /// Whether a batch's common way will do for all keys.
    #[inline]
    pub(crate) fn batched(&self) -> bool {
        self.newest.as_ref().is_some_and(|held| held.keys.batched())
            && self.more.as_ref().is_none_or(|more| more.older.iter().all(|(held, _)| held.keys.batched()))
    }

    /// Whether the next packet decides how those after it are read.
    #[inline]
    pub(crate) fn fresh(&self) -> bool {
        self.rtp.is_empty() || self.pending()
    }

    /// Whether a key has seen no RTP packet yet in a list of its own.
    #[inline]
    pub(crate) fn pending(&self) -> bool {
        self.listed && self.more.as_ref().is_some_and(|more| more.pending)
    }

    /// Makes another rollover counter that of a key's first packet in a list of its own.
    pub(crate) fn begin_lists_at(&mut self, roc: u32) {
        if let Some(more) = &mut self.more {
            more.roc = roc;
        }
    }

    /// Whether keys have indices of their own: what is no index for one may be one for another.
    pub(crate) const fn has_lists(&self) -> bool {
        self.listed
    }

    #[inline]
    pub(crate) fn estimate(&self, sequence: u16, candidate: usize) -> Result<u64, Error> {
        let (highest, initial_roc) =
            if self.listed { self.begun_at(candidate) } else { (self.rtp.highest(), self.initial_roc) };
        estimate(highest, initial_roc, sequence).ok_or_else(|| no_index(highest, Error::TooOld))
    }

    #[inline]
    pub(crate) fn check(&self, kind: Kind, index: u64, candidate: usize) -> Result<(), Error> {
        let list = match kind {
            _ if self.listed => self.list(kind, self.number_of(kind, candidate)),
            Kind::Rtp => &self.rtp,
            Kind::Rtcp => &self.rtcp,
        };
        list.check(index)
    }

    #[allow(clippy::inline_always, reason = "a call costs as much as what it does")]
    #[inline(always)]
    pub(crate) fn commit(&mut self, kind: Kind, index: u64, candidate: usize) -> Result<(), Error> {
        let list = match kind {
            _ if self.listed => self.list_mut(kind, self.number_of(kind, candidate)),
            Kind::Rtp => &mut self.rtp,
            Kind::Rtcp => &mut self.rtcp,
        };
        list.commit(index)?;
        self.authenticated = true;
        if candidate == 0
            && let Some(held) = &mut self.newest
        {
            held.count(kind);
        } else {
            self.count_other(kind, candidate);
        }
        if self.listed && kind == Kind::Rtp {
            self.settle(candidate);
        }
        Ok(())
    }

    /// Makes `index`, which lies before the replay window, the next one to accept.
    pub(crate) fn set_index(&mut self, index: u64, candidate: usize) {
        let list = self.list_mut(Kind::Rtp, self.number_of(Kind::Rtp, candidate));
        if list.check(index) == Err(Error::TooOld) {
            match index.checked_sub(1) {
                Some(highest) => list.close(highest),
                None => list.reset(),
            }
        }
    }

    #[inline]
    pub(crate) fn expired(&self, kind: Kind, candidate: usize) -> bool {
        self.candidate(candidate).is_some_and(|held| held.left(kind) == 0)
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        self.newest.iter().chain(self.more.iter().flat_map(|more| more.older.iter().map(|(held, _)| held)))
    }

    /// Whether the candidate is the newest key once more.
    fn is_second(&self, candidate: usize) -> bool {
        candidate > 0 && self.more.as_ref().is_some_and(|more| candidate == more.older.len() + 1)
    }

    #[inline]
    fn candidate(&self, candidate: usize) -> Option<&Held> {
        if candidate == 0 { self.newest.as_ref() } else { self.other(candidate - 1) }
    }

    /// The older key of that number, or after them the newest once more.
    fn other(&self, older: usize) -> Option<&Held> {
        let more = self.more.as_ref()?;
        let second = self.newest.as_ref().filter(|_| older == more.older.len());
        more.older.get(older).map(|(held, _)| held).or(second)
    }

    /// Where keys have lists: which is the candidate's.
    #[cold]
    fn number_of(&self, kind: Kind, candidate: usize) -> u8 {
        let lists = match (candidate.checked_sub(1), &self.more) {
            (Some(older), Some(more)) => match (more.older.get(older), more.trial) {
                (Some((_, lists)), _) => *lists,
                (None, Some(rtp)) => Lists { rtp, ..self.lists },
                (None, None) => self.lists,
            },
            _ => self.lists,
        };
        match kind {
            Kind::Rtp => lists.rtp,
            Kind::Rtcp => lists.rtcp,
        }
    }

    /// Where keys have lists: the highest index of the candidate's, and the rollover counter if there is none.
    #[cold]
    fn begun_at(&self, candidate: usize) -> (Option<u64>, u32) {
        let number = self.number_of(Kind::Rtp, candidate);
        let roc = match &self.more {
            Some(more) if number > 0 => more.roc,
            _ => self.initial_roc,
        };
        (self.list(Kind::Rtp, number).highest(), roc)
    }

    #[cold]
    fn list(&self, kind: Kind, number: u8) -> &Replay {
        let own = match kind {
            Kind::Rtp => &self.rtp,
            Kind::Rtcp => &self.rtcp,
        };
        let Some(number) = usize::from(number).checked_sub(1) else { return own };
        self.more.as_ref().and_then(|more| more.lists(kind).get(number)).unwrap_or(own)
    }

    #[cold]
    fn list_mut(&mut self, kind: Kind, number: u8) -> &mut Replay {
        let own = match kind {
            Kind::Rtp => &mut self.rtp,
            Kind::Rtcp => &mut self.rtcp,
        };
        let Some(number) = usize::from(number).checked_sub(1) else { return own };
        let more = self.more.as_deref_mut().map(|more| match kind {
            Kind::Rtp => &mut more.rtp,
            Kind::Rtcp => &mut more.rtcp,
        });
        more.and_then(|lists| lists.get_mut(number)).unwrap_or(own)
    }

    /// The newest list that has an index, else the context's own.
    fn current(&self, kind: Kind) -> u8 {
        let others = self.more.as_ref().map(|more| more.lists(kind)).unwrap_or_default();
        others.iter().rposition(|list| !list.is_empty()).map_or(0, |last| last as u8 + 1)
    }

    #[cold]
    fn count_other(&mut self, kind: Kind, candidate: usize) {
        let Some(more) = &mut self.more else { return };
        let older = candidate.checked_sub(1).and_then(|older| more.older.get_mut(older));
        if let Some(held) = older.map(|(held, _)| held).or(self.newest.as_mut()) {
            held.count(kind);
        }
    }

    /// An RTP packet was authentic where keys have lists: perhaps it was open in which the packets of its key are.
    #[cold]
    fn settle(&mut self, candidate: usize) {
        if !self.pending() {
            return;
        }
        let second = self.is_second(candidate);
        if let Some(more) = &mut self.more
            && (second || candidate == 0)
            && let Some(trial) = more.trial.take()
            && second
        {
            self.lists.rtp = trial;
        }
        self.look_for_pending();
    }

    fn look_for_pending(&mut self) {
        self.listed = self.more.as_ref().is_some_and(|more| more.has_lists());
        let Some(more) = &self.more else { return };
        let empty = |lists: &Lists| lists.rtp > 0 && self.list(Kind::Rtp, lists.rtp).is_empty();
        let pending =
            more.trial.is_some() || empty(&self.lists) || more.older.iter().any(|(_, lists)| empty(lists));
        if let Some(more) = &mut self.more {
            more.pending = pending;
        }
    }

    /// Forgets lists that are no key's any more.
    fn tidy(&mut self) {
        let has_keys = self.newest.is_some();
        let kept = [self.current(Kind::Rtp), self.current(Kind::Rtcp)];
        let Some(more) = self.more.as_deref_mut() else { return };
        if !has_keys {
            // The next key goes on where the last one was.
            self.lists = Lists { rtp: kept[0], rtcp: kept[1] };
        }
        let mut rtp: ArrayVec<&mut u8, { MAX_KEYS + 1 }> = ArrayVec::new();
        let mut rtcp: ArrayVec<&mut u8, { MAX_KEYS + 1 }> = ArrayVec::new();
        for Lists { rtp: one, rtcp: other } in
            more.older.iter_mut().map(|(_, lists)| lists).chain([&mut self.lists])
        {
            rtp.push(one);
            rtcp.push(other);
        }
        rtp.extend(&mut more.trial);
        if compact(&mut self.rtp, &mut more.rtp, &mut rtp) {
            // A peer that began anew, and perhaps before its sequence number wrapped.
            (self.initial_roc, self.roc_trials) = (0, self.roc_trials.max(1));
        }
        compact(&mut self.rtcp, &mut more.rtcp, &mut rtcp);
        drop((rtp, rtcp));
        if !self.held().any(|held| held.keys.inner.is_some())
            && self.more.as_ref().is_some_and(|more| more.older.is_empty() && !more.has_lists())
        {
            self.more = None;
        }
        self.look_for_pending();
    }
}

impl More {
    fn lists(&self, kind: Kind) -> &[Replay] {
        match kind {
            Kind::Rtp => &self.rtp,
            Kind::Rtcp => &self.rtcp,
        }
    }

    const fn has_lists(&self) -> bool {
        !self.rtp.is_empty() || !self.rtcp.is_empty()
    }
}

/// Leaves the lists of these numbers, in their order, and changes the numbers with them. Whether another list than before is the
/// context's own.
fn compact(own: &mut Replay, others: &mut Vec<Replay>, numbers: &mut [&mut u8]) -> bool {
    if others.is_empty() {
        return false;
    }
    let mut used: Vec<u8> = numbers.iter().map(|number| **number).collect();
    used.sort_unstable();
    used.dedup();
    for number in numbers {
        **number = used.binary_search(number).unwrap_or(0) as u8;
    }
    let all = std::iter::once(std::mem::take(own)).chain(std::mem::take(others));
    let mut left = (0..).zip(all).filter(|(number, _)| used.contains(number)).map(|(_, list)| list);
    if let Some(first) = left.next() {
        *own = first;
    }
    others.extend(left);
    used.first() != Some(&0)
}
