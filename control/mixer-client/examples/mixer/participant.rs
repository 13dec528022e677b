//! One who takes part: a ring, what came from there, and the stream that goes there.

use std::hash::{BuildHasher, RandomState};

use sluice_mixer_client::{Lost, Ring, SendError};

use crate::codec::Codec;
use crate::jitter::Jitter;

/// Packets taken before others have their turn.
const BATCH: usize = 64;

/// How audio travels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub(crate) codec: Codec,
    pub(crate) payload_type: u8,
    /// Samples of a packet.
    pub(crate) frame: usize,
}

/// One leg of the room.
pub(crate) struct Participant {
    pub(crate) name: String,
    pub(crate) ring: Ring,
    format: Format,
    source: Option<u32>,
    jitter: Jitter,
    decoded: Vec<i16>,
    /// What it says now.
    pub(crate) frame: Vec<i16>,
    /// What goes to it.
    pub(crate) ssrc: u32,
    sequence: u16,
    timestamp: u32,
    packet: Vec<u8>,
    first: bool,
}

impl Participant {
    /// One whose packets are played so many frames after they came.
    pub(crate) fn new(name: String, ring: Ring, format: Format, delay: usize) -> Self {
        // RFC 3550 §5.1: nobody is to guess where a stream begins.
        let random = RandomState::new().hash_one(&name);
        Self {
            name,
            ring,
            format,
            source: None,
            jitter: Jitter::new(delay * format.frame),
            decoded: Vec::new(),
            frame: vec![0; format.frame],
            ssrc: random as u32,
            sequence: (random >> 32) as u16,
            timestamp: (random >> 24) as u32,
            packet: Vec::new(),
            first: true,
        }
    }

    /// Takes what came.
    pub(crate) fn receive(&mut self) -> Result<(), Lost> {
        let Self { ring, format, source, jitter, decoded, .. } = self;
        ring.receive(BATCH, |packet| {
            let Some((ssrc, timestamp, payload)) = open(packet, format.payload_type) else { return };
            if source.replace(ssrc) != Some(ssrc) {
                jitter.reset();
            }
            decoded.clear();
            format.codec.decode(payload, decoded);
            jitter.put(timestamp, decoded);
        })?;
        Ok(())
    }

    /// Goes on to what it says next.
    pub(crate) fn play(&mut self) {
        self.jitter.take(&mut self.frame);
    }

    /// The SSRC that is heard from it.
    pub(crate) const fn source(&self) -> Option<u32> {
        self.source
    }

    /// Sends what all said together, without what it said itself. `sources` are those that are in there.
    pub(crate) fn answer(&mut self, sum: &[i32], sources: &[u32]) -> Result<(), SendError> {
        let contributing = sources.iter().filter(|source| Some(**source) != self.source).take(15);
        self.packet.clear();
        self.packet.extend([0x80 | contributing.clone().count() as u8, self.format.payload_type]);
        self.packet[1] |= if std::mem::take(&mut self.first) { 0x80 } else { 0 };
        self.packet.extend(self.sequence.to_be_bytes());
        self.packet.extend(self.timestamp.to_be_bytes());
        self.packet.extend(self.ssrc.to_be_bytes());
        self.packet.extend(contributing.flat_map(|source| source.to_be_bytes()));
        let others = sum.iter().zip(&self.frame).map(|(all, own)| saturate(all - i32::from(*own)));
        self.format.codec.encode(others, &mut self.packet);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.format.frame as u32);
        let sent = self.ring.send(&self.packet);
        self.ring.flush();
        sent
    }
}

fn saturate(sample: i32) -> i16 {
    sample.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// SSRC, timestamp and payload of an RTP packet of that type (RFC 3550 §5.1); `None`: RTCP, or something else.
fn open(packet: &[u8], payload_type: u8) -> Option<(u32, u32, &[u8])> {
    let (header, mut rest) = packet.split_first_chunk::<12>()?;
    if header[0] >> 6 != 2 || header[1] & 0x7f != payload_type {
        return None;
    }
    rest = rest.get(4 * usize::from(header[0] & 0x0f)..)?;
    if header[0] & 0x10 != 0 {
        let (extension, after) = rest.split_first_chunk::<4>()?;
        rest = after.get(4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]))..)?;
    }
    if header[0] & 0x20 != 0 {
        let padding = usize::from(*rest.last()?);
        rest = rest.get(..rest.len().checked_sub(padding)?)?;
    }
    let [timestamp, ssrc] =
        [4, 8].map(|at| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    Some((ssrc, timestamp, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_found_behind_csrcs_and_extensions_and_before_padding() {
        let plain = [0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 7, 8];
        assert_eq!(open(&plain, 0), Some((3, 2, &[7, 8][..])));
        let mut adorned = vec![0xb1, 0x80, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        adorned.extend([9, 9, 9, 9, 0xbe, 0xde, 0, 1, 0, 0, 0, 0, 7, 8, 0, 2]);
        assert_eq!(open(&adorned, 0), Some((3, 2, &[7, 8][..])));
        assert_eq!(open(&adorned[..20], 0), None, "cut off");
        assert_eq!(open(&[0x80, 200, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0], 0), None, "RTCP");
        assert_eq!(open(&plain, 8), None);
    }

    #[test]
    fn loud_voices_together_are_as_loud_as_can_be() {
        assert_eq!((saturate(70_000), saturate(-70_000), saturate(5)), (i16::MAX, i16::MIN, 5));
    }
}
