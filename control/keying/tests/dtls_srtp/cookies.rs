//! Handshakes with peers that have to show first that they receive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sluice_keying::dtls_srtp::{Admission, Cookies, Endpoint, Role, Settings, Version, Versions};

use super::clock;
use super::relay::{ALL, End, Fate, Pair, endpoint, peer};

const MINUTE: Duration = Duration::from_mins(1);

/// A server that asks for a cookie.
fn guarded(client: &Arc<Endpoint>, server: &Arc<Endpoint>) -> Pair {
    let ends = [
        End::new(client, Role::Client, &ALL, Some(&peer(server))),
        End::new(server, Role::Server, &ALL, Some(&peer(client))).behind(Cookies::new(clock::now()).unwrap()),
    ];
    Pair::new(ends)
}

#[test]
fn a_client_brings_its_cookie_back_and_gets_keys() {
    let [client, server] = [(); 2].map(|()| endpoint(Settings::default()));
    let mut pair = guarded(&client, &server);
    pair.run(MINUTE);
    assert_eq!(pair.assert_keyed().version, Version::Dtls12);
    let from_server = pair.sent.iter().filter(|(from, _)| *from == 1).collect::<Vec<_>>();
    let message = |datagram: &[u8]| datagram[13];
    assert_eq!(message(&from_server[0].1), 3, "a HelloVerifyRequest comes first");
    assert_eq!(message(&from_server[1].1), 2, "a ServerHello next");
    // "The server MUST use the record sequence number in the ClientHello as the record sequence number in the initial
    // ServerHello" (RFC 6347 section 4.2.1).
    assert_eq!(from_server[1].1[5..11], [0, 0, 0, 0, 0, 1]);
}

#[test]
fn a_client_of_both_versions_speaks_12_after_a_cookie() {
    let client = endpoint(Settings { client_offers_dtls13: true, ..Settings::default() });
    let server = endpoint(Settings::default());
    let suites = &ALL[..3];
    let mut pair = Pair::new([
        End::new(&client, Role::Client, suites, Some(&peer(&server))),
        End::new(&server, Role::Server, suites, Some(&peer(&client)))
            .behind(Cookies::new(clock::now()).unwrap()),
    ]);
    pair.run(MINUTE);
    assert_eq!(pair.assert_keyed().version, Version::Dtls12);
}

#[test]
fn a_client_of_13_alone_is_asked_by_the_handshake() {
    let [client, server] =
        [(); 2].map(|()| endpoint(Settings { versions: Versions::Dtls13, ..Settings::default() }));
    let mut pair = guarded(&client, &server);
    pair.run(MINUTE);
    assert_eq!(pair.assert_keyed().version, Version::Dtls13);
}

#[test]
fn nothing_begins_for_who_does_not_receive() {
    let [client, server] = [(); 2].map(|()| endpoint(Settings::default()));
    let cookies = Cookies::new(clock::now()).unwrap();
    let mut end = End::new(&client, Role::Client, &ALL, Some(&peer(&server)));
    let hello = end.drain().remove(0);
    for port in 1..1000 {
        let source = SocketAddr::from(([192, 0, 2, 1], port));
        assert!(matches!(cookies.admit(clock::now(), source, &hello), Admission::Reply(_)));
    }
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![3 => Just(Fate::Delivered), 2 => Just(Fate::Lost), 1 => Just(Fate::Twice), 1 => (1..900u64).prop_map(Fate::Late)];
    prop::collection::vec(fate, 0..16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_network_does_the_cookie_fits(script in fates(), mtu in 300..1500usize) {
        let settings = Settings { mtu, handshake_timeout: MINUTE * 60, ..Settings::default() };
        let [client, server] = [(); 2].map(|()| endpoint(settings.clone()));
        let mut pair = guarded(&client, &server).with_script(script);
        pair.run(MINUTE * 50);
        pair.assert_keyed();
    }
}
