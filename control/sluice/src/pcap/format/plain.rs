//! pcap: a header, then records (draft-ietf-opsawg-pcap).

use std::io::Read;

use super::{Damage, FormatError, Layout, MAX_PACKET, Order, Place, Record, Source, known_magic};
use crate::pcap::link::Link;

/// Octets of the file header.
pub(super) const HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

pub(super) struct Plain {
    order: Order,
    link: Link,
}

impl Plain {
    /// Tells the byte order by the magic number. Timestamps are copied, so that their unit is of no
    /// account.
    pub(super) fn new(magic: [u8; 4]) -> Result<Self, FormatError> {
        let order = if matches!(u32::from_be_bytes(magic), MICROSECONDS | NANOSECONDS) {
            Order::Big
        } else if matches!(u32::from_le_bytes(magic), MICROSECONDS | NANOSECONDS) {
            Order::Little
        } else {
            return Err(known_magic(magic));
        };
        Ok(Self { order, link: Link::Other(0) })
    }

    /// Takes the link type from the file header and raises its snapshot length.
    pub(super) fn with_header(self, header: &mut [u8], growth: usize) -> Self {
        // The upper bits tell the length of frame check sequences.
        let link = self.order.u32(header, 20).unwrap_or(0) & 0x0fff_ffff;
        let snaplen = self.order.u32(header, 16).unwrap_or(0);
        if snaplen != 0 {
            self.order.put(header, 16, snaplen.saturating_add(growth as u32));
        }
        Self { link: Link::new(link), ..self }
    }

    pub(super) fn next<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<Record>, Damage> {
        let offset = source.offset;
        let mut bytes = Vec::with_capacity(RECORD_HEADER + 1500);
        source.fill(&mut bytes, RECORD_HEADER).map_err(|e| Damage::Io { offset, error: e.to_string() })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let lengths = (self.order.u32(&bytes, 8), self.order.u32(&bytes, 12));
        let (Some(captured), Some(wire), RECORD_HEADER) = (lengths.0, lengths.1, bytes.len()) else {
            return Err(Damage::Cut { offset });
        };
        let len = captured as usize;
        if len > MAX_PACKET {
            return Err(Damage::Corrupt { offset, what: "it claims a packet of more than 256 KiB" });
        }
        source.fill_record(&mut bytes, RECORD_HEADER + len, offset)?;
        let place = Place {
            link: self.link,
            start: RECORD_HEADER,
            len,
            // Some tools write 0 for "as captured".
            wire: wire.max(captured),
            layout: Layout::Plain,
            order: self.order,
        };
        Ok(Some(Record { bytes, place: Some(place) }))
    }
}
