//! RTP and RTCP packets, and a scratch directory to convert them in.

use std::path::{Path, PathBuf};

use sluice_srtp::Suite;

use crate::capture::{Datagram, Form, write};
use crate::support::{Run, command, run};

/// An RTP packet; every third has a CSRC and a header extension.
pub(crate) fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let rich = sequence.is_multiple_of(3);
    let mut packet = vec![if rich { 0x91 } else { 0x80 }, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    if rich {
        packet.extend([0, 0, 0, 7, 0xbe, 0xde, 0, 1, 0x10, 0x55, 0, 0]);
    }
    packet.extend(payload);
    packet
}

/// An RTCP sender report with the SDES packet that goes with it.
pub(crate) fn rtcp(ssrc: u32, packets: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0x83, 0xaa, 0x7e, 0x80, 0, 0, 0, 0]);
    packet.extend((packets * 160).to_be_bytes());
    packet.extend(packets.to_be_bytes());
    packet.extend((packets * 160).to_be_bytes());
    packet.extend([0x81, 202, 0, 2]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([1, 1, b'x', 0]);
    packet
}

/// The payload that [`stream`] puts into a packet.
pub(crate) fn payload(ssrc: u32, sequence: u16) -> Vec<u8> {
    (0..160).map(|i| (ssrc ^ u32::from(sequence) ^ i) as u8).collect()
}

/// `count` RTP packets of one stream, the first with this sequence number.
pub(crate) fn stream(ssrc: u32, first: u16, count: u16) -> Vec<Datagram> {
    let packets = (0..count).map(|index| {
        let sequence = first.wrapping_add(index);
        let packet = rtp(ssrc, sequence, &payload(ssrc, sequence));
        Datagram::new("192.0.2.1:4000", "192.0.2.2:5000", packet)
    });
    packets.collect()
}

/// A key and salt for a suite; `seed` makes different ones.
pub(crate) fn key(suite: Suite, seed: u8) -> String {
    let bytes = 0..suite.key_len() + suite.salt_len();
    hex::encode(bytes.map(|i| (i as u8).wrapping_mul(37) ^ seed).collect::<Vec<_>>())
}

/// A scratch directory.
pub(crate) struct Bench(tempfile::TempDir);

impl Bench {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a scratch directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }

    /// Writes a capture.
    pub(crate) fn capture(&self, name: &str, form: Form, datagrams: &[Datagram]) -> PathBuf {
        let path = self.path(name);
        write(&path, form, datagrams);
        path
    }

    /// `sluice pcap OPERATION FROM TO OPTIONS…`
    #[track_caller]
    pub(crate) fn convert(&self, operation: &str, from: &str, to: &str, options: &[&str]) -> Run {
        let mut command = command(["pcap", operation]);
        run(command.current_dir(self.directory()).args([from, to]).args(options))
    }
}
