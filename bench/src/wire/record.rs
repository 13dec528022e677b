//! Records of runs on the wire, kept in the repository per CPU and date: `bench/record/<cpu>/wire-<date>.*`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sluice_tools::bench::rows::{Row, Style, json, tables};

use super::plot;
use crate::machine::{cpu, slug, today};

/// Writes the rows as JSON, a plot, and a page with `summary` and the tables; returns the page's path.
pub fn write(folder: &Path, rows: &[Row], summary: &str) -> anyhow::Result<PathBuf> {
    let (cpu, date) = (cpu(), today());
    let folder = folder.join(slug(&cpu));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let file = |extension: &str| folder.join(format!("wire-{date}.{extension}"));
    let page = format!(
        "# One forwarding core on the wire, {cpu}, {date}\n\n{summary}\n![Packets and costs](wire-{date}.svg)\n{}",
        tables(rows, Style::Markdown)
    );
    for (extension, content) in
        [("json", json(rows)?), ("svg", plot::svg(rows, &format!("{cpu}, {date}"))), ("md", page)]
    {
        let path = file(extension);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(file("md"))
}
