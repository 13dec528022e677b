//! What was measured, as rows of tables and of JSON.

use std::fmt::Write as _;

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Everything of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// Calls that were set up and ended.
    pub calls: Vec<CallRow>,
    /// Keys that were installed.
    pub keys: Vec<KeyRow>,
}

/// How long something took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The median.
    pub p50_us: f64,
    /// What 1 % is slower than.
    pub p99_us: f64,
    /// What 0.1 % is slower than.
    pub p999_us: f64,
}

impl From<&Histogram<u64>> for Times {
    fn from(nanoseconds: &Histogram<u64>) -> Self {
        let at = |quantile| nanoseconds.value_at_quantile(quantile) as f64 / 1000.0;
        Self { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999) }
    }
}

/// Calls under one load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRow {
    /// Whose, and by which way of packets.
    pub gateway: String,
    /// Its version.
    pub version: String,
    /// What kind of calls.
    pub kind: String,
    /// Calls that stood all the while.
    pub standing: usize,
    /// Desks that set up one call after the other; none at a rate.
    pub desks: Option<usize>,
    /// The rate at which calls were due.
    pub offered: Option<f64>,
    /// Calls set up and ended in a second; the best run's.
    pub calls_per_second: f64,
    /// The median of all runs.
    pub median_calls_per_second: f64,
    /// Microseconds of CPU that the gateway's threads took for a call.
    pub cpu_us_per_call: f64,
    /// Offers.
    pub offer: Times,
    /// Answers.
    pub answer: Times,
    /// Ends.
    pub end: Times,
    /// From the offer, or when it was due, to the end.
    pub call: Times,
}

/// Keys that were installed one way or the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Whose.
    pub gateway: String,
    /// Its version.
    pub version: String,
    /// The method.
    pub operation: String,
    /// Keys of a request.
    pub batch: usize,
    /// Legs that got them.
    pub legs: usize,
    /// Keys installed in a second; the best run's.
    pub keys_per_second: f64,
    /// The median of all runs.
    pub median_keys_per_second: f64,
    /// Microseconds of CPU that the gateway's threads took for a key.
    pub cpu_us_per_key: f64,
    /// A request.
    pub request: Times,
}

/// How tables look.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// Lines, for a terminal.
    Terminal,
    /// For a record.
    Markdown,
}

impl Rows {
    /// As JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// As tables.
    pub fn tables(&self, style: Style) -> String {
        let mut text = String::new();
        let (fast, paced): (Vec<_>, Vec<_>) = self.calls.iter().partition(|row| row.offered.is_none());
        if !fast.is_empty() {
            let _ = writeln!(
                text,
                "\nCalls set up and ended, as many as it takes\n\n{}",
                self.calls(&fast, style)
            );
        }
        if !paced.is_empty() {
            let _ = writeln!(
                text,
                "\nCalls at a rate, timed from when they were due\n\n{}",
                self.calls(&paced, style)
            );
        }
        if !self.keys.is_empty() {
            let _ = writeln!(text, "\nKeys installed, in batches\n\n{}", self.key_table(style));
        }
        text
    }

    fn calls(&self, rows: &[&CallRow], style: Style) -> Table {
        let mut table = empty(style);
        table.set_header([
            "gateway",
            "call",
            "desks",
            "offered/s",
            "calls/s",
            "median run",
            "CPU µs/call",
            "CPU of rtpengine's",
            "offer p50",
            "p99",
            "answer p50",
            "p99",
            "end p50",
            "p99",
            "call p50",
            "p99",
            "p99.9 µs",
        ]);
        for row in rows {
            let mut cells = vec![
                row.gateway.clone(),
                row.kind.clone(),
                row.desks.map_or_else(String::new, |desks| desks.to_string()),
                row.offered.map_or_else(String::new, |rate| format!("{rate:.0}")),
                format!("{:.0}", row.calls_per_second),
                format!("{:.0}", row.median_calls_per_second),
                format!("{:.0}", row.cpu_us_per_call),
                self.beside(row).map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            ];
            for times in [row.offer, row.answer, row.end] {
                cells.extend([format!("{:.0}", times.p50_us), format!("{:.0}", times.p99_us)]);
            }
            let Times { p50_us, p99_us, p999_us } = row.call;
            cells.extend([p50_us, p99_us, p999_us].map(|time| format!("{time:.0}")));
            table.add_row(cells);
        }
        table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table
    }

    /// The CPU time of a call, of what rtpengine takes for the same kind.
    fn beside(&self, row: &CallRow) -> Option<f64> {
        let is_peer = |other: &&CallRow| other.gateway == "rtpengine" && other.kind == row.kind;
        let peer = self.calls.iter().find(is_peer)?;
        (row.gateway != peer.gateway).then(|| row.cpu_us_per_call / peer.cpu_us_per_call)
    }

    fn key_table(&self, style: Style) -> Table {
        let mut table = empty(style);
        table.set_header([
            "gateway",
            "method",
            "batch",
            "legs",
            "keys/s",
            "median run",
            "CPU µs/key",
            "request p50",
            "p99 µs",
        ]);
        for row in &self.keys {
            table.add_row([
                row.gateway.clone(),
                row.operation.clone(),
                row.batch.to_string(),
                row.legs.to_string(),
                format!("{:.0}", row.keys_per_second),
                format!("{:.0}", row.median_keys_per_second),
                format!("{:.2}", row.cpu_us_per_key),
                format!("{:.0}", row.request.p50_us),
                format!("{:.0}", row.request.p99_us),
            ]);
        }
        table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table
    }
}

/// A table without rows.
pub fn empty(style: Style) -> Table {
    let mut table = Table::new();
    table.load_style(match style {
        Style::Terminal => UTF8_FULL_CONDENSED,
        Style::Markdown => ASCII_MARKDOWN,
    });
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(gateway: &str, cpu_us_per_call: f64) -> CallRow {
        CallRow {
            gateway: gateway.into(),
            version: "1".into(),
            kind: "SDES → SDES".into(),
            standing: 10,
            desks: Some(4),
            offered: None,
            calls_per_second: 5000.0,
            median_calls_per_second: 4000.0,
            cpu_us_per_call,
            offer: Times::default(),
            answer: Times::default(),
            end: Times::default(),
            call: Times::default(),
        }
    }

    #[test]
    fn rows_come_back_from_json_and_stand_beside_rtpengine() {
        let rows =
            Rows { calls: vec![row("sluice, io_uring", 100.0), row("rtpengine", 200.0)], keys: vec![] };
        assert_eq!(serde_json::from_str::<Rows>(&rows.json().unwrap()).unwrap(), rows);
        let table = rows.tables(Style::Markdown);
        assert!(table.contains("0.50"), "{table}");
    }
}
