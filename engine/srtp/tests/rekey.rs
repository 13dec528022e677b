//! Keys that change in mid-stream, with rollover counters that go on, begin anew, or may do either.

mod support;

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;
use sluice_srtp::{
    Error, Inbound, KeyId, KeyOptions, Kind, MasterKey, Outbound, ReplayWindow, RocOnRekey, SessionKeys,
    Suite,
};
use support::{receive, receive_all, send};

const SSRC: u32 = 7;
const SUITES: [Suite; 3] = [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm, Suite::F8_128HmacSha1_80];

fn keys(suite: Suite, id: u8) -> Arc<SessionKeys> {
    let material: Vec<u8> = (0..suite.key_len() + suite.salt_len()).map(|at| at as u8 ^ id).collect();
    let master = MasterKey::from_concatenated(suite, &material).unwrap();
    Arc::new(SessionKeys::derive_with(KeyId(id.into()), &master, &KeyOptions::default()).unwrap())
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 1, 0]);
    packet.extend(SSRC.to_be_bytes());
    packet.extend([sequence as u8; 20]);
    packet
}

fn rtcp() -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(SSRC.to_be_bytes());
    packet
}

/// A sender in its fifth round of sequence numbers, and a receiver that follows.
fn pair(suite: Suite) -> (Outbound, Inbound) {
    let first = keys(suite, 1);
    let into = Inbound::new(SSRC, first.clone(), ReplayWindow::default(), 5);
    (Outbound::new(SSRC, first, 5), into)
}

fn pass(out: &mut Outbound, into: &mut Inbound, sequence: u16) -> Result<(), Error> {
    let packet = send(out, Kind::Rtp, &rtp(sequence)).unwrap();
    receive(into, Kind::Rtp, &packet).map(|plain| assert_eq!(plain, rtp(sequence)))
}

#[test]
fn a_peer_that_begins_anew_is_followed_and_the_old_key_still_verifies() {
    for suite in SUITES {
        for roc in [RocOnRekey::Reset, RocOnRekey::TryBoth] {
            let (mut out, mut into) = pair(suite);
            pass(&mut out, &mut into, 1000).unwrap();
            let late = send(&mut out, Kind::Rtp, &rtp(1001)).unwrap();
            let report = send(&mut out, Kind::Rtcp, &rtcp()).unwrap();
            receive(&mut into, Kind::Rtcp, &report).unwrap();
            into.install_with(keys(suite, 2), roc);
            pass(&mut out, &mut into, 1002).unwrap();
            out.restart(keys(suite, 2));
            pass(&mut out, &mut into, 1003).unwrap();
            assert_eq!(
                (out.position().rtp, into.position().rtp),
                (Some(1003), Some(1003)),
                "{suite} {roc:?}"
            );
            let report = send(&mut out, Kind::Rtcp, &rtcp()).unwrap();
            receive(&mut into, Kind::Rtcp, &report).unwrap();
            receive(&mut into, Kind::Rtp, &late).unwrap();
            for again in [(Kind::Rtp, &late), (Kind::Rtcp, &report)] {
                assert!(receive(&mut into, again.0, again.1).is_err(), "{suite} {roc:?}");
            }
            assert!(into.retire(KeyId(1)));
            assert!(receive(&mut into, Kind::Rtcp, &report).is_err(), "{suite} {roc:?}");
            for sequence in 1004..1010 {
                pass(&mut out, &mut into, sequence).unwrap();
            }
            assert_eq!(into.position(), out.position(), "{suite} {roc:?}");
        }
    }
}

#[test]
fn a_peer_that_goes_on_is_followed_if_that_is_tried_as_well() {
    for suite in SUITES {
        let (mut out, mut into) = pair(suite);
        pass(&mut out, &mut into, 65_534).unwrap();
        into.install_with(keys(suite, 2), RocOnRekey::TryBoth);
        out.switch(keys(suite, 2));
        let played: Vec<_> =
            [65_535, 0, 1].map(|sequence| send(&mut out, Kind::Rtp, &rtp(sequence)).unwrap()).into();
        for packet in &played {
            receive(&mut into, Kind::Rtp, packet).unwrap();
            assert!(receive(&mut into, Kind::Rtp, packet).is_err(), "{suite}: once");
        }
        assert_eq!(into.position().roc(), 6, "{suite}");
        assert!(into.retire(KeyId(1)));
        for packet in &played {
            assert_eq!(receive(&mut into, Kind::Rtp, packet), Err(Error::Replayed), "{suite}");
        }
    }
}

