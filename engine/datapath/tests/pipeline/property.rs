//! Whatever comes, in whatever order: every datagram is accounted for, no frame is lost, and no key stream is
//! used for two packets.

use std::collections::HashMap;

use proptest::prelude::*;
use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{Command, Direction, Latching, LegUpdate, OnSsrcClash, Protection, RouteOptions};
use sluice_io::Component;

use crate::support::*;

#[derive(Clone, Debug)]
enum Step {
    Media { leg: u32, ssrc: u32, sequence: u16, elsewhere: bool },
    Report { leg: u32, ssrc: u32, about: u32 },
    Forged { leg: u32, ssrc: u32, sequence: u16 },
    Noise { leg: u32, bytes: Vec<u8> },
    Add { leg: u32 },
    Remove { leg: u32 },
    Route { route: u32, from: u32, to: u32, rewrite: bool },
    Reroute { route: u32, paused: bool, only: Option<u32>, map: Option<(u32, u32)>, mark: bool },
    Unroute { route: u32 },
    Rekey { leg: u32, inbound: bool, key: u64, shared: bool },
    Retire { leg: u32, inbound: bool, key: u64 },
    Rekeying { leg: u32, on: bool },
    Wait { milliseconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (leg, ssrc, sequence) = (1..5_u32, 1..6_u32, prop_oneof![0..40_u16, 65_500..=u16::MAX]);
    prop_oneof![
        12 => (leg.clone(), ssrc.clone(), sequence.clone(), any::<bool>())
            .prop_map(|(leg, ssrc, sequence, elsewhere)| Step::Media { leg, ssrc, sequence, elsewhere }),
        3 => (leg.clone(), ssrc.clone(), ssrc.clone())
            .prop_map(|(leg, ssrc, about)| Step::Report { leg, ssrc, about }),
        3 => (leg.clone(), ssrc.clone(), sequence).prop_map(|(leg, ssrc, sequence)| Step::Forged { leg, ssrc, sequence }),
        2 => (leg.clone(), prop::collection::vec(any::<u8>(), 0..80))
            .prop_map(|(leg, bytes)| Step::Noise { leg, bytes }),
        2 => leg.clone().prop_map(|leg| Step::Add { leg }),
        1 => leg.clone().prop_map(|leg| Step::Remove { leg }),
        3 => (1..9_u32, leg.clone(), leg.clone(), any::<bool>())
            .prop_map(|(route, from, to, rewrite)| Step::Route { route, from, to, rewrite }),
        2 => (1..9_u32, prop::bool::weighted(0.2), prop::option::weighted(0.3, ssrc.clone()),
              prop::option::of((ssrc.clone(), 1..9_u32)), any::<bool>())
            .prop_map(|(route, paused, only, map, mark)| Step::Reroute { route, paused, only, map, mark }),
        1 => (1..9_u32).prop_map(|route| Step::Unroute { route }),
        3 => (leg.clone(), prop::bool::weighted(0.2), 1..4_u64, any::<bool>())
            .prop_map(|(leg, inbound, key, shared)| Step::Rekey { leg, inbound, key, shared }),
        1 => (leg.clone(), any::<bool>(), 1..8_u64).prop_map(|(leg, inbound, key)| Step::Retire { leg, inbound, key }),
        1 => (leg, prop::bool::weighted(0.7)).prop_map(|(leg, on)| Step::Rekeying { leg, on }),
        1 => (0..40_000_u64).prop_map(|milliseconds| Step::Wait { milliseconds }),
    ]
}

/// Odd legs receive SRTP, the upper two send it.
fn protection(leg: u32) -> (Protection, Protection) {
    (if leg % 2 == 1 { Srtp } else { Plain }, if leg > 2 { Srtp } else { Plain })
}

fn packet(leg: u32, ssrc: u32, clear: &[u8]) -> Vec<u8> {
    match protection(leg).0 {
        Plain => clear.to_vec(),
        Srtp => Peer::of(leg, ssrc, 0).protect(clear),
    }
}

/// Key streams of what was sent, each with its packet.
#[derive(Default)]
struct Streams(HashMap<Vec<u8>, Vec<u8>>);

impl Streams {
    /// The clear text of RTP follows from the sequence number, and that of RTCP is zeros in the end.
    fn check(&mut self, sent: Vec<Sent>) {
        for Sent { meta, bytes } in sent {
            if protection(meta.socket.leg).1 == Plain {
                continue;
            }
            let clear = match bytes[1] {
                192..224 => vec![0; 16],
                _ => rtp(0, u16::from_be_bytes([bytes[2], bytes[3]]))[12..28].to_vec(),
            };
            let stream = bytes[12..28].iter().zip(clear).map(|(cipher, clear)| cipher ^ clear).collect();
            let before = self.0.entry(stream).or_insert_with(|| bytes.clone());
            assert_eq!(*before, bytes, "two packets under one key stream");
        }
    }
}

fn play(harness: &mut Harness, steps: &[Step]) {
    let mut streams = Streams::default();
    let mut batch = Vec::new();
    for step in steps {
        let datagram = match step {
            Step::Media { leg, ssrc, sequence, elsewhere } => {
                let source = if *elsewhere { peer(9999) } else { peer(1000 + *leg as u16) };
                Some((*leg, source, packet(*leg, *ssrc, &rtp(*ssrc, *sequence))))
            }
            Step::Report { leg, ssrc, about } => {
                Some((*leg, peer(1000 + *leg as u16), packet(*leg, *ssrc, &rtcp(*ssrc, *about))))
            }
            Step::Forged { leg, ssrc, sequence } => Some((*leg, peer(6), forged(*ssrc, *sequence))),
            Step::Noise { leg, bytes } => Some((*leg, peer(1000 + *leg as u16), bytes.clone())),
            _ => None,
        };
        if let Some((leg, source, bytes)) = datagram {
            batch.push((leg, Component::Rtp, source, bytes));
        } else {
            streams.check(harness.receive_batch(&std::mem::take(&mut batch)));
            command(harness, step);
            harness.check();
        }
        if batch.len() == 64 {
            streams.check(harness.receive_batch(&std::mem::take(&mut batch)));
        }
    }
    streams.check(harness.receive_batch(&batch));
}

fn command(harness: &mut Harness, step: &Step) {
    let direction = |inbound| if inbound { Direction::Inbound } else { Direction::Outbound };
    // Many of these are refused, and must then change nothing.
    let _ = match *step {
        Step::Add { leg } => {
            let (inbound, outbound) = protection(leg);
            let latching = match leg {
                1 => Latching::SignalledOnly,
                2 => Latching::Never,
                3 => Latching::FirstAuthenticated,
                _ => Latching::NewestAuthenticated,
            };
            let mut setup = harness.setup(leg);
            (setup.inbound, setup.outbound, setup.latching) = (inbound, outbound, latching);
            let added = harness.apply(Command::AddLeg(Box::new(setup)));
            let _ = harness.install(leg, Direction::Inbound, key(10 * u64::from(leg)));
            let _ = harness.install(leg, Direction::Outbound, key(10 * u64::from(leg) + 1));
            added
        }
        Step::Remove { leg } => harness.apply(Command::RemoveLeg { leg }),
        Step::Route { route, from, to, rewrite } => {
            let on_ssrc_clash = if rewrite { OnSsrcClash::Rewrite } else { OnSsrcClash::Refuse };
            harness.apply(Command::AddRoute {
                route,
                from,
                to,
                options: RouteOptions { on_ssrc_clash, ..RouteOptions::default() },
            })
        }
        Step::Reroute { route, paused, only, map, mark } => {
            let options = RouteOptions {
                paused,
                only: only.map(|ssrc| vec![ssrc]),
                ssrcs: Vec::from_iter(map),
                payload_types: if mark { vec![(0, 8)] } else { Vec::new() },
                ..RouteOptions::default()
            };
            harness.apply(Command::UpdateRoute { route, options })
        }
        Step::Unroute { route } => harness.apply(Command::RemoveRoute { route }),
        Step::Rekey { leg, inbound: false, key: id, shared: true } => {
            harness.install_shared(leg, &key(100 + id))
        }
        Step::Rekey { leg, inbound, key: id, .. } => harness.install(leg, direction(inbound), key(100 + id)),
        Step::Retire { leg, inbound, key: id } => {
            let key = key(100 + id).id();
            harness.apply(Command::RetireKey { leg, direction: direction(inbound), key })
        }
        Step::Rekeying { leg, on } => {
            harness.apply(Command::UpdateLeg(LegUpdate { rekeying: Some(on), ..LegUpdate::new(leg) }))
        }
        Step::Wait { milliseconds } => {
            harness.pass(milliseconds * MILLI);
            Ok(())
        }
        _ => Ok(()),
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_datagram_is_accounted_for_and_no_key_stream_is_used_twice(
        steps in prop::collection::vec(step(), 1..150), shared in any::<bool>()
    ) {
        let mut harness = Harness::new();
        for leg in 1..5 {
            command(&mut harness, &Step::Add { leg });
        }
        for leg in [3, 4] {
            command(&mut harness, &Step::Rekey { leg, inbound: false, key: 1, shared });
        }
        for (route, from, to) in [(1, 1, 3), (2, 2, 3), (3, 3, 4), (4, 4, 1), (5, 1, 4), (6, 2, 4)] {
            command(&mut harness, &Step::Route { route, from, to, rewrite: route == 2 });
        }
        play(&mut harness, &steps);
        for leg in 1..5 {
            let _ = harness.apply(Command::RemoveLeg { leg });
        }
        let stats = harness.stats();
        prop_assert_eq!((stats.legs, stats.routes, stats.streams), (0, 0, 0));
        prop_assert_eq!((stats.egress_contexts, stats.held, harness.pool.outstanding()), (0, 0, 0));
        prop_assert_eq!(stats.unaccounted(), 0);
    }
}
