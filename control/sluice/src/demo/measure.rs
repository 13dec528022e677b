//! Latency that the gateway adds, from what the wire saw.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::demo::wire::Observed;

/// One way through the gateway: in at one local address, out at another.
#[derive(Clone, Copy, Debug)]
pub struct Crossing {
    /// The gateway's address that the sender sends to.
    pub into: SocketAddr,
    /// The gateway's address that the receiver receives from.
    pub out: SocketAddr,
}

/// Quantiles of a set of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// How many were measured.
    pub count: usize,
    /// Half took no longer.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
}

impl Quantiles {
    /// Quantiles of nanosecond values.
    pub fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |percent: usize| {
            // Nearest rank: the smallest value that `percent` per cent do not exceed.
            let rank = (values.len() * percent).div_ceil(100).saturating_sub(1);
            Duration::from_nanos(values.get(rank).copied().unwrap_or(0))
        };
        Self { count: values.len(), p50: at(50), p99: at(99) }
    }
}

/// The times between RTP packets' passing the wire towards the gateway and their passing it again
/// on the way back out, matched by SSRC and sequence number.
pub fn added_latency(packets: &[Observed], crossings: &[Crossing]) -> Quantiles {
    let mut taken = Vec::new();
    for crossing in crossings {
        let mut entered: HashMap<(u32, u16), u64> = HashMap::new();
        for packet in packets {
            let Some(name) = rtp_name(&packet.payload) else { continue };
            if packet.destination == crossing.into {
                // The newest of its name: a forgery may have been before it, replays come later.
                entered.insert(name, packet.at);
            } else if packet.source == crossing.out
                && let Some(at) = entered.remove(&name)
            {
                taken.push(packet.at.saturating_sub(at));
            }
        }
    }
    Quantiles::of(taken)
}

/// SSRC and sequence number of an RTP packet; nothing for RTCP (RFC 5761 §4) and all else.
pub fn rtp_name(payload: &[u8]) -> Option<(u32, u16)> {
    let header: &[u8; 12] = payload.first_chunk()?;
    let rtcp = (64..=95).contains(&(header[1] & 0x7f));
    (header[0] >> 6 == 2 && !rtcp).then(|| {
        let sequence = u16::from_be_bytes([header[2], header[3]]);
        (u32::from_be_bytes([header[8], header[9], header[10], header[11]]), sequence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(at: u64, source: &str, destination: &str, sequence: u16) -> Observed {
        let mut payload = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        payload[2..4].copy_from_slice(&sequence.to_be_bytes());
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Observed { at, source, destination, payload }
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let quantiles = Quantiles::of((1..=200).rev().collect());
        assert_eq!(quantiles.p50, Duration::from_nanos(100));
        assert_eq!(quantiles.p99, Duration::from_nanos(198));
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }

    #[test]
    fn latency_is_the_packet_s_own_not_that_of_a_forgery_before_or_a_replay_after_it() {
        let (sender, receiver) = ("10.0.0.2:1000", "10.0.0.2:2000");
        let (into, out) = ("10.0.0.1:1", "10.0.0.1:2");
        let packets = [
            packet(50, sender, into, 1),
            packet(100, sender, into, 1),
            packet(130, out, receiver, 1),
            packet(500, sender, into, 1),
            packet(600, sender, into, 2),
            packet(690, out, receiver, 2),
        ];
        let crossing = Crossing { into: into.parse().unwrap(), out: out.parse().unwrap() };
        let latency = added_latency(&packets, &[crossing]);
        assert_eq!(
            (latency.count, latency.p50, latency.p99),
            (2, Duration::from_nanos(30), Duration::from_nanos(90))
        );
    }
}
