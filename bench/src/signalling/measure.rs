//! The plan of a run: which gateways, which calls, how often.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tools::bench::bed::{Bed, Plan, bind_to};
use sluice_tools::demo::namespace;
use tokio::task::LocalSet;
use tonic::transport::Channel;

use super::daemon::Way;
use super::desk::{Desk, Kind, Sluice};
use super::keys::{self, Legs, Operation};
use super::load::{Numbers, Outcome, as_fast_as_it_goes, at_a_rate};
use super::rows::{CallRow, KeyRow, Rows};
use super::rtpengine;
use super::sdp::Security::{Plain, Sdes};
use crate::daemon::{Daemon, cpu_time};

/// Connections that desks share, as the workers of a SIP server do.
const CONNECTIONS: usize = 4;
/// Before what counts.
const WARM_UP: Duration = Duration::from_millis(500);
const KINDS: [Kind; 3] = [
    Kind { caller: Sdes, callee: Sdes, video: false },
    Kind { caller: Sdes, callee: Plain, video: false },
    Kind { caller: Sdes, callee: Sdes, video: true },
];

static NUMBERS: Numbers = Numbers::new();

/// What the bench may be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Fewer and shorter runs: figures of a first look.
    #[arg(long)]
    pub quick: bool,
    /// Write the rows as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The CPU of the gateway; default: the last one.
    #[arg(long, value_name = "NUMBER", requires = "tester_cpu")]
    pub cpu: Option<usize>,
    /// The CPU of who sets calls up; default: the first one.
    #[arg(long, value_name = "NUMBER", requires = "cpu")]
    pub tester_cpu: Option<usize>,
    /// Only this: calls, keys, rtpengine.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "calls,keys,rtpengine")]
    pub only: Vec<String>,
    /// Desks that set up one call after the other.
    #[arg(long, default_value_t = 16)]
    pub desks: usize,
    /// Calls a second, where it is not as many as it takes; default: half of those.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Calls that stand all the while.
    #[arg(long, default_value_t = 1000)]
    pub standing: u64,
    /// Seconds of each run.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,
    /// Runs of which the best counts.
    #[arg(long)]
    pub runs: Option<usize>,
}

impl Options {
    fn check(&self) -> Result<()> {
        ensure!(rustix::process::geteuid().is_root(), "network namespaces and XDP need root");
        let known = ["calls", "keys", "rtpengine"];
        for name in &self.only {
            ensure!(known.contains(&name.as_str()), "--only {name}: there are {}", known.join(", "));
        }
        ensure!((1..=1000).contains(&self.desks), "--desks {}: 1 to 1000", self.desks);
        ensure!((1..=1000).contains(&self.runs()), "--runs {}: 1 to 1000", self.runs());
        let possible = self.rate.is_none_or(|rate| (1.0..=1e6).contains(&rate));
        ensure!(possible, "--rate {}: 1 to 1,000,000", self.rate.unwrap_or_default());
        ensure!(self.standing <= 4000, "--standing {}: at most 4000", self.standing);
        let seconds = self.time().as_secs_f64();
        ensure!(seconds > 0.0 && seconds <= 3600.0, "--seconds {seconds}: more than 0 and at most 3600");
        Ok(())
    }

    fn runs(&self) -> usize {
        self.runs.unwrap_or(if self.quick { 2 } else { 5 })
    }

    fn time(&self) -> Duration {
        let seconds = self.seconds.unwrap_or(if self.quick { 0.5 } else { 2.0 });
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    fn kinds(&self) -> &'static [Kind] {
        if self.quick { &KINDS[..1] } else { &KINDS }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.iter().any(|only| only == name)
    }
}

/// How will be measured: a list for terminals and records.
pub fn describe(options: &Options) -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "- the gateway has one CPU for all its threads, who sets calls up another; best of {} runs of {} ms each\n\
         - a call: offer with four a=crypto lines, answer, end; over {CONNECTIONS} connections on the Unix socket; {} \
         calls stand all the while\n\
         - CPU: what the gateway's threads took\n\
         - load of the machine before the run (1, 5, 15 minutes): {}\n",
        options.runs(),
        options.time().as_millis(),
        options.standing,
        load.split(' ').take(3).collect::<Vec<_>>().join(", "),
    )
}

