//! Recordings read back by libraries that the gateway does not write them with.
#![allow(unreachable_pub, reason = "a module of a test, not of a library")]

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_parser::pcapng::OptionCode;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapNGReader, traits::PcapReaderIterator};

/// A packet of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Name of the interface: session and leg.
    pub from: String,
    pub nanoseconds: u64,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub payload: Vec<u8>,
}

/// All that is in a recording.
#[derive(Debug, Default)]
pub struct Recording {
    pub packets: Vec<Packet>,
    /// Of the section, and of the interfaces.
    pub comments: Vec<String>,
    interfaces: Vec<String>,
}

impl Recording {
    /// Reads a file, which must be whole.
    #[track_caller]
    pub fn read(path: &Path) -> Self {
        let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let size = file.metadata().unwrap().len();
        let mut reader = PcapNGReader::new(1 << 20, file).expect("a pcapng file");
        let (mut recording, mut consumed) = (Self::default(), 0);
        loop {
            match reader.next() {
                Ok((offset, block)) => {
                    let PcapBlockOwned::NG(block) = block else { panic!("a block of another format") };
                    recording.add(&block);
                    consumed += offset as u64;
                    reader.consume(offset);
                }
                Err(pcap_parser::PcapError::Eof) => break,
                Err(pcap_parser::PcapError::Incomplete(_)) => reader.refill().expect("the file is whole"),
                Err(error) => panic!("{}: {error:?}", path.display()),
            }
        }
        assert_eq!(consumed, size, "nothing is behind the last block");
        recording
    }

    /// Payloads that came from a leg's peer.
    pub fn payloads(&self, leg: &str) -> Vec<Vec<u8>> {
        self.from(leg).map(|packet| packet.payload.clone()).collect()
    }

    pub fn from(&self, leg: &str) -> impl Iterator<Item = &Packet> {
        let name = format!("s/{leg}");
        self.packets.iter().filter(move |packet| packet.from == name)
    }

    fn add(&mut self, block: &Block<'_>) {
        let text = |value: &[u8]| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        match block {
            Block::SectionHeader(section) => {
                let comments = section.options.iter().filter(|option| option.code == OptionCode::Comment);
                self.comments.extend(comments.map(|option| text(option.value())));
            }
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.linktype, Linktype::RAW);
                let (mut name, mut nanoseconds) = (String::new(), false);
                for option in &interface.options {
                    match option.code {
                        OptionCode::Comment => self.comments.push(text(option.value())),
                        OptionCode::IfName => name = text(option.value()),
                        OptionCode::IfTsresol => nanoseconds = option.value().first() == Some(&9),
                        _ => {}
                    }
                }
                assert!(nanoseconds);
                self.interfaces.push(name);
            }
            Block::EnhancedPacket(packet) => {
                assert_eq!(packet.caplen, packet.origlen);
                let from = self.interfaces[packet.if_id as usize].clone();
                let nanoseconds = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                self.packets.push(sliced(from, nanoseconds, &packet.data[..packet.caplen as usize]));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn sliced(from: String, nanoseconds: u64, packet: &[u8]) -> Packet {
    let sliced = SlicedPacket::from_ip(packet).expect("an IP packet");
    let (source, destination): (IpAddr, IpAddr) = match sliced.net {
        Some(NetSlice::Ipv4(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        Some(NetSlice::Ipv6(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        other => panic!("{other:?}"),
    };
    let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
    Packet {
        from,
        nanoseconds,
        source: SocketAddr::new(source, udp.source_port()),
        destination: SocketAddr::new(destination, udp.destination_port()),
        payload: udp.payload().to_vec(),
    }
}

/// What tshark says of a file's RTP packets: sequence number and payload type of each. `None` where it is not installed,
/// which is said on standard error.
pub fn tshark(path: &Path) -> Option<Vec<(u16, u8)>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(path).args(["--enable-heuristic", "rtp_udp", "-Y", "rtp", "-T", "fields"]);
    command.args(["-e", "rtp.seq", "-e", "rtp.p_type"]).stdin(Stdio::null());
    let Ok(output) = command.output() else {
        eprintln!("SKIP: tshark is not installed; `./justw test` installs it");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let read = |line: &str| {
        let (sequence, payload_type) = line.split_once('\t').expect("two fields");
        (sequence.parse().unwrap(), payload_type.trim().parse().unwrap())
    };
    Some(lines.lines().map(read).collect())
}
