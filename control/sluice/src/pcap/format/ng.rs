//! pcapng: sections of blocks (draft-ietf-opsawg-pcapng).

use std::io::Read;

use super::{Damage, Layout, MAX_PACKET, MAX_RECORD, Order, Place, Record, Source};
use crate::pcap::link::Link;

/// Type of the section header block; the same in both byte orders.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Type, total length, trailing total length.
const FRAME: usize = 12;
/// Interfaces of one section; a hostile file could hold millions.
const MAX_INTERFACES: usize = 65_536;

struct Interface {
    link: Link,
    snaplen: u32,
}

pub(super) struct Ng {
    order: Order,
    interfaces: Vec<Interface>,
    growth: usize,
    /// Read already, to tell the format.
    start: Vec<u8>,
}

impl Ng {
    pub(super) const fn new(growth: usize, start: Vec<u8>) -> Self {
        Self { order: Order::Little, interfaces: Vec::new(), growth, start }
    }

    pub(super) fn next<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<Record>, Damage> {
        let mut bytes = std::mem::take(&mut self.start);
        let offset = source.offset - bytes.len() as u64;
        source.fill(&mut bytes, 8).map_err(|e| Damage::Io { offset, error: e.to_string() })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() < 8 {
            return Err(Damage::Cut { offset });
        }
        let corrupt = |what| Damage::Corrupt { offset, what };
        if self.order.u32(&bytes, 0) == Some(SECTION) {
            source.fill_record(&mut bytes, FRAME, offset)?;
            self.order = section_order(&bytes).ok_or(corrupt("it is no section header"))?;
            self.interfaces.clear();
        }
        let total = self.order.u32(&bytes, 4).unwrap_or(0) as usize;
        if !total.is_multiple_of(4) || total < FRAME.max(bytes.len()) {
            return Err(corrupt("its length cannot be"));
        }
        if total > MAX_RECORD {
            return Err(corrupt("it claims more than 16 MiB"));
        }
        source.fill_record(&mut bytes, total, offset)?;
        if self.order.u32(&bytes, total - 4) != Some(total as u32) {
            return Err(corrupt("its two lengths differ"));
        }
        let place = self.understand(&mut bytes).map_err(corrupt)?;
        Ok(Some(Record { bytes, place }))
    }

    fn understand(&mut self, bytes: &mut [u8]) -> Result<Option<Place>, &'static str> {
        match self.order.u32(bytes, 0) {
            Some(INTERFACE) => self.interface(bytes).map(|()| None),
            Some(ENHANCED_PACKET | OBSOLETE_PACKET) => self.enhanced(bytes).map(Some),
            Some(SIMPLE_PACKET) => self.simple(bytes).map(Some),
            _ => Ok(None),
        }
    }

    fn interface(&mut self, bytes: &mut [u8]) -> Result<(), &'static str> {
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err("there are more than 65536 interfaces");
        }
        // The last four octets are the trailing length, not part of the body.
        let body = bytes.len() - 4;
        let fields = (body >= 16).then(|| (self.order.u16(bytes, 8), self.order.u32(bytes, 12)));
        let Some((Some(link), Some(snaplen))) = fields else {
            return Err("the interface block is too short");
        };
        self.interfaces.push(Interface { link: Link::new(u32::from(link)), snaplen });
        if snaplen != 0 {
            self.order.put(bytes, 12, snaplen.saturating_add(self.growth as u32));
        }
        Ok(())
    }

    fn enhanced(&self, bytes: &[u8]) -> Result<Place, &'static str> {
        let short = "the packet block is too short";
        let obsolete = self.order.u32(bytes, 0) == Some(OBSOLETE_PACKET);
        let interface = if obsolete {
            usize::from(self.order.u16(bytes, 8).ok_or(short)?)
        } else {
            self.order.u32(bytes, 8).ok_or(short)? as usize
        };
        let interface = self.interfaces.get(interface).ok_or("its interface is not described")?;
        let captured = self.order.u32(bytes, 20).ok_or(short)? as usize;
        let wire = self.order.u32(bytes, 24).ok_or(short)?;
        let place = self.place(interface, 28, captured, wire, Layout::Enhanced);
        check(place, bytes)
    }

    fn simple(&self, bytes: &[u8]) -> Result<Place, &'static str> {
        let interface = self.interfaces.first().ok_or("its interface is not described")?;
        let wire =
            self.order.u32(bytes, 8).filter(|_| bytes.len() >= 16).ok_or("the packet block is too short")?;
        let limit = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let captured = wire.min(limit) as usize;
        check(self.place(interface, 12, captured, wire, Layout::Simple), bytes)
    }

    fn place(&self, interface: &Interface, start: usize, len: usize, wire: u32, layout: Layout) -> Place {
        Place { link: interface.link, start, len, wire: wire.max(len as u32), layout, order: self.order }
    }
}

/// The packet must lie between the fixed fields and the trailing length.
fn check(place: Place, bytes: &[u8]) -> Result<Place, &'static str> {
    if place.len > MAX_PACKET {
        return Err("it claims a packet of more than 256 KiB");
    }
    let end = (place.start + place.len).next_multiple_of(4);
    if end + 4 > bytes.len() { Err("its packet is longer than the block") } else { Ok(place) }
}

fn section_order(bytes: &[u8]) -> Option<Order> {
    [Order::Little, Order::Big].into_iter().find(|order| order.u32(bytes, 8) == Some(BYTE_ORDER))
}
