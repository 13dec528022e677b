//! What is not from the peer, or not as it has to be.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sluice_keying::ice::{
    Agent, Candidate, CandidateKind, IceError, MAX_PAIRS, MAX_PEER_CANDIDATES, Output, PeerIce, State,
};
use stun_types::attribute::XorMappedAddress;
use stun_types::message::{
    IntegrityAlgorithm, Message, MessageWrite, MessageWriteExt, MessageWriteVec, ShortTermCredentials,
};

use crate::checks::{CONTROLLED, Check, PRIORITY, receive};
use crate::network::{BROWSER, GATEWAY, SECOND, address, own};

fn agent(lite: bool, now: Instant) -> Agent {
    let mut agent = Agent::new(&own('g', lite, &[GATEWAY]), false, now);
    let browser = own('b', false, &[BROWSER]);
    agent.set_peer(
        &PeerIce {
            credentials: browser.credentials,
            candidates: browser.candidates,
            lite: false,
            more: false,
        },
        now,
    );
    agent
}

#[test]
fn a_check_that_is_not_the_peers_is_refused_or_ignored_and_changes_nothing() {
    let now = Instant::now();
    let right = || Check::new('b', 'g').nominating();
    let cases: [(&str, Check, IceError, Option<u16>); 9] = [
        (
            "password",
            Check { password: Some("x".repeat(24)), ..right() },
            IceError::WrongIntegrity,
            Some(401),
        ),
        (
            "own fragment",
            Check { username: Some("xxxx:bbbbbbbb".into()), ..right() },
            IceError::UnknownUser,
            None,
        ),
        (
            "peer's fragment",
            Check { username: Some("gggggggg:xxxx".into()), ..right() },
            IceError::UnknownPeer,
            None,
        ),
        ("no fingerprint", Check { fingerprint: false, ..right() }, malformed(), None),
        ("no password", Check { password: None, ..right() }, IceError::NoCredentials, Some(400)),
        ("no user", Check { username: None, ..right() }, IceError::NoCredentials, Some(400)),
        (
            "no colon",
            Check { username: Some("gggggggg".into()), ..right() },
            IceError::NoCredentials,
            Some(400),
        ),
        (
            "unknown attribute",
            Check { attributes: [right().attributes, vec![(0x7ff0, vec![1])]].concat(), ..right() },
            IceError::UnknownAttribute(0x7ff0),
            Some(420),
        ),
        (
            "no priority",
            Check { attributes: right().attributes[1..].to_vec(), ..right() },
            IceError::BadRequest("PRIORITY is missing, or 0"),
            Some(400),
        ),
    ];
    for (what, check, error, code) in cases {
        for lite in [true, false] {
            let mut agent = agent(lite, now);
            let before = agent.state();
            let effect = receive(&mut agent, now, address(BROWSER), &check.write());
            assert_eq!(effect.result.as_ref().unwrap_err(), &error, "{what}");
            match code {
                Some(code) => assert_eq!(effect.refusal(), code, "{what}"),
                None => assert!(effect.responses.is_empty(), "{what}"),
            }
            assert!(effect.events.is_empty(), "{what}");
            assert!(!agent.is_checked(1, address(BROWSER)), "{what}");
            assert_eq!(agent.state(), before, "{what}");
            assert_eq!(receive(&mut agent, now, address(BROWSER), &right().write()).result, Ok(()), "{what}");
        }
    }
}

fn malformed() -> IceError {
    IceError::Malformed("FINGERPRINT does not end it, or is wrong")
}

#[test]
fn nobody_is_sent_more_than_he_sent_nor_more_often_than_a_few_times_a_second() {
    let now = Instant::now();
    let mut agent = agent(true, now);
    let forged = Check { password: Some("x".repeat(24)), ..Check::new('b', 'g') }.write();
    let plain =
        Check { password: None, username: None, attributes: Vec::new(), ..Check::new('b', 'g') }.write();
    let (mut responses, mut octets) = (0, 0);
    for index in 0..10_000_u64 {
        let at = now + Duration::from_micros(100 * index);
        let victim = SocketAddr::new([203, 0, 113, 1].into(), 1 + index as u16);
        for datagram in [&forged, &plain] {
            let effect = receive(&mut agent, at, victim, datagram);
            assert!(effect.result.is_err() && effect.events.is_empty());
            responses += effect.responses.len();
            octets += effect.responses.iter().map(Vec::len).sum::<usize>();
            assert!(effect.responses.iter().all(|response| response.len() <= datagram.len()));
        }
    }
    assert!(responses <= 10, "{responses} in a second");
    assert!(octets < 1000);
    let effect = receive(&mut agent, now + SECOND, address(BROWSER), &Check::new('b', 'g').write());
    assert_eq!(effect.mapped(&"g".repeat(24)).0, address(BROWSER), "the peer is answered all the same");
}

