//! RFC 3550 A.1: is a source that nothing authenticates worth listening to?
//!
//! "A new source is considered valid after MIN_SEQUENTIAL packets in sequence." Where A.1 drops the packets
//! on probation, ours are held and released in order once the source is valid.

/// Packets in sequence that make a source valid.
pub(crate) const MIN_SEQUENTIAL: u8 = 2;
const MAX_DROPOUT: u16 = 3000;
const MAX_MISORDER: u16 = 100;

/// What becomes of a packet of an unauthenticated source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Valid; what was held goes before it if `releases`.
    Accept {
        /// Whether the held packet is its predecessor.
        releases: bool,
    },
    /// To be held in place of what may be held.
    Hold,
}

/// The state of A.1's `update_seq` for one source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probation {
    missing: u8,
    highest: u16,
    /// The sequence number that would make a jump believable: one more than that of the jump.
    bad: Option<u16>,
}

impl Probation {
    /// The state before the packet with this sequence number, the first one of the source.
    pub(crate) const fn new(first: u16) -> Self {
        Self { missing: MIN_SEQUENTIAL, highest: first.wrapping_sub(1), bad: None }
    }

    pub(crate) const fn is_valid(self) -> bool {
        self.missing == 0
    }

    /// The same as for a new source: its packets come from elsewhere now.
    pub(crate) fn restart(&mut self, first: u16) {
        *self = Self::new(first);
    }

    pub(crate) fn judge(&mut self, sequence: u16) -> Judgement {
        if self.is_valid() { self.judge_valid(sequence) } else { self.judge_new(sequence) }
    }

    /// "Source is not valid until MIN_SEQUENTIAL packets with sequential sequence numbers have been
    /// received."
    fn judge_new(&mut self, sequence: u16) -> Judgement {
        let in_sequence = sequence == self.highest.wrapping_add(1);
        self.missing = if in_sequence { self.missing - 1 } else { MIN_SEQUENTIAL - 1 };
        self.highest = sequence;
        if self.missing == 0 { Judgement::Accept { releases: true } } else { Judgement::Hold }
    }

    fn judge_valid(&mut self, sequence: u16) -> Judgement {
        let ahead = sequence.wrapping_sub(self.highest);
        if ahead < MAX_DROPOUT {
            self.highest = sequence;
            self.bad = None;
            return Judgement::Accept { releases: false };
        }
        if ahead > u16::MAX - MAX_MISORDER {
            return Judgement::Accept { releases: false };
        }
        // "Two sequential packets -- assume that the other side restarted without telling us."
        if self.bad == Some(sequence) {
            self.highest = sequence;
            self.bad = None;
            return Judgement::Accept { releases: true };
        }
        self.bad = Some(sequence.wrapping_add(1));
        Judgement::Hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: Judgement = Judgement::Accept { releases: true };
    const ACCEPT: Judgement = Judgement::Accept { releases: false };

    fn judge_all(sequences: &[u16]) -> Vec<Judgement> {
        let mut probation = Probation::new(sequences[0]);
        sequences.iter().map(|&sequence| probation.judge(sequence)).collect()
    }

    #[test]
    fn two_packets_in_sequence_make_a_source_valid() {
        assert_eq!(judge_all(&[65535, 0, 1]), [Judgement::Hold, RELEASE, ACCEPT]);
    }

    #[test]
    fn packets_out_of_sequence_do_not() {
        assert_eq!(judge_all(&[10, 20, 30, 29, 31]), [Judgement::Hold; 5]);
    }

    #[test]
    fn losses_and_reordering_are_tolerated_once_valid() {
        assert_eq!(judge_all(&[1, 2, 50, 49, 3000])[2..], [ACCEPT; 3]);
    }

    #[test]
    fn a_jump_is_believed_when_its_successor_arrives() {
        assert_eq!(judge_all(&[1, 2, 30000, 30001, 30002])[2..], [Judgement::Hold, RELEASE, ACCEPT]);
        assert_eq!(judge_all(&[1, 2, 30000, 3, 30001])[2..], [Judgement::Hold, ACCEPT, Judgement::Hold]);
    }
}
