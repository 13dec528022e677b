//! What is sent to the daemon: frames of one length, which padding behind the packet makes up to.

use anyhow::Result;
use sluice_tests::raw::{mac_of, udp_frame};
use sluice_tests::rtp::{Source, sender_report};
use sluice_tests::site::Site;

use crate::bed::{CALLS, FORGED_PORT, GOOD_PEER, GOOD_PORT};

/// Octets of a frame: the headers, and RTP of 160 octets with a tag.
pub const FRAME: usize = 14 + 20 + 8 + 12 + 160 + 10;
const HEADERS: usize = 14 + 20 + 8;
/// Where the checksum of UDP over IPv4 is; 0 says that there is none.
const CHECKSUM: usize = 14 + 20 + 6;

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Valid RTP of plain calls; every fiftieth packet is RTCP.
    Media,
    /// Packets of the good call's SSRC with wrong tags, to its leg and to others.
    Forged,
    /// Octets without a meaning, to ports of calls.
    Garbage,
    /// Valid RTCP alone.
    Rtcp,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Media, Self::Forged, Self::Garbage, Self::Rtcp];
}

/// All that a generator needs.
pub struct Load {
    rtp: Vec<Vec<u8>>,
    rtcp: Vec<Vec<u8>>,
    garbage: Vec<Vec<u8>>,
    forged: Vec<Vec<u8>>,
    good: Vec<u8>,
    sequences: Vec<u16>,
    turn: u64,
    rtcp_sent: u64,
    chance: u64,
}

impl Load {
    /// Frames between the site's peers and its daemon.
    pub fn new(site: &Site) -> Result<Self> {
        let macs = (
            mac_of(site.peers_namespace(), site.peers_interface())?,
            mac_of(site.gateway_namespace(), site.interface())?,
        );
        let frame = |from: u16, to: u16, payload: &[u8]| -> Result<Vec<u8>> {
            let mut frame = udp_frame(macs, None, site.world.peers_at(from), site.at(to), payload)?;
            frame[CHECKSUM..CHECKSUM + 2].fill(0);
            frame.resize(FRAME, 0);
            Ok(frame)
        };
        let calls = |make: &dyn Fn(u16) -> Result<Vec<u8>>| (0..CALLS).map(make).collect::<Result<Vec<_>>>();
        let of_call = |call: u16| (20_000 + 10 * call, 4000 + 10 * call);
        let rtp = calls(&|call| {
            let (from, to) = of_call(call);
            frame(from, to, &Source::new(1 + u32::from(call), 0).packet(0))
        })?;
        let rtcp = calls(&|call| {
            let (from, to) = of_call(call);
            frame(from + 1, to + 1, &sender_report(1 + u32::from(call), 1))
        })?;
        let garbage = calls(&|call| {
            let (from, to) = of_call(call);
            frame(from, to, &[0; FRAME - HEADERS])
        })?;
        let sealed = [&Source::new(0x600d, 0).packet(0)[..], &[0xee; 10]].concat();
        let good = frame(GOOD_PEER, GOOD_PORT, &sealed)?;
        let mut forged = calls(&|call| frame(20_002 + 10 * call, FORGED_PORT + 10 * call, &sealed))?;
        forged.push(good.clone());
        Ok(Self {
            rtp,
            rtcp,
            garbage,
            good,
            forged,
            sequences: vec![0; usize::from(CALLS)],
            turn: 0,
            rtcp_sent: 0,
            chance: 1,
        })
    }

    /// Writes frames of a kind, one after the other.
    pub fn writer(&mut self, kind: Kind) -> impl FnMut(&mut [u8]) + Send + '_ {
        move |frame| self.write(kind, frame)
    }

    /// Writes the good call's packets, each with so many frames of another kind before it.
    pub fn good_beside<'a>(
        &'a mut self,
        sealed: &'a [Vec<u8>],
        beside: Option<(Kind, usize)>,
    ) -> impl FnMut(&mut [u8]) + Send + 'a {
        let (mut next, mut others) = (sealed.iter(), 0);
        move |frame| {
            if let Some((kind, count)) = beside
                && others < count
            {
                others += 1;
                return self.write(kind, frame);
            }
            others = 0;
            frame.copy_from_slice(&self.good);
            // Who asks for more than there are has the last one again, which is a replay.
            if let Some(sealed) = next.next().or_else(|| sealed.last()) {
                frame[HEADERS..HEADERS + sealed.len()].copy_from_slice(sealed);
            }
        }
    }

    /// RTCP packets since it was forgotten.
    pub fn rtcp_sent(&self) -> u64 {
        self.rtcp_sent
    }

    pub fn forget_rtcp(&mut self) {
        self.rtcp_sent = 0;
    }

    fn write(&mut self, kind: Kind, frame: &mut [u8]) {
        self.turn += 1;
        let call = (self.turn % u64::from(CALLS)) as usize;
        match kind {
            Kind::Media if self.turn.is_multiple_of(50) => self.write_rtcp(frame),
            Kind::Media => {
                frame.copy_from_slice(&self.rtp[call]);
                let sequence = &mut self.sequences[call];
                *sequence = sequence.wrapping_add(1);
                frame[HEADERS + 2..HEADERS + 4].copy_from_slice(&sequence.to_be_bytes());
            }
            Kind::Rtcp => self.write_rtcp(frame),
            Kind::Forged => {
                let leg = (self.turn % self.forged.len() as u64) as usize;
                frame.copy_from_slice(&self.forged[leg]);
                let sequence = (self.random() as u16).to_be_bytes();
                frame[HEADERS + 2..HEADERS + 4].copy_from_slice(&sequence);
            }
            Kind::Garbage => {
                frame.copy_from_slice(&self.garbage[call]);
                for octets in frame[HEADERS..].chunks_mut(8) {
                    let random = self.random().to_ne_bytes();
                    octets.copy_from_slice(&random[..octets.len()]);
                }
            }
        }
    }

    fn write_rtcp(&mut self, frame: &mut [u8]) {
        frame.copy_from_slice(&self.rtcp[(self.rtcp_sent % u64::from(CALLS)) as usize]);
        self.rtcp_sent += 1;
    }

    /// xorshift: octets that make no sense, and the same ones in every run.
    fn random(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance
    }
}
