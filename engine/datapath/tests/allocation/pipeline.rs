//! Every way of a packet through the pipeline, over memory.

use std::sync::Arc;
use std::time::Duration;

use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{
    Command, Direction, DropReason, EarlyMedia, Latching, LegSetup, LegStats, PortSetup, RocOnRekey,
    RouteOptions, Sharing,
};
use sluice_srtp::{
    Cryptex, DerivationRate, ExtensionIds, KeyId, KeyOptions, Omit, Rcc, RccMode, ReplayWindow, Suite,
};

use crate::support::*;

const CM: Suite = Suite::AesCm128HmacSha1_80;

#[test]
fn srtp_to_rtp_and_to_srtp_with_fan_out_allocates_nothing() {
    for suite in Suite::ALL {
        let mut bench = Bench::new();
        bench.leg(1, Srtp, Plain, suite);
        bench.leg(2, Srtp, Plain, suite);
        bench.leg(3, Srtp, Srtp, suite);
        bench.leg(4, Srtp, Srtp, Suite::AeadAes128Gcm);
        for to in 2..=4 {
            bench.route(to, 1, to);
        }
        let media = protected(&key(10, suite), 7);
        bench.check(1, &media[..2], &media[2..], 3 * usize::from(PACKETS));
    }
}

#[test]
fn a_shared_key_and_mapped_headers_allocate_nothing() {
    let suite = Suite::AeadAes128Gcm;
    let mut bench = Bench::new();
    bench.leg(1, Srtp, Plain, suite);
    let mapped = RouteOptions {
        ssrcs: vec![(7, 70)],
        payload_types: vec![(0, 8)],
        extensions: vec![(1, 2)],
        ..RouteOptions::default()
    };
    for leg in 2..=9 {
        bench.leg(leg, Plain, Srtp, suite);
        let retire =
            Command::RetireKey { leg, direction: Direction::Outbound, key: KeyId(10 * u64::from(leg) + 1) };
        bench.apply(retire);
        let keys = vec![key(99, suite)];
        bench.apply(Command::InstallKeys {
            leg,
            direction: Direction::Outbound,
            keys,
            shared: true,
            roc: RocOnRekey::Keep,
            more_follow: false,
        });
        bench.route_with(leg, 1, leg, mapped.clone());
    }
    let paused = RouteOptions { paused: true, ..mapped };
    bench.apply(Command::UpdateRoute { route: 9, options: paused });
    let media = protected(&key(10, suite), 7);
    bench.check(1, &media[..2], &media[2..], 7 * usize::from(PACKETS));
}

#[test]
fn rtp_to_srtp_allocates_nothing() {
    let mut bench = Bench::new();
    bench.leg(1, Plain, Plain, Suite::AesCm128HmacSha1_80);
    bench.leg(2, Plain, Srtp, Suite::AesCm128HmacSha1_80);
    bench.route(1, 1, 2);
    let media = packets(7);
    bench.check(1, &media[..2], &media[2..], usize::from(PACKETS));
}

#[test]
fn forged_replayed_and_malformed_packets_allocate_nothing() {
    let mut bench = Bench::new();
    bench.leg(1, Srtp, Plain, Suite::AesCm128HmacSha1_80);
    bench.leg(2, Srtp, Plain, Suite::AesCm128HmacSha1_80);
    bench.route(1, 1, 2);
    let media = protected(&key(10, Suite::AesCm128HmacSha1_80), 7);
    let media = &media[..usize::from(PACKETS)];
    bench.check(1, media, media, 0);
    let forged: Vec<_> = (0..u32::from(PACKETS)).map(|ssrc| rtp(1000 + ssrc, 1)).collect();
    bench.check(1, &[], &forged, 0);
    let malformed: Vec<_> = (0..PACKETS).map(|n| vec![0x9f, n as u8, 0, 1]).collect();
    bench.check(1, &[], &malformed, 0);
}

