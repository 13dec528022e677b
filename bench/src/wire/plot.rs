//! The wire's bar charts: what one core forwards, and what a packet costs against legs and listeners.

use sluice_tools::bench::rows::{Row, Section, short};

use crate::chart::{self, Panel};

/// Draws all rows.
pub fn svg(rows: &[Row], title: &str) -> String {
    let mut panels: Vec<Panel> = Vec::new();
    for row in rows {
        let (name, group, value) = place(row);
        let panel = match panels.iter_mut().find(|panel| panel.title == name) {
            Some(panel) => panel,
            None => {
                panels.push(Panel::new(name));
                panels.last_mut().expect("just pushed")
            }
        };
        panel.bar(&row.path, &group, value);
    }
    chart::svg(title, &panels)
}

/// Panel, group and height of a row.
fn place(row: &Row) -> (String, String, f64) {
    let pair = format!("{} → {}", short(&row.from), short(&row.to));
    match row.section {
        Section::Relay => (format!("packets/s of one core, {} octets", row.payload), pair, row.pps),
        Section::LossFree => ("packets/s without loss".into(), pair, row.pps),
        Section::Latency => (
            "p99 in µs, at shares of the loss-free rate".into(),
            format!("{} %", row.load_percent.unwrap_or_default()),
            row.p99_us,
        ),
        Section::Scale => {
            let ports = if row.shared_port { "one port" } else { "a port each" };
            (
                format!("CPU ns/packet against legs, {ports}"),
                format!("{} legs", row.legs),
                row.cpu_ns_per_packet,
            )
        }
        Section::Fanout => {
            let key = if row.shared_key { "one key" } else { "own keys" };
            (
                format!("CPU ns/packet sent against listeners, {key}"),
                format!("1→{}", row.fanout),
                row.cpu_ns_per_packet,
            )
        }
    }
}
