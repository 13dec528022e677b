//! Tables for people, JSON for programs.

use std::io::Write;

use anyhow::Result;
use comfy_table::{Table, presets};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;

use super::json::print as json;
use super::{media_path, tap};
use crate::{output, secret};

#[derive(Clone, Copy)]
pub(super) struct Printer {
    pub(super) json: bool,
}

impl Printer {
    pub(super) fn info(self, info: &v1::Info) -> Result<()> {
        if self.json {
            return json(info);
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "sluice {}, up {} s", info.version, info.uptime_seconds)?;
        writeln!(
            out,
            "path {}, kernel {}, {} MiB set aside",
            info.path,
            info.kernel,
            info.memory_bytes >> 20
        )?;
        for fingerprint in &info.dtls_fingerprints {
            writeln!(out, "DTLS certificate {fingerprint}")?;
        }
        let mut interfaces = table(&["interface", "path", "sockets", "queues", "attached", "remarks"]);
        for interface in &info.interfaces {
            interfaces.add_row([
                interface.name.clone(),
                interface.path.clone(),
                sockets(interface),
                interface.queues.to_string(),
                yes(interface.attached).to_owned(),
                interface.degraded.join("\n"),
            ]);
        }
        let header = ["worker", "cpu", "numa node", "cache", "packets on", "alive", "memory", "queues"];
        let mut workers = table(&header);
        for worker in &info.workers {
            let number = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            workers.add_row([
                worker.index.to_string(),
                if worker.unbound_reason.is_empty() {
                    number(worker.cpu)
                } else {
                    worker.unbound_reason.clone()
                },
                number(worker.numa_node),
                number(worker.cache),
                memory(worker),
                yes(worker.alive).to_owned(),
                format!("{} MiB", worker.memory_bytes >> 20),
                worker.queues.join(" "),
            ]);
        }
        show(&mut out, &interfaces)?;
        show(&mut out, &workers)
    }

    pub(super) fn sessions(self, sessions: &[v1::Session]) -> Result<()> {
        if self.json {
            return sessions.iter().try_for_each(json);
        }
        let mut rows = table(&["session", "worker", "legs", "routes", "labels"]);
        for session in sessions {
            let mut labels: Vec<_> =
                session.labels.iter().map(|(name, text)| format!("{name}={text}")).collect();
            labels.sort();
            rows.add_row([
                session.id.clone(),
                session.worker.to_string(),
                session.legs.join(" "),
                session.routes.join(" "),
                labels.join(" "),
            ]);
        }
        finish(&rows, "no sessions")
    }

    pub(super) fn legs(self, legs: &[v1::Leg]) -> Result<()> {
        if self.json {
            return legs.iter().try_for_each(json);
        }
        let header =
            ["session", "leg", "local", "rtcp", "remote in use", "inbound", "outbound", "robustness", "keys"];
        let mut rows = table(&header);
        for leg in legs {
            let config = leg.config.clone().unwrap_or_default();
            let rtcp = if config.rtcp_mux || config.ring { "mux".to_owned() } else { leg.local_rtcp.clone() };
            let remote = if leg.remote_in_use.is_empty() { "-" } else { &leg.remote_in_use };
            rows.add_row([
                leg.session.clone(),
                leg.id.clone(),
                local(leg),
                rtcp,
                remote.to_owned(),
                protection(config.inbound()).to_owned(),
                protection(config.outbound()).to_owned(),
                super::calls::class(leg.robustness()).to_owned(),
                leg.keys.iter().map(key_line).collect::<Vec<_>>().join("\n"),
            ]);
        }
        finish(&rows, "no legs")
    }

    /// One leg, with how its handshake and its checks stand.
    pub(super) fn leg(self, leg: &v1::Leg) -> Result<()> {
        self.legs(std::slice::from_ref(leg))?;
        if self.json {
            return Ok(());
        }
        media_path::show(&mut std::io::stdout().lock(), leg)
    }

    pub(super) fn routes(self, routes: &[v1::Route]) -> Result<()> {
        if self.json {
            return routes.iter().try_for_each(json);
        }
        let mut rows = table(&["session", "route", "from", "to", "on SSRC clash", "choices"]);
        for route in routes {
            let clash = match route.on_ssrc_clash() {
                v1::SsrcClashPolicy::Rewrite => "rewrite",
                _ => "refuse",
            };
            let choices = super::route::described(route);
            rows.add_row([&route.session, &route.id, &route.from, &route.to, clash, &choices]);
        }
        finish(&rows, "no routes")
    }

