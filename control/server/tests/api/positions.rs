//! Streams that move from one daemon to another, and those that are joined late.

use std::sync::Arc;

use sluice_proto::v1;
use sluice_proto::v1::Direction::{Inbound, Outbound};
use sluice_srtp::{Job, KeyId, KeyOptions, Kind, MAX_OVERHEAD, MasterKey, SessionKeys, protect};
use tonic::Code;

use crate::SUITE;
use crate::support::{Daemon, LegSpec, config, field_of, receive, rtp, udp};

const SSRC: u32 = 0xabcd;

/// A sender under key material 7.
fn sender(roc: u32) -> [sluice_srtp::Outbound; 1] {
    let master = MasterKey::from_concatenated(SUITE.parse().unwrap(), &[7; 30]).unwrap();
    let keys = SessionKeys::derive_with(KeyId(1), &master, &KeyOptions::default()).unwrap();
    [sluice_srtp::Outbound::new(SSRC, Arc::new(keys), roc)]
}

fn protected(sender: &mut [sluice_srtp::Outbound; 1], sequence: u16) -> Vec<u8> {
    let plain = rtp(sequence, SSRC, 160);
    let mut buffer = [&plain[..], &[0; MAX_OVERHEAD]].concat();
    let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, plain.len())];
    protect(&mut sender[..], &mut jobs);
    assert_eq!(jobs[0].result, Ok(()));
    jobs[0].packet[..jobs[0].len].to_vec()
}

/// A daemon with a call from SRTP to SRTP, and the peers' sockets.
async fn call(name: &str) -> (Daemon, std::net::UdpSocket, std::net::UdpSocket, String) {
    let daemon = Daemon::start(name).await;
    let (alice, bob, local) = call_on(&daemon).await;
    (daemon, alice, bob, local)
}

async fn call_on(daemon: &Daemon) -> (std::net::UdpSocket, std::net::UdpSocket, String) {
    let (alice, bob) = (udp(), udp());
    daemon.session("s").await;
    let a = daemon.leg("s", "a", LegSpec::srtp().remote(&alice)).await.unwrap();
    daemon.leg("s", "b", LegSpec::srtp().remote(&bob)).await.unwrap();
    daemon.route("s", "ab", "a", "b").await.unwrap();
    daemon.key("s", "a", "k", Inbound, SUITE, &[7; 30]).await.unwrap();
    daemon.key("s", "b", "k", Outbound, SUITE, &[8; 30]).await.unwrap();
    (alice, bob, a.local_rtp)
}

