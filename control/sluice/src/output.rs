//! Writing to the terminal, or to a pipe that its reader may close.

use std::io::{self, ErrorKind, Write};

use comfy_table::presets;
use comfy_table::{CellAlignment, ContentArrangement, Table};

/// Writes to standard output. That a reader such as `head` has had enough is not an error: the process
/// ends as if it had been told so.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// Writes indented JSON to standard output.
pub(crate) fn json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// An empty table with these column titles, as wide as the terminal; in a pipe as wide as it needs.
pub(crate) fn table<const N: usize>(titles: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(titles);
    table
}

/// Aligns these columns to the right: numbers.
pub(crate) fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// A table's text, without a left margin and without trailing blanks.
pub(crate) fn render(table: &Table) -> String {
    let text = table.to_string();
    let margin = text.lines().all(|line| line.starts_with(' ') || line.is_empty());
    let lines = text.lines().map(|line| if margin { line.strip_prefix(' ').unwrap_or(line) } else { line });
    lines.fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// A number with its thousands apart: `1 234 567`.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `one packet`, `2 packets`: a count with its noun.
pub(crate) fn count(value: u64, noun: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let texts = [0, 999, 1000, 1_234_567].map(number);
        assert_eq!(texts, ["0", "999", "1 000", "1 234 567"]);
        assert_eq!(count(1, "packet"), "1 packet");
        assert_eq!(count(0, "packet"), "0 packets");
    }

    #[test]
    fn a_table_has_no_margin_and_no_trailing_blanks() {
        let mut table = table(["a", "b"]);
        table.add_row(["1", "long text"]);
        assert_eq!(render(&table), "a  b\n1  long text\n");
    }
}