    pub(super) fn keys(self, legs: &[v1::LegKeys]) -> Result<()> {
        if self.json {
            return legs.iter().try_for_each(json);
        }
        let mut rows = table(&["leg", "key", "direction", "suite", "MKI", "state"]);
        for leg in legs {
            for key in &leg.keys {
                let mki =
                    if key.mki_length == 0 { "-".to_owned() } else { format!("{} bytes", key.mki_length) };
                let state = if key.retiring { "retiring" } else { "in use" };
                rows.add_row([&leg.leg, &key.id, direction(key.direction()), &key.suite, &mki, state]);
            }
        }
        finish(&rows, "no keys")
    }

    pub(super) fn deleted(self, what: &str, existed: bool) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{{\"existed\":{existed}}}")?;
        } else if existed {
            writeln!(out, "{what} gone")?;
        } else {
            writeln!(out, "{what} did not exist")?;
        }
        Ok(())
    }

    /// That something was done which has nothing to show.
    pub(super) fn done(self, what: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{{}}")?;
        } else {
            writeln!(out, "{what}")?;
        }
        Ok(())
    }

    pub(super) fn statistics(self, statistics: &v1::Statistics) -> Result<()> {
        if self.json {
            return json(statistics);
        }
        let mut out = std::io::stdout().lock();
        let header = [
            "worker",
            "received",
            "sent",
            "dropped",
            "streams",
            "legs",
            "latency p50",
            "p99",
            "paths (in/out)",
        ];
        let mut workers = table(&header);
        for worker in &statistics.workers {
            let paths =
                worker.paths.iter().map(|path| format!("{} {}/{}", path.path, path.received, path.sent));
            workers.add_row([
                worker.index.to_string(),
                worker.received.to_string(),
                worker.sent.to_string(),
                total(&worker.drops).to_string(),
                worker.streams.to_string(),
                worker.legs.to_string(),
                microseconds(worker.latency_p50_nanoseconds),
                microseconds(worker.latency_p99_nanoseconds),
                paths.collect::<Vec<_>>().join("\n"),
            ]);
        }
        show(&mut out, &workers)?;
        let mut legs = table(&[
            "session",
            "leg",
            "RTP in",
            "RTP out",
            "RTCP in",
            "RTCP out",
            "path",
            "unreachable",
            "dropped",
        ]);
        for leg in &statistics.legs {
            let drops = leg.drops.iter().map(|drop| format!("{} {}", drop.packets, drop.reason));
            let full = leg.ring.as_ref().map_or(0, |ring| ring.full);
            let drops = drops.chain((full > 0).then(|| format!("{full} ring_full")));
            legs.add_row([
                leg.session.clone(),
                leg.leg.clone(),
                leg.received_rtp_packets.to_string(),
                leg.sent_rtp_packets.to_string(),
                leg.received_rtcp_packets.to_string(),
                leg.sent_rtcp_packets.to_string(),
                leg.path.clone(),
                leg.unreachable.to_string(),
                drops.collect::<Vec<_>>().join("\n"),
            ]);
        }
        show(&mut out, &legs)?;
        show(&mut out, &early_media(statistics))?;
        for rows in media_path::statistics(statistics) {
            show(&mut out, &rows)?;
        }
        let mut drops = table(&["worker", "dropped", "reason", "meaning"]);
        for worker in &statistics.workers {
            for drop in &worker.drops {
                let row = [worker.index.to_string(), drop.packets.to_string()];
                drops.add_row(row.into_iter().chain([drop.reason.clone(), drop.description.clone()]));
            }
            let by_kernel = [
                (worker.ring_dropped, "ring_dropped", "By the kernel: the worker's AF_XDP ring was full."),
                (worker.socket_dropped, "socket_dropped", "By the kernel: a socket's queue was full."),
            ];
            for (dropped, name, meaning) in by_kernel.into_iter().filter(|(dropped, ..)| *dropped > 0) {
                drops.add_row([&worker.index.to_string(), &dropped.to_string(), name, meaning]);
            }
        }
        show(&mut out, &drops)?;
        let mut xdp = table(&["interface", "XDP frames", "what"]);
        for interface in &statistics.xdp {
            for count in &interface.counts {
                xdp.add_row([&interface.interface, &count.frames.to_string(), &count.name]);
            }
        }
        show(&mut out, &xdp)
    }

    pub(super) fn taps(self, taps: &[v1::Tap]) -> Result<()> {
        if self.json {
            return taps.iter().try_for_each(json);
        }
        let header = ["session", "tap", "state", "legs", "to", "packets", "bytes", "dropped", "files"];
        let mut rows = table(&header);
        for each in taps {
            let config = each.config.clone().unwrap_or_default();
            let legs = if each.tapped_legs.is_empty() { &config.legs } else { &each.tapped_legs };
            rows.add_row([
                each.session.clone(),
                each.id.clone(),
                tap::state(each),
                legs.join(" "),
                tap::destination(&config),
                each.packets.to_string(),
                each.bytes.to_string(),
                each.dropped.to_string(),
                each.files.join("\n"),
            ]);
        }
        finish(&rows, "no taps")
    }

    /// A key in hex, as `--key-file` takes it.
    pub(super) fn tap_key(self, suite: &str, key_salt: &secret::Material) -> Result<()> {
        let mut out = std::io::stdout().lock();
        let hex = secret::Text::new(hex::encode(key_salt.as_slice()));
        if self.json {
            writeln!(out, "{{\"suite\":{suite:?},\"key_salt\":\"{}\"}}", hex.as_str())?;
        } else {
            writeln!(out, "{suite} {}", hex.as_str())?;
        }
        Ok(())
    }

    pub(super) fn event(self, event: &v1::Event) -> Result<()> {
        if self.json {
            return json(event);
        }
        let mut out = std::io::stdout().lock();
        let seconds = event.time_unix_nanoseconds / 1_000_000_000;
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let millis = event.time_unix_nanoseconds / 1_000_000 % 1000;
        let place = match (event.session.as_str(), event.leg.as_str()) {
            ("", _) => "-".to_owned(),
            (session, leg) => format!("{session}/{leg}"),
        };
        let what = event.kind.as_ref().map_or_else(|| "event of a newer version".to_owned(), sentence);
        writeln!(out, "{hour:02}:{minute:02}:{second:02}.{millis:03}Z  {place}  {what}")?;
        out.flush()?;
        Ok(())
    }
}