/// Measures; each row is told as it comes.
pub fn measure(options: &Options) -> Result<Rows> {
    options.check()?;
    namespace::sweep();
    let plan = Plan { interfaces: None, cpus: options.cpu.zip(options.tester_cpu), mtu: 1500 };
    let bed = Bed::build(&plan, 1)?;
    bind_to(None, bed.tester.cpu)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut run = Run { options, bed: &bed, rows: Rows::default() };
    LocalSet::new().block_on(&runtime, run.all())?;
    let rows = run.rows;
    ensure!(!rows.calls.is_empty() || !rows.keys.is_empty(), "nothing was measured");
    if let Some(file) = &options.json {
        std::fs::write(file, rows.json()?).with_context(|| file.display().to_string())?;
    }
    Ok(rows)
}

struct Run<'a> {
    options: &'a Options,
    bed: &'a Bed,
    rows: Rows,
}

/// Who is measured.
struct Subject {
    name: &'static str,
    version: String,
    process: u32,
}

impl Run<'_> {
    async fn all(&mut self) -> Result<()> {
        let ours = self.options.wants("calls") || self.options.wants("keys");
        for way in [Way::IoUring, Way::AfXdp].into_iter().filter(|_| ours) {
            let mut daemon = way.start(self.bed)?;
            let done = self.sluice(&mut daemon, way).await;
            done.with_context(|| format!("{}; it says: {}", way.name(), daemon.last_words()))?;
        }
        match rtpengine::installed() {
            Some(version) if self.options.wants("rtpengine") => {
                self.rtpengine(version).await.context("rtpengine")?;
            }
            Some(_) => {}
            None => println!("MISSING: rtpengine: apt-get install rtpengine-daemon"),
        }
        Ok(())
    }

    async fn sluice(&mut self, daemon: &mut Daemon, way: Way) -> Result<()> {
        let mut channels = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            channels.push(daemon.connect().await?);
        }
        self.bed.pin()?;
        let version = format!("sluice {}", env!("CARGO_PKG_VERSION"));
        let subject = Subject { name: way.name(), version, process: daemon.id() };
        if self.options.wants("calls") {
            let connections = channels.iter().cycle().take(self.options.desks);
            let desks: Vec<_> = connections.map(|channel| Sluice::new(channel.clone())).collect();
            for kind in self.options.kinds() {
                let most = self.as_many_as_it_takes(&subject, *kind, || Ok(desks.clone())).await?;
                let rate = self.options.rate.unwrap_or(most / 2.0);
                self.due(&subject, *kind, &desks, rate).await?;
            }
        }
        if self.options.wants("keys") {
            self.keys(&subject, &channels[0]).await?;
        }
        Ok(())
    }

    async fn rtpengine(&mut self, version: String) -> Result<()> {
        for kind in self.options.kinds() {
            let daemon = rtpengine::Daemon::start(self.bed)?;
            let subject = Subject { name: "rtpengine", version: version.clone(), process: daemon.id() };
            let desks = || (0..self.options.desks).map(|_| daemon.desk(self.bed)).collect();
            let (options, bed) = (self.options, self.bed);
            let mut run = Run { options, bed, rows: Rows::default() };
            run.as_many_as_it_takes(&subject, *kind, desks).await?;
            self.rows.calls.append(&mut run.rows.calls);
        }
        Ok(())
    }

    /// The rate of the best run.
    async fn as_many_as_it_takes<D: Desk + 'static>(
        &mut self,
        subject: &Subject,
        kind: Kind,
        desks: impl Fn() -> Result<Vec<D>>,
    ) -> Result<f64> {
        let standing = stand(&mut desks()?, kind, self.options.standing).await?;
        as_fast_as_it_goes(desks()?, kind, &NUMBERS, WARM_UP).await?;
        let mut runs = Vec::new();
        for _ in 0..self.options.runs() {
            let before = cpu_time(subject.process)?;
            let outcome = as_fast_as_it_goes(desks()?, kind, &NUMBERS, self.options.time()).await?;
            runs.push((outcome, cpu_time(subject.process)?.saturating_sub(before)));
        }
        fall(&mut desks()?, standing).await?;
        let median = median(runs.iter().map(|(outcome, _)| rate(outcome)).collect());
        let best = runs.into_iter().max_by(|(a, _), (b, _)| rate(a).total_cmp(&rate(b)));
        let (outcome, cpu) = best.context("no run")?;
        self.note(subject, kind, (Some(self.options.desks), None), (&outcome, cpu, median));
        Ok(rate(&outcome))
    }

    async fn due(&mut self, subject: &Subject, kind: Kind, desks: &[Sluice], offered: f64) -> Result<()> {
        let standing = stand(&mut desks.to_vec(), kind, self.options.standing).await?;
        let load = (offered, self.options.time());
        let mut runs = Vec::new();
        for _ in 0..self.options.runs() {
            let before = cpu_time(subject.process)?;
            match at_a_rate(desks, kind, &NUMBERS, load).await {
                Ok(outcome) => runs.push((outcome, cpu_time(subject.process)?.saturating_sub(before))),
                Err(error) => eprintln!("{}, {}: {error:#}", subject.name, kind.name()),
            }
        }
        fall(&mut desks.to_vec(), standing).await?;
        let median = median(runs.iter().map(|(outcome, _)| rate(outcome)).collect());
        let p99 = |outcome: &Outcome| outcome.times[3].value_at_quantile(0.99);
        let best = runs.into_iter().min_by_key(|(outcome, _)| p99(outcome));
        if let Some((outcome, cpu)) = best {
            self.note(subject, kind, (None, Some(offered)), (&outcome, cpu, median));
        }
        Ok(())
    }

    fn note(
        &mut self,
        subject: &Subject,
        kind: Kind,
        (desks, offered): (Option<usize>, Option<f64>),
        (outcome, cpu, median): (&Outcome, Duration, f64),
    ) {
        let [offer, answer, end, call] = outcome.times.each_ref().map(Into::into);
        let row = CallRow {
            gateway: subject.name.into(),
            version: subject.version.clone(),
            kind: kind.name(),
            standing: self.options.standing as usize,
            desks,
            offered,
            calls_per_second: rate(outcome),
            median_calls_per_second: median,
            cpu_us_per_call: cpu.as_secs_f64() * 1e6 / outcome.calls.max(1) as f64,
            offer,
            answer,
            end,
            call,
        };
        eprintln!(
            "{:<16} {:<32} {:>5} calls/s, {:>4.0} µs CPU each, offer {:.0}/{:.0} answer {:.0}/{:.0} end {:.0}/{:.0} \
             call {:.0}/{:.0} µs (p50/p99)",
            row.gateway,
            row.kind,
            row.calls_per_second as u64,
            row.cpu_us_per_call,
            offer.p50_us,
            offer.p99_us,
            answer.p50_us,
            answer.p99_us,
            end.p50_us,
            end.p99_us,
            call.p50_us,
            call.p99_us
        );
        self.rows.calls.push(row);
    }

    async fn keys(&mut self, subject: &Subject, channel: &Channel) -> Result<()> {
        let mut runs = [Operation::Install, Operation::Rekey].map(|operation| (operation, Vec::new()));
        // One more than counts: the first is to warm up.
        for round in 0..=self.options.runs() {
            let legs = Legs::create(channel.clone(), round).await?;
            for (operation, runs) in &mut runs {
                let before = cpu_time(subject.process)?;
                let outcome = legs.give(*operation).await?;
                if round > 0 {
                    runs.push((outcome, cpu_time(subject.process)?.saturating_sub(before)));
                }
            }
            legs.remove().await?;
        }
        for (operation, runs) in runs {
            let rate = |outcome: &keys::Outcome| outcome.keys as f64 / outcome.elapsed.as_secs_f64();
            let median = median(runs.iter().map(|(outcome, _)| rate(outcome)).collect());
            let best = runs.into_iter().max_by(|(a, _), (b, _)| rate(a).total_cmp(&rate(b)));
            let (outcome, cpu) = best.context("no run")?;
            let row = KeyRow {
                gateway: subject.name.into(),
                version: subject.version.clone(),
                operation: operation.name().into(),
                batch: keys::BATCH,
                legs: keys::LEGS,
                keys_per_second: rate(&outcome),
                median_keys_per_second: median,
                cpu_us_per_key: cpu.as_secs_f64() * 1e6 / outcome.keys as f64,
                request: (&outcome.batches).into(),
            };
            eprintln!(
                "{:<16} {:<12} {:>7.0} keys/s, {:.2} µs CPU each",
                row.gateway, row.operation, row.keys_per_second, row.cpu_us_per_key
            );
            self.rows.keys.push(row);
        }
        Ok(())
    }
}

/// Sets up calls that stay; their numbers.
async fn stand<D: Desk>(desks: &mut [D], kind: Kind, calls: u64) -> Result<Vec<u64>> {
    let desk = desks.first_mut().context("no desk")?;
    let mut standing = Vec::new();
    for _ in 0..calls {
        let number = NUMBERS.next();
        desk.begin(kind, number).await?;
        standing.push(number);
    }
    Ok(standing)
}

async fn fall<D: Desk>(desks: &mut [D], standing: Vec<u64>) -> Result<()> {
    let desk = desks.first_mut().context("no desk")?;
    for number in standing {
        desk.end(number).await?;
    }
    Ok(())
}

fn rate(outcome: &Outcome) -> f64 {
    outcome.calls as f64 / outcome.elapsed.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
