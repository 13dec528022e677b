//! Whether a queue's media comes faster than its worker takes it.

use crate::xdp::Relief;

/// RTCP packets that may wait in the kernel's sockets: some milliseconds' worth on a worker with all that it can take, for
/// RTCP is a twentieth of the traffic at most (RFC 3550 §6.2).
const RTCP_WAITING: u64 = 128;
/// It is over once the ring was never found half full for so long, in nanoseconds: a worker that shares its CPU is late
/// again and again.
const CALM: u64 = 100_000_000;

/// Judged by how many chunks the kernel has left to receive into each time that the worker comes for a batch.
#[derive(Default)]
pub(crate) struct Pressure {
    /// When it was high last, plus one; 0: it is not.
    high_at: u64,
    relief: Option<Relief>,
}

impl Pressure {
    /// By which RTCP goes past the ring.
    pub(crate) fn relieve(&mut self, relief: Relief) {
        self.relief = Some(relief);
    }

    /// Whether there is any.
    pub(crate) const fn is_on(&self) -> bool {
        self.high_at != 0
    }

    /// `free` of `level` chunks are not filled yet, now. `taken`: how many packets the worker takes from the kernel's
    /// sockets with each batch.
    pub(crate) fn note(&mut self, (free, level): (u32, u32), taken: u64, now: u64) {
        let before = self.is_on();
        if u64::from(free) * 2 < u64::from(level) {
            self.high_at = now + 1;
        } else if before && now.saturating_sub(self.high_at) >= CALM {
            self.high_at = 0;
        }
        let Some(relief) = self.relief.as_ref().filter(|_| self.is_on() || before) else { return };
        // More than are taken would fill the sockets' queues, and be lost there or come late.
        relief.allow(match (before, self.is_on()) {
            (_, false) => 0,
            (false, true) => RTCP_WAITING,
            (true, true) => more(relief.left(), taken),
        });
    }
}

/// The allowance after a batch in which `taken` packets made room.
fn more(left: u64, taken: u64) -> u64 {
    (left + taken).min(RTCP_WAITING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_begins_with_half_a_ring_and_ends_a_while_after() {
        let mut pressure = Pressure::default();
        let mut seen = Vec::new();
        for (tenths, free) in
            [(0, 1024), (1, 512), (2, 511), (3, 1024), (9, 0), (10, 1024), (18, 1024), (20, 900), (21, 1024)]
        {
            pressure.note((free, 1024), 16, 1 + tenths * CALM / 10);
            seen.push(pressure.is_on());
        }
        let (no, yes) = (false, true);
        assert_eq!(seen, [no, no, yes, yes, yes, yes, yes, no, no]);
    }

    #[test]
    fn no_more_is_let_past_the_ring_than_is_taken() {
        let (mut left, mut passed) = (RTCP_WAITING, 0);
        for _ in 0..100 {
            // A storm: all that may pass does.
            passed += left;
            left = more(0, 16);
        }
        assert_eq!(passed, RTCP_WAITING + 99 * 16);
        assert_eq!(more(120, 16), RTCP_WAITING);
    }

    #[test]
    fn a_ring_that_was_never_filled_is_not_under_pressure() {
        let mut pressure = Pressure::default();
        pressure.note((0, 0), 16, 5);
        assert!(!pressure.is_on());
    }
}
