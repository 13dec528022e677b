//! Holds what was seen against what is claimed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use sluice_proto::v1::event::Kind;
use sluice_proto::v1::{self, LegStatistics, Statistics};

use crate::demo::calls::{ATTACKS, DECRYPTED, GREETINGS, Outcome, REENCRYPTED, SESSION};
use crate::demo::gateway::{Gateway, drops};
use crate::demo::lane::Lanes;
use crate::demo::measure::{Quantiles, added_latency, rtp_name};
use crate::demo::media::Comparison;
use crate::demo::report::Report;
use crate::demo::world::World;

/// Every reason for which a packet with a wrong tag is dropped.
const FORGED: [&str; 1] = ["auth_failed"];
/// Every reason for which a packet that was there before is dropped.
const REPLAYED: [&str; 2] = ["replayed", "too_old"];

/// Asks the gateway for its side of the story, ends it, and judges.
pub(crate) fn judge(world: &World, lanes: &Lanes, mut gateway: Gateway, outcome: &Outcome) -> Result<Report> {
    let mut report = Report::default();
    let info = gateway.info()?;
    let statistics = settled(&mut gateway)?;
    describe(&mut report, world, lanes, &info, &statistics);
    media(&mut report, outcome, &statistics);
    control(&mut report, lanes);
    attacks(&mut report, &statistics);
    negotiation(&mut report, &gateway, outcome);
    path(&mut report, world, &info, &statistics);
    others(&mut report, &statistics);
    farewell(&mut report, &mut gateway)?;
    Ok(report)
}

/// Statistics once they no longer change: workers publish them a moment after the packet.
fn settled(gateway: &mut Gateway) -> Result<Statistics> {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut last = gateway.statistics()?;
    loop {
        thread::sleep(Duration::from_millis(150));
        let next = gateway.statistics()?;
        if next.legs == last.legs || Instant::now() >= deadline {
            return Ok(next);
        }
        last = next;
    }
}

fn describe(report: &mut Report, world: &World, lanes: &Lanes, info: &v1::Info, statistics: &Statistics) {
    let place = world.interface.as_deref().map_or("on loopback".to_owned(), |interface| {
        format!("on {interface} (veth between two network namespaces)")
    });
    report.path = format!("{} {place}", info.path);
    report.kernel.clone_from(&info.kernel);
    let workers = &statistics.workers;
    report.packets = (workers.iter().map(|w| w.received).sum(), workers.iter().map(|w| w.sent).sum());
    for drop in workers.iter().flat_map(|worker| &worker.drops).filter(|drop| drop.packets > 0) {
        match report.drops.iter_mut().find(|(reason, _)| *reason == drop.reason) {
            Some((_, packets)) => *packets += drop.packets,
            None => report.drops.push((drop.reason.clone(), drop.packets)),
        }
    }
    let crossings = [lanes.decrypted.crossing(), lanes.reencrypted.crossing()];
    report.wire_latency = added_latency(&lanes.wire.packets(), &crossings);
    // Both calls are of one session, and a session is on one worker.
    report.worker_latency =
        workers.iter().max_by_key(|worker| worker.latency_count).map(|worker| Quantiles {
            count: worker.latency_count as usize,
            p50: Duration::from_nanos(worker.latency_p50_nanoseconds),
            p99: Duration::from_nanos(worker.latency_p99_nanoseconds),
        });
}

fn media(report: &mut Report, outcome: &Outcome, statistics: &Statistics) {
    let seen = |comparison: &Comparison| match comparison.first_difference {
        Some(at) => format!("they differ at byte {at} of {}", comparison.expected),
        None => format!("{} of {} payload bytes, all equal", comparison.received, comparison.expected),
    };
    report.check(
        "SRTP from ffmpeg, decrypted: ffmpeg at the far end has every payload byte",
        outcome.decrypted.identical(),
        seen(&outcome.decrypted),
    );
    report.check(
        "AES-256-GCM from GStreamer, re-encrypted: libsrtp at the far end has every payload byte",
        outcome.reencrypted.identical(),
        seen(&outcome.reencrypted),
    );
    let sent = |leg: &str| leg_of(statistics, leg).map_or(0, |leg| leg.sent_rtp_packets);
    let (sent, matched) = (sent(DECRYPTED.1) + sent(REENCRYPTED.1), report.wire_latency.count);
    report.check(
        "Every packet that the gateway sent belongs to one that it had received",
        matched > 0 && matched as u64 == sent,
        format!("{sent} sent, {matched} matched on the wire by SSRC and sequence number"),
    );
}

