//! Keys: who may send under one, and what becomes of those that others replace.

use std::time::Duration;

use sluice_proto::v1;
use sluice_proto::v1::Direction::{Inbound, Outbound};
use tonic::Code;

use crate::support::{Daemon, LegSpec, protected, receive, rtp, udp};

const CM_80: &str = "AES_CM_128_HMAC_SHA1_80";
const CM_32: &str = "AES_CM_128_HMAC_SHA1_32";
const KEY: [u8; 30] = [9; 30];

async fn daemon_with_legs(name: &str, legs: &[&str]) -> Daemon {
    let daemon = Daemon::start(name).await;
    daemon.session("s").await;
    for leg in legs {
        daemon.leg("s", leg, LegSpec::srtp()).await.unwrap();
    }
    daemon
}

async fn delete_leg(daemon: &Daemon, leg: &str) {
    let request = v1::DeleteLegRequest { session: "s".into(), leg: leg.into() };
    assert!(daemon.client().await.delete_leg(request).await.unwrap().into_inner().existed);
}

async fn rekey(daemon: &Daemon, key: &str, direction: v1::Direction, material: u8, grace: u32) {
    let mut new = Daemon::install("a", direction, vec![material; 30]);
    new.key = key.into();
    let request = v1::RekeyRequest { keys: vec![new], grace_milliseconds: grace };
    let results = daemon.client().await.rekey(request).await.unwrap().into_inner().results;
    assert!(matches!(results[0].result, Some(v1::key_result::Result::Key(_))), "{results:?}");
}

/// Id and whether it is retiring, of each key of leg a.
async fn keys(daemon: &Daemon) -> Vec<(String, bool)> {
    let request = v1::ListKeysRequest { session: "s".into(), leg: "a".into() };
    let legs = daemon.client().await.list_keys(request).await.unwrap().into_inner().legs;
    legs[0].keys.iter().map(|key| (key.id.clone(), key.retiring)).collect()
}

