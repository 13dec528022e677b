//! Sessions that move from worker to worker.

use sluice_proto::v1;
use sluice_proto::v1::Direction::{Inbound, Outbound};
use sluice_server::config::Workers;
use sluice_srtp::Suite;
use tonic::{Code, Status};

use crate::support::{Daemon, LegSpec, config, field_of, protected, receive, rtp, udp};

async fn start(name: &str) -> Daemon {
    let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
    let mut config = config(folder.path(), "io_uring");
    config.datapath.workers = Workers(sluice_datapath::WorkerCount::Exactly(2));
    config.media.shared_port = Some(sluice_server::config::Bounded(15_230));
    let daemon = Daemon::start_with(folder, config).await;
    daemon.session("s").await;
    daemon
}

async fn move_to(daemon: &Daemon, worker: u32) -> Result<v1::Session, Status> {
    let request = v1::MoveSessionRequest { session: "s".into(), worker };
    daemon.client().await.move_session(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_call_moves_under_running_media_and_back_again() {
    let daemon = start("moving").await;
    let (caller, callee) = (udp(), udp());
    let a = daemon.leg("s", "a", LegSpec::srtp().remote(&caller)).await.unwrap();
    daemon.leg("s", "b", LegSpec::srtp().remote(&callee)).await.unwrap();
    let suite = Suite::AesCm128HmacSha1_80.name();
    daemon.key("s", "a", "up", Inbound, suite, &[1; 30]).await.unwrap();
    daemon.key("s", "b", "down", Outbound, suite, &[2; 30]).await.unwrap();
    daemon.route("s", "r", "a", "b").await.unwrap();
    for sequence in 1..200_u16 {
        let packet = rtp(sequence, 7, 160);
        caller.send_to(&protected(&[1; 30], &packet), &a.local_rtp).unwrap();
        if sequence % 20 == 0 {
            // While the packet is on its way.
            let session = move_to(&daemon, u32::from(sequence / 20 % 2)).await.unwrap();
            assert_eq!(session.worker, u32::from(sequence / 20 % 2));
        }
        assert_eq!(receive(&callee), protected(&[2; 30], &packet), "{sequence}");
    }
    // All else goes on where the legs are.
    daemon.key("s", "b", "next", Outbound, suite, &[3; 30]).await.unwrap();
    let packet = rtp(300, 7, 160);
    caller.send_to(&protected(&[1; 30], &packet), &a.local_rtp).unwrap();
    assert_eq!(receive(&callee), protected(&[3; 30], &packet));
    let statistics = v1::GetStatisticsRequest { session: "s".into(), workers_only: false };
    let legs = daemon.client().await.get_statistics(statistics).await.unwrap().into_inner().legs;
    assert_eq!(legs.iter().map(|leg| (leg.received_rtp_packets, leg.sent_rtp_packets)).max(), Some((200, 0)));
    let request = v1::DeleteSessionRequest { session: "s".into() };
    assert!(daemon.client().await.delete_session(request).await.unwrap().into_inner().existed);
    daemon.stop().await;
}

#[tokio::test]
async fn a_session_that_cannot_move_stays() {
    let daemon = start("staying").await;
    assert_eq!(field_of(&move_to(&daemon, 2).await.unwrap_err()), "worker");
    let none = v1::MoveSessionRequest { session: "none".into(), worker: 1 };
    assert_eq!(daemon.client().await.move_session(none).await.unwrap_err().code(), Code::NotFound);
    let shared = LegSpec::srtp().with(|config| (config.shared_port, config.rtcp_mux) = (true, true));
    daemon.leg("s", "a", shared).await.unwrap();
    let home = daemon.client().await.get_session(v1::GetSessionRequest { session: "s".into() }).await;
    let home = home.unwrap().into_inner().worker;
    let refused = move_to(&daemon, 1 - home).await.unwrap_err();
    assert!(refused.message().contains("shared port"), "{refused:?}");
    assert_eq!(move_to(&daemon, home).await.unwrap().worker, home);
    daemon.stop().await;
}
