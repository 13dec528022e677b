//! One caller, many listeners: routes that map, pause and select, and a key that legs share.

use sluice_proto::v1;
use sluice_proto::v1::Direction::{Inbound, Outbound};
use sluice_srtp::Suite;

use crate::support::{Daemon, LegSpec, field_of, protected, receive, rtp, silent, udp};

const SSRC: u32 = 7;

fn route(id: &str, to: &str) -> v1::Route {
    v1::Route { session: "s".into(), id: id.into(), from: "a".into(), to: to.into(), ..Default::default() }
}

async fn update(daemon: &Daemon, route: v1::Route) -> Result<v1::Route, tonic::Status> {
    let request = v1::UpdateRouteRequest { route: Some(route) };
    daemon.client().await.update_route(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn what_one_sends_to_legs_that_share_a_key_is_the_same_to_the_octet() {
    let daemon = Daemon::start("shared").await;
    daemon.session("s").await;
    daemon.session("t").await;
    let (caller, bob, carol, dave) = (udp(), udp(), udp(), udp());
    let a = daemon.leg("s", "a", LegSpec::srtp().remote(&caller)).await.unwrap();
    let up = [1; 30];
    let suite = Suite::AesCm128HmacSha1_80.name();
    daemon.key("s", "a", "up", Inbound, suite, &up).await.unwrap();
    let shared = |leg: &str, change: &dyn Fn(&mut v1::KeyInstall)| {
        let mut install = v1::KeyInstall { shared: true, ..Daemon::install(leg, Outbound, vec![9; 30]) };
        change(&mut install);
        v1::InstallKeysRequest { keys: vec![install] }
    };
    let install = async |request: v1::InstallKeysRequest| {
        let results = daemon.client().await.install_keys(request).await.unwrap().into_inner().results;
        match results.into_iter().next().and_then(|result| result.result) {
            Some(v1::key_result::Result::Failure(failure)) => Err((failure.reason, failure.field)),
            _ => Ok(()),
        }
    };
    for (leg, socket) in [("b", &bob), ("c", &carol)] {
        daemon.leg("s", leg, LegSpec::srtp().remote(socket)).await.unwrap();
        install(shared(leg, &|_| ())).await.unwrap();
        daemon.route("s", leg, "a", leg).await.unwrap();
    }
    daemon.leg("s", "d", LegSpec::srtp().remote(&dave)).await.unwrap();
    daemon.leg("t", "d", LegSpec::srtp()).await.unwrap();
    let in_use = Err(("KEY_IN_USE".into(), "key_salt".into()));
    assert_eq!(install(shared("d", &|key| key.shared = false)).await, in_use, "it has to say so");
    assert_eq!(install(shared("d", &|key| key.session = "t".into())).await, in_use, "another session");
    let differs = install(shared("d", &|key| key.mki = vec![1])).await.unwrap_err();
    assert_eq!(differs.1, "mki", "one packet cannot have two shapes");
    install(shared("d", &|_| ())).await.unwrap();
    daemon.route("s", "d", "a", "d").await.unwrap();

    for sequence in 1..20 {
        caller.send_to(&protected(&up, &rtp(sequence, SSRC, 160)), &a.local_rtp).unwrap();
        let expected = protected(&[9; 30], &rtp(sequence, SSRC, 160));
        for listener in [&bob, &carol, &dave] {
            assert_eq!(receive(listener), expected);
        }
    }
    let statistics = v1::GetStatisticsRequest { session: String::new(), workers_only: true };
    let workers = daemon.client().await.get_statistics(statistics).await.unwrap().into_inner().workers;
    assert_eq!(workers.iter().map(|worker| worker.egress_contexts).sum::<u64>(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn routes_are_updated_under_running_media() {
    let daemon = Daemon::start("update").await;
    daemon.session("s").await;
    let (caller, bob) = (udp(), udp());
    let a = daemon.leg("s", "a", LegSpec::srtp().remote(&caller)).await.unwrap();
    daemon.leg("s", "b", LegSpec::plain().remote(&bob)).await.unwrap();
    let up = [1; 30];
    daemon.key("s", "a", "up", Inbound, Suite::AesCm128HmacSha1_80.name(), &up).await.unwrap();
    daemon.route("s", "r", "a", "b").await.unwrap();
    let mut sequence = 0;
    let mut send = || {
        sequence += 1;
        let packet = rtp(sequence, SSRC, 160);
        caller.send_to(&protected(&up, &packet), &a.local_rtp).unwrap();
        packet
    };
    let packet = send();
    assert_eq!(receive(&bob), packet);

    let mapped = v1::Route {
        ssrc_map: vec![v1::SsrcMapping { from: SSRC, to: 70 }],
        payload_type_map: vec![v1::ValueMapping { from: 0, to: 8 }],
        only: Some(v1::SsrcList { values: vec![SSRC] }),
        ..route("r", "")
    };
    let told = update(&daemon, mapped.clone()).await.unwrap();
    assert_eq!((told.from.as_str(), told.to.as_str()), ("a", "b"), "the legs stay");
    let mut expected = send();
    expected[1] = 8;
    expected[8..12].copy_from_slice(&70_u32.to_be_bytes());
    assert_eq!(receive(&bob), expected);
    let listed = daemon.client().await.list_routes(v1::ListRoutesRequest { session: "s".into() }).await;
    assert_eq!(listed.unwrap().into_inner().routes, [told]);

    update(&daemon, v1::Route { paused: true, ..route("r", "b") }).await.unwrap();
    send();
    assert!(silent(&bob));
    update(&daemon, v1::Route { only: Some(v1::SsrcList::default()), ..route("r", "b") }).await.unwrap();
    send();
    assert!(silent(&bob));
    let drops = daemon.drops("b").await;
    assert_eq!(drops, [("route_paused".into(), 1), ("not_selected".into(), 1)]);
    update(&daemon, route("r", "b")).await.unwrap();
    let packet = send();
    assert_eq!(receive(&bob), packet);
    daemon.stop().await;
}

#[tokio::test]
async fn choices_that_cannot_be_are_refused_by_field_and_change_nothing() {
    let daemon = Daemon::start("choices").await;
    daemon.session("s").await;
    daemon.leg("s", "a", LegSpec::plain()).await.unwrap();
    daemon.leg("s", "b", LegSpec::plain()).await.unwrap();
    daemon.route("s", "r", "a", "b").await.unwrap();
    let value = |from, to| vec![v1::ValueMapping { from, to }];
    let ssrc = |from, to| v1::SsrcMapping { from, to };
    let cases = [
        ("from", v1::Route { from: "b".into(), ..route("r", "b") }),
        ("to", route("r", "a")),
        ("id", route("q", "b")),
        ("payload_type_map", v1::Route { payload_type_map: value(96, 256), ..route("r", "b") }),
        ("payload_type_map", v1::Route { payload_type_map: value(96, 72), ..route("r", "b") }),
        ("extension_map", v1::Route { extension_map: value(0, 1), ..route("r", "b") }),
        ("ssrc_map", v1::Route { ssrc_map: vec![ssrc(1, 3), ssrc(2, 3)], ..route("r", "b") }),
        ("only", v1::Route { only: Some(v1::SsrcList { values: vec![0; 1025] }), ..route("r", "b") }),
    ];
    for (field, wrong) in cases {
        let refused = update(&daemon, wrong.clone()).await.unwrap_err();
        if field != "id" {
            assert_eq!(field_of(&refused), field, "{wrong:?}");
        }
        let request = v1::UpdateRoutesRequest { routes: vec![wrong, route("r", "b")] };
        let results = daemon.client().await.update_routes(request).await.unwrap().into_inner().results;
        let told = results.into_iter().map(|result| result.result.unwrap());
        let ok = told.map(|result| matches!(result, v1::route_result::Result::Route(_)));
        assert_eq!(ok.collect::<Vec<_>>(), [false, true], "{field}");
    }
    let again = v1::Route { paused: true, ..route("r", "b") };
    let again = daemon.client().await.create_route(v1::CreateRouteRequest { route: Some(again) }).await;
    assert!(again.unwrap_err().message().contains("paused"), "another route of this name");
    daemon.stop().await;
}
