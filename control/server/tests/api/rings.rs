//! Legs whose peers are local applications.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sluice_mixer_client::{Lost, Ring};
use sluice_proto::v1;
use sluice_proto::v1::Direction::{Inbound, Outbound};
use tokio::task::spawn_blocking;
use tonic::Code;

use crate::SUITE;
use crate::support::{Daemon, LegSpec, config, field_of, protected, receive, rtp, silent, udp};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

fn ring() -> LegSpec {
    LegSpec::plain().with(|config| config.ring = true)
}

/// A leg "r" with a ring; its token.
async fn start(name: &str) -> (Daemon, String) {
    let daemon = Daemon::start(name).await;
    daemon.session("s").await;
    let leg = daemon.leg("s", "r", ring()).await.unwrap();
    (daemon, leg.ring_token)
}

async fn take(daemon: &Daemon, leg: &str, token: &str) -> Result<Ring, String> {
    let (socket, leg, token) = (daemon.rings(), leg.to_owned(), token.to_owned());
    let taken = spawn_blocking(move || Ring::connect(&socket, "s", &leg, &token)).await.unwrap();
    taken.map_err(|error| error.to_string())
}

/// The next packets on a ring, which are waited for.
async fn heard(mut ring: Ring, count: usize) -> (Ring, Vec<Vec<u8>>) {
    spawn_blocking(move || {
        let mut packets = Vec::new();
        while packets.len() < count {
            assert!(ring.wait(PATIENCE).unwrap(), "{} of {count} came", packets.len());
            ring.receive(64, |packet| packets.push(packet.to_vec())).unwrap();
        }
        (ring, packets)
    })
    .await
    .unwrap()
}

async fn lost(mut ring: Ring) -> bool {
    spawn_blocking(move || matches!(ring.wait(PATIENCE), Err(Lost::Ended))).await.unwrap()
}

async fn statistics(daemon: &Daemon) -> v1::RingStatistics {
    let request = v1::GetStatisticsRequest { session: "s".into(), workers_only: false };
    let legs = daemon.client().await.get_statistics(request).await.unwrap().into_inner().legs;
    legs.into_iter().find_map(|leg| leg.ring).expect("the ring's leg")
}

#[tokio::test]
async fn an_application_gets_decrypted_media_and_what_it_sends_is_encrypted() {
    let (daemon, token) = start("ring").await;
    let peer = udp();
    let leg = daemon.leg("s", "peer", LegSpec::srtp().remote(&peer)).await.unwrap();
    daemon.key("s", "peer", "in", Inbound, SUITE, &[7; 30]).await.unwrap();
    daemon.key("s", "peer", "out", Outbound, SUITE, &[8; 30]).await.unwrap();
    daemon.route("s", "there", "peer", "r").await.unwrap();
    daemon.route("s", "back", "r", "peer").await.unwrap();
    let ring = take(&daemon, "r", &token).await.unwrap();
    for sequence in 0..5 {
        peer.send_to(&protected(&[7; 30], &rtp(sequence, 9, 160)), &leg.local_rtp).unwrap();
    }
    let (mut ring, packets) = heard(ring, 5).await;
    assert_eq!(packets, (0..5).map(|sequence| rtp(sequence, 9, 160)).collect::<Vec<_>>());
    for sequence in 0..5 {
        ring.send(&rtp(sequence, 77, 160)).unwrap();
    }
    ring.flush();
    for sequence in 0..5 {
        assert_eq!(receive(&peer), protected(&[8; 30], &rtp(sequence, 77, 160)));
    }
    let counted = statistics(&daemon).await;
    assert_eq!((counted.attached, counted.received, counted.sent, counted.full), (true, 5, 5, 0));
    daemon.stop().await;
    assert!(lost(ring).await, "a gateway that stops says so");
}

#[tokio::test]
async fn one_application_has_a_ring_and_the_next_one_gets_another() {
    let (daemon, token) = start("rings").await;
    let peer = udp();
    let leg = daemon.leg("s", "peer", LegSpec::plain().remote(&peer)).await.unwrap();
    daemon.route("s", "there", "peer", "r").await.unwrap();
    let mut sequence = 0;
    let mut send = |count: u16| {
        for _ in 0..count {
            peer.send_to(&rtp(sequence, 9, 20), &leg.local_rtp).unwrap();
            sequence += 1;
        }
    };
    send(3);
    let dropped =
        async || daemon.drops("r").await.iter().find(|drop| drop.0 == "no_application").map(|drop| drop.1);
    daemon.eventually(async || dropped().await.filter(|count| *count == 3)).await;
    let before = take(&daemon, "r", &token).await.unwrap();
    let first = take(&daemon, "r", &token).await.unwrap();
    assert!(lost(before).await, "whoever shows the token replaces the one before");
    assert!(statistics(&daemon).await.attached);
    send(2);
    let (first, _) = heard(first, 2).await;
    drop(first);
    daemon.eventually(async || (!statistics(&daemon).await.attached).then_some(())).await;
    send(2);
    daemon.eventually(async || dropped().await.filter(|count| *count == 5)).await;
    let second = take(&daemon, "r", &token).await.unwrap();
    send(1);
    let (second, packets) = heard(second, 1).await;
    assert_eq!(packets, [rtp(7, 9, 20)], "nothing of before");
    let request = v1::DeleteLegRequest { session: "s".into(), leg: "r".into() };
    daemon.client().await.delete_leg(request).await.unwrap();
    assert!(lost(second).await);
    let refused = take(&daemon, "r", &token).await.unwrap_err();
    assert!(refused.contains("is of no ring"), "{refused}");
    daemon.stop().await;
}

