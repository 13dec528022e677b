//! Any frame: no panic, the datagram found lies in the frame, only media of known legs leaves the kernel's
//! path, and the naive oracle agrees.
#![no_main]

#[path = "../../../ebpf/classifier/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use sluice_classifier::layout::MAX_FRAME;
use sluice_classifier::{Action, LocalKey, decide, locate};
use support::{frames, oracle};

fuzz_target!(|frame: &[u8]| {
    let decided = decide(frame, frames::lookup);
    assert_eq!(decided, oracle::decide(frame, frames::lookup));
    let unknown = decide(frame, |_| None);
    assert_eq!(unknown.0, Action::Pass, "nothing is taken from those who are no leg of ours");

    let Ok(datagram) = locate(frame) else { return assert_eq!(decided.0, Action::Pass) };
    assert!(datagram.payload + datagram.length <= frame.len());
    assert!(datagram.network + 28 <= datagram.payload);
    if decided.0 != Action::Pass {
        let payload = &frame[datagram.payload..datagram.payload + datagram.length];
        assert!((128..=191).contains(&payload[0]), "R-RTP-CHECK");
        assert!(frames::lookup(&LocalKey::new(&datagram.destination)).is_some());
        assert!(frame.len() <= MAX_FRAME);
    }
});
