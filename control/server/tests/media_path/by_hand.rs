//! Legs that are made by hand, without session descriptions.

use sluice_keying::dtls_srtp::Role;
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use tokio::task::block_in_place;

use crate::bed::{Bed, PASSWORD, Talk, UFRAG, answers, begin, checked, handshaken, meet, meet_after_checks};
use crate::peer::{Peer, SUITES, endpoint};
use crate::support::{field_of, receive, rtp, silent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_and_a_handshake_bring_address_and_keys_and_media_goes_both_ways() {
    let mut bed = Bed::new("ice-dtls").await;
    let gateway = bed.fingerprint().await;
    let mut alice = Peer::new();
    let leg = bed.daemon.leg("s", "alice", checked(&mut alice)).await.unwrap();
    let (bob, to_bob_leg) = bed.bridge("alice").await;
    let path = bed.path("alice").await;
    assert_eq!((path.ice_state(), path.dtls_state()), (v1::IceState::Checking, v1::DtlsState::Waiting));
    assert!(path.explanation.contains("check"), "{}", path.explanation);
    assert_eq!(leg.remote_in_use, "");
    block_in_place(|| {
        meet_after_checks(&mut alice, &leg, &gateway);
        for sequence in 0..5 {
            alice.send(&rtp(sequence, 0xa, 100));
            assert_eq!(receive(&bob), rtp(sequence, 0xa, 100));
        }
        begin(&bob, to_bob_leg);
        for sequence in 0..5 {
            bob.send_to(&rtp(sequence + 2, 0xb, 100), to_bob_leg).unwrap();
            assert_eq!(alice.receive(), rtp(sequence, 0xb, 100));
        }
    });
    let told = bed
        .event(|kind| match kind {
            Kind::KeysNegotiated(told) => Some(told.clone()),
            _ => None,
        })
        .await;
    assert_eq!((told.suite.as_str(), told.forward_secret), (SUITES[0].name(), true));
    let shown = bed.leg("alice").await;
    assert_eq!(shown.remote_in_use, alice.address().to_string());
    let names: Vec<_> = shown.keys.iter().map(|key| (key.id.as_str(), key.direction())).collect();
    assert_eq!(names, [("dtls1", v1::Direction::Outbound), ("dtls1", v1::Direction::Inbound)]);
    let path = shown.media_path.unwrap();
    assert_eq!((path.ice_state(), path.dtls_state()), (v1::IceState::Connected, v1::DtlsState::Established));
    assert_eq!((path.explanation.as_str(), path.profile.as_str()), ("", SUITES[0].name()));
    assert_eq!(path.peer_fingerprint, alice.fingerprint());
    assert_eq!(path.selected_remote, alice.address().to_string());
    assert!(shown.config.unwrap().ice.unwrap().own.unwrap().password.is_empty(), "it never comes back");
    assert_eq!(shown.robustness, v1::RobustnessClass::ActiveSignalingActiveMedia as i32);
    // Its thread has more to do than to count the first media at once.
    let counted = bed
        .daemon
        .eventually(async || {
            let counted = bed.statistics().await;
            (counted.first_media.unwrap_or_default().count == 1).then_some(counted)
        })
        .await;
    assert_eq!((counted.handshakes_completed, counted.half_open, counted.legs), (1, 0, 1));
    assert_eq!(counted.keys_applied.unwrap().count, 1);
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_checks_shows_first_that_it_hears_and_the_gateway_may_begin_as_well() {
    let bed = Bed::new("dtls-only").await;
    let gateway = bed.fingerprint().await;
    for role in [Role::Client, Role::Server] {
        let name = format!("{role:?}");
        let mut peer = Peer::new();
        let spec = handshaken(&peer).remote(&peer.socket).with(|config| answers(config, role));
        let leg = bed.daemon.leg("s", &name, spec).await.unwrap();
        block_in_place(|| meet(&mut peer, &leg, role, &gateway));
        assert_eq!(bed.statistics().await.cookies_sent, 1, "the gateway's own handshake needs none");
    }
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_signalling_does_not_vouch_for_gets_no_media_and_gives_none() {
    let mut bed = Bed::new("mismatch").await;
    let gateway = bed.fingerprint().await;
    let (expected, mut mallory) =
        (Peer::new(), Peer::with(endpoint(&sluice_keying::dtls_srtp::Settings::default())));
    let spec = handshaken(&expected).remote(&mallory.socket);
    let leg = bed.daemon.leg("s", "alice", spec).await.unwrap();
    let (bob, _) = bed.bridge("alice").await;
    block_in_place(|| {
        mallory.gateway = Some(leg.local_rtp.parse().unwrap());
        mallory.handshake(Role::Client, &[gateway], &SUITES);
        mallory.for_a_while(std::time::Duration::from_millis(500));
        // He may have keys: the gateway's part of the handshake is over.
        if !mallory.keys.is_empty() {
            mallory.send(&rtp(0, 0xa, 100));
        }
        assert!(silent(&bob));
    });
    let refused = bed
        .event(|kind| match kind {
            Kind::CertificateRefused(refused) => Some(refused.clone()),
            _ => None,
        })
        .await;
    assert_eq!((refused.expected, refused.shown), (vec![expected.fingerprint()], mallory.fingerprint()));
    let path = bed.path("alice").await;
    assert_eq!(path.dtls_state(), v1::DtlsState::Failed);
    assert!(path.explanation.contains(&mallory.fingerprint()), "{}", path.explanation);
    assert!(bed.leg("alice").await.keys.is_empty());
    assert_eq!(bed.statistics().await.certificates_refused, 1);
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_before_its_fingerprint_is_signalled_waits_for_it_and_media_is_held_meanwhile() {
    let mut bed = Bed::new("early").await;
    let gateway = bed.fingerprint().await;
    let mut alice = Peer::new();
    let known = handshaken(&alice).config.dtls.unwrap();
    let spec = handshaken(&alice).remote(&alice.socket).with(|config| {
        config.dtls.as_mut().unwrap().peer_fingerprints.clear();
    });
    let leg = bed.daemon.leg("s", "alice", spec).await.unwrap();
    let (bob, _) = bed.bridge("alice").await;
    block_in_place(|| {
        meet(&mut alice, &leg, Role::Client, &gateway);
        for sequence in 0..5 {
            alice.send(&rtp(sequence, 0xa, 100));
        }
        assert!(silent(&bob), "nobody vouches for it yet");
    });
    let path = bed.path("alice").await;
    assert_eq!(path.dtls_state(), v1::DtlsState::Unverified, "{path:?}");
    assert!(path.explanation.contains("fingerprint"), "{}", path.explanation);
    let (session, leg) = ("s".to_owned(), "alice".to_owned());
    bed.update(v1::UpdateLegRequest { session, leg, dtls: Some(known), ..Default::default() }).await;
    block_in_place(|| {
        for sequence in 0..5 {
            assert_eq!(receive(&bob), rtp(sequence, 0xa, 100));
        }
    });
    let released = bed.event(|kind| match kind {
        Kind::EarlyMediaReleased(released) => Some(released.packets),
        _ => None,
    });
    assert_eq!(released.await, 5);
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_moves_is_followed_once_a_check_from_there_has_passed() {
    let mut bed = Bed::new("moves").await;
    let Talk { mut alice, bob, to_bob_leg, .. } = bed.talk_after_checks().await;
    block_in_place(|| {
        alice.send(&rtp(0, 0xa, 50));
        assert_eq!(receive(&bob), rtp(0, 0xa, 50));
        // Authentic media from elsewhere is heard, and moves nothing.
        let before = std::mem::replace(&mut alice.socket, crate::support::udp());
        alice.send(&rtp(1, 0xa, 50));
        assert_eq!(receive(&bob), rtp(1, 0xa, 50));
        begin(&bob, to_bob_leg);
        alice.socket = before;
        for sequence in 0..2 {
            assert_eq!(alice.receive(), rtp(sequence, 0xb, 100), "still where the checks were");
        }
        alice.move_on(UFRAG, PASSWORD);
        alice.until("another way", Peer::is_connected);
        // The gateway follows a nomination of an address that seems worse once the peer stays with it.
        let arrived = (2..100).find(|sequence| {
            bob.send_to(&rtp(*sequence, 0xb, 100), to_bob_leg).unwrap();
            !alice.hears_nothing()
        });
        assert_eq!(alice.receive(), rtp(arrived.expect("media at the new address"), 0xb, 100));
    });
    let here = alice.address().to_string();
    let found = bed.event(|kind| match kind {
        Kind::IceChanged(changed) if changed.remote == here => Some(()),
        _ => None,
    });
    found.await;
    assert_eq!(bed.leg("alice").await.remote_in_use, here);
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_with_the_field_that_is_wrong() {
    let bed = Bed::new("refusals").await;
    let mut peer = Peer::new();
    let mut refused = async |change: fn(&mut v1::LegConfig)| {
        let spec = checked(&mut peer).with(change);
        field_of(&bed.daemon.leg("s", "l", spec).await.unwrap_err())
    };
    assert_eq!(refused(|config| config.rtcp_mux = false).await, "rtcp_mux");
    assert_eq!(refused(|config| config.inbound = v1::Protection::Plain.into()).await, "dtls");
    assert_eq!(
        refused(|config| config.dtls.as_mut().unwrap().peer_fingerprints = vec!["sha-1 00".into()]).await,
        "dtls.peer_fingerprints"
    );
    assert_eq!(
        refused(|config| config.dtls.as_mut().unwrap().suites = vec!["ROT13".into()]).await,
        "dtls.suites"
    );
    assert_eq!(
        refused(|config| config.dtls.as_mut().unwrap().own_fingerprint = "sha-256 AA".into()).await,
        "dtls.own_fingerprint"
    );
    assert_eq!(refused(|config| config.dtls.as_mut().unwrap().tls_id = "a b".into()).await, "dtls.tls_id");
    assert_eq!(refused(|config| config.ice.as_mut().unwrap().own = None).await, "ice.own");
    assert_eq!(
        refused(|config| config.ice.as_mut().unwrap().peer_candidates = vec!["nonsense".into()]).await,
        "ice.peer_candidates"
    );
    bed.daemon.stop().await;
}
