//! RTP packets by hand.

/// A source of RTP packets of one stream.
#[derive(Clone, Debug)]
pub struct Source {
    /// The stream's SSRC.
    pub ssrc: u32,
    /// Sequence number of the next packet.
    pub sequence: u16,
    /// Payload type, 0–127.
    pub payload_type: u8,
    /// Payload size of the packets to come.
    pub size: usize,
}

impl Source {
    /// A stream of 160-byte μ-law packets.
    pub fn new(ssrc: u32, sequence: u16) -> Self {
        Self { ssrc, sequence, payload_type: 0, size: 160 }
    }

    /// The next packet; its payload follows from SSRC and sequence number.
    pub fn next_packet(&mut self) -> Vec<u8> {
        let packet = self.packet(self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        packet
    }

    /// The packet with a given sequence number.
    pub fn packet(&self, sequence: u16) -> Vec<u8> {
        let mut packet = vec![0x80, self.payload_type & 0x7f];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 160).to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        let seed = self.ssrc as usize ^ usize::from(sequence);
        packet.extend((0..self.size).map(|index| (seed.wrapping_mul(31) + index) as u8));
        packet
    }
}

/// Sequence number of an RTP packet.
pub fn sequence(packet: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]))
}

/// An RTCP sender report without report blocks (RFC 3550 §6.4.1).
pub fn sender_report(ssrc: u32, packets: u32) -> Vec<u8> {
    let mut report = vec![0x80, 200, 0, 6];
    report.extend(ssrc.to_be_bytes());
    report.extend([0x11; 12]);
    report.extend(packets.to_be_bytes());
    report.extend((packets * 160).to_be_bytes());
    report
}
