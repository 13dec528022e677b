//! Legs that share one local port.

use std::net::UdpSocket;

use sluice_proto::v1;
use sluice_proto::v1::Direction::Inbound;
use sluice_srtp::Suite;

use crate::support::{Daemon, LegSpec, config, field_of, protected, receive, rtp, udp};

async fn start(name: &str, port: Option<u64>) -> Daemon {
    let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
    let mut config = config(folder.path(), "io_uring");
    config.media.shared_port = port.map(sluice_server::config::Bounded);
    let daemon = Daemon::start_with(folder, config).await;
    daemon.session("s").await;
    daemon
}

fn sharing() -> LegSpec {
    LegSpec::srtp().with(|config| (config.shared_port, config.rtcp_mux) = (true, true))
}

#[tokio::test]
async fn many_callers_on_one_port_are_told_apart_known_or_not() {
    let daemon = start("oneport", Some(15_210)).await;
    let listener = udp();
    daemon.leg("s", "listener", LegSpec::plain().remote(&listener)).await.unwrap();
    let suite = Suite::AesCm128HmacSha1_80.name();
    let callers: Vec<UdpSocket> = (0..6).map(|_| udp()).collect();
    for (n, caller) in callers.iter().enumerate() {
        // Every second one is behind a NAT: its address is not known.
        let spec = if n % 2 == 0 { sharing().remote(caller) } else { sharing() };
        let id = format!("caller-{n}");
        let leg = daemon.leg("s", &id, spec).await.unwrap();
        assert_eq!((leg.local_rtp.as_str(), leg.local_rtcp.as_str()), ("127.0.0.1:15210", "127.0.0.1:15210"));
        daemon.key("s", &id, "up", Inbound, suite, &[n as u8 + 1; 30]).await.unwrap();
        daemon.route("s", &id, &id, "listener").await.unwrap();
    }
    for sequence in 1..10 {
        for (n, caller) in callers.iter().enumerate() {
            // All of them have one SSRC.
            let packet = rtp(sequence, 7, 100 + n);
            caller.send_to(&protected(&[n as u8 + 1; 30], &packet), "127.0.0.1:15210").unwrap();
            assert_eq!(receive(&listener), packet);
        }
    }
    // What the worker has learnt comes to the API a moment later.
    let learnt = callers[1].local_addr().unwrap().to_string();
    daemon
        .eventually(async || {
            let legs = daemon.legs("s").await;
            legs.iter().any(|leg| leg.id == "caller-1" && leg.remote_in_use == learnt).then_some(())
        })
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_cannot_share_a_port_is_refused_by_field() {
    let daemon = start("noshare", Some(15_220)).await;
    let peer = udp();
    type Change<'a> = &'a dyn Fn(&mut v1::LegConfig);
    let cases: [(&str, Change<'_>); 6] = [
        ("rtcp_mux", &|config| config.rtcp_mux = false),
        ("local", &|config| config.local = "127.0.0.1:9999".into()),
        ("ice_ufrag", &|config| config.ice_ufrag = "a:b!".into()),
        ("ice_ufrag", &|config| config.ice_ufrag = "abc".into()),
        ("ssrcs", &|config| (config.ssrcs, config.max_streams) = (vec![1, 2], 1)),
        ("ssrcs", &|config| (config.shared_port, config.ssrcs) = (false, vec![1])),
    ];
    for (field, change) in cases {
        let refused = daemon.leg("s", "a", sharing().with(change)).await.unwrap_err();
        assert_eq!(field_of(&refused), field, "{refused:?}");
    }
    daemon.leg("s", "a", sharing().remote(&peer)).await.unwrap();
    let taken = daemon.leg("s", "b", sharing().remote(&peer)).await.unwrap_err();
    assert!(taken.message().contains("remote address of leg"), "{taken:?}");
    let again = daemon.leg("s", "a", sharing().remote(&peer)).await;
    assert!(again.is_ok(), "the same leg again");
    daemon.stop().await;

    let none = start("noport", None).await;
    let refused = none.leg("s", "a", sharing()).await.unwrap_err();
    assert!(refused.message().contains("no shared port"), "{refused:?}");
    none.stop().await;
}
