//! Results: rows for machines, tables for people.

use std::fmt::Write;

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};

use super::case::Case;

/// Which figure a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// What one core forwards.
    Relay,
    /// Cost against the number of legs, at one rate.
    Scale,
    /// Cost against the number of listeners.
    Fanout,
    /// The highest rate without loss (RFC 2544 §26.1).
    LossFree,
    /// Latency under a share of that rate.
    Latency,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Of which kind.
    pub section: Section,
    /// The device: the way that packets take.
    pub path: String,
    /// What protects media to the device.
    pub from: String,
    /// What protects media from the device.
    pub to: String,
    /// Octets of RTP payload.
    pub payload: usize,
    /// Legs of the device that are active.
    pub legs: usize,
    /// Listeners of each caller.
    pub fanout: usize,
    /// Whether listeners of a call share a key.
    pub shared_key: bool,
    /// Whether all legs are on one local port.
    pub shared_port: bool,
    /// Packets per second to listeners, each of them checked. A device that is faster than the tester has time to
    /// spare: what a core does when it is busy is the reciprocal of [`Self::cpu_ns_per_packet`].
    pub pps: f64,
    /// Nanoseconds of the device's CPU, its kernel's included, per packet to a listener.
    pub cpu_ns_per_packet: f64,
    /// Half of the packets were under way for at most so many microseconds.
    pub p50_us: f64,
    /// 99 % were.
    pub p99_us: f64,
    /// 99.9 % were.
    pub p999_us: f64,
    /// Callers' packets per second that were sent; `None`: as many as the device took.
    pub offered_pps: Option<f64>,
    /// Packets lost in the run that counts.
    pub lost: u64,
    /// Of [`Section::Latency`]: percent of the loss-free rate.
    pub load_percent: Option<u32>,
    /// What exactly was measured.
    pub version: String,
}

impl Row {
    /// Whether two rows are of the same set-up of possibly different devices.
    fn same_case(&self, other: &Self) -> bool {
        let case = |row: &Self| {
            let names = (row.from.clone(), row.to.clone());
            let shared = (row.shared_key, row.shared_port);
            (row.section, names, row.payload, row.legs, row.fanout, shared, row.load_percent)
        };
        case(self) == case(other)
    }

    /// A row of a case without figures.
    pub fn of(section: Section, path: &str, version: String, case: &Case) -> Self {
        Self {
            section,
            path: path.into(),
            from: case.from.to_string(),
            to: case.to.to_string(),
            payload: case.payload,
            legs: case.legs(),
            fanout: case.fanout,
            shared_key: case.shared_key,
            shared_port: case.shared_port,
            pps: 0.0,
            cpu_ns_per_packet: 0.0,
            p50_us: 0.0,
            p99_us: 0.0,
            p999_us: 0.0,
            offered_pps: None,
            lost: 0,
            load_percent: None,
            version,
        }
    }
}

/// Rows as JSON, one line each in one array.
pub fn json(rows: &[Row]) -> serde_json::Result<String> {
    let lines = rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("[\n{}\n]\n", lines.join(",\n")))
}

/// How tables look.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// Lines, for a terminal.
    Terminal,
    /// For a record.
    Markdown,
}

/// A table per section.
pub fn tables(rows: &[Row], style: Style) -> String {
    let titles = [
        (
            Section::Relay,
            "Packets per second while the generator has 192 under way, and what a whole core would do",
        ),
        (Section::LossFree, "Highest rate without loss (RFC 2544 §26.1)"),
        (Section::Latency, "Latency under load, added to what the wire and the tester take (see xdp_tx)"),
        (Section::Scale, "CPU per packet against the number of legs, at one rate"),
        (Section::Fanout, "CPU per packet sent, against the number of listeners"),
    ];
    let mut text = String::new();
    for (section, title) in titles {
        let rows: Vec<_> = rows.iter().filter(|row| row.section == section).collect();
        if !rows.is_empty() {
            let _ = writeln!(text, "\n{title}\n\n{}", table(&rows, style));
        }
    }
    text
}

fn table(rows: &[&Row], style: Style) -> Table {
    let mut table = Table::new();
    table.load_style(match style {
        Style::Terminal => UTF8_FULL_CONDENSED,
        Style::Markdown => ASCII_MARKDOWN,
    });
    table.set_header([
        "path",
        "from",
        "to",
        "payload",
        "legs",
        "fan-out",
        "load",
        "packets/s",
        "CPU ns/packet",
        "packets/s a core",
        "of af_xdp's",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "lost",
    ]);
    for row in rows {
        let ours = rows.iter().find(|other| other.path == "af_xdp" && row.same_case(other));
        let ratio = ours.filter(|ours| ours.path != row.path && row.load_percent.is_none());
        let listeners =
            if row.shared_key { format!("{}, one key", row.fanout) } else { row.fanout.to_string() };
        let legs = if row.shared_port { format!("{}, one port", row.legs) } else { row.legs.to_string() };
        table.add_row([
            row.path.clone(),
            short(&row.from).to_owned(),
            short(&row.to).to_owned(),
            row.payload.to_string(),
            legs,
            listeners,
            row.load_percent.map_or_else(String::new, |percent| format!("{percent} %")),
            format!("{:.0}", row.pps),
            format!("{:.0}", row.cpu_ns_per_packet),
            format!("{:.0}", 1e9 / row.cpu_ns_per_packet),
            ratio.map_or_else(String::new, |ours| {
                format!("1/{:.2}", row.cpu_ns_per_packet / ours.cpu_ns_per_packet)
            }),
            format!("{:.0}", row.p50_us),
            format!("{:.0}", row.p99_us),
            format!("{:.0}", row.p999_us),
            row.lost.to_string(),
        ]);
    }
    table.column_iter_mut().skip(3).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// A suite's name as tables and plots have room for it.
pub fn short(name: &str) -> &str {
    match name {
        "AES_CM_128_HMAC_SHA1_80" => "CM_80",
        "AEAD_AES_256_GCM" => "GCM-256",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::{CM, Case, GCM};
    use super::*;

    fn row(path: &str, pps: f64) -> Row {
        Row {
            pps,
            cpu_ns_per_packet: 1e9 / pps,
            ..Row::of(Section::Relay, path, "1".into(), &Case::new(CM, GCM, 160, 50))
        }
    }

    #[test]
    fn json_has_the_agreed_fields_and_comes_back() {
        let rows = [row("af_xdp", 500_000.0), row("rtpengine", 50_000.0)];
        let text = json(&rows).unwrap();
        for field in [
            "path",
            "from",
            "to",
            "payload",
            "legs",
            "fanout",
            "pps",
            "cpu_ns_per_packet",
            "p50_us",
            "p99_us",
        ] {
            assert!(text.contains(&format!("\"{field}\":")), "{field}");
        }
        assert_eq!(serde_json::from_str::<Vec<Row>>(&text).unwrap(), rows);
    }

    #[test]
    fn a_peer_is_shown_with_its_ratio_to_af_xdp() {
        let table = tables(&[row("af_xdp", 500_000.0), row("rtpengine", 50_000.0)], Style::Markdown);
        assert!(table.contains("1/10.00"), "{table}");
    }
}
