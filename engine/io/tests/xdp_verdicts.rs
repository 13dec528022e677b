//! The program in the kernel decides every frame as the classifier does on the host.

#[path = "../../../ebpf/classifier/tests/support/mod.rs"]
mod support;

mod host;

use std::net::SocketAddr;
use std::os::fd::AsFd;

use sluice_classifier::{Action, Bytes, Counter, LegEntry, LocalKey, Policy, decide, locate};
use sluice_io::xdp::Xdp;
use support::{frames, pcap};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// A frame as the kernel's test run lays it out: one page holds the headroom, the first part of the frame
/// and the kernel's own tail; the rest goes to further buffers.
struct FirstBuffer<'a>(&'a [u8]);

const FIRST_BUFFER: usize = 4096 - 256 - 320;

impl Bytes for FirstBuffer<'_> {
    fn len(&self) -> usize {
        self.0.len().min(FIRST_BUFFER)
    }

    fn wire_len(&self) -> usize {
        self.0.len()
    }

    fn array_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0[..Bytes::len(self)].array_at(offset)
    }
}

/// Runs one frame and says what the program returned and which counters it raised.
fn run(xdp: &Xdp, frame: &[u8]) -> (u32, Vec<(Counter, u64)>) {
    let before = xdp.maps.counters().expect("counters");
    let code = xdp.test_run(frame).expect("a test run");
    let after = xdp.maps.counters().expect("counters");
    let raised = Counter::ALL.into_iter().map(|counter| (counter, after[counter] - before[counter]));
    (code, raised.filter(|(_, raised)| *raised != 0).collect())
}

fn insert(xdp: &mut Xdp, legs: impl IntoIterator<Item = (SocketAddr, LegEntry)>) {
    for (local, entry) in legs {
        xdp.maps.insert_leg(local, entry).expect("room for the leg");
    }
}

fn assert_agrees(xdp: &Xdp, name: &str, frames: &[Vec<u8>], lookup: impl Fn(&LocalKey) -> Option<LegEntry>) {
    for (number, frame) in frames.iter().enumerate() {
        let (action, counter) = decide(&FirstBuffer(frame), &lookup);
        let code = match action {
            Action::Pass => XDP_PASS,
            Action::Drop => XDP_DROP,
            Action::Redirect => XDP_REDIRECT,
        };
        let head = &frame[..frame.len().min(200)];
        assert_eq!(run(xdp, frame), (code, vec![(counter, 1)]), "{name} frame {number}: {head:02x?}");
    }
}

fn captured() -> Vec<Vec<u8>> {
    pcap::frames(include_bytes!("../../../tests/vectors/captures/media.pcap"))
}

#[test]
fn generated_frames_get_the_same_verdict_in_the_kernel() {
    let Some(mut xdp) = host::load("generated_frames_get_the_same_verdict_in_the_kernel") else { return };
    insert(&mut xdp, frames::legs());
    let socket = host::af_xdp_socket();
    xdp.maps.set_socket(0, socket.as_fd()).expect("the map takes it");
    let corpus = frames::corpus(3, 6000);
    assert_agrees(&xdp, "generated", &corpus, frames::lookup);
    let counters = xdp.maps.counters().expect("counters");
    assert_eq!(counters.frames(), 6000);
    for counter in Counter::ALL.into_iter().filter(|counter| !counter.is_beside()) {
        assert!(counters[counter] >= 5, "the corpus hardly reaches {counter:?}: {counters:?}");
    }
}

#[test]
fn frames_of_several_buffers_get_the_same_verdict_where_sockets_take_them() {
    let Some(mut xdp) = host::load("frames_of_several_buffers_get_the_same_verdict") else { return };
    let gathered = |key: &LocalKey| frames::lookup(key).map(LegEntry::gathered);
    insert(&mut xdp, frames::legs().into_iter().map(|(local, entry)| (local, entry.gathered())));
    let socket = host::af_xdp_socket();
    xdp.maps.set_socket(0, socket.as_fd()).expect("the map takes it");
    let corpus = frames::corpus(7, 6000);
    assert_agrees(&xdp, "generated", &corpus, gathered);
    let redirected = |frame: &&Vec<u8>| decide(&FirstBuffer(frame), gathered).0 == Action::Redirect;
    let large = corpus.iter().filter(|frame| frame.len() > FIRST_BUFFER).filter(redirected).count();
    assert!(large >= 5, "{large} frames of several buffers are redirected");
}

