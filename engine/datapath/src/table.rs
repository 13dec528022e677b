//! Tables of fixed capacity: all memory is set aside at start, so that no packet makes one grow.

use std::hash::{BuildHasher, RandomState};

/// Entries with small stable numbers.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
    capacity: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity), capacity }
    }

    /// What it takes.
    pub(crate) const fn bytes(capacity: usize) -> usize {
        capacity * (size_of::<Option<T>>() + size_of::<u32>())
    }

    /// The new entry's number; gives the entry back if the slab is full.
    pub(crate) fn insert(&mut self, entry: T) -> Result<u32, T> {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = Some(entry);
            return Ok(index);
        }
        if self.entries.len() == self.capacity {
            return Err(entry);
        }
        self.entries.push(Some(entry));
        Ok(self.entries.len() as u32 - 1)
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let entry = self.entries.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(entry)
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// Asks the CPU to have an entry at hand soon.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        if let Some(entry) = self.entries.get(index as usize) {
            sluice_srtp::prefetch(entry);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.capacity
    }

    /// Numbers in use are below this.
    pub(crate) fn bound(&self) -> u32 {
        self.entries.len() as u32
    }
}

/// A hash table of small keys to numbers, at most half full: open addressing, linear probing, deletion
/// by shifting back. The hash is seeded, so that a peer who chooses its SSRCs cannot choose collisions.
#[derive(Debug)]
pub(crate) struct Index<K> {
    slots: Box<[Option<(K, u32)>]>,
    mask: usize,
    len: usize,
    capacity: usize,
    seed: [u64; 2],
}

/// A key of an [`Index`]: two words that tell it from all others.
pub(crate) trait Key: Copy + Eq {
    fn words(&self) -> [u64; 3];
}

/// A leg and an SSRC, or the like.
impl Key for (u32, u32) {
    #[inline]
    fn words(&self) -> [u64; 3] {
        [u64::from(self.0) << 32 | u64::from(self.1), 0, 0]
    }
}

/// A key and an SSRC sent under it.
impl Key for (sluice_srtp::KeyId, u32) {
    #[inline]
    fn words(&self) -> [u64; 3] {
        [self.0.0, u64::from(self.1), 0]
    }
}

impl Key for u32 {
    #[inline]
    fn words(&self) -> [u64; 3] {
        [u64::from(*self), 0, 0]
    }
}

impl Key for sluice_classifier::LocalKey {
    #[inline]
    fn words(&self) -> [u64; 3] {
        let address = u128::from_ne_bytes(self.addr);
        [address as u64, (address >> 64) as u64, u64::from(u16::from_ne_bytes(self.port))]
    }
}

impl<K: Key> Index<K> {
    pub(crate) fn new(capacity: usize) -> Self {
        let slots = Self::slots(capacity);
        let random = RandomState::new();
        Self {
            slots: vec![None; slots].into_boxed_slice(),
            mask: slots - 1,
            len: 0,
            capacity,
            seed: [random.hash_one(1_u8) | 1, random.hash_one(2_u8)],
        }
    }

    const fn slots(capacity: usize) -> usize {
        (if capacity == 0 { 1 } else { capacity } * 2).next_power_of_two()
    }

    /// What it takes.
    pub(crate) const fn bytes(capacity: usize) -> usize {
        Self::slots(capacity) * size_of::<Option<(K, u32)>>()
    }

    #[inline]
    pub(crate) fn get(&self, key: &K) -> Option<u32> {
        let mut at = self.home(key);
        while let Some((found, value)) = &self.slots[at] {
            if found == key {
                return Some(*value);
            }
            at = (at + 1) & self.mask;
        }
        None
    }

    /// Asks the CPU to have the slot at hand soon in which a key is, if it is where it belongs.
    #[inline]
    pub(crate) fn prefetch(&self, key: &K) {
        sluice_srtp::prefetch(&self.slots[self.home(key)]);
    }