#[test]
fn rtcp_mapped_both_ways_allocates_nothing_in_any_suite() {
    for suite in Suite::ALL {
        let mut bench = Bench::new();
        bench.leg(1, Srtp, Srtp, suite);
        bench.leg(2, Srtp, Srtp, suite);
        let mapped = RouteOptions { ssrcs: vec![(7, 70)], ..RouteOptions::default() };
        bench.route_with(1, 1, 2, mapped);
        bench.route(2, 2, 1);
        for (leg, ssrc) in [(1, 7), (2, 99)] {
            let reports = protected_all(&key(10 * u64::from(leg), suite), ssrc, reports(ssrc));
            bench.check(leg, &reports[..2], &reports[2..], usize::from(PACKETS));
        }
    }
}

#[test]
fn no_option_of_a_key_allocates_for_a_packet() {
    let rcc = |mode, tag| Some(Rcc::new(mode, 4, tag).unwrap());
    let default = KeyOptions::default();
    let omit = Omit { rtp_encryption: true, rtcp_encryption: true, rtp_authentication: true };
    for options in [
        KeyOptions { cryptex: Cryptex::On, ..default },
        KeyOptions { encrypted_extensions: ExtensionIds::from_iter([1, 2]), ..default },
        KeyOptions { rcc: rcc(RccMode::One, 14), ..default },
        KeyOptions { rcc: rcc(RccMode::Two, 14), ..default },
        KeyOptions { rcc: rcc(RccMode::Three, 4), ..default },
        KeyOptions { omit, ..default },
        // Keys of one interval serve all of these packets; those of the next are made once, and allocated.
        KeyOptions { derivation_rate: DerivationRate::new(1 << 10).unwrap(), ..default },
    ] {
        let mut bench = Bench::new();
        bench.leg_with(1, Srtp, Plain, CM, &options);
        bench.leg_with(2, Srtp, Srtp, CM, &options);
        bench.route(1, 1, 2);
        let media = protected_all(&key_with(10, CM, &options), 7, extended(7));
        bench.check(1, &media[..2], &media[2..], usize::from(PACKETS));
    }
}

#[test]
fn keys_that_change_with_the_index_are_allocated_once_for_each_interval() {
    let options = KeyOptions { derivation_rate: DerivationRate::new(16).unwrap(), ..KeyOptions::default() };
    let mut bench = Bench::new();
    bench.leg_with(1, Srtp, Plain, CM, &options);
    bench.leg_with(2, Plain, Plain, CM, &options);
    bench.route(1, 1, 2);
    let media = protected(&key_with(10, CM, &options), 7);
    bench.play(1, &media[..2]);
    let allocations = allocation_counter::measure(|| bench.play(1, &media[2..]));
    // Packets 2 to 65 are of intervals 0 to 4; what the kernel `portable` boxes is three more of each.
    assert!((1..=4 * 8).contains(&allocations.count_total), "{allocations:?}");
}

#[test]
fn a_shared_port_and_its_trials_allocate_nothing() {
    let mut bench = Bench::new();
    let socket = bench.socket();
    let local = socket.local_addr().unwrap();
    bench.apply(Command::AddPort(PortSetup { port: 1, local, socket: Arc::clone(&socket) }));
    for leg in 1..=8 {
        bench.apply(Command::AddLeg(Box::new(LegSetup {
            leg,
            local,
            rtp: Some(Arc::clone(&socket)),
            rtcp: None,
            remote: None,
            rtcp_remote: None,
            latching: Latching::NewestAuthenticated,
            inbound: Srtp,
            outbound: Plain,
            window: ReplayWindow::default(),
            payload_types: None,
            max_streams: 8,
            roc_trials: 0,
            early_media: EarlyMedia::Drop,
            dscp: 0,
            sharing: Some(Sharing { port: 1, ..Sharing::default() }),
            stats: Arc::new(LegStats::new()),
        })));
        let keys = vec![key(10 * u64::from(leg), CM)];
        bench.apply(Command::InstallKeys {
            leg,
            direction: Direction::Inbound,
            keys,
            shared: false,
            roc: RocOnRekey::Keep,
            more_follow: false,
        });
    }
    bench.leg(9, Plain, Plain, CM);
    bench.route(1, 1, 9);
    // Nobody's: each is tried by all eight legs, as long as there are tokens.
    let forged: Vec<_> = (0..u32::from(PACKETS)).map(|ssrc| rtp(1000 + ssrc, 1)).collect();
    bench.play_at(local, peer(500), &forged[..2]);
    let allocations = allocation_counter::measure(|| bench.play_at(local, peer(500), &forged));
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
    // One of the legs' own, from an address that nobody signalled; and then from another one.
    let media = protected(&key(10, CM), 7);
    let (first, then) = media.split_at(2);
    bench.play_at(local, peer(501), first);
    bench.sent = 0;
    let allocations = allocation_counter::measure(|| {
        bench.play_at(local, peer(501), &then[..32]);
        bench.play_at(local, peer(502), &then[32..]);
    });
    assert_eq!((allocations.count_total, bench.sent), (0, usize::from(PACKETS)), "{allocations:?}");
}

