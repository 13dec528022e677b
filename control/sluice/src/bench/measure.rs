//! Measuring: each device gets each case, and the best of several runs counts.

use std::time::Duration;

use anyhow::{Context, Result};

use super::bed::{Bed, Plan};
use super::case::{CM, Case, GCM, Protection};
use super::forwarder::Forwarder;
use super::idle::IdleMeter;
use super::rows::{Row, Section};
use super::search::highest;
use super::tester::{Load, Outcome, Tester};
use crate::demo::interrupt;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The wire.
    pub plan: Plan,
    /// Octets of payload.
    pub payloads: Vec<usize>,
    /// Calls of cases that are not about their number.
    pub calls: usize,
    /// Runs of which the best counts.
    pub runs: usize,
    /// How long each is.
    pub time: Duration,
    /// Which figures.
    pub sections: Vec<Section>,
    /// Numbers of legs for [`Section::Scale`].
    pub scale: Vec<usize>,
    /// Callers' packets per second for it.
    pub scale_rate: f64,
    /// Numbers of listeners for [`Section::Fanout`].
    pub fanout: Vec<usize>,
}

/// Packets under way while a device's capacity is measured: three of its batches. A veth device's ring has room for 241.
const WINDOW: u64 = 192;
/// Loss-free rates are found to within so much of them.
const RESOLUTION: f64 = 0.02;
/// Trials of a rate of which one must be without loss: on a machine that others share, a pause of the machine is no
/// fault of the device.
const TRIALS: usize = 3;
/// Shares of the loss-free rate at which latency is measured, in percent.
const LOADS: [u32; 3] = [10, 50, 80];

/// What protects the two sides, in the order of measuring.
pub const PAIRS: [(Protection, Protection); 4] =
    [(CM, Protection::Rtp), (Protection::Rtp, CM), (CM, GCM), (GCM, CM)];

/// Measures all that is wanted of all `devices`; `progress` is told of every row.
pub fn measure(
    extent: &Extent,
    devices: &[&dyn Forwarder],
    mut progress: impl FnMut(&Row),
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut keep = |row: Row| {
        progress(&row);
        rows.push(row);
    };
    for section in &extent.sections {
        match section {
            Section::Relay => relay(extent, devices, &mut keep)?,
            Section::Scale => scale(extent, devices, &mut keep)?,
            Section::Fanout => fanout(extent, devices, &mut keep)?,
            Section::LossFree | Section::Latency => loss_free(extent, devices, *section, &mut keep)?,
        }
    }
    Ok(rows)
}

fn relay(extent: &Extent, devices: &[&dyn Forwarder], keep: &mut impl FnMut(Row)) -> Result<()> {
    for payload in &extent.payloads {
        for (from, to) in PAIRS {
            let case = Case::new(from, to, *payload, extent.calls);
            for device in devices.iter().filter(|device| device.can(&case)) {
                let load = Load::Window(WINDOW);
                told(with(extent, *device, &case, |bench| bench.best(Section::Relay, load)))?.map(&mut *keep);
            }
        }
    }
    Ok(())
}

/// The same rate over more and more legs, on one local port as so many have it; and on ports of their own.
fn scale(extent: &Extent, devices: &[&dyn Forwarder], keep: &mut impl FnMut(Row)) -> Result<()> {
    for shared_port in [true, false] {
        for legs in &extent.scale {
            let case = Case { shared_port, ..Case::new(CM, GCM, 160, legs.div_ceil(2)) };
            for device in devices.iter().filter(|device| device.can(&case)) {
                let load = Load::Rate(extent.scale_rate);
                told(with(extent, *device, &case, |bench| bench.best(Section::Scale, load)))?.map(&mut *keep);
            }
        }
    }
    Ok(())
}

fn fanout(extent: &Extent, devices: &[&dyn Forwarder], keep: &mut impl FnMut(Row)) -> Result<()> {
    for fanout in &extent.fanout {
        for shared_key in [false, true] {
            let case = Case { fanout: *fanout, shared_key, ..Case::new(CM, CM, 160, 1) };
            if shared_key && *fanout == 1 {
                continue;
            }
            for device in devices.iter().filter(|device| device.can(&case)) {
                // One packet more than what fits would be lost, were it not for what the device has taken meanwhile.
                let window = WINDOW.max(*fanout as u64);
                let load = Load::Window(window);
                told(with(extent, *device, &case, |bench| bench.best(Section::Fanout, load)))?
                    .map(&mut *keep);
            }
        }
    }
    Ok(())
}

