//! The whole file, chunk by chunk: read, find media, group by stream, convert in parallel, write in the
//! original order. Memory is bounded by the chunk, not by the file.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use rayon::prelude::*;
use sluice_classifier::{Bytes, Datagram, NotUdp, Policy, Verdict, classify_at};
use sluice_srtp::{Kind, MAX_OVERHEAD};

use super::Direction;
use super::format::{Damage, FormatError, Reader, Record};
use super::keys::KeyRing;
use super::link;
use super::stream::{Name, Packet, Stream, Trouble};

/// A chunk ends at so many records, or at so many bytes.
const CHUNK_RECORDS: usize = 32_768;
const CHUNK_BYTES: usize = 32 << 20;
/// Streams that are kept track of: a hostile file could name a new SSRC in every packet.
const MAX_STREAMS: usize = 1 << 20;

/// Largest UDP payload in IPv4.
const MAX_PAYLOAD: usize = 65_507;

/// What a run did.
#[derive(Default)]
pub(super) struct Outcome {
    /// Packets of all kinds in the input.
    pub(super) packets: u64,
    /// Packets in the output.
    pub(super) written: u64,
    /// IP fragments, which are passed as they are, or left out when encrypting.
    pub(super) fragments: u64,
    /// Media packets of streams beyond the limit, passed as they are, or left out when encrypting.
    pub(super) beyond_limit: u64,
    /// Packets of link types that are not looked into.
    pub(super) unknown_link: u64,
    pub(super) streams: Vec<Stream>,
    pub(super) damage: Option<Damage>,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConvertError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("cannot write: {0}")]
    Write(io::Error),
}

/// Converts `input` to `output`. `progress` hears how far in the input the run is.
pub(super) fn convert(
    input: impl Read,
    output: &mut impl Write,
    keys: &KeyRing,
    direction: Direction,
    progress: impl Fn(u64),
) -> Result<Outcome, ConvertError> {
    let growth = if direction == Direction::Protect { MAX_OVERHEAD } else { 0 };
    let (mut reader, header) = Reader::new(input, growth)?;
    output.write_all(&header).map_err(ConvertError::Write)?;
    let mut run = Run { keys, direction, streams: HashMap::new(), order: Vec::new(), owners: HashMap::new() };
    let mut outcome = Outcome::default();
    loop {
        let (mut records, end) = chunk(&mut reader);
        if records.is_empty() {
            outcome.damage = end.err();
            break;
        }
        let keep = run.chunk(&mut records, &mut outcome);
        write(output, &records, &keep, &mut outcome).map_err(ConvertError::Write)?;
        progress(reader.offset());
        if let Err(damage) = end {
            outcome.damage = Some(damage);
            break;
        }
    }
    output.flush().map_err(ConvertError::Write)?;
    outcome.streams = run.into_streams();
    Ok(outcome)
}

/// Reads a chunk; empty at the end. What was read before a damage is still good.
fn chunk<R: Read>(reader: &mut Reader<R>) -> (Vec<Record>, Result<(), Damage>) {
    let mut records = Vec::new();
    let mut bytes = 0;
    while records.len() < CHUNK_RECORDS && bytes < CHUNK_BYTES {
        match reader.next() {
            Ok(Some(record)) => {
                bytes += record.bytes().len();
                records.push(record);
            }
            Ok(None) => break,
            Err(damage) => return (records, Err(damage)),
        }
    }
    (records, Ok(()))
}

fn write(
    output: &mut impl Write,
    records: &[Record],
    keep: &[bool],
    outcome: &mut Outcome,
) -> io::Result<()> {
    for (record, keep) in records.iter().zip(keep) {
        let is_packet = u64::from(record.packet().is_some());
        outcome.packets += is_packet;
        if *keep {
            outcome.written += is_packet;
            output.write_all(record.bytes())?;
        }
    }
    Ok(())
}

/// What a record is to us.
enum Found {
    Media { name: Name, kind: Kind, datagram: Datagram, cut: bool },
    Fragment,
    UnknownLink,
    Else,
}

struct Run<'a> {
    keys: &'a KeyRing,
    direction: Direction,
    streams: HashMap<Name, Stream>,
    /// Streams in the order of their first packets.
    order: Vec<Name>,
    /// Which flow has an SSRC: under one key no two may, when protecting.
    owners: HashMap<(u32, bool), Name>,
}

