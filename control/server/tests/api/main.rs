//! The API against a real daemon: engine, workers and sockets, over io_uring on loopback.

mod access;
mod audit;
mod certificates;
mod fanout;
mod keys;
mod lifecycle;
mod limits;
mod moving;
mod options;
mod perc;
mod positions;
mod retries;
mod rings;
mod shared_port;
mod start;
mod support;
mod updates;

use std::time::Duration;

use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use support::{Daemon, LegSpec, field_of, protected, rtp, udp};
use tonic::Code;

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

#[tokio::test]
async fn a_call_goes_through_from_srtp_to_plain_rtp() {
    let daemon = Daemon::start("call").await;
    let mut client = daemon.client().await;
    let (sender, receiver) = (udp(), udp());
    daemon.session("s").await;
    let a = daemon.leg("s", "a", LegSpec::srtp().remote(&sender)).await.unwrap();
    daemon.leg("s", "b", LegSpec::plain().remote(&receiver)).await.unwrap();
    daemon.route("s", "ab", "a", "b").await.unwrap();
    daemon.key("s", "a", "k", v1::Direction::Inbound, SUITE, &[7; 30]).await.unwrap();
    let mut events =
        client.watch_events(v1::WatchEventsRequest { session: "s".into() }).await.unwrap().into_inner();
    for sequence in 0..20 {
        let plain = rtp(sequence, 0xabcd, 160);
        sender.send_to(&protected(&[7; 30], &plain), &a.local_rtp).unwrap();
        assert_eq!(support::receive(&receiver), plain);
    }
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let event =
            tokio::time::timeout(Duration::from_secs(5), events.message()).await.unwrap().unwrap().unwrap();
        assert_eq!((event.session.as_str(), event.leg.as_str()), ("s", "a"));
        kinds.extend(event.kind);
    }
    assert!(kinds.iter().any(|kind| matches!(kind, Kind::StreamStarted(e) if e.ssrc == 0xabcd)), "{kinds:?}");
    assert!(
        kinds.iter().any(|kind| matches!(kind, Kind::FirstMedia(e) if e.path == "io_uring")),
        "{kinds:?}"
    );
    let request = v1::GetStatisticsRequest { session: "s".into(), workers_only: false };
    let statistics = daemon.eventually(|| {
        let (mut client, request) = (client.clone(), request.clone());
        async move {
            let statistics = client.get_statistics(request).await.unwrap().into_inner();
            let leg = |id| statistics.legs.iter().find(|leg| leg.leg == id).cloned().unwrap();
            (leg("a").received_rtp_packets == 20 && leg("b").sent_rtp_packets == 20).then_some(statistics)
        }
    });
    assert!(statistics.await.workers[0].latency_p99_nanoseconds > 0);
    daemon.stop().await;
}

#[tokio::test]
async fn forged_and_replayed_packets_are_counted_and_go_nowhere() {
    let daemon = Daemon::start("forged").await;
    let (sender, receiver) = (udp(), udp());
    daemon.session("s").await;
    let a = daemon.leg("s", "a", LegSpec::srtp().remote(&sender)).await.unwrap();
    daemon.leg("s", "b", LegSpec::plain().remote(&receiver)).await.unwrap();
    daemon.route("s", "ab", "a", "b").await.unwrap();
    daemon.key("s", "a", "k", v1::Direction::Inbound, SUITE, &[7; 30]).await.unwrap();
    let good = protected(&[7; 30], &rtp(1, 1, 20));
    let mut forged = protected(&[7; 30], &rtp(2, 1, 20));
    forged[20] ^= 1;
    for packet in [&good, &forged, &good] {
        sender.send_to(packet, &a.local_rtp).unwrap();
    }
    assert_eq!(support::receive(&receiver), rtp(1, 1, 20));
    let drops = daemon.eventually(|| async {
        let drops = daemon.drops("a").await;
        (drops.len() == 2).then_some(drops)
    });
    assert_eq!(drops.await, [("auth_failed".to_owned(), 1), ("replayed".to_owned(), 1)]);
    assert!(support::silent(&receiver));
    daemon.stop().await;
}

#[tokio::test]
async fn a_stun_binding_request_is_answered_and_reported() {
    let daemon = Daemon::start("stun").await;
    let mut client = daemon.client().await;
    let peer = udp();
    daemon.session("s").await;
    let a = daemon.leg("s", "a", LegSpec::srtp()).await.unwrap();
    let mut events = client.watch_events(v1::WatchEventsRequest::default()).await.unwrap().into_inner();
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([9; 12]);
    peer.send_to(&request, &a.local_rtp).unwrap();
    let response = support::receive(&peer);
    assert_eq!(response[..2], [1, 1], "a success response");
    assert_eq!(response[4..20], request[4..20]);
    let event = events.message().await.unwrap().unwrap();
    assert!(matches!(event.kind, Some(Kind::Negotiation(e)) if e.protocol == "stun" && e.answered));
    daemon.stop().await;
}

