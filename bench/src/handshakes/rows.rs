//! What was measured, as rows of tables and of JSON.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};

use crate::signalling::rows::empty;
pub use crate::signalling::rows::{Style, Times};

/// Who is measured beside Sluice.
pub const PEER: &str = "openssl s_server";
/// What media may be the slower for handshakes beside it.
const MOST_SLOWER: f64 = 0.10;
/// Within what keys are to be in the worker, in microseconds.
const KEYS_WITHIN: f64 = 1_000.0;

/// Everything of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// Handshakes on one core.
    pub handshakes: Vec<HandshakeRow>,
    /// Media, without handshakes and beside them.
    pub media: Vec<MediaRow>,
    /// How soon keys were in use.
    pub keys: Vec<KeyRow>,
}

/// As many handshakes as one core makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandshakeRow {
    /// Whose.
    pub server: String,
    /// Its version.
    pub version: String,
    /// DTLS 1.2 or 1.3.
    pub protocol: String,
    /// Whether sessions of before were resumed.
    pub resumed: bool,
    /// Clients at a time.
    pub clients: usize,
    /// Handshakes of a run; all were completed.
    pub handshakes: usize,
    /// In a second; the best run's.
    pub per_second: f64,
    /// The median of all runs.
    pub median_per_second: f64,
    /// Microseconds of CPU that the server's threads took for each, to the end of all that followed.
    pub cpu_us: f64,
    /// Microseconds that the core worked for each, with what the kernel did to receive.
    pub core_us: f64,
    /// How busy the core was while handshakes were made, from 0 to 1. Where it was not, the clients were the limit.
    pub busy: f64,
    /// How long a handshake took the client.
    pub time: Times,
}

/// How long media took through the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MediaRow {
    /// Handshakes a second that were made beside it.
    pub handshakes_per_second: f64,
    /// Packets a second.
    pub packets_per_second: f64,
    /// Packets of all runs.
    pub packets: usize,
    /// Packets that did not come, of all runs.
    pub lost: usize,
    /// One way; the medians of all runs.
    pub latency: Times,
    /// The lowest p99 of a run, in microseconds.
    pub best_p99_us: f64,
}

/// How long it took from the end of handshakes until the worker had their keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Under which load.
    pub load: String,
    /// Handshakes.
    pub handshakes: usize,
    /// The median.
    pub p50_us: f64,
    /// What 1 % is slower than.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
}

impl HandshakeRow {
    /// Whether the core had nothing left: what is measured is the server, and not its clients.
    pub fn is_saturated(&self) -> bool {
        self.busy >= 0.95
    }

    /// What the core would make were it busy all the time.
    pub fn per_core(&self) -> f64 {
        1e6 / self.core_us
    }
}

impl Rows {
    /// As JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// As tables, and which targets were met.
    pub fn tables(&self, style: Style) -> String {
        let mut text = String::new();
        if !self.handshakes.is_empty() {
            let _ =
                writeln!(text, "\nHandshakes on one core\n\n{}\n\n{}", self.handshakes(style), self.limits());
        }
        if !self.media.is_empty() {
            let _ = writeln!(text, "\nMedia beside handshakes\n\n{}\n\n{}", self.media(style), self.slower());
        }
        if !self.keys.is_empty() {
            let _ = writeln!(
                text,
                "\nFrom the end of a handshake to its keys in the worker\n\n{}\n\n{}",
                self.keys(style),
                self.in_time()
            );
        }
        text
    }

    fn handshakes(&self, style: Style) -> Table {
        let mut table = empty(style);
        table.set_header([
            "server",
            "version",
            "handshake",
            "clients",
            "handshakes/s",
            "median run",
            "of s_server's",
            "CPU µs each",
            "core µs each",
            "core of s_server's",
            "core busy",
            "at 100 %/s",
            "p50",
            "p99 µs",
        ]);
        for row in &self.handshakes {
            let peer = self.peer_of(row);
            let ratio = |of: fn(&HandshakeRow) -> f64| {
                peer.map_or_else(String::new, |peer| format!("{:.2}", of(row) / of(peer)))
            };
            let client_bound = if row.is_saturated() { "" } else { " (clients are the limit)" };
            table.add_row([
                row.server.clone(),
                row.protocol.clone(),
                if row.resumed { "resumed" } else { "full" }.to_owned(),
                row.clients.to_string(),
                format!("{:.0}", row.per_second),
                format!("{:.0}", row.median_per_second),
                ratio(|row| row.per_second),
                format!("{:.0}", row.cpu_us),
                format!("{:.0}", row.core_us),
                ratio(|row| row.core_us),
                format!("{:.0} %{client_bound}", 100.0 * row.busy),
                format!("{:.0}", row.per_core()),
                format!("{:.0}", row.time.p50_us),
                format!("{:.0}", row.time.p99_us),
            ]);
        }
        align(&mut table, 3);
        table
    }

    /// The peer's row of the same handshakes.
    fn peer_of(&self, row: &HandshakeRow) -> Option<&HandshakeRow> {
        let same = |other: &&HandshakeRow| {
            other.server == PEER && other.protocol == row.protocol && other.resumed == row.resumed
        };
        self.handshakes.iter().find(same).filter(|peer| peer.server != row.server)
    }

    fn limits(&self) -> String {
        let limited = self.handshakes.iter().filter(|row| !row.is_saturated()).count();
        match limited {
            0 => "The core was busy in all rows: it is the servers that were measured.".into(),
            _ => format!(
                "In {limited} of {} rows the clients were the limit: there the core's time for each counts.",
                self.handshakes.len()
            ),
        }
    }

