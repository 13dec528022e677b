//! What is measured: so many calls, what protects them on either side, and how many listen.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;
use sluice_srtp::{KeyId, Lifetime, MasterKey, Mki, SessionKeys, Suite};

/// What protects media on one side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nothing.
    Rtp,
    /// A suite.
    Srtp(Suite),
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtp => f.write_str("RTP"),
            Self::Srtp(suite) => f.write_str(suite.name()),
        }
    }
}

/// One set-up of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Between callers and device.
    pub from: Protection,
    /// Between device and listeners.
    pub to: Protection,
    /// Octets of RTP payload before protection.
    pub payload: usize,
    /// Callers.
    pub calls: usize,
    /// Listeners of each caller.
    pub fanout: usize,
    /// Whether all listeners of a call have one key (RFC 5479 App. B).
    pub shared_key: bool,
    /// Whether all legs are on one local port, told apart by their peers' addresses.
    pub shared_port: bool,
}

/// The two suites that are measured: what everybody speaks, and what is best for large packets.
pub const CM: Protection = Protection::Srtp(Suite::AesCm128HmacSha1_80);
/// See [`CM`].
pub const GCM: Protection = Protection::Srtp(Suite::AeadAes256Gcm);

impl Case {
    /// Calls of one listener each, with ports of their own.
    pub const fn new(from: Protection, to: Protection, payload: usize, calls: usize) -> Self {
        Self { from, to, payload, calls, fanout: 1, shared_key: false, shared_port: false }
    }

    /// Legs of the device: one for each peer.
    pub const fn legs(&self) -> usize {
        self.calls * (1 + self.fanout)
    }

    /// Listeners in all.
    pub const fn listeners(&self) -> usize {
        self.calls * self.fanout
    }

    /// The SSRC of a call's stream.
    pub const fn ssrc(call: usize) -> u32 {
        0x5100_0000 + call as u32
    }

    /// Key and salt of what a caller sends; `None` in the clear.
    pub fn caller_key(&self, call: usize) -> Option<Key> {
        Key::new(self.from, 1 + call as u64)
    }

    /// Key and salt of what the device sends to a listener; `None` in the clear.
    pub fn listener_key(&self, listener: usize) -> Option<Key> {
        let group = if self.shared_key { listener / self.fanout } else { listener };
        Key::new(self.to, (1 << 32) + group as u64)
    }
}

/// Key ‖ salt of a suite. Nothing that it protects is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The suite.
    pub suite: Suite,
    /// Key ‖ salt.
    pub material: Vec<u8>,
    name: u64,
}

impl Key {
    fn new(protection: Protection, name: u64) -> Option<Self> {
        let Protection::Srtp(suite) = protection else { return None };
        let mut state = name;
        let octets = (0..suite.key_len() + suite.salt_len()).map(|_| (split_mix(&mut state) >> 32) as u8);
        Some(Self { suite, material: octets.collect(), name })
    }

    /// A key that somebody else chose.
    pub fn foreign(suite: Suite, material: Vec<u8>, name: u64) -> Self {
        Self { suite, material, name }
    }

    /// Its session keys.
    pub fn derive(&self) -> Result<Arc<SessionKeys>> {
        let (key, salt) = self.material.split_at(self.suite.key_len().min(self.material.len()));
        let master = MasterKey::new(self.suite, key, salt)?;
        let keys = SessionKeys::derive(KeyId(self.name), &master, Mki::NONE, Lifetime::MAX)?;
        Ok(Arc::new(keys))
    }
}

/// The next number of the generator SplitMix64: numbers must only differ.
pub(super) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_key_is_one_for_each_call() {
        let case = Case { fanout: 3, shared_key: true, ..Case::new(CM, GCM, 160, 2) };
        let keys: Vec<_> = (0..6).map(|listener| case.listener_key(listener)).collect();
        assert!(keys[0] == keys[2] && keys[3] == keys[5] && keys[2] != keys[3]);
        let own = Case { shared_key: false, ..case };
        assert_ne!(own.listener_key(0), own.listener_key(1));
        assert_ne!(own.caller_key(0), own.caller_key(1));
    }

    #[test]
    fn what_is_in_the_clear_has_no_key() {
        let case = Case::new(Protection::Rtp, GCM, 160, 1);
        assert_eq!(case.caller_key(0), None);
        assert!(case.listener_key(0).unwrap().derive().is_ok());
    }
}
