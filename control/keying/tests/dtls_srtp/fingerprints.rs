//! Keys are for whom signalling vouches for.

use std::time::Duration;

use sluice_keying::dtls_srtp::{
    DtlsError, Event, HashFunction, KeyKind, PeerDtls, Role, Settings, State, Versions,
};

use super::clock;
use super::relay::{ALL, End, Pair, endpoint, peer};

const MINUTE: Duration = Duration::from_mins(1);
const VERSIONS: [Versions; 2] = [Versions::Dtls12, Versions::Dtls13];

fn refused(end: &End) -> bool {
    let mismatch = |event: &Event| matches!(event, Event::Refused(DtlsError::FingerprintMismatch { .. }));
    end.events.iter().any(mismatch)
        && end.keys().is_none()
        && matches!(end.association.state(), State::Failed(_))
}

#[test]
fn a_certificate_that_is_not_signalled_is_refused_by_either_role() {
    for versions in VERSIONS {
        let [client, server, other] =
            [(); 3].map(|()| endpoint(Settings { versions, ..Settings::default() }));
        for (suspicious, role) in [(0, Role::Client), (1, Role::Server)] {
            let mut known = [peer(&server), peer(&client)];
            known[suspicious] = peer(&other);
            let ends = [(&client, Role::Client, &known[0]), (&server, Role::Server, &known[1])];
            let mut pair = Pair::new(ends.map(|(own, role, known)| End::new(own, role, &ALL, Some(known))));
            pair.run(MINUTE);
            assert!(refused(&pair.ends[suspicious]), "{role:?} {:?}", pair.ends[suspicious].events);
            let words = pair.ends[suspicious].association.state().to_string();
            assert!(words.contains("sha-256") && words.contains("signalling"), "{words}");
        }
    }
}

#[test]
fn keys_wait_for_the_fingerprint() {
    for versions in VERSIONS {
        let [client, server] = [(); 2].map(|()| endpoint(Settings { versions, ..Settings::default() }));
        let mut pair = Pair::new([
            End::new(&client, Role::Client, &ALL, Some(&peer(&server))),
            End::new(&server, Role::Server, &ALL, None),
        ]);
        pair.run(MINUTE);
        assert!(pair.ends[0].keys().is_some());
        assert!(pair.ends[1].keys().is_none());
        assert!(matches!(pair.ends[1].association.state(), State::AwaitingFingerprint { .. }));
        pair.ends[1].association.set_peer(&peer(&client), clock::now());
        pair.run(MINUTE);
        pair.assert_keyed();
    }
}

#[test]
fn a_wrong_fingerprint_that_comes_later_refuses() {
    for versions in VERSIONS {
        let [client, server, other] =
            [(); 3].map(|()| endpoint(Settings { versions, ..Settings::default() }));
        let mut pair = Pair::new([
            End::new(&client, Role::Client, &ALL, Some(&peer(&server))),
            End::new(&server, Role::Server, &ALL, None),
        ]);
        pair.run(MINUTE);
        pair.ends[1].association.set_peer(&peer(&other), clock::now());
        pair.run(MINUTE);
        assert!(refused(&pair.ends[1]));
        assert!(pair.ends[0].events.contains(&Event::Closed), "the peer is told");
    }
}

#[test]
fn the_strongest_hash_decides() {
    let [client, server, other] = [(); 3].map(|()| endpoint(Settings::default()));
    let weak = server.certificate().fingerprint(HashFunction::Sha256);
    for (strong, right) in [(&server, true), (&other, false)] {
        let strong = strong.certificate().fingerprint(HashFunction::Sha512);
        let known = PeerDtls { fingerprints: vec![weak.clone(), strong], tls_id: None };
        let mut pair = Pair::new([
            End::new(&client, Role::Client, &ALL, Some(&known)),
            End::new(&server, Role::Server, &ALL, Some(&peer(&client))),
        ]);
        pair.run(MINUTE);
        assert_eq!(pair.ends[0].keys().is_some(), right);
        assert_eq!(refused(&pair.ends[0]), !right);
    }
}

#[test]
fn no_fingerprint_at_all_vouches_for_nobody() {
    let [client, server] = [(); 2].map(|()| endpoint(Settings::default()));
    let mut pair = Pair::new([
        End::new(&client, Role::Client, &ALL, Some(&PeerDtls::default())),
        End::new(&server, Role::Server, &ALL, Some(&peer(&client))),
    ]);
    pair.run(MINUTE);
    assert!(refused(&pair.ends[0]));
}

#[test]
fn the_certificate_is_told_before_the_keys() {
    let [client, server] = [(); 2].map(|()| endpoint(Settings::default()));
    let mut pair = Pair::acquainted(&client, &server, [&ALL, &ALL]);
    pair.run(MINUTE);
    for (end, other) in [(0, &server), (1, &client)] {
        let fingerprint = other.certificate().fingerprint(HashFunction::Sha256);
        let shown = Event::PeerCertificate { kind: Some(KeyKind::EcdsaP256), fingerprint };
        let events = &pair.ends[end].events;
        let shown = events.iter().position(|event| *event == shown).unwrap();
        let keys = events.iter().position(|event| matches!(event, Event::Keys(_))).unwrap();
        assert!(shown < keys);
    }
}