    fn media(&self, style: Style) -> Table {
        let mut table = empty(style);
        table.set_header([
            "handshakes/s",
            "packets/s",
            "packets",
            "lost",
            "p50",
            "p99",
            "p99.9 µs",
            "lowest p99",
        ]);
        for row in &self.media {
            table.add_row([
                format!("{:.0}", row.handshakes_per_second),
                format!("{:.0}", row.packets_per_second),
                row.packets.to_string(),
                row.lost.to_string(),
                format!("{:.0}", row.latency.p50_us),
                format!("{:.0}", row.latency.p99_us),
                format!("{:.0}", row.latency.p999_us),
                format!("{:.0}", row.best_p99_us),
            ]);
        }
        align(&mut table, 0);
        table
    }

    /// How much slower media is beside handshakes, at the 99th percentile: by the medians of all runs, and by the quickest of
    /// either kind, which others on the machine disturbed least; none without both.
    pub fn slowdown(&self) -> Option<[f64; 2]> {
        let alone = self.media.iter().find(|row| row.handshakes_per_second == 0.0)?;
        let beside = self.media.iter().find(|row| row.handshakes_per_second > 0.0)?;
        let slowdown = |p99: fn(&MediaRow) -> f64| p99(beside) / p99(alone) - 1.0;
        Some([slowdown(|row| row.latency.p99_us), slowdown(|row| row.best_p99_us)])
    }

    fn slower(&self) -> String {
        let Some(slowdowns) = self.slowdown() else { return String::new() };
        let [medians, quickest] = slowdowns
            .map(|slowdown| format!("{:+.0} % ({})", 100.0 * slowdown, met(slowdown <= MOST_SLOWER)));
        format!(
            "p99 beside handshakes, target at most {:+.0} %: by the medians {medians}, by the quickest runs {quickest}.",
            100.0 * MOST_SLOWER
        )
    }

    fn keys(&self, style: Style) -> Table {
        let mut table = empty(style);
        table.set_header(["load", "handshakes", "p50", "p99", "slowest µs"]);
        for row in &self.keys {
            let mut cells = vec![row.load.clone(), row.handshakes.to_string()];
            cells.extend([row.p50_us, row.p99_us, row.max_us].map(|time| format!("{time:.0}")));
            table.add_row(cells);
        }
        align(&mut table, 1);
        table
    }

    fn in_time(&self) -> String {
        let told = self.keys.iter().map(|row| {
            let (p99, slowest) = (met(row.p99_us <= KEYS_WITHIN), met(row.max_us <= KEYS_WITHIN));
            format!("{}: p99 {p99}, slowest {slowest}", row.load)
        });
        format!("Target: within {:.0} µs. {}.", KEYS_WITHIN, told.collect::<Vec<_>>().join("; "))
    }
}

fn met(is: bool) -> &'static str {
    if is { "met" } else { "missed" }
}

fn align(table: &mut Table, first: usize) {
    table.column_iter_mut().skip(first).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(server: &str, per_second: f64, busy: f64) -> HandshakeRow {
        HandshakeRow {
            server: server.into(),
            version: "1".into(),
            protocol: "DTLS 1.2".into(),
            resumed: false,
            clients: 8,
            handshakes: 1000,
            per_second,
            median_per_second: per_second,
            cpu_us: 500.0,
            core_us: 600.0,
            busy,
            time: Times::default(),
        }
    }

    fn media(handshakes_per_second: f64, p99_us: f64) -> MediaRow {
        MediaRow {
            handshakes_per_second,
            packets_per_second: 1000.0,
            packets: 5000,
            lost: 0,
            latency: Times { p99_us, ..Times::default() },
            best_p99_us: p99_us,
        }
    }

    #[test]
    fn rows_come_back_from_json_and_stand_beside_the_peers() {
        let handshakes = vec![row("sluice", 1500.0, 0.99), row(PEER, 1000.0, 0.99)];
        let rows = Rows { handshakes, ..Rows::default() };
        assert_eq!(serde_json::from_str::<Rows>(&rows.json().unwrap()).unwrap(), rows);
        let tables = rows.tables(Style::Markdown);
        assert!(tables.contains("1.50") && tables.contains("it is the servers"), "{tables}");
    }

    #[test]
    fn a_row_whose_clients_were_the_limit_says_so() {
        let rows = Rows { handshakes: vec![row("sluice", 1500.0, 0.8)], ..Rows::default() };
        let tables = rows.tables(Style::Markdown);
        assert!(tables.contains("80 % (clients are the limit)") && tables.contains("In 1 of 1"), "{tables}");
    }

    #[test]
    fn targets_are_met_or_missed() {
        for (p99, told) in
            [(109.0, "by the medians +9 % (met)"), (111.0, "by the quickest runs +11 % (missed)")]
        {
            let rows = Rows { media: vec![media(0.0, 100.0), media(500.0, p99)], ..Rows::default() };
            let tables = rows.tables(Style::Markdown);
            assert!(tables.contains(told), "{tables}");
        }
        let key = KeyRow { load: "idle".into(), handshakes: 9, p50_us: 10.0, p99_us: 900.0, max_us: 1100.0 };
        let tables = Rows { keys: vec![key], ..Rows::default() }.tables(Style::Markdown);
        assert!(tables.contains("idle: p99 met, slowest missed"), "{tables}");
    }
}
