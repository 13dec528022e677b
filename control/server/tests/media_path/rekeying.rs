//! Associations that take the place of others, and those that end.

use std::time::Duration;

use sluice_keying::dtls_srtp::Role;
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use tokio::task::block_in_place;

use crate::bed::{Bed, PASSWORD, UFRAG, begin, checked};
use crate::peer::{Peer, SUITES};
use crate::support::{receive, rtp, silent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_association_takes_the_place_of_one_without_losing_a_packet() {
    let bed = Bed::new("rekey").await;
    let gateway = bed.fingerprint().await;
    let mut alice = Peer::new();
    let leg = bed.daemon.leg("s", "alice", checked(&mut alice)).await.unwrap();
    let (bob, to_bob_leg) = bed.bridge("alice").await;
    block_in_place(|| {
        alice.check(leg.local_rtp.parse().unwrap(), UFRAG, PASSWORD);
        alice.until("a way", Peer::is_connected);
        alice.handshake(Role::Client, std::slice::from_ref(&gateway), &SUITES);
        alice.until_keyed();
        alice.send(&rtp(0, 0xa, 100));
        assert_eq!(receive(&bob), rtp(0, 0xa, 100));
    });
    let mut dtls = leg.config.unwrap().dtls.unwrap();
    dtls.tls_id = "second-association-2".into();
    let (session, id) = ("s".to_owned(), "alice".to_owned());
    bed.update(v1::UpdateLegRequest { session, leg: id, dtls: Some(dtls), ..Default::default() }).await;
    block_in_place(|| {
        // Until there are other keys, those that there are do.
        alice.send(&rtp(1, 0xa, 100));
        assert_eq!(receive(&bob), rtp(1, 0xa, 100));
        begin(&bob, to_bob_leg);
        assert_eq!(alice.receive_any(), (0, rtp(0, 0xb, 100)));
        assert_eq!(alice.receive_any(), (0, rtp(1, 0xb, 100)));
        alice.handshake(Role::Client, &[gateway], &SUITES);
        alice.until_keyed();
        // What was on its way under the ones of before is still taken.
        alice.send_under(0, &rtp(2, 0xa, 100));
        alice.send_under(1, &rtp(3, 0xa, 100));
        assert_eq!([receive(&bob), receive(&bob)], [2, 3].map(|sequence| rtp(sequence, 0xa, 100)));
        bob.send_to(&rtp(2, 0xb, 100), to_bob_leg).unwrap();
        assert_eq!(alice.receive_any(), (1, rtp(2, 0xb, 100)), "under the new ones");
    });
    let retired = || async {
        let keys = bed.leg("alice").await.keys;
        (keys.iter().all(|key| key.id == "dtls2") && keys.len() == 2).then_some(())
    };
    bed.daemon.eventually(retired).await;
    block_in_place(|| {
        alice.send_under(0, &rtp(4, 0xa, 100));
        assert!(silent(&bob), "the keys of before have had their time");
        alice.send(&rtp(5, 0xa, 100));
        assert_eq!(receive(&bob), rtp(5, 0xa, 100));
    });
    assert_eq!(bed.statistics().await.handshakes_completed, 2);
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_closes_its_association_is_sent_nothing_more_and_is_still_heard() {
    let mut bed = Bed::new("close").await;
    let gateway = bed.fingerprint().await;
    let mut alice = Peer::new();
    let leg = bed.daemon.leg("s", "alice", checked(&mut alice)).await.unwrap();
    let (bob, to_bob_leg) = bed.bridge("alice").await;
    block_in_place(|| {
        alice.check(leg.local_rtp.parse().unwrap(), UFRAG, PASSWORD);
        alice.until("a way", Peer::is_connected);
        alice.handshake(Role::Client, &[gateway], &SUITES);
        alice.until_keyed();
        begin(&bob, to_bob_leg);
        assert_eq!([alice.receive(), alice.receive()], [0, 1].map(|sequence| rtp(sequence, 0xb, 100)));
        alice.close();
    });
    let closed = bed.event(|kind| matches!(kind, Kind::AssociationClosed(_)).then_some(()));
    closed.await;
    let path = bed.path("alice").await;
    assert_eq!(path.dtls_state(), v1::DtlsState::Closed);
    assert!(path.explanation.contains("closed"), "{}", path.explanation);
    tokio::time::sleep(Duration::from_millis(50)).await;
    block_in_place(|| {
        bob.send_to(&rtp(2, 0xb, 100), to_bob_leg).unwrap();
        assert!(alice.hears_nothing());
        alice.send(&rtp(0, 0xa, 100));
        assert_eq!(receive(&bob), rtp(0, 0xa, 100));
    });
    let drops = bed.daemon.drops("alice").await;
    assert!(drops.contains(&("no_consent".to_owned(), 1)), "{drops:?}");
    bed.daemon.stop().await;
}