/// The key and the stream's routes are allocated with the command, whatever it is that waits.
#[test]
fn media_that_waits_for_a_key_allocates_nothing_neither_as_it_comes_nor_as_it_plays_out() {
    let mut bench = Bench::new();
    let hold = EarlyMedia::Hold { packets: PACKETS, time: Duration::from_secs(2) };
    bench.leg(3, Plain, Plain, CM);
    let mut play_out = |leg: u32, packets: usize| {
        let socket = bench.socket();
        bench.apply(Command::AddLeg(Box::new(LegSetup {
            early_media: hold,
            ..setup(leg, socket, Srtp, Plain)
        })));
        bench.route(leg, leg, 3);
        let media = protected(&key(leg.into(), CM), leg);
        let allocations = allocation_counter::measure(|| bench.play(leg, &media[..packets]));
        assert_eq!(allocations.count_total, 0, "as it comes: {allocations:?}");
        let keys = vec![key(leg.into(), CM)];
        let (direction, roc) = (Direction::Inbound, RocOnRekey::Keep);
        let install = Command::InstallKeys { leg, direction, keys, shared: false, roc, more_follow: false };
        // What is sent in memory is kept, and allocated.
        bench.wire.refuse_sends(true);
        let allocations = allocation_counter::measure(|| bench.apply(install));
        let early = bench.pipeline.stats().snapshot().early;
        assert_eq!((early.held, bench.pool.outstanding()), (0, 0));
        allocations.count_total
    };
    let [_, one, all] =
        [(1, 1), (2, 1), (4, usize::from(PACKETS))].map(|(leg, packets)| play_out(leg, packets));
    assert_eq!(one, all);
    let counted = bench.pipeline.stats().snapshot();
    assert_eq!((counted.early.released, counted.sent), (2 + u64::from(PACKETS), 2 + u64::from(PACKETS)));
    // More than may wait.
    let socket = bench.socket();
    bench.apply(Command::AddLeg(Box::new(LegSetup { early_media: hold, ..setup(5, socket, Srtp, Plain) })));
    let flood: Vec<_> = (0..u32::from(PACKETS)).map(|ssrc| rtp(ssrc, 1)).collect();
    let allocations = allocation_counter::measure(|| (0..4).for_each(|_| bench.play(5, &flood)));
    let evicted = bench.pipeline.stats().snapshot().dropped.get(DropReason::EarlyMediaFull);
    assert_eq!((allocations.count_total, evicted), (0, 3 * u64::from(PACKETS)), "{allocations:?}");
    bench.pipeline.clear(&mut bench.pool);
}

#[test]
fn plain_rtp_on_probation_allocates_nothing() {
    let mut bench = Bench::new();
    bench.leg(1, Plain, Plain, CM);
    bench.leg(2, Plain, Plain, CM);
    bench.route(1, 1, 2);
    // Each SSRC once: held, and given up when another needs the room.
    let strangers: Vec<_> = (0..u32::from(PACKETS)).map(|ssrc| rtp(1000 + ssrc, 1)).collect();
    bench.check(1, &[], &strangers[..8], 0);
    bench.check(1, &[], &strangers[8..], 0);
    let stats = bench.pipeline.stats().snapshot();
    assert_eq!((stats.held, stats.unaccounted()), (8, 0));
}

