//! Packets that arrive in several chunks, put together in a large one.

use crate::{Frame, IoCounters, Pool};

/// What was put together so far.
#[derive(Default)]
pub(super) struct Gathering(Option<Begun>);

/// A packet of which more is to come.
struct Begun {
    /// `None`: there is no room for it, or it is lost.
    frame: Option<Frame>,
    /// Octets and chunks that came.
    have: usize,
    chunks: usize,
    /// Octets of the whole, as its headers say; `None`: all until a last chunk.
    whole: Option<usize>,
}

impl Begun {
    fn new(pool: &mut Pool, chunk: &Frame, more: bool) -> Self {
        let whole = length(chunk.payload()).filter(|whole| more && *whole > chunk.len());
        Self { frame: pool.alloc_large(), have: 0, chunks: 0, whole }
    }

    /// Whether this is what comes next. A kernel that finds no descriptor for one of a packet's chunks drops the rest, and
    /// then the next packet follows.
    fn continues(&self, len: usize, more: bool) -> bool {
        let end = self.have + len;
        self.whole.is_none_or(|whole| if more { end < whole } else { end == whole })
    }

    /// Where a packet's end did not come: what is to be made of this chunk.
    fn instead(self, pool: &mut Pool, chunk: &Frame, more: bool) -> Self {
        let chunks = self.chunks;
        Gathering(Some(self)).free(pool);
        match chunks {
            // The next packet's first.
            1 => Self::new(pool, chunk, more),
            // The second may have been the next packet's already. That is lost as well.
            _ => Self { frame: None, have: 0, chunks, whole: None },
        }
    }
}

impl Gathering {
    /// Whether the next chunk belongs to a packet that began before.
    pub(super) const fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a chunk of a packet; the packet, if this was the last. One for which there is no large chunk, or that does
    /// not fit into it, is counted and dropped. One whose end never comes is dropped as well; the kernel counted that.
    pub(super) fn add(
        &mut self,
        pool: &mut Pool,
        chunk: Frame,
        more: bool,
        counters: &mut IoCounters,
    ) -> Option<Frame> {
        let len = chunk.len();
        let Begun { frame, have, chunks, whole } = match self.0.take() {
            None => Begun::new(pool, &chunk, more),
            Some(begun) if begun.continues(len, more) => begun,
            Some(begun) => begun.instead(pool, &chunk, more),
        };
        let frame = frame.and_then(|frame| append(pool, frame, chunk.payload()));
        pool.free(chunk);
        if more {
            self.0 = Some(Begun { frame, have: have + len, chunks: chunks + 1, whole });
            return None;
        }
        match frame {
            Some(_) => counters.gathered += 1,
            None => counters.gather_failed += 1,
        }
        frame
    }

    /// Gives back what was begun.
    pub(super) fn free(self, pool: &mut Pool) {
        if let Some(frame) = self.0.and_then(|begun| begun.frame) {
            pool.free(frame);
        }
    }
}

