//! Capture files: pcap and pcapng, read record by record and written back in the same form.
//!
//! Only what must change is understood: packets, and the snapshot lengths that bound them. Everything
//! else (name resolution, statistics, comments, blocks of later versions) goes from input to output
//! byte by byte. The files come from anywhere: no length in them is trusted.

mod ng;
mod plain;

use std::io::{self, Read};

use super::link::Link;

/// Largest record that is believed. Wireshark's own limit for a packet is 256 KiB; pcapng blocks of
/// other kinds (decryption secrets, name resolution) may be larger.
const MAX_RECORD: usize = 16 << 20;
/// Largest packet (Wireshark: `WTAP_MAX_PACKET_SIZE_STANDARD`).
const MAX_PACKET: usize = 256 << 10;

/// The input is no capture file, or not one that can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormatError {
    #[error("the file is empty")]
    Empty,
    #[error("not a pcap or pcapng file (it begins with {})", hex::encode(.0))]
    Unknown([u8; 4]),
    #[error("the file is compressed with {program}: decompress it first, as `{program} -d FILE`")]
    Compressed { program: &'static str },
    #[error("the file ends within its header, after {0} bytes")]
    HeaderCut(usize),
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
}

/// Why the input ends before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The file ends within a record.
    Cut { offset: u64 },
    /// A record contradicts itself; what follows cannot be found.
    Corrupt { offset: u64, what: &'static str },
    /// Reading failed.
    Io { offset: u64, error: String },
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cut { offset } => {
                write!(f, "the file is cut off: it ends within the record at byte {offset}")
            }
            Self::Corrupt { offset, what } => write!(f, "the record at byte {offset} is damaged: {what}"),
            Self::Io { offset, error } => write!(f, "reading failed at byte {offset}: {error}"),
        }
    }
}

/// Byte order of a file or of a pcapng section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self == Self::Big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self == Self::Big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn put(self, bytes: &mut [u8], at: usize, value: u32) {
        let value = if self == Self::Big { value.to_be_bytes() } else { value.to_le_bytes() };
        if let Some(field) = bytes.get_mut(at..at + 4) {
            field.copy_from_slice(&value);
        }
    }
}

/// Where the lengths of a packet are in its record, and what stands around them.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// pcap: captured length at 8, original at 12, then the packet.
    Plain,
    /// pcapng enhanced or obsolete packet block: 20, 24, then the packet, padding, options, length.
    Enhanced,
    /// pcapng simple packet block: the original length at 8, then the packet, padding, length.
    Simple,
}

/// Where the packet of a record is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) link: Link,
    start: usize,
    len: usize,
    wire: u32,
    layout: Layout,
    order: Order,
}

impl Place {
    /// Octets that the packet had on the wire; more than were captured if the capture cut it.
    pub(super) const fn wire(&self) -> usize {
        self.wire as usize
    }
}

/// A record or block as it is in the file.
#[derive(Debug)]
pub(super) struct Record {
    bytes: Vec<u8>,
    place: Option<Place>,
}

impl Record {
    /// The packet in it, if it holds one.
    pub(super) fn packet(&self) -> Option<(&Place, &[u8])> {
        let place = self.place.as_ref()?;
        Some((place, self.bytes.get(place.start..place.start + place.len)?))
    }