#[test]
fn who_knows_the_password_is_answered_at_a_bounded_rate_and_takes_bounded_memory() {
    for lite in [true, false] {
        let now = Instant::now();
        let mut agent = agent(lite, now);
        let check = Check::new('b', 'g').nominating().write();
        let mut answered = 0;
        for index in 0..20_000_u64 {
            let at = now + Duration::from_micros(500 * index);
            let remote = SocketAddr::new([203, 0, 113, (index / 60_000) as u8].into(), 1 + index as u16);
            answered += receive(&mut agent, at, remote, &check).responses.len();
            agent.handle_timeout(at);
        }
        assert!((1000..=1110).contains(&answered), "{answered} in ten seconds");
        let at = now + SECOND * 11;
        let known = (1..=u16::MAX)
            .filter(|port| agent.is_checked(1, SocketAddr::new([203, 0, 113, 0].into(), *port)));
        assert!(known.count() <= MAX_PAIRS);
        let remote = address("203.0.113.77:7");
        assert_eq!(receive(&mut agent, at, remote, &check).result, Ok(()));
        assert!(agent.is_checked(1, remote), "there is room for one more move");
    }
}

#[test]
fn an_agent_takes_little_memory_and_a_bounded_amount_whoever_floods_it() {
    for (lite, most) in [(true, 48_000), (false, 100_000)] {
        let now = Instant::now();
        let mut made = None;
        let fresh = allocation_counter::measure(|| made = Some(agent(lite, now)));
        assert!(fresh.bytes_current < 4_000, "{}", fresh.bytes_current);
        let mut agent = made.unwrap();
        let check =
            Check { username: Some(format!("gggggggg:{}", "b".repeat(8))), ..Check::new('b', 'g') }.write();
        let flooded = allocation_counter::measure(|| {
            for index in 0..3_000_u64 {
                let at = now + Duration::from_millis(10 * index);
                let remote = SocketAddr::new([203, 0, 113, 1].into(), 1 + index as u16);
                agent.handle_datagram(at, address(GATEWAY), remote, 1, &check).unwrap();
                agent.handle_timeout(at);
                while !matches!(agent.poll(), Output::Timeout(_)) {}
            }
        });
        assert!(flooded.bytes_current < most, "lite: {lite}, {}", flooded.bytes_current);
        println!("lite: {lite}: {} octets, {} after a flood", fresh.bytes_current, flooded.bytes_current);
    }
}

#[test]
fn candidates_are_bounded() {
    let now = Instant::now();
    let mut agent = agent(false, now);
    let candidate = |port| Candidate::host(1, SocketAddr::new([198, 51, 100, 8].into(), port), 1);
    for port in 1..MAX_PEER_CANDIDATES as u16 {
        assert_eq!(agent.add_peer_candidate(candidate(port), now), Ok(()));
    }
    assert_eq!(agent.add_peer_candidate(candidate(1), now), Ok(()), "said before");
    assert_eq!(agent.add_peer_candidate(candidate(5000), now), Err(IceError::TooManyCandidates));
    let State::Checking { pairs, .. } = agent.state() else { panic!("{:?}", agent.state()) };
    assert_eq!(pairs, MAX_PEER_CANDIDATES);
}

#[test]
fn responses_have_the_integrity_that_the_request_had() {
    use IntegrityAlgorithm::{Sha1, Sha256};
    let now = Instant::now();
    for (algorithms, expected) in [(vec![Sha1], Sha1), (vec![Sha256], Sha256), (vec![Sha1, Sha256], Sha256)] {
        let check = Check { algorithms, ..Check::new('b', 'g') };
        let effect = receive(&mut agent(true, now), now, address(BROWSER), &check.write());
        assert_eq!(effect.mapped(&"g".repeat(24)), (address(BROWSER), expected));
        let refused = Check { attributes: vec![(PRIORITY, vec![1; 4]), (CONTROLLED, vec![1; 8])], ..check };
        let effect = receive(&mut agent(true, now), now, address(BROWSER), &refused.write());
        assert_eq!((effect.result.clone(), effect.refusal()), (Err(IceError::RoleConflict), 487));
    }
}

