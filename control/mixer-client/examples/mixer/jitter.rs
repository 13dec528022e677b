//! Samples by their RTP timestamps: what comes early waits, what comes late is lost, what never comes is silence.

use std::collections::VecDeque;

/// A jitter buffer of a fixed delay.
pub(crate) struct Jitter {
    /// From the sample that is played next on.
    samples: VecDeque<i16>,
    /// Its timestamp; `None` before the first packet.
    position: Option<u32>,
    delay: usize,
    longest: usize,
}

impl Jitter {
    /// Packets are played so many samples after the first one came.
    pub(crate) fn new(delay: usize) -> Self {
        Self { samples: VecDeque::new(), position: None, delay, longest: 8 * delay }
    }

    /// Another source, or another beginning.
    pub(crate) fn reset(&mut self) {
        self.samples.clear();
        self.position = None;
    }

    /// Puts a packet's samples where they belong.
    pub(crate) fn put(&mut self, timestamp: u32, samples: &[i16]) {
        // Far from all that is known: the source has jumped.
        let near = |position: u32| {
            let ahead = timestamp.wrapping_sub(position) as i32;
            (-(self.longest as i32)..self.longest as i32).contains(&ahead)
        };
        if !self.position.is_some_and(near) {
            self.reset();
        }
        let delay = self.delay as u32;
        let position = *self.position.get_or_insert(timestamp.wrapping_sub(delay));
        let ahead = timestamp.wrapping_sub(position) as i32;
        let late = usize::try_from(-ahead).unwrap_or(0).min(samples.len());
        let from = usize::try_from(ahead).unwrap_or(0);
        let samples = &samples[late..];
        if self.samples.len() < from + samples.len() {
            self.samples.resize(from + samples.len(), 0);
        }
        for (place, sample) in self.samples.range_mut(from..from + samples.len()).zip(samples) {
            *place = *sample;
        }
    }

    /// The next samples to be played.
    pub(crate) fn take(&mut self, into: &mut [i16]) {
        for sample in &mut *into {
            *sample = self.samples.pop_front().unwrap_or(0);
        }
        self.position = self.position.map(|position| position.wrapping_add(into.len() as u32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(jitter: &mut Jitter, count: usize) -> Vec<i16> {
        let mut samples = vec![9; count];
        jitter.take(&mut samples);
        samples
    }

    #[test]
    fn packets_are_played_in_order_after_the_delay_across_the_wrap_of_timestamps() {
        let mut jitter = Jitter::new(4);
        jitter.put(u32::MAX - 1, &[1, 2]);
        jitter.put(2, &[5, 6]);
        jitter.put(0, &[3, 4]);
        assert_eq!(take(&mut jitter, 4), [0; 4]);
        assert_eq!(take(&mut jitter, 6), [1, 2, 3, 4, 5, 6]);
        assert_eq!(take(&mut jitter, 2), [0, 0]);
    }

    #[test]
    fn what_is_lost_is_silence_and_what_is_late_is_lost() {
        let mut jitter = Jitter::new(2);
        jitter.put(100, &[1, 2]);
        jitter.put(104, &[5, 6]);
        assert_eq!(take(&mut jitter, 5), [0, 0, 1, 2, 0]);
        jitter.put(102, &[3, 4]);
        assert_eq!(take(&mut jitter, 3), [4, 5, 6]);
    }

    #[test]
    fn a_source_that_jumps_begins_anew() {
        let mut jitter = Jitter::new(2);
        jitter.put(100, &[1, 2]);
        jitter.put(1_000_000, &[7, 8]);
        assert_eq!(take(&mut jitter, 4), [0, 0, 7, 8]);
    }
}
