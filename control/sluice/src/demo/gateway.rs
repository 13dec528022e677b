//! A real daemon, started as a process and driven through its API; calls block, for the demo and
//! the tests are plain sequences of steps.

use std::fmt::Write as _;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;
use sluice_proto::v1::sluice_client::SluiceClient;
use sluice_proto::v1::{self, Direction, Event, Protection};
use sluice_srtp::Suite;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::demo::process::Process;
use crate::demo::world::Place;

/// How long the daemon may take to answer its first call.
const READY: Duration = Duration::from_secs(15);
/// How long it may take to end when asked to.
const GOODBYE: Duration = Duration::from_secs(5);

/// A master key and salt.
#[derive(Clone)]
pub struct Key {
    /// What it is for.
    pub suite: Suite,
    /// Key followed by salt.
    pub material: Vec<u8>,
}

impl Key {
    /// A fresh random key.
    pub fn random(suite: Suite) -> Result<Self> {
        let mut material = vec![0; suite.key_len() + suite.salt_len()];
        random(&mut material)?;
        Ok(Self { suite, material })
    }
}

/// Fills a buffer with random bytes.
pub fn random(buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut buffer[filled..], flags)?;
    }
    Ok(())
}

/// A leg to be created, with its keys.
#[derive(Clone)]
pub struct Leg<'a> {
    /// Its id.
    pub id: &'a str,
    /// The gateway's address.
    pub local: SocketAddr,
    /// The peer's address, where signalling knows it.
    pub remote: Option<SocketAddr>,
    /// The key of what the peer sends; none: plain RTP.
    pub inbound: Option<&'a Key>,
    /// The key of what the peer gets; none: plain RTP.
    pub outbound: Option<&'a Key>,
    /// Everything else of the leg's configuration.
    pub config: v1::LegConfig,
}

impl<'a> Leg<'a> {
    /// A leg without keys, with RTCP on its own port.
    pub fn new(id: &'a str, local: SocketAddr, remote: SocketAddr) -> Self {
        let config = v1::LegConfig::default();
        Self { id, local, remote: Some(remote), inbound: None, outbound: None, config }
    }

    /// The same leg with a key for what the peer sends.
    #[must_use]
    pub fn inbound(self, key: &'a Key) -> Self {
        Self { inbound: Some(key), ..self }
    }

    /// The same leg with a key for what the peer gets.
    #[must_use]
    pub fn outbound(self, key: &'a Key) -> Self {
        Self { outbound: Some(key), ..self }
    }

    /// The same leg with RTP and RTCP on one port.
    #[must_use]
    pub fn rtcp_mux(mut self) -> Self {
        self.config.rtcp_mux = true;
        self
    }

    fn request(&self, session: &str) -> v1::CreateLegRequest {
        // A key that is installed by other means is asked for in the configuration.
        let protection = |key: Option<&Key>, configured: i32| match (key, configured) {
            (Some(_), _) => Protection::Srtp as i32,
            (None, 0) => Protection::Plain as i32,
            (None, configured) => configured,
        };
        v1::CreateLegRequest {
            session: session.to_owned(),
            leg: self.id.to_owned(),
            config: Some(v1::LegConfig {
                local: self.local.to_string(),
                remote: self.remote.map(|remote| remote.to_string()).unwrap_or_default(),
                inbound: protection(self.inbound, self.config.inbound),
                outbound: protection(self.outbound, self.config.outbound),
                ..self.config.clone()
            }),
        }
    }

    fn keys(&self, session: &str) -> impl Iterator<Item = v1::KeyInstall> {
        let directions = [(Direction::Inbound, self.inbound), (Direction::Outbound, self.outbound)];
        directions.into_iter().filter_map(move |(direction, key)| {
            key.map(|key| key_install(session, self.id, "first", direction, key))
        })
    }
}

/// The request that installs a key.
pub fn key_install(session: &str, leg: &str, id: &str, direction: Direction, key: &Key) -> v1::KeyInstall {
    v1::KeyInstall {
        session: session.to_owned(),
        leg: leg.to_owned(),
        key: id.to_owned(),
        direction: direction as i32,
        suite: key.suite.name().to_owned(),
        key_salt: key.material.clone(),
        ..Default::default()
    }
}

/// How to start a daemon.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    /// The `sluice` executable.
    pub executable: &'a Path,
    /// Where it runs.
    pub place: &'a Place,
    /// Where its socket, configuration and log go.
    pub directory: &'a Path,
    /// Interfaces that XDP may be attached to.
    pub interfaces: Vec<String>,
    /// The addresses of the gateway that legs may have.
    pub addresses: Vec<std::net::IpAddr>,
    /// `auto`, `xdp-native`, `xdp-generic` or `io_uring`.
    pub datapath: &'a str,
    /// How many workers; `None`: one per core.
    pub workers: Option<u32>,
    /// The port that legs may share.
    pub shared_port: Option<u16>,
    /// Room for so many legs, if not for as many as usual.
    pub legs: Option<u32>,
}

