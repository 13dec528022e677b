//! Bar charts as SVG: panels in two columns, in each a group of bars per case, a bar per series.

use std::fmt::Write;

const PANEL: (f64, f64) = (560.0, 230.0);
const MARGIN: f64 = 40.0;
/// Width of a letter, about: SVG cannot measure text.
const LETTER: f64 = 6.0;
const COLOURS: [&str; 8] =
    ["#0b6e4f", "#3bb273", "#c8553d", "#e9a23b", "#5b6c9d", "#8e6c8a", "#7f7f7f", "#2b2d42"];

/// Bars that belong together.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// Names of the series, in the order of their colours.
    series: Vec<String>,
    /// Names of the groups, in order, each with its bars: series and value.
    groups: Vec<(String, Vec<(usize, f64)>)>,
}

impl Panel {
    /// A panel without bars.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a bar; series and groups are as they first come.
    pub fn bar(&mut self, series: &str, group: &str, value: f64) {
        let place = self.series.iter().position(|name| name == series).unwrap_or_else(|| {
            self.series.push(series.to_owned());
            self.series.len() - 1
        });
        match self.groups.iter_mut().find(|(name, _)| name == group) {
            Some((_, bars)) => bars.push((place, value)),
            None => self.groups.push((group.to_owned(), vec![(place, value)])),
        }
    }

    /// Whether it has no bars.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// Draws panels, two to a line.
pub fn svg(title: &str, panels: &[Panel]) -> String {
    let (width, height) = (2.0 * PANEL.0 + MARGIN, panels.len().div_ceil(2) as f64 * PANEL.1 + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    text(&mut svg, (MARGIN, 24.0), "start", title);
    for (place, panel) in panels.iter().enumerate() {
        let (line, column) = (place / 2, place % 2);
        let origin = (MARGIN / 2.0 + column as f64 * PANEL.0, MARGIN + line as f64 * PANEL.1);
        draw(&mut svg, origin, panel);
    }
    svg + "</svg>\n"
}

fn draw(svg: &mut String, (x, y): (f64, f64), panel: &Panel) {
    text(svg, (x, y + 14.0), "start", &panel.title);
    let mut at = x;
    for (place, name) in panel.series.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<rect x=\"{at:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\" fill=\"{}\"/>",
            y + 22.0,
            COLOURS[place % COLOURS.len()]
        );
        text(svg, (at + 12.0, y + 30.0), "start", name);
        at += 28.0 + LETTER * name.chars().count() as f64;
    }
    let (base, full) = (y + PANEL.1 - 30.0, PANEL.1 - 85.0);
    let group = (PANEL.0 - MARGIN) / panel.groups.len() as f64;
    let bar = (group - 20.0) / panel.series.len() as f64;
    for (place, (name, bars)) in panel.groups.iter().enumerate() {
        let left = x + place as f64 * group;
        // Every group has its own scale, lest the largest flattens the others.
        let most = bars.iter().map(|(_, value)| *value).fold(1.0, f64::max);
        for (series, value) in bars {
            let (at, height) = (left + *series as f64 * bar, value / most * full);
            let _ = writeln!(
                svg,
                "<rect x=\"{at:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{}\"/>",
                base - height,
                bar - 2.0,
                COLOURS[series % COLOURS.len()]
            );
            let (middle, above) = (at + bar / 2.0 - 1.0, base - height - 3.0);
            let _ = writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{above:.1}\" text-anchor=\"middle\" font-size=\"8.5\">{}</text>",
                figure(*value)
            );
        }
        text(svg, (left + (group - 20.0) / 2.0, base + 15.0), "middle", name);
    }
}

/// A figure as a bar has room for it.
fn figure(value: f64) -> String {
    if value >= 10_000.0 { format!("{:.0}k", value / 1e3) } else { format!("{value:.0}") }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_one_series_have_one_colour_and_names_are_escaped() {
        let mut panel = Panel::new("a < b");
        panel.bar("one", "first", 1.0);
        panel.bar("two", "first", 20_000.0);
        panel.bar("one", "second", 3.0);
        let drawn = svg("title", &[panel]);
        assert!(drawn.contains("a &lt; b") && drawn.contains(">20k<"));
        // A key and two bars, a key and one bar.
        assert_eq!((drawn.matches(COLOURS[0]).count(), drawn.matches(COLOURS[1]).count()), (3, 2));
    }
}