impl Run<'_> {
    /// Converts a chunk; says which records the output keeps.
    fn chunk(&mut self, records: &mut [Record], outcome: &mut Outcome) -> Vec<bool> {
        let found: Vec<Found> = records.par_iter().map(|record| look(record, self.direction)).collect();
        let mut groups: HashMap<Name, Vec<Packet>> = HashMap::new();
        for (index, (record, found)) in records.iter().zip(&found).enumerate() {
            match found {
                Found::Media { name, kind, datagram, cut } => {
                    if self.admit(name) {
                        let mut packet = self.packet(index, record, *kind, datagram);
                        packet.result = self.acceptable(name, &packet, *cut);
                        groups.entry(*name).or_default().push(packet);
                    } else {
                        outcome.beyond_limit += 1;
                    }
                }
                Found::Fragment => outcome.fragments += 1,
                Found::UnknownLink => outcome.unknown_link += 1,
                Found::Else => {}
            }
        }
        let converted = self.run_groups(groups);
        rewrite(records, &found, converted, self.direction)
    }

    /// Makes sure that a stream is known; false if there are too many.
    fn admit(&mut self, name: &Name) -> bool {
        if self.streams.contains_key(name) {
            return true;
        }
        if self.streams.len() >= MAX_STREAMS {
            return false;
        }
        let stream = match self.direction {
            Direction::Unprotect => Stream::to_unprotect(*name),
            Direction::Protect => {
                let context = self.keys.outbound(name.ssrc);
                Stream::to_protect(*name, context, self.keys.suite(name.ssrc))
            }
        };
        self.streams.insert(*name, stream);
        self.order.push(*name);
        true
    }

    fn packet(&self, index: usize, record: &Record, kind: Kind, datagram: &Datagram) -> Packet {
        let frame = record.packet().map_or(&[][..], |(_, frame)| frame);
        let payload = frame.get(datagram.payload..datagram.payload + datagram.length).unwrap_or(&[]);
        let mut buffer = Vec::with_capacity(payload.len() + MAX_OVERHEAD);
        buffer.extend_from_slice(payload);
        if self.direction == Direction::Protect {
            buffer.resize(payload.len() + MAX_OVERHEAD, 0);
        }
        Packet { record: index, kind, buffer, len: payload.len(), result: Ok(()) }
    }

    /// Whether a packet can be converted at all.
    fn acceptable(&mut self, name: &Name, packet: &Packet, cut: bool) -> Result<(), Trouble> {
        if !self.keys.has(name.ssrc) {
            return Err(Trouble::NoKey);
        }
        if cut {
            return Err(Trouble::CutShort);
        }
        if self.direction == Direction::Unprotect {
            return Ok(());
        }
        if packet.buffer.len() > MAX_PAYLOAD {
            return Err(Trouble::TooLong);
        }
        // RTP and RTCP have keys of their own, so that they may come from two ports.
        let owner = self.owners.entry((name.ssrc, packet.kind == Kind::Rtp)).or_insert(*name);
        if owner == name { Ok(()) } else { Err(Trouble::SsrcTaken) }
    }

    /// Converts each stream's packets, many streams at a time. Beside each packet: whether it is kept
    /// if it was refused.
    fn run_groups(&mut self, groups: HashMap<Name, Vec<Packet>>) -> Vec<(Packet, bool)> {
        let mut work: Vec<(Stream, Vec<Packet>)> = groups
            .into_iter()
            .filter_map(|(name, packets)| Some((self.streams.remove(&name)?, packets)))
            .collect();
        let keys = self.keys;
        work.par_iter_mut().for_each(|(stream, packets)| stream.convert(keys, packets));
        let mut converted = Vec::new();
        for (mut stream, packets) in work {
            let keeps_refused = stream.keeps_refused(keys);
            if !keeps_refused {
                stream.tally.left_out +=
                    packets.iter().filter(|packet| packet.result.is_err()).count() as u64;
            }
            converted.extend(packets.into_iter().map(|packet| (packet, keeps_refused)));
            self.streams.insert(stream.name, stream);
        }
        converted
    }

    fn into_streams(mut self) -> Vec<Stream> {
        self.order.iter().filter_map(|name| self.streams.remove(name)).collect()
    }
}

/// Finds media in a record.
fn look(record: &Record, direction: Direction) -> Found {
    let Some((place, frame)) = record.packet() else { return Found::Else };
    let datagram = match link::datagram(place.link, frame, place.wire()) {
        Ok(datagram) => datagram,
        Err(NotUdp::Fragment) => return Found::Fragment,
        Err(_) if matches!(place.link, link::Link::Other(_)) => return Found::UnknownLink,
        Err(_) => return Found::Else,
    };
    let cut = datagram.payload + datagram.length > frame.len();
    let available = frame.len().saturating_sub(datagram.payload).min(datagram.length);
    // What was cut cannot be checked against its length: the first octets tell enough to count it.
    let length = if cut { available } else { datagram.length };
    // What is to be encrypted is in the clear: its RTCP has no E flag and index behind it.
    let policy = match direction {
        Direction::Protect if !cut => Policy::new().plain(),
        Direction::Protect | Direction::Unprotect => Policy::new(),
    };
    let kind = match classify_at(frame, datagram.payload, length, &policy) {
        Verdict::Rtp => Kind::Rtp,
        Verdict::Rtcp => Kind::Rtcp,
        _ => return Found::Else,
    };
    let at = datagram.payload + if kind == Kind::Rtp { 8 } else { 4 };
    let Some(ssrc) = frame.u32_at(at) else { return Found::Else };
    let name = Name { source: datagram.source, destination: datagram.destination, ssrc };
    Found::Media { name, kind, datagram, cut }
}

/// Puts the converted payloads back into their frames; says which records the output keeps.
fn rewrite(
    records: &mut [Record],
    found: &[Found],
    converted: Vec<(Packet, bool)>,
    direction: Direction,
) -> Vec<bool> {
    // Nothing that may be media stays in the clear where the output is meant to be encrypted.
    let keeps_unread = direction == Direction::Unprotect;
    let mut packets: Vec<Option<(Packet, bool)>> = Vec::new();
    packets.resize_with(records.len(), || None);
    for (packet, keeps_refused) in converted {
        let slot = packet.record;
        packets[slot] = Some((packet, keeps_refused));
    }
    let work = records.par_iter_mut().zip(found).zip(packets);
    work.map(|((record, found), packet)| {
        let (datagram, packet, keeps_refused) = match (found, packet) {
            (Found::Media { datagram, .. }, Some((packet, keeps_refused))) => {
                (datagram, packet, keeps_refused)
            }
            (Found::Media { .. } | Found::Fragment, _) => return keeps_unread,
            (Found::UnknownLink | Found::Else, _) => return true,
        };
        if packet.result.is_err() {
            return keeps_refused;
        }
        let payload = packet.buffer.get(..packet.len).unwrap_or(&[]);
        let frame = record.packet().and_then(|(_, frame)| link::with_payload(frame, datagram, payload));
        frame.map(|frame| record.replace(&frame)).is_some()
    })
    .collect()
}
