//! What an attacker and other protocols send to the same ports as the media.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::demo::measure::rtp_name;
use crate::demo::namespace::Namespace;
use crate::demo::wire::{Observed, Wire};

/// Sends datagrams with a source address that belongs to somebody else.
#[derive(Debug)]
pub enum Injector {
    /// A raw socket (root): any source.
    Raw(Socket),
    /// The sockets by which relays speak for the senders that they stand beside.
    Relayed(Vec<UdpSocket>),
}

impl Injector {
    /// A raw socket inside a namespace.
    pub fn raw(namespace: &Namespace) -> Result<Self> {
        const IPPROTO_RAW: i32 = 255;
        let socket = namespace
            .run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW))))?
            .context("cannot open a raw socket")?;
        Ok(Self::Raw(socket))
    }

    /// Sends `payload` as if `source` had sent it.
    pub fn send(&self, source: SocketAddr, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        match self {
            Self::Raw(socket) => {
                let packet = ipv4_packet(source, to, payload)?;
                socket.send_to(&packet, &SockAddr::from(to)).map(drop)
            }
            Self::Relayed(sockets) => {
                let of_source = |socket: &&UdpSocket| socket.local_addr().ok() == Some(source);
                let socket = sockets.iter().find(of_source).ok_or(io::ErrorKind::AddrNotAvailable)?;
                socket.send_to(payload, to).map(drop)
            }
        }
    }
}

/// The packets seen on the wire towards `to` so far, the newest last.
pub fn overheard(wire: &Wire, to: SocketAddr) -> Vec<Observed> {
    let packets = wire.packets();
    let media = packets.iter().filter(|packet| packet.destination == to);
    media.filter(|packet| rtp_name(&packet.payload).is_some()).cloned().collect()
}

/// A packet that could be the stream's next but for its content: header as expected, a sequence
/// number not yet used, payload and tag made up.
pub fn forge(model: &Observed, ahead: u16) -> Vec<u8> {
    let mut packet = model.payload.clone();
    let sequence = u16::from_be_bytes([packet[2], packet[3]]).wrapping_add(ahead);
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    for (index, byte) in packet.iter_mut().enumerate().skip(12) {
        *byte ^= (index as u8).wrapping_mul(31) | 1;
    }
    packet
}

/// A STUN binding request (RFC 8489 §5) with the given transaction id.
pub fn stun_binding_request(transaction: [u8; 12]) -> Vec<u8> {
    let mut request = vec![0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42];
    request.extend(transaction);
    request
}

/// Whether `payload` is the success response to that binding request.
pub fn is_stun_answer(payload: &[u8], transaction: [u8; 12]) -> bool {
    payload.starts_with(&[0x01, 0x01]) && payload.get(8..20) == Some(&transaction)
}

/// A DTLS 1.2 ClientHello (RFC 6347 §4.2) that offers the use_srtp extension (RFC 5764 §4.1.1).
pub fn dtls_client_hello() -> Vec<u8> {
    const USE_SRTP: [u8; 9] = [0x00, 0x0e, 0x00, 0x05, 0x00, 0x02, 0x00, 0x01, 0x00];
    let mut hello = vec![0xfe, 0xfd];
    hello.extend([0x5a; 32]); // random
    hello.extend([0x00, 0x00]); // session id, cookie: none
    hello.extend([0x00, 0x02, 0xc0, 0x2b]); // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    hello.extend([0x01, 0x00]); // no compression
    hello.extend([0x00, USE_SRTP.len() as u8]);
    hello.extend(USE_SRTP);
    let length = (hello.len() as u32).to_be_bytes();
    let mut handshake = vec![0x01, length[1], length[2], length[3], 0x00, 0x00]; // message 0
    handshake.extend([0x00, 0x00, 0x00, length[1], length[2], length[3]]); // one fragment
    handshake.extend(hello);
    let mut record = vec![0x16, 0xfe, 0xff]; // handshake, DTLS 1.0 as RFC 6347 §4.2.1 advises
    record.extend([0; 8]); // epoch and sequence number
    record.extend((handshake.len() as u16).to_be_bytes());
    record.extend(handshake);
    record
}

/// A ZRTP Hello (RFC 6189 §5.2) that offers nothing but what every end must know.
pub fn zrtp_hello(ssrc: u32) -> Vec<u8> {
    let mut message = vec![0x50, 0x5a, 0x00, 0x00]; // preamble, length to be filled in
    message.extend(b"Hello   1.10Sluice demo     ");
    message.extend([0x11; 32]); // H3
    message.extend([0x22; 12]); // ZID
    message.extend([0; 4]); // flags, no algorithms beyond the mandatory
    message.extend([0x33; 8]); // MAC
    let words = (message.len() / 4) as u16;
    message[2..4].copy_from_slice(&words.to_be_bytes());
    let mut packet = vec![0x10, 0x00, 0x00, 0x01];
    packet.extend(b"ZRTP");
    packet.extend(ssrc.to_be_bytes());
    packet.extend(message);
    packet.extend(crc32c(&packet).to_be_bytes());
    packet
}

/// An IPv4 packet with a UDP datagram; the kernel fills in the header checksum.
fn ipv4_packet(source: SocketAddr, to: SocketAddr, payload: &[u8]) -> io::Result<Vec<u8>> {
    let (SocketAddr::V4(source), SocketAddr::V4(to)) = (source, to) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let udp_length = 8 + payload.len() as u16;
    let mut packet = vec![0x45, 0x00];
    packet.extend((20 + udp_length).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]); // do not fragment, TTL 64, UDP
    packet.extend(source.ip().octets());
    packet.extend(to.ip().octets());
    packet.extend(source.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(udp_length.to_be_bytes());
    packet.extend([0, 0]); // RFC 768: zero says that no checksum was made
    packet.extend(payload);
    Ok(packet)
}

/// CRC-32C (RFC 9260 appendix A), which RFC 6189 §5 puts at the end of every ZRTP packet.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_classifier::{Policy, Verdict, classify};

    #[test]
    fn each_datagram_is_what_it_claims_to_be() {
        let policy = Policy::default();
        assert_eq!(classify(&stun_binding_request([7; 12]), &policy), Verdict::Stun);
        assert_eq!(classify(&dtls_client_hello(), &policy), Verdict::Dtls);
        assert_eq!(classify(&zrtp_hello(1), &policy), Verdict::Zrtp);
    }

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
