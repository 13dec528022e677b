//! Other credentials, while media goes on (RFC 8445 section 9).

use sluice_keying::ice::{Event, OwnIce, State};

use crate::checks::Check;
use crate::network::{BROWSER, GATEWAY, Network, SECOND, address, is_lost, is_selected, own};

fn restart(network: &mut Network, side: usize, own: OwnIce) {
    network.ends[side].agent.restart(&own, network.now);
    network.ends[side].own = own;
}

#[test]
fn the_old_way_is_used_until_there_is_a_new_one() {
    for lite in [true, false] {
        let mut network = Network::connected(lite);
        let old = network.ends[1].agent.selected(1);
        restart(&mut network, 1, own('h', lite, &["192.0.2.2:5000", GATEWAY]));
        network.run(SECOND * 100);
        assert_eq!(network.ends[1].agent.selected(1), old, "the answer takes its time, consent goes on");
        restart(&mut network, 0, own('c', false, &["198.51.100.8:6000", BROWSER]));
        network.run(SECOND);
        assert_eq!(network.ends[1].agent.selected(1), old);
        network.signal();
        network.run(SECOND);
        let new = (address("192.0.2.2:5000"), address("198.51.100.8:6000"));
        assert_eq!(network.ends[1].agent.selected(1), Some(new));
        assert_eq!(network.ends[0].agent.selected(1), Some((new.1, new.0)));
        assert_eq!(network.ends[1].agent.state(), State::Selected);
        network.run(SECOND * 100);
        let told = network.ends[1].told();
        assert_eq!(told.iter().filter(|event| is_selected(event)).count(), 2, "{told:?}");
        assert!(!told.iter().any(is_lost));
    }
}

#[test]
fn credentials_of_before_are_of_no_use_once_there_is_a_new_way() {
    let mut network = Network::connected(true);
    let old = Check::new('b', 'g').nominating().write();
    let check = |network: &mut Network| {
        let (now, agent) = (network.now, &mut network.ends[1].agent);
        agent.handle_datagram(now, address(GATEWAY), address("203.0.113.1:1"), 1, &old)
    };
    restart(&mut network, 1, own('h', true, &[GATEWAY]));
    restart(&mut network, 0, own('c', false, &[BROWSER]));
    assert_eq!(check(&mut network), Ok(()), "the old way may move still");
    assert_eq!(network.ends[1].agent.selected(1).unwrap().1, address("203.0.113.1:1"));
    network.signal();
    network.run(SECOND);
    assert_eq!(network.ends[1].agent.selected(1).unwrap().1, address(BROWSER));
    assert!(check(&mut network).is_err());
    assert_eq!(network.ends[1].agent.selected(1).unwrap().1, address(BROWSER));
}

#[test]
fn a_restart_that_was_refused_leaves_all_as_it_was() {
    for lite in [true, false] {
        let mut network = Network::connected(lite);
        let before = network.ends[1].own.clone();
        restart(&mut network, 1, own('h', lite, &[GATEWAY]));
        network.run(SECOND * 10);
        assert!(network.ends[1].agent.abandon_restart(network.now));
        assert!(!network.ends[1].agent.abandon_restart(network.now));
        network.ends[1].own = before;
        network.run(SECOND * 100);
        assert!(network.ends[1].agent.selected(1).is_some());
        assert_eq!(network.ends[1].agent.state(), State::Selected);
        assert!(!network.ends[1].told().iter().any(is_lost));
    }
}

#[test]
fn a_peer_that_restarts_alone_is_followed() {
    for lite in [true, false] {
        let mut network = Network::connected(lite);
        restart(&mut network, 0, own('c', false, &["198.51.100.8:6000"]));
        network.signal();
        network.run(SECOND);
        let new = (address(GATEWAY), address("198.51.100.8:6000"));
        assert_eq!(network.ends[1].agent.selected(1), Some(new));
        assert_eq!(network.ends[0].agent.selected(1), Some((new.1, new.0)));
    }
}

#[test]
fn an_agent_may_become_lite_and_a_signalling_repetition_changes_nothing() {
    let mut network = Network::connected(false);
    network.signal();
    network.run(SECOND * 10);
    assert_eq!(network.ends[1].told().iter().filter(|event| is_selected(event)).count(), 1);
    restart(&mut network, 1, own('h', true, &[GATEWAY]));
    restart(&mut network, 0, own('c', false, &[BROWSER]));
    network.signal();
    network.run(SECOND);
    let sent = network.ends[1].sent.len();
    network.run(SECOND * 20);
    assert!(network.ends[1].sent[sent..].iter().all(|(_, sent)| sent.bytes[0] == 1), "answers only");
    assert!(!network.ends[1].told().contains(&Event::ConsentLost { component: 1 }));
}
