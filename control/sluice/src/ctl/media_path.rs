//! Handshakes and checks of legs: as they are asked for, as they stand, and what happens to them.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::Table;
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;

use super::json;
use super::print::table;

/// What a leg's handshake and checks are to be.
#[derive(Args)]
pub(super) struct MediaPath {
    /// A DTLS handshake brings the leg's keys, or checks find its peer: a file with dtls, ice or both of the API's
    /// LegConfig as JSON. Its passwords are in no list of processes.
    #[arg(long, value_name = "FILE")]
    media_path: Option<PathBuf>,
}

/// Candidates that come later.
#[derive(Args)]
#[group(skip)]
pub(super) struct Candidates {
    /// Each as the value of a=candidate.
    pub(super) candidates: Vec<String>,
    /// There are no more.
    #[arg(long)]
    pub(super) end: bool,
}

impl MediaPath {
    /// Reads the file, if there is one.
    pub(super) fn read(&self) -> Result<(Option<v1::DtlsConfig>, Option<v1::IceConfig>)> {
        let Some(path) = &self.media_path else { return Ok((None, None)) };
        let config = read(path)?;
        Ok((config.dtls, config.ice))
    }
}

fn read(path: &Path) -> Result<v1::LegConfig> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    json::parse(&text).with_context(|| format!("{} is no LegConfig in JSON", path.display()))
}

/// How one leg's handshake and checks stand, beneath its row.
pub(super) fn show(out: &mut impl Write, leg: &v1::Leg) -> Result<()> {
    let Some(path) = &leg.media_path else { return Ok(()) };
    let mut lines = Vec::new();
    if path.dtls_state() != v1::DtlsState::Unspecified {
        lines.push(("DTLS", dtls_line(path)));
        if !path.peer_fingerprint.is_empty() {
            lines.push(("peer's certificate", path.peer_fingerprint.clone()));
        }
        lines.extend(path.own_fingerprints.iter().map(|own| ("own certificate", own.clone())));
    }
    if path.ice_state() != v1::IceState::Unspecified {
        let pair = match path.selected_remote.as_str() {
            "" => String::new(),
            remote => format!(", {} to {remote}", path.selected_local),
        };
        lines.push(("ICE", format!("{}{pair}", ice_state(path.ice_state()))));
        lines.extend(path.own_candidates.iter().map(|own| ("own candidate", own.clone())));
    }
    lines.extend(path.drops.iter().map(|drop| ("not taken", format!("{} {}", drop.packets, drop.reason))));
    writeln!(out)?;
    for (what, text) in lines {
        writeln!(out, "{what}: {text}")?;
    }
    if !path.explanation.is_empty() {
        writeln!(out, "why there is no media yet: {}", path.explanation)?;
    } else if !path.forward_secret && path.dtls_state() == v1::DtlsState::Established {
        let why = if path.resumed { "a session of before was taken up" } else { "by its cipher suite" };
        writeln!(out, "keys are not forward secret: {why}")?;
    }
    Ok(())
}

fn dtls_line(path: &v1::MediaPath) -> String {
    let mut line = dtls_state(path.dtls_state()).to_owned();
    for part in [&path.dtls_version, &path.cipher, &path.profile] {
        if !part.is_empty() {
            // A string takes all that is written to it.
            let _ = write!(line, ", {part}");
        }
    }
    if path.rekeying {
        line.push_str(", another handshake is on its way");
    }
    line
}

