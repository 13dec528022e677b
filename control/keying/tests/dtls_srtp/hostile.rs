//! What does not belong to a handshake leaves it alone.

use std::time::Duration;

use proptest::prelude::*;
use sluice_keying::dtls_srtp::{Alert, DtlsError, Event, Ignored, Role, Settings, State, Versions};

use super::clock;
use super::relay::{ALL, End, Fate, Pair, endpoint, peer};

const MINUTE: Duration = Duration::from_mins(1);
const VERSIONS: [Versions; 2] = [Versions::Dtls12, Versions::Dtls13];

fn pair(versions: Versions) -> Pair {
    let [client, server] = [(); 2].map(|()| endpoint(Settings { versions, ..Settings::default() }));
    Pair::acquainted(&client, &server, [&ALL, &ALL])
}

/// The `ClientHello` of somebody else.
fn stray(versions: Versions) -> Vec<u8> {
    let [client, server] = [(); 2].map(|()| endpoint(Settings { versions, ..Settings::default() }));
    End::new(&client, Role::Client, &ALL, Some(&peer(&server))).drain().remove(0)
}

const FATAL_HANDSHAKE_FAILURE: [u8; 15] = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];

#[test]
fn another_clients_hello_disturbs_neither_the_handshake_nor_what_follows() {
    for versions in VERSIONS {
        let mut pair = pair(versions);
        let hellos = VERSIONS.map(stray);
        for _ in 0..40 {
            pair.step();
            if matches!(pair.ends[1].association.state(), State::AwaitingClientHello { .. }) {
                continue;
            }
            for (end, hello) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let taken = pair.ends[end].association.handle_datagram(clock::now(), &hellos[hello]);
                assert_eq!(taken, Err(DtlsError::Ignored(Ignored::StrayClientHello)));
            }
        }
        pair.run(MINUTE);
        pair.assert_keyed();
        assert!(pair.ends.iter().all(|end| matches!(end.association.state(), State::Established { .. })));
    }
}

#[test]
fn an_alert_of_anybody_ends_nothing_that_gets_on() {
    for versions in VERSIONS {
        let mut pair = pair(versions);
        for _ in 0..40 {
            pair.step();
            for end in &mut pair.ends {
                assert!(end.association.handle_datagram(clock::now(), &FATAL_HANDSHAKE_FAILURE).is_err());
            }
        }
        pair.run(MINUTE);
        pair.assert_keyed();
    }
}

#[test]
fn an_alert_ends_what_stands_still() {
    let mut pair = pair(Versions::Dtls12).with_script([Fate::Lost; 20]);
    pair.step();
    let _ = pair.ends[0].association.handle_datagram(clock::now(), &FATAL_HANDSHAKE_FAILURE);
    let before = clock::now();
    pair.run(MINUTE);
    assert!(pair.ends[0].events.contains(&Event::Failed(DtlsError::PeerAlert(Alert(40)))));
    assert!(clock::now() - before < Duration::from_secs(5));
}

#[test]
fn protected_records_that_come_too_early_are_not_kept_without_end() {
    let mut pair = pair(Versions::Dtls12).with_script([Fate::Delivered, Fate::Lost, Fate::Lost]);
    pair.step();
    pair.step();
    let mut early = vec![23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 200];
    early.extend([0; 200]);
    for number in 0..2000u16 {
        early[9..11].copy_from_slice(&number.to_be_bytes());
        pair.ends[1].take(&early);
    }
    assert!(matches!(pair.ends[1].association.state(), State::Handshaking { .. }));
}

#[test]
fn a_closed_association_takes_nothing() {
    let mut pair = pair(Versions::Dtls12);
    pair.run(MINUTE);
    pair.ends[0].association.close(clock::now());
    let taken = pair.ends[0].association.handle_datagram(clock::now(), &stray(Versions::Dtls12));
    assert_eq!(taken, Err(DtlsError::Ignored(Ignored::Over)));
}

/// What somebody puts in between the datagrams: octets, and datagrams that went by with some changed.
#[derive(Clone, Debug)]
enum Junk {
    Octets(Vec<u8>),
    Changed { which: prop::sample::Index, at: prop::sample::Index, to: u8 },
    Cut { which: prop::sample::Index, at: prop::sample::Index },
}

fn junk() -> impl Strategy<Value = Junk> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Junk::Octets),
        (index(), index(), any::<u8>()).prop_map(|(which, at, to)| Junk::Changed { which, at, to }),
        (index(), index()).prop_map(|(which, at)| Junk::Cut { which, at }),
    ]
}

fn make(junk: &Junk, sent: &[(usize, Vec<u8>)]) -> Vec<u8> {
    match junk {
        Junk::Octets(octets) => octets.clone(),
        Junk::Changed { which, at, to } => {
            let mut datagram = which.get(sent).1.clone();
            let at = at.index(datagram.len());
            datagram[at] = *to;
            datagram
        }
        Junk::Cut { which, at } => {
            let datagram = &which.get(sent).1;
            datagram[..at.index(datagram.len())].to_vec()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_sent_panics_or_gives_keys_of_another(versions in 0..2usize, junk in prop::collection::vec((0..2usize, junk()), 0..40)) {
        let mut pair = pair(VERSIONS[versions]);
        pair.step();
        for (to, junk) in junk {
            let datagram = make(&junk, &pair.sent);
            pair.ends[to].take(&datagram);
            pair.step();
        }
        pair.run(MINUTE);
        // It may fail, as whoever can change what is not protected can make it; keys are the same or none.
        if let [Some(client), Some(server)] = [0, 1].map(|end| pair.ends[end].keys()) {
            prop_assert_eq!(&client.inbound, &server.outbound);
        }
    }

    #[test]
    fn after_the_handshake_nothing_disturbs(versions in 0..2usize, junk in prop::collection::vec((0..2usize, junk()), 0..40)) {
        let mut pair = pair(VERSIONS[versions]);
        pair.run(MINUTE);
        for (to, junk) in junk {
            let datagram = make(&junk, &pair.sent);
            pair.ends[to].take(&datagram);
            pair.run(MINUTE);
        }
        pair.assert_keyed();
        let established = |end: &End| matches!(end.association.state(), State::Established { .. });
        prop_assert!(pair.ends.iter().all(established), "{:?}", pair.ends.each_ref().map(|end| end.association.state()));
    }
}
