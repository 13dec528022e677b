//! Sluice's daemon, with legs that await handshakes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sluice_keying::dtls_srtp::Fingerprint;
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use sluice_proto::v1::sluice_client::SluiceClient;
use sluice_tools::bench::bed::{Bed, DEVICE, Role, peer_address};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use super::client::{Client, SUITES};
use super::load::Leg;
use crate::daemon::{Daemon, cpu_time};

/// Legs of a request.
const BATCH: usize = 1_000;
/// An answer of a thousand legs is large.
const LARGEST_ANSWER: usize = 64 << 20;
/// How long it may take to work off what is left of a load.
const PATIENCE: Duration = Duration::from_secs(30);
/// A daemon that in so long has worked less than that is idle.
const IDLE: (Duration, Duration) = (Duration::from_millis(30), Duration::from_micros(900));
/// Callers of calls; those before are of legs that await handshakes.
const FIRST_CALLER: usize = 40_000;

/// Where the daemon's threads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// All on the device's CPU.
    Together,
    /// The worker on the device's, and whatever leaves it alone on the tester's.
    Apart,
}

/// A running one; dropped, it is killed.
pub struct Gateway {
    daemon: Daemon,
    runtime: Runtime,
    client: SluiceClient<Channel>,
    fingerprint: Fingerprint,
    sessions: usize,
}

/// Legs of a session.
pub struct Legs {
    session: String,
    /// The legs.
    pub legs: Vec<Leg>,
}

/// Microseconds from the end of each handshake until the worker had its keys, as events tell them.
#[derive(Clone, Default)]
pub struct Applied(Arc<Mutex<Vec<u64>>>);

impl Gateway {
    /// Starts it.
    pub fn start(bed: &Bed, threads: Threads) -> Result<Self> {
        let command = |program: &str| match threads {
            Threads::Together => bed.device.command(program),
            Threads::Apart => on_both(bed, program),
        };
        let mut daemon = Daemon::start(command, |socket| configuration(socket, threads))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let channel = runtime.block_on(daemon.connect())?;
        let mut client = SluiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
        let info = runtime.block_on(client.get_info(v1::GetInfoRequest {}))?.into_inner();
        let own = info.dtls_fingerprints.first().context("the daemon tells no fingerprint")?;
        if threads == Threads::Apart {
            let cpu = info.workers.first().and_then(|worker| worker.cpu);
            ensure!(
                cpu == Some(bed.device.cpu as u32),
                "the worker is on CPU {cpu:?}, not {}",
                bed.device.cpu
            );
        }
        Ok(Self { fingerprint: own.parse()?, daemon, runtime, client, sessions: 0 })
    }

    /// Of the certificate that it shows.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// CPU time of all its threads.
    pub fn cpu_time(&self) -> Result<Duration> {
        cpu_time(self.daemon.id())
    }

    /// The end of what it wrote.
    pub fn last_words(&self) -> String {
        self.daemon.last_words()
    }

    /// What its negotiators have counted.
    pub fn counted(&mut self) -> Result<v1::MediaPathStatistics> {
        let request = v1::GetStatisticsRequest { workers_only: true, ..Default::default() };
        let statistics = self.runtime.block_on(self.client.get_statistics(request))?.into_inner();
        statistics.media_path.context("no statistics of handshakes")
    }

    /// Makes legs, each with a peer that is to begin a handshake.
    pub fn legs(&mut self, client: &Client, count: usize) -> Result<Legs> {
        let session = self.session()?;
        let configs = (0..count).map(|number| handshaken(client, peer_address(Role::Caller, number)));
        let legs = self.create(&session, "leg", configs.collect())?;
        Ok(Legs { session, legs })
    }

    /// Makes calls from those who are keyed by a handshake to a listener in the clear; the legs of the former.
    pub fn calls(&mut self, client: &Client, count: usize, listener: SocketAddr) -> Result<Legs> {
        let session = self.session()?;
        let callers =
            (0..count).map(|call| handshaken(client, peer_address(Role::Caller, FIRST_CALLER + call)));
        let legs = self.create(&session, "caller", callers.collect())?;
        let plain = v1::LegConfig {
            remote: listener.to_string(),
            rtcp_mux: true,
            inbound: v1::Protection::Plain.into(),
            outbound: v1::Protection::Plain.into(),
            ..Default::default()
        };
        self.create(&session, "listener", vec![plain; count])?;
        let routes = (0..count).map(|call| v1::Route {
            session: session.clone(),
            id: format!("route-{call}"),
            from: format!("caller-{call}"),
            to: format!("listener-{call}"),
            ..Default::default()
        });
        let request = v1::CreateRoutesRequest { routes: routes.collect() };
        for result in self.runtime.block_on(self.client.create_routes(request))?.into_inner().results {
            if let Some(v1::route_result::Result::Failure(failure)) = result.result {
                bail!("no route: {} ({})", failure.message, failure.remedy);
            }
        }
        Ok(Legs { session, legs })
    }