/// Octets of a frame from its Ethernet header to the end of its IP packet, by what the headers say.
fn length(frame: &[u8]) -> Option<usize> {
    let word = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let mut at = 12;
    while let 0x8100 | 0x88a8 = word(at)? {
        at += 4;
    }
    let ip = at + 2;
    match word(at)? {
        0x0800 => Some(ip + usize::from(word(ip + 2)?)),
        0x86dd => Some(ip + 40 + usize::from(word(ip + 4)?)),
        _ => None,
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

    fn pool() -> Pool {
        Pool::new(PoolConfig { small: 2, large: 1 }).unwrap()
    }

    /// A frame of so many octets, tagged or not, filled with `mark` behind the IP header.
    fn packet(len: usize, tags: usize, v6: bool, mark: u8) -> Vec<u8> {
        let mut bytes = vec![2; 12];
        for kind in [[0x88, 0xa8], [0x81, 0]].into_iter().skip(2 - tags) {
            bytes.extend([kind[0], kind[1], 0, 7]);
        }
        let ip = bytes.len() + 2;
        if v6 {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(((len - ip - 40) as u16).to_be_bytes());
        } else {
            bytes.extend([0x08, 0, 0x45, 0]);
            bytes.extend(((len - ip) as u16).to_be_bytes());
        }
        bytes.resize(len, mark);
        bytes
    }

    /// Adds a chunk; what came of it.
    fn add(
        gathering: &mut Gathering,
        pool: &mut Pool,
        chunk: &[u8],
        more: bool,
    ) -> (Option<Vec<u8>>, IoCounters) {
        let mut counters = IoCounters::default();
        let mut frame = pool.alloc_small().unwrap();
        assert!(frame.set_window(0, chunk.len()));
        frame.payload_mut().copy_from_slice(chunk);
        let whole = gathering.add(pool, frame, more, &mut counters);
        let bytes = whole.map(|whole| {
            let bytes = whole.payload().to_vec();
            pool.free(whole);
            bytes
        });
        (bytes, counters)
    }

    /// Adds the chunks of a packet, as the kernel cuts it.
    fn add_all(gathering: &mut Gathering, pool: &mut Pool, packet: &[u8]) -> (Option<Vec<u8>>, IoCounters) {
        let chunks: Vec<&[u8]> = packet.chunks(3840).collect();
        let (last, others) = chunks.split_last().unwrap();
        for chunk in others {
            assert_eq!(add(gathering, pool, chunk, true), (None, IoCounters::default()));
            assert!(gathering.is_under_way());
        }
        let outcome = add(gathering, pool, last, false);
        assert!(!gathering.is_under_way());
        outcome
    }

    #[test]
    fn chunks_become_one_frame_in_their_order() {
        let (mut pool, mut gathering) = (pool(), Gathering::default());
        for tags in 0..3 {
            for v6 in [false, true] {
                for len in [3841, 7680, 7681, 8000, 12_000] {
                    let sent = packet(len, tags, v6, 9);
                    let (whole, counters) = add_all(&mut gathering, &mut pool, &sent);
                    assert_eq!((whole, counters.gathered), (Some(sent), 1), "{tags}, {v6}, {len}");
                }
            }
        }
        assert_eq!(pool.outstanding(), 0);
    }

    #[test]
    fn a_packet_whose_end_never_comes_swallows_nothing_of_the_next() {
        let (mut pool, mut gathering) = (pool(), Gathering::default());
        let torn = packet(9000, 0, false, 1);
        // Of 9,000 octets 3,840 or 7,680 came; then packets of one chunk, of two and of three.
        for came in 1..=2 {
            for len in [200, 3840, 5000, 8900, 9000] {
                for chunk in torn.chunks(3840).take(came) {
                    add(&mut gathering, &mut pool, chunk, true);
                }
                let next = packet(len, 0, true, 2);
                let (whole, _) = add_all_of(&mut gathering, &mut pool, &next);
                assert!(whole.is_none_or(|whole| whole == next), "{came}, {len}");
                let (after, _) = add_all(&mut gathering, &mut pool, &packet(8000, 0, false, 3));
                assert_eq!(after, Some(packet(8000, 0, false, 3)));
            }
        }
        // One chunk is told from the rest of another packet by its length alone.
        add(&mut gathering, &mut pool, &torn[..3840], true);
        let next = packet(214, 0, false, 2);
        assert_eq!(add(&mut gathering, &mut pool, &next, false).0, Some(next));
        assert_eq!(pool.outstanding(), 0);
    }

    /// As [`add_all`], where something else may be under way.
    fn add_all_of(
        gathering: &mut Gathering,
        pool: &mut Pool,
        packet: &[u8],
    ) -> (Option<Vec<u8>>, IoCounters) {
        let chunks: Vec<&[u8]> = packet.chunks(3840).collect();
        let (last, others) = chunks.split_last().unwrap();
        for chunk in others {
            add(gathering, pool, chunk, true);
        }
        add(gathering, pool, last, false)
    }

    #[test]
    fn what_finds_no_room_is_dropped_to_its_end_and_counted_once() {
        let (mut pool, mut gathering) = (pool(), Gathering::default());
        let taken = pool.alloc_large().unwrap();
        let (whole, counters) = add_all(&mut gathering, &mut pool, &packet(9000, 0, false, 1));
        assert_eq!((whole, counters.gather_failed), (None, 1));
        pool.free(taken);
        // More than a large chunk holds.
        let (whole, counters) = add_all(&mut gathering, &mut pool, &packet(17_000, 0, false, 1));
        assert_eq!((whole, counters.gather_failed), (None, 1));
        add(&mut gathering, &mut pool, &packet(9000, 0, false, 1)[..3840], true);
        gathering.free(&mut pool);
        assert_eq!(pool.outstanding(), 0);
    }
}
