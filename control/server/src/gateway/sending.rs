//! Who sends under which master key, so that no key is used for sending in two places (RFC 3711 §9.1).
//!
//! The keys themselves are not kept: a fingerprint under secrets of this process tells equal from
//! different. A key that stopped sending is remembered, so that, should it come back, it keeps its
//! number, by which the engine's guard knows the indices it was used for.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_datapath::LegId;
use sluice_srtp::KeyId;

/// Keys that are remembered after their last use for sending, oldest forgotten first.
const REMEMBERED: usize = 1 << 20;

/// Tells equal key material from different without keeping it: 128 bits under keys of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(u64, u64);

/// The registry; clones share it.
#[derive(Clone)]
pub(super) struct SendingKeys {
    hashers: Arc<(RandomState, RandomState)>,
    registry: Arc<Mutex<Registry>>,
}

struct Registry {
    keys: HashMap<Fingerprint, Known>,
    /// Keys without use, in the order in which they became so, each with the release that made it so; some
    /// came back since.
    idle: VecDeque<(Fingerprint, u64)>,
    /// How many keys are without use.
    idle_keys: usize,
    /// Counts releases.
    releases: u64,
    remembered: usize,
    /// Numbers that the engine may forget.
    forgotten: Vec<KeyId>,
    last_number: u64,
}

struct Known {
    number: KeyId,
    /// Values of [`SendingKey`] that are alive.
    uses: usize,
    /// The leg that sends under the key now.
    sender: Option<LegId>,
    /// How many claims there are: more than one of a half that several of the leg's keys share, and of a key that
    /// legs share.
    claims: usize,
    /// The session whose legs share the key, if they do; `sender` is then one of them.
    sharers: Option<Arc<str>>,
    /// The whole key that it was last sent under; its own but for a double key's half.
    under: Fingerprint,
    /// Whether any leg ever did.
    sent: bool,
    /// The release after which it was without use last.
    released: u64,
}

/// A master key for sending. While a value that [claimed](Self::claim) it lives, no other can.
///
/// Either half of a double key (RFC 8723) is an AEAD key of its own, and must not be sent under as one: halves are
/// claimed with the whole. Keys of one leg may share a half, as when the hop's key changes and the end-to-end key
/// stays: the leg's indices go on.
pub(super) struct SendingKey {
    registry: Arc<Mutex<Registry>>,
    /// The whole, then its halves if it has any.
    parts: Vec<Fingerprint>,
    number: KeyId,
    claimed: AtomicBool,
}

/// Why a key cannot be sent under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// This leg does, or did under a key of which this is a part, or that is a part of this.
    InUse(LegId),
    /// A key that has a part in common was sent under before, by a leg that is gone: its indices are not this one's.
    Spent,
}

impl SendingKeys {
    pub(super) fn new() -> Self {
        Self::remembering(REMEMBERED)
    }

    fn remembering(remembered: usize) -> Self {
        let registry = Registry {
            keys: HashMap::new(),
            idle: VecDeque::new(),
            idle_keys: 0,
            releases: 0,
            remembered,
            forgotten: Vec::new(),
            last_number: 0,
        };
        Self { hashers: Arc::default(), registry: Arc::new(Mutex::new(registry)) }
    }

    /// The fingerprint of a master key and salt. The suite is not part of it: AES_CM_128_HMAC_SHA1_80
    /// and _32 make the same keystream of the same key. Nor are zeros at the end, with which the key
    /// derivation pads shorter salts (RFC 7714 §11).
    pub(super) fn fingerprint(&self, key_salt: &[u8]) -> Fingerprint {
        let end = key_salt.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let of = |hasher: &RandomState| hasher.hash_one(&key_salt[..end]);
        Fingerprint(of(&self.hashers.0), of(&self.hashers.1))
    }

    /// A number for a key that is not for sending: such keys need not be told apart.
    pub(super) fn fresh_number(&self) -> KeyId {
        lock(&self.registry).fresh_number()
    }

    /// The key for sending that has this fingerprint, and its halves' fingerprints if it is a double one.
    pub(super) fn key(&self, whole: Fingerprint, halves: &[Fingerprint]) -> SendingKey {
        let mut registry = lock(&self.registry);
        let number = registry.take(whole);
        for half in halves {
            registry.take(*half);
        }
        let parts = std::iter::once(whole).chain(halves.iter().copied()).collect();
        let claimed = AtomicBool::new(false);
        SendingKey { registry: Arc::clone(&self.registry), parts, number, claimed }
    }

    /// Numbers that will not be given again, and that the engine may forget.
    pub(super) fn take_forgotten(&self) -> Vec<KeyId> {
        std::mem::take(&mut lock(&self.registry).forgotten)
    }
}

impl SendingKey {
    pub(super) const fn number(&self) -> KeyId {
        self.number
    }

