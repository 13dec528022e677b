//! What a run did, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv6Addr, SocketAddr};

use anyhow::Result;
use serde::Serialize;
use sluice_classifier::Endpoint;

use super::convert::Outcome;
use super::stream::Stream;
use super::{Direction, Files};
use crate::output::{self, count, number};

/// Streams that the table shows; JSON has all.
const SHOWN: usize = 200;

/// The summary of a run.
#[derive(Serialize)]
pub(super) struct Summary {
    operation: &'static str,
    input: String,
    /// Where the packets went; null: nothing was written.
    output: Option<String>,
    /// Packets of all kinds in the input, and in the output.
    packets: u64,
    packets_written: u64,
    media_packets: u64,
    converted: u64,
    left_out: u64,
    /// Why the input ends before its end.
    damage: Option<String>,
    warnings: Vec<String>,
    error: Option<String>,
    streams: Vec<StreamSummary>,
}

#[derive(Serialize)]
struct StreamSummary {
    source: String,
    destination: String,
    ssrc: String,
    suite: Option<String>,
    initial_roc: Option<u32>,
    rtp_packets: u64,
    rtcp_packets: u64,
    converted: u64,
    left_out: u64,
    /// Packets that were not converted, by reason.
    not_converted: BTreeMap<String, u64>,
}

impl StreamSummary {
    fn new(stream: &Stream) -> Self {
        let tally = &stream.tally;
        Self {
            source: address(&stream.name.source),
            destination: address(&stream.name.destination),
            ssrc: format!("{:#010x}", stream.name.ssrc),
            suite: stream.suite.map(|suite| suite.to_string()),
            initial_roc: stream.roc,
            rtp_packets: tally.rtp,
            rtcp_packets: tally.rtcp,
            converted: tally.done,
            left_out: tally.left_out,
            not_converted: tally.troubles.clone(),
        }
    }

    fn troubles(&self) -> String {
        let each = |(reason, packets): (&String, &u64)| format!("{}: {reason}", number(*packets));
        self.not_converted.iter().map(each).collect::<Vec<_>>().join("; ")
    }
}

fn address(endpoint: &Endpoint) -> String {
    let ip = Ipv6Addr::from(endpoint.addr).to_canonical();
    SocketAddr::new(ip, endpoint.port).to_string()
}

impl Summary {
    pub(super) fn new(files: &Files, direction: Direction, outcome: &Outcome, written: Option<&str>) -> Self {
        let streams: Vec<_> = outcome.streams.iter().map(StreamSummary::new).collect();
        let sum = |of: fn(&StreamSummary) -> u64| streams.iter().map(of).sum();
        let mut summary = Self {
            operation: if direction == Direction::Protect { "protect" } else { "unprotect" },
            input: files.input.display().to_string(),
            output: written.map(str::to_owned),
            packets: outcome.packets,
            packets_written: if written.is_some() { outcome.written } else { 0 },
            media_packets: sum(|stream| stream.rtp_packets + stream.rtcp_packets),
            converted: sum(|stream| stream.converted),
            left_out: sum(|stream| stream.left_out),
            damage: outcome.damage.as_ref().map(ToString::to_string),
            warnings: warnings(direction, outcome),
            error: None,
            streams,
        };
        summary.error = summary.find_error(direction, outcome);
        summary
    }

    fn find_error(&self, direction: Direction, outcome: &Outcome) -> Option<String> {
        if self.converted > 0 {
            return None;
        }
        if self.media_packets == 0 {
            return Some(match (self.packets, outcome.unknown_link) {
                (0, _) => "the capture holds no packets".to_owned(),
                (all, unknown) if all == unknown => {
                    "the capture's link type is not supported: Ethernet, Linux cooked, raw IP and loopback are".to_owned()
                }
                (1, _) => "its only packet is not RTP or RTCP over UDP".to_owned(),
                (all, _) => format!("none of the {} is RTP or RTCP over UDP", count(all, "packet")),
            });
        }
        let all = number(self.media_packets);
        let only =
            |reason: &str| self.streams.iter().all(|s| s.not_converted.keys().all(|key| key == reason));
        let hint = if only("no key for this SSRC") {
            "there is no key for any of their SSRCs"
        } else if only("unknown MKI") {
            "they carry another MKI than --mki, or none"
        } else if direction == Direction::Protect {
            "see the reasons above"
        } else {
            "wrong key or suite; or they carry an MKI (--mki); or the capture begins at a ROC that \
             was not tried (--roc, --roc-trials)"
        };
        let done = if direction == Direction::Protect { "could be encrypted" } else { "authenticated" };
        Some(format!("none of the {all} media packets {done}: {hint}"))
    }

    /// Prints the summary to standard output, or to standard error if the packets went there.
    pub(super) fn print(&self, json: bool, to_stderr: bool) -> Result<()> {
        let text = if json { serde_json::to_string_pretty(self)? + "\n" } else { self.text() };
        if to_stderr {
            eprint!("{text}");
        } else {
            output::print(&text)?;
        }
        if !json {
            let complaints = self.damage.iter().map(|damage| format!("warning: {damage}"));
            let complaints = complaints.chain(self.warnings.iter().map(|text| format!("warning: {text}")));
            complaints.for_each(|text| eprintln!("sluice: {text}"));
        }
        if let Some(error) = &self.error {
            eprintln!("sluice: {}: {error}. Nothing was written", self.input);
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if !self.streams.is_empty() {
            text += &self.table();
            text += "\n";
        }
        if let Some(output) = &self.output {
            let verb = if self.operation == "protect" { "encrypted" } else { "decrypted" };
            let _ = write!(text, "{} {verb}", count(self.converted, "packet"));
            if self.left_out > 0 {
                let _ = write!(text, ", {} left out", number(self.left_out));
            }
            let others = self.packets_written.saturating_sub(self.converted);
            if others > 0 {
                let _ = write!(text, ", {} passed as they were", count(others, "packet"));
            }
            let _ = writeln!(text, "; written to {output}");
        }
        text
    }

    fn table(&self) -> String {
        let done = if self.operation == "protect" { "ENCRYPTED" } else { "AUTHENTICATED" };
        let mut table =
            output::table(["FROM", "TO", "SSRC", "SUITE", "ROC", "RTP", "RTCP", done, "NOT, AND WHY"]);
        output::align_right(&mut table, 4..8);
        for stream in self.streams.iter().take(SHOWN) {
            table.add_row([
                stream.source.clone(),
                stream.destination.clone(),
                stream.ssrc.clone(),
                stream.suite.clone().unwrap_or_else(|| "-".to_owned()),
                stream.initial_roc.map_or_else(|| "-".to_owned(), |roc| roc.to_string()),
                number(stream.rtp_packets),
                number(stream.rtcp_packets),
                number(stream.converted),
                stream.troubles(),
            ]);
        }
        let mut text = output::render(&table);
        if let Some(more) = self.streams.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(text, "… and {}: --json shows all", count(more as u64, "stream"));
        }
        text
    }
}

fn warnings(direction: Direction, outcome: &Outcome) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |packets: u64, noun: &str, fate: &str, text: &str| {
        if packets > 0 {
            warnings.push(format!("{} {fate}: {text}", count(packets, noun)));
        }
    };
    let passed = "passed as they were";
    let unread = if direction == Direction::Protect { "left out" } else { passed };
    warn(outcome.fragments, "IP fragment", unread, "only whole datagrams can be converted");
    warn(outcome.beyond_limit, "media packet", unread, "more than a million streams");
    warn(outcome.unknown_link, "packet", passed, "their link type is not supported");
    warnings
}
