//! How long packets stay: a histogram in fixed memory, written by one worker, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sub-buckets per power of two: a value is known to one part in 16.
const SUB_BITS: u32 = 4;
const SUB: usize = 1 << SUB_BITS;
/// Values of 2^36 ns (about 69 s) and more share the last bucket.
const MAX_BITS: u32 = 36;
/// Number of buckets.
const BUCKETS: usize = (MAX_BITS - SUB_BITS + 1) as usize * SUB;

/// Log-linear buckets of nanoseconds. One thread records, any thread reads.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl Histogram {
    /// Counts one value. Only the histogram's one writer may call this: the addition is a load and a
    /// store, so that it costs no more than a plain addition.
    #[inline]
    pub fn record(&self, nanoseconds: u64) {
        let bucket = &self.buckets[bucket_of(nanoseconds)];
        bucket.store(bucket.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// What was recorded so far.
    pub fn snapshot(&self) -> Latency {
        Latency { buckets: std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed)) }
    }
}

/// A histogram as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    buckets: [u64; BUCKETS],
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS] }
    }
}

impl Latency {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The value in nanoseconds that the given share of all values does not exceed, to one part in 16:
    /// `quantile(0.5)` is the median. `None` while there are no values.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank {
                return Some(upper_bound(index));
            }
        }
        None
    }

    /// The median in nanoseconds.
    pub fn p50(&self) -> Option<u64> {
        self.quantile(0.50)
    }

    /// The 99th percentile in nanoseconds.
    pub fn p99(&self) -> Option<u64> {
        self.quantile(0.99)
    }

    /// Adds another worker's values.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }

    /// Buckets that hold values: the largest value of the bucket in nanoseconds, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let filled = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(index, count)| (upper_bound(index), *count))
    }
}

/// Values below 16 have a bucket each; above, the leading bit chooses the row and the four bits behind
/// it the bucket in the row.
fn bucket_of(value: u64) -> usize {
    if value < SUB as u64 {
        return value as usize;
    }
    let bits = value.ilog2();
    if bits >= MAX_BITS {
        return BUCKETS - 1;
    }
    let shift = bits - SUB_BITS;
    (shift as usize + 1) * SUB + ((value >> shift) as usize & (SUB - 1))
}

fn upper_bound(index: usize) -> u64 {
    let (row, column) = (index / SUB, (index % SUB) as u64);
    match row.checked_sub(1) {
        None => column,
        Some(shift) => ((SUB as u64 + column + 1) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_of_a_known_distribution_are_right_to_one_part_in_sixteen() {
        let histogram = Histogram::default();
        for value in 1..=100_000_u64 {
            histogram.record(value);
        }
        let latency = histogram.snapshot();
        assert_eq!(latency.count(), 100_000);
        let p50 = latency.p50().unwrap();
        let p99 = latency.p99().unwrap();
        assert!((50_000..=53_200).contains(&p50), "{p50}");
        assert!((99_000..=105_300).contains(&p99), "{p99}");
    }

    #[test]
    fn an_empty_histogram_has_no_quantiles() {
        assert_eq!(Latency::default().p50(), None);
    }

    proptest! {
        #[test]
        fn every_value_lies_in_its_bucket(value in 0..1_u64 << MAX_BITS) {
            let index = bucket_of(value);
            prop_assert!(value <= upper_bound(index));
            prop_assert!(index == 0 || value > upper_bound(index - 1));
        }

        #[test]
        fn huge_values_share_the_last_bucket(value in 1_u64 << MAX_BITS..) {
            prop_assert_eq!(bucket_of(value), BUCKETS - 1);
        }
    }
}
