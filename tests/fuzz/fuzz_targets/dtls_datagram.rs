//! Datagrams of anybody for a client, a server, and the cookies before one: nothing panics, nobody gets keys without being
//! who signalling says, and an answer to who has not shown that it receives is no larger than what came.
//!
//! The first octet says whom the datagrams are for; each is behind its length.
#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use sluice_keying::dtls_srtp::{
    Admission, Association, Certificate, Cookies, Endpoint, Event, HashFunction, OFFERED, Output, PeerDtls, Role, Settings,
    Versions,
};

static ENDPOINTS: LazyLock<[Arc<Endpoint>; 3]> = LazyLock::new(|| {
    [Versions::Dtls12, Versions::Dtls13, Versions::Both].map(|versions| {
        let certificate = Certificate::generate(Duration::from_secs(24 * 3600)).expect("a certificate");
        let settings = Settings { versions, client_offers_dtls13: true, resumption: true, ..Settings::default() };
        Arc::new(Endpoint::new(settings, Arc::new(certificate)).expect("an endpoint"))
    })
});

fuzz_target!(|input: &[u8]| {
    let Some((&whom, mut rest)) = input.split_first() else { return };
    let mut now = Instant::now();
    let endpoint = &ENDPOINTS[usize::from(whom >> 2) % 3];
    let role = if whom & 1 == 0 { Role::Client } else { Role::Server };
    // Nobody has the key of this one.
    let stranger = PeerDtls { fingerprints: vec![endpoint.certificate().fingerprint(HashFunction::Sha256)], tls_id: None };
    let mut association = Association::new(endpoint, role, &OFFERED, Some(&stranger), now).expect("an association");
    let mut cookies = (whom & 2 != 0).then(|| Cookies::new(now).expect("cookies"));
    while let [high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (datagram, after) = tail.split_at(length);
        rest = after;
        match &cookies {
            Some(guard) => match guard.admit(now, SocketAddr::from(([192, 0, 2, 1], 5004)), datagram) {
                Admission::Reply(reply) => assert!(reply.len() <= datagram.len()),
                Admission::Admit(first) => {
                    let _ = association.admit(now, first);
                    cookies = None;
                }
                Admission::Drop(_) => {}
            },
            None => drop(association.handle_datagram(now, datagram)),
        }
        drain(&mut association);
        now += Duration::from_millis(100);
        association.handle_timeout(now);
        drain(&mut association);
    }
    association.close(now);
    drain(&mut association);
});

fn drain(association: &mut Association) {
    loop {
        match association.poll() {
            Output::Transmit(_) => {}
            Output::Event(event) => assert!(!matches!(event, Event::Keys(_)), "keys without a peer"),
            Output::Timeout(_) => break,
        }
    }
    let _ = association.state().to_string();
}
