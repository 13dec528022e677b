//! Whether a queue's media comes faster than its worker takes it.

use crate::xdp::Relief;

/// RTCP packets that may go by the kernel's sockets between two batches of 64, while the ring is about to overflow. More
/// than there is in a healthy mix (RFC 3550 §6.2: a twentieth of the traffic), and few enough that a storm of RTCP,
/// which costs the worker ten times as much on that way, leaves it most of its time.
const RTCP_PER_BATCH: u64 = 16;

/// Judged by how many chunks the kernel has left to receive into each time that the worker comes for a batch.
#[derive(Default)]
pub(crate) struct Pressure {
    high: bool,
    relief: Option<Relief>,
}

impl Pressure {
    /// By which RTCP goes past the ring.
    pub(crate) fn relieve(&mut self, relief: Relief) {
        self.relief = Some(relief);
    }

    /// `free` of `level` chunks are not filled yet. Pressure begins with a quarter left, and ends with three quarters, so
    /// that it does not come and go with every batch.
    pub(crate) fn note(&mut self, free: u32, level: u32) {
        let before = self.high;
        let bound = u64::from(level) * if before { 3 } else { 1 };
        self.high = u64::from(free) * 4 < bound;
        let Some(relief) = self.relief.as_ref().filter(|_| self.high || before) else { return };
        relief.allow(if self.high { RTCP_PER_BATCH } else { 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_begins_with_a_quarter_left_and_ends_with_three() {
        let mut pressure = Pressure::default();
        let mut highs = Vec::new();
        for free in [1024, 300, 256, 255, 0, 500, 767, 768, 500, 300, 200] {
            pressure.note(free, 1024);
            highs.push(pressure.high);
        }
        let (no, yes) = (false, true);
        assert_eq!(highs, [no, no, no, yes, yes, yes, yes, no, no, no, yes]);
    }

    #[test]
    fn a_ring_that_was_never_filled_is_not_under_pressure() {
        let mut pressure = Pressure::default();
        pressure.note(0, 0);
        assert!(!pressure.high);
    }
}
