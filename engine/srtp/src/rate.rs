//! The key derivation rate: session keys that change with the packet index (RFC 3711 §4.3.1).

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{KeyError, KeyOptions, Kind, MasterKey, SessionKeys};

/// After how many packets session keys are derived anew; none but the first time by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DerivationRate {
    /// Base-two logarithm of the packets, plus one; 0 for never.
    exponent: u8,
}

impl DerivationRate {
    /// Session keys are derived once.
    pub const NONE: Self = Self { exponent: 0 };

    /// Every `packets`: 0, or 2^n for n from 0 to 24.
    pub const fn new(packets: u64) -> Result<Self, KeyError> {
        if packets == 0 {
            return Ok(Self::NONE);
        }
        if !packets.is_power_of_two() || packets > 1 << 24 {
            return Err(KeyError::DerivationRate { got: packets });
        }
        Ok(Self { exponent: packets.trailing_zeros() as u8 + 1 })
    }

    /// The packets; 0 for never.
    pub const fn packets(self) -> u64 {
        match self.exponent {
            0 => 0,
            exponent => 1 << (exponent - 1),
        }
    }
}

/// Session keys of intervals that are kept: of RTP and RTCP, the one before, and the one to come.
const KEPT: usize = 4;

/// What it takes to derive the session keys of any interval.
pub(crate) struct Rederivation {
    master: MasterKey,
    options: KeyOptions,
    /// Latest first. Streams of one key, which may be on several workers, share it.
    kept: Mutex<Vec<(u64, Arc<SessionKeys>)>>,
}

impl Rederivation {
    /// `None` if there is no rate.
    pub(crate) fn new(master: &MasterKey, options: &KeyOptions) -> Option<Self> {
        let some = options.derivation_rate != DerivationRate::NONE;
        some.then(|| Self { master: master.clone(), options: *options, kept: Mutex::default() })
    }

    /// Keys for a packet index. RTCP counts by its own index at the same rate (RFC 3711 §4.3.2).
    pub(crate) fn at<'a>(&self, first: &'a SessionKeys, kind: Kind, index: u64) -> Option<Current<'a>> {
        let r = index / self.options.derivation_rate.packets();
        if r == 0 {
            return Some(Current::Same(first));
        }
        debug_assert!(kind == Kind::Rtp || index < 1 << 31);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(interval, _)| *interval == r) {
            kept[..=at].rotate_right(1);
        } else {
            let keys = SessionKeys::derive_at(first.id(), &self.master, &self.options, r).ok()?;
            kept.truncate(KEPT - 1);
            kept.insert(0, (r, Arc::new(keys)));
        }
        Some(Current::Derived(Arc::clone(&kept[0].1)))
    }
}

/// Session keys that hold for a packet.
pub(crate) enum Current<'a> {
    /// Those that were derived first.
    Same(&'a SessionKeys),
    /// Those of a later interval.
    Derived(Arc<SessionKeys>),
}

impl Deref for Current<'_> {
    type Target = SessionKeys;

    fn deref(&self) -> &SessionKeys {
        match self {
            Self::Same(keys) => keys,
            Self::Derived(keys) => keys,
        }
    }
}
