//! A bar chart as SVG: a panel per scope, suite and direction, a group per payload, a bar per engine.

use std::fmt::Write;

use crate::engine::{Direction, SUITES, Scope};
use crate::packets::Payload;
use crate::report::{REFERENCE_BATCH, Row};

const PANEL: (f64, f64) = (560.0, 230.0);
const MARGIN: f64 = 40.0;
/// Width of a letter, about: SVG cannot measure text.
const LETTER: f64 = 6.0;
const COLOURS: [&str; 8] =
    ["#0b6e4f", "#3bb273", "#c8553d", "#e9a23b", "#5b6c9d", "#8e6c8a", "#7f7f7f", "#2b2d42"];

type Series = (&'static str, usize);

/// Draws rows with as many sessions as `sessions`.
pub fn svg(rows: &[Row], sessions: usize, title: &str) -> String {
    let rows: Vec<_> = rows.iter().filter(|row| row.sessions == sessions && shown(row)).collect();
    let panels: Vec<_> = [Scope::Whole, Scope::Crypto]
        .into_iter()
        .flat_map(|scope| SUITES.map(|suite| (scope, suite)))
        .filter(|(scope, suite)| rows.iter().any(|row| row.scope == *scope && row.suite == *suite))
        .collect();
    let (width, height) = (2.0 * PANEL.0 + MARGIN, panels.len() as f64 * PANEL.1 + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    text(&mut svg, (MARGIN, 24.0), "start", &format!("{title}; {sessions} sessions; ns per packet"));
    for (line, (scope, suite)) in panels.into_iter().enumerate() {
        for (column, direction) in Direction::ALL.into_iter().enumerate() {
            let of_panel = |row: &&&Row| (row.scope, row.suite, row.direction) == (scope, suite, direction);
            let rows: Vec<_> = rows.iter().filter(of_panel).copied().collect();
            let origin = (MARGIN / 2.0 + column as f64 * PANEL.0, MARGIN + line as f64 * PANEL.1);
            panel(&mut svg, origin, &format!("{suite} {direction}, {scope}"), &rows);
        }
    }
    svg + "</svg>\n"
}

/// Of Sluice one packet alone and the batch that ratios refer to, of the others everything.
fn shown(row: &Row) -> bool {
    !row.name.starts_with("sluice") || [1, REFERENCE_BATCH].contains(&row.batch)
}

fn panel(svg: &mut String, (x, y): (f64, f64), title: &str, rows: &[&Row]) {
    let mut series: Vec<Series> = Vec::new();
    let mut payloads: Vec<Payload> = Vec::new();
    for row in rows {
        if !series.contains(&(row.name, row.batch)) {
            series.push((row.name, row.batch));
        }
        if !payloads.contains(&row.payload) {
            payloads.push(row.payload);
        }
    }
    text(svg, (x, y + 14.0), "start", title);
    let mut at = x;
    for (n, (name, batch)) in series.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<rect x=\"{at:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\" fill=\"{}\"/>",
            y + 22.0,
            COLOURS[n % COLOURS.len()]
        );
        let name = format!("{name} ×{batch}");
        text(svg, (at + 12.0, y + 30.0), "start", &name);
        at += 28.0 + LETTER * name.chars().count() as f64;
    }
    let (base, full) = (y + PANEL.1 - 30.0, PANEL.1 - 85.0);
    let group = (PANEL.0 - MARGIN) / payloads.len() as f64;
    let bar = (group - 20.0) / series.len() as f64;
    for (n, payload) in payloads.iter().enumerate() {
        let left = x + n as f64 * group;
        // Every group has its own scale, lest 1200 octets flatten 20.
        let of_group = |row: &&&Row| row.payload == *payload;
        let most = rows.iter().filter(of_group).map(|row| row.ns_per_packet).fold(1.0, f64::max);
        for row in rows.iter().filter(of_group) {
            let at = series.iter().position(|series| *series == (row.name, row.batch)).unwrap_or(0);
            let (at, height) = ((left + at as f64 * bar, at), row.ns_per_packet / most * full);
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{}\"/>",
                at.0,
                base - height,
                bar - 2.0,
                COLOURS[at.1 % COLOURS.len()]
            );
            let (middle, above) = (at.0 + bar / 2.0 - 1.0, base - height - 3.0);
            let _ = writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{above:.1}\" text-anchor=\"middle\" font-size=\"8.5\">{:.0}</text>",
                row.ns_per_packet
            );
        }
        let name = match payload {
            Payload::Fixed(octets) => format!("{octets} octets"),
            Payload::Mix => "70 % 160, 30 % 1200".to_owned(),
        };
        text(svg, (left + (group - 20.0) / 2.0, base + 15.0), "middle", &name);
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}