    /// The record as it goes into the output.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts another packet into the record.
    pub(super) fn replace(&mut self, packet: &[u8]) {
        let Some(place) = &mut self.place else { return };
        let rest = place.start + place.len;
        let mut bytes = self.bytes[..place.start].to_vec();
        bytes.extend_from_slice(packet);
        let wire = (u64::from(place.wire) + packet.len() as u64).saturating_sub(place.len as u64);
        let wire = u32::try_from(wire).unwrap_or(u32::MAX);
        match place.layout {
            Layout::Plain => {}
            Layout::Enhanced | Layout::Simple => {
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                // Options, which begin behind the old packet's padding, and the trailing length.
                bytes.extend_from_slice(&self.bytes[rest.next_multiple_of(4).min(self.bytes.len())..]);
                let total = bytes.len() as u32;
                place.order.put(&mut bytes, 4, total);
                let end = bytes.len() - 4;
                place.order.put(&mut bytes, end, total);
            }
        }
        let (captured, original) = match place.layout {
            Layout::Plain => (Some(8), 12),
            Layout::Enhanced => (Some(20), 24),
            Layout::Simple => (None, 8),
        };
        if let Some(at) = captured {
            place.order.put(&mut bytes, at, packet.len() as u32);
        }
        place.order.put(&mut bytes, original, wire);
        place.len = packet.len();
        place.wire = wire;
        self.bytes = bytes;
    }
}

/// A capture file that is being read.
pub(super) struct Reader<R> {
    source: Source<R>,
    kind: Kind,
}

enum Kind {
    Plain(plain::Plain),
    Ng(ng::Ng),
}

impl<R: Read> Reader<R> {
    /// Reads the beginning and tells the format. `growth` is by how many octets packets may grow: the
    /// snapshot lengths in the output are raised by it.
    pub(super) fn new(input: R, growth: usize) -> Result<(Self, Vec<u8>), FormatError> {
        let mut source = Source { input, offset: 0 };
        let mut start = Vec::new();
        source.fill(&mut start, 4)?;
        let Some(magic) = start.first_chunk::<4>().copied() else {
            return Err(if start.is_empty() {
                FormatError::Empty
            } else {
                FormatError::HeaderCut(start.len())
            });
        };
        if magic == ng::SECTION.to_be_bytes() {
            let ng = ng::Ng::new(growth, start);
            return Ok((Self { source, kind: Kind::Ng(ng) }, Vec::new()));
        }
        let plain = plain::Plain::new(magic)?;
        source.fill(&mut start, plain::HEADER)?;
        if start.len() < plain::HEADER {
            return Err(FormatError::HeaderCut(start.len()));
        }
        let plain = plain.with_header(&mut start, growth);
        Ok((Self { source, kind: Kind::Plain(plain) }, start))
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Record>, Damage> {
        match &mut self.kind {
            Kind::Plain(plain) => plain.next(&mut self.source),
            Kind::Ng(ng) => ng.next(&mut self.source),
        }
    }

    /// How far in the input.
    pub(super) const fn offset(&self) -> u64 {
        self.source.offset
    }
}

fn known_magic(magic: [u8; 4]) -> FormatError {
    match magic {
        [0x1f, 0x8b, ..] => FormatError::Compressed { program: "gzip" },
        [0x28, 0xb5, 0x2f, 0xfd] => FormatError::Compressed { program: "zstd" },
        [0xfd, b'7', b'z', b'X'] => FormatError::Compressed { program: "xz" },
        [0x04, 0x22, 0x4d, 0x18] => FormatError::Compressed { program: "lz4" },
        [b'B', b'Z', b'h', _] => FormatError::Compressed { program: "bzip2" },
        magic => FormatError::Unknown(magic),
    }
}

struct Source<R> {
    input: R,
    offset: u64,
}

impl<R: Read> Source<R> {
    /// Reads until `buffer` has `len` octets or the input ends. Memory grows with what is there, not
    /// with what a length field says.
    fn fill(&mut self, buffer: &mut Vec<u8>, len: usize) -> io::Result<()> {
        let want = len.saturating_sub(buffer.len()) as u64;
        let read = (&mut self.input).take(want).read_to_end(buffer)?;
        self.offset += read as u64;
        Ok(())
    }

    /// As [`Source::fill`], for a record that began at `offset`: it must be there whole.
    fn fill_record(&mut self, buffer: &mut Vec<u8>, len: usize, offset: u64) -> Result<(), Damage> {
        self.fill(buffer, len).map_err(|error| Damage::Io { offset, error: error.to_string() })?;
        if buffer.len() < len { Err(Damage::Cut { offset }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