#[test]
fn captured_frames_get_the_same_verdict_in_the_kernel() {
    let Some(mut xdp) = host::load("captured_frames_get_the_same_verdict_in_the_kernel") else { return };
    let socket = host::af_xdp_socket();
    xdp.maps.set_socket(0, socket.as_fd()).expect("the map takes it");
    let captured = captured();
    // Every port that something was sent to becomes a leg, first of one policy and then of the other.
    for policy in [Policy::new(), Policy::new().plain()] {
        let leg = |key: &LocalKey| {
            let known = captured.iter().filter_map(|frame| locate(frame.as_slice()).ok());
            let mut keys = known.map(|datagram| LocalKey::new(&datagram.destination));
            keys.any(|known| known == *key).then_some(LegEntry::new(1, policy))
        };
        let datagrams = captured.iter().filter_map(|frame| locate(frame.as_slice()).ok());
        insert(&mut xdp, datagrams.map(|found| (found.destination.into(), LegEntry::new(1, policy))));
        assert_agrees(&xdp, "captured", &captured, leg);
    }
}

#[test]
fn captured_protocols_are_told_apart() {
    let mut seen = std::collections::BTreeMap::<u16, Vec<Counter>>::new();
    for frame in captured() {
        let Ok(datagram) = locate(frame.as_slice()) else { continue };
        // Either direction: the well-known port names the protocol.
        let port = datagram.destination.port.min(datagram.source.port);
        let plain = !matches!(port, 5008 | 5009);
        let policy = if plain { Policy::new().plain() } else { Policy::new() };
        let (_, counter) = decide(frame.as_slice(), |_| Some(LegEntry::new(1, policy)));
        seen.entry(port).or_default().push(counter);
    }
    for (port, expected) in [
        (5004, &[Counter::Rtp][..]),
        (5005, &[Counter::Rtcp]),
        (5008, &[Counter::Rtp]),
        (5009, &[Counter::Rtcp]),
        (5012, &[Counter::Rtp]),
        (5013, &[Counter::Rtcp]),
        (4433, &[Counter::Dtls]),
        // coturn's client still takes channel numbers of RFC 5766, which go up to 0x7fff; RFC 8656 and
        // RFC 7983 end them at 0x4fff. The others are nobody's, and pass just as well.
        (3478, &[Counter::Stun, Counter::TurnChannel, Counter::Unknown]),
    ] {
        let counters = seen.get(&port).unwrap_or_else(|| panic!("nothing captured on port {port}"));
        for counter in counters {
            assert!(expected.contains(counter), "port {port}: {counter:?}");
        }
        for counter in expected {
            assert!(counters.contains(counter), "port {port}: no {counter:?}");
        }
    }
}

#[test]
fn without_a_socket_everything_passes() {
    let Some(mut xdp) = host::load("without_a_socket_everything_passes") else { return };
    insert(&mut xdp, frames::legs());
    for frame in frames::corpus(4, 1000) {
        let (action, counter) = decide(&FirstBuffer(&frame), frames::lookup);
        let mut expected = vec![(counter, 1)];
        if action != Action::Pass {
            expected.push((Counter::NoSocket, 1));
        }
        assert_eq!(run(&xdp, &frame), (XDP_PASS, expected));
    }
}

#[test]
fn a_leg_is_known_from_its_insertion_to_its_removal() {
    let Some(mut xdp) = host::load("a_leg_is_known_from_its_insertion_to_its_removal") else { return };
    let (local, entry) = frames::legs()[0];
    let is_media = |frame: &Vec<u8>| {
        decide(frame.as_slice(), frames::lookup).1 == Counter::Rtp
            && locate(frame.as_slice()).is_ok_and(|found| SocketAddr::from(found.destination) == local)
    };
    let frame = frames::corpus(5, 1000).into_iter().find(is_media).expect("one in a thousand");
    let counted = |xdp: &Xdp| run(xdp, &frame).1[0].0;
    assert_eq!(counted(&xdp), Counter::NoLeg);
    xdp.maps.insert_leg(local, entry).expect("room");
    assert_eq!(counted(&xdp), Counter::Rtp);
    let nothing_allowed = Policy::new().with_payload_types([0; 2]);
    xdp.maps.insert_leg(local, LegEntry::new(1, nothing_allowed)).expect("room");
    assert_eq!(counted(&xdp), Counter::PayloadType);
    assert!(xdp.maps.remove_leg(local).expect("removal"));
    assert_eq!(counted(&xdp), Counter::NoLeg);
    assert!(!xdp.maps.remove_leg(local).expect("removal"), "it was gone already");
}

#[test]
fn a_full_map_and_a_queue_out_of_range_are_told() {
    let test = "a_full_map_and_a_queue_out_of_range_are_told";
    if host::load(test).is_none() {
        return;
    }
    let mut xdp = Xdp::load(2).expect("loads");
    let legs = frames::legs();
    let full = legs.iter().map(|(local, entry)| xdp.maps.insert_leg(*local, *entry)).find_map(Result::err);
    assert!(full.expect("two fit").to_string().contains("table of 2 local ports is full"));
    let socket = host::af_xdp_socket();
    let error = xdp.maps.set_socket(256, socket.as_fd()).expect_err("0 to 255");
    assert!(error.to_string().contains("queue 256 is out of range"), "{error}");
}