    /// Whether there was room. The key must not be there yet.
    pub(crate) fn insert(&mut self, key: K, value: u32) -> bool {
        if self.len == self.capacity {
            return false;
        }
        let mut at = self.home(&key);
        while let Some((found, _)) = &self.slots[at] {
            debug_assert!(*found != key);
            at = (at + 1) & self.mask;
        }
        self.slots[at] = Some((key, value));
        self.len += 1;
        true
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<u32> {
        let mut hole = self.home(key);
        let value = loop {
            match &self.slots[hole] {
                Some((found, value)) if found == key => break *value,
                Some(_) => hole = (hole + 1) & self.mask,
                None => return None,
            }
        };
        self.close(hole);
        self.len -= 1;
        Some(value)
    }

    /// Moves entries back over the hole, so that each stays reachable from its home.
    fn close(&mut self, mut hole: usize) {
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let Some((key, _)) = &self.slots[at] else { break };
            let distance = at.wrapping_sub(self.home(key)) & self.mask;
            if distance >= at.wrapping_sub(hole) & self.mask {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
        }
        self.slots[hole] = None;
    }

    #[inline]
    fn home(&self, key: &K) -> usize {
        let mut hash = self.seed[1];
        for word in key.words() {
            let product = u128::from(hash ^ word).wrapping_mul(u128::from(self.seed[0]));
            hash = (product as u64) ^ ((product >> 64) as u64);
        }
        (hash ^ hash >> 32) as usize & self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_full_slab_gives_the_entry_back_and_reuses_what_is_freed() {
        let mut slab = Slab::new(2);
        assert_eq!(slab.insert('a'), Ok(0));
        assert_eq!(slab.insert('b'), Ok(1));
        assert_eq!(slab.insert('c'), Err('c'));
        assert_eq!(slab.remove(0), Some('a'));
        assert_eq!(slab.remove(0), None);
        assert_eq!(slab.insert('c'), Ok(0));
        assert_eq!((slab.len(), slab.get(0)), (2, Some(&'c')));
    }

    /// Of 100,000 SSRCs of one leg, however chosen: a lookup is a few neighbouring slots, as of ten.
    #[test]
    fn an_ssrc_among_a_hundred_thousand_is_found_in_constant_time() {
        type Chosen = fn(u32) -> u32;
        let chosen: [Chosen; 3] =
            [|number| number, |number| number.rotate_left(12), |number| number.wrapping_mul(0x9e37_79b9)];
        for ssrc in chosen {
            let mut index = Index::new(100_000);
            for number in 0..100_000 {
                assert!(index.insert((7, ssrc(number)), number));
            }
            assert!(!index.insert((8, 0), 0), "full");
            let distances =
                index.slots.iter().enumerate().filter_map(|(at, slot)| {
                    slot.map(|(key, _)| at.wrapping_sub(index.home(&key)) & index.mask)
                });
            let (sum, worst) = distances.fold((0, 0), |(sum, worst), one| (sum + one, one.max(worst)));
            assert!(sum < 100_000, "{sum} slots looked at in vain: more than one a lookup");
            assert!(worst < 64, "{worst} for one");
            assert!((0..100_000).all(|number| index.get(&(7, ssrc(number))) == Some(number)));
        }
    }

    proptest! {
        #[test]
        fn an_index_answers_like_a_map(operations in prop::collection::vec((0..3_u8, 0..24_u32), 0..400)) {
            let (mut index, mut map) = (Index::new(16), HashMap::new());
            for (step, (operation, key)) in operations.into_iter().enumerate() {
                let key = (7, key);
                match operation {
                    0 if !map.contains_key(&key) => {
                        let room = index.insert(key, step as u32);
                        prop_assert_eq!(room, map.len() < 16);
                        if room { map.insert(key, step as u32); }
                    }
                    1 => prop_assert_eq!(index.remove(&key), map.remove(&key)),
                    _ => prop_assert_eq!(index.get(&key), map.get(&key).copied()),
                }
                prop_assert_eq!(index.len, map.len());
            }
            for (key, value) in &map {
                prop_assert_eq!(index.get(key), Some(*value));
            }
        }
    }
}
