//! What nobody gets, and what is the same asked twice.

use sluice_proto::v1;
use sluice_server::config::{Bounded, SlotBytes, Slots};
use tonic::Code;

use crate::bed::{Bed, peer, to_file, to_peer};
use crate::captured::Recording;
use crate::support::{field_of, receive, udp};

#[tokio::test]
async fn names_that_leave_the_folder_are_refused_and_make_no_file() {
    let bed = Bed::start("tapname").await;
    let outside = bed.folder.parent().unwrap().join("outside.pcapng");
    let huge = "x".repeat(1 << 20);
    for name in ["../outside", "/tmp/outside", "a/../../outside", "..", "", ".x", "a\u{0}b", huge.as_str()] {
        let refused = bed.tap("t", to_file(name, &[])).await.unwrap_err();
        assert_eq!((refused.code(), field_of(&refused).as_str()), (Code::InvalidArgument, "file.name"));
        assert!(refused.message().len() < 1000);
    }
    assert!(!outside.exists());
    assert_eq!(std::fs::read_dir(&bed.folder).unwrap().count(), 0);
    bed.stop().await;
}

#[tokio::test]
async fn a_recording_is_never_written_over() {
    let bed = Bed::start("tapover").await;
    let there = bed.folder.join("there.pcapng");
    std::fs::write(&there, "precious").unwrap();
    let refused = bed.tap("t", to_file("there", &[])).await.unwrap_err();
    assert_eq!((refused.code(), field_of(&refused).as_str()), (Code::FailedPrecondition, "file.name"));
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "precious");
    std::fs::remove_file(&there).unwrap();
    let elsewhere = bed.folder.parent().unwrap().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, &there).unwrap();
    assert!(bed.tap("t", to_file("there", &[])).await.is_err(), "nor through a link");
    assert!(!elsewhere.exists());
    bed.stop().await;
}

