//! One to many through the real daemon: a thousand listeners, and an SFU that chooses what they get.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::{self, Direction};
use sluice_srtp::Suite;
use sluice_tests::needs_root;
use sluice_tests::peer::{Peer, receive_raw};
use sluice_tests::rtp::{Source, sender_report, sequence};
use sluice_tests::site::{PATIENCE, QUIET, Site};
use sluice_tools::demo::gateway::{Gateway, Key, Leg, key_install};

const LISTENERS: u16 = 1000;
const PACKETS: usize = 12;
/// A burst of a thousand takes a debug build on a busy machine its time.
const BETWEEN_BURSTS: Duration = Duration::from_millis(200);

#[test]
fn a_thousand_listeners_get_what_one_sends_each_under_its_own_key() -> Result<()> {
    needs_root!();
    a_thousand(false)
}

#[test]
fn a_thousand_listeners_with_one_key_get_the_same_octets() -> Result<()> {
    needs_root!();
    a_thousand(true)
}

/// All listeners are one socket, which knows them by the ports of the gateway.
fn a_thousand(shared: bool) -> Result<()> {
    let mut site = Site::new()?;
    let inward = Key::random(Suite::AeadAes128Gcm)?;
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&inward), None)?;
    let sink = site.peer(5000)?.socket;
    let to = sink.local_addr()?;
    let one = Key::random(Suite::AesCm128HmacSha1_80)?;
    let keys: Vec<_> = (0..LISTENERS)
        .map(|_| if shared { Ok(one.clone()) } else { Key::random(Suite::AesCm128HmacSha1_80) })
        .collect::<Result<_>>()?;
    let names: Vec<_> = (0..LISTENERS).map(|number| format!("l{number}")).collect();
    let locals: Vec<_> = (0..LISTENERS).map(|number| site.at(10_000 + number)).collect();
    let source = Leg::new("a", site.at(4000), caller.address()?).inbound(&inward).rtcp_mux();
    site.gateway.create_call("room", &[source], &[])?;
    let legs: Vec<_> = names
        .iter()
        .zip(&locals)
        .zip(&keys)
        .map(|((name, local), key)| {
            let mut leg = Leg::new(name, *local, to).rtcp_mux();
            // Keys that are shared say so, when they are installed.
            if shared {
                leg.config.outbound = v1::Protection::Srtp as i32;
            } else {
                leg = leg.outbound(key);
            }
            leg
        })
        .collect();
    site.gateway.add_legs("room", &legs)?;
    if shared {
        let install = |name: &String| v1::KeyInstall {
            shared: true,
            ..key_install("room", name, "one", Direction::Outbound, &one)
        };
        site.gateway.install_keys(names.iter().map(install).collect())?;
    }
    let routes: Vec<_> = names.iter().map(|name| ("a", name.as_str())).collect();
    site.gateway.add_routes("room", &routes)?;

    let mut heard: HashMap<SocketAddr, Vec<Vec<u8>>> = HashMap::new();
    let (mut source, mut sent) = (Source::new(7, 65_530), Vec::new());
    for number in 0..PACKETS {
        let packet = if number == PACKETS - 1 { sender_report(7, 11) } else { source.next_packet() };
        caller.send(site.at(4000), &packet)?;
        sent.push(packet);
        let until = Instant::now() + BETWEEN_BURSTS;
        while let Some((packet, from)) = receive_raw(&sink, until.saturating_duration_since(Instant::now()))?
        {
            heard.entry(from).or_default().push(packet);
        }
    }
    while let Some((packet, from)) = receive_raw(&sink, PATIENCE)? {
        heard.entry(from).or_default().push(packet);
    }
    ensure!(heard.len() == usize::from(LISTENERS), "{} of {LISTENERS} heard anything", heard.len());
    let first = heard[&locals[0]].clone();
    for (local, key) in locals.iter().zip(&keys) {
        let packets = &heard[local];
        ensure!(!shared || *packets == first, "{local}: other octets than at the first listener");
        let mut listener = Peer::keyed(site.world.peers.udp(site.world.peers_at(0))?, None, Some(key))?;
        let clear: Vec<_> =
            packets.iter().map(|packet| listener.open(packet.clone())).collect::<Result<_>>()?;
        ensure!(clear == sent, "{local}: {} of {PACKETS}, or not in order", clear.len());
    }
    let worker = site.gateway.statistics()?.workers.into_iter().find(|worker| worker.legs > 0);
    let worker = worker.context("a worker with legs")?;
    let contexts = if shared { 1 } else { u64::from(LISTENERS) };
    ensure!((worker.egress_contexts, worker.ssrc_clashes) == (contexts, 0), "{worker:?}");
    ensure!(worker.drops.is_empty(), "{:?}", worker.drops);
    Ok(())
}

const SPEAKERS: [u32; 3] = [0x11, 0x22, 0x33];
const CROWD: [&str; 4] = ["w", "x", "y", "z"];
/// How long a packet that was sent may be on its way to the worker.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// A packet that was sent.
struct Spoken {
    at: Instant,
    ssrc: u32,
    sequence: u16,
}

/// What was selected, from when to when for certain.
struct Selected {
    ssrcs: Vec<u32>,
    from: Instant,
    until: Instant,
}

#[test]
fn an_sfu_switches_the_speaker_under_running_media_and_pauses_and_resumes() -> Result<()> {
    needs_root!();
    for datapath in ["auto", "io_uring"] {
        switch(datapath).context(datapath)?;
    }
    Ok(())
}

