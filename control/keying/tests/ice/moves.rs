//! A peer that comes from another address than before.

use std::time::{Duration, Instant};

use sluice_keying::ice::{Agent, Event, PeerIce};

use crate::checks::{Check, receive};
use crate::network::{BROWSER, GATEWAY, Network, SECOND, address, is_lost, own};

const MOVED: &str = "203.0.113.9:7000";

/// A lite gateway whose peer is known and has nominated nothing.
fn lite(now: Instant) -> Agent {
    let mut agent = Agent::new(&own('g', true, &[GATEWAY]), false, now);
    let browser = own('b', false, &[BROWSER]);
    let peer = PeerIce {
        credentials: browser.credentials,
        candidates: browser.candidates,
        lite: false,
        more: false,
    };
    agent.set_peer(&peer, now);
    agent
}

#[test]
fn a_nomination_from_another_address_moves_the_way_of_a_lite_agent_and_a_check_alone_does_not() {
    let now = Instant::now();
    let mut agent = lite(now);
    let (local, old, new) = (address(GATEWAY), address(BROWSER), address(MOVED));
    let (check, nomination) = (Check::new('b', 'g').write(), Check::new('b', 'g').nominating().write());
    assert_eq!(receive(&mut agent, now, old, &check).events, [Event::Checked { component: 1, remote: old }]);
    assert_eq!(agent.selected(1), None);
    let selected = |remote| Event::Selected { component: 1, local, remote };
    assert_eq!(receive(&mut agent, now, old, &nomination).events, [selected(old)]);
    let later = now + SECOND;
    assert_eq!(
        receive(&mut agent, later, new, &check).events,
        [Event::Checked { component: 1, remote: new }]
    );
    assert_eq!(agent.selected(1), Some((local, old)));
    assert!(agent.is_checked(1, new));
    assert_eq!(receive(&mut agent, later, new, &nomination).events, [selected(new)]);
    assert_eq!(agent.selected(1), Some((local, new)));
    // And from one unsignalled address to the next, which has the same priority.
    let third = address("203.0.113.9:7001");
    let effect = receive(&mut agent, later, third, &nomination);
    assert_eq!(effect.events, [Event::Checked { component: 1, remote: third }, selected(third)]);
    assert!(receive(&mut agent, later, third, &nomination).events.is_empty(), "told once");
}

#[test]
fn a_forged_nomination_moves_nothing() {
    let now = Instant::now();
    let mut agent = lite(now);
    receive(&mut agent, now, address(BROWSER), &Check::new('b', 'g').nominating().write());
    let mut forged = Check::new('b', 'g').nominating();
    forged.password = Some("x".repeat(24));
    let effect = receive(&mut agent, now + SECOND, address(MOVED), &forged.write());
    assert!(effect.events.is_empty());
    assert_eq!(agent.selected(1), Some((address(GATEWAY), address(BROWSER))));
}

#[test]
fn an_agent_of_rfc_5245_that_nominates_all_it_checks_gets_its_best_address() {
    let now = Instant::now();
    let best = Check::new('b', 'g').nominating().with_priority(2_000_000_000).write();
    let worse = Check::new('b', 'g').nominating().with_priority(1_000_000_000).write();
    let (one, two) = (address("203.0.113.9:1"), address("203.0.113.9:2"));
    for order in [[(one, &best), (two, &worse)], [(two, &worse), (one, &best)]] {
        let mut agent = lite(now);
        for (remote, check) in order {
            receive(&mut agent, now, remote, check);
        }
        assert_eq!(agent.selected(1), Some((address(GATEWAY), one)));
        // Its best one fell silent, which is a move.
        receive(&mut agent, now + SECOND * 2, two, &worse);
        assert_eq!(agent.selected(1), Some((address(GATEWAY), two)));
    }
}

#[test]
fn a_nat_that_forgets_is_followed_by_lite_and_full_agents() {
    for (lite, controls) in [(true, true), (false, true), (false, false)] {
        let ends = [own('b', false, &[BROWSER]), own('g', lite, &[GATEWAY])];
        let mut network = Network::with_roles(ends, [controls, !controls]);
        network.signal();
        network.connect(SECOND);
        network.run(SECOND * 20);
        network.ends[0].nat.insert(address(BROWSER), address(MOVED));
        network.run(SECOND * 15);
        let way = network.ends[1].agent.selected(1);
        assert_eq!(
            way,
            Some((address(GATEWAY), address(MOVED))),
            "lite: {lite}, the browser controls: {controls}"
        );
        network.run(SECOND * 60);
        assert_eq!(network.ends[1].agent.selected(1), way);
        assert!(
            !network.ends.iter().any(|end| end.told().iter().any(is_lost)),
            "{:?}",
            network.ends[1].told()
        );
    }
}

#[test]
fn a_full_agent_moves_only_where_its_own_check_was_answered() {
    let ends = [own('b', false, &[BROWSER]), own('g', false, &[GATEWAY])];
    let mut network = Network::new(ends);
    network.signal();
    network.connect(SECOND);
    network.run(SECOND);
    // Somebody who knows the password, at an address that does not answer.
    let forged = Check::new('b', 'g').nominating().write();
    let mut sent = 0;
    for _ in 0..40 {
        network.run(Duration::from_millis(500));
        let (now, agent) = (network.now, &mut network.ends[1].agent);
        agent.handle_datagram(now, address(GATEWAY), address(MOVED), 1, &forged).unwrap();
    }
    sent += network.ends[1].sent.iter().filter(|(_, sent)| sent.remote == address(MOVED)).count();
    assert!(sent > 0);
    assert_eq!(network.ends[1].agent.selected(1), Some((address(GATEWAY), address(BROWSER))));
}
