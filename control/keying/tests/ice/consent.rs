//! RFC 7675: nothing is sent to who does not want it.

use std::time::Duration;

use sluice_keying::ice::{Event, State};

use crate::checks::{Check, receive};
use crate::network::{BROWSER, GATEWAY, Network, SECOND, address, is_lost};

#[test]
fn consent_is_asked_for_about_every_five_seconds_and_at_times_that_differ() {
    let mut network = Network::connected(false);
    let before = network.ends[1].sent.len();
    network.run(SECOND * 300);
    let asked: Vec<_> =
        network.ends[1].sent[before..].iter().filter(|(_, sent)| sent.bytes[0] == 0).collect();
    let gaps: Vec<Duration> = asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!((49..=75).contains(&gaps.len()), "{}", gaps.len());
    let bounds = SECOND * 4..=SECOND * 6;
    assert!(gaps.iter().all(|gap| bounds.contains(gap)), "{gaps:?}");
    let mut different = gaps.clone();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() > gaps.len() / 2, "{gaps:?}");
    let mut transactions: Vec<_> = asked.iter().map(|(_, sent)| sent.bytes[8..20].to_vec()).collect();
    transactions.sort_unstable();
    transactions.dedup();
    assert_eq!(transactions.len(), asked.len(), "each is a transaction of its own");
    assert!(!network.ends.iter().any(|end| end.told().iter().any(is_lost)));
}

#[test]
fn consent_ends_thirty_seconds_after_the_last_sign_of_the_peer_and_nothing_is_sent_any_more() {
    for lite in [true, false] {
        let mut network = Network::connected(lite);
        let silent = network.now;
        network.loss = 100;
        network.run(SECOND * 23);
        assert!(network.ends[1].agent.selected(1).is_some());
        network.run(SECOND * 8);
        assert_eq!(network.ends[1].agent.selected(1), None);
        assert_eq!(network.ends[1].agent.state(), State::ConsentLost);
        let lost = network.start + network.when(1, is_lost).unwrap();
        let after = lost - silent;
        assert!((SECOND * 23..=SECOND * 30).contains(&after), "{after:?}");
        let sent = network.ends[1].sent.len();
        network.run(SECOND * 200);
        assert_eq!(network.ends[1].sent.len(), sent);
        assert_eq!(network.ends[1].told().iter().filter(|event| is_lost(event)).count(), 1);
        assert!(!network.ends[1].told().contains(&Event::Failed { component: 1 }));
        assert!(!network.ends[1].agent.is_checked(1, address(BROWSER)));
    }
}

#[test]
fn a_peer_that_nominates_again_is_sent_to_again() {
    let mut network = Network::connected(true);
    network.loss = 100;
    network.run(SECOND * 31);
    assert_eq!(network.ends[1].agent.selected(1), None);
    let (now, agent) = (network.now, &mut network.ends[1].agent);
    let effect = receive(agent, now, address(BROWSER), &Check::new('b', 'g').write());
    assert_eq!(effect.events, [Event::Checked { component: 1, remote: address(BROWSER) }]);
    assert_eq!(agent.selected(1), None);
    let effect = receive(agent, now, address(BROWSER), &Check::new('b', 'g').nominating().write());
    let (local, remote) = (address(GATEWAY), address(BROWSER));
    assert_eq!(effect.events, [Event::Selected { component: 1, local, remote }]);
    assert_eq!(agent.state(), State::Selected);
}

#[test]
fn keep_alives_are_no_consent() {
    let mut network = Network::connected(true);
    network.dead.push(address(BROWSER));
    // A Binding indication with FINGERPRINT.
    let mut indication = vec![0, 0x11, 0, 8, 0x21, 0x12, 0xa4, 0x42];
    indication.extend([9; 12]);
    let crc = crc32(&indication) ^ 0x5354_554e;
    indication.extend([0x80, 0x28, 0, 4]);
    indication.extend(crc.to_be_bytes());
    for _ in 0..31 {
        network.run(SECOND);
        let (now, agent) = (network.now, &mut network.ends[1].agent);
        assert_eq!(agent.handle_datagram(now, address(GATEWAY), address(BROWSER), 1, &indication), Ok(()));
    }
    assert_eq!(network.ends[1].agent.selected(1), None);
}

fn crc32(octets: &[u8]) -> u32 {
    !octets.iter().fold(!0, |crc, octet| {
        (0..8).fold(
            crc ^ u32::from(*octet),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}