/// Loss-free rates, and latencies under shares of them.
fn loss_free(
    extent: &Extent,
    devices: &[&dyn Forwarder],
    section: Section,
    keep: &mut impl FnMut(Row),
) -> Result<()> {
    if section == Section::Latency && extent.sections.contains(&Section::LossFree) {
        return Ok(());
    }
    let case = Case::new(CM, GCM, 160, extent.calls);
    for device in devices.iter().filter(|device| device.can(&case)) {
        #[allow(clippy::redundant_closure_for_method_calls, reason = "the method is not general enough")]
        let rows = told(with(extent, *device, &case, |bench| bench.loss_free()))?;
        for row in rows.into_iter().flatten() {
            if extent.sections.contains(&row.section) {
                keep(row);
            }
        }
    }
    Ok(())
}

/// What a device that failed at a case leaves out is told, and the others go on.
fn told<T>(outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Err(error) if !interrupt::requested() => {
            eprintln!("FAILED: {error:#}");
            Ok(None)
        }
        outcome => outcome.map(Some),
    }
}

/// A device that runs, its tester, and the meter of its CPU.
struct Bench<'a> {
    extent: &'a Extent,
    case: &'a Case,
    path: &'static str,
    version: String,
    tester: Tester,
    meter: IdleMeter,
}

/// Builds a bed for the case, starts the device on it, and has `work` done at the tester's end.
fn with<T: Send>(
    extent: &Extent,
    device: &dyn Forwarder,
    case: &Case,
    work: impl FnOnce(&mut Bench<'_>) -> Result<T> + Send,
) -> Result<T> {
    let bed = Bed::build(&extent.plan, case.calls.max(case.listeners()))?;
    let running = device.start(&bed, case).with_context(|| format!("{} does not start", device.path()))?;
    let (path, version) = (device.path(), device.version());
    let outcome = bed.tester.run(|| {
        let tester = Tester::open(&bed, case, &*running)?;
        bed.pin()?;
        let meter = IdleMeter::start(bed.device.cpu)?;
        let mut bench = Bench { extent, case, path, version, tester, meter };
        bench.tester.warm_up()?;
        work(&mut bench)
    });
    outcome.with_context(|| format!("{path}, {case:?}; dropped: {:?}", running.drops()))
}

impl Bench<'_> {
    /// The best of several runs: for a window the one with the highest rate, for a rate that with the least CPU.
    fn best(&mut self, section: Section, load: Load) -> Result<Row> {
        let mut best: Option<Row> = None;
        for _ in 0..self.extent.runs {
            let row = self.run(section, load, self.extent.time)?;
            let better = best.as_ref().is_none_or(|best| match load {
                Load::Window(_) => row.pps > best.pps,
                Load::Rate(_) => row.cpu_ns_per_packet < best.cpu_ns_per_packet,
            });
            if better {
                best = Some(row);
            }
        }
        best.context("no runs were asked for")
    }

    fn loss_free(&mut self) -> Result<Vec<Row>> {
        let capacity = self.best(Section::Relay, Load::Window(WINDOW))?.pps;
        let time = 2 * self.extent.time;
        let rate = highest(capacity * 1.1, RESOLUTION, |rate| {
            for _ in 0..TRIALS {
                let outcome = self.tester.run(Load::Rate(rate), time)?;
                if outcome.lost == 0 && outcome.skipped == 0 {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        let mut rows = vec![self.run(Section::LossFree, Load::Rate(rate), time)?];
        for percent in LOADS {
            let load = Load::Rate(rate * f64::from(percent) / 100.0);
            let mut row = self.run(Section::Latency, load, time)?;
            row.load_percent = Some(percent);
            rows.push(row);
        }
        Ok(rows)
    }

    fn run(&mut self, section: Section, load: Load, time: Duration) -> Result<Row> {
        let before = self.meter.read()?;
        let outcome = self.tester.run(load, time)?;
        let busy = self.meter.busy_since(before)?;
        let us = |outcome: &Outcome, quantile| outcome.latency.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Row {
            pps: outcome.rate(),
            cpu_ns_per_packet: busy as f64 / outcome.good.max(1) as f64,
            p50_us: us(&outcome, 0.5),
            p99_us: us(&outcome, 0.99),
            p999_us: us(&outcome, 0.999),
            offered_pps: match load {
                Load::Rate(_) => Some(outcome.sent as f64 / outcome.elapsed.as_secs_f64()),
                Load::Window(_) => None,
            },
            lost: outcome.lost,
            ..Row::of(section, self.path, self.version.clone(), self.case)
        })
    }
}
