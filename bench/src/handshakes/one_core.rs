//! As many handshakes as one core makes: Sluice's and its peer's in turn.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_openssl_dtls::Resumable;
use sluice_tools::bench::bed::Bed;
use sluice_tools::bench::idle::IdleMeter;

use super::client::{Client, Protocol};
use super::gateway::Gateway;
use super::load::{Load, Outcome, Target};
use super::measure::Options;
use super::openssl::{Servers, client_address};
use super::rows::{HandshakeRow, PEER};

/// Who is measured.
pub struct Subjects<'a> {
    /// Where they are.
    pub bed: &'a Bed,
    /// Who makes handshakes with them.
    pub client: Client,
    /// Sluice.
    pub gateway: Gateway,
    /// The peer and its version.
    pub peer: Option<(String, Servers)>,
}

/// What is measured, and of whom.
#[derive(Clone, Copy)]
struct Case {
    ours: bool,
    protocol: Protocol,
    resumed: bool,
}

/// In which order they have their turns.
const CASES: [Case; 5] = [
    Case { ours: true, protocol: Protocol::Dtls12, resumed: false },
    Case { ours: false, protocol: Protocol::Dtls12, resumed: false },
    Case { ours: true, protocol: Protocol::Dtls12, resumed: true },
    Case { ours: false, protocol: Protocol::Dtls12, resumed: true },
    Case { ours: true, protocol: Protocol::Dtls13, resumed: false },
];

/// A run of a case.
struct Turn {
    outcome: Outcome,
    /// Of the server's threads.
    cpu: Duration,
    /// Nanoseconds that its core worked, to the end of what followed.
    core: u64,
    /// Share of the time of handshakes in which it did.
    busy: f64,
}

impl Subjects<'_> {
    /// All cases, in rounds in which each has its turn.
    pub fn measure(&mut self, options: &Options) -> Result<Vec<HandshakeRow>> {
        let cases: Vec<_> = CASES.into_iter().filter(|case| case.ours || self.peer.is_some()).collect();
        let meter = IdleMeter::start(self.bed.device.cpu)?;
        let mut turns: Vec<Vec<Turn>> = cases.iter().map(|_| Vec::new()).collect();
        // One round more than counts: the first is to warm up.
        for round in 0..=options.runs() {
            let count = if round == 0 { options.handshakes().min(200) } else { options.handshakes() };
            for (case, turns) in cases.iter().zip(&mut turns) {
                let turn = self.turn(*case, options.clients, count, &meter)?;
                if round > 0 {
                    turns.push(turn);
                }
            }
        }
        cases.iter().zip(turns).map(|(case, turns)| self.row(*case, options, turns)).collect()
    }

    fn turn(&mut self, case: Case, clients: usize, count: usize, meter: &IdleMeter) -> Result<Turn> {
        if !case.ours {
            let (_, servers) = self.peer.as_ref().context("there is no peer")?;
            let target = Target::Servers(servers.addresses(), client_address());
            let load = Load {
                client: &self.client,
                protocol: case.protocol,
                target,
                server: servers.fingerprint(),
                threads: clients,
            };
            let sessions = self.sessions(case, &load)?;
            let done = self.load(&load, count, &sessions, meter, || servers.cpu_time(), || Ok(()));
            return done.with_context(|| format!("s_server says: {}", servers.last_words()));
        }
        // The first ones are for sessions.
        let legs = self.gateway.legs(&self.client, count + clients)?;
        let (for_sessions, for_load) = legs.legs.split_at(clients);
        let server = self.gateway.fingerprint().clone();
        let load = Load {
            client: &self.client,
            protocol: case.protocol,
            target: Target::Legs(for_sessions),
            server: &server,
            threads: clients,
        };
        let sessions = self.sessions(case, &load)?;
        self.gateway.settle()?;
        let load = Load { target: Target::Legs(for_load), ..load };
        let (cpu, settle) = (|| self.gateway.cpu_time(), || self.gateway.settle());
        let turn = self.load(&load, count, &sessions, meter, cpu, settle)?;
        let counted = self.gateway.counted()?;
        let failed = counted.handshakes_failed + counted.certificates_refused;
        ensure!(failed == 0 && counted.half_open == 0, "handshakes failed, or did not end: {counted:?}");
        self.gateway.remove(legs)?;
        Ok(turn)
    }

    fn sessions(&self, case: Case, load: &Load<'_>) -> Result<Vec<Resumable>> {
        if case.resumed { self.bed.tester.run(|| load.sessions()) } else { Ok(Vec::new()) }
    }

    fn load(
        &self,
        load: &Load<'_>,
        count: usize,
        sessions: &[Resumable],
        meter: &IdleMeter,
        cpu: impl Fn() -> Result<Duration>,
        settle: impl Fn() -> Result<()>,
    ) -> Result<Turn> {
        let (cpu_before, before) = (cpu()?, meter.read()?);
        let outcome = self.bed.tester.run(|| load.run(count, sessions, None))?;
        let (busy, after) = (meter.busy_since(before)?, meter.read()?);
        settle()?;
        let core = meter.busy_since(before)?;
        let busy = busy as f64 / after.since(&before).as_nanos() as f64;
        Ok(Turn { outcome, cpu: cpu()?.saturating_sub(cpu_before), core, busy })
    }

    fn row(&self, case: Case, options: &Options, turns: Vec<Turn>) -> Result<HandshakeRow> {
        let mut rates: Vec<_> = turns.iter().map(|turn| turn.outcome.rate()).collect();
        rates.sort_by(f64::total_cmp);
        let best = turns.into_iter().max_by(|a, b| a.outcome.rate().total_cmp(&b.outcome.rate()));
        let Turn { outcome, cpu, core, busy } = best.context("no run")?;
        let (server, version) = match &self.peer {
            Some((version, _)) if !case.ours => (PEER, version.clone()),
            _ => ("sluice", env!("CARGO_PKG_VERSION").to_owned()),
        };
        let row = HandshakeRow {
            server: server.into(),
            version,
            protocol: case.protocol.name().into(),
            resumed: case.resumed,
            clients: options.clients,
            handshakes: outcome.handshakes,
            per_second: outcome.rate(),
            median_per_second: rates.get(rates.len() / 2).copied().unwrap_or_default(),
            cpu_us: cpu.as_secs_f64() * 1e6 / outcome.handshakes as f64,
            core_us: core as f64 / 1e3 / outcome.handshakes as f64,
            busy,
            time: (&outcome.times).into(),
        };
        eprintln!(
            "{:<16} {} {:<7} {:>5.0} handshakes/s, {:>4.0} µs CPU each, {:>4.0} µs of the core, which was busy for {:.0} %",
            row.server,
            row.protocol,
            if row.resumed { "resumed" } else { "full" },
            row.per_second,
            row.cpu_us,
            row.core_us,
            100.0 * row.busy
        );
        Ok(row)
    }
}
