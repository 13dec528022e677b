//! The SRTP library beside peers that share no code with it: each encrypts what the library decrypts,
//! and decrypts what the library encrypted.
//!
//! A peer is judged by what came out behind it, octet for octet. Each test has a network namespace of its
//! own, so ports collide with nobody's. Which suites of which peers these tests cover is in
//! docs/rfc-compliance.md.

mod ffmpeg;
mod gstreamer;
mod recorder;
mod rtpengine;

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::peer::Peer;
use sluice_tests::rtp::{Source, sender_report};
use sluice_tests::site::PATIENCE;
use sluice_tools::demo::namespace::Namespace;

/// How long after the last packet a surplus one may come.
const AFTERMATH: Duration = Duration::from_millis(50);
/// How long a peer may take to open its sockets.
const START: Duration = Duration::from_secs(15);
/// The stream of all tests.
const SSRC: u32 = 0xcafe_babe;
/// Sizes of payloads: around a block of the cipher, and up to a packet that fills an Ethernet frame with the
/// longest tag.
const SIZES: [usize; 10] = [160, 1, 15, 16, 17, 31, 32, 33, 640, 1400];

/// A network namespace whose loopback is up, to be shared by a peer and the test's sockets.
fn namespace() -> Result<Namespace> {
    Namespace::create("interop")
}

/// An address on the loopback of the test's namespace.
fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// RTP packets across the wrap of their sequence numbers, of many sizes, some with CSRCs, header extension
/// and padding.
fn rtp_packets(payload_type: u8) -> Vec<Vec<u8>> {
    let mut source = Source { payload_type, ..Source::new(SSRC, 65_520) };
    let packets = (0..40).map(|number| {
        source.size = SIZES[number % SIZES.len()];
        let mut packet = source.next_packet();
        if number % 3 == 2 {
            adorn(&mut packet);
        }
        packet
    });
    packets.collect()
}

/// Adds a CSRC, a header extension of one element, and four octets of padding (RFC 3550 §5.1, §5.3.1).
fn adorn(packet: &mut Vec<u8>) {
    packet[0] |= 0x20 | 0x10 | 1;
    let extension = [0xbe, 0xde, 0, 1, 0x10, 0x55, 0, 0];
    packet.splice(12..12, [1, 2, 3, 4].into_iter().chain(extension));
    packet.extend([0, 0, 0, 4]);
}

/// Sender reports, the last of them followed by a BYE (RFC 3550 §6.6).
fn rtcp_packets() -> Vec<Vec<u8>> {
    let mut packets: Vec<_> = (1..=5).map(|number| sender_report(SSRC, number)).collect();
    packets[4].extend([0x81, 203, 0, 1]);
    packets[4].extend(SSRC.to_be_bytes());
    packets
}

/// A way through a peer.
struct Lane {
    /// Who sends.
    from: Peer,
    /// Where the peer takes it.
    to: SocketAddr,
    /// Who gets what the peer makes of it.
    at: Peer,
}

impl Lane {
    /// Sends packets in at one end; fails unless just these come out at the other, in their order.
    fn expect_through(&mut self, packets: &[Vec<u8>]) -> Result<()> {
        for packet in packets {
            self.from.send(self.to, packet)?;
        }
        for (number, packet) in packets.iter().enumerate() {
            let of = || format!("packet {number} of {}", packets.len());
            let received = self.at.receive(PATIENCE).with_context(of)?;
            let received = received.with_context(|| format!("{} did not come", of()))?;
            ensure!(received == *packet, "{}: {received:02x?} came, {packet:02x?} was sent", of());
        }
        let surplus = self.at.receive_all(AFTERMATH)?;
        ensure!(surplus.is_empty(), "{} packets more than were sent", surplus.len());
        Ok(())
    }
}

/// Whether a peer is installed, by whether `program` runs; where not, says so on standard error. In
/// continuous integration `./justw` has installed them, and a missing one is a failure: but for rtpengine, which
/// not every release packages.
fn installed(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let found = command.status().is_ok_and(|status| status.success());
    if !found {
        assert!(
            env::var_os("CI").is_none() || program == "rtpengine",
            "{program} {} does not work, and this is CI",
            arguments.join(" ")
        );
        eprintln!("SKIP: {program} {} does not work here; `./justw test` installs it", arguments.join(" "));
    }
    found
}

/// Ends a test, loudly, without the rights or the peer that it needs.
macro_rules! needs {
    ($program:expr, $($argument:expr),+) => {
        sluice_tests::needs_root!();
        if !crate::installed($program, &[$($argument),+]) {
            return Ok(());
        }
    };
}
pub(crate) use needs;