#[test]
fn a_peer_that_begins_anew_just_before_a_wrap_is_followed_if_its_first_packets_are_lost() {
    for suite in SUITES {
        for (roc, retired) in [
            (RocOnRekey::Reset, false),
            (RocOnRekey::Reset, true),
            (RocOnRekey::TryBoth, false),
            (RocOnRekey::TryBoth, true),
        ] {
            let (mut out, mut into) = pair(suite);
            pass(&mut out, &mut into, 65_533).unwrap();
            into.install_with(keys(suite, 2), roc);
            if retired {
                assert!(into.retire(KeyId(1)));
            }
            out.restart(keys(suite, 2));
            let late = send(&mut out, Kind::Rtp, &rtp(65_535)).unwrap();
            let first = send(&mut out, Kind::Rtp, &rtp(2)).unwrap();
            let mut forged = first.clone();
            *forged.last_mut().unwrap() ^= 1;
            let case = format!("{suite} {roc:?} {retired}");
            assert_eq!(receive(&mut into, Kind::Rtp, &forged), Err(Error::AuthFailed), "{case}");
            assert_eq!(receive(&mut into, Kind::Rtp, &first).unwrap(), rtp(2), "{case}");
            assert_eq!(into.position().rtp, Some(1 << 16 | 2), "{case}");
            receive(&mut into, Kind::Rtp, &late).unwrap();
            for packet in [&first, &late] {
                assert!(receive(&mut into, Kind::Rtp, packet).is_err(), "{case}: once");
            }
            pass(&mut out, &mut into, 3).unwrap();
        }
    }
}

#[test]
fn a_forged_packet_does_not_make_a_peer_that_begins_anew_begin_later() {
    let suite = Suite::AeadAes128Gcm;
    let (mut out, mut into) = pair(suite);
    pass(&mut out, &mut into, 8).unwrap();
    into.install_with(keys(suite, 2), RocOnRekey::Reset);
    out.restart(keys(suite, 2));
    let mut forged = send(&mut out, Kind::Rtp, &rtp(9)).unwrap();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(receive(&mut into, Kind::Rtp, &forged), Err(Error::AuthFailed));
    pass(&mut out, &mut into, 10).unwrap();
    assert_eq!(into.position().rtp, Some(10));
}

#[test]
fn a_stream_that_is_told_to_go_on_refuses_one_that_begins_anew_and_the_reverse() {
    let suite = Suite::AeadAes128Gcm;
    let (mut out, mut into) = pair(suite);
    pass(&mut out, &mut into, 1000).unwrap();
    into.install(keys(suite, 2));
    out.restart(keys(suite, 2));
    assert_eq!(pass(&mut out, &mut into, 1001), Err(Error::AuthFailed));
    let (mut out, mut into) = pair(suite);
    pass(&mut out, &mut into, 1000).unwrap();
    into.install_with(keys(suite, 2), RocOnRekey::Reset);
    out.switch(keys(suite, 2));
    assert_eq!(pass(&mut out, &mut into, 1001), Err(Error::AuthFailed));
}

#[test]
fn a_context_made_anew_is_told_which_keys_it_must_not_have() {
    let suite = Suite::AesCm128HmacSha1_80;
    let (mut out, mut into) = pair(suite);
    pass(&mut out, &mut into, 1000).unwrap();
    assert_eq!(into.oldest_that_may_carry_on(), None, "one index for all");
    into.install_with(keys(suite, 2), RocOnRekey::Reset);
    assert_eq!(into.oldest_that_may_carry_on(), Some(KeyId(1)));
    out.restart(keys(suite, 2));
    pass(&mut out, &mut into, 1001).unwrap();
    assert_eq!(into.oldest_that_may_carry_on(), Some(KeyId(2)));
    assert!(into.retire(KeyId(1)));
    assert_eq!(into.oldest_that_may_carry_on(), None);
}

#[test]
fn a_context_bound_to_another_ssrc_has_seen_nothing_under_any_key() {
    let suite = Suite::AesCm128HmacSha1_80;
    let mut into = Inbound::new(1, keys(suite, 1), ReplayWindow::default(), 0);
    into.install_with(keys(suite, 2), RocOnRekey::Reset);
    into.rebind(SSRC);
    for id in [1, 2] {
        let mut out = Outbound::new(SSRC, keys(suite, id), 0);
        pass(&mut out, &mut into, 9).unwrap();
        assert_ne!(pass(&mut Outbound::new(SSRC, keys(suite, id), 0), &mut into, 9), Ok(()));
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The sender goes on by so many sequence numbers and sends; the packet waits to be delivered.
    Send(u16),
    Report,
    /// So many of the packets that wait arrive as one batch, in this order.
    Deliver {
        count: usize,
        backwards: bool,
    },
    /// Packets that arrived come again, with those that wait.
    Replay {
        from: usize,
        count: usize,
    },
    /// The sender takes a new key into use, which the receiver has.
    Rekey {
        reset: bool,
        told: bool,
    },
    Retire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop_oneof![8 => 1..4_u16, 1 => 20_000..30_000_u16].prop_map(Step::Send),
        2 => Just(Step::Report),
        4 => (1..6_usize, any::<bool>()).prop_map(|(count, backwards)| Step::Deliver { count, backwards }),
        3 => (any::<usize>(), 1..6_usize).prop_map(|(from, count)| Step::Replay { from, count }),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(reset, told)| Step::Rekey { reset, told }),
        1 => Just(Step::Retire),
    ]
}