/// What threads of handshakes and checks have done, if they did anything.
pub(super) fn statistics(statistics: &v1::Statistics) -> [Table; 2] {
    let mut rows = table(&["media path", "", "", ""]);
    let mut drops = table(&["media path: not taken", "reason", "meaning"]);
    let Some(counted) = &statistics.media_path else { return [rows, drops] };
    if counted.legs + counted.handshakes_started + counted.datagrams_received > 0 {
        let row = |name: &str, values: &[(&str, u64)]| {
            let values = values.iter().map(|(what, count)| format!("{count} {what}"));
            [name.to_owned()].into_iter().chain(values).collect::<Vec<_>>()
        };
        rows.add_row(row(
            "legs",
            &[
                ("now", counted.legs),
                ("pairs selected", counted.pairs_selected),
                ("consents lost", counted.consent_lost),
            ],
        ));
        rows.add_row(row(
            "handshakes",
            &[
                ("begun", counted.handshakes_started),
                ("done", counted.handshakes_completed),
                ("resumed", counted.handshakes_resumed),
            ],
        ));
        rows.add_row(row(
            "",
            &[
                ("half open", counted.half_open),
                ("failed", counted.handshakes_failed),
                ("certificates refused", counted.certificates_refused),
            ],
        ));
        for (name, latency) in
            [("keys at the worker after", &counted.keys_applied), ("first media after", &counted.first_media)]
        {
            if let Some(latency) = latency.as_ref().filter(|latency| latency.count > 0) {
                let shown = |nanoseconds: u64| format!("{:.1} µs", nanoseconds as f64 / 1000.0);
                let (p50, p99) = (shown(latency.p50_nanoseconds), shown(latency.p99_nanoseconds));
                rows.add_row([name.to_owned(), format!("p50 {p50}"), format!("p99 {p99}")]);
            }
        }
    }
    for drop in &counted.drops {
        drops.add_row([drop.packets.to_string(), drop.reason.clone(), drop.description.clone()]);
    }
    [rows, drops]
}

/// An event of a handshake or of checks, in words; none of another.
pub(super) fn sentence(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::IceChanged(e) => {
            let way =
                if e.remote.is_empty() { String::new() } else { format!(": {} to {}", e.local, e.remote) };
            let why = if e.reason.is_empty() { String::new() } else { format!(": {}", e.reason) };
            format!("ICE{} {}{way}{why}", rtcp(e.rtcp), ice_state(e.state()))
        }
        Kind::HandshakeStarted(e) => {
            let who = if e.role() == v1::DtlsRole::Client { "with" } else { "by" };
            format!("DTLS handshake begun {who} {}", e.remote)
        }
        Kind::CertificateVerified(e) => {
            format!("the peer's certificate is the one that was signalled: {}", e.fingerprint)
        }
        Kind::CertificateRefused(e) => {
            let expected = e.expected.join(" or ");
            format!(
                "certificate refused, from {}: it is {}, and signalling said {expected}",
                e.remote, e.shown
            )
        }
        Kind::KeysNegotiated(e) => {
            let resumed = if e.resumed { ", resumed" } else { "" };
            let secret = if e.forward_secret { "" } else { ", not forward secret" };
            format!(
                "keys by {} ({}{resumed}{secret}) for {}, at the worker after {} µs",
                e.dtls_version, e.cipher, e.suite, e.microseconds
            )
        }
        Kind::HandshakeFailed(e) => format!("DTLS handshake with {} failed: {}", e.remote, e.reason),
        Kind::AssociationClosed(_) => {
            "the peer closed its DTLS association: nothing is sent to it".to_owned()
        }
        _ => return None,
    })
}

const fn rtcp(is: bool) -> &'static str {
    if is { " of RTCP" } else { "" }
}

const fn ice_state(state: v1::IceState) -> &'static str {
    match state {
        v1::IceState::Unspecified => "-",
        v1::IceState::Checking => "checking",
        v1::IceState::Connected => "connected",
        v1::IceState::ConsentLost => "consent lost",
        v1::IceState::Failed => "failed",
    }
}

const fn dtls_state(state: v1::DtlsState) -> &'static str {
    match state {
        v1::DtlsState::Unspecified => "-",
        v1::DtlsState::Waiting => "waiting",
        v1::DtlsState::Handshake => "handshake",
        v1::DtlsState::Unverified => "unverified",
        v1::DtlsState::Established => "established",
        v1::DtlsState::Closed => "closed",
        v1::DtlsState::Failed => "failed",
    }
}
