//! What networks do to packets, and what else arrives at the ports of a call.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sluice_proto::v1::event::Kind;
use sluice_proto::v1::{self, LegStatistics};
use sluice_srtp::Suite;
use sluice_tests::needs_root;
use sluice_tests::peer::{Peer, receive_raw};
use sluice_tests::raw::{Port, mac_of, udp_frame};
use sluice_tests::rtp::Source;
use sluice_tests::site::{PACE, PATIENCE, Site, expect_exactly, expect_nothing, stream};
use sluice_tools::demo::adversary::{dtls_client_hello, is_stun_answer, stun_binding_request, zrtp_hello};
use sluice_tools::demo::gateway::{Key, Leg, drops};

/// A call from an SRTP caller to a plain listener.
fn call(site: &mut Site, suite: Suite) -> Result<(Peer, Peer)> {
    let key = Key::random(suite)?;
    let caller = Peer::keyed(site.peer(4000)?.socket, Some(&key), None)?;
    let listener = site.peer(5000)?;
    let legs = [
        Leg::new("a", site.at(4000), caller.address()?).inbound(&key),
        Leg::new("b", site.at(5000), listener.address()?),
    ];
    site.gateway.create_call("call", &legs, &[("a", "b")])?;
    Ok((caller, listener))
}

#[test]
fn loss_and_reordering_across_a_rollover_lose_nothing_more() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let inward = Key::random(Suite::AesCm128HmacSha1_80)?;
    let outward = Key::random(Suite::AeadAes256Gcm)?;
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&inward), None)?;
    let mut listener = Peer::keyed(site.peer(5000)?.socket, None, Some(&outward))?;
    let legs = [
        Leg::new("a", site.at(4000), caller.address()?).inbound(&inward),
        Leg::new("b", site.at(5000), listener.address()?).outbound(&outward),
    ];
    site.gateway.create_call("call", &legs, &[("a", "b")])?;
    // 200 packets on either side of sequence number 65535 → 0, of which the first always arrives.
    let mut source = Source::new(0x5eed, 65_336);
    let mut in_flight = Vec::new();
    for _ in 0..400 {
        let packet = source.next_packet();
        in_flight.push((caller.seal(&packet)?, packet));
    }
    let first = in_flight.remove(0);
    caller.socket.send_to(&first.0, site.at(4000))?;
    let mut sent = vec![first.1];
    let mut chance = 1_u32;
    let mut dice = move |sides: u32| {
        // Numerical Recipes' generator: the same losses in every run.
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (chance >> 16) % sides
    };
    in_flight.retain(|_| dice(10) > 0);
    // Each packet is delayed by up to 24 places.
    let mut order: Vec<_> = in_flight.into_iter().enumerate().collect();
    order.sort_by_cached_key(|(index, _)| *index as u32 + dice(25));
    let late = order.windows(2).filter(|pair| pair[0].0 > pair[1].0).count();
    assert!(late > 50 && order.len() < 390, "the dice were too kind");
    for (_, (sealed, packet)) in order {
        caller.socket.send_to(&sealed, site.at(4000))?;
        sent.push(packet);
        std::thread::sleep(PACE);
    }
    expect_exactly(&mut listener, &sent)?;
    let leg = site.gateway.leg("call", "a")?;
    assert!(leg.drops.iter().all(|drop| drop.packets == 0), "{:?}", leg.drops);
    Ok(())
}

#[test]
fn stun_dtls_and_zrtp_to_a_media_port_take_the_kernel_s_path() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let (mut caller, mut listener) = call(&mut site, Suite::AesCm128HmacSha1_80)?;
    let sent = stream(&mut caller, site.at(4000), &mut Source::new(1, 0), 20)?;
    expect_exactly(&mut listener, &sent)?;
    let transaction = [0xa5; 12];
    caller.socket.send_to(&stun_binding_request(transaction), site.at(4000))?;
    let (answer, from) = receive_raw(&caller.socket, PATIENCE)?.context("STUN is not answered")?;
    assert_eq!(from, site.at(4000), "the answer comes from the port that was asked");
    assert!(is_stun_answer(&answer, transaction));
    caller.socket.send_to(&dtls_client_hello(), site.at(4000))?;
    caller.socket.send_to(&zrtp_hello(1), site.at(4000))?;
    for protocol in ["stun", "dtls", "zrtp"] {
        let event = site.gateway.wait_for_event(PATIENCE, |event| match &event.kind {
            Some(Kind::Negotiation(negotiation)) => negotiation.protocol == protocol,
            _ => false,
        });
        assert!(event.is_some(), "no event for {protocol}");
    }
    expect_nothing(&mut listener)?;
    let leg = site.gateway.leg("call", "a")?;
    assert_eq!((leg.received_rtp_packets, leg.negotiation), (20, 3));
    Ok(())
}