/// The old one's going away takes nothing from the new one.
#[tokio::test]
async fn an_application_that_was_replaced_takes_nothing_with_it() {
    let (daemon, token) = start("replaced").await;
    let mut last = take(&daemon, "r", &token).await.unwrap();
    for _ in 0..20 {
        last = take(&daemon, "r", &token).await.unwrap();
    }
    for _ in 0..10 {
        assert!(statistics(&daemon).await.attached);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(last);
    daemon.eventually(async || (!statistics(&daemon).await.attached).then_some(())).await;
    daemon.stop().await;
}

#[tokio::test]
async fn strangers_do_not_keep_applications_out_for_long() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let (daemon, token) = start("strangers").await;
    let address = SocketAddrUnix::new(daemon.rings()).unwrap();
    let known = take(&daemon, "r", &token).await.unwrap();
    let strangers: Vec<_> = (0..64)
        .map(|_| {
            let stranger = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
            connect(&stranger, &address).unwrap();
            stranger
        })
        .collect();
    let refused = take(&daemon, "r", &token).await.unwrap_err();
    assert!(refused.contains("too many connections"), "{refused}");
    assert!(statistics(&daemon).await.attached);
    drop(strangers);
    drop(known);
    daemon.eventually(async || take(&daemon, "r", &token).await.ok()).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_ring_is_for_whoever_has_its_token() {
    let (daemon, token) = start("token").await;
    assert_eq!(token.len(), 32);
    daemon.leg("s", "plain", LegSpec::plain()).await.unwrap();
    for (leg, shown, reason) in [
        ("r", "", "is of no ring"),
        ("r", &token[1..], "is of no ring"),
        ("nobody", &token, "is of no ring"),
        ("nobody", &"-".repeat(32), "is of no ring"),
        ("plain", &token, "is of no ring"),
        ("r", &"x".repeat(300), "more than 256"),
    ] {
        let refused = take(&daemon, leg, shown).await.unwrap_err();
        assert!(refused.contains(reason), "{refused}");
    }
    assert!(!statistics(&daemon).await.attached);
    // Once told, and again to whoever repeats the call; never in a list.
    assert_eq!(daemon.leg("s", "r", ring()).await.unwrap().ring_token, token);
    let listed = daemon.legs("s").await;
    assert!(listed.iter().all(|leg| leg.ring_token.is_empty()));
    let found = listed.iter().find(|leg| leg.id == "r").unwrap();
    assert_eq!((found.local_rtp.as_str(), found.remote_in_use.as_str()), ("", ""));
    let other = daemon.leg("s", "other", ring()).await.unwrap();
    assert_ne!(other.ring_token, token);
    let mode = std::fs::metadata(daemon.rings()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    daemon.stop().await;
}

#[tokio::test]
async fn somebody_who_does_not_speak_the_protocol_is_sent_away() {
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, recv, send, socket,
    };
    let (daemon, token) = start("stranger").await;
    let path = daemon.rings();
    let answer = spawn_blocking(move || {
        let stranger = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        connect(&stranger, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        send(&stranger, b"GET / HTTP/1.1", SendFlags::empty()).unwrap();
        let mut answer = [0; 256];
        let (_, length) = recv(&stranger, &mut answer[..], RecvFlags::empty()).unwrap();
        assert_eq!(
            recv(&stranger, &mut answer[length..], RecvFlags::empty()).unwrap().1,
            0,
            "and then the end"
        );
        String::from_utf8_lossy(&answer[1..length]).into_owned()
    });
    let answer = answer.await.unwrap();
    assert!(answer.contains("no request for a ring"), "{answer}");
    take(&daemon, "r", &token).await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn what_a_ring_cannot_have_is_refused_by_field() {
    let (daemon, _) = start("noring").await;
    type Change<'a> = &'a dyn Fn(&mut v1::LegConfig);
    let cases: [(&str, Change<'_>); 6] = [
        ("inbound", &|config| config.inbound = v1::Protection::Srtp.into()),
        ("outbound", &|config| config.outbound = 0),
        ("remote", &|config| config.remote = "127.0.0.1:9".into()),
        ("local", &|config| config.local = "127.0.0.1".into()),
        ("shared_port", &|config| config.shared_port = true),
        ("replay_window", &|config| config.replay_window = 64),
    ];
    for (field, change) in cases {
        let refused = daemon.leg("s", "bad", ring().with(change)).await.unwrap_err();
        assert_eq!((refused.code(), field_of(&refused).as_str()), (Code::InvalidArgument, field));
    }
    let other = daemon.leg("s", "r", LegSpec::plain()).await.unwrap_err();
    assert_eq!(field_of(&other), "ring");
    let update = v1::UpdateLegRequest {
        session: "s".into(),
        leg: "r".into(),
        remote: Some("127.0.0.1:9".into()),
        ..Default::default()
    };
    let refused = daemon.client().await.update_leg(update).await.unwrap_err();
    assert_eq!(field_of(&refused), "remote");
    let refused = daemon.key("s", "r", "k", Inbound, SUITE, &[7; 30]).await.unwrap_err();
    assert!(refused.message.contains("plain"), "{}", refused.message);
    daemon.stop().await;
}

#[tokio::test]
async fn a_ring_follows_its_session_to_another_worker() {
    let folder = tempfile::Builder::new().prefix("ringmove").tempdir().unwrap();
    let mut config = config(folder.path(), "io_uring");
    config.datapath.workers = sluice_server::config::Workers(sluice_datapath::WorkerCount::Exactly(2));
    let daemon = Daemon::start_with(folder, config).await;
    daemon.session("s").await;
    let token = daemon.leg("s", "r", ring()).await.unwrap().ring_token;
    let peer = udp();
    let leg = daemon.leg("s", "peer", LegSpec::plain().remote(&peer)).await.unwrap();
    daemon.route("s", "there", "peer", "r").await.unwrap();
    daemon.route("s", "back", "r", "peer").await.unwrap();
    let mut ring = take(&daemon, "r", &token).await.unwrap();
    let mut sequence = 0;
    for round in 0..6 {
        let request = v1::MoveSessionRequest { session: "s".into(), worker: (round + 1) % 2 };
        daemon.client().await.move_session(request).await.unwrap();
        for _ in 0..3 {
            peer.send_to(&rtp(sequence, 9, 20), &leg.local_rtp).unwrap();
            ring.send(&rtp(sequence, 77, 20)).unwrap();
            sequence += 1;
        }
        ring.flush();
        let packets;
        (ring, packets) = heard(ring, 3).await;
        assert_eq!(packets, (sequence - 3..sequence).map(|n| rtp(n, 9, 20)).collect::<Vec<_>>());
        for n in sequence - 3..sequence {
            assert_eq!(receive(&peer), rtp(n, 77, 20));
        }
    }
    drop(ring);
    daemon.eventually(async || (!statistics(&daemon).await.attached).then_some(())).await;
    daemon.stop().await;
}

/// The other way to a local application: plain RTP over UDP on loopback.
#[tokio::test]
async fn an_application_may_as_well_speak_plain_rtp_over_udp() {
    let daemon = Daemon::start("udpapp").await;
    daemon.session("s").await;
    let (peer, application) = (udp(), udp());
    let leg = daemon.leg("s", "peer", LegSpec::srtp().remote(&peer)).await.unwrap();
    daemon.key("s", "peer", "in", Inbound, SUITE, &[7; 30]).await.unwrap();
    daemon.key("s", "peer", "out", Outbound, SUITE, &[8; 30]).await.unwrap();
    let there = LegSpec::plain().remote(&application).with(|config| config.rtcp_mux = true);
    let there = daemon.leg("s", "app", there).await.unwrap();
    daemon.route("s", "there", "peer", "app").await.unwrap();
    daemon.route("s", "back", "app", "peer").await.unwrap();
    for sequence in 0..3 {
        peer.send_to(&protected(&[7; 30], &rtp(sequence, 9, 160)), &leg.local_rtp).unwrap();
        assert_eq!(receive(&application), rtp(sequence, 9, 160));
        application.send_to(&rtp(sequence, 77, 160), &there.local_rtp).unwrap();
    }
    for sequence in 0..3 {
        assert_eq!(receive(&peer), protected(&[8; 30], &rtp(sequence, 77, 160)));
    }
    let stranger = udp();
    stranger.send_to(&rtp(3, 77, 160), &there.local_rtp).unwrap();
    assert!(silent(&peer), "only the application is heard");
    daemon.stop().await;
}
