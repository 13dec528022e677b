//! The streams of a call do not change for being tapped: the peers get the very octets that they would get.

use sluice_proto::v1;
use sluice_srtp::Kind as MediaKind;

use crate::bed::{A_KEY, B_KEY, Bed, inbound, open, outbound, peer, seal, tap_event, to_file, to_peer};
use crate::captured::Recording;
use crate::support::{receive, silent, udp};

const SSRC: u32 = 0xa11ce;

/// Sequence numbers across the wrap, so that the rollover counter counts as well.
fn sequences() -> impl Iterator<Item = u16> {
    (65_400..=65_535).chain(0..200)
}

#[tokio::test]
async fn a_tap_that_comes_and_goes_leaves_every_octet_and_index_as_it_was() {
    let mut bed = Bed::start("tapindex").await;
    let recorder = udp();
    let mut expected = outbound(crate::SUITE, &B_KEY, SSRC);
    let (mut recorded, mut copied) = (Vec::new(), Vec::new());
    let mut context = inbound(crate::SUITE, &[9; 30], &[], SSRC);
    for (place, sequence) in sequences().enumerate() {
        match place {
            50 => drop(bed.tap("file", to_file("index", &["a"])).await.unwrap()),
            100 => {
                drop(
                    bed.tap("peer", to_peer(peer(&recorder, crate::SUITE, &[9; 30]), &["a"])).await.unwrap(),
                );
            }
            200 => drop(bed.stop_tap("file").await.unwrap()),
            250 => drop(bed.stop_tap("peer").await.unwrap()),
            _ => {}
        }
        let plain = bed.a.send(sequence);
        // RFC 3711 §3.3.1: the sender's index is what decides over every octet here.
        bed.expect_at_b(&seal(&mut expected, MediaKind::Rtp, &plain));
        if (50..200).contains(&place) {
            recorded.push(plain.clone());
        }
        if (100..250).contains(&place) {
            let copy = receive(&recorder);
            assert_eq!(open(&mut context, MediaKind::Rtp, &copy), Some(plain.clone()));
            copied.push(copy);
        }
    }
    assert!(silent(&recorder), "nothing after the end");
    assert_eq!(copied.len(), 150);
    assert_eq!(Recording::read(&bed.folder.join("index.pcapng")).payloads("a"), recorded);
    // No packet was refused as one of an index that was used.
    for leg in ["a", "b"] {
        assert_eq!(bed.drops(leg).await, []);
    }
    bed.stop().await;
}

#[tokio::test]
async fn a_session_that_moves_to_another_worker_takes_its_taps_along() {
    let mut bed = Bed::start_with("tapmove", |config, _| {
        config.datapath.workers = sluice_server::config::Workers(sluice_datapath::WorkerCount::Exactly(2));
    })
    .await;
    let recorder = udp();
    bed.tap("file", to_file("moved", &["a"])).await.unwrap();
    bed.tap("peer", to_peer(peer(&recorder, crate::SUITE, &[9; 30]), &["a"])).await.unwrap();
    let mut expected = outbound(crate::SUITE, &B_KEY, SSRC);
    let mut context = inbound(crate::SUITE, &[9; 30], &[], SSRC);
    let mut sent = Vec::new();
    for sequence in 0..40 {
        if sequence % 10 == 5 {
            let worker = u32::from(sequence / 10 + 1) % 2;
            let request = v1::MoveSessionRequest { session: "s".into(), worker };
            bed.client().await.move_session(request).await.unwrap();
        }
        let plain = bed.a.send(sequence);
        bed.expect_at_b(&seal(&mut expected, MediaKind::Rtp, &plain));
        assert_eq!(open(&mut context, MediaKind::Rtp, &receive(&recorder)), Some(plain.clone()));
        sent.push(plain);
    }
    bed.stop_tap("file").await.unwrap();
    assert_eq!(Recording::read(&bed.folder.join("moved.pcapng")).payloads("a"), sent);
    bed.stop().await;
}

/// A recorder that is not there, or talks back, is no matter to the call.
#[tokio::test]
async fn what_a_recorder_sends_goes_nowhere() {
    let mut bed = Bed::start("tapback").await;
    let recorder = udp();
    let tap = bed.tap("t", to_peer(peer(&recorder, crate::SUITE, &[9; 30]), &[])).await.unwrap();
    let mut back = outbound(crate::SUITE, &A_KEY, 1);
    for sequence in 0..5 {
        let forged = seal(&mut back, MediaKind::Rtp, &crate::support::rtp(sequence, 1, 20));
        recorder.send_to(&forged, &tap.local_rtp).unwrap();
    }
    let mut expected = outbound(crate::SUITE, &B_KEY, SSRC);
    let plain = bed.a.send(1);
    bed.expect_at_b(&seal(&mut expected, MediaKind::Rtp, &plain));
    assert!(silent(&bed.b) && silent(&bed.a.socket));
    assert_eq!(bed.get_tap("t").await.unwrap().dropped, 0);
    let mut events = bed.events().await;
    bed.stop_tap("t").await.unwrap();
    tap_event(&mut events).await;
    bed.stop().await;
}