/// How an interface's AF_XDP sockets work.
fn sockets(interface: &v1::Interface) -> String {
    match (interface.socket_mode.as_str(), interface.multi_buffer) {
        ("", _) => "-".to_owned(),
        (mode, true) => format!("{mode}, jumbo"),
        (mode, false) => mode.to_owned(),
    }
}

/// Where a worker's packet memory is.
fn memory(worker: &v1::Worker) -> String {
    let node = worker.memory_node.map_or_else(|| "?".to_owned(), |node| format!("node {node}"));
    let elsewhere = match worker.memory_elsewhere >> 10 {
        0 => String::new(),
        kilobytes => format!(", {kilobytes} KiB elsewhere"),
    };
    node + &elsewhere + if worker.huge_pages { ", huge pages" } else { "" }
}

fn sentence(kind: &Kind) -> String {
    match kind {
        Kind::StreamStarted(e) => format!("stream {:#010x} started", e.ssrc),
        Kind::StreamStopped(e) => {
            format!("stream {:#010x} stopped after {} packets, {} bytes", e.ssrc, e.packets, e.bytes)
        }
        Kind::FirstMedia(e) => format!("first media: stream {:#010x} by {}", e.ssrc, e.path),
        Kind::AuthFailureBurst(e) => format!("{} wrong tags in a second: forgery, or a wrong key", e.count),
        Kind::ReplayBurst(e) => format!("{} replayed packets in a second", e.count),
        Kind::KeyExpiring(e) => {
            format!("{} key {} expires after {} packets", direction(e.direction()), e.key, e.remaining)
        }
        Kind::KeyExpired(e) => format!("{} key {} has expired", direction(e.direction()), e.key),
        Kind::SsrcClash(e) => match e.rewritten {
            Some(to) => format!("SSRC {:#010x} clashed on route {}: sent as {to:#010x}", e.ssrc, e.route),
            None => format!("SSRC {:#010x} clashed on route {}: not sent", e.ssrc, e.route),
        },
        Kind::PathChange(e) => format!("path changed from {} to {}", e.from, e.to),
        Kind::RemoteChanged(e) => {
            let from = if e.from.is_empty() { "nothing" } else { &e.from };
            format!("{} address changed from {from} to {}", if e.rtcp { "RTCP" } else { "remote" }, e.to)
        }
        Kind::Negotiation(e) => {
            let answered = if e.answered { ", answered" } else { "" };
            let untold = if e.untold > 0 { format!(", after {} more", e.untold) } else { String::new() };
            format!("{} datagram of {} bytes from {}{answered}{untold}", e.protocol, e.length, e.remote)
        }
        Kind::EarlyMediaReleased(e) => {
            format!(
                "{} packets that came before the key played out, after {} ms",
                e.packets, e.waited_milliseconds
            )
        }
        Kind::Unreachable(e) => {
            let by = if e.by.is_empty() { "this host" } else { &e.by };
            format!("{} is unreachable ({}), says {by}, {} times", e.remote, e.reason, e.count)
        }
        Kind::MtuExceeded(e) => {
            let mtu = if e.mtu == 0 { "what the path takes".to_owned() } else { format!("MTU {}", e.mtu) };
            format!("{} packets not sent, the last of {} bytes: more than {mtu}", e.count, e.size)
        }
        Kind::IceChanged(_)
        | Kind::HandshakeStarted(_)
        | Kind::CertificateVerified(_)
        | Kind::CertificateRefused(_)
        | Kind::KeysNegotiated(_)
        | Kind::HandshakeFailed(_)
        | Kind::AssociationClosed(_) => media_path::sentence(kind).unwrap_or_default(),
        Kind::CallChanged(e) => super::calls::changed(e),
        Kind::Negotiated(e) => {
            let suite = match (e.suite.as_str(), e.keying()) {
                ("", v1::Keying::DtlsSrtp) => "the suite that a handshake chooses",
                ("", _) => "plain RTP",
                (suite, _) => suite,
            };
            let (keying, class) = (super::calls::keying(e.keying()), super::calls::class(e.robustness()));
            format!("agreed on {suite}, keying {keying}, robustness {class}")
        }
        Kind::PolicyViolation(e) => format!("{} refused: {}", e.rule, e.explanation),
        Kind::IdentityVerified(e) => {
            let keys = if e.covers_keys { ", with the media's keys" } else { "" };
            format!("identity of {} is verified{keys}: signed by {}", e.origin, e.certificate_url)
        }
        Kind::IdentityFailed(e) => format!("identity of {} is not verified: {}", e.origin, e.reason),
        Kind::TapStarted(e) if e.legs.is_empty() => format!("tap {} has begun", e.tap),
        Kind::TapStarted(e) => format!("tap {} of {} has begun", e.tap, e.legs.join(", ")),
        Kind::TapEnded(e) => {
            let detail = if e.detail.is_empty() { String::new() } else { format!(": {}", e.detail) };
            let (tap, reason) = (&e.tap, &e.reason);
            format!(
                "tap {tap} has ended ({reason}{detail}) after {} packets, {} dropped",
                e.packets, e.dropped
            )
        }
        Kind::Degraded(e) => format!("degraded: {} {}", e.interface, e.reason),
        Kind::Overload(e) if e.over => {
            format!("worker {}: overload is over; {} dropped", e.worker, e.dropped)
        }
        Kind::Overload(e) => format!("worker {}: overload: the newest packets are dropped", e.worker),
        Kind::Lost(e) => format!("{} events before this one were lost: the watcher was too slow", e.events),
    }
}

