//! The rollover counter in the packet: the Roll-over Counter Carrying Transform (RFC 4771).

use std::num::NonZeroU16;

use crate::KeyError;

/// Octets of the ROC in a tag.
pub(super) const ROC_LEN: usize = 4;
/// Octets of an untruncated HMAC-SHA1.
const MAC_LEN: u8 = 20;

/// Which packets are authenticated (RFC 4771 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RccMode {
    /// RCCm1: only packets that carry the ROC have a MAC. Not with AEAD suites.
    One,
    /// RCCm2: all packets have a MAC. Not with AEAD suites.
    Two,
    /// RCCm3: no MAC. Of HMAC suites nothing is authenticated then, and whoever changes a ROC on the way stops
    /// the stream (RFC 4771 §5); an AEAD suite keeps its own tag, and the ROC stands behind the MKI.
    Three,
}

/// The ROC in every R-th packet (RFC 4771 §2), so that a receiver which joins late, or lost count, learns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rcc {
    mode: RccMode,
    rate: NonZeroU16,
    tag: u8,
}

impl Rcc {
    /// The ROC in packets whose sequence number is 0 modulo `rate`. `tag` is the length of the tag in octets,
    /// ROC included (RFC 4771 §4, §5): 4 in mode 3, up to 24 in the others, of which the ROC takes 4: 14 is
    /// what §5 recommends.
    ///
    /// # Errors
    /// [`KeyError::Rcc`] for a rate of 0, or a length that the mode cannot have.
    pub fn new(mode: RccMode, rate: u16, tag: u8) -> Result<Self, KeyError> {
        let fits = match mode {
            RccMode::Three => usize::from(tag) == ROC_LEN,
            // A MAC of less than four octets is none.
            RccMode::One | RccMode::Two => (8..=MAC_LEN + ROC_LEN as u8).contains(&tag),
        };
        match NonZeroU16::new(rate) {
            // In mode 2 the tag of a packet without ROC is all MAC.
            Some(rate) if fits && (mode != RccMode::Two || tag <= MAC_LEN) => Ok(Self { mode, rate, tag }),
            _ => Err(KeyError::Rcc { rate, tag }),
        }
    }

    /// The mode.
    pub const fn mode(self) -> RccMode {
        self.mode
    }

    /// Whether a packet carries the ROC.
    pub(super) const fn carries(self, sequence: u16) -> bool {
        sequence.is_multiple_of(self.rate.get())
    }

    /// Octets of MAC in a packet of an HMAC suite.
    pub(super) const fn mac(self, sequence: u16) -> u8 {
        match (self.mode, self.carries(sequence)) {
            (RccMode::One | RccMode::Two, true) => self.tag - ROC_LEN as u8,
            (RccMode::Two, false) => self.tag,
            (RccMode::One, false) | (RccMode::Three, _) => 0,
        }
    }

    /// Whether packets go without a MAC, so that the ROC of a receiver may have been led astray.
    pub(super) const fn may_mislead(self, aead: bool) -> bool {
        !aead && !matches!(self.mode, RccMode::Two)
    }
}