#[tokio::test]
async fn a_flood_of_negotiation_is_answered_and_told_in_part() {
    let daemon = Daemon::start("flood").await;
    let mut client = daemon.client().await;
    let peer = udp();
    daemon.session("s").await;
    let a = daemon.leg("s", "a", LegSpec::srtp()).await.unwrap();
    let mut events = client.watch_events(v1::WatchEventsRequest::default()).await.unwrap().into_inner();
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([9; 12]);
    let exchange = || {
        peer.send_to(&request, &a.local_rtp).unwrap();
        support::receive(&peer);
    };
    (0..100).for_each(|_| exchange());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    exchange();
    let (mut told, mut untold) = (0, 0);
    while told + untold < 101 {
        let event = events.message().await.unwrap().unwrap();
        let Some(Kind::Negotiation(seen)) = event.kind else { panic!("{event:?}") };
        (told, untold) = (told + 1, untold + seen.untold);
    }
    assert!(told <= 30, "{told} events, {untold} without");
    daemon.stop().await;
}

#[tokio::test]
async fn errors_name_field_and_reason() {
    let daemon = Daemon::start("errors").await;
    let none = daemon.leg("nowhere", "a", LegSpec::srtp()).await.unwrap_err();
    assert_eq!((none.code(), field_of(&none)), (Code::NotFound, "session".to_owned()));
    daemon.session("s").await;
    for (name, value) in [("a", "\u{1b}[2J"), ("a\n", "b"), ("a", "\u{9b}2J"), ("", "b")] {
        let labels = [(name.to_owned(), value.to_owned())].into();
        let request = v1::CreateSessionRequest { session: "labelled".into(), labels };
        let status = daemon.client().await.create_session(request).await.unwrap_err();
        assert_eq!(field_of(&status), "labels", "{name:?} {value:?}");
    }
    let taken = udp();
    let taken_at = taken.local_addr().unwrap().to_string();
    for (spec, code, field) in [
        (LegSpec::srtp().local(&taken_at), Code::FailedPrecondition, "local"),
        (LegSpec::srtp().local("192.0.2.200"), Code::FailedPrecondition, "local"),
        (LegSpec::srtp().local("here"), Code::InvalidArgument, "local"),
        (LegSpec::srtp().local("0.0.0.0"), Code::InvalidArgument, "local"),
        (LegSpec::srtp().remote_text("[::1]:5000"), Code::InvalidArgument, "remote"),
        (LegSpec::srtp().with(|c| c.inbound = 0), Code::InvalidArgument, "inbound"),
        (LegSpec::srtp().with(|c| c.replay_window = 63), Code::InvalidArgument, "replay_window"),
        (LegSpec::srtp().with(|c| c.payload_types = vec![128]), Code::InvalidArgument, "payload_types"),
        (LegSpec::srtp().with(|c| c.payload_types = vec![0, 8, 0]), Code::InvalidArgument, "payload_types"),
        (
            LegSpec::srtp().with(|c| c.payload_types = (0..129).map(|n| n % 128).collect()),
            Code::InvalidArgument,
            "payload_types",
        ),
        (LegSpec::srtp().with(|c| c.dscp = 64), Code::InvalidArgument, "dscp"),
        (LegSpec::srtp().with(|c| c.max_streams = 70_000), Code::InvalidArgument, "max_streams"),
    ] {
        let status = daemon.leg("s", "a", spec).await.unwrap_err();
        assert_eq!((status.code(), field_of(&status).as_str()), (code, field), "{status:?}");
    }
    assert!(daemon.legs("s").await.is_empty(), "nothing half-created is left");
    daemon.leg("s", "a", LegSpec::srtp()).await.unwrap();
    let key = |suite, material| daemon.key("s", "a", "k", v1::Direction::Inbound, suite, material);
    let wrong = key("AES_CM_512", &[1; 30]).await.unwrap_err();
    assert_eq!((wrong.code, wrong.field.as_str()), (Code::InvalidArgument as i32, "suite"));
    let wrong = key(SUITE, &[1; 29]).await.unwrap_err();
    assert_eq!((wrong.code, wrong.field.as_str()), (Code::InvalidArgument as i32, "key_salt"));
    assert!(wrong.message.contains("30 bytes") && wrong.message.contains("29"));
    let bad_id = daemon.leg("s", "a b", LegSpec::srtp()).await.unwrap_err();
    assert_eq!(field_of(&bad_id), "leg");
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_said_twice_is_done_once_and_a_change_is_refused() {
    let daemon = Daemon::start("twice").await;
    daemon.session("s").await;
    daemon.session("s").await;
    let first = daemon.leg("s", "a", LegSpec::srtp()).await.unwrap();
    assert_eq!(daemon.leg("s", "a", LegSpec::srtp()).await.unwrap(), first);
    let other = daemon.leg("s", "a", LegSpec::srtp().with(|c| c.dscp = 46)).await.unwrap_err();
    assert_eq!((other.code(), field_of(&other).as_str()), (Code::AlreadyExists, "dscp"));
    daemon.leg("s", "b", LegSpec::srtp()).await.unwrap();
    daemon.route("s", "r", "a", "b").await.unwrap();
    daemon.route("s", "r", "a", "b").await.unwrap();
    assert_eq!(daemon.route("s", "r", "b", "a").await.unwrap_err().code(), Code::AlreadyExists);
    let outbound = v1::Direction::Outbound;
    daemon.key("s", "a", "k", outbound, SUITE, &[1; 30]).await.unwrap();
    daemon.key("s", "a", "k", outbound, SUITE, &[1; 30]).await.unwrap();
    let other = daemon.key("s", "a", "k", outbound, SUITE, &[2; 30]).await.unwrap_err();
    assert_eq!((other.code, other.field.as_str()), (Code::AlreadyExists as i32, "key_salt"));
    let two_time_pad = daemon.key("s", "b", "k", outbound, SUITE, &[1; 30]).await.unwrap_err();
    assert_eq!((two_time_pad.reason.as_str(), two_time_pad.field.as_str()), ("KEY_IN_USE", "key_salt"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_batch_does_what_it_can_and_says_what_it_cannot() {
    let daemon = Daemon::start("batch").await;
    let mut client = daemon.client().await;
    daemon.session("s").await;
    let request = |leg: &str, spec: LegSpec| v1::CreateLegRequest {
        session: "s".into(),
        leg: leg.into(),
        config: Some(spec.config),
    };
    let mut legs: Vec<_> = (0..200).map(|i| request(&format!("leg-{i}"), LegSpec::srtp())).collect();
    legs[50].config = None;
    let results = client.create_legs(v1::CreateLegsRequest { legs }).await.unwrap().into_inner().results;
    let failed: Vec<_> =
        (0..200).filter(|i| matches!(results[*i].result, Some(v1::leg_result::Result::Failure(_)))).collect();
    assert_eq!(failed, [50]);
    assert_eq!(daemon.legs("s").await.len(), 199);
    let keys = (0..200).map(|i| {
        let mut key_salt = vec![1; 30];
        key_salt[0] = i as u8;
        Daemon::install(&format!("leg-{i}"), v1::Direction::Outbound, key_salt)
    });
    let request = v1::InstallKeysRequest { keys: keys.collect() };
    let results = client.install_keys(request).await.unwrap().into_inner().results;
    let good = results.iter().filter(|r| matches!(r.result, Some(v1::key_result::Result::Key(_)))).count();
    assert_eq!((results.len(), good), (200, 199));
    let request = v1::DeleteSessionRequest { session: "s".into() };
    assert!(client.delete_session(request.clone()).await.unwrap().into_inner().existed);
    assert!(!client.delete_session(request).await.unwrap().into_inner().existed);
    daemon.session("s").await;
    daemon.leg("s", "again", LegSpec::srtp()).await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn a_rekey_has_no_gap_and_the_old_key_ends_after_its_grace() {
    let daemon = Daemon::start("rekey").await;
    let mut client = daemon.client().await;
    let (sender, receiver) = (udp(), udp());
    daemon.session("s").await;
    let a = daemon.leg("s", "a", LegSpec::srtp().remote(&sender)).await.unwrap();
    daemon.leg("s", "b", LegSpec::plain().remote(&receiver)).await.unwrap();
    daemon.route("s", "ab", "a", "b").await.unwrap();
    daemon.key("s", "a", "k1", v1::Direction::Inbound, SUITE, &[1; 30]).await.unwrap();
    let through = |key: u8, sequence| {
        let plain = rtp(sequence, 5, 50);
        sender.send_to(&protected(&[key; 30], &plain), &a.local_rtp).unwrap();
        plain
    };
    assert_eq!(support::receive_after(&receiver, || through(1, 1)), rtp(1, 5, 50));
    let mut new = Daemon::install("a", v1::Direction::Inbound, vec![2; 30]);
    new.key = "k2".into();
    let request = v1::RekeyRequest { keys: vec![new], grace_milliseconds: 300 };
    client.rekey(request).await.unwrap();
    assert_eq!(support::receive_after(&receiver, || through(2, 2)), rtp(2, 5, 50));
    assert_eq!(support::receive_after(&receiver, || through(1, 3)), rtp(3, 5, 50), "in the grace period");
    daemon
        .eventually(|| async {
            let legs = daemon.legs("s").await;
            let keys = legs.iter().find(|leg| leg.id == "a").map(|leg| leg.keys.len());
            (keys == Some(1)).then_some(())
        })
        .await;
    through(1, 4);
    assert!(support::silent(&receiver), "the old key has ended");
    daemon.stop().await;
}

#[tokio::test]
async fn health_and_reflection_answer() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let daemon = Daemon::start("health").await;
    let mut health = HealthClient::new(daemon.channel().await);
    let request = HealthCheckRequest { service: "sluice.v1.Sluice".into() };
    let status = health.check(request).await.unwrap().into_inner().status;
    assert_eq!(status, ServingStatus::Serving as i32);
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_response::MessageResponse};
    let mut reflection = ServerReflectionClient::new(daemon.channel().await);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { message_request, ..Default::default() };
    let stream = tokio_stream::once(request);
    let mut answers = reflection.server_reflection_info(stream).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|service| service.name == "sluice.v1.Sluice"));
    daemon.stop().await;
}
