//! Legs that change, and early media, through the API.

use sluice_proto::v1;
use sluice_proto::v1::Direction::{Inbound, Outbound};
use sluice_proto::v1::{EarlyMedia, EarlyMediaMode, Protection, UpdateLegRequest};

use crate::support::*;

const CM_80: &str = "AES_CM_128_HMAC_SHA1_80";

fn update(leg: &str) -> UpdateLegRequest {
    UpdateLegRequest { session: "s".into(), leg: leg.into(), ..Default::default() }
}

fn hold(packets: u32, milliseconds: u32) -> EarlyMedia {
    EarlyMedia { mode: EarlyMediaMode::Hold.into(), packets, milliseconds }
}

async fn change(daemon: &Daemon, request: UpdateLegRequest) -> Result<v1::Leg, tonic::Status> {
    Ok(daemon.client().await.update_leg(request).await?.into_inner())
}

#[tokio::test]
async fn a_direction_that_becomes_plain_loses_its_keys_and_another_leg_may_send_under_them() {
    let daemon = Daemon::start("plain").await;
    daemon.session("s").await;
    for leg in ["a", "b"] {
        daemon.leg("s", leg, LegSpec::srtp()).await.unwrap();
    }
    for direction in [Inbound, Outbound] {
        daemon.key("s", "a", "k", direction, CM_80, &[1; 30]).await.unwrap();
    }
    let plain = Some(Protection::Plain.into());
    let leg = change(&daemon, UpdateLegRequest { outbound: plain, ..update("a") }).await.unwrap();
    let directions: Vec<_> = leg.keys.iter().map(v1::Key::direction).collect();
    assert_eq!((directions, leg.config.unwrap().outbound()), (vec![Inbound], Protection::Plain));
    daemon.key("s", "b", "k", Outbound, CM_80, &[1; 30]).await.unwrap();
    let refused = daemon.key("s", "a", "k", Outbound, CM_80, &[2; 30]).await.unwrap_err();
    assert_eq!(refused.reason, "LEG_IS_PLAIN");
    let srtp = Some(Protection::Srtp.into());
    let leg =
        change(&daemon, UpdateLegRequest { inbound: plain, outbound: srtp, ..update("a") }).await.unwrap();
    assert!(leg.keys.is_empty());
    daemon.key("s", "a", "k", Outbound, CM_80, &[2; 30]).await.unwrap();
    let taken = daemon.key("s", "a", "l", Outbound, CM_80, &[1; 30]).await.unwrap_err();
    assert_eq!(taken.reason, "KEY_IN_USE");
    daemon.stop().await;
}