/// Of workers and legs that ever kept media for their key.
fn early_media(statistics: &v1::Statistics) -> Table {
    let workers = statistics.workers.iter().map(|worker| (worker.index.to_string(), "", worker.early_media));
    let legs = statistics.legs.iter().map(|leg| (leg.session.clone(), leg.leg.as_str(), leg.early_media));
    let mut rows = table(&["worker or session", "leg", "early media", "held", "released", "evicted"]);
    for (owner, leg, early) in workers.chain(legs) {
        if let Some(early) = early.filter(|early| early.total > 0) {
            let counts =
                [early.total, early.held, early.released, early.evicted].map(|count| count.to_string());
            rows.add_row([owner, leg.to_owned()].into_iter().chain(counts));
        }
    }
    rows
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

pub(super) fn show(out: &mut impl Write, rows: &Table) -> Result<()> {
    if rows.row_count() > 0 {
        write!(out, "\n{}", output::render(rows))?;
    }
    Ok(())
}

pub(super) fn finish(rows: &Table, nothing: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if rows.row_count() == 0 {
        writeln!(out, "{nothing}")?;
    } else {
        write!(out, "{}", output::render(rows))?;
    }
    Ok(())
}

/// Where a leg's peer sends to; of a ring, what its application has to show, when it was just created.
fn local(leg: &v1::Leg) -> String {
    match (leg.config.as_ref().is_some_and(|config| config.ring), leg.ring_token.as_str()) {
        (false, _) => leg.local_rtp.clone(),
        (true, "") => "ring".to_owned(),
        (true, token) => format!("ring\ntoken {token}"),
    }
}

fn key_line(key: &v1::Key) -> String {
    let retiring = if key.retiring { " (retiring)" } else { "" };
    format!("{} {} {}{retiring}", key.id, direction(key.direction()), key.suite)
}

fn total(drops: &[v1::DropCount]) -> u64 {
    drops.iter().map(|drop| drop.packets).sum()
}

fn microseconds(nanoseconds: u64) -> String {
    if nanoseconds == 0 { "-".to_owned() } else { format!("{:.1} µs", nanoseconds as f64 / 1000.0) }
}

const fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

const fn protection(protection: v1::Protection) -> &'static str {
    match protection {
        v1::Protection::Srtp => "srtp",
        _ => "plain",
    }
}

const fn direction(direction: v1::Direction) -> &'static str {
    match direction {
        v1::Direction::Outbound => "outbound",
        _ => "inbound",
    }
}
