//! Results: rows for machines, tables for people.

use std::fmt::{self, Write};

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table};
use serde::{Serialize, Serializer};
use sluice_srtp::Suite;

use crate::engine::{Direction, SUITES, Scope};
use crate::packets::Payload;

/// The batch size of Sluice that ratios refer to: what the data path's batches are like under load.
pub const REFERENCE_BATCH: usize = 32;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the implementation.
    #[serde(rename = "impl")]
    pub name: &'static str,
    /// Its versions.
    pub version: String,
    /// What of SRTP it does.
    pub scope: Scope,
    /// The suite's name.
    #[serde(serialize_with = "by_name")]
    pub suite: Suite,
    /// Octets of the payload, or a mix.
    pub payload: Payload,
    /// Sessions used round-robin, each with its own key.
    pub sessions: usize,
    /// Packets handed over at a time.
    pub batch: usize,
    /// Which way.
    pub direction: Direction,
    /// Nanoseconds per packet, best round.
    pub ns_per_packet: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn by_name<S: Serializer>(suite: &Suite, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(suite.name())
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(octets) => serializer.serialize_u64(*octets as u64),
            Self::Mix => serializer.serialize_str("mix"),
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(octets) => write!(f, "{octets}"),
            Self::Mix => f.write_str("mix"),
        }
    }
}

/// Rows as JSON, one line each in one array.
pub fn json(rows: &[Row]) -> serde_json::Result<String> {
    let lines = rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("[\n{}\n]\n", lines.join(",\n")))
}

/// Rows as CSV with the JSON's field names.
pub fn csv(rows: &[Row]) -> String {
    let mut csv = "impl,version,scope,suite,payload,sessions,batch,direction,ns_per_packet\n".to_owned();
    for row in rows {
        let Row { name, version, scope, suite, payload, sessions, batch, direction, ns_per_packet } = row;
        let version = version.replace('"', "'");
        let _ = writeln!(
            csv,
            "{name},\"{version}\",{scope},{suite},{payload},{sessions},{batch},{direction},{ns_per_packet:.2}"
        );
    }
    csv
}

/// How tables look.
#[derive(Clone, Copy)]
pub enum Style {
    /// Lines, for a terminal.
    Terminal,
    /// For a record.
    Markdown,
}

/// A table per scope and suite: Sluice by batch, then each peer with how many times Sluice's time at
/// [`REFERENCE_BATCH`] it takes.
pub fn tables(rows: &[Row], style: Style) -> String {
    let mut text = String::new();
    for scope in [Scope::Whole, Scope::Crypto] {
        for suite in SUITES {
            let rows: Vec<_> = rows.iter().filter(|row| row.scope == scope && row.suite == suite).collect();
            if !rows.is_empty() {
                let title = match scope {
                    Scope::Whole => "whole SRTP",
                    Scope::Crypto => "crypto alone",
                };
                let _ = writeln!(text, "\n{suite}, {title}: ns per packet\n\n{}", table(&rows, style));
            }
        }
    }
    text
}

fn table(rows: &[&Row], style: Style) -> Table {
    let mut columns: Vec<_> = rows.iter().map(|row| (row.name, row.batch)).collect();
    let mut lines: Vec<_> = rows.iter().map(|row| (row.sessions, row.direction, row.payload)).collect();
    // Both keep the order of the measuring.
    dedup(&mut columns);
    dedup(&mut lines);
    let ours = columns.first().map_or("", |(name, _)| *name);

    let mut table = Table::new();
    table.load_style(match style {
        Style::Terminal => UTF8_FULL_CONDENSED,
        Style::Markdown => ASCII_MARKDOWN,
    });
    let heads = columns.iter().map(|(name, batch)| match *batch {
        1 if *name != ours => (*name).to_owned(),
        _ => format!("{name} ×{batch}"),
    });
    table.set_header(["sessions", "direction", "payload"].map(str::to_owned).into_iter().chain(heads));
    for (sessions, direction, payload) in lines {
        let of = |name: &str, batch: usize| {
            let found = rows.iter().find(|row| {
                (row.name, row.batch) == (name, batch)
                    && (row.sessions, row.direction, row.payload) == (sessions, direction, payload)
            });
            found.map(|row| row.ns_per_packet)
        };
        let reference = of(ours, REFERENCE_BATCH);
        let cells = columns.iter().map(|(name, batch)| match (of(name, *batch), reference) {
            (Some(ns), Some(reference)) if *name != ours => format!("{ns:.0} ({:.2}x)", ns / reference),
            (Some(ns), _) => format!("{ns:.1}"),
            (None, _) => "–".to_owned(),
        });
        let keys = [sessions.to_string(), direction.to_string(), payload.to_string()];
        table.add_row(keys.into_iter().chain(cells));
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn dedup<T: PartialEq + Copy>(values: &mut Vec<T>) {
    let mut kept: Vec<T> = Vec::new();
    values.retain(|value| {
        let new = !kept.contains(value);
        if new {
            kept.push(*value);
        }
        new
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, payload: Payload, batch: usize, ns_per_packet: f64) -> Row {
        Row {
            name,
            version: "1".into(),
            scope: Scope::Whole,
            suite: Suite::AeadAes128Gcm,
            payload,
            sessions: 1000,
            batch,
            direction: Direction::Protect,
            ns_per_packet,
        }
    }

    #[test]
    fn json_has_the_agreed_fields() {
        let json = json(&[row("sluice", Payload::Mix, 32, 12.5)]).unwrap();
        assert_eq!(
            json.lines().nth(1).unwrap(),
            "{\"impl\":\"sluice\",\"version\":\"1\",\"scope\":\"whole\",\"suite\":\"AEAD_AES_128_GCM\",\
             \"payload\":\"mix\",\"sessions\":1000,\"batch\":32,\"direction\":\"protect\",\
             \"ns_per_packet\":12.5}"
        );
        assert!(super::json(&[row("a", Payload::Fixed(20), 1, 1.0)]).unwrap().contains("\"payload\":20,"));
    }

    #[test]
    fn a_peer_is_shown_with_its_ratio_to_sluice() {
        let rows = [row("sluice", Payload::Mix, 32, 20.0), row("libsrtp", Payload::Mix, 1, 250.0)];
        assert!(tables(&rows, Style::Markdown).contains("250 (12.50x)"));
    }
}
