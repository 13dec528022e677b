//! RFC 5769: messages that other people made.

use std::time::Instant;

use sluice_keying::ice::{Agent, Candidate, Credentials, Event, OwnIce};

use crate::checks::receive;
use crate::network::address;

/// Section 2.1, whose padding is of spaces.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff\
    80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2\
    80280004e57a3bcf";
const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

#[test]
fn the_sample_request_is_answered_and_one_with_any_bit_changed_is_not() {
    let now = Instant::now();
    let agent = || {
        let credentials = Credentials::new("evtj", PASSWORD).unwrap();
        let candidates = vec![Candidate::host(1, address("192.0.2.1:5000"), 65535)];
        Agent::new(&OwnIce { credentials, candidates, lite: false }, true, now)
    };
    let request = hex(REQUEST);
    let remote = address("192.0.2.7:4000");
    let effect = receive(&mut agent(), now, remote, &request);
    assert_eq!(effect.result, Ok(()));
    assert_eq!(effect.mapped(PASSWORD).0, remote);
    assert_eq!(effect.events, [Event::Checked { component: 1, remote }]);
    for bit in 0..request.len() * 8 {
        let mut changed = request.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let effect = receive(&mut agent(), now, remote, &changed);
        assert!(effect.result.is_err(), "bit {bit}");
        assert!(effect.events.is_empty(), "bit {bit}");
        assert!(
            effect.responses.is_empty(),
            "bit {bit}: FINGERPRINT is wrong, so that it is no STUN message"
        );
    }
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
