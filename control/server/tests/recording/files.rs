//! Taps to files.

use std::time::Duration;

use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use sluice_srtp::Kind as MediaKind;
use tonic::Code;

use crate::bed::{Bed, tap_event, to_file};
use crate::captured::{Recording, tshark};
use crate::support::{LegSpec, receive, rtp, udp};

/// A sender report without blocks (RFC 3550 §6.4.1).
fn report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([1; 20]);
    packet
}

#[tokio::test]
async fn what_legs_receive_is_in_the_file_octet_for_octet_and_told_apart() {
    let mut bed = Bed::start("tapfile").await;
    let (c, d) = (udp(), udp());
    let c_leg = bed.leg("s", "c", LegSpec::plain().remote(&c)).await.unwrap();
    bed.leg("s", "d", LegSpec::plain().remote(&d)).await.unwrap();
    bed.route("s", "cd", "c", "d").await.unwrap();
    let mut events = bed.events().await;
    let mut config = to_file("call", &[]);
    config.codecs.insert(96, "opus/48000/2".into());
    let tap = bed.tap("t", config).await.unwrap();
    assert_eq!(
        (tap.state(), tap.files.as_slice()),
        (v1::TapState::Running, ["call.pcapng".into()].as_slice())
    );
    let Kind::TapStarted(started) = tap_event(&mut events).await else { panic!("another event") };
    assert_eq!((started.tap.as_str(), started.legs.join(" ").as_str()), ("t", "a b c d"));
    let (mut from_a, mut from_c) = (Vec::new(), Vec::new());
    for sequence in 0..50 {
        from_a.push(bed.a.send(sequence));
        receive(&bed.b);
        // The same SSRC as a's, from another leg.
        let plain = rtp(sequence, 0xa11ce, 20);
        c.send_to(&plain, &c_leg.local_rtp).unwrap();
        from_c.push(plain);
    }
    bed.a.send_packet(MediaKind::Rtcp, &report(0xa11ce));
    from_a.push(report(0xa11ce));
    // Without a stop it is in the file a moment later.
    bed.tap_when("t", |tap| tap.packets == 101).await;
    let ended = bed.stop_tap("t").await.unwrap();
    assert_eq!((ended.state(), ended.end()), (v1::TapState::Ended, v1::TapEnd::Stopped));
    let octets: usize = from_a.iter().chain(&from_c).map(Vec::len).sum();
    assert_eq!((ended.packets, ended.bytes, ended.dropped), (101, octets as u64, 0));
    let Kind::TapEnded(told) = tap_event(&mut events).await else { panic!("another event") };
    assert_eq!((told.reason.as_str(), told.packets, told.bytes), ("stopped", 101, octets as u64));
    let file = bed.folder.join("call.pcapng");
    let recording = Recording::read(&file);
    assert_eq!(recording.payloads("a"), from_a);
    assert_eq!(recording.payloads("c"), from_c);
    let first = recording.from("a").next().unwrap();
    assert_eq!(first.source, bed.a.socket.local_addr().unwrap());
    assert_eq!(first.destination.to_string(), bed.a_leg.local_rtp);
    assert_eq!(recording.from("c").next().unwrap().source, c.local_addr().unwrap());
    assert!(recording.packets.is_sorted_by_key(|packet| packet.nanoseconds));
    assert!((tap.started_unix_nanoseconds..ended.ended_unix_nanoseconds).contains(&first.nanoseconds));
    let described = recording
        .comments
        .iter()
        .any(|text| text.starts_with("session s, leg a, tap t") && text.contains("rtpmap:96 opus/48000/2"));
    assert!(described, "{:?}", recording.comments);
    if let Some(seen) = tshark(&file) {
        assert_eq!(seen.iter().filter(|(_, payload_type)| *payload_type == 0).count(), 100, "{seen:?}");
    }
    bed.stop().await;
}

/// The tapped leg's peer may be found at another address than signalling told, and RTCP has a port of its own.
#[tokio::test]
async fn headers_name_the_addresses_that_were_on_the_wire() {
    let bed = Bed::start("tapaddr").await;
    let (peer, other) = (udp(), udp());
    let spec = LegSpec::srtp().remote(&peer).with(|config| {
        config.remote_rtcp = "127.0.0.9:7001".into();
        config.latching = v1::Latching::NewestAuthenticated.into();
    });
    let leg = bed.leg("s", "c", spec).await.unwrap();
    bed.key("s", "c", "k", v1::Direction::Inbound, crate::SUITE, &[5; 30]).await.unwrap();
    bed.tap("t", to_file("addresses", &["c"])).await.unwrap();
    let to_rtcp = v1::Leg { local_rtp: leg.local_rtcp.clone(), ..leg.clone() };
    let mut rtcp = crate::bed::Sender::new(udp(), &to_rtcp, &[5; 30], 5);
    rtcp.send_packet(MediaKind::Rtcp, &report(5));
    bed.tap_when("t", |tap| tap.packets == 1).await;
    let mut elsewhere = crate::bed::Sender::new(other, &leg, &[5; 30], 5);
    elsewhere.send(1);
    bed.eventually(async || {
        let legs = bed.legs("s").await;
        let found = legs.into_iter().find(|leg| leg.id == "c").unwrap();
        (found.remote_in_use == elsewhere.socket.local_addr().unwrap().to_string()).then_some(())
    })
    .await;
    // Addresses are looked up ten times a second.
    tokio::time::sleep(Duration::from_millis(150)).await;
    elsewhere.send(2);
    bed.tap_when("t", |tap| tap.packets == 3).await;
    bed.stop_tap("t").await.unwrap();
    let recording = Recording::read(&bed.folder.join("addresses.pcapng"));
    let [report, _, moved] = recording.packets.as_slice() else { panic!("{:?}", recording.packets) };
    assert_eq!(report.destination.to_string(), leg.local_rtcp);
    assert_eq!(moved.source, elsewhere.socket.local_addr().unwrap());
    assert_eq!(moved.destination.to_string(), leg.local_rtp);
    bed.stop().await;
}

