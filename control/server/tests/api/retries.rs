//! Calls that are repeated, as clients do whose answer was lost.

use std::time::Duration;

use sluice_proto::v1;

use crate::support::{Daemon, LegSpec};

/// Makes a call twice over two connections, and compares the answers.
macro_rules! twice {
    ($daemon:expr, $method:ident, $request:expr) => {{
        let request = $request;
        let first = $daemon.client().await.$method(request.clone()).await.unwrap().into_inner();
        let second = $daemon.client().await.$method(request).await.unwrap().into_inner();
        (first, second)
    }};
}

/// The same with the same answer.
macro_rules! same {
    ($daemon:expr, $method:ident, $request:expr) => {{
        let (first, second) = twice!($daemon, $method, $request);
        assert_eq!(first, second, stringify!($method));
        first
    }};
}

fn leg(id: &str, config: v1::LegConfig) -> v1::CreateLegRequest {
    v1::CreateLegRequest { session: "s".into(), leg: id.into(), config: Some(config) }
}

fn route(id: &str, from: &str, to: &str) -> v1::Route {
    v1::Route { session: "s".into(), id: id.into(), from: from.into(), to: to.into(), ..Default::default() }
}

fn all_are_keys(results: &[v1::KeyResult]) -> bool {
    results.iter().all(|result| matches!(result.result, Some(v1::key_result::Result::Key(_))))
}

#[tokio::test]
async fn every_change_can_be_repeated() {
    let daemon = Daemon::start("repeated").await;
    let session = "s".to_owned();
    let labels = [("a".to_owned(), "b".to_owned())].into();
    same!(daemon, create_session, v1::CreateSessionRequest { session: session.clone(), labels });
    same!(daemon, create_leg, leg("a", LegSpec::srtp().config));
    let ring = LegSpec::plain().with(|config| config.ring = true).config;
    let ring = same!(daemon, create_leg, leg("ring", ring));
    assert!(!ring.ring_token.is_empty());
    let legs = ["b", "c"].map(|id| leg(id, LegSpec::srtp().config)).to_vec();
    same!(daemon, create_legs, v1::CreateLegsRequest { legs });
    let update = v1::UpdateLegRequest {
        session: session.clone(),
        leg: "a".into(),
        remote: Some("127.0.0.1:9".into()),
        dscp: Some(46),
        ..Default::default()
    };
    same!(daemon, update_leg, update);
    same!(daemon, create_route, v1::CreateRouteRequest { route: Some(route("ab", "a", "b")) });
    same!(daemon, create_routes, v1::CreateRoutesRequest { routes: vec![route("ac", "a", "c")] });
    let paused = v1::Route { paused: true, ..route("ab", "a", "b") };
    same!(daemon, update_route, v1::UpdateRouteRequest { route: Some(paused.clone()) });
    same!(daemon, update_routes, v1::UpdateRoutesRequest { routes: vec![paused] });
    let both = [v1::Direction::Inbound, v1::Direction::Outbound];
    let keys = both.map(|direction| Daemon::install("a", direction, vec![direction as u8; 30])).to_vec();
    let installed = same!(daemon, install_keys, v1::InstallKeysRequest { keys });
    assert!(all_are_keys(&installed.results));
    let mut next = Daemon::install("a", v1::Direction::Inbound, vec![9; 30]);
    next.key = "next".into();
    let rekeyed = same!(daemon, rekey, v1::RekeyRequest { keys: vec![next], grace_milliseconds: 60_000 });
    assert!(all_are_keys(&rekeyed.results));
    let stream = v1::StreamPosition {
        direction: v1::Direction::Inbound.into(),
        ssrc: 7,
        rtp_index: Some(70_000),
        ..Default::default()
    };
    let positions = v1::Positions { session: session.clone(), leg: "a".into(), streams: vec![stream] };
    same!(daemon, import_positions, positions);
    same!(daemon, move_session, v1::MoveSessionRequest { session: session.clone(), worker: 0 });
    // What is to be gone is gone; only the first one finds it.
    let key = v1::KeyRef {
        session: session.clone(),
        leg: "a".into(),
        key: "next".into(),
        direction: v1::Direction::Inbound.into(),
    };
    let (first, second) = twice!(daemon, retire_keys, v1::RetireKeysRequest { keys: vec![key] });
    let (id, direction) = ("next".to_owned(), v1::Direction::Inbound.into());
    let nothing = v1::Key { id, direction, ..Default::default() };
    let was = v1::Key { suite: "AES_CM_128_HMAC_SHA1_80".into(), ..nothing.clone() };
    for (retired, expected) in [(first, was), (second, nothing)] {
        let retired = retired.results.into_iter().map(|result| result.result);
        assert!(retired.eq([Some(v1::key_result::Result::Key(expected))]));
    }
    let delete = v1::DeleteRouteRequest { session: session.clone(), route: "ab".into() };
    let (first, second) = twice!(daemon, delete_route, delete);
    assert!(first.existed && !second.existed);
    let (first, second) =
        twice!(daemon, delete_leg, v1::DeleteLegRequest { session: session.clone(), leg: "c".into() });
    assert!(first.existed && !second.existed);
    let (first, second) = twice!(daemon, delete_session, v1::DeleteSessionRequest { session });
    assert!(first.existed && !second.existed);
    daemon.stop().await;
}

#[tokio::test]
async fn a_client_that_is_cut_off_in_the_middle_gets_what_it_wanted_by_repeating() {
    let daemon = Daemon::start("cut").await;
    daemon.session("s").await;
    let config = LegSpec::srtp().config;
    let legs: Vec<_> = (0..900).map(|index| leg(&format!("l{index}"), config.clone())).collect();
    let request = v1::CreateLegsRequest { legs };
    for wait in [0, 1, 3, 10] {
        let mut client = daemon.client().await;
        let request = request.clone();
        let call = tokio::spawn(async move { client.create_legs(request).await.map(drop) });
        tokio::time::sleep(Duration::from_millis(wait)).await;
        // The connection goes with the client.
        call.abort();
    }
    let answer = daemon.client().await.create_legs(request.clone()).await.unwrap().into_inner();
    let made = |result: &v1::LegResult| matches!(result.result, Some(v1::leg_result::Result::Leg(_)));
    assert!(answer.results.len() == 900 && answer.results.iter().all(made));
    let again = daemon.client().await.create_legs(request).await.unwrap().into_inner();
    assert_eq!(answer, again, "each has the ports that it got the first time");
    assert_eq!(daemon.legs("s").await.len(), 900);
    daemon.stop().await;
}
