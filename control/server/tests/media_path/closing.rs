//! Associations that end, from either side.

use std::time::Duration;

use sluice_keying::dtls_srtp::{Role, Settings, Versions};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use tokio::task::block_in_place;

use crate::bed::{Bed, Talk, answers, begin, handshaken, meet};
use crate::peer::{Peer, endpoint};
use crate::support::{receive, rtp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_closes_its_association_is_sent_nothing_more_and_is_still_heard() {
    let mut bed = Bed::new("close").await;
    let Talk { mut alice, bob, to_bob_leg, .. } = bed.talk_after_checks().await;
    block_in_place(|| {
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
    // Signalling may have them go on otherwise.
    bed.update(v1::UpdateLegRequest {
        session: "s".into(),
        leg: "alice".into(),
        without_dtls: true,
        without_ice: true,
        outbound: Some(v1::Protection::Plain.into()),
        ..Default::default()
    })
    .await;
    block_in_place(|| {
        bob.send_to(&rtp(3, 0xb, 100), to_bob_leg).unwrap();
        assert_eq!(alice.receive_raw(), rtp(3, 0xb, 100));
    });
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leg_that_goes_closes_its_association_while_it_has_a_socket_to_say_so_with() {
    for versions in [Versions::Dtls12, Versions::Dtls13] {
        let bed = Bed::new("farewell").await;
        let gateway = bed.fingerprint().await;
        let mut peers = Vec::new();
        for (name, role) in
            [("0", Role::Client), ("1", Role::Server), ("2", Role::Client), ("3", Role::Client)]
        {
            if role == Role::Server && versions == Versions::Dtls13 {
                // As a client the gateway offers 1.2.
                continue;
            }
            let mut peer = Peer::with(endpoint(&Settings { versions, ..Settings::default() }));
            let spec = handshaken(&peer).remote(&peer.socket).with(|config| answers(config, role));
            let leg = bed.daemon.leg("s", name, spec).await.unwrap();
            block_in_place(|| meet(&mut peer, &leg, role, &gateway));
            // Who begins has keys before its last flight has reached the gateway.
            bed.daemon
                .eventually(async || {
                    (bed.path(name).await.dtls_state() == v1::DtlsState::Established).then_some(())
                })
                .await;
            peers.push((name, peer));
        }
        let told = |peer: &mut Peer| block_in_place(|| peer.until("a close_notify", Peer::was_closed));
        let mut client = bed.daemon.client().await;
        for (name, peer) in peers.iter_mut().filter(|(name, _)| matches!(*name, "0" | "1")) {
            let request = v1::DeleteLegRequest { session: "s".into(), leg: (*name).into() };
            client.delete_leg(request).await.unwrap();
            told(peer);
        }
        let mut rest = peers.iter_mut().filter(|(name, _)| matches!(*name, "2" | "3"));
        let (session, leg) = ("s".to_owned(), "2".to_owned());
        bed.update(v1::UpdateLegRequest { session, leg, without_dtls: true, ..Default::default() }).await;
        told(&mut rest.next().unwrap().1);
        client.delete_session(v1::DeleteSessionRequest { session: "s".into() }).await.unwrap();
        told(&mut rest.next().unwrap().1);
        assert_eq!(bed.statistics().await.legs, 0);
        bed.daemon.stop().await;
    }
}