#[tokio::test]
async fn a_tap_of_all_legs_follows_those_that_come_and_go() {
    let mut bed = Bed::start("tapall").await;
    bed.tap("all", to_file("all", &[])).await.unwrap();
    bed.tap("one", to_file("one", &["a"])).await.unwrap();
    let c = udp();
    let c_leg = bed.leg("s", "c", LegSpec::plain().remote(&c)).await.unwrap();
    bed.tap_when("all", |tap| tap.tapped_legs.join(" ") == "a b c").await;
    for n in 0..3 {
        c.send_to(&rtp(n, 3, 20), &c_leg.local_rtp).unwrap();
    }
    bed.tap_when("all", |tap| tap.packets == 3).await;
    bed.delete_leg("c").await;
    bed.tap_when("all", |tap| tap.tapped_legs.join(" ") == "a b").await;
    bed.a.send(1);
    bed.tap_when("all", |tap| tap.packets == 4).await;
    let mut events = bed.events().await;
    bed.delete_leg("a").await;
    let Kind::TapEnded(ended) = tap_event(&mut events).await else { panic!("another event") };
    assert_eq!((ended.tap.as_str(), ended.reason.as_str(), ended.packets), ("one", "legs", 1));
    assert_eq!(bed.get_tap("all").await.unwrap().state(), v1::TapState::Running);
    let all = bed.stop_tap("all").await.unwrap();
    assert_eq!((all.packets, all.dropped), (4, 0));
    let recording = Recording::read(&bed.folder.join("all.pcapng"));
    assert_eq!((recording.payloads("a").len(), recording.payloads("c").len()), (1, 3));
    bed.stop().await;
}

#[tokio::test]
async fn taps_end_with_their_session_and_their_files_are_whole() {
    let mut bed = Bed::start("tapend").await;
    bed.tap("t", to_file("ended", &[])).await.unwrap();
    let mut events = bed.events().await;
    let sent: Vec<_> = (0..20).map(|sequence| bed.a.send(sequence)).collect();
    (0..20).for_each(|_| drop(receive(&bed.b)));
    bed.delete_session().await;
    let Kind::TapEnded(ended) = tap_event(&mut events).await else { panic!("another event") };
    assert_eq!((ended.reason.as_str(), ended.packets, ended.dropped), ("session", 20, 0));
    assert_eq!(Recording::read(&bed.folder.join("ended.pcapng")).payloads("a"), sent);
    assert_eq!(bed.get_tap("t").await.unwrap_err().code(), Code::NotFound);
    // So is that of a daemon that stops.
    bed.session("s").await;
    let peer = udp();
    let leg = bed.leg("s", "p", LegSpec::plain().remote(&peer)).await.unwrap();
    bed.tap("t", to_file("stopped", &[])).await.unwrap();
    for n in 0..5 {
        peer.send_to(&rtp(n, 3, 20), &leg.local_rtp).unwrap();
    }
    bed.eventually(async || {
        let request = v1::GetStatisticsRequest { session: "s".into(), workers_only: false };
        let legs = bed.client().await.get_statistics(request).await.unwrap().into_inner().legs;
        (legs[0].received_rtp_packets == 5).then_some(())
    })
    .await;
    let (folder, kept) = (bed.folder.join("stopped.pcapng"), tempfile::NamedTempFile::new().unwrap());
    std::fs::hard_link(&folder, kept.path().with_extension("link")).unwrap();
    bed.stop().await;
    let recording = Recording::read(&kept.path().with_extension("link"));
    std::fs::remove_file(kept.path().with_extension("link")).unwrap();
    assert_eq!(recording.payloads("p").len(), 5);
}

#[tokio::test]
async fn a_tap_ends_when_its_files_are_full_or_its_time_is_over() {
    let mut bed = Bed::start("taplimit").await;
    let mut config = to_file("small", &["a"]);
    if let Some(v1::tap_config::Destination::File(file)) = &mut config.destination {
        (file.max_bytes, file.max_files) = (65_536, 2);
    }
    bed.tap("small", config).await.unwrap();
    let timed = v1::TapConfig { max_seconds: 1, ..to_file("timed", &["a"]) };
    bed.tap("timed", timed).await.unwrap();
    let mut events = bed.events().await;
    let mut sent = Vec::new();
    for sequence in 0..700 {
        sent.push(bed.a.send(sequence));
        receive(&bed.b);
    }
    let ended = bed.tap_when("small", |tap| tap.state() == v1::TapState::Ended).await;
    assert_eq!((ended.end(), ended.files.len()), (v1::TapEnd::Limit, 2));
    let mut written = Vec::new();
    for name in &ended.files {
        let path = bed.folder.join(name);
        assert!(std::fs::metadata(&path).unwrap().len() <= 65_536);
        written.extend(Recording::read(&path).payloads("a"));
    }
    assert_eq!(written.len() as u64, ended.packets);
    assert_eq!(written, sent[..written.len()]);
    let timed = bed.tap_when("timed", |tap| tap.state() == v1::TapState::Ended).await;
    assert_eq!((timed.end(), timed.packets), (v1::TapEnd::Limit, 700));
    let lasted = timed.ended_unix_nanoseconds - timed.started_unix_nanoseconds;
    assert!(lasted >= 1_000_000_000, "{lasted}");
    for _ in 0..2 {
        assert!(matches!(tap_event(&mut events).await, Kind::TapEnded(e) if e.reason == "limit"));
    }
    bed.stop().await;
}
