//! What becomes of a daemon that runs out of file descriptors. Limits are the process's: this test has
//! one of its own.

#[path = "api/support.rs"]
#[expect(dead_code, reason = "of a module for other tests")]
mod support;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_proto::v1;
use support::{Daemon, LegSpec};
use tonic::Code;

#[tokio::test]
async fn legs_leave_descriptors_to_the_api() {
    let (soft, hard) = (128, 256);
    setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: Some(hard) }).unwrap();
    let daemon = Daemon::start("descriptors").await;
    assert_eq!(getrlimit(Resource::Nofile).current, Some(hard), "raised as far as may be");
    daemon.session("s").await;
    let config = LegSpec::plain().config;
    let request = |leg: u64| v1::CreateLegRequest {
        session: "s".into(),
        leg: format!("l{leg}"),
        config: Some(config.clone()),
    };
    let legs = v1::CreateLegsRequest { legs: (0..hard).map(request).collect() };
    let results = daemon.client().await.create_legs(legs).await.unwrap().into_inner().results;
    let refused: Vec<_> = results
        .into_iter()
        .filter_map(|result| match result.result {
            Some(v1::leg_result::Result::Failure(failure)) => Some((failure.code, failure.reason)),
            _ => None,
        })
        .collect();
    assert!(!refused.is_empty() && refused.len() < hard as usize, "{}", refused.len());
    let exhausted = (Code::ResourceExhausted as i32, "NO_DESCRIPTORS".to_owned());
    assert!(refused.iter().all(|refusal| *refusal == exhausted), "{refused:?}");
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = daemon.client().await;
        client.get_info(v1::GetInfoRequest {}).await.unwrap();
        clients.push(client);
    }
    drop(clients);
    daemon.stop().await;
}
