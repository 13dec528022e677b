//! What is in the headers: the code point of the leg, and right checksums.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::UpdateLegRequest;
use sluice_tests::needs_root;
use sluice_tests::peer::Peer;
use sluice_tests::raw::Port;
use sluice_tests::rtp::sender_report;
use sluice_tests::site::{PACE, PATIENCE, QUIET, Site, expect_exactly, stream};

use super::{Call, DATAPATHS, FAMILIES, sent_by, sent_since};

#[test]
fn the_code_point_of_a_leg_is_on_rtp_and_rtcp_and_can_be_changed() -> Result<()> {
    needs_root!();
    for datapath in DATAPATHS {
        for family in FAMILIES {
            let mut site = Site::with(1500, datapath)?;
            let ends = family.ends(&site, 5000, 5000)?;
            let listener = Peer::plain(site.world.peers.udp(ends.1)?);
            let mut call = Call::to(&mut site, ends, listener, |leg| leg.dscp = 46)?;
            call.settle()?;
            if datapath == "auto" {
                call.warm_up(&mut site.gateway)?;
            }
            for dscp in [46, 10, 0] {
                let update = UpdateLegRequest {
                    session: "call".into(),
                    leg: "b".into(),
                    dscp: Some(dscp),
                    ..Default::default()
                };
                site.gateway.call(|client| client.update_leg(update))?;
                call.listener.receive_all(QUIET)?;
                let mut port = Port::open(site.peers_namespace(), site.peers_interface())?;
                let before = sent_by(&mut site.gateway)?;
                let mut sent = call.send(5)?;
                sent.push(sender_report(7, 9));
                call.caller.send(call.into, &sent[5])?;
                let case = format!("{datapath}, {family:?}, {dscp}");
                for packet in &sent {
                    let wanted = |frame: &[u8]| datagram(frame).is_some_and(|found| found.payload == *packet);
                    let frame = port.receive(PATIENCE, wanted).with_context(|| case.clone())?;
                    let found = datagram(&frame).context("found before")?;
                    ensure!(u32::from(found.class) == dscp << 2, "{case}: {:#x}", found.class);
                }
                let wanted = if datapath == "auto" { (6, 0) } else { (0, 6) };
                sent_since(&mut site.gateway, before, wanted).context(case)?;
            }
        }
    }
    Ok(())
}

#[test]
fn checksums_are_right_at_every_length_and_never_zero() -> Result<()> {
    needs_root!();
    for family in FAMILIES {
        let mut site = Site::new()?;
        let (local, remote) = family.ends(&site, 5000, 5000)?;
        let mut call = Call::new(&mut site, (local, remote))?;
        call.warm_up(&mut site.gateway)?;
        let mut port = Port::open(site.peers_namespace(), site.peers_interface())?;
        let mut sent = Vec::new();
        for size in (0..70).chain([1001, 1400]) {
            call.source.size = size;
            sent.extend(stream(&mut call.caller, call.into, &mut call.source, 1)?);
        }
        // One whose sum comes to zero, which is sent as all ones (RFC 768, RFC 8200 §8.1).
        let mut special = call.source.next_packet();
        let end = special.len();
        special[end - 2..].fill(0);
        let missing =
            !sum(local.ip(), remote.ip(), &[&udp_header(local, remote, end, 0), &special[..]].concat());
        special[end - 2..].copy_from_slice(&missing.to_be_bytes());
        call.caller.send(call.into, &special)?;
        sent.push(special.clone());
        std::thread::sleep(PACE);
        // The kernel has verified them as well.
        expect_exactly(&mut call.listener, &sent)?;
        let (mut count, mut ones) = (0, 0);
        while let Some(frame) = port.receive(Duration::from_millis(200), |frame| datagram(frame).is_some()) {
            let found = datagram(&frame).context("found before")?;
            ensure!(sum(local.ip(), remote.ip(), found.udp) == 0xffff, "{family:?}: {:02x?}", found.udp);
            ensure!(found.udp[6..8] != [0, 0], "{family:?}: none");
            ones += usize::from(found.payload == special && found.udp[6..8] == [0xff, 0xff]);
            count += 1;
        }
        ensure!((count, ones) == (sent.len(), 1), "{family:?}: {count} frames, {ones} of all ones");
    }
    Ok(())
}

/// A datagram to port 5000 in a frame.
struct Datagram<'a> {
    /// Traffic class.
    class: u8,
    /// UDP header and payload.
    udp: &'a [u8],
    payload: &'a [u8],
}

fn datagram(frame: &[u8]) -> Option<Datagram<'_>> {
    let (class, at) = match frame.get(12..16)? {
        [0x08, 0x00, _, class] => (*class, 14 + 20),
        [0x86, 0xdd, high, low] => (high << 4 | low >> 4, 14 + 40),
        _ => return None,
    };
    let header = frame.get(at..at + 8)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    // Short frames are padded.
    let udp = frame.get(at..at + length)?;
    (header[2..4] == 5000_u16.to_be_bytes()).then_some(Datagram { class, udp, payload: udp.get(8..)? })
}

fn udp_header(from: SocketAddr, to: SocketAddr, payload: usize, checksum: u16) -> [u8; 8] {
    let length = 8 + payload as u16;
    let mut header = [0; 8];
    for (field, value) in header.chunks_mut(2).zip([from.port(), to.port(), length, checksum]) {
        field.copy_from_slice(&value.to_be_bytes());
    }
    header
}

/// The ones' complement sum of a pseudo header and of UDP: 0xffff where the checksum in it is right (RFC 1071).
fn sum(from: IpAddr, to: IpAddr, udp: &[u8]) -> u16 {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let words =
        [octets(from), octets(to), vec![0, 17], (udp.len() as u16).to_be_bytes().to_vec(), udp.to_vec()];
    let mut total = 0_u32;
    for (index, octet) in words.concat().iter().enumerate() {
        total += u32::from(*octet) << if index % 2 == 0 { 8 } else { 0 };
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}
