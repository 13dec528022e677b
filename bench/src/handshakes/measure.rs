//! The plan of a run: which servers, which handshakes, how often; and media beside them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sluice_tools::bench::bed::{Bed, Plan, bind_to};
use sluice_tools::demo::namespace;

use super::client::{CIPHER, Client, PROFILE};
use super::gateway::{Gateway, Threads};
use super::openssl::{self, Servers};
use super::rows::{HandshakeRow, KeyRow, MediaRow, Rows};
use super::{beside, one_core};

/// What the bench may be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Fewer and shorter runs: figures of a first look.
    #[arg(long)]
    pub quick: bool,
    /// Write the rows as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The CPU of the servers; default: the last one. Where media is measured the worker's is the lower of the two, as the
    /// daemon chooses it.
    #[arg(long, value_name = "NUMBER", requires = "tester_cpu")]
    pub cpu: Option<usize>,
    /// The CPU of clients; default: the first one.
    #[arg(long, value_name = "NUMBER", requires = "cpu")]
    pub tester_cpu: Option<usize>,
    /// Only this: core, media.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "core,media")]
    pub only: Vec<String>,
    /// Clients that make one handshake after the other; of s_server there are as many processes.
    #[arg(long, default_value_t = 8)]
    pub clients: usize,
    /// Handshakes of each run on one core.
    #[arg(long)]
    pub handshakes: Option<usize>,
    /// Handshakes a second beside media.
    #[arg(long, default_value_t = 500.0)]
    pub rate: f64,
    /// Calls of media, of 50 packets a second each.
    #[arg(long, default_value_t = 20)]
    pub calls: usize,
    /// Seconds of each run of media.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,
    /// Runs: of handshakes the best counts, of media the median.
    #[arg(long)]
    pub runs: Option<usize>,
}

impl Options {
    fn check(&self) -> Result<()> {
        ensure!(rustix::process::geteuid().is_root(), "network namespaces need root");
        let known = ["core", "media"];
        for name in &self.only {
            ensure!(known.contains(&name.as_str()), "--only {name}: there are {}", known.join(", "));
        }
        ensure!((1..=100).contains(&self.clients), "--clients {}: 1 to 100", self.clients);
        let handshakes = self.handshakes();
        ensure!((1..=10_000).contains(&handshakes), "--handshakes {handshakes}: 1 to 10,000");
        ensure!((1.0..=10_000.0).contains(&self.rate), "--rate {}: 1 to 10,000", self.rate);
        ensure!((1..=1000).contains(&self.calls), "--calls {}: 1 to 1000", self.calls);
        ensure!((1..=1000).contains(&self.runs()), "--runs {}: 1 to 1000", self.runs());
        let seconds = self.time().as_secs_f64();
        ensure!(seconds > 0.0 && seconds <= 600.0, "--seconds {seconds}: more than 0 and at most 600");
        let most = self.rate * seconds;
        ensure!(most <= 10_000.0, "--rate and --seconds make {most} handshakes: at most 10,000 a run");
        Ok(())
    }

    /// How often each is measured.
    pub fn runs(&self) -> usize {
        self.runs.unwrap_or(if self.quick { 2 } else { 5 })
    }

    /// Handshakes of a run on one core.
    pub fn handshakes(&self) -> usize {
        self.handshakes.unwrap_or(if self.quick { 400 } else { 3000 })
    }

    /// How long a run of media is.
    pub fn time(&self) -> Duration {
        let seconds = self.seconds.unwrap_or(if self.quick { 1.0 } else { 5.0 });
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    fn wants(&self, name: &str) -> bool {
        self.only.iter().any(|only| only == name)
    }

    fn bed(&self, peers: usize) -> Result<Bed> {
        let plan = Plan { interfaces: None, cpus: self.cpu.zip(self.tester_cpu), mtu: 1500 };
        Bed::build(&plan, peers)
    }
}

/// How will be measured: a list for terminals and records.
pub fn describe(options: &Options) -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "- one core: the server has one CPU for all its threads, {} clients another; best of {} runs of {} handshakes each, \
         the servers in turn\n\
         - DTLS 1.2 with {CIPHER}, X25519 and ECDSA certificates of P-256 at both ends, {PROFILE}; a cookie is asked for, \
         tickets are given; 1.3 is dimpl's at both ends, with its AEAD_AES_256_GCM\n\
         - s_server: as many processes as clients, since one speaks with one client at a time; each association is closed, \
         which Sluice's are not\n\
         - media: {} calls of SRTP from who is keyed by a handshake to RTP, medians of {} runs of {:.1} s each with and \
         without {:.0} handshakes a second, in turn; the worker and what the kernel receives for it have one CPU, and the \
         other has negotiators, API, clients, sender and listener\n\
         - CPU: what the server's threads took; core: what its CPU did, the kernel's receiving included\n\
         - {}\n\
         - load of the machine before the run (1, 5, 15 minutes): {}\n",
        options.clients,
        options.runs(),
        options.handshakes(),
        options.calls,
        options.runs(),
        options.time().as_secs_f64(),
        options.rate,
        openssl::installed().unwrap_or_else(|| "openssl is not installed".into()),
        load.split(' ').take(3).collect::<Vec<_>>().join(", "),
    )
}

/// Measures; each row is told as it comes.
pub fn measure(options: &Options) -> Result<Rows> {
    options.check()?;
    namespace::sweep();
    let mut rows = Rows::default();
    if options.wants("core") {
        rows.handshakes = on_a_thread(|| core(options))?;
    }
    if options.wants("media") {
        (rows.media, rows.keys) = on_a_thread(|| media(options))?;
    }
    ensure!(!rows.handshakes.is_empty() || !rows.media.is_empty(), "nothing was measured");
    if let Some(file) = &options.json {
        std::fs::write(file, rows.json()?).with_context(|| file.display().to_string())?;
    }
    Ok(rows)
}

/// Each part binds its thread to a CPU, and the next one looks anew at those that there are.
fn on_a_thread<T: Send>(part: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(part).join().unwrap_or_else(|_| bail!("it has panicked")))
}

fn core(options: &Options) -> Result<Vec<HandshakeRow>> {
    let bed = options.bed(options.handshakes() + options.clients)?;
    bind_to(None, bed.tester.cpu)?;
    let gateway = Gateway::start(&bed, Threads::Together)?;
    let peer = if let Some(version) = openssl::installed() {
        Some((version, Servers::start(&bed, options.clients)?))
    } else {
        println!("MISSING: openssl s_server: apt-get install openssl");
        None
    };
    bed.pin()?;
    let mut subjects = one_core::Subjects { bed: &bed, client: Client::new()?, gateway, peer };
    let rows = subjects.measure(options);
    rows.with_context(|| format!("sluice says: {}", subjects.gateway.last_words()))
}

fn media(options: &Options) -> Result<(Vec<MediaRow>, Vec<KeyRow>)> {
    let mut bed = options.bed(1)?;
    // The daemon binds its first worker to the first CPU of those that it may use.
    if bed.device.cpu > bed.tester.cpu {
        std::mem::swap(&mut bed.device.cpu, &mut bed.tester.cpu);
    }
    bind_to(None, bed.tester.cpu)?;
    let gateway = Gateway::start(&bed, Threads::Apart)?;
    bed.pin()?;
    let mut site = beside::Site { bed: &bed, client: Client::new()?, gateway };
    let rows = site.measure(options);
    rows.with_context(|| format!("sluice says: {}", site.gateway.last_words()))
}
