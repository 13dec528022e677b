//! Associations that resume earlier ones.

use std::sync::Arc;
use std::time::Duration;

use sluice_keying::dtls_srtp::{Endpoint, Role, Settings};

use super::clock;
use super::relay::{ALL, End, Pair, endpoint, peer};

const MINUTE: Duration = Duration::from_mins(1);

fn run(client: &Arc<Endpoint>, server: &Arc<Endpoint>) -> Pair {
    let mut pair = Pair::acquainted(client, server, [&ALL, &ALL]);
    pair.run(MINUTE);
    pair
}

#[test]
fn a_peer_that_was_there_before_is_resumed_with_other_keys() {
    let [client, server] = [(); 2].map(|()| endpoint(Settings { resumption: true, ..Settings::default() }));
    let first = run(&client, &server);
    let first = first.assert_keyed();
    assert!(!first.resumed && first.forward_secret);
    for _ in 0..2 {
        let again = run(&client, &server);
        for end in &again.ends {
            let keys = end.keys().unwrap();
            assert!(keys.resumed && !keys.forward_secret);
        }
        assert_ne!(again.assert_keyed().inbound, first.inbound);
    }
}

#[test]
fn nothing_is_resumed_unless_both_allow_it() {
    for allows in [[true, false], [false, true], [false, false]] {
        let [client, server] =
            allows.map(|resumption| endpoint(Settings { resumption, ..Settings::default() }));
        for _ in 0..2 {
            assert!(!run(&client, &server).assert_keyed().resumed, "{allows:?}");
        }
    }
}

#[test]
fn a_session_is_offered_to_its_peer_alone() {
    let [client, first, second] =
        [(); 3].map(|()| endpoint(Settings { resumption: true, ..Settings::default() }));
    run(&client, &first).assert_keyed();
    assert!(!run(&client, &second).assert_keyed().resumed);
    assert!(run(&client, &first).assert_keyed().resumed);
}

#[test]
fn a_resumed_session_of_another_certificate_brings_no_keys() {
    let [client, server, other] =
        [(); 3].map(|()| endpoint(Settings { resumption: true, ..Settings::default() }));
    run(&client, &server).assert_keyed();
    // Signalling now says that another one calls.
    let mut pair = Pair::new([
        End::new(&client, Role::Client, &ALL, Some(&peer(&server))),
        End::new(&server, Role::Server, &ALL, Some(&peer(&other))),
    ]);
    pair.run(MINUTE);
    assert!(pair.ends[1].keys().is_none());
    let mut pair = Pair::new([
        End::new(&client, Role::Client, &ALL, Some(&peer(&server))),
        End::new(&server, Role::Server, &ALL, None),
    ]);
    pair.run(MINUTE);
    pair.ends[1].association.set_peer(&peer(&other), clock::now());
    pair.run(MINUTE);
    assert!(pair.ends[1].keys().is_none());
}