/// A sender, what it sent, and a receiver.
struct Ends {
    suite: Suite,
    out: Outbound,
    into: Inbound,
    sequence: u16,
    key: u8,
    /// Keys of the receiver, oldest first.
    keys: Vec<u8>,
    sent: Vec<(Kind, Vec<u8>)>,
    waiting: Vec<usize>,
    arrived: Vec<usize>,
    accepted: HashSet<usize>,
    /// Key, kind and index of all that was sent.
    used: HashSet<(u8, Kind, u64)>,
}

impl Ends {
    fn new(suite: Suite, sequence: u16) -> Self {
        let (out, into) = pair(suite);
        Self {
            suite,
            out,
            into,
            sequence,
            key: 1,
            keys: vec![1],
            sent: Vec::new(),
            waiting: Vec::new(),
            arrived: Vec::new(),
            accepted: HashSet::new(),
            used: HashSet::new(),
        }
    }

    fn send(&mut self, kind: Kind, plain: &[u8]) {
        let packet = send(&mut self.out, kind, plain).unwrap();
        let position = self.out.position();
        let index = match kind {
            Kind::Rtp => position.rtp,
            Kind::Rtcp => position.rtcp,
        };
        assert!(self.used.insert((self.key, kind, index.unwrap())), "an index is used twice");
        self.waiting.push(self.sent.len());
        self.sent.push((kind, packet));
    }

    fn deliver(&mut self, places: &[usize]) -> Vec<bool> {
        let packets: Vec<_> = places.iter().map(|place| self.sent[*place].clone()).collect();
        let verdicts = receive_all(&mut self.into, &packets);
        self.arrived.extend(places);
        let mut passed = Vec::new();
        for (place, verdict) in places.iter().zip(verdicts) {
            if verdict.is_ok() {
                assert!(self.accepted.insert(*place), "packet {place} was accepted twice");
            }
            passed.push(verdict.is_ok());
        }
        passed
    }

    fn rekey(&mut self, reset: bool, told: bool) {
        self.key += 1;
        let new = keys(self.suite, self.key);
        let roc = match (told, reset) {
            (false, _) => RocOnRekey::TryBoth,
            (true, true) => RocOnRekey::Reset,
            (true, false) => RocOnRekey::Keep,
        };
        self.into.install_with(new.clone(), roc);
        self.keys.push(self.key);
        // As many as a context holds.
        if self.keys.len() > 8 {
            self.retire();
        }
        if reset { self.out.restart(new) } else { self.out.switch(new) }
    }

    fn retire(&mut self) {
        if self.keys.len() > 1 {
            assert!(self.into.retire(KeyId(self.keys.remove(0).into())));
        }
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Send(ahead) => {
                self.sequence = self.sequence.wrapping_add(ahead);
                self.send(Kind::Rtp, &rtp(self.sequence));
            }
            Step::Report => self.send(Kind::Rtcp, &rtcp()),
            Step::Deliver { count, backwards } => {
                let mut places: Vec<_> = self.waiting.drain(..count.min(self.waiting.len())).collect();
                if backwards {
                    places.reverse();
                }
                self.deliver(&places);
            }
            Step::Replay { from, count } => {
                let all: Vec<_> = self.arrived.iter().chain(&self.waiting).copied().collect();
                if !all.is_empty() {
                    let places: Vec<_> =
                        (0..count).map(|step| all[(from % all.len() + step) % all.len()]).collect();
                    self.deliver(&places);
                }
            }
            Step::Rekey { reset, told } => self.rekey(reset, told),
            Step::Retire => self.retire(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_the_order_no_index_is_used_twice_and_no_packet_is_accepted_twice(
        suite in prop::sample::select(SUITES.to_vec()),
        sequence in prop_oneof![65_500..=65_535_u16, 0..100_u16, any::<u16>()],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut ends = Ends::new(suite, sequence);
        for step in &steps {
            ends.play(step);
        }
    }

    #[test]
    fn what_arrives_in_order_is_accepted_whatever_the_peer_does_with_its_counter(
        suite in prop::sample::select(SUITES.to_vec()),
        sequence in prop_oneof![65_400..=65_535_u16, any::<u16>()],
        rounds in prop::collection::vec((1..40_usize, any::<bool>(), any::<bool>(), any::<bool>()), 1..8),
    ) {
        let mut ends = Ends::new(suite, sequence);
        for (packets, reset, told, retire) in rounds {
            for batch in 0..packets.div_ceil(5) {
                for _ in 0..5 {
                    ends.play(&Step::Send(1));
                }
                if batch % 2 == 0 {
                    ends.play(&Step::Report);
                }
                let places = std::mem::take(&mut ends.waiting);
                prop_assert!(ends.deliver(&places).into_iter().all(|passed| passed));
                prop_assert!(!ends.deliver(&places).into_iter().any(|passed| passed), "not again");
            }
            if retire {
                ends.retire();
            }
            ends.rekey(reset, told);
        }
    }
}
