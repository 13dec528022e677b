//! The verdict, in a form that a person reads at a glance.

use std::fmt;
use std::time::Duration;

use crate::demo::measure::Quantiles;

/// One claim of the demo and whether it held.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// What was claimed.
    pub(crate) claim: &'static str,
    /// Whether it held.
    pub(crate) held: bool,
    /// What was seen.
    pub(crate) seen: String,
}

/// Everything the demo found out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// How packets travelled: XDP native, XDP generic or io_uring, and where.
    pub(crate) path: String,
    /// The cryptographic kernel that the daemon chose.
    pub(crate) kernel: String,
    /// Packets received and sent by the gateway.
    pub(crate) packets: (u64, u64),
    /// Packets dropped, by reason; only reasons that occurred.
    pub(crate) drops: Vec<(String, u64)>,
    /// From the peers' packet leaving to its coming back, on the wire.
    pub(crate) wire_latency: Quantiles,
    /// From the worker's reading a packet to its handing it on, by the worker's own clock.
    pub(crate) worker_latency: Option<Quantiles>,
    /// The checks, in order.
    pub(crate) checks: Vec<Check>,
    /// How long it all took.
    pub(crate) took: Duration,
}

impl Report {
    /// Adds a check.
    pub(crate) fn check(&mut self, claim: &'static str, held: bool, seen: impl Into<String>) {
        self.checks.push(Check { claim, held, seen: seen.into() });
    }

    /// Whether every check held, and there was at least one.
    pub(crate) fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.held)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (received, sent) = self.packets;
        writeln!(f, "\n  path      {}", self.path)?;
        writeln!(f, "  kernel    {}", self.kernel)?;
        writeln!(f, "  packets   {received} in, {sent} out")?;
        writeln!(f, "  dropped   {}", drops(&self.drops))?;
        writeln!(f, "  latency   {} on the wire, there and back", quantiles(&self.wire_latency))?;
        if let Some(worker) = &self.worker_latency {
            writeln!(f, "            {} inside the worker", quantiles(worker))?;
        }
        writeln!(f)?;
        for check in &self.checks {
            let mark = if check.held { "✓" } else { "✗" };
            writeln!(f, "  {mark} {}", check.claim)?;
            writeln!(f, "      {}", check.seen)?;
        }
        let failed = self.checks.iter().filter(|check| !check.held).count();
        let seconds = self.took.as_secs_f32();
        match failed {
            0 => writeln!(f, "\n  All {} checks passed in {seconds:.1} s.", self.checks.len()),
            _ => writeln!(f, "\n  {failed} of {} checks FAILED ({seconds:.1} s).", self.checks.len()),
        }
    }
}

fn drops(drops: &[(String, u64)]) -> String {
    if drops.is_empty() {
        return "nothing".to_owned();
    }
    let parts: Vec<_> = drops.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.join(", ")
}

fn quantiles(quantiles: &Quantiles) -> String {
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    let (p50, p99) = (micros(quantiles.p50), micros(quantiles.p99));
    format!("p50 {p50:.0} µs, p99 {p99:.0} µs over {} packets", quantiles.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_check_fails_the_report_and_no_check_at_all_does_too() {
        let mut report = Report::default();
        assert!(!report.passed());
        report.check("first", true, "");
        assert!(report.passed());
        report.check("second", false, "");
        assert!(!report.passed());
        assert!(report.to_string().contains("1 of 2 checks FAILED"));
    }
}