#[tokio::test]
async fn what_is_not_there_cannot_be_tapped_and_leaves_no_trace() {
    let bed = Bed::start("tapnone").await;
    let refused = bed.tap("t", to_file("x", &["a", "nobody"])).await.unwrap_err();
    assert_eq!((refused.code(), field_of(&refused).as_str()), (Code::NotFound, "legs"));
    let request =
        v1::StartTapRequest { session: "none".into(), tap: "t".into(), config: Some(to_file("x", &[])) };
    let refused = bed.recorder().await.start_tap(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    for tap in ["", "a b", "../t"] {
        let refused = bed.tap(tap, to_file("x", &[])).await.unwrap_err();
        assert_eq!(field_of(&refused), "tap");
    }
    let refused = bed.stop_tap("t").await.unwrap_err();
    assert_eq!((refused.code(), field_of(&refused).as_str()), (Code::NotFound, "tap"));
    // A recorder that cannot be sent to.
    for (remote, field) in
        [("192.0.2.1:0", "remote"), ("here", "remote"), ("[::1]:9", "remote"), ("", "peer.remote")]
    {
        let mut there = peer(&udp(), crate::SUITE, &[1; 30]);
        there.remote = remote.into();
        let refused = bed.tap("t", to_peer(there, &[])).await.unwrap_err();
        assert_eq!((refused.code(), field_of(&refused).as_str()), (Code::InvalidArgument, field), "{remote}");
    }
    for (suite, key_salt, field) in [("AES_9", vec![1; 30], "suite"), (crate::SUITE, vec![1; 29], "key_salt")]
    {
        let refused = bed.tap("t", to_peer(peer(&udp(), suite, &key_salt), &[])).await.unwrap_err();
        assert_eq!((refused.code(), field_of(&refused).as_str()), (Code::InvalidArgument, field));
    }
    assert!(
        bed.recorder()
            .await
            .list_taps(v1::ListTapsRequest::default())
            .await
            .unwrap()
            .into_inner()
            .taps
            .is_empty()
    );
    assert_eq!(std::fs::read_dir(&bed.folder).unwrap().count(), 0);
    // No leg or route of theirs is left.
    let request = v1::GetStatisticsRequest { session: String::new(), workers_only: true };
    let workers = bed.client().await.get_statistics(request).await.unwrap().into_inner().workers;
    assert_eq!((workers[0].legs, workers[0].routes), (2, 1));
    bed.stop().await;
}

#[tokio::test]
async fn a_tap_started_twice_is_one_and_one_that_ended_does_not_come_back() {
    let bed = Bed::start("taptwice").await;
    let first = bed.tap("t", to_file("twice", &["a"])).await.unwrap();
    assert_eq!(
        bed.tap("t", to_file("twice", &["a"])).await.unwrap().started_unix_nanoseconds,
        first.started_unix_nanoseconds
    );
    let other = bed.tap("t", to_file("twice", &["b"])).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    let recorder = udp();
    let keyed = |key: u8| to_peer(peer(&recorder, crate::SUITE, &[key; 30]), &["a"]);
    bed.tap("p", keyed(1)).await.unwrap();
    bed.tap("p", keyed(1)).await.unwrap();
    assert_eq!(bed.tap("p", keyed(2)).await.unwrap_err().code(), Code::AlreadyExists, "under another key");
    let stopped = bed.stop_tap("t").await.unwrap();
    assert_eq!(bed.stop_tap("t").await.unwrap(), stopped);
    assert_eq!(bed.tap("t", to_file("twice", &["a"])).await.unwrap_err().code(), Code::AlreadyExists);
    bed.stop().await;
}

/// Legs of taps are nobody's but the taps'.
#[tokio::test]
async fn clients_see_and_touch_nothing_of_a_tap() {
    let mut bed = Bed::start("taphidden").await;
    bed.tap("t", to_file("hidden", &[])).await.unwrap();
    let legs: Vec<_> = bed.legs("s").await.into_iter().map(|leg| leg.id).collect();
    assert_eq!(legs, ["a", "b"]);
    for leg in ["tap/t", "t", "tap"] {
        let request = v1::DeleteLegRequest { session: "s".into(), leg: leg.into() };
        assert!(!bed.client().await.delete_leg(request).await.unwrap().into_inner().existed);
        assert!(bed.route("s", "x", "a", leg).await.is_err());
    }
    bed.a.send(1);
    receive(&bed.b);
    assert_eq!(bed.tap_when("t", |tap| tap.packets == 1).await.dropped, 0);
    bed.stop().await;
}

#[tokio::test]
async fn there_are_as_many_taps_as_may_be_and_all_of_them_record() {
    const TAPS: usize = 1000;
    let mut bed = Bed::start_with("tapmany", |config, _| {
        config.recording.taps = Bounded(TAPS as u64);
        (config.recording.slots, config.rings.slot_bytes) = (Slots(16), SlotBytes(512));
        (config.limits.legs, config.limits.routes) = (Bounded(2000), Bounded(2000));
    })
    .await;
    for number in 0..TAPS {
        bed.tap(&format!("t{number}"), to_file(&format!("f{number}"), &["a"])).await.unwrap();
    }
    let refused = bed.tap("more", to_file("more", &["a"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("recording.taps"), "{}", refused.message());
    assert!(!bed.folder.join("more.pcapng").exists());
    let sent = [bed.a.send(1), bed.a.send(2)];
    receive(&bed.b);
    receive(&bed.b);
    bed.eventually(async || {
        let taps =
            bed.recorder().await.list_taps(v1::ListTapsRequest::default()).await.unwrap().into_inner().taps;
        taps.iter().all(|tap| tap.packets + tap.dropped == 2).then_some(())
    })
    .await;
    bed.stop_tap("t7").await.unwrap();
    assert_eq!(Recording::read(&bed.folder.join("f7.pcapng")).payloads("a"), sent);
    bed.tap("more", to_file("more", &["a"])).await.unwrap();
    bed.delete_session().await;
    bed.session("s").await;
    bed.eventually(async || {
        // All of them have ended once there is room for as many again.
        let request = v1::GetStatisticsRequest { session: String::new(), workers_only: true };
        let workers = bed.client().await.get_statistics(request).await.unwrap().into_inner().workers;
        (workers[0].legs == 0).then_some(())
    })
    .await;
    bed.stop().await;
}
