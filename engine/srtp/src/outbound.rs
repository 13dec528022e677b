//! Sending: the context of one SSRC under one master key at a time.

use std::sync::Arc;

use crate::context::{Held, Position, RTCP_INDEX_END, no_index};
use crate::index::estimate;
use crate::replay::{Replay, ReplayWindow};
use crate::{Error, KeyId, Kind, SessionKeys};

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

    /// Protects with another master key from the next packet on, for a peer that begins anew with each
    /// ([`RocOnRekey::Reset`](crate::RocOnRekey::Reset)): rollover counter and SRTCP index are 0, the sequence number is
    /// the packet's. Nothing may have been sent under this key and SSRC before, or key stream is repeated (RFC 3711 §9.1).
    pub fn restart(&mut self, keys: Arc<SessionKeys>) {
        self.rtp.reset();
        (self.initial_roc, self.next_rtcp) = (0, 0);
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