#[tokio::test]
async fn what_an_update_names_is_changed_and_what_it_cannot_change_is_named() {
    let daemon = Daemon::start("named").await;
    daemon.session("s").await;
    let mut spec = LegSpec::srtp();
    spec.config.rtcp_mux = false;
    let before = daemon.leg("s", "a", spec).await.unwrap();
    assert_ne!(before.local_rtp, before.local_rtcp);
    let request = UpdateLegRequest {
        remote: Some("192.0.2.9:4000".into()),
        remote_rtcp: Some("192.0.2.9:5000".into()),
        early_media: Some(hold(64, 500)),
        latching: Some(v1::Latching::SignalledOnly.into()),
        replay_window: Some(1024),
        max_streams: Some(3),
        ..update("a")
    };
    let config = change(&daemon, request).await.unwrap().config.unwrap();
    assert_eq!((config.early_media, config.latching()), (Some(hold(64, 500)), v1::Latching::SignalledOnly));
    assert_eq!((config.replay_window, config.max_streams), (1024, 3));
    let muxed = change(&daemon, UpdateLegRequest { rtcp_mux: Some(true), ..update("a") }).await.unwrap();
    assert_eq!(muxed.local_rtcp, muxed.local_rtp);
    assert_eq!(muxed.config.unwrap().remote_rtcp, "", "it is that of RTP");
    for (request, field) in [
        (UpdateLegRequest { inbound: Some(0), ..update("a") }, "inbound"),
        (UpdateLegRequest { outbound: Some(9), ..update("a") }, "outbound"),
        (UpdateLegRequest { early_media: Some(hold(1025, 0)), ..update("a") }, "early_media"),
        (UpdateLegRequest { early_media: Some(hold(0, 10_001)), ..update("a") }, "early_media"),
        (
            UpdateLegRequest {
                early_media: Some(EarlyMedia {
                    mode: EarlyMediaMode::Plain.into(),
                    packets: 1,
                    milliseconds: 0,
                }),
                ..update("a")
            },
            "early_media",
        ),
        (UpdateLegRequest { replay_window: Some(63), ..update("a") }, "replay_window"),
        (UpdateLegRequest { max_streams: Some(65_536), ..update("a") }, "max_streams"),
        (UpdateLegRequest { remote_rtcp: Some("192.0.2.9:5000".into()), ..update("a") }, "remote_rtcp"),
    ] {
        let status = change(&daemon, request).await.unwrap_err();
        assert_eq!(field_of(&status), field, "{status:?}");
    }
    let mut muxed = LegSpec::srtp();
    muxed.config.rtcp_mux = true;
    daemon.leg("s", "mux", muxed).await.unwrap();
    let status =
        change(&daemon, UpdateLegRequest { rtcp_mux: Some(false), ..update("mux") }).await.unwrap_err();
    assert_eq!(field_of(&status), "rtcp_mux", "{status:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn all_keys_of_a_request_are_there_before_early_media_plays_out() {
    let daemon = Daemon::start("early").await;
    daemon.session("s").await;
    let (caller, listener) = (udp(), udp());
    let mut spec = LegSpec::srtp().remote(&caller);
    spec.config.early_media = Some(hold(0, 0));
    let leg = daemon.leg("s", "a", spec).await.unwrap();
    daemon.leg("s", "b", LegSpec::plain().remote(&listener)).await.unwrap();
    daemon.route("s", "r", "a", "b").await.unwrap();
    // The peer's first packets are under its second key.
    let wanted: Vec<_> = (1..=3).map(|sequence| rtp(sequence, 7, 20)).collect();
    for packet in &wanted {
        caller.send_to(&protected(&[2; 30], packet), &leg.local_rtp).unwrap();
    }
    let held = || async {
        let request = v1::GetStatisticsRequest { session: "s".into(), workers_only: false };
        let legs = daemon.client().await.get_statistics(request).await.unwrap().into_inner().legs;
        let early = legs.into_iter().find(|leg| leg.leg == "a").and_then(|leg| leg.early_media);
        early.filter(|early| early.held == 3)
    };
    daemon.eventually(held).await;
    let keys = [(1, "k1"), (2, "k2")].map(|(seed, key)| v1::KeyInstall {
        key: key.into(),
        ..Daemon::install("a", Inbound, vec![seed; 30])
    });
    let request = v1::InstallKeysRequest { keys: keys.into() };
    daemon.client().await.install_keys(request).await.unwrap();
    for packet in wanted {
        assert_eq!(receive(&listener), packet);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_key_with_another_roc_is_another_key() {
    let daemon = Daemon::start("roc").await;
    daemon.session("s").await;
    daemon.leg("s", "a", LegSpec::srtp()).await.unwrap();
    let results = |roc: i32| {
        let keys = vec![v1::KeyInstall { roc, ..Daemon::install("a", Inbound, vec![1; 30]) }];
        let daemon = &daemon;
        async move {
            let request = v1::InstallKeysRequest { keys };
            let answer = daemon.client().await.install_keys(request).await.unwrap().into_inner();
            answer.results.into_iter().next().and_then(|result| result.result).unwrap()
        }
    };
    let reset = v1::RocOnRekey::Reset.into();
    for _ in 0..2 {
        assert!(matches!(results(reset).await, v1::key_result::Result::Key(_)));
    }
    for (roc, reason) in [(v1::RocOnRekey::Keep.into(), "EXISTS"), (9, "INVALID_FIELD")] {
        let v1::key_result::Result::Failure(failure) = results(roc).await else { panic!("{roc}") };
        assert_eq!((failure.field.as_str(), failure.reason.as_str()), ("roc", reason));
    }
    daemon.stop().await;
}
