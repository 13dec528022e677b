//! How much, how often and how long.

use std::time::Duration;

use sluice_proto::v1;
use sluice_server::config::Bounded;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::support::{Daemon, LegSpec, config};

async fn limited(change: impl FnOnce(&mut sluice_server::config::LimitsConfig)) -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "io_uring");
    change(&mut config.limits);
    Daemon::start_with(folder, config).await
}

#[tokio::test]
async fn a_connection_that_asks_too_often_is_told_when_to_come_back() {
    let daemon = limited(|limits| limits.requests_per_second = Some(Bounded(5))).await;
    let mut client = daemon.client().await;
    let mut refused = Vec::new();
    for _ in 0..20 {
        if let Err(status) = client.get_info(v1::GetInfoRequest {}).await {
            refused.push(status);
        }
    }
    // A slow machine gets some more through.
    assert!(!refused.is_empty() && refused.len() <= 15, "{}", refused.len());
    let status = &refused[0];
    assert_eq!(status.code(), Code::ResourceExhausted);
    let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait <= Duration::from_millis(200), "{wait:?}");
    daemon.client().await.get_info(v1::GetInfoRequest {}).await.expect("another connection has its own");
    tokio::time::sleep(wait + Duration::from_millis(10)).await;
    client.get_info(v1::GetInfoRequest {}).await.expect("it came back as told");
    daemon.stop().await;
}

#[tokio::test]
async fn a_message_of_a_megabyte_is_read_and_one_of_five_is_not() {
    let daemon = Daemon::start("large").await;
    let mut client = daemon.client().await;
    for (bytes, code) in [(1 << 20, Code::InvalidArgument), (5 << 20, Code::OutOfRange)] {
        let labels = [("sdp".to_owned(), "v".repeat(bytes))].into();
        let request = v1::CreateSessionRequest { session: "s".into(), labels };
        assert_eq!(client.create_session(request).await.unwrap_err().code(), code);
    }
    client.get_info(v1::GetInfoRequest {}).await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn requests_above_those_that_may_be_open_wait_and_are_served() {
    let daemon = limited(|limits| limits.concurrent_requests = Bounded(2)).await;
    let client = daemon.client().await;
    let mut watching = Vec::new();
    for _ in 0..2 {
        watching.push(client.clone().watch_events(v1::WatchEventsRequest::default()).await.unwrap());
    }
    let mut third = client.clone();
    let asked = tokio::spawn(async move { third.get_info(v1::GetInfoRequest {}).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!asked.is_finished(), "two are open");
    watching.pop();
    asked.await.unwrap().unwrap();
    drop(watching);
    daemon.stop().await;
}

#[tokio::test]
async fn a_call_that_comes_too_late_does_nothing() {
    let daemon = Daemon::start("late").await;
    let mut request = Request::new(v1::CreateSessionRequest { session: "late".into(), ..Default::default() });
    request.metadata_mut().insert("grpc-timeout", "0n".parse().unwrap());
    let status = daemon.client().await.create_session(request).await.unwrap_err();
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&status.code()), "{status:?}");
    daemon.session("marker").await;
    let sessions = daemon.client().await.list_sessions(v1::ListSessionsRequest::default()).await.unwrap();
    let ids: Vec<_> = sessions.into_inner().sessions.into_iter().map(|session| session.id).collect();
    assert_eq!(ids, ["marker"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_change_that_was_begun_goes_on_past_its_deadline() {
    let daemon = Daemon::start("begun").await;
    daemon.session("s").await;
    let leg = |index| v1::CreateLegRequest {
        session: "s".into(),
        leg: format!("l{index}"),
        config: Some(LegSpec::srtp().config),
    };
    let mut request = Request::new(v1::CreateLegsRequest { legs: (0..900).map(leg).collect() });
    request.set_timeout(Duration::from_millis(20));
    // In time on a fast machine, too late on others: the legs are there either way.
    let outcome = daemon.client().await.create_legs(request).await.map(drop);
    let all = daemon.eventually(|| async {
        let legs = daemon.legs("s").await.len();
        // Not one was made if it was too late before it began.
        (legs == 900 || (legs == 0 && outcome.is_err())).then_some(legs)
    });
    all.await;
    daemon.stop().await;
}
