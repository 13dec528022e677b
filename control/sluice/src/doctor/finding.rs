//! A finding, and how findings are shown.

use std::fmt::Write as _;

use serde::Serialize;

/// How a finding bears on Sluice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be, or of no account.
    Ok,
    /// Sluice runs, but slower or with less.
    Warn,
    /// Sluice does not run.
    Fail,
}

/// What was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    area: &'static str,
    subject: String,
    level: Level,
    found: String,
    /// What to do; nothing if all is well.
    remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(area: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { area, subject: subject.into(), level: Level::Ok, found: found.into(), remedy: None }
    }

    pub(super) fn warn(
        area: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warn, remedy: Some(remedy.into()), ..Self::ok(area, subject, found) }
    }

    pub(super) fn fail(
        area: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Fail, remedy: Some(remedy.into()), ..Self::ok(area, subject, found) }
    }

    #[cfg(test)]
    pub(super) const fn level(&self) -> Level {
        self.level
    }

    #[cfg(test)]
    pub(super) fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }
}

/// All findings.
#[derive(Serialize)]
pub(super) struct Report {
    version: &'static str,
    worst: Level,
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        Self { version: env!("CARGO_PKG_VERSION"), worst, findings }
    }

    pub(super) const fn worst(&self) -> Level {
        self.worst
    }

    /// The findings by area, remedies under those that need one, and a last line that says it all.
    pub(super) fn text(&self) -> String {
        let width = self.findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        let mut area = "";
        for finding in &self.findings {
            if finding.area != area {
                let gap = if area.is_empty() { "" } else { "\n" };
                area = finding.area;
                let _ = writeln!(text, "{gap}{area}");
            }
            let mark = match finding.level {
                Level::Ok => "ok  ",
                Level::Warn => "WARN",
                Level::Fail => "FAIL",
            };
            let _ = writeln!(text, "  {mark}  {:width$}  {}", finding.subject, finding.found);
            if let Some(remedy) = &finding.remedy {
                let _ = writeln!(text, "        {:width$}  → {remedy}", "");
            }
        }
        text + "\n" + &self.conclusion()
    }

    fn conclusion(&self) -> String {
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        match (count(Level::Fail), count(Level::Warn)) {
            (0, 0) => "All is well.\n".to_owned(),
            (0, warnings) => format!("Sluice runs here; {warnings} to look at (WARN).\n"),
            (fails, _) => format!("Sluice does not run here: {fails} to mend (FAIL).\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_stand_under_their_findings_and_the_worst_decides() {
        let report = Report::new(vec![
            Finding::ok("kernel", "version", "6.1"),
            Finding::warn("kernel", "XDP", "no", "do this"),
        ]);
        let expected = "kernel\n  ok    version  6.1\n  WARN  XDP      no\n                 → do this\n\n\
                        Sluice runs here; 1 to look at (WARN).\n";
        assert_eq!(report.text(), expected);
        assert_eq!(report.worst(), Level::Warn);
    }
}
