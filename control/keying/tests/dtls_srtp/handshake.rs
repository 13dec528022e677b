//! The gateway's ends with each other, over networks of any kind.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sluice_keying::dtls_srtp::{Alert, DtlsError, Endpoint, Event, Role, Settings, State, Version, Versions};
use sluice_srtp::Suite;

use super::relay::{ALL, End, Fate, Pair, endpoint};
use super::{clock, relay};

const SECONDS: Duration = Duration::from_secs(1);
const VERSIONS: [(Versions, Version); 2] =
    [(Versions::Dtls12, Version::Dtls12), (Versions::Dtls13, Version::Dtls13)];

fn endpoints(versions: Versions) -> [Arc<Endpoint>; 2] {
    // However many datagrams are lost, it does not give up.
    let settings = Settings { versions, handshake_timeout: SECONDS * 3600, ..Settings::default() };
    [(); 2].map(|()| endpoint(settings.clone()))
}

#[test]
fn both_ends_get_the_same_keys_by_either_version() {
    for (versions, version) in VERSIONS {
        let [client, server] = endpoints(versions);
        let mut pair = Pair::acquainted(&client, &server, [&ALL, &ALL]);
        pair.run(SECONDS * 60);
        let keys = pair.assert_keyed();
        assert_eq!(keys.version, version);
        assert!(keys.forward_secret && !keys.resumed);
        assert!(keys.cipher.starts_with("TLS_"), "{}", keys.cipher);
    }
}

#[test]
fn every_profile_can_be_had() {
    for suite in ALL {
        let [client, server] = endpoints(Versions::Dtls12);
        let mut pair = Pair::acquainted(&client, &server, [&ALL, &[suite]]);
        pair.run(SECONDS * 60);
        assert_eq!(pair.assert_keyed().suite, suite);
        let mut pair = Pair::acquainted(&client, &server, [&[suite], &ALL]);
        pair.run(SECONDS * 60);
        let keys = pair.assert_keyed();
        assert_eq!(keys.suite, suite);
        assert_eq!(keys.inbound.key_salt.len(), suite.key_len() + suite.salt_len());
    }
}

#[test]
fn the_servers_order_decides() {
    let [client, server] = endpoints(Versions::Dtls12);
    let own = [Suite::AesCm128HmacSha1_80, Suite::AeadAes256Gcm];
    let mut pair = Pair::acquainted(&client, &server, [&ALL, &own]);
    pair.run(SECONDS * 60);
    assert_eq!(pair.assert_keyed().suite, own[0]);
}

#[test]
fn dtls13_takes_no_profile_that_is_not_allowed() {
    let [client, server] = endpoints(Versions::Dtls13);
    let mut pair = Pair::acquainted(&client, &server, [&ALL, &[Suite::AesCm128HmacSha1_80]]);
    pair.run(SECONDS * 60);
    assert!(pair.ends.iter().all(|end| end.keys().is_none()));
    let mut pair = Pair::acquainted(&client, &server, [&[Suite::AesCm128HmacSha1_80], &ALL]);
    pair.run(SECONDS * 60);
    let failed = Event::Failed(DtlsError::WrongProfile);
    assert!(pair.ends[0].events.contains(&failed), "{:?}", pair.ends[0].events);
}

#[test]
fn a_client_that_offers_both_speaks_what_the_server_does() {
    let settings = Settings { client_offers_dtls13: true, ..Settings::default() };
    let client = endpoint(settings);
    for (versions, version) in VERSIONS {
        let [server, _] = endpoints(versions);
        let suites = &ALL[..3];
        let mut pair = Pair::acquainted(&client, &server, [suites, suites]);
        pair.run(SECONDS * 60);
        assert_eq!(pair.assert_keyed().version, version);
    }
}

#[test]
fn versions_that_do_not_meet_give_no_keys() {
    let [client, _] = endpoints(Versions::Dtls12);
    let [server, _] = endpoints(Versions::Dtls13);
    let mut pair = Pair::acquainted(&client, &server, [&ALL, &ALL]);
    pair.run(SECONDS * 60);
    let state = pair.ends[1].association.state();
    assert!(
        matches!(state, State::AwaitingClientHello { rejected: Some(DtlsError::NoCommonVersion(_)) }),
        "{state}"
    );
    assert!(
        pair.ends[0].events.contains(&Event::Failed(DtlsError::PeerAlert(Alert(70)))),
        "{:?}",
        pair.ends[0].events
    );
}

