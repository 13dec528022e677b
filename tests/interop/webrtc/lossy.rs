//! Handshakes on a network that loses, repeats and reorders their flights.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_proto::v1::event::Kind;
use sluice_proto::v1::{CallSide, Event};
use sluice_tests::START;
use sluice_tests::signalling::Signalling;
use sluice_tests::site::Site;
use sluice_tools::demo::namespace::Namespace;

use crate::peer::{Peer, Tools, tools};
use crate::plain::Phone;
use crate::{CALL, HEARD, PLAIN, PROFILES, TALK, TONES, WEBRTC, sdp, site};

const PHONE: u16 = 6000;
/// Towards the peer, and towards the gateway.
const WAY: [u16; 2] = [7000, 7002];
/// How long a datagram waits to be overtaken.
const OVERTAKING: Duration = Duration::from_millis(50);
const SEEDS: [u64; 2] = [2, 3];

#[test]
fn chromium_s_handshake_survives_loss_repetition_and_reordering_of_its_flights() -> Result<()> {
    let tools = tools!(browser);
    for setup in ["active", "passive"] {
        survives_all(&tools, Tools::chromium, setup)?;
    }
    Ok(())
}

#[test]
fn aiortc_s_handshake_survives_loss_repetition_and_reordering_of_its_flights() -> Result<()> {
    let tools = tools!();
    for setup in ["active", "passive"] {
        survives_all(&tools, Tools::aiortc, setup)?;
    }
    Ok(())
}

/// How a peer is started.
type Start = fn(&Tools, &Namespace, &str, &[&str]) -> Result<Peer>;

#[test]
fn chromium_behind_a_nat_that_gives_it_another_port_is_heard_again_after_a_check() -> Result<()> {
    let tools = tools!(browser);
    let mut site = site(&[PROFILES[0].suite], WEBRTC, PLAIN)?;
    let mut api = Signalling::connect(&site.socket())?;
    let mut peer = tools.chromium(site.peers_namespace(), "chromium", &[])?;
    let mut phone = Phone::new(&site, PHONE, TONES[1], false)?;
    peer.open(TONES[0], json!({}))?;
    let offered = api.offer(CALL, "", CallSide::Caller, &peer.offer()?, None)?;
    let answered = api.answer(CALL, "", &phone.answer(&offered)?, false)?;
    phone.begin(&offered)?;
    let gateway = sdp::destination(&answered)?;
    let before = Way::start(&site, WAY, gateway, None)?;
    peer.answer(&sdp::moved(&answered, before.at))?;
    peer.expect_connected()?;
    thread::sleep(TALK);
    drop(before);
    let after = Way::start(&site, [WAY[0], WAY[1] + 2], gateway, None)?;
    let moved = site.world.peers_at(WAY[1] + 2).to_string();
    let chosen = |event: &Event| matches!(&event.kind, Some(Kind::IceChanged(ice)) if ice.remote == moved);
    let event = site.gateway.wait_for_event(START, chosen);
    event.with_context(|| format!("it was not followed:\n{}", site.gateway.log()))?;
    thread::sleep(TALK);
    phone.expect_heard(TONES[0], 2.0 * HEARD)?;
    peer.expect_heard(TONES[1], 2.0 * HEARD)?;
    drop(after);
    api.end(CALL)?;
    ensure!(site.gateway.statistics()?.legs.is_empty(), "legs of a call that ended");
    Ok(())
}

fn survives_all(tools: &Tools, start: Start, setup: &str) -> Result<()> {
    let mut counts = [0; 3];
    for seed in SEEDS {
        let of = survives(tools, start, setup, seed)?;
        counts = [0, 1, 2].map(|at: usize| counts[at] + of[at]);
    }
    ensure!(counts.iter().all(|count| *count > 0), "lost, repeated and overtaken: {counts:?}");
    Ok(())
}

