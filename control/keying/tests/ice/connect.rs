//! That two find a way, and the best one.

use std::time::Duration;

use sluice_keying::ice::{Candidate, Event, PeerIce, State};

use crate::network::{BROWSER, GATEWAY, Network, SECOND, address, credentials, own, own_of};

fn ways(network: &Network) -> [(String, String); 2] {
    [0, 1].map(|side| {
        let (local, remote) = network.ends[side].agent.selected(1).unwrap();
        (local.to_string(), remote.to_string())
    })
}

#[test]
fn a_full_agent_and_a_lite_one_connect_in_three_round_trips() {
    let mut network = Network::pair(true);
    network.signal();
    network.connect(SECOND / 10);
    assert_eq!(
        ways(&network),
        [(BROWSER, GATEWAY), (GATEWAY, BROWSER)].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    let remote = address(BROWSER);
    let local = address(GATEWAY);
    let told = [Event::Checked { component: 1, remote }, Event::Selected { component: 1, local, remote }];
    assert_eq!(network.ends[1].told(), told);
    assert!(network.ends[1].sent.iter().all(|(_, sent)| sent.bytes[0] == 1), "a lite agent only answers");
    assert!(network.ends[1].agent.is_checked(1, remote));
    assert!(!network.ends[1].agent.is_checked(2, remote));
    assert!(!network.ends[1].agent.is_checked(1, address("198.51.100.7:6001")));
    assert_eq!(network.ends[1].agent.state(), State::Selected);
}

#[test]
fn two_full_agents_connect_and_both_have_checked() {
    let mut network = Network::pair(false);
    network.signal();
    network.connect(SECOND / 2);
    for (end, remote) in network.ends.iter().zip([GATEWAY, BROWSER]) {
        assert!(end.agent.is_checked(1, address(remote)));
        let statistics = end.agent.statistics();
        assert!(statistics.responses > 0 && statistics.answered > 0, "{statistics:?}");
        assert_eq!(statistics.round_trip, Some(Duration::from_millis(20)));
    }
}

#[test]
fn two_components_get_a_way_each() {
    for lite in [true, false] {
        let browser = own_of('b', false, &[(1, BROWSER), (2, "198.51.100.7:6001")]);
        let gateway = own_of('g', lite, &[(1, GATEWAY), (2, "192.0.2.1:5001")]);
        let mut network = Network::new([browser, gateway]);
        network.signal();
        network.connect(SECOND);
        let way = (address("192.0.2.1:5001"), address("198.51.100.7:6001"));
        assert_eq!(network.ends[1].agent.selected(2), Some(way));
    }
}

#[test]
fn a_component_that_is_given_up_is_not_waited_for() {
    let browser = own('b', false, &[BROWSER]);
    let gateway = own_of('g', false, &[(1, GATEWAY), (2, "192.0.2.1:5001")]);
    let mut network = Network::new([browser, gateway]);
    network.signal();
    network.run(SECOND);
    assert_ne!(network.ends[1].agent.state(), State::Selected);
    network.ends[1].agent.drop_component(2, network.now);
    assert_eq!(network.ends[1].agent.state(), State::Selected);
    network.run(SECOND * 60);
    assert!(!network.ends[1].told().contains(&Event::Failed { component: 2 }));
}

#[test]
fn the_best_way_that_works_is_taken_over_both_ip_versions() {
    let all = ["[2001:db8::7]:6000", "198.51.100.7:6000", "10.0.0.7:6000"];
    let gateway = ["[2001:db8::1]:5000", "192.0.2.1:5000"];
    for (dead, best) in [
        (vec![], "[2001:db8::7]:6000"),
        (vec!["[2001:db8::7]:6000"], "198.51.100.7:6000"),
        (vec!["[2001:db8::7]:6000", "198.51.100.7:6000"], "10.0.0.7:6000"),
    ] {
        for lite in [true, false] {
            let mut network = Network::new([own('b', false, &all), own('g', lite, &gateway)]);
            network.dead = dead.iter().map(|dead| address(dead)).collect();
            network.signal();
            network.connect(SECOND * 2);
            let ways = ways(&network);
            assert_eq!((&*ways[0].0, &*ways[1].1), (best, best), "{dead:?}");
        }
    }
}

#[test]
fn a_third_of_all_datagrams_may_be_lost_others_come_twice_and_in_another_order() {
    for lite in [true, false] {
        for seed in 0..20 {
            let mut network = Network::pair(lite);
            (network.loss, network.twice) = (30, 20);
            network.delay.1 = Duration::from_millis(80 + seed);
            network.signal();
            network.connect(SECOND * 20);
            network.run(SECOND * 60);
            assert!(network.ends.iter().all(|end| end.agent.selected(1).is_some()), "consent outlives loss");
        }
    }
}

#[test]
fn checks_that_come_before_the_answer_are_answered_and_count_once_it_is_there() {
    for lite in [true, false] {
        let mut network = Network::pair(lite);
        let gateway = network.ends[1].peer_ice();
        network.ends[0].agent.set_peer(&gateway, network.now);
        network.run(SECOND / 5);
        let remote = address(BROWSER);
        assert_eq!(
            network.ends[1].told(),
            [Event::Checked { component: 1, remote }],
            "and nothing is sent there yet"
        );
        assert!(network.ends[0].agent.selected(1).is_some(), "the browser has its responses");
        assert_eq!(network.ends[1].agent.state(), State::NoPeer);
        let browser = PeerIce { candidates: Vec::new(), ..network.ends[0].peer_ice() };
        network.ends[1].agent.set_peer(&browser, network.now);
        network.connect(SECOND / 5);
    }
}

#[test]
fn what_another_branch_of_a_fork_checked_before_the_answer_does_not_count() {
    let mut network = Network::pair(true);
    let gateway = network.ends[1].peer_ice();
    network.ends[0].agent.set_peer(&gateway, network.now);
    network.run(SECOND / 5);
    let other = PeerIce { credentials: credentials('o'), ..network.ends[0].peer_ice() };
    network.ends[1].agent.set_peer(&other, network.now);
    network.run(SECOND * 10);
    assert_eq!(network.ends[1].agent.selected(1), None);
    assert!(!network.ends[1].agent.is_checked(1, address(BROWSER)));
}

#[test]
fn candidates_may_trickle_in_from_either_side() {
    for late in [0, 1] {
        let mut network = Network::pair(false);
        for side in 0..2 {
            let peer = &network.ends[1 - side];
            let (mut ice, now) = (peer.peer_ice(), network.now);
            (ice.candidates, ice.more) = (Vec::new(), true);
            network.ends[side].agent.set_peer(&ice, now);
        }
        network.run(SECOND * 50);
        assert_eq!(network.ends[0].told(), [], "more may come");
        let mut candidate = network.ends[1 - late].own.candidates[0].clone();
        let old = [("ufrag".to_owned(), "before".to_owned())];
        let mut stale = Candidate { extensions: old.into(), ..candidate.clone() };
        stale.address = address("203.0.113.1:1");
        let now = network.now;
        let agent = &mut network.ends[late].agent;
        agent.add_peer_candidate(stale, now).unwrap();
        candidate.extensions.push(("ufrag".to_owned(), ["g", "b"][late].repeat(8)));
        agent.add_peer_candidate(candidate, now).unwrap();
        agent.end_of_candidates(now);
        network.connect(SECOND);
        let stale = address("203.0.113.1:1");
        assert!(network.ends[late].sent.iter().all(|(_, sent)| sent.remote != stale), "of before a restart");
    }
}

#[test]
fn an_address_behind_a_nat_is_learnt_from_checks() {
    for lite in [true, false] {
        let mut network = Network::new([own('b', false, &["10.0.0.7:6000"]), own('g', lite, &[GATEWAY])]);
        network.ends[0].nat.insert(address("10.0.0.7:6000"), address("203.0.113.9:7000"));
        network.signal();
        network.connect(SECOND);
        let way = (address(GATEWAY), address("203.0.113.9:7000"));
        assert_eq!(network.ends[1].agent.selected(1), Some(way));
    }
}

#[test]
fn a_gateway_behind_a_one_to_one_nat_is_reached_and_sends_from_within() {
    for lite in [true, false] {
        let mut gateway = own('g', lite, &["10.0.0.1:5000"]);
        gateway.candidates = vec![Candidate::mapped(1, address(GATEWAY), address("10.0.0.1:5000"), 65535)];
        let mut network = Network::new([own('b', false, &[BROWSER]), gateway]);
        network.ends[1].nat.insert(address("10.0.0.1:5000"), address(GATEWAY));
        network.signal();
        network.connect(SECOND);
        assert_eq!(network.ends[1].agent.selected(1), Some((address("10.0.0.1:5000"), address(BROWSER))));
        assert_eq!(network.ends[0].agent.selected(1), Some((address(BROWSER), address(GATEWAY))));
    }
}

#[test]
fn two_lite_agents_use_their_best_addresses_without_checks() {
    let gateway = ["192.0.2.1:5000", "192.0.2.2:5000"];
    let mut network = Network::new([own('b', true, &[BROWSER]), own('g', true, &gateway)]);
    network.signal();
    network.connect(Duration::from_millis(1));
    assert_eq!(ways(&network)[0], (BROWSER.to_owned(), GATEWAY.to_owned()));
    network.run(SECOND * 100);
    for end in &network.ends {
        assert!(end.sent.is_empty());
        assert!(!end.agent.has_checks());
        assert_eq!(end.told().len(), 1, "consent that nobody asks for does not end: {:?}", end.told());
    }
}

#[test]
fn failure_is_told_once_after_as_long_as_a_check_may_take_and_is_not_final() {
    for lite in [true, false] {
        let mut network = Network::pair(lite);
        network.loss = 100;
        network.signal();
        network.run(SECOND * 39);
        assert_eq!(network.ends[1].told(), []);
        network.run(SECOND * 60);
        assert_eq!(network.ends[1].told(), [Event::Failed { component: 1 }]);
        assert_eq!(network.ends[0].told(), [Event::Failed { component: 1 }]);
        assert_eq!(network.ends[1].agent.state(), State::Failed);
        network.loss = 0;
        // A restart of the browser's would do; here it gets another candidate.
        let again = Candidate::host(1, address("192.0.2.1:5000"), 1);
        network.dead.push(address("192.0.2.9:1"));
        let other = Candidate { address: address("192.0.2.9:1"), ..again };
        network.ends[0].agent.add_peer_candidate(other, network.now).unwrap();
        network.run(SECOND);
        assert!(network.ends[0].agent.selected(1).is_none());
    }
}

#[test]
fn checks_are_paced() {
    let many: Vec<String> = (0..40).map(|i| format!("198.51.100.{}:6000", i + 1)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut network = Network::new([own('b', false, &many), own('g', false, &[GATEWAY])]);
    network.loss = 100;
    network.signal();
    network.run(SECOND);
    let sent = network.ends[1].sent.len();
    assert!((18..=21).contains(&sent), "{sent} in a second, one each 50 ms");
    // With as many pairs the first repetition comes after two seconds (RFC 8445 section 14.3).
    network.run(SECOND * 200);
    let sent = network.ends[1].sent.len();
    assert_eq!(sent, 40 * 7, "each seven times");
}