    /// Removes legs, and waits until all that is done.
    pub fn remove(&mut self, legs: Legs) -> Result<()> {
        let request = v1::DeleteSessionRequest { session: legs.session };
        self.runtime.block_on(self.client.delete_session(request))?;
        self.settle()
    }

    /// Waits until there is nothing left that it does.
    pub fn settle(&self) -> Result<()> {
        let (until, mut quiet) = (Instant::now() + PATIENCE, 0);
        while quiet < 2 {
            let before = self.cpu_time()?;
            thread::sleep(IDLE.0);
            let worked = self.cpu_time()?.saturating_sub(before);
            quiet = if worked < IDLE.1 { quiet + 1 } else { 0 };
            ensure!(Instant::now() < until, "the daemon works on, after {PATIENCE:?} without a load");
        }
        Ok(())
    }

    /// Listens to how soon keys are in the worker, from now on.
    pub fn watch(&mut self) -> Result<Applied> {
        let request = v1::WatchEventsRequest::default();
        let mut events = self.runtime.block_on(self.client.watch_events(request))?.into_inner();
        let applied = Applied::default();
        let into = applied.clone();
        self.runtime.spawn(async move {
            // It ends with the daemon.
            while let Ok(Some(event)) = events.message().await {
                if let Some(Kind::KeysNegotiated(told)) = event.kind {
                    into.0.lock().unwrap_or_else(PoisonError::into_inner).push(told.microseconds);
                }
            }
        });
        Ok(applied)
    }

    fn session(&mut self) -> Result<String> {
        self.sessions += 1;
        let session = format!("session-{}", self.sessions);
        let request = v1::CreateSessionRequest { session: session.clone(), ..Default::default() };
        self.runtime.block_on(self.client.create_session(request))?;
        Ok(session)
    }

    fn create(&mut self, session: &str, name: &str, configs: Vec<v1::LegConfig>) -> Result<Vec<Leg>> {
        let mut legs = Vec::with_capacity(configs.len());
        let requests: Vec<_> = configs
            .into_iter()
            .enumerate()
            .map(|(number, config)| v1::CreateLegRequest {
                session: session.into(),
                leg: format!("{name}-{number}"),
                config: Some(config),
            })
            .collect();
        for batch in requests.chunks(BATCH) {
            let request = v1::CreateLegsRequest { legs: batch.to_vec() };
            let results = self.runtime.block_on(self.client.create_legs(request))?.into_inner().results;
            for (asked, result) in batch.iter().zip(results) {
                let peer = asked.config.as_ref().context("it was given")?.remote.parse()?;
                match result.result {
                    Some(v1::leg_result::Result::Leg(leg)) => {
                        legs.push(Leg { peer, gateway: leg.local_rtp.parse()? });
                    }
                    Some(v1::leg_result::Result::Failure(failure)) => {
                        bail!("no leg: {} ({})", failure.message, failure.remedy);
                    }
                    None => bail!("nothing is said of a leg"),
                }
            }
        }
        Ok(legs)
    }
}

impl Applied {
    /// Waits until so many have been told, and takes them.
    pub fn take(&self, count: usize) -> Result<Vec<u64>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() >= count {
                return Ok(std::mem::take(&mut *told));
            }
            ensure!(Instant::now() < until, "keys of {} handshakes were told, of {count}", told.len());
            drop(told);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A leg whose peer begins a handshake from an address that signalling knows.
fn handshaken(client: &Client, peer: SocketAddr) -> v1::LegConfig {
    v1::LegConfig {
        remote: peer.to_string(),
        rtcp_mux: true,
        inbound: v1::Protection::Srtp.into(),
        outbound: v1::Protection::Srtp.into(),
        dtls: Some(v1::DtlsConfig {
            role: v1::DtlsRole::Server.into(),
            peer_fingerprints: vec![client.fingerprint().to_owned()],
            suites: SUITES.iter().map(|suite| suite.name().to_owned()).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A command in the device's namespace, on the CPUs of both ends.
fn on_both(bed: &Bed, program: &str) -> Command {
    let mut command = bed.device.namespace.command("taskset");
    command.args(["--cpu-list", &format!("{},{}", bed.device.cpu, bed.tester.cpu), program]);
    command
}

fn configuration(socket: &str, threads: Threads) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "[api]\nsocket = {socket}")?;
    writeln!(text, "[media]\naddresses = [\"{DEVICE}\"]\nports = \"10000-59999\"")?;
    let pin = threads == Threads::Apart;
    writeln!(text, "[datapath]\nmode = \"io_uring\"\nworkers = 1\npin = {pin}")?;
    // One address has all the clients, which is otherwise a flood.
    writeln!(text, "[dtls]\nhandshakes_per_second = 1000000\nhandshakes_per_source = 1000000")?;
    writeln!(text, "[log]\nlevel = \"warn\"")?;
    Ok(text)
}
