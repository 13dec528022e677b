//! What stands between exchanges: which line of one peer is which of the other's, and what the gateway says there.

use std::fmt;

use super::{OwnMedia, dtls};
use crate::ice::AgreedIce;
use crate::sdes::CryptoLine;
use crate::sdp::RtpProfile;

/// What stands with one peer after an exchange, for those that come after it.
///
/// Media lines "MUST NOT be removed" or change places (RFC 3264 section 8), and a key that is not to change is said
/// again. A default one is that of a peer to which nothing was said yet. It holds keys, and wipes them when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub(super) lines: Vec<StandingLine>,
    pub(super) transports: usize,
}

/// What stands on a media line.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct StandingLine {
    /// `audio`, `video`.
    pub(super) media: String,
    /// The line of the other peer that this one carries on.
    pub(super) other: Option<usize>,
    /// The line that offers the same medium in another profile.
    pub(super) partner: Option<usize>,
    /// The transport by which it passes the gateway.
    pub(super) transport: Option<usize>,
    /// Whether it is in use, rather than refused or removed.
    pub(super) active: bool,
    /// Where the gateway receives.
    pub(super) own: Option<OwnMedia>,
    /// What the gateway offered or answered, its keys among them; the one that was agreed on first.
    pub(super) keys: Vec<CryptoLine>,
    /// The crypto line of the peer's that was agreed on.
    pub(super) peer: Option<CryptoLine>,
    /// The handshake that was agreed on.
    pub(super) dtls: Option<dtls::Association>,
    /// The checks that were agreed on.
    pub(super) ice: Option<AgreedIce>,
    /// Its name in groups.
    pub(super) mid: Option<String>,
    /// The profile that was agreed on.
    pub(super) profile: Option<RtpProfile>,
}

impl Standing {
    /// How many transports there were so far. New ones get numbers from here on.
    pub fn transports(&self) -> usize {
        self.transports
    }

    /// The same without the gateway's keys: whatever is said next brings new ones (RFC 4568 section 7.1.4), or a new
    /// association; "this means the answerer cannot initiate a new DTLS association unless the offerer initiated ICE
    /// restart" (RFC 8842 section 6), so that checks begin anew as well.
    #[must_use]
    pub fn rekeyed(&self) -> Self {
        let mut rekeyed = self.clone();
        for line in &mut rekeyed.lines {
            line.keys.clear();
            line.peer = None;
            line.ice = None;
            line.dtls.iter_mut().for_each(|dtls| dtls.ended = true);
        }
        rekeyed
    }

    /// The transport of a media line, by its `a=mid`, or else by its number from 0: candidates that come later name lines
    /// so (RFC 8840 section 4.4).
    pub fn transport_of(&self, mid: Option<&str>, line: Option<usize>) -> Option<usize> {
        let by_mid = mid.and_then(|mid| self.lines.iter().find(|line| line.mid.as_deref() == Some(mid)));
        by_mid.or_else(|| self.line(line?)).filter(|line| line.active)?.transport
    }

    /// What stands on a line, if there is such a line.
    pub(super) fn line(&self, line: usize) -> Option<&StandingLine> {
        self.lines.get(line)
    }

    /// The line that carries on the other peer's `line`.
    pub(super) fn of_other(&self, line: usize) -> Option<usize> {
        self.lines.iter().position(|standing| standing.other == Some(line))
    }
}

impl StandingLine {
    /// Whether keys may be said again: "if the offerer includes an IP address and/or port that differs from that used
    /// previously for a media stream, the offerer MUST include a new master key" (RFC 4568 section 7.1.4).
    pub(super) fn keeps_keys(&self, own: &OwnMedia) -> bool {
        self.active && self.own.as_ref().is_some_and(|before| before.is_at(own))
    }

    /// Whether SRTP was agreed on.
    pub(super) fn is_secured(&self) -> bool {
        self.peer.is_some() || self.dtls.is_some()
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").field("lines", &self.lines).field("transports", &self.transports).finish()
    }
}

impl fmt::Debug for StandingLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandingLine")
            .field("media", &self.media)
            .field("other", &self.other)
            .field("partner", &self.partner)
            .field("transport", &self.transport)
            .field("active", &self.active)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}
