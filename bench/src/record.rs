//! Records of runs, kept in the repository per CPU and date: `bench/record/<cpu>/<date>.*`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::machine::{cpu, slug, today};
use crate::plot;
use crate::report::{Row, Style, csv, tables};

/// Writes the rows as CSV, a plot, and a page with `summary` and the tables; returns the page's path.
pub fn write(folder: &Path, rows: &[Row], summary: &str) -> anyhow::Result<PathBuf> {
    let (cpu, date) = (cpu(), today());
    let folder = folder.join(slug(&cpu));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let file = |extension: &str| folder.join(format!("{date}.{extension}"));

    let sessions = rows.iter().map(|row| row.sessions).find(|sessions| *sessions == 1000);
    let sessions = sessions.or(rows.first().map(|row| row.sessions)).unwrap_or(1);
    let page = format!(
        "# SRTP engines on {cpu}, {date}\n\n{summary}\n\n![Nanoseconds per packet]({date}.svg)\n{}",
        tables(rows, Style::Markdown)
    );
    for (extension, content) in
        [("csv", csv(rows)), ("svg", plot::svg(rows, sessions, &format!("{cpu}, {date}"))), ("md", page)]
    {
        let path = file(extension);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(file("md"))
}