/// RTCP on a port of its own: ffmpeg's sender reports come out in the clear, and are about the stream.
fn control(report: &mut Report, lanes: &Lanes) {
    let lane = lanes.decrypted;
    let packets = lanes.wire.packets();
    let ssrc = packets.iter().find(|packet| packet.source == lane.out);
    let ssrc = ssrc.and_then(|packet| rtp_name(&packet.payload)).map(|(ssrc, _)| ssrc);
    let reports = packets.iter().filter(|packet| {
        let payload = &packet.payload;
        packet.source.ip() == lane.out.ip()
            && packet.source.port() == lane.out.port() + 1
            && payload.len() >= 28
            && payload[..2] == [0x80, 200]
            && payload.get(4..8).and_then(<[u8]>::first_chunk).map(|b| u32::from_be_bytes(*b)) == ssrc
    });
    let count = reports.count();
    report.check(
        "RTCP on the next port: ffmpeg's SRTCP sender reports came out as plain RTCP",
        count > 0,
        format!("{count} sender reports about the stream's SSRC"),
    );
}

fn attacks(report: &mut Report, statistics: &Statistics) {
    let count = |reasons: &[&str]| {
        [DECRYPTED.0, REENCRYPTED.0].map(|leg| {
            leg_of(statistics, leg).map_or(0, |leg| drops(leg, |reason| reasons.contains(&reason)))
        })
    };
    for (claim, reasons) in [
        ("Forged packets were dropped as forged", FORGED.as_slice()),
        ("Replayed packets were dropped as replayed", REPLAYED.as_slice()),
    ] {
        let [one, two] = count(reasons);
        let seen = format!("{ATTACKS} into each call: {one} and {two} dropped ({})", reasons.join(", "));
        report.check(claim, [one, two] == [ATTACKS; 2], seen);
    }
}

fn negotiation(report: &mut Report, gateway: &Gateway, outcome: &Outcome) {
    // The last of these events may still be on its way.
    let of = |protocol: &str| -> Vec<v1::Negotiation> {
        let events = gateway.events();
        let kinds = events.iter().filter_map(|event| event.kind.clone());
        let all = kinds.filter_map(|kind| match kind {
            Kind::Negotiation(negotiation) => Some(negotiation),
            _ => None,
        });
        all.filter(|negotiation| negotiation.protocol == protocol).collect()
    };
    let stun = of("stun");
    report.check(
        "STUN to the port of a live call took the kernel's path and was answered",
        stun.len() == 1 && outcome.stun_answer.is_some(),
        match outcome.stun_answer {
            Some(took) => format!("{} event, answer after {} µs", stun.len(), took.as_micros()),
            None => format!("{} event, no answer", stun.len()),
        },
    );
    let (dtls, zrtp) = (of("dtls").len() as u64, of("zrtp").len() as u64);
    report.check(
        "DTLS and ZRTP took the kernel's path to the control plane",
        [dtls, zrtp] == [GREETINGS; 2],
        format!("{GREETINGS} of each sent: {dtls} DTLS and {zrtp} ZRTP events"),
    );
}

fn path(report: &mut Report, world: &World, info: &v1::Info, statistics: &Statistics) {
    let total = |prefix: &str| -> u64 {
        let paths = statistics.workers.iter().flat_map(|worker| &worker.paths);
        paths.filter(|path| path.path.starts_with(prefix)).map(|path| path.received).sum()
    };
    let (xdp, kernel) = (total("xdp"), total("io_uring"));
    // One STUN, and the DTLS and ZRTP datagrams.
    let negotiation = 1 + 2 * GREETINGS;
    let seen = format!("{xdp} datagrams received by XDP, {kernel} by io_uring");
    if world.interface.is_some() {
        let held = info.path.starts_with("xdp") && xdp > 0 && kernel == negotiation;
        report.check("All media went by XDP, and only negotiation through the kernel", held, seen);
    } else {
        report.check("All media went by io_uring", xdp == 0 && kernel > negotiation, seen);
    }
}

fn others(report: &mut Report, statistics: &Statistics) {
    let expected = |reason: &str| FORGED.contains(&reason) || REPLAYED.contains(&reason);
    let surplus: Vec<_> = statistics
        .workers
        .iter()
        .flat_map(|worker| &worker.drops)
        .filter(|drop| drop.packets > 0 && !expected(&drop.reason))
        .map(|drop| format!("{} {}", drop.packets, drop.reason))
        .collect();
    let failed: u64 = statistics.workers.iter().map(|worker| worker.send_failed).sum();
    report.check(
        "Nothing else was dropped",
        surplus.is_empty() && failed == 0,
        if surplus.is_empty() { format!("{failed} send failures") } else { surplus.join(", ") },
    );
}

fn farewell(report: &mut Report, gateway: &mut Gateway) -> Result<()> {
    let existed = gateway.delete_session(SESSION)?;
    let statistics = gateway.statistics()?;
    let legs: u64 = statistics.workers.iter().map(|worker| worker.legs).sum();
    let ended = gateway.stop();
    report.check(
        "The calls were removed, and the daemon ended in order",
        existed && legs == 0 && ended.is_ok(),
        match ended {
            Ok(()) => format!("{legs} legs left, exit status 0"),
            Err(error) => format!("{error:#}"),
        },
    );
    Ok(())
}

fn leg_of<'a>(statistics: &'a Statistics, id: &str) -> Option<&'a LegStatistics> {
    statistics.legs.iter().find(|leg| leg.session == SESSION && leg.leg == id)
}
