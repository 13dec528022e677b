//! Shared by the tests of this crate.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;

use sluice_srtp::{
    Error, Inbound, Job, KeyId, KeyOptions, Kind, MAX_OVERHEAD, MasterKey, Mki, Omit, Outbound, SessionKeys,
    Suite, protect, unprotect,
};

pub(crate) mod libsrtp;

/// A small deterministic generator (xorshift64*): the same packets in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// An RTP packet with a random number of CSRCs, extension words and payload bytes.
    pub(crate) fn rtp(&mut self, ssrc: u32, sequence: u16, max_payload: u64) -> Vec<u8> {
        let csrcs = if self.one_in(4) { self.below(16) as u8 } else { 0 };
        let extension = self.one_in(3).then(|| self.below(20) as u16);
        let mut packet = vec![0x80 | csrcs | if extension.is_some() { 0x10 } else { 0 }, self.next() as u8];
        packet.extend(sequence.to_be_bytes());
        packet.extend(self.bytes(4));
        packet.extend(ssrc.to_be_bytes());
        packet.extend(self.bytes(4 * usize::from(csrcs)));
        if let Some(words) = extension {
            packet.extend([0xbe, 0xde]);
            packet.extend(words.to_be_bytes());
            packet.extend(self.bytes(4 * usize::from(words)));
        }
        let payload = self.below(max_payload + 1) as usize;
        packet.extend(self.bytes(payload));
        if self.one_in(6) {
            let padding = 1 + self.below(40) as usize;
            packet[0] |= 0x20;
            packet.resize(packet.len() + padding, 0);
            packet.splice(packet.len() - 1.., [padding as u8]);
        }
        packet
    }

    /// As much payload as packets have: mostly a voice frame or a video packet, at times none or a jumbo
    /// frame of up to 9,000 octets.
    pub(crate) fn payload(&mut self) -> u64 {
        self.pick([0, 200, 200, 200, 1400, 1400, 1400, 9000])
    }

    /// An RTP packet with a header extension of RFC 8285 in either form. Padding is at its end only: where
    /// it comes between elements libsrtp 2.5 does not count it, as RFC 6904 §3 does.
    pub(crate) fn rtp_with_elements(&mut self, ssrc: u32, sequence: u16) -> Vec<u8> {
        let csrcs = self.below(4) as u8;
        let two_byte = self.one_in(2);
        let mut body = Vec::new();
        for _ in 0..self.below(6) {
            let (id, len) = if two_byte {
                let any = 1 + self.below(255);
                (self.pick([1, 3, 200, 255, any]) as u8, self.below(40) as usize)
            } else {
                (1 + self.below(14) as u8, 1 + self.below(16) as usize)
            };
            body.extend(if two_byte { vec![id, len as u8] } else { vec![id << 4 | (len - 1) as u8] });
            body.extend(self.bytes(len));
        }
        body.resize(body.len().next_multiple_of(4), 0);
        let mut packet = vec![0x90 | csrcs, 96];
        packet.extend(sequence.to_be_bytes());
        packet.extend(self.bytes(4));
        packet.extend(ssrc.to_be_bytes());
        packet.extend(self.bytes(4 * usize::from(csrcs)));
        packet.extend(if two_byte { [0x10, 0] } else { [0xbe, 0xde] });
        packet.extend((body.len() as u16 / 4).to_be_bytes());
        packet.extend(body);
        let payload = self.below(100) as usize;
        packet.extend(self.bytes(payload));
        packet
    }

    pub(crate) fn pick<const N: usize>(&mut self, values: [u64; N]) -> u64 {
        values[self.below(N as u64) as usize]
    }

    /// A sender report with an application packet of random size behind it.
    pub(crate) fn rtcp(&mut self, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 200, 0, 6];
        packet.extend(ssrc.to_be_bytes());
        packet.extend(self.bytes(20));
        let words = self.below(60) as u16;
        packet.extend([0x80, 204]);
        packet.extend((words + 2).to_be_bytes());
        packet.extend(self.bytes(8 + 4 * usize::from(words)));
        packet
    }
}

/// Session keys from key ‖ salt.
pub(crate) fn keys(suite: Suite, material: &[u8], mki: &[u8], omit: Omit) -> Arc<SessionKeys> {
    derive(suite, material, &KeyOptions { mki: Mki::new(mki).unwrap(), omit, ..KeyOptions::default() })
}

/// Session keys from key ‖ salt.
pub(crate) fn derive(suite: Suite, material: &[u8], options: &KeyOptions) -> Arc<SessionKeys> {
    let master = MasterKey::from_concatenated(suite, material).unwrap();
    Arc::new(SessionKeys::derive_with(KeyId(1), &master, options).unwrap())
}

/// A batch of one.
pub(crate) fn send(context: &mut Outbound, kind: Kind, plain: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = [plain, &[0; MAX_OVERHEAD]].concat();
    let mut jobs = [Job::new(0, kind, &mut buffer, plain.len())];
    protect(std::slice::from_mut(context), &mut jobs);
    let (result, len) = (jobs[0].result, jobs[0].len);
    result.map(|()| buffer[..len].to_vec())
}

/// What became of a packet.
pub(crate) type Verdict = Result<Vec<u8>, Error>;

/// A batch of any size. Packets that are refused must be unchanged.
pub(crate) fn receive_all(context: &mut Inbound, packets: &[(Kind, Vec<u8>)]) -> Vec<Verdict> {
    let mut buffers: Vec<Vec<u8>> = packets.iter().map(|(_, packet)| packet.clone()).collect();
    let mut jobs: Vec<Job<'_>> = buffers
        .iter_mut()
        .zip(packets)
        .map(|(buffer, (kind, packet))| Job::new(0, *kind, buffer, packet.len()))
        .collect();
    unprotect(std::slice::from_mut(context), &mut jobs);
    let mut verdicts = Vec::new();
    for (job, (_, packet)) in jobs.iter().zip(packets) {
        if job.result.is_err() {
            assert_eq!(job.packet, packet, "a refused packet is left as it was: {:?}", job.result);
        }
        verdicts.push(job.result.map(|()| job.packet[..job.len].to_vec()));
    }
    verdicts
}

/// A batch of one.
pub(crate) fn receive(context: &mut Inbound, kind: Kind, packet: &[u8]) -> Verdict {
    receive_all(context, &[(kind, packet.to_vec())]).remove(0)
}
