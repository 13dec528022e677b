//! Associations that take the place of others.

use sluice_keying::dtls_srtp::{Role, Settings, Versions};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use tokio::task::block_in_place;

use crate::bed::{Bed, Talk, begin};
use crate::peer::{Peer, SUITES, endpoint};
use crate::support::{receive, rtp, silent};

const SECOND: &str = "second-association-2";

/// A peer that speaks DTLS 1.3 alone, in which the client has the last flight.
fn speaks_1_3() -> Peer {
    let versions = Versions::Dtls13;
    Peer::with(endpoint(&Settings { versions, ..Settings::default() }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_association_takes_the_place_of_one_without_losing_a_packet() {
    let bed = Bed::new("rekey").await;
    let Talk { mut alice, gateway, bob, to_bob_leg, .. } = bed.talk_after_checks().await;
    block_in_place(|| {
        alice.send(&rtp(0, 0xa, 100));
        assert_eq!(receive(&bob), rtp(0, 0xa, 100));
    });
    bed.reassociate("alice", SECOND).await;
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

/// The peer has the new keys first, and its last flight is behind its media: as a server of DTLS 1.2, whose client is the
/// gateway, and as a client of 1.3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_sends_before_its_last_flight_is_here_arrives_once_and_in_order_whoever_begins() {
    for (role, alice) in [(Role::Server, Peer::new()), (Role::Client, speaks_1_3())] {
        let bed = Bed::new("last-flight").await;
        let Talk { mut alice, gateway, bob, to_bob_leg, .. } = bed.talk(alice, role).await;
        let packet = |sequence| rtp(sequence, 0xa, 100);
        block_in_place(|| {
            alice.send(&packet(65_532));
            assert_eq!(receive(&bob), packet(65_532));
        });
        bed.reassociate("alice", SECOND).await;
        block_in_place(|| {
            alice.handshake(role, &[gateway], &SUITES);
            alice.hold_back();
            alice.until_keyed();
            // Beyond the last sequence number, so that the rollover counter has to be right as well.
            alice.send_under(1, &packet(65_533));
            alice.send_under(1, &packet(65_535));
            alice.send_under(1, &packet(0));
            alice.send_forged(&packet(1));
            alice.send_under(0, &packet(65_534));
            assert_eq!(receive(&bob), packet(65_534), "{role:?}: at once");
        });
        assert_eq!(bed.waiting("alice").await, 4, "{role:?}");
        assert!(bed.path("alice").await.rekeying);
        block_in_place(|| {
            alice.let_go();
            assert_eq!([(); 3].map(|()| receive(&bob)), [65_533, 65_535, 0].map(packet), "{role:?}");
            alice.send_under(1, &packet(1));
            assert_eq!(receive(&bob), packet(1));
            assert!(silent(&bob), "each once");
            begin(&bob, to_bob_leg);
            assert_eq!(alice.receive_any(), (1, rtp(0, 0xb, 100)));
        });
        assert_eq!(bed.daemon.drops("alice").await, [("auth_failed".to_owned(), 1)], "{role:?}");
        assert_eq!(bed.waiting("alice").await, 0);
        bed.daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_association_that_comes_to_nothing_leaves_the_keys_there_are_and_what_waited_for_it_is_counted() {
    let mut bed = Bed::new("in-vain").await;
    let Talk { mut alice, gateway, bob, .. } = bed.talk(speaks_1_3(), Role::Client).await;
    bed.reassociate("alice", SECOND).await;
    // She shows another certificate than she said, which the gateway sees in her last flight.
    alice.endpoint = speaks_1_3().endpoint;
    block_in_place(|| {
        alice.handshake(Role::Client, std::slice::from_ref(&gateway), &SUITES);
        alice.hold_back();
        alice.until_keyed();
        for sequence in 0..3 {
            alice.send_under(1, &rtp(sequence, 0xa, 100));
        }
        alice.send_under(0, &rtp(10, 0xa, 100));
        assert_eq!(receive(&bob), rtp(10, 0xa, 100));
        alice.let_go();
    });
    bed.event(|kind| matches!(kind, Kind::CertificateRefused(_)).then_some(())).await;
    let dropped =
        || async { (bed.daemon.drops("alice").await == [("auth_failed".to_owned(), 3)]).then_some(()) };
    bed.daemon.eventually(dropped).await;
    assert_eq!(bed.waiting("alice").await, 0);
    block_in_place(|| {
        alice.send_under(0, &rtp(11, 0xa, 100));
        assert_eq!(receive(&bob), rtp(11, 0xa, 100), "what there was goes on");
    });
    // One that signalling gives up before its end.
    bed.reassociate("alice", "third-association-03").await;
    block_in_place(|| {
        alice.handshake(Role::Client, &[gateway], &SUITES);
        alice.hold_back();
        alice.until_keyed();
        alice.send_under(2, &rtp(12, 0xa, 100));
    });
    bed.daemon.eventually(|| async { (bed.waiting("alice").await == 1).then_some(()) }).await;
    bed.reassociate("alice", "first-association-01").await;
    bed.daemon.eventually(|| async { (bed.waiting("alice").await == 0).then_some(()) }).await;
    assert_eq!(bed.daemon.drops("alice").await, [("auth_failed".to_owned(), 4)]);
    block_in_place(|| {
        alice.send_under(0, &rtp(12, 0xa, 100));
        assert_eq!(receive(&bob), rtp(12, 0xa, 100));
    });
    bed.daemon.stop().await;
}

/// RFC 8842 section 5.1 wants a 5-tuple of its own for each association, so that their packets can be told apart. Here they
/// are by their keys, and what the old one still has to say neither disturbs the new one nor is taken for its.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_associations_on_one_5_tuple_are_told_apart_whoever_begins_and_whenever_the_old_one_ends() {
    for (role, versions) in
        [(Role::Server, Versions::Dtls12), (Role::Client, Versions::Dtls12), (Role::Client, Versions::Dtls13)]
    {
        let mut bed = Bed::new("one-5-tuple").await;
        let alice = Peer::with(endpoint(&Settings { versions, ..Settings::default() }));
        let Talk { mut alice, gateway, bob, to_bob_leg, .. } = bed.talk(alice, role).await;
        block_in_place(|| {
            alice.send(&rtp(0, 0xa, 100));
            assert_eq!(receive(&bob), rtp(0, 0xa, 100));
            begin(&bob, to_bob_leg);
        });
        bed.reassociate("alice", SECOND).await;
        block_in_place(|| {
            assert_eq!([alice.receive(), alice.receive()], [0, 1].map(|sequence| rtp(sequence, 0xb, 100)));
            alice.handshake(role, &[gateway], &SUITES);
            if role == Role::Client {
                alice.until("an answer", |alice| alice.heard > 0);
            }
        });
        let under_way = || async { bed.path("alice").await.rekeying.then_some(()) };
        bed.daemon.eventually(under_way).await;
        let farewell = block_in_place(|| alice.close_older());
        bed.event(|kind| matches!(kind, Kind::AssociationClosed(_)).then_some(())).await;
        let path = bed.path("alice").await;
        assert_eq!(
            (path.dtls_state(), path.rekeying),
            (v1::DtlsState::Closed, true),
            "{role:?} {versions:?}"
        );
        block_in_place(|| {
            alice.until_keyed();
            alice.send_under(1, &rtp(1, 0xa, 100));
            assert_eq!(receive(&bob), rtp(1, 0xa, 100));
            bob.send_to(&rtp(2, 0xb, 100), to_bob_leg).unwrap();
            assert_eq!(alice.receive_any(), (1, rtp(2, 0xb, 100)));
            // Once the new one is there.
            alice.send_raw(&farewell);
            bob.send_to(&rtp(3, 0xb, 100), to_bob_leg).unwrap();
            assert_eq!(alice.receive_any(), (1, rtp(3, 0xb, 100)));
        });
        let path = bed.path("alice").await;
        assert_eq!((path.dtls_state(), path.rekeying), (v1::DtlsState::Established, false), "{path:?}");
        let counted = bed.statistics().await;
        assert_eq!((counted.handshakes_completed, counted.associations_closed), (2, 1));
        bed.daemon.stop().await;
    }
}
