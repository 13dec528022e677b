//! XDP taken away, and the daemon killed, under a live call.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::event::Kind;
use sluice_srtp::Suite;
use sluice_tests::needs_root;
use sluice_tests::peer::{Peer, receive_raw};
use sluice_tests::rtp::Source;
use sluice_tests::site::{PACE, PATIENCE, Site, expect_exactly, stream};
use sluice_tools::demo::adversary::{is_stun_answer, stun_binding_request};
use sluice_tools::demo::gateway::{Key, Leg};
use sluice_tools::demo::namespace::Namespace;
use sluice_tools::demo::world::Place;

#[test]
fn media_goes_on_over_io_uring_when_xdp_is_detached_in_the_middle_of_a_call() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let key = Key::random(Suite::AesCm128HmacSha1_80)?;
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&key), None)?;
    let mut listener = site.peer(5000)?;
    let legs = [
        Leg::new("a", site.at(4000), caller.address()?).inbound(&key),
        Leg::new("b", site.at(5000), listener.address()?),
    ];
    site.gateway.create_call("call", &legs, &[("a", "b")])?;
    let mut source = Source::new(1, 0);
    let before = stream(&mut caller, site.at(4000), &mut source, 50)?;
    expect_exactly(&mut listener, &before)?;
    assert_eq!(site.gateway.leg("call", "a")?.path, "xdp-native");

    detach(&site)?;
    ensure!(!xdp_attached(site.gateway_namespace(), site.interface())?, "still attached");
    let after = stream(&mut caller, site.at(4000), &mut source, 100)?;
    expect_exactly(&mut listener, &after)?;
    assert_eq!(site.gateway.leg("call", "a")?.path, "io_uring");
    let change = site.gateway.wait_for_event(PATIENCE, |event| match &event.kind {
        Some(Kind::PathChange(change)) => change.from == "xdp-native" && change.to == "io_uring",
        _ => false,
    });
    assert!(change.is_some(), "no path-change event");
    Ok(())
}

#[test]
fn while_the_daemon_is_dead_the_kernel_s_sockets_work_and_a_new_one_takes_over() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let key = Key::random(Suite::AesCm128HmacSha1_80)?;
    let mut caller = Peer::keyed(site.peer(4000)?.socket, Some(&key), None)?;
    let mut listener = site.peer(5000)?;
    let mut source = Source::new(1, 0);
    announce(&mut site, &caller, &listener, &key)?;
    let sent = stream(&mut caller, site.at(4000), &mut source, 50)?;
    expect_exactly(&mut listener, &sent)?;

    let ruin = site.crash();
    // Somebody else takes the port: what the daemon's program would have redirected reaches it.
    let stand_in = bind_when_free(&ruin.world.gateway, ruin.world.gateway_at(4000))?;
    let transaction = [9; 12];
    caller.socket.send_to(&stun_binding_request(transaction), stand_in.local_addr()?)?;
    let (request, from) = receive_raw(&stand_in, PATIENCE)?.context("STUN did not arrive")?;
    assert_eq!(request, stun_binding_request(transaction));
    let mut answer = request;
    answer[0] = 0x01;
    stand_in.send_to(&answer, from)?;
    let (answer, _) = receive_raw(&caller.socket, PATIENCE)?.context("no answer")?;
    assert!(is_stun_answer(&answer, transaction));
    let packet = caller.send(stand_in.local_addr()?, &source.next_packet())?;
    let (media, _) = receive_raw(&stand_in, PATIENCE)?.context("media did not arrive")?;
    assert_eq!(media, packet, "media reaches the kernel's socket");

    let mut site = ruin.restart()?;
    let info = site.gateway.info()?;
    assert_eq!(info.path, "xdp-native");
    assert!(info.interfaces.iter().all(|interface| interface.attached), "{:?}", info.interfaces);
    // The new daemon knows of no call: were an entry of its predecessor left, it would take this.
    let packet = caller.send(stand_in.local_addr()?, &source.next_packet())?;
    let (media, _) = receive_raw(&stand_in, PATIENCE)?.context("a stale map entry took the media")?;
    assert_eq!(media, packet);
    drop(stand_in);

    announce(&mut site, &caller, &listener, &key)?;
    let sent = stream(&mut caller, site.at(4000), &mut source, 50)?;
    expect_exactly(&mut listener, &sent)?;
    assert_eq!(site.gateway.leg("call", "a")?.path, "xdp-native");
    Ok(())
}

#[test]
fn a_daemon_that_ends_in_order_leaves_no_program_no_pin_and_no_socket() -> Result<()> {
    needs_root!();
    let mut site = Site::new()?;
    let key = Key::random(Suite::AesCm128HmacSha1_80)?;
    let (caller, listener) = (site.peer(4000)?, site.peer(5000)?);
    announce(&mut site, &caller, &listener, &key)?;
    let pinned = site.gateway_namespace().pin_of(site.interface())?;
    assert!(pinned.exists() && xdp_attached(site.gateway_namespace(), site.interface())?);
    site.gateway.stop()?;
    assert!(!xdp_attached(site.gateway_namespace(), site.interface())?);
    assert!(!pinned.exists(), "{} is left", pinned.display());
    // The kernel takes an io_uring apart after its process is gone, and with it the last hold on the socket.
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = site.world.gateway.udp(site.at(4000)) {
        if Instant::now() > deadline {
            return Err(error).context("the leg's port is still bound");
        }
        thread::sleep(PACE);
    }
    Ok(())
}

fn announce(site: &mut Site, caller: &Peer, listener: &Peer, key: &Key) -> Result<()> {
    let legs = [
        Leg::new("a", site.at(4000), caller.address()?).inbound(key),
        Leg::new("b", site.at(5000), listener.address()?),
    ];
    site.gateway.create_call("call", &legs, &[("a", "b")])
}

/// The kernel closes a killed process's io_uring, and with it the sockets in there, a moment later.
fn bind_when_free(place: &Place, address: SocketAddr) -> Result<UdpSocket> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match place.udp(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            bound => return bound.with_context(|| format!("cannot bind {address}")),
        }
    }
}

/// Detaches the program as an operator would: by force, behind the daemon's back.
fn detach(site: &Site) -> Result<()> {
    let pinned = site.gateway_namespace().pin_of(site.interface())?;
    let output = Command::new("bpftool").args(["link", "detach", "pinned"]).arg(&pinned).output()?;
    ensure!(output.status.success(), "bpftool: {}", String::from_utf8_lossy(&output.stderr));
    std::thread::sleep(Duration::from_millis(50));
    Ok(())
}

fn xdp_attached(namespace: &Namespace, interface: &str) -> Result<bool> {
    Ok(namespace.ip(&["link", "show", interface])?.contains("prog/xdp"))
}