#[test]
fn fragmented_datagrams_are_put_together_by_the_kernel_and_taken_and_nothing_is_fragmented_again()
-> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let (mut caller, mut listener) = call(&mut site, Suite::AeadAes128Gcm)?;
    let mut source = Source { size: 4000, ..Source::new(1, 0) };
    stream(&mut caller, site.at(4000), &mut source, 10)?;
    // Whole ones of the same stream in between go by XDP, and on to the listener.
    source.size = 160;
    let sent = stream(&mut caller, site.at(4000), &mut source, 10)?;
    source.size = 4000;
    stream(&mut caller, site.at(4000), &mut source, 10)?;
    expect_exactly(&mut listener, &sent)?;
    let taken = site.gateway.leg_until("call", "a", PATIENCE, |leg| leg.received_rtp_packets == 30)?;
    assert_eq!((taken.received_rtp_packets, &taken.drops[..]), (30, &[][..]));
    let exceeded = |leg: &LegStatistics| drops(leg, |reason| reason == "mtu_exceeded");
    let left = site.gateway.leg_until("call", "b", PATIENCE, |leg| exceeded(leg) == 20)?;
    assert_eq!((exceeded(&left), left.sent_rtp_packets), (20, 10), "{left:?}");
    Ok(())
}

#[test]
fn runts_do_no_harm() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let (mut caller, mut listener) = call(&mut site, Suite::AesCm128HmacSha1_80)?;
    let mut source = Source::new(1, 0);
    let mut sent = stream(&mut caller, site.at(4000), &mut source, 20)?;
    let sealed = caller.seal(&source.next_packet())?;
    // Every prefix of a datagram that is shorter than any SRTP packet, by socket …
    for length in 0..22 {
        caller.socket.send_to(&sealed[..length], site.at(4000))?;
    }
    // … and every prefix of a frame, which no socket would send.
    let macs = (
        mac_of(site.peers_namespace(), site.peers_interface())?,
        mac_of(site.gateway_namespace(), site.interface())?,
    );
    let mut port = Port::open(site.peers_namespace(), site.peers_interface())?;
    let frame = udp_frame(macs, None, caller.address()?, site.at(4000), &sealed)?;
    for length in 14..frame.len() {
        port.send(&frame[..length])?;
    }
    sent.extend(stream(&mut caller, site.at(4000), &mut source, 20)?);
    expect_exactly(&mut listener, &sent)?;
    assert!(site.gateway.alive(), "{}", site.gateway.log());
    Ok(())
}

#[test]
fn jumbo_frames_pass_whole() -> Result<()> {
    needs_root!();
    let mut site = Site::with(9000, "auto")?;
    let (mut caller, mut listener) = call(&mut site, Suite::AeadAes256Gcm)?;
    let mut source = Source { size: 8000, ..Source::new(1, 0) };
    let mut port = Port::open(site.peers_namespace(), site.peers_interface())?;
    let mut sent = stream(&mut caller, site.at(4000), &mut source, 30)?;
    source.size = 160;
    sent.extend(stream(&mut caller, site.at(4000), &mut source, 30)?);
    expect_exactly(&mut listener, &sent)?;
    let whole = port.receive(Duration::from_secs(1), |frame| frame.len() > 8000);
    whole.context("the large packets came out in fragments")?;
    let info = site.gateway.info()?;
    if !info.interfaces[0].multi_buffer {
        eprintln!("SKIP: this kernel's AF_XDP sockets take one chunk per packet (before 6.6)");
        return Ok(());
    }
    // What is sent before its next hop is known goes by the kernel.
    let (mut jumbo, until) = (30, Instant::now() + PATIENCE);
    source.size = 8000;
    let workers = loop {
        let more = stream(&mut caller, site.at(4000), &mut source, 10)?;
        jumbo += more.len() as u64;
        expect_exactly(&mut listener, &more)?;
        let workers = site.gateway.statistics()?.workers;
        if workers.iter().any(|worker| worker.split > 0) || Instant::now() > until {
            break workers;
        }
    };
    let total = |count: fn(&v1::WorkerStatistics) -> u64| workers.iter().map(count).sum::<u64>();
    assert_eq!(total(|worker| worker.gathered), jumbo, "{workers:?}");
    assert!(total(|worker| worker.split) > 0, "{workers:?}");
    let by_kernel = workers.iter().flat_map(|worker| &worker.paths).find(|path| path.path == "io_uring");
    assert!(by_kernel.is_none_or(|path| path.received == 0), "{by_kernel:?}");
    Ok(())
}

#[test]
fn packets_of_every_size_up_to_the_mtu_come_out_as_they_are() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let (mut caller, mut listener) = call(&mut site, Suite::AesCm128HmacSha1_80)?;
    let (mut source, mut sent) = (Source::new(1, 0), Vec::new());
    for size in (0..=1450).step_by(7) {
        source.size = size;
        sent.extend(stream(&mut caller, site.at(4000), &mut source, 1)?);
    }
    expect_exactly(&mut listener, &sent)
}

#[test]
fn media_to_a_port_without_a_leg_is_not_taken() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let (mut caller, mut listener) = call(&mut site, Suite::AesCm128HmacSha1_80)?;
    let other = site.world.gateway.udp(site.at(4444))?;
    let mut source = Source::new(1, 0);
    let packet = caller.send(site.at(4444), &source.next_packet())?;
    let (received, _) = receive_raw(&other, PATIENCE)?.context("another program's media was taken")?;
    assert_eq!(received, packet);
    expect_nothing(&mut listener)
}