async fn export(daemon: &Daemon, leg: &str) -> v1::Positions {
    let request = v1::ExportPositionsRequest { session: "s".into(), leg: leg.into() };
    daemon.client().await.export_positions(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn another_daemon_carries_on_and_repeats_nothing() {
    let (first, alice, bob, to) = call("positions-1").await;
    let mut stream = sender(0);
    let mut played = Vec::new();
    for sequence in [65_534, 65_535, 0, 1] {
        played.push(protected(&mut stream, sequence));
        alice.send_to(played.last().unwrap(), &to).unwrap();
        receive(&bob);
    }
    let (received, sent) = (export(&first, "a").await, export(&first, "b").await);
    let position = |direction: v1::Direction| v1::StreamPosition {
        direction: direction.into(),
        ssrc: SSRC,
        rtp_index: Some(1 << 16 | 1),
        ..Default::default()
    };
    assert_eq!(received.streams, [position(Inbound)]);
    assert_eq!(sent.streams, [position(Outbound)]);
    first.stop().await;

    let (second, alice, bob, to) = call("positions-2").await;
    let mut client = second.client().await;
    for positions in [received, sent.clone()] {
        client.import_positions(positions).await.unwrap();
    }
    for packet in &played {
        alice.send_to(packet, &to).unwrap();
    }
    let next = protected(&mut stream, 2);
    alice.send_to(&next, &to).unwrap();
    receive(&bob);
    assert_eq!(export(&second, "b").await.streams[0].rtp_index, Some(1 << 16 | 2), "the first that was sent");
    client.import_positions(sent).await.unwrap();
    assert_eq!(export(&second, "b").await.streams[0].rtp_index, Some(1 << 16 | 2), "nothing goes back");
    second.stop().await;
}

#[tokio::test]
async fn a_late_joiner_is_told_the_rollover_counter_or_tries_some() {
    let daemon = Daemon::start("late").await;
    let mut client = daemon.client().await;
    daemon.session("s").await;
    for (leg, trials, told) in [("told", 0, true), ("tries", 16, false)] {
        let (near, far) = (udp(), udp());
        let plain = format!("{leg}-plain");
        let mut spec = LegSpec::srtp().remote(&near);
        spec.config.roc_trials = trials;
        let local = daemon.leg("s", leg, spec).await.unwrap().local_rtp;
        daemon.leg("s", &plain, LegSpec::plain().remote(&far)).await.unwrap();
        daemon.route("s", leg, leg, &plain).await.unwrap();
        daemon.key("s", leg, "k", Inbound, SUITE, &[7; 30]).await.unwrap();
        if told {
            let stream = v1::StreamPosition {
                direction: Inbound.into(),
                ssrc: SSRC,
                initial_roc: Some(9),
                ..Default::default()
            };
            let streams = vec![stream];
            let request = v1::Positions { session: "s".into(), leg: leg.into(), streams };
            client.import_positions(request).await.unwrap();
        }
        let mut stream = sender(9);
        for sequence in [50_000, 50_001] {
            near.send_to(&protected(&mut stream, sequence), &local).unwrap();
            assert_eq!(receive(&far), rtp(sequence, SSRC, 160), "{leg}");
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn positions_pass_on_before_media_and_after_a_route_is_gone() {
    let (first, alice, bob, to) = call("positions-parked").await;
    let mut stream = sender(0);
    for sequence in [1, 2] {
        alice.send_to(&protected(&mut stream, sequence), &to).unwrap();
        receive(&bob);
    }
    let mut client = first.client().await;
    let route = v1::DeleteRouteRequest { session: "s".into(), route: "ab".into() };
    client.delete_route(route).await.unwrap();
    let sent = export(&first, "b").await;
    assert_eq!(sent.streams[0].rtp_index, Some(2), "nobody sends it now");
    first.stop().await;

    let (second, ..) = call("positions-passed").await;
    let late =
        v1::StreamPosition { direction: Inbound.into(), ssrc: 7, initial_roc: Some(3), ..Default::default() };
    let mut client = second.client().await;
    let told = v1::Positions { session: "s".into(), leg: "a".into(), streams: vec![late] };
    for positions in [&told, &sent] {
        client.import_positions(positions.clone()).await.unwrap();
    }
    assert_eq!((export(&second, "a").await, export(&second, "b").await), (told, sent));
    // There is a bound, and the field says so.
    let streams = (0..129).map(|ssrc| v1::StreamPosition { ssrc, ..late }).collect();
    let many = v1::Positions { session: "s".into(), leg: "a".into(), streams };
    let status = client.import_positions(many).await.unwrap_err();
    assert_eq!((status.code(), field_of(&status).as_str()), (Code::ResourceExhausted, "streams"), "{status}");
    second.stop().await;
}

#[tokio::test]
async fn stale_streams_are_aged_out_and_stay_known() {
    let folder = tempfile::Builder::new().prefix("stale").tempdir().unwrap();
    let mut config = config(folder.path(), "io_uring");
    (config.timers.stream_idle_seconds.0, config.timers.stream_forget_seconds.0) = (1, 1);
    let daemon = Daemon::start_with(folder, config).await;
    let (alice, bob, to) = call_on(&daemon).await;
    let mut stream = sender(0);
    let played = protected(&mut stream, 1);
    alice.send_to(&played, &to).unwrap();
    receive(&bob);
    let mut client = daemon.client().await;
    let started = std::time::Instant::now();
    loop {
        let request = v1::GetStatisticsRequest::default();
        let statistics = client.get_statistics(request).await.unwrap().into_inner();
        if statistics.workers.iter().all(|worker| worker.streams == 0) {
            break;
        }
        assert!(started.elapsed().as_secs() < 20, "{statistics:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (received, sent) = (export(&daemon, "a").await, export(&daemon, "b").await);
    assert_eq!((received.streams[0].rtp_index, sent.streams[0].rtp_index), (Some(1), Some(1)));
    alice.send_to(&played, &to).unwrap();
    let next = protected(&mut stream, 2);
    alice.send_to(&next, &to).unwrap();
    receive(&bob);
    assert_eq!(export(&daemon, "b").await.streams[0].rtp_index, Some(2), "only the second was sent");
    let request = v1::GetStatisticsRequest::default();
    let statistics = client.get_statistics(request).await.unwrap().into_inner();
    let replayed = statistics.workers[0].drops.iter().find(|drop| drop.reason == "replayed");
    assert_eq!(replayed.map(|drop| drop.packets), Some(1));
    daemon.stop().await;
}

#[tokio::test]
async fn positions_that_cannot_be_name_their_field() {
    let (daemon, ..) = call("positions-refused").await;
    let mut client = daemon.client().await;
    let base = || v1::StreamPosition { direction: Inbound.into(), ssrc: 1, ..Default::default() };
    let wrong = [
        v1::StreamPosition { direction: 0, ..base() },
        v1::StreamPosition { rtp_index: Some(1 << 48), ..base() },
        v1::StreamPosition { rtcp_index: Some(1 << 31), ..base() },
        v1::StreamPosition { initial_roc: Some(1), rtp_index: Some(1), ..base() },
        v1::StreamPosition { initial_roc: Some(1), direction: Outbound.into(), ..base() },
    ];
    for stream in wrong {
        let request = v1::Positions { session: "s".into(), leg: "a".into(), streams: vec![stream] };
        let status = client.import_positions(request).await.unwrap_err();
        assert_eq!(
            (status.code(), field_of(&status).as_str()),
            (Code::InvalidArgument, "streams"),
            "{status}"
        );
    }
    // No key for sending, and a leg that is not there.
    let stream = v1::StreamPosition { direction: Outbound.into(), rtp_index: Some(1), ..base() };
    for (leg, code) in [("a", Code::FailedPrecondition), ("x", Code::NotFound)] {
        let request = v1::Positions { session: "s".into(), leg: leg.into(), streams: vec![stream] };
        assert_eq!(client.import_positions(request).await.unwrap_err().code(), code, "{leg}");
    }
    daemon.stop().await;
}
