//! Capture files made and read by the test's own hand: nothing here is shared with the program.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

/// LINKTYPE_RAW: packets begin with the IP header.
const RAW: u32 = 101;

/// Which kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Pcap,
    PcapNg,
}

pub(crate) const FORMS: [Form; 2] = [Form::Pcap, Form::PcapNg];

/// A UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

impl Datagram {
    pub(crate) fn new(source: &str, destination: &str, payload: Vec<u8>) -> Self {
        let parse = |text: &str| text.parse().expect("an address");
        Self { source: parse(source), destination: parse(destination), payload }
    }

    /// The IP packet, its checksums made by etherparse.
    fn packet(&self) -> Vec<u8> {
        let ip = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
            families => panic!("a packet from and to {families:?}"),
        };
        let mut packet = Vec::new();
        let udp = ip.udp(self.source.port(), self.destination.port());
        udp.write(&mut packet, &self.payload).expect("it fits");
        packet
    }

    fn of_packet(packet: &[u8]) -> Self {
        let sliced = SlicedPacket::from_ip(packet).expect("an IP packet");
        let (from, to): (IpAddr, IpAddr) = match sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            Some(NetSlice::Ipv6(ip)) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            other => panic!("{other:?} is not IP"),
        };
        let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("not UDP") };
        Self {
            source: SocketAddr::new(from, udp.source_port()),
            destination: SocketAddr::new(to, udp.destination_port()),
            payload: udp.payload().to_vec(),
        }
    }
}

/// A capture file with these datagrams, 20 ms apart; it bounds the packets' lengths by `snaplen`.
pub(crate) fn file(form: Form, datagrams: &[Datagram], snaplen: u32) -> Vec<u8> {
    let mut file = match form {
        Form::Pcap => words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, snaplen, RAW]),
        Form::PcapNg => {
            // Section header of unknown length, interface description.
            let mut file = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
            file.extend(block(1, &words(&[RAW, snaplen])));
            file
        }
    };
    for (index, datagram) in (0..).zip(datagrams) {
        let packet = datagram.packet();
        let len = packet.len() as u32;
        match form {
            Form::Pcap => {
                file.extend(words(&[index / 50, index % 50 * 20_000, len, len]));
                file.extend(packet);
            }
            Form::PcapNg => {
                let mut body = words(&[0, 0, index * 20_000, len, len]);
                body.extend(packet);
                body.resize(body.len().next_multiple_of(4), 0);
                // A comment behind the packet, and the end of options.
                body.extend(words(&[0x0004_0001, u32::from_le_bytes(*b"note"), 0]));
                file.extend(block(6, &body));
            }
        }
    }
    file
}

/// Writes a capture file that bounds no lengths.
pub(crate) fn write(path: &Path, form: Form, datagrams: &[Datagram]) {
    std::fs::write(path, file(form, datagrams, 0)).expect("the capture is written");
}

/// The datagrams of a capture file, which must be well-formed to the last octet.
#[track_caller]
pub(crate) fn read(path: &Path) -> Vec<Datagram> {
    let file = std::fs::read(path).expect("the capture is there");
    let word = |at: usize| u32::from_le_bytes(*file[at..].first_chunk().expect("a word")) as usize;
    let mut datagrams = Vec::new();
    let is_pcap = word(0) == 0xa1b2_c3d4;
    let mut at = if is_pcap { 24 } else { 0 };
    while at < file.len() {
        if is_pcap {
            let (captured, wire) = (word(at + 8), word(at + 12));
            assert_eq!(captured, wire);
            datagrams.push(Datagram::of_packet(&file[at + 16..at + 16 + captured]));
            at += 16 + captured;
            continue;
        }
        let total = word(at + 4);
        assert_eq!(word(at + total - 4), total, "the two lengths of the block at {at}");
        if word(at) == 6 {
            let (captured, wire) = (word(at + 20), word(at + 24));
            assert_eq!(captured, wire);
            datagrams.push(Datagram::of_packet(&file[at + 28..at + 28 + captured]));
            let options = at + 28 + captured.next_multiple_of(4);
            assert_eq!(file[options + 4..options + 8], *b"note", "the comment has stayed");
        }
        at += total;
    }
    assert_eq!(at, file.len());
    datagrams
}

/// Little-endian words.
pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A pcapng block.
pub(crate) fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let total = body.len() as u32 + 12;
    [words(&[kind, total]), body.to_vec(), words(&[total])].concat()
}