fn survives(tools: &Tools, start: Start, setup: &str, seed: u64) -> Result<[u64; 3]> {
    let site = site(&[PROFILES[0].suite], &format!("{WEBRTC}dtls_setup = \"{setup}\"\n"), PLAIN)?;
    let mut api = Signalling::connect(&site.socket())?;
    let mut peer = start(tools, site.peers_namespace(), "peer", &[])?;
    let mut phone = Phone::new(&site, PHONE, TONES[1], false)?;
    peer.open(TONES[0], json!({}))?;
    let offered = api.offer(CALL, "", CallSide::Caller, &peer.offer()?, None)?;
    let answered = api.answer(CALL, "", &phone.answer(&offered)?, false)?;
    phone.begin(&offered)?;
    let way = Way::start(&site, WAY, sdp::destination(&answered)?, Some(seed))?;
    peer.answer(&sdp::moved(&answered, way.at))?;
    let of = || format!("{setup}, seed {seed}: {:?}\n{}", way.counts(), site.gateway.log());
    peer.expect_connected().with_context(of)?;
    // Of the two ends one is done first: that whose last flight may be lost.
    let done = |event: &Event| matches!(event.kind, Some(Kind::KeysNegotiated(_)));
    site.gateway.wait_for_event(START, done).with_context(of)?;
    thread::sleep(TALK);
    phone.expect_heard(TONES[0], HEARD).with_context(of)?;
    peer.expect_heard(TONES[1], HEARD).with_context(of)?;
    api.end(CALL)?;
    Ok(way.counts())
}

/// A way between a peer and the gateway, on which datagrams of DTLS are lost, come twice, or come after the next: by
/// a generator of pseudo-random numbers, so that a run can be repeated. Everything else passes.
struct Way {
    /// Where the peer finds the gateway.
    at: SocketAddr,
    counts: Arc<[AtomicU64; 3]>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Way {
    /// Between two ports, to the gateway; without a seed all datagrams pass.
    fn start(site: &Site, ports: [u16; 2], gateway: SocketAddr, seed: Option<u64>) -> Result<Self> {
        let [near, far] = ports.map(|port| site.world.peers.udp(site.world.peers_at(port)));
        let (near, far) = (near?, far?);
        let at = near.local_addr()?;
        let (counts, ends) = (Arc::<[AtomicU64; 3]>::default(), Arc::<AtomicBool>::default());
        // Where the peer is, once it is heard of.
        let peer = Arc::<Mutex<Option<SocketAddr>>>::default();
        let mut threads = Vec::new();
        for (from, to, fixed) in [(&near, &far, Some(gateway)), (&far, &near, None)] {
            let (from, to) = (from.try_clone()?, to.try_clone()?);
            from.set_read_timeout(Some(Duration::from_millis(30)))?;
            let (peer, counts, ends) = (Arc::clone(&peer), Arc::clone(&counts), Arc::clone(&ends));
            let mut random = seed.map(|seed| Random(seed * 2 + u64::from(fixed.is_some())));
            threads.push(thread::spawn(move || {
                let mut later: Option<(Instant, Vec<u8>)> = None;
                let mut buffer = [0; 2048];
                while !ends.load(Ordering::Relaxed) {
                    let received = from.recv_from(&mut buffer);
                    let mut all = Vec::new();
                    if let Ok((length, source)) = received {
                        if fixed.is_some() {
                            *peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
                        }
                        all = disturb(random.as_mut(), &counts, buffer[..length].to_vec(), &mut later);
                    }
                    // Nothing followed that could overtake it.
                    let waited = later.take_if(|(since, _)| since.elapsed() > OVERTAKING);
                    all.extend(waited.map(|(_, datagram)| datagram));
                    let known = *peer.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(target) = fixed.or(known) else { continue };
                    for datagram in all {
                        let _ = to.send_to(&datagram, target);
                    }
                }
            }));
        }
        Ok(Self { at, counts, ends, threads })
    }

    /// How many were lost, repeated, and overtaken.
    fn counts(&self) -> [u64; 3] {
        [0, 1, 2].map(|at: usize| self.counts[at].load(Ordering::Relaxed))
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What goes on of a datagram, and of what waits to be overtaken.
fn disturb(
    random: Option<&mut Random>,
    counts: &[AtomicU64; 3],
    datagram: Vec<u8>,
    later: &mut Option<(Instant, Vec<u8>)>,
) -> Vec<Vec<u8>> {
    // RFC 7983 section 7.
    let is_dtls = datagram.first().is_some_and(|first| (20..64).contains(first));
    let mut out = Vec::new();
    let count = |of: usize| counts[of].fetch_add(1, Ordering::Relaxed);
    let fate = random.filter(|_| is_dtls).map_or(7, |random| random.next() % 8);
    match fate {
        0 => drop(count(0)),
        1 | 2 => {
            count(1);
            out.extend([datagram.clone(), datagram]);
        }
        3 | 4 if later.is_none() => {
            count(2);
            *later = Some((Instant::now(), datagram));
            return out;
        }
        _ => out.push(datagram),
    }
    if is_dtls {
        out.extend(later.take().map(|(_, datagram)| datagram));
    }
    out
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // From where few bits are set it takes some steps to get random.
        if self.0 < 1 << 16 {
            self.0 = self.0.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }
}
