//! The packet index of RTP: 48 bits of which the packet carries 16 (RFC 3711 §3.3.1).

/// Indices are below this: ROC of 32 bits, sequence number of 16.
pub(crate) const INDEX_END: u64 = 1 << 48;

/// The index that sequence number `seq` most likely stands for, given the highest index so far;
/// before the first packet that is `initial_roc`'s.
///
/// `None` where the estimate lies outside 0..2^48: a packet from before the stream's beginning,
/// or one after the last that the key may protect.
#[inline]
pub(crate) fn estimate(highest: Option<u64>, initial_roc: u32, seq: u16) -> Option<u64> {
    let Some(highest) = highest else { return Some(u64::from(initial_roc) << 16 | u64::from(seq)) };
    // RFC 3711 Appendix A: v is whichever of ROC-1, ROC, ROC+1 brings the index nearest to 2^16*ROC + s_l;
    // the distance is then that of sequence numbers modulo 2^16.
    let last = highest as u16;
    let mut distance = i64::from(seq.wrapping_sub(last).cast_signed());
    // Half-way between two candidates the appendix stays with ROC.
    if distance == -32_768 && last < 32_768 {
        distance = 32_768;
    }
    highest.checked_add_signed(distance).filter(|index| *index < INDEX_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Brute force: of all three candidates, the one nearest to the highest index.
    fn nearest(highest: u64, seq: u16) -> Vec<u64> {
        let roc = (highest >> 16) as i64;
        let of = |v: i64| (v << 16 | i64::from(seq)) - highest as i64;
        let best = (roc - 1..=roc + 1).map(|v| of(v).abs()).min().unwrap();
        (roc - 1..=roc + 1)
            .filter(|v| of(*v).abs() == best)
            .map(|v| (v << 16 | i64::from(seq)) as u64)
            .collect()
    }

    #[test]
    fn the_estimate_is_the_nearest_candidate_for_every_sequence_number() {
        for last in [0, 1, 100, 32_766, 32_767, 32_768, 32_769, 50_000, 65_534, 65_535] {
            let highest = 5 << 16 | last;
            for seq in 0..=u16::MAX {
                let got = estimate(Some(highest), 0, seq).unwrap();
                assert!(nearest(highest, seq).contains(&got), "highest {highest:#x}, seq {seq}: {got:#x}");
            }
        }
    }

    #[test]
    fn before_the_beginning_and_past_the_end_there_is_no_index() {
        assert_eq!(estimate(Some(3), 0, 65_000), None);
        assert_eq!(estimate(Some(INDEX_END - 1), 0, 2), None);
        assert_eq!(estimate(None, 7, 9), Some(7 << 16 | 9));
    }
}
