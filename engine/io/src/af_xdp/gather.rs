//! Packets that arrive in several chunks, put together in a large one.

use crate::{Frame, IoCounters, Pool};

/// What was put together so far.
#[derive(Default)]
pub(super) struct Gathering(State);

#[derive(Default)]
#[allow(clippy::large_enum_variant, reason = "one for each socket, and a box would be an allocation")]
enum State {
    /// No packet is under way.
    #[default]
    Nothing,
    Begun(Frame),
    /// The rest of a packet for which there is no room.
    Lost,
}

impl Gathering {
    /// Whether the next chunk belongs to a packet that began before.
    pub(super) const fn is_under_way(&self) -> bool {
        !matches!(self.0, State::Nothing)
    }

    /// Adds a chunk of a packet; the packet, if this was the last. One for which there is no large chunk, or that does
    /// not fit into it, is counted and dropped.
    pub(super) fn add(
        &mut self,
        pool: &mut Pool,
        chunk: Frame,
        more: bool,
        counters: &mut IoCounters,
    ) -> Option<Frame> {
        let before = match std::mem::take(&mut self.0) {
            State::Nothing => pool.alloc_large(),
            State::Begun(frame) => Some(frame),
            State::Lost => None,
        };
        let together = before.and_then(|frame| append(pool, frame, chunk.payload()));
        pool.free(chunk);
        match (together, more) {
            (Some(frame), true) => self.0 = State::Begun(frame),
            (None, true) => self.0 = State::Lost,
            (Some(frame), false) => {
                counters.gathered += 1;
                return Some(frame);
            }
            (None, false) => counters.gather_failed += 1,
        }
        None
    }

    /// Gives back what was begun.
    pub(super) fn free(self, pool: &mut Pool) {
        if let State::Begun(frame) = self.0 {
            pool.free(frame);
        }
    }
}

fn append(pool: &mut Pool, mut frame: Frame, bytes: &[u8]) -> Option<Frame> {
    let (at, end) = (frame.len(), frame.len() + bytes.len());
    let Some(room) = frame.buffer_mut().get_mut(at..end) else {
        pool.free(frame);
        return None;
    };
    room.copy_from_slice(bytes);
    frame.set_len(end);
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolConfig;

    fn add(
        gathering: &mut Gathering,
        pool: &mut Pool,
        len: usize,
        more: bool,
    ) -> (Option<Frame>, IoCounters) {
        let mut counters = IoCounters::default();
        let mut chunk = pool.alloc_small().unwrap();
        assert!(chunk.fill(&vec![len as u8; len]));
        let whole = gathering.add(pool, chunk, more, &mut counters);
        (whole, counters)
    }

    #[test]
    fn chunks_become_one_frame_in_their_order() {
        let mut pool = Pool::new(PoolConfig { small: 2, large: 1 }).unwrap();
        let mut gathering = Gathering::default();
        assert!(add(&mut gathering, &mut pool, 3840, true).0.is_none());
        assert!(gathering.is_under_way());
        assert!(add(&mut gathering, &mut pool, 3839, true).0.is_none());
        let (whole, counters) = add(&mut gathering, &mut pool, 7, false);
        let whole = whole.unwrap();
        assert_eq!((whole.len(), counters.gathered), (3840 + 3839 + 7, 1));
        assert_eq!((whole.payload()[0], whole.payload()[3840], whole.payload()[7680]), (0, 255, 7));
        assert!(!gathering.is_under_way());
        pool.free(whole);
        assert_eq!(pool.outstanding(), 0);
    }

    #[test]
    fn what_finds_no_room_is_dropped_to_its_end_and_counted_once() {
        let mut pool = Pool::new(PoolConfig { small: 2, large: 1 }).unwrap();
        let mut gathering = Gathering::default();
        let taken = pool.alloc_large().unwrap();
        for more in [true, true, false] {
            let (whole, counters) = add(&mut gathering, &mut pool, 3000, more);
            assert!(whole.is_none());
            assert_eq!(counters.gather_failed, u64::from(!more));
        }
        pool.free(taken);
        // More than a large chunk holds.
        for more in [true, true, true, true, true, false] {
            assert!(add(&mut gathering, &mut pool, 3840, more).0.is_none());
        }
        assert!(!gathering.is_under_way());
        assert!(add(&mut gathering, &mut pool, 100, true).0.is_none());
        gathering.free(&mut pool);
        assert_eq!(pool.outstanding(), 0);
    }
}
