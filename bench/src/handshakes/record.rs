//! Records of runs, kept in the repository per CPU and date: `bench/record/<cpu>/handshakes-<date>.*`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::rows::{Rows, Style};
use crate::machine::{cpu, slug, today};

/// Writes the rows as JSON, and a page with `summary` and the tables; returns the page's path.
pub fn write(folder: &Path, rows: &Rows, summary: &str) -> anyhow::Result<PathBuf> {
    let (cpu, date) = (cpu(), today());
    let folder = folder.join(slug(&cpu));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let file = |extension: &str| folder.join(format!("handshakes-{date}.{extension}"));
    let page = format!("# DTLS-SRTP handshakes, {cpu}, {date}\n\n{summary}{}", rows.tables(Style::Markdown));
    for (extension, content) in [("json", rows.json()?), ("md", page)] {
        let path = file(extension);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(file("md"))
}
