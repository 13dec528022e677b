//! The engines' bar chart: a panel per scope, suite and direction, a group per payload, a bar per engine.

use crate::chart::{self, Panel};
use crate::engine::{Direction, SUITES, Scope};
use crate::packets::Payload;
use crate::report::{REFERENCE_BATCH, Row};

/// Draws rows with as many sessions as `sessions`.
pub fn svg(rows: &[Row], sessions: usize, title: &str) -> String {
    let rows: Vec<_> = rows.iter().filter(|row| row.sessions == sessions && shown(row)).collect();
    let mut panels = Vec::new();
    for scope in [Scope::Whole, Scope::Crypto] {
        for suite in SUITES {
            for direction in Direction::ALL {
                let mut panel = Panel::new(format!("{suite} {direction}, {scope}"));
                let of_panel =
                    |row: &&&Row| (row.scope, row.suite, row.direction) == (scope, suite, direction);
                for row in rows.iter().filter(of_panel) {
                    let series = format!("{} ×{}", row.name, row.batch);
                    panel.bar(&series, &group(row.payload), row.ns_per_packet);
                }
                panels.push(panel);
            }
        }
    }
    panels.retain(|panel| !panel.is_empty());
    chart::svg(&format!("{title}; {sessions} sessions; ns per packet"), &panels)
}

/// Of Sluice one packet alone and the batch that ratios refer to, of the others everything.
fn shown(row: &Row) -> bool {
    !row.name.starts_with("sluice") || [1, REFERENCE_BATCH].contains(&row.batch)
}

fn group(payload: Payload) -> String {
    match payload {
        Payload::Fixed(octets) => format!("{octets} octets"),
        Payload::Mix => "70 % 160, 30 % 1200".to_owned(),
    }
}
