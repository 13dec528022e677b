//! The classifier agrees with a naive parser, over generated frames and over anything at all.

mod support;

use proptest::prelude::*;
use sluice_classifier::layout::MAX_FRAME;
use sluice_classifier::{Action, Counter, LegEntry, LocalKey, Policy, classify, decide};
use support::datagrams::{Rng, datagram};
use support::{frames, oracle};

#[test]
fn generated_frames_are_decided_as_the_oracle_decides_them() {
    let mut seen = [0_usize; Counter::COUNT];
    for (number, frame) in frames::corpus(1, 50_000).iter().enumerate() {
        let decided = decide(frame.as_slice(), frames::lookup);
        assert_eq!(decided, oracle::decide(frame, frames::lookup), "frame {number}: {frame:02x?}");
        seen[decided.1 as usize] += 1;
    }
    for counter in Counter::ALL.into_iter().filter(|counter| !counter.is_beside()) {
        assert!(seen[counter as usize] >= 20, "the corpus hardly reaches {counter:?}: {seen:?}");
    }
}

#[test]
fn frames_that_are_gathered_are_decided_by_their_own_limit() {
    let gathered = |key: &LocalKey| frames::lookup(key).map(LegEntry::gathered);
    let mut large = 0;
    for (number, frame) in frames::corpus(6, 20_000).iter().enumerate() {
        let decided = decide(frame.as_slice(), gathered);
        assert_eq!(decided, oracle::decide(frame, gathered), "frame {number}: {frame:02x?}");
        large += usize::from(frame.len() > MAX_FRAME && decided.0 == Action::Redirect);
    }
    assert!(large >= 20, "{large} large frames are redirected");
}

#[test]
fn every_cut_of_a_frame_is_decided_as_the_oracle_decides_it() {
    for frame in frames::corpus(2, 300).iter().filter(|frame| frame.len() < 600) {
        for length in 0..=frame.len() {
            let cut = &frame[..length];
            assert_eq!(decide(cut, frames::lookup), oracle::decide(cut, frames::lookup), "{cut:02x?}");
        }
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    (0_u64..8, any::<[u64; 2]>()).prop_map(|(flags, payload_types)| Policy { flags, payload_types })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_datagram_is_classified_as_the_oracle_classifies_it(
        bytes in prop::collection::vec(any::<u8>(), 0..120), policy in policies()
    ) {
        prop_assert_eq!(classify(&bytes, &policy), oracle::classify(&bytes, &policy));
    }

    #[test]
    fn plausible_datagrams_are_classified_as_the_oracle_classifies_them(
        seed in any::<u64>(), flip in any::<(u16, u8)>(), policy in policies()
    ) {
        let mut bytes = datagram(&mut Rng(seed), &Policy::new());
        prop_assert_eq!(classify(&bytes, &policy), oracle::classify(&bytes, &policy));
        if !bytes.is_empty() {
            let at = usize::from(flip.0) % bytes.len().min(40);
            bytes[at] = flip.1;
        }
        prop_assert_eq!(classify(&bytes, &policy), oracle::classify(&bytes, &policy));
    }
}