#[test]
fn responses_to_no_check_and_other_components_are_ignored() {
    let now = Instant::now();
    let mut agent = agent(false, now);
    let mut other = agent_with_responses(now);
    let response =
        receive(&mut other, now, address(BROWSER), &Check::new('b', 'g').write()).responses.remove(0);
    assert_eq!(
        receive(&mut agent, now, address(BROWSER), &response).result,
        Err(IceError::UnknownTransaction)
    );
    let check = Check::new('b', 'g').write();
    let result = agent.handle_datagram(now, address(GATEWAY), address(BROWSER), 2, &check);
    assert_eq!(result, Err(IceError::UnknownComponent(2)));
    assert_eq!(agent.statistics().ignored, 2);
}

#[test]
fn a_response_that_comes_from_elsewhere_fails_a_pair_that_is_not_in_use() {
    let now = Instant::now();
    let mut agent = agent(false, now);
    let asked = |agent: &mut Agent| loop {
        match agent.poll() {
            Output::Transmit(transmit) if transmit.bytes[0] == 0 => return transmit.bytes,
            Output::Timeout(_) => panic!("no check"),
            _ => {}
        }
    };
    agent.handle_timeout(now);
    let check = asked(&mut agent);
    let elsewhere = address("203.0.113.1:1");
    let effect = receive(&mut agent, now, elsewhere, &success(&check, elsewhere));
    assert_eq!(effect.result, Err(IceError::NotSymmetric));
    assert_eq!(agent.state(), State::Checking { pairs: 1, failed: 1 });
    assert!(!agent.is_checked(1, elsewhere) && !agent.is_checked(1, address(BROWSER)));

    // Nominated, checked, answered: in use. What comes from elsewhere then changes nothing.
    receive(&mut agent, now, address(BROWSER), &Check::new('b', 'g').nominating().write());
    agent.handle_timeout(now + SECOND);
    let check = asked(&mut agent);
    receive(&mut agent, now + SECOND, address(BROWSER), &success(&check, address(GATEWAY)));
    assert_eq!(agent.selected(1), Some((address(GATEWAY), address(BROWSER))));
    agent.handle_timeout(now + SECOND * 8);
    let check = asked(&mut agent);
    let effect = receive(&mut agent, now + SECOND * 8, elsewhere, &success(&check, elsewhere));
    assert_eq!(effect.result, Err(IceError::NotSymmetric));
    assert_eq!(agent.selected(1), Some((address(GATEWAY), address(BROWSER))));
    agent.handle_timeout(now + SECOND * 32);
    assert_eq!(agent.selected(1), None, "and is no consent");
}

/// What the peer has to say to `check`.
fn success(check: &[u8], mapped: SocketAddr) -> Vec<u8> {
    let check = Message::from_bytes(check).unwrap();
    let mut writer = Message::builder_success(&check, MessageWriteVec::new());
    writer.add_attribute(&XorMappedAddress::new(mapped, check.transaction_id())).unwrap();
    let key = ShortTermCredentials::new("b".repeat(24)).into();
    writer.add_message_integrity(&key, IntegrityAlgorithm::Sha1).unwrap();
    writer.add_fingerprint().unwrap();
    writer.finish()
}

fn agent_with_responses(now: Instant) -> Agent {
    agent(true, now)
}

#[test]
fn a_candidate_of_before_the_peer_is_known_is_refused() {
    let now = Instant::now();
    let mut agent = Agent::new(&own('g', true, &[GATEWAY]), false, now);
    let candidate = Candidate::host(1, address(BROWSER), 1);
    assert_eq!(candidate.kind, CandidateKind::Host);
    assert_eq!(agent.add_peer_candidate(candidate, now), Err(IceError::UnknownPeer));
}

proptest! {
    #[test]
    fn no_datagram_makes_an_agent_panic(datagram in proptest::collection::vec(any::<u8>(), 0..200), lite: bool) {
        let now = Instant::now();
        prop_assert!(receive(&mut agent(lite, now), now, address(BROWSER), &datagram).result.is_err());
    }

    #[test]
    fn a_check_cut_or_changed_anywhere_is_not_taken(at in 0..200_usize, bit in 0..8_u8, lite: bool) {
        let now = Instant::now();
        let mut check = Check::new('b', 'g').nominating().write();
        let at = at % check.len();
        prop_assert!(receive(&mut agent(lite, now), now, address(BROWSER), &check[..at]).result.is_err());
        check[at] ^= 1 << bit;
        let effect = receive(&mut agent(lite, now), now, address(BROWSER), &check);
        prop_assert!(effect.result.is_err() && effect.events.is_empty());
    }
}
