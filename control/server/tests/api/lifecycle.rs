//! What is left of things that end, or end too soon.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::Duration;

use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use tonic::Code;

use crate::support::{self, Daemon, LegSpec, config, field_of, rtp, udp};

fn request(leg: usize) -> v1::CreateLegRequest {
    v1::CreateLegRequest {
        session: "s".into(),
        leg: format!("leg-{leg}"),
        config: Some(LegSpec::srtp().with(|config| config.rtcp_mux = true).config),
    }
}

#[tokio::test]
async fn a_call_whose_client_goes_away_leaves_nothing_half_made() {
    let daemon = Daemon::start("gone").await;
    daemon.session("s").await;
    let mut client = daemon.client().await;
    // The test's limit is 1000 legs: the last 50 are refused, after the client has gone.
    let legs = (0..1050).map(request).collect();
    let call = client.create_legs(v1::CreateLegsRequest { legs });
    assert!(tokio::time::timeout(Duration::from_millis(1), call).await.is_err(), "the client gives up");
    daemon.eventually(|| async { (daemon.legs("s").await.len() == 1000).then_some(()) }).await;
    for leg in daemon.legs("s").await {
        assert!(UdpSocket::bind(&leg.local_rtp).is_err(), "{} has its port", leg.id);
    }
    let status = daemon.leg("s", "one-more", LegSpec::srtp()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    daemon.stop().await;
}

#[tokio::test]
async fn a_deleted_leg_gives_its_ports_back() {
    let daemon = Daemon::start("ports").await;
    daemon.session("s").await;
    let leg = daemon.leg("s", "a", LegSpec::srtp()).await.unwrap();
    assert!(UdpSocket::bind(&leg.local_rtp).is_err() && UdpSocket::bind(&leg.local_rtcp).is_err());
    let request = v1::DeleteSessionRequest { session: "s".into() };
    daemon.client().await.delete_session(request).await.unwrap();
    daemon
        .eventually(|| async {
            let both = UdpSocket::bind(&leg.local_rtp).is_ok() && UdpSocket::bind(&leg.local_rtcp).is_ok();
            both.then_some(())
        })
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_stream_that_ends_with_its_session_is_told_by_name() {
    let daemon = Daemon::start("named").await;
    let mut client = daemon.client().await;
    let (sender, receiver) = (udp(), udp());
    daemon.session("s").await;
    let a = daemon.leg("s", "a", LegSpec::plain().remote(&sender)).await.unwrap();
    daemon.leg("s", "b", LegSpec::plain().remote(&receiver)).await.unwrap();
    daemon.route("s", "ab", "a", "b").await.unwrap();
    let mut events =
        client.watch_events(v1::WatchEventsRequest { session: "s".into() }).await.unwrap().into_inner();
    for sequence in 0..3 {
        sender.send_to(&rtp(sequence, 77, 20), &a.local_rtp).unwrap();
    }
    support::receive(&receiver);
    client.delete_session(v1::DeleteSessionRequest { session: "s".into() }).await.unwrap();
    let stopped = loop {
        let event = tokio::time::timeout(Duration::from_secs(5), events.message()).await.unwrap();
        let event = event.unwrap().unwrap();
        if matches!(&event.kind, Some(Kind::StreamStopped(stopped)) if stopped.ssrc == 77) {
            break event;
        }
    };
    assert_eq!((stopped.session.as_str(), stopped.leg.as_str()), ("s", "a"));
    daemon.stop().await;
}

#[tokio::test]
async fn watchers_are_sent_home_when_the_daemon_stops() {
    let daemon = Daemon::start("home").await;
    let mut client = daemon.client().await;
    let mut events = client.watch_events(v1::WatchEventsRequest::default()).await.unwrap().into_inner();
    daemon.stop().await;
    assert_eq!(events.message().await.unwrap(), None, "an end, not an error");
}

#[tokio::test]
async fn sessions_spread_over_the_workers() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "io_uring");
    config.datapath.workers = sluice_server::config::Workers(sluice_datapath::WorkerCount::Exactly(2));
    let daemon = Daemon::start_with(folder, config).await;
    let mut workers = HashSet::new();
    for id in ["one", "two"] {
        let request = v1::CreateSessionRequest { session: id.into(), ..Default::default() };
        workers.insert(daemon.client().await.create_session(request).await.unwrap().into_inner().worker);
    }
    assert_eq!(workers.len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn there_are_as_many_sessions_as_the_configuration_allows() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "io_uring");
    config.limits.sessions = sluice_server::config::Bounded(2);
    let daemon = Daemon::start_with(folder, config).await;
    let mut client = daemon.client().await;
    let create = |id: &str| v1::CreateSessionRequest { session: id.into(), ..Default::default() };
    for id in ["one", "two", "two"] {
        client.create_session(create(id)).await.unwrap();
    }
    let status = client.create_session(create("three")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("limits.sessions"), "{status:?}");
    client.delete_session(v1::DeleteSessionRequest { session: "one".into() }).await.unwrap();
    client.create_session(create("three")).await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn a_page_of_sessions_fits_into_a_message() {
    let daemon = Daemon::start("pages").await;
    let mut client = daemon.client().await;
    let label = |n: usize| (format!("label-{n}"), "x".repeat(1024));
    for session in 0..100 {
        let (session, labels) = (format!("s{session:03}"), (0..64).map(label).collect());
        client.create_session(v1::CreateSessionRequest { session, labels }).await.unwrap();
    }
    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut request = v1::ListSessionsRequest::default();
    loop {
        // The client takes 4 MiB at most.
        let page = client.list_sessions(request).await.unwrap().into_inner();
        assert!(!page.sessions.is_empty());
        seen.extend(page.sessions.into_iter().map(|session| session.id));
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request = v1::ListSessionsRequest { page_token: page.next_page_token, page_size: 0 };
    }
    assert!(pages > 1 && seen.is_sorted() && seen.len() == 100, "{pages} {seen:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn an_update_that_is_refused_changes_nothing() {
    let daemon = Daemon::start("update").await;
    daemon.session("s").await;
    let peer = udp();
    let before = daemon.leg("s", "a", LegSpec::srtp().remote(&peer)).await.unwrap();
    let update = v1::UpdateLegRequest {
        session: "s".into(),
        leg: "a".into(),
        remote: Some("192.0.2.9:4000".into()),
        dscp: Some(64),
        ..Default::default()
    };
    let status = daemon.client().await.update_leg(update.clone()).await.unwrap_err();
    assert_eq!(field_of(&status), "dscp");
    assert_eq!(daemon.legs("s").await, std::slice::from_ref(&before));
    let update = v1::UpdateLegRequest { dscp: Some(46), ..update };
    let after = daemon.client().await.update_leg(update).await.unwrap().into_inner();
    let config = after.config.unwrap();
    assert_eq!((config.remote.as_str(), config.dscp), ("192.0.2.9:4000", 46));
    assert_eq!((after.remote_in_use.as_str(), after.local_rtp), ("192.0.2.9:4000", before.local_rtp));
    daemon.stop().await;
}
