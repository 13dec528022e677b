//! Who nominates, where both would or neither (RFC 8445 section 7.3.1.1).

use sluice_keying::ice::{Agent, Event, IceError};

use crate::checks::{CONTROLLED, Check, receive};
use crate::network::{BROWSER, End, GATEWAY, Network, SECOND, address, own};

#[test]
fn two_with_the_same_role_end_with_one_that_controls_and_a_way() {
    for same in [true, false] {
        for loss in [0, 30] {
            for _ in 0..20 {
                let ends = [own('b', false, &[BROWSER]), own('g', false, &[GATEWAY])];
                let mut network = Network::with_roles(ends, [same, same]);
                network.loss = loss;
                network.signal();
                network.connect(SECOND * 20);
                network.run(SECOND);
                let controlling = network.ends.each_ref().map(|end| end.agent.is_controlling());
                assert_ne!(controlling[0], controlling[1]);
                let changed = network.ends.iter().flat_map(End::told);
                let changes = changed.filter(|event| matches!(event, Event::Role { .. })).count();
                assert_eq!(changes, 1);
            }
        }
    }
}

#[test]
fn a_lite_agent_never_takes_the_role_that_it_cannot_fill() {
    let ends = [own('b', false, &[BROWSER]), own('g', true, &[GATEWAY])];
    let mut network = Network::with_roles(ends, [false, false]);
    network.signal();
    network.connect(SECOND);
    assert!(network.ends[0].agent.is_controlling(), "told by 487");
    assert!(!network.ends[1].agent.is_controlling());
}

#[test]
fn a_lite_agent_that_took_a_full_peer_for_a_lite_one_gives_way() {
    let mut agent = Agent::new(&own('g', true, &[GATEWAY]), true, std::time::Instant::now());
    let effect =
        receive(&mut agent, std::time::Instant::now(), address(BROWSER), &Check::new('b', 'g').write());
    assert_eq!(effect.result, Ok(()));
    assert!(effect.events.contains(&Event::Role { controlling: false }));
}

#[test]
fn a_nomination_by_who_does_not_control_is_refused() {
    let now = std::time::Instant::now();
    let mut agent = Agent::new(&own('g', false, &[GATEWAY]), true, now);
    let mut check = Check::new('b', 'g').nominating();
    check.attributes[1].0 = CONTROLLED;
    let effect = receive(&mut agent, now, address(BROWSER), &check.write());
    assert!(matches!(effect.result, Err(IceError::BadRequest(_))));
    assert_eq!(effect.refusal(), 400);
    assert!(effect.events.is_empty());
}