#[tokio::test]
async fn a_key_is_free_for_another_sender_only_when_its_sender_is_gone() {
    let daemon = daemon_with_legs("free", &["receives", "sends", "wants"]).await;
    daemon.key("s", "receives", "k", Inbound, CM_80, &KEY).await.unwrap();
    daemon.key("s", "sends", "k", Outbound, CM_80, &KEY).await.unwrap();
    let wanted = || daemon.key("s", "wants", "k", Outbound, CM_80, &KEY);
    assert_eq!(wanted().await.unwrap_err().reason, "KEY_IN_USE");
    delete_leg(&daemon, "receives").await;
    assert_eq!(wanted().await.unwrap_err().reason, "KEY_IN_USE", "the sender is still there");
    delete_leg(&daemon, "sends").await;
    wanted().await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn two_suites_of_one_keystream_are_one_key() {
    let daemon = daemon_with_legs("keystream", &["a", "b"]).await;
    daemon.key("s", "a", "k", Outbound, CM_80, &KEY).await.unwrap();
    let error = daemon.key("s", "b", "k", Outbound, CM_32, &KEY).await.unwrap_err();
    assert_eq!((error.reason.as_str(), error.field.as_str()), ("KEY_IN_USE", "key_salt"));
    assert!(error.message.contains("\"a\""), "{}", error.message);
    daemon.stop().await;
}

#[tokio::test]
async fn a_key_that_differs_in_anything_is_another() {
    let daemon = daemon_with_legs("differs", &["a"]).await;
    let install = |change: fn(&mut v1::KeyInstall)| {
        let mut key = Daemon::install("a", Inbound, KEY.to_vec());
        change(&mut key);
        key
    };
    let keys = vec![
        install(|_| ()),
        install(|_| ()),
        install(|key| key.suite = CM_32.into()),
        install(|key| key.key_salt[0] = 1),
        install(|key| key.mki = vec![1]),
        install(|key| key.lifetime_rtp_packets = 1000),
        install(|key| key.lifetime_rtcp_packets = 1000),
        install(|key| key.key_derivation_rate = 16),
        install(|key| key.unencrypted_rtp = true),
        install(|key| key.unencrypted_rtcp = true),
        install(|key| key.unauthenticated_rtp = true),
        install(|key| key.encrypted_extensions = vec![3]),
        install(|key| key.cryptex = v1::Cryptex::On.into()),
        install(|key| {
            key.roc_carrying = Some(v1::RocCarrying { mode: 2, rate: 1, tag_length: 0 });
        }),
        install(|key| key.packet_indices = Some(v1::PacketIndices { from: 0, to: 9 })),
        install(|key| key.direction = Outbound.into()),
    ];
    let request = v1::InstallKeysRequest { keys };
    let results = daemon.client().await.install_keys(request).await.unwrap().into_inner().results;
    let said: Vec<_> = results
        .into_iter()
        .map(|result| match result.result {
            Some(v1::key_result::Result::Failure(failure)) => {
                assert_eq!(failure.code, Code::AlreadyExists as i32);
                failure.field
            }
            _ => "fine".to_owned(),
        })
        .collect();
    let expected = [
        "fine",
        "fine",
        "suite",
        "key_salt",
        "mki",
        "lifetime_rtp_packets",
        "lifetime_rtcp_packets",
        "key_derivation_rate",
        "unencrypted_rtp",
        "unencrypted_rtcp",
        "unauthenticated_rtp",
        "encrypted_extensions",
        "cryptex",
        "roc_carrying",
        "packet_indices",
        "fine",
    ];
    assert_eq!(said, expected);
    daemon.stop().await;
}

#[tokio::test]
async fn a_rekey_that_is_repeated_late_does_not_end_the_key_after_it() {
    let daemon = daemon_with_legs("late", &["a"]).await;
    rekey(&daemon, "k1", Inbound, 1, 60_000).await;
    rekey(&daemon, "k2", Inbound, 2, 60_000).await;
    rekey(&daemon, "k1", Inbound, 1, 60_000).await;
    assert_eq!(keys(&daemon).await, [("k1".to_owned(), true), ("k2".to_owned(), false)]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_key_that_is_installed_again_in_its_grace_period_stays() {
    let daemon = daemon_with_legs("again", &["a"]).await;
    rekey(&daemon, "k1", Inbound, 1, 0).await;
    rekey(&daemon, "k2", Inbound, 2, 300).await;
    let again = daemon.key("s", "a", "k1", Inbound, CM_80, &[1; 30]).await.unwrap();
    assert!(!again.retiring);
    // The grace period of its next replacement is its own, not what was left of the first.
    rekey(&daemon, "k3", Inbound, 3, 60_000).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let expected =
        [("k1", true), ("k2", true), ("k3", false)].map(|(id, retiring)| (id.to_owned(), retiring));
    assert_eq!(keys(&daemon).await, expected);
    daemon.stop().await;
}

#[tokio::test]
async fn a_key_that_takes_the_id_of_a_replaced_one_outlives_its_grace() {
    let daemon = daemon_with_legs("reused", &["a"]).await;
    rekey(&daemon, "k1", Inbound, 1, 0).await;
    rekey(&daemon, "k2", Inbound, 2, 200).await;
    let key =
        v1::KeyRef { session: "s".into(), leg: "a".into(), key: "k1".into(), direction: Inbound.into() };
    let request = v1::RetireKeysRequest { keys: vec![key] };
    daemon.client().await.retire_keys(request).await.unwrap();
    daemon.key("s", "a", "k1", Inbound, CM_80, &[3; 30]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(keys(&daemon).await, [("k2".to_owned(), false), ("k1".to_owned(), false)]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_key_for_sending_is_replaced_at_once() {
    let daemon = daemon_with_legs("at-once", &["a", "b"]).await;
    rekey(&daemon, "k1", Outbound, 1, 60_000).await;
    rekey(&daemon, "k2", Outbound, 2, 60_000).await;
    assert_eq!(keys(&daemon).await, [("k2".to_owned(), false)]);
    daemon.key("s", "b", "k", Outbound, CM_80, &[1; 30]).await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn a_rekey_for_sending_that_is_repeated_late_is_refused_and_media_goes_on() {
    let daemon = daemon_with_legs("late-sending", &["a"]).await;
    let (sender, receiver) = (udp(), udp());
    let from = daemon.leg("s", "from", LegSpec::plain().remote(&sender)).await.unwrap();
    let remote = receiver.local_addr().unwrap().to_string();
    let request = v1::UpdateLegRequest {
        session: "s".into(),
        leg: "a".into(),
        remote: Some(remote),
        ..Default::default()
    };
    daemon.client().await.update_leg(request).await.unwrap();
    daemon.route("s", "r", "from", "a").await.unwrap();
    rekey(&daemon, "k1", Outbound, 1, 0).await;
    for sequence in 1..=3 {
        sender.send_to(&rtp(sequence, 7, 20), &from.local_rtp).unwrap();
    }
    for sequence in 1..=3 {
        assert_eq!(receive(&receiver), protected(&[1; 30], &rtp(sequence, 7, 20)));
    }
    rekey(&daemon, "k2", Outbound, 2, 0).await;
    let mut late = Daemon::install("a", Outbound, vec![1; 30]);
    late.key = "k1".into();
    let request = v1::RekeyRequest { keys: vec![late], grace_milliseconds: 0 };
    let results = daemon.client().await.rekey(request).await.unwrap().into_inner().results;
    let Some(v1::key_result::Result::Failure(failure)) = &results[0].result else { panic!("{results:?}") };
    assert_eq!((failure.reason.as_str(), failure.field.as_str()), ("KEY_SPENT", "key_salt"));
    assert_eq!(keys(&daemon).await, [("k2".to_owned(), false)]);
    sender.send_to(&rtp(4, 7, 20), &from.local_rtp).unwrap();
    assert_eq!(receive(&receiver), protected(&[2; 30], &rtp(4, 7, 20)));
    daemon.stop().await;
}

#[tokio::test]
async fn a_key_for_sending_that_another_replaced_is_not_shown_as_in_use() {
    let daemon = daemon_with_legs("superseded", &["a"]).await;
    for (key, material) in [("k1", 1), ("k2", 2)] {
        daemon.key("s", "a", key, Outbound, CM_80, &[material; 30]).await.unwrap();
    }
    assert_eq!(keys(&daemon).await, [("k1".to_owned(), true), ("k2".to_owned(), false)]);
    let key =
        v1::KeyRef { session: "s".into(), leg: "a".into(), key: "k2".into(), direction: Outbound.into() };
    daemon.client().await.retire_keys(v1::RetireKeysRequest { keys: vec![key] }).await.unwrap();
    assert_eq!(keys(&daemon).await, [("k1".to_owned(), true)], "nothing is sent under it");
    daemon.stop().await;
}

#[tokio::test]
async fn keys_that_a_leg_cannot_take_leave_nothing_behind() {
    let daemon = daemon_with_legs("plain", &["b"]).await;
    daemon.leg("s", "a", LegSpec::plain()).await.unwrap();
    let error = daemon.key("s", "a", "k", Outbound, CM_80, &KEY).await.unwrap_err();
    assert_eq!((error.reason.as_str(), error.field.as_str()), ("LEG_IS_PLAIN", "direction"));
    assert_eq!(error.code, Code::FailedPrecondition as i32);
    assert!(keys(&daemon).await.is_empty());
    daemon.key("s", "b", "k", Outbound, CM_80, &KEY).await.unwrap();
    let unknown = daemon.key("s", "nobody", "k", Outbound, CM_80, &[8; 30]).await.unwrap_err();
    assert_eq!((unknown.code, unknown.field.as_str()), (Code::NotFound as i32, "leg"));
    daemon.stop().await;
}

#[tokio::test]
async fn what_stands_in_a_batch_twice_fails_twice() {
    let daemon = daemon_with_legs("repeated", &["b"]).await;
    daemon.leg("s", "a", LegSpec::plain()).await.unwrap();
    let install = || Daemon::install("a", Outbound, KEY.to_vec());
    let request = v1::InstallKeysRequest { keys: vec![install(), install()] };
    let results = daemon.client().await.install_keys(request).await.unwrap().into_inner().results;
    let reason = |result: &v1::KeyResult| match &result.result {
        Some(v1::key_result::Result::Failure(failure)) => failure.reason.clone(),
        _ => String::new(),
    };
    assert_eq!(results.iter().map(reason).collect::<Vec<_>>(), ["LEG_IS_PLAIN"; 2]);
    daemon.route("s", "r1", "a", "b").await.unwrap();
    let route = || v1::Route {
        session: "s".into(),
        id: "r2".into(),
        from: "a".into(),
        to: "b".into(),
        ..Default::default()
    };
    let request = v1::CreateRoutesRequest { routes: vec![route(), route()] };
    let results = daemon.client().await.create_routes(request).await.unwrap().into_inner().results;
    let reason = |result: &v1::RouteResult| match &result.result {
        Some(v1::route_result::Result::Failure(failure)) => failure.reason.clone(),
        _ => String::new(),
    };
    assert_eq!(results.iter().map(reason).collect::<Vec<_>>(), ["ROUTE_DUPLICATE"; 2]);
    daemon.stop().await;
}