#[test]
fn what_is_not_given_to_control_allocates_nothing_and_what_is_allocates_once() {
    let mut bench = Bench::new();
    bench.leg(1, Plain, Plain, CM);
    let hello: Vec<Vec<u8>> =
        (0..PACKETS).map(|_| vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]).collect();
    // Each takes a copy to control, until the leg's share of a second is used up.
    loop {
        let allocations = allocation_counter::measure(|| bench.play(1, &hello));
        let refused = bench.pipeline.stats().snapshot().dropped.total();
        assert!(allocations.count_total <= u64::from(PACKETS), "{allocations:?}");
        if refused >= u64::from(PACKETS) {
            break;
        }
    }
    let allocations = allocation_counter::measure(|| bench.play(1, &hello));
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
}

/// Contexts of keys in their grace period and of double suites have memory of their own.
#[test]
fn forged_packets_of_unknown_ssrcs_allocate_nothing_under_several_keys_or_double_ones() {
    for (suite, keys) in [(CM, 2), (CM, 8), (Suite::DoubleAeadAes128Gcm, 1)] {
        let mut bench = Bench::new();
        bench.leg(1, Srtp, Plain, suite);
        for id in 1..keys {
            let keys = vec![key(10 + id, suite)];
            bench.apply(Command::InstallKeys {
                leg: 1,
                direction: Direction::Inbound,
                keys,
                shared: false,
                roc: RocOnRekey::Keep,
                more_follow: false,
            });
        }
        let forged: Vec<_> = (0..u32::from(PACKETS)).map(|ssrc| vec![rtp(1000 + ssrc, 1)]).collect();
        bench.play(1, &forged[0]);
        let allocations =
            allocation_counter::measure(|| forged[1..].iter().for_each(|packet| bench.play(1, packet)));
        assert_eq!(allocations.count_total, 0, "{suite} {allocations:?}");
        let dropped = bench.pipeline.stats().snapshot().dropped;
        assert_eq!(dropped.get(DropReason::AuthFailed), u64::from(PACKETS), "{dropped:?}");
        // What was tried in vain does no harm to what is right.
        bench.leg(2, Plain, Plain, suite);
        bench.route(1, 1, 2);
        let media = protected(&key(10, suite), 7);
        bench.play(1, &media[..2]);
        assert_eq!(bench.sent, 2, "{suite}");
    }
}

/// Of several in one batch, all but one have a context made for them. `auth_failures_per_second` bounds how many.
#[test]
fn forged_packets_of_unknown_ssrcs_allocate_no_more_than_a_leg_may_have_tried() {
    let mut bench = Bench::new();
    bench.leg(1, Srtp, Plain, CM);
    let keys = vec![key(11, CM)];
    bench.apply(Command::InstallKeys {
        leg: 1,
        direction: Direction::Inbound,
        keys,
        shared: false,
        roc: RocOnRekey::Keep,
        more_follow: false,
    });
    let forged =
        |round: u32| -> Vec<_> { (0..u32::from(PACKETS)).map(|ssrc| rtp(1000 * round + ssrc, 1)).collect() };
    let rounds: Vec<_> = (1..20).map(forged).collect();
    let allocations = allocation_counter::measure(|| rounds.iter().for_each(|round| bench.play(1, round)));
    let dropped = bench.pipeline.stats().snapshot().dropped;
    let tried = dropped.get(DropReason::AuthFailed);
    assert!(tried > 0 && dropped.get(DropReason::AuthRateLimited) > 0, "{dropped:?}");
    assert!(allocations.count_total <= tried, "{allocations:?}");
    assert!(allocations.count_current <= 1, "one stays, for the next");
}
