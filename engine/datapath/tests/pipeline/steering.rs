//! What the XDP program is told of legs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use sluice_classifier::Policy;
use sluice_datapath::Protection::{Plain, Srtp};
use sluice_datapath::{Command, Event, LegId, LegSetup, LegUpdate, Steering};

use crate::support::*;

/// A map that holds so many ports and no more.
struct Map {
    room: usize,
    entries: Mutex<Vec<(SocketAddr, LegId, Policy)>>,
}

impl Steering for Map {
    fn insert(&self, leg: LegId, local: SocketAddr, policy: Policy) -> Result<(), String> {
        self.remove(local);
        let mut entries = self.entries.lock().unwrap();
        if entries.len() == self.room {
            return Err("the map is full".into());
        }
        entries.push((local, leg, policy));
        Ok(())
    }

    fn remove(&self, local: SocketAddr) {
        self.entries.lock().unwrap().retain(|entry| entry.0 != local);
    }
}

fn harness(room: usize) -> (Harness, Arc<Map>) {
    let map = Arc::new(Map { room, entries: Mutex::default() });
    (Harness::steered(Arc::clone(&map) as Arc<dyn Steering>), map)
}

#[test]
fn every_port_of_a_leg_is_told_with_its_policy_and_taken_back() {
    let (mut harness, map) = harness(8);
    let rtcp = harness.socket();
    let setup = LegSetup { inbound: Plain, rtcp: Some(rtcp.clone()), ..harness.setup(1) };
    let local = setup.local;
    harness.add(setup);
    let plain = Policy::new().plain();
    let told = |map: &Map| map.entries.lock().unwrap().clone();
    assert_eq!(told(&map), [(local, 1, plain), (rtcp.local_addr().unwrap(), 1, plain.rtcp_only())]);
    let update = LegUpdate { payload_types: Some(Some([1, 0])), ..LegUpdate::new(1) };
    harness.apply(Command::UpdateLeg(update)).unwrap();
    assert_eq!(told(&map)[0], (local, 1, plain.with_payload_types([1, 0])));
    harness.apply(Command::RemoveLeg { leg: 1 }).unwrap();
    assert_eq!(told(&map), []);
}

#[test]
fn a_leg_that_finds_no_room_in_the_map_works_all_the_same_and_is_reported() {
    let (mut harness, map) = harness(1);
    harness.leg(1, Srtp, Plain);
    harness.leg(2, Srtp, Plain);
    harness.route(1, 2, 1);
    let degraded = |event: &Event| matches!(event, Event::DatapathDegraded { .. });
    assert_eq!(harness.events().iter().filter(|event| degraded(event)).count(), 1);
    let mut bob = Peer::of(2, 7, 0);
    assert_eq!(harness.receive(2, &bob.protect(&rtp(7, 1))).len(), 1);
    assert_eq!(map.entries.lock().unwrap().len(), 1);
}
