//! The bench on the wire: what one core forwards, measured between a generator and a sink that checks every packet.
//!
//! ```text
//! measure ─▶ Bed (two namespaces, a wire) ─▶ Forwarder (the device) ─▶ Tester (generator and sink) ─▶ Row
//! ```
//!
//! `sluice bench wire` measures Sluice; `just bench-wire` puts other devices beside it.

pub mod bed;
pub mod case;
pub mod engine;
pub mod forwarder;
pub mod idle;
pub mod measure;
pub mod media;
pub mod rows;
pub mod search;
pub mod tester;
pub mod through;

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::demo::{interrupt, namespace};
use bed::Plan;
use engine::Sluice;
use forwarder::Forwarder;
use measure::{Extent, measure};
use rows::{Row, Section, Style};
use through::{PassThrough, Reflecting};

/// What `sluice bench` can measure.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Bench {
    /// What one core forwards between a generator and a verifying sink, on veth or on two cabled NICs (root).
    Wire(Options),
}

/// What a bench on the wire may be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Fewer and shorter runs: figures of a first look.
    #[arg(long)]
    pub quick: bool,
    /// Write the rows as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The device's interface, cabled to --tester-interface; both are moved to network namespaces for the time of the
    /// bench, and come back without their addresses. Default: a veth pair.
    #[arg(long, value_name = "NAME", requires = "tester_interface")]
    pub interface: Option<String>,
    /// The tester's interface.
    #[arg(long, value_name = "NAME", requires = "interface")]
    pub tester_interface: Option<String>,
    /// The CPU of the device; default: the last one.
    #[arg(long, value_name = "NUMBER", requires = "tester_cpu")]
    pub cpu: Option<usize>,
    /// The CPU of generator and sink; default: the first one.
    #[arg(long, value_name = "NUMBER", requires = "cpu")]
    pub tester_cpu: Option<usize>,
    /// Only these figures: relay, loss-free, latency, scale, fanout.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Calls of figures that are not about their number.
    #[arg(long, default_value_t = 50)]
    pub calls: usize,
    /// Callers' packets per second while legs are counted up (figure scale).
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000)]
    pub rate: u32,
    /// Seconds of each run.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,
    /// Runs of which the best counts.
    #[arg(long)]
    pub runs: Option<usize>,
}

impl Options {
    /// What they mean.
    pub fn extent(&self) -> Result<Extent> {
        let (runs, seconds) = if self.quick { (2, 0.2) } else { (5, 0.5) };
        let seconds = self.seconds.unwrap_or(seconds);
        ensure!(
            seconds > 0.0 && seconds <= 3600.0,
            "--seconds {seconds}: a run takes more than 0 and at most 3600"
        );
        let runs = self.runs.unwrap_or(runs);
        ensure!((1..=1000).contains(&runs), "--runs {runs}: 1 to 1000");
        ensure!((1..=100_000_000).contains(&self.rate), "--rate {}: 1 to 100,000,000", self.rate);
        ensure!((1..=9000).contains(&self.calls), "--calls {}: 1 to 9000", self.calls);
        Ok(Extent {
            plan: Plan {
                interfaces: self.interface.clone().zip(self.tester_interface.clone()),
                cpus: self.cpu.zip(self.tester_cpu),
                mtu: 1500,
            },
            payloads: if self.quick { vec![160] } else { vec![160, 1200] },
            calls: self.calls,
            runs,
            time: Duration::from_secs_f64(seconds),
            sections: self.sections()?,
            scale: if self.quick { vec![2, 100, 10_000] } else { vec![2, 100, 10_000, 100_000] },
            scale_rate: self.rate.into(),
            fanout: if self.quick { vec![1, 10] } else { vec![1, 10, 100, 1000] },
        })
    }

    fn sections(&self) -> Result<Vec<Section>> {
        let all = [
            ("relay", Section::Relay),
            ("loss-free", Section::LossFree),
            ("latency", Section::Latency),
            ("scale", Section::Scale),
            ("fanout", Section::Fanout),
        ];
        if self.only.is_empty() {
            return Ok(all.map(|(_, section)| section).to_vec());
        }
        let names = all.map(|(name, _)| name).join(", ");
        let of = |wanted: &String| all.iter().find(|(name, _)| name == wanted).map(|(_, section)| *section);
        self.only
            .iter()
            .map(|wanted| of(wanted).with_context(|| format!("--only {wanted}: there are {names}")))
            .collect()
    }
}

/// Measures Sluice on the wire, and prints what came out.
pub fn run(bench: &Bench) -> Result<()> {
    let Bench::Wire(options) = bench;
    let devices: [&dyn Forwarder; 4] = [&Sluice::AfXdp, &Sluice::IoUring, &PassThrough, &Reflecting];
    println!("{}", describe(options, &devices)?);
    let rows = wire(options, &devices)?;
    print!("{}", rows::tables(&rows, Style::Terminal));
    Ok(())
}

/// How will be measured, and what: a list for terminals and records.
pub fn describe(options: &Options, devices: &[&dyn Forwarder]) -> Result<String> {
    let extent = options.extent()?;
    let wire = match &extent.plan.interfaces {
        Some((device, tester)) => format!("{device} (device) cabled to {tester} (tester)"),
        None => "a veth pair, one forwarding core, generator and sink on another".to_owned(),
    };
    let mut text = format!(
        "- wire: {wire}\n- best of {} runs of {} ms each; each packet is new and valid, and checked at the sink\n\
         - CPU: what the device's core did, kernel and interrupts included, per packet to a listener\n",
        extent.runs,
        extent.time.as_millis()
    );
    for device in devices {
        let _ = writeln!(text, "- {}: {}", device.path(), device.version());
    }
    Ok(text)
}

/// Measures `devices` on the wire; rows are told as they come, and written where the options say.
pub fn wire(options: &Options, devices: &[&dyn Forwarder]) -> Result<Vec<Row>> {
    ensure!(rustix::process::geteuid().is_root(), "network namespaces, XDP and AF_XDP sockets need root");
    let extent = options.extent()?;
    let signals = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    interrupt::watch(&signals)?;
    namespace::sweep();
    let rows = measure(&extent, devices, |row| {
        eprintln!(
            "{:<17} {:>23} → {:<23} {:>4} B {:>6} legs ×{:<4} {:>8.0} packets/s {:>6.0} ns p99 {:.0} µs, {} lost",
            row.path,
            row.from,
            row.to,
            row.payload,
            row.legs,
            row.fanout,
            row.pps,
            row.cpu_ns_per_packet,
            row.p99_us,
            row.lost
        );
    })?;
    ensure!(!rows.is_empty(), "nothing could be measured: every case failed");
    if let Some(file) = &options.json {
        std::fs::write(file, rows::json(&rows)?).with_context(|| file.display().to_string())?;
    }
    Ok(rows)
}