#[test]
fn a_lost_last_flight_is_sent_again_as_often_as_it_is_lost() {
    for (versions, _) in VERSIONS {
        let [client, server] = endpoints(versions);
        let mut pair = Pair::acquainted(&client, &server, [&ALL, &ALL]);
        // Whoever is through first has sent the last flight; nothing of it arrives until the other has tried five times.
        let mut lost = 0;
        for _ in 0..2000 {
            pair.step();
            let through = pair.ends.iter().position(|end| end.keys().is_some());
            if let Some(through) = through
                && lost < 5
            {
                lost += pair.lose_from(through);
            }
        }
        assert_eq!(lost, 5);
        pair.run(SECONDS * 600);
        pair.assert_keyed();
    }
}

#[test]
fn flights_are_sent_again_at_growing_intervals() {
    for (versions, _) in VERSIONS {
        let [client, server] = endpoints(versions);
        let mut end = End::new(&client, Role::Client, &ALL, Some(&relay::peer(&server)));
        let mut sent = Vec::new();
        for _ in 0..5 {
            assert!(!end.drain().is_empty());
            sent.push(clock::now());
            let before = end.association.state();
            while end.drain().is_empty() {
                assert!(end.timeout.is_some(), "{before:?}");
                clock::advance_to(end.timeout.unwrap());
                end.association.handle_timeout(clock::now());
                if let State::Handshaking { sent: count, .. } = end.association.state()
                    && matches!(before, State::Handshaking { sent, .. } if sent < count)
                {
                    break;
                }
            }
        }
        let intervals: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            intervals[0] >= Duration::from_millis(290) && intervals[0] <= Duration::from_millis(510),
            "{intervals:?}"
        );
        assert!(intervals.windows(2).all(|pair| pair[1] > pair[0]), "{intervals:?}");
    }
}

#[test]
fn silence_is_a_failure_in_the_end() {
    for (versions, _) in VERSIONS {
        let server = endpoint(Settings::default());
        let client = endpoint(Settings { versions, ..Settings::default() });
        let mut pair = Pair::acquainted(&client, &server, [&ALL, &ALL]).with_script([Fate::Lost; 100]);
        let before = clock::now();
        pair.run(SECONDS * 120);
        let failed =
            pair.ends[0].events.iter().any(|event| matches!(event, Event::Failed(DtlsError::TimedOut(_))));
        assert!(failed, "{:?}", pair.ends[0].events);
        let passed = clock::now() - before;
        assert!(passed >= SECONDS * 29 && passed <= SECONDS * 31, "{passed:?}");
    }
}

#[test]
fn closing_is_told_to_the_other_end() {
    for closer in 0..2 {
        for (versions, _) in VERSIONS {
            let [client, server] = endpoints(versions);
            let mut pair = Pair::acquainted(&client, &server, [&ALL, &ALL]);
            pair.run(SECONDS * 60);
            pair.assert_keyed();
            pair.ends[closer].association.close(clock::now());
            pair.run(SECONDS * 60);
            assert!(pair.ends[1 - closer].events.contains(&Event::Closed));
            assert!(pair.ends.iter().all(|end| end.association.state() == State::Closed));
        }
    }
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        2 => Just(Fate::Delivered),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        1 => (1..1500u64).prop_map(Fate::Late),
    ];
    prop::collection::vec(fate, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_network_does_the_keys_are_the_same_12(script in fates(), mtu in 300..1500usize) {
        survives(Versions::Dtls12, script, mtu);
    }

    #[test]
    fn whatever_the_network_does_the_keys_are_the_same_13(script in fates(), mtu in 1100..1500usize) {
        survives(Versions::Dtls13, script, mtu);
    }
}

fn survives(versions: Versions, script: Vec<Fate>, mtu: usize) {
    let settings = Settings { versions, mtu, handshake_timeout: SECONDS * 3600, ..Settings::default() };
    let [client, server] = [(); 2].map(|()| endpoint(settings.clone()));
    let mut pair = Pair::acquainted(&client, &server, [&ALL, &ALL]).with_script(script);
    pair.run(SECONDS * 3000);
    pair.assert_keyed();
    let largest = pair.sent.iter().map(|(_, datagram)| datagram.len()).max().unwrap();
    assert!(largest <= mtu, "{largest} octets of {mtu}");
}
