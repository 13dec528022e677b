//! Who would disturb calls, or have the gateway work for nothing.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_keying::dtls_srtp::{Association, Endpoint, Output, Role, Settings};
use sluice_proto::v1;
use tokio::task::block_in_place;

use crate::bed::{Bed, Talk, checked, handshaken, meet, meet_after_checks};
use crate::peer::{Peer, SUITES, endpoint};
use crate::support::{receive, rtp, udp};

/// Somebody who begins handshakes and does not end them.
struct Beginner {
    socket: UdpSocket,
    association: Association,
}

impl Beginner {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        let association = Association::new(endpoint, Role::Client, &SUITES, None, Instant::now()).unwrap();
        Self { socket: udp(), association }
    }

    fn send(&mut self, to: SocketAddr) {
        while let output @ (Output::Transmit(_) | Output::Event(_)) = self.association.poll() {
            if let Output::Transmit(bytes) = output {
                self.socket.send_to(&bytes, to).unwrap();
            }
        }
    }

    /// Shows that it hears, and falls silent.
    fn begin(&mut self, to: SocketAddr) {
        self.send(to);
        let mut buffer = [0; 2048];
        let len = self.socket.recv(&mut buffer).expect("it is asked for a cookie");
        self.association.handle_datagram(Instant::now(), &buffer[..len]).unwrap();
        self.send(to);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stray_client_hello_disturbs_no_call_that_runs() {
    let bed = Bed::new("stray").await;
    let gateway = bed.fingerprint().await;
    let stranger = endpoint(&Settings::default());
    let (mut alice, mut carol) = (Peer::new(), Peer::new());
    let with_checks = bed.daemon.leg("s", "alice", checked(&mut alice)).await.unwrap();
    let spec = handshaken(&carol).remote(&carol.socket);
    let without = bed.daemon.leg("s", "carol", spec).await.unwrap();
    bed.daemon.route("s", "there", "alice", "carol").await.unwrap();
    bed.daemon.route("s", "back", "carol", "alice").await.unwrap();
    let [to_alice, to_carol] = [&with_checks, &without].map(|leg| leg.local_rtp.parse().unwrap());
    block_in_place(|| {
        meet_after_checks(&mut alice, &with_checks, &gateway);
        meet(&mut carol, &without, Role::Client, &gateway);
        for sequence in 0..20 {
            for to in [to_alice, to_carol] {
                Beginner::new(&stranger).send(to);
            }
            // From the peer's own address as well, which anybody may write into a datagram.
            let mut forged =
                Association::new(&stranger, Role::Client, &SUITES, None, Instant::now()).unwrap();
            if let Output::Transmit(bytes) = forged.poll() {
                alice.socket.send_to(&bytes, to_alice).unwrap();
                carol.socket.send_to(&bytes, to_carol).unwrap();
            }
            alice.send(&rtp(sequence, 0xa, 100));
            assert_eq!(carol.receive(), rtp(sequence, 0xa, 100));
            carol.send(&rtp(sequence, 0xc, 100));
            assert_eq!(alice.receive(), rtp(sequence, 0xc, 100));
        }
    });
    for leg in ["alice", "carol"] {
        assert_eq!(bed.path(leg).await.dtls_state(), v1::DtlsState::Established);
    }
    let expected = [("dtls_unchecked_address", 20), ("dtls_stray_client_hello", 20), ("dtls_refused", 40)];
    for (reason, count) in expected {
        bed.daemon.eventually(|| async { (bed.dropped(reason).await == count).then_some(()) }).await;
    }
    assert_eq!(bed.statistics().await.handshakes_started, 2);
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_not_shown_that_he_hears_costs_no_state() {
    let bed = Bed::new("cookies").await;
    let stranger = endpoint(&Settings::default());
    let alice = Peer::new();
    let leg = bed.daemon.leg("s", "alice", handshaken(&alice)).await.unwrap();
    let to = leg.local_rtp.parse().unwrap();
    for _ in 0..100 {
        Beginner::new(&stranger).send(to);
    }
    bed.daemon.eventually(|| async { (bed.statistics().await.cookies_sent == 100).then_some(()) }).await;
    let counted = bed.statistics().await;
    assert_eq!((counted.handshakes_started, counted.half_open), (0, 0));
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_handshakes_that_do_not_end_is_bounded_while_another_call_goes_on() {
    const BOUND: u64 = 8;
    const FLOOD: usize = 24;
    let bed = Bed::configured("flood", &format!("[dtls]\nhalf_open = {BOUND}\n")).await;
    let stranger = endpoint(&Settings::default());
    let Talk { mut alice, bob, .. } = bed.talk(Peer::new(), Role::Client).await;
    let mut beginners = Vec::new();
    for number in 0..FLOOD {
        let victim = Peer::new();
        let leg = bed.daemon.leg("s", &format!("v{number}"), handshaken(&victim)).await.unwrap();
        block_in_place(|| {
            let mut beginner = Beginner::new(&stranger);
            beginner.begin(leg.local_rtp.parse().unwrap());
            beginners.push(beginner);
            let sequence = number as u16;
            alice.send(&rtp(sequence, 0xa, 100));
            assert_eq!(receive(&bob), rtp(sequence, 0xa, 100));
        });
    }
    let refused = FLOOD as u64 - BOUND;
    bed.daemon.eventually(|| async { (bed.dropped("dtls_half_open").await == refused).then_some(()) }).await;
    let counted = bed.statistics().await;
    assert_eq!((counted.half_open, counted.handshakes_started), (BOUND, BOUND + 1));
    bed.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_begins_no_more_handshakes_in_a_second_than_it_may() {
    let bed = Bed::configured("rate", "[dtls]\nhandshakes_per_source = 3\n").await;
    let stranger = endpoint(&Settings::default());
    let begun = Instant::now();
    for number in 0..12 {
        let victim = Peer::new();
        let leg = bed.daemon.leg("s", &format!("v{number}"), handshaken(&victim)).await.unwrap();
        block_in_place(|| Beginner::new(&stranger).begin(leg.local_rtp.parse().unwrap()));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (counted, seconds) = (bed.statistics().await, begun.elapsed().as_secs_f64());
    let most = 3.0 + 3.0 * seconds;
    assert!(counted.handshakes_started >= 3 && counted.handshakes_started as f64 <= most, "{counted:?}");
    assert_eq!(bed.dropped("dtls_source_rate").await, 12 - counted.handshakes_started);
    bed.daemon.stop().await;
}