impl Settings<'_> {
    /// The configuration file of such a daemon.
    pub fn configuration(&self) -> Result<String> {
        let quoted = |text: &str| serde_json::to_string(text);
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let socket = self.directory.join("sluice.sock");
        let socket = socket.to_str().context("the socket's path is not UTF-8")?;
        let mut text = String::new();
        writeln!(text, "[api]\nsocket = {}", quoted(socket)?)?;
        writeln!(text, "[media]\naddresses = {}", serde_json::to_string(&addresses)?)?;
        if let Some(port) = self.shared_port {
            writeln!(text, "shared_port = {port}")?;
        }
        writeln!(text, "[datapath]\nmode = {}", quoted(self.datapath)?)?;
        if let Some(workers) = self.workers {
            writeln!(text, "workers = {workers}")?;
        }
        if let Some(legs) = self.legs {
            writeln!(text, "[limits]\nlegs = {legs}")?;
        }
        for interface in &self.interfaces {
            writeln!(text, "[[interface]]\nname = {}", quoted(interface)?)?;
        }
        Ok(text)
    }
}

/// A running daemon and a connection to its API.
pub struct Gateway {
    process: Process,
    runtime: Runtime,
    client: SluiceClient<Channel>,
    channel: Channel,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Gateway {
    /// Starts a daemon and waits until it serves.
    pub fn start(settings: &Settings<'_>) -> Result<Self> {
        Self::start_with(settings, &settings.configuration()?)
    }

    /// The same with a configuration of one's own, whose `api.socket` is `sluice.sock` in the settings' directory.
    pub fn start_with(settings: &Settings<'_>, text: &str) -> Result<Self> {
        let socket = settings.directory.join("sluice.sock");
        let configuration = settings.directory.join("sluice.toml");
        fs::write(&configuration, text)?;
        let executable = settings.executable.to_str().context("the path of sluice is not UTF-8")?;
        let mut command = settings.place.command(executable);
        command.args(["run", "--config"]).arg(&configuration);
        let mut process = Process::spawn("sluice", command, settings.directory)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let channel = connect(&runtime, &socket, &mut process)?;
        let client = SluiceClient::new(channel.clone());
        let mut gateway = Self { process, runtime, client, channel, events: Arc::default() };
        gateway.watch()?;
        Ok(gateway)
    }

    /// Makes an API call.
    pub fn call<'a, T, F>(&'a mut self, call: impl FnOnce(&'a mut SluiceClient<Channel>) -> F) -> Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let response = self.runtime.block_on(call(&mut self.client));
        response.map(tonic::Response::into_inner).map_err(|status| failed(&status))
    }

    /// A connection to its API.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// How the daemon runs.
    pub fn info(&mut self) -> Result<v1::Info> {
        self.call(|client| client.get_info(v1::GetInfoRequest {}))
    }

    /// Whether the daemon's workers all work, as gRPC health tells it.
    pub fn healthy(&mut self) -> Result<bool> {
        let mut client = HealthClient::new(self.channel.clone());
        let asked = HealthCheckRequest { service: "sluice.v1.Sluice".to_owned() };
        let answer = self.runtime.block_on(client.check(asked)).map_err(|status| failed(&status))?;
        Ok(answer.into_inner().status() == ServingStatus::Serving)
    }

    /// Creates a session with its legs, keys and routes (`from`, `to`).
    pub fn create_call(&mut self, id: &str, legs: &[Leg<'_>], routes: &[(&str, &str)]) -> Result<()> {
        let session = v1::CreateSessionRequest { session: id.to_owned(), ..Default::default() };
        self.call(|client| client.create_session(session))?;
        self.add_legs(id, legs)?;
        self.add_routes(id, routes)
    }

    /// Adds legs with their keys to a session.
    pub fn add_legs(&mut self, session: &str, legs: &[Leg<'_>]) -> Result<()> {
        let request = legs.iter().map(|leg| leg.request(session)).collect();
        let request = v1::CreateLegsRequest { legs: request };
        for result in self.call(|client| client.create_legs(request))?.results {
            if let Some(v1::leg_result::Result::Failure(failure)) = result.result {
                return Err(refused(&failure));
            }
        }
        let keys: Vec<_> = legs.iter().flat_map(|leg| leg.keys(session)).collect();
        self.install_keys(keys)
    }

    /// Installs keys.
    pub fn install_keys(&mut self, keys: Vec<v1::KeyInstall>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let request = v1::InstallKeysRequest { keys };
        for result in self.call(|client| client.install_keys(request))?.results {
            if let Some(v1::key_result::Result::Failure(failure)) = result.result {
                return Err(refused(&failure));
            }
        }
        Ok(())
    }

    /// Adds routes to a session, named `from-to`.
    pub fn add_routes(&mut self, session: &str, routes: &[(&str, &str)]) -> Result<()> {
        let routes = routes.iter().map(|(from, to)| v1::Route {
            session: session.to_owned(),
            id: format!("{from}-{to}"),
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            ..Default::default()
        });
        let request = v1::CreateRoutesRequest { routes: routes.collect() };
        for result in self.call(|client| client.create_routes(request))?.results {
            if let Some(v1::route_result::Result::Failure(failure)) = result.result {
                return Err(refused(&failure));
            }
        }
        Ok(())
    }

    /// Removes a session; says whether it existed.
    pub fn delete_session(&mut self, id: &str) -> Result<bool> {
        let request = v1::DeleteSessionRequest { session: id.to_owned() };
        Ok(self.call(|client| client.delete_session(request))?.existed)
    }

    /// Statistics of all workers and legs.
    pub fn statistics(&mut self) -> Result<v1::Statistics> {
        self.call(|client| client.get_statistics(v1::GetStatisticsRequest::default()))
    }

    /// Statistics of one leg.
    pub fn leg(&mut self, session: &str, leg: &str) -> Result<v1::LegStatistics> {
        let legs = self.statistics()?.legs;
        let found = legs.into_iter().find(|entry| entry.session == session && entry.leg == leg);
        found.with_context(|| format!("no statistics of leg {leg} of session {session}"))
    }

    /// Asks for a leg's statistics until they satisfy `wanted`; returns the last ones in any case.
    pub fn leg_until(
        &mut self,
        session: &str,
        leg: &str,
        limit: Duration,
        wanted: impl Fn(&v1::LegStatistics) -> bool,
    ) -> Result<v1::LegStatistics> {
        let deadline = Instant::now() + limit;
        loop {
            let statistics = self.leg(session, leg)?;
            if wanted(&statistics) || Instant::now() >= deadline {
                return Ok(statistics);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The events so far.
    pub fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an event that satisfies `wanted`.
    pub fn wait_for_event(&self, limit: Duration, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(event) = self.events().iter().find(|event| wanted(event)) {
                return Some(event.clone());
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The daemon's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether the daemon still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.process.finished(), Ok(None))
    }

    /// What the daemon logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Ends the daemon by SIGTERM; an error unless it ends by itself and with status 0.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM);
        self.process.succeed(GOODBYE)
    }

    /// Ends the daemon by SIGKILL: it gets no chance to clean up.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    fn watch(&mut self) -> Result<()> {
        let request = v1::WatchEventsRequest::default();
        let mut stream = self.call(|client| client.watch_events(request))?;
        let events = Arc::clone(&self.events);
        self.runtime.spawn(async move {
            while let Ok(Some(event)) = stream.message().await {
                events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        });
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // In order if it can: XDP detached, links unpinned.
        self.process.stop(Signal::TERM, GOODBYE);
    }
}

/// The sum of a leg's drops for which `reason` is true.
pub fn drops(leg: &v1::LegStatistics, reason: impl Fn(&str) -> bool) -> u64 {
    leg.drops.iter().filter(|drop| reason(&drop.reason)).map(|drop| drop.packets).sum()
}

fn connect(runtime: &Runtime, socket: &Path, process: &mut Process) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()))?;
    let deadline = Instant::now() + READY;
    loop {
        if let Some(status) = process.finished()? {
            bail!("sluice run ended with {status}:\n{}", process.last_words());
        }
        if let Ok(channel) = runtime.block_on(endpoint.connect()) {
            let mut client = SluiceClient::new(channel.clone());
            let info = runtime.block_on(client.get_info(v1::GetInfoRequest {}));
            info.map_err(|status| failed(&status))?;
            return Ok(channel);
        }
        if Instant::now() >= deadline {
            bail!("sluice run does not serve after {READY:?}:\n{}", process.last_words());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn failed(status: &tonic::Status) -> anyhow::Error {
    anyhow!("the gateway says {:?}: {}", status.code(), status.message())
}

fn refused(failure: &v1::Failure) -> anyhow::Error {
    anyhow!("the gateway refuses {}: {} ({})", failure.field, failure.message, failure.remedy)
}
