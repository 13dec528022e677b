//! Running the binary, and making captures for it.
#![allow(dead_code, reason = "each test uses some of it")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

/// The real binary.
pub(crate) fn sluice(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice")).args(arguments).output().expect("sluice runs")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fails unless the run ended with `status`; its standard output and error.
pub(crate) fn expect(status: i32, output: &Output) -> (String, String) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{out}\n{err}");
    (out, err)
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A datagram and where it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

impl Datagram {
    /// As an IP packet without a link header (LINKTYPE_RAW).
    fn packet(&self) -> Vec<u8> {
        let udp = 8 + self.payload.len();
        let mut packet = Vec::new();
        match (self.from, self.to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                packet.extend([0x45, 0]);
                packet.extend((20 + udp as u16).to_be_bytes());
                packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
                packet.extend(from.ip().octets());
                packet.extend(to.ip().octets());
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                packet.extend([0x60, 0, 0, 0]);
                packet.extend((udp as u16).to_be_bytes());
                packet.extend([17, 64]);
                packet.extend(from.ip().octets());
                packet.extend(to.ip().octets());
            }
            _ => panic!("both of one family"),
        }
        packet.extend(self.from.port().to_be_bytes());
        packet.extend(self.to.port().to_be_bytes());
        packet.extend((udp as u16).to_be_bytes());
        // Over IPv4 none; over IPv6 there must be one (RFC 8200 §8.1), which nothing here verifies.
        packet.extend(if self.from.is_ipv4() { [0, 0] } else { [0xbe, 0xef] });
        packet.extend(&self.payload);
        packet
    }

    fn parse(packet: &[u8]) -> Self {
        let (header, v4) = if packet[0] >> 4 == 4 { (20, true) } else { (40, false) };
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let address = |at: usize| -> std::net::IpAddr {
            if v4 {
                <[u8; 4]>::try_from(&packet[at..at + 4]).expect("four octets").into()
            } else {
                <[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen octets").into()
            }
        };
        let (from, to) = if v4 { (12, 16) } else { (8, 24) };
        let length = usize::from(port(header + 4));
        Self {
            from: SocketAddr::new(address(from), port(header)),
            to: SocketAddr::new(address(to), port(header + 2)),
            payload: packet[header + 8..header + length].to_vec(),
        }
    }
}

/// A pcap file (microseconds, LINKTYPE_RAW).
pub(crate) fn pcap(datagrams: &[Datagram]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 4 << 16 | 2, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    // Version 2.4 is two 16-bit fields.
    file[4..8].copy_from_slice(&[2, 0, 4, 0]);
    for (number, datagram) in datagrams.iter().enumerate() {
        let packet = datagram.packet();
        for word in [1_700_000_000, number as u32, packet.len() as u32, packet.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// The binary with these arguments, ready to run. One that does not end is ended, with status 124.
pub(crate) fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["20", SLUICE]).args(arguments);
    command.env_remove("SLUICE_PCAP_KEY").env_remove("SLUICE_SOCKET").env_remove("SLUICE_LOG");
    command
}