fn switch(datapath: &str) -> Result<()> {
    let mut site = Site::with(1500, datapath)?;
    let key = Key::random(Suite::AesCm128HmacSha1_80)?;
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&key), None)?;
    let keys = CROWD.map(|_| Key::random(Suite::AeadAes256Gcm)).into_iter().collect::<Result<Vec<_>>>()?;
    let mut legs = vec![Leg::new("a", site.at(4000), caller.address()?).inbound(&key).rtcp_mux()];
    let mut crowd = Vec::new();
    for ((port, name), key) in (5000..).zip(CROWD).zip(&keys) {
        let listener = Peer::keyed(site.peer(port)?.socket, None, Some(key))?;
        legs.push(Leg::new(name, site.at(port), listener.address()?).outbound(key).rtcp_mux());
        crowd.push(listener);
    }
    site.gateway.create_call("room", &legs, &CROWD.map(|name| ("a", name)))?;
    let into = site.at(4000);
    let finished = AtomicBool::new(false);
    let (spoken, selected) = std::thread::scope(|scope| {
        let speaking = scope.spawn(|| speak(&mut caller, into, &finished));
        let selected = choose(&mut site.gateway);
        finished.store(true, Ordering::Relaxed);
        let spoken = speaking.join().expect("the speakers do not panic");
        Ok::<_, anyhow::Error>((spoken?, selected?))
    })?;
    for ((number, listener), name) in crowd.iter_mut().enumerate().zip(CROWD) {
        let heard = listener.receive_all(QUIET)?;
        judge(&spoken, &selected[number], &heard).with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// All speakers speak all the time, and report.
fn speak(caller: &mut Peer, into: SocketAddr, finished: &AtomicBool) -> Result<Vec<Spoken>> {
    let mut sources = SPEAKERS.map(|ssrc| Source::new(ssrc, 100));
    let mut spoken = Vec::new();
    while !finished.load(Ordering::Relaxed) {
        for source in &mut sources {
            let packet = source.next_packet();
            let sequence = sequence(&packet).context("RTP")?;
            spoken.push(Spoken { at: Instant::now(), ssrc: source.ssrc, sequence });
            caller.send(into, &packet)?;
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    for ssrc in SPEAKERS {
        caller.send(into, &sender_report(ssrc, 1))?;
    }
    Ok(spoken)
}

/// Each listener gets another speaker in each turn; the last is paused in some.
fn choose(gateway: &mut Gateway) -> Result<Vec<Vec<Selected>>> {
    let mut selected: Vec<Vec<Selected>> = CROWD.map(|_| Vec::new()).into();
    for turn in 0..8 {
        let chosen: Vec<_> = (0..CROWD.len())
            .map(|listener| match (listener, turn % 2) {
                (3, 1) => Vec::new(),
                (3, _) => SPEAKERS.to_vec(),
                _ => vec![SPEAKERS[(listener + turn) % SPEAKERS.len()]],
            })
            .collect();
        let route = |(name, ssrcs): (&&str, &Vec<u32>)| v1::Route {
            session: "room".into(),
            id: format!("a-{name}"),
            from: "a".into(),
            to: (*name).into(),
            paused: ssrcs.is_empty(),
            only: (ssrcs.len() == 1).then(|| v1::SsrcList { values: ssrcs.clone() }),
            ..Default::default()
        };
        let request = v1::UpdateRoutesRequest { routes: CROWD.iter().zip(&chosen).map(route).collect() };
        let before = Instant::now();
        for result in gateway.call(|client| client.update_routes(request))?.results {
            ensure!(matches!(result.result, Some(v1::route_result::Result::Route(_))), "{result:?}");
        }
        let from = Instant::now();
        for (listener, ssrcs) in chosen.into_iter().enumerate() {
            if let Some(last) = selected[listener].last_mut() {
                last.until = before;
            }
            selected[listener].push(Selected { ssrcs, from, until: from + Duration::from_mins(1) });
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(selected)
}

/// Of the selected none is lost, of the others none is heard; in between, while a choice is under way, either is
/// right.
fn judge(spoken: &[Spoken], selected: &[Selected], heard: &[Vec<u8>]) -> Result<()> {
    let reports = heard.iter().filter(|packet| packet[1] == 200).count();
    ensure!(reports == SPEAKERS.len(), "{reports} reports: RTCP is not held back");
    let mut count = HashMap::new();
    for packet in heard.iter().filter(|packet| packet[1] != 200) {
        let ssrc = u32::from_be_bytes(*packet[8..].first_chunk().context("RTP")?);
        *count.entry((ssrc, sequence(packet).context("RTP")?)).or_insert(0) += 1;
    }
    let (mut wanted, mut unwanted) = (0, 0);
    for Spoken { at, ssrc, sequence } in spoken {
        let times = count.remove(&(*ssrc, *sequence)).unwrap_or(0);
        ensure!(times <= 1, "{ssrc:#x} {sequence} was heard {times} times");
        let certain = selected.iter().find(|choice| *at >= choice.from && *at + ON_ITS_WAY < choice.until);
        let Some(choice) = certain else { continue };
        let is_wanted = choice.ssrcs.contains(ssrc);
        ensure!(
            (times == 1) == is_wanted,
            "{ssrc:#x} {sequence} was heard {times} times; wanted: {is_wanted}"
        );
        if is_wanted { wanted += 1 } else { unwanted += 1 }
    }
    ensure!(count.is_empty(), "heard, but never spoken: {count:?}");
    ensure!(wanted > 150 && unwanted > 150, "{wanted} selected and {unwanted} others are too few to tell");
    Ok(())
}