    /// Marks the key as sent under by `leg`, or says what is in the way. `sharing`: legs of this session may share
    /// it, if each says so.
    pub(super) fn claim(&self, leg: LegId, sharing: Option<&str>) -> Result<(), Refusal> {
        let mut registry = lock(&self.registry);
        let Some(whole) = self.parts.first().copied() else { return Ok(()) };
        for part in &self.parts {
            let Some(known) = registry.keys.get(part) else { continue };
            let shared = sharing.is_some() && known.sharers.as_deref() == sharing && known.under == whole;
            match known.sender {
                Some(_) if shared => {}
                Some(other) if *part == whole || other != leg => return Err(Refusal::InUse(other)),
                None if known.sent && known.under != whole => return Err(Refusal::Spent),
                _ => {}
            }
        }
        for part in &self.parts {
            if let Some(known) = registry.keys.get_mut(part) {
                (known.sender, known.under, known.sent) = (Some(leg), whole, true);
                known.sharers = sharing.map(Into::into);
                known.claims += 1;
            }
        }
        self.claimed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for SendingKey {
    fn drop(&mut self) {
        let mut registry = lock(&self.registry);
        for part in &self.parts {
            registry.release(*part, *self.claimed.get_mut());
        }
    }
}

impl Registry {
    fn fresh_number(&mut self) -> KeyId {
        self.last_number += 1;
        KeyId(self.last_number)
    }

    /// Counts another use of a key, which is new perhaps; its number.
    fn take(&mut self, fingerprint: Fingerprint) -> KeyId {
        if let Some(known) = self.keys.get_mut(&fingerprint) {
            known.uses += 1;
            let (number, came_back) = (known.number, known.uses == 1);
            self.idle_keys -= usize::from(came_back);
            return number;
        }
        let number = self.fresh_number();
        let known = Known {
            number,
            uses: 1,
            sender: None,
            claims: 0,
            sharers: None,
            under: fingerprint,
            sent: false,
            released: 0,
        };
        self.keys.insert(fingerprint, known);
        number
    }

    fn release(&mut self, fingerprint: Fingerprint, claimed: bool) {
        self.releases += 1;
        let Some(known) = self.keys.get_mut(&fingerprint) else { return };
        known.uses -= 1;
        if claimed {
            known.claims -= 1;
            known.sender = known.sender.filter(|_| known.claims > 0);
        }
        match (known.uses, known.sent) {
            (0, true) => {
                known.released = self.releases;
                self.idle_keys += 1;
                self.idle.push_back((fingerprint, self.releases));
            }
            (0, false) => drop(self.keys.remove(&fingerprint)),
            _ => {}
        }
        while self.idle_keys > self.remembered {
            self.forget_oldest();
        }
        // Entries of keys that came back are of no account, and must not become many.
        if self.idle.len() > 2 * self.remembered {
            let keys = &self.keys;
            self.idle.retain(|(fingerprint, release)| is_idle_since(keys, fingerprint, *release));
        }
    }

    fn forget_oldest(&mut self) {
        let Some((oldest, release)) = self.idle.pop_front() else {
            self.idle_keys = 0;
            return;
        };
        if is_idle_since(&self.keys, &oldest, release)
            && let Some(known) = self.keys.remove(&oldest)
        {
            self.idle_keys -= 1;
            self.forgotten.push(known.number);
        }
    }
}

fn is_idle_since(keys: &HashMap<Fingerprint, Known>, fingerprint: &Fingerprint, release: u64) -> bool {
    keys.get(fingerprint).is_some_and(|known| known.uses == 0 && known.released == release)
}

/// No code that runs under the lock panics, so that a poisoned lock holds a whole registry.
fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_sender_until_that_one_is_gone() {
        let keys = SendingKeys::new();
        let fingerprint = keys.fingerprint(&[1; 30]);
        let first = keys.key(fingerprint, &[]);
        assert_eq!(first.claim(7, None), Ok(()));
        let second = keys.key(fingerprint, &[]);
        assert_eq!(second.claim(8, None), Err(Refusal::InUse(7)));
        drop(second);
        let third = keys.key(fingerprint, &[]);
        assert_eq!(third.claim(8, None), Err(Refusal::InUse(7)), "a refused claim released nothing");
        drop(first);
        assert_eq!(third.claim(8, None), Ok(()));
    }

    #[test]
    fn legs_of_one_session_may_share_a_key_and_nobody_else_may() {
        let keys = SendingKeys::new();
        let fingerprint = keys.fingerprint(&[1; 30]);
        let [first, second, third] = [(); 3].map(|()| keys.key(fingerprint, &[]));
        assert_eq!(first.claim(7, Some("s")), Ok(()));
        assert_eq!(second.claim(8, None), Err(Refusal::InUse(7)), "it has to say so");
        assert_eq!(second.claim(8, Some("t")), Err(Refusal::InUse(7)), "another session");
        assert_eq!(second.claim(8, Some("s")), Ok(()));
        drop(first);
        assert_eq!(third.claim(9, None), Err(Refusal::InUse(8)), "until the last is gone");
        assert_eq!(third.claim(9, Some("s")), Ok(()));
        drop((second, third));
        let alone = keys.key(fingerprint, &[]);
        assert_eq!(alone.claim(7, None), Ok(()));
        assert_eq!(
            keys.key(fingerprint, &[]).claim(8, Some("s")),
            Err(Refusal::InUse(7)),
            "the other way round"
        );
    }

    #[test]
    fn a_key_that_sent_keeps_its_number_and_one_that_did_not_leaves_no_trace() {
        let keys = SendingKeys::new();
        let (sent, unsent) = (keys.fingerprint(&[1; 30]), keys.fingerprint(&[2; 30]));
        let key = keys.key(sent, &[]);
        key.claim(1, None).unwrap();
        let number = key.number();
        drop(key);
        drop(keys.key(unsent, &[]));
        assert_eq!(keys.key(sent, &[]).number(), number);
        assert!(!lock(&keys.registry).keys.contains_key(&unsent));
    }

    #[test]
    fn a_double_keys_halves_are_not_sent_under_as_keys_of_their_own() {
        let keys = SendingKeys::new();
        let [inner, outer, other] = [[1; 28], [2; 28], [3; 28]].map(|half| keys.fingerprint(&half));
        let [first, second] = [[4; 56], [5; 56]].map(|whole| keys.fingerprint(&whole));
        let double = keys.key(first, &[inner, outer]);
        assert_eq!(double.claim(7, None), Ok(()));
        assert_eq!(keys.key(outer, &[]).claim(8, None), Err(Refusal::InUse(7)));
        assert_eq!(keys.key(inner, &[]).claim(7, None), Err(Refusal::InUse(7)), "on the same leg as well");
        // The hop's key changes on the same leg; on another one the inner key would be used twice.
        let next = keys.key(second, &[inner, other]);
        assert_eq!(next.claim(8, None), Err(Refusal::InUse(7)));
        assert_eq!(next.claim(7, None), Ok(()));
        drop(double);
        assert_eq!(
            keys.key(first, &[inner, outer]).claim(8, None),
            Err(Refusal::InUse(7)),
            "the inner key is in use"
        );
        drop(next);
        // Gone, and not forgotten: the whole knows its indices, others do not.
        assert_eq!(keys.key(inner, &[]).claim(8, None), Err(Refusal::Spent));
        assert_eq!(
            keys.key(first, &[inner, outer]).claim(8, None),
            Err(Refusal::Spent),
            "the inner went on under another"
        );
        assert_eq!(keys.key(second, &[inner, other]).claim(8, None), Ok(()));
        let alone = keys.key(keys.fingerprint(&[9; 28]), &[]);
        assert_eq!(alone.claim(9, None), Ok(()));
        drop(alone);
        let around =
            keys.key(keys.fingerprint(&[8; 56]), &[keys.fingerprint(&[9; 28]), keys.fingerprint(&[7; 28])]);
        assert_eq!(around.claim(9, None), Err(Refusal::Spent));
    }

    #[test]
    fn memory_of_old_keys_is_bounded_and_the_engine_is_told() {
        let keys = SendingKeys::remembering(2);
        let mut numbers = Vec::new();
        for byte in 0..5 {
            let key = keys.key(keys.fingerprint(&[byte, 1]), &[]);
            key.claim(1, None).unwrap();
            numbers.push(key.number());
        }
        assert_eq!(keys.take_forgotten(), numbers[..3]);
        assert_eq!(lock(&keys.registry).keys.len(), 2);
        assert!(keys.take_forgotten().is_empty());
    }

    #[test]
    fn a_key_that_comes_and_goes_pushes_out_neither_itself_nor_others() {
        let keys = SendingKeys::remembering(2);
        let numbers = |byte: u8| {
            let key = keys.key(keys.fingerprint(&[byte, 1]), &[]);
            key.claim(1, None).unwrap();
            key.number()
        };
        let (other, busy) = (numbers(1), numbers(2));
        for _ in 0..100 {
            assert_eq!(numbers(2), busy);
        }
        assert!(lock(&keys.registry).idle.len() <= 4, "the queue is bounded");
        assert_eq!(numbers(1), other);
        assert!(keys.take_forgotten().is_empty());
    }

    #[test]
    fn what_makes_one_keystream_has_one_fingerprint() {
        let keys = SendingKeys::new();
        let gcm = [3; 28];
        let mut padded = gcm.to_vec();
        padded.extend([0, 0]);
        assert_eq!(keys.fingerprint(&gcm), keys.fingerprint(&padded));
        assert_ne!(keys.fingerprint(&[3; 29]), keys.fingerprint(&[3; 30]));
        assert_ne!(keys.fingerprint(&gcm), SendingKeys::new().fingerprint(&gcm), "keyed per process");
    }
}
