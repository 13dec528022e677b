//! Media beside handshakes: the worker has one CPU, what makes handshakes the other.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::setpriority_process;
use sluice_tools::bench::bed::{Bed, Role, peer_address};
use sluice_tools::bench::idle::IdleMeter;

use super::client::{Client, Protocol};
use super::gateway::{Applied, Gateway};
use super::load::{Leg, Load, Outcome, Target};
use super::measure::Options;
use super::media::{Heard, Media, listen};
use super::rows::{KeyRow, MediaRow, Times};

/// Packets a second of a call.
const PACE: f64 = 50.0;
/// Before what counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// How much the clients' threads stand back for others.
const NICE: i32 = 10;
/// Clients at a rate: more than that many handshakes are not under way.
const CLIENTS: usize = 16;

/// Where it is measured.
pub struct Site<'a> {
    /// The ends.
    pub bed: &'a Bed,
    /// Who makes handshakes.
    pub client: Client,
    /// Sluice, with its worker apart.
    pub gateway: Gateway,
}

/// Runs under one load.
#[derive(Default)]
struct Runs {
    heard: Vec<Heard>,
    rates: Vec<f64>,
}

impl Site<'_> {
    /// Media without and with handshakes, in turn; and how soon keys were in use meanwhile, and before that.
    pub fn measure(&mut self, options: &Options) -> Result<(Vec<MediaRow>, Vec<KeyRow>)> {
        // A CPU that sleeps takes its time to wake up, on a virtual machine more than anything else does.
        let _awake = [IdleMeter::start(self.bed.device.cpu)?, IdleMeter::start(self.bed.tester.cpu)?];
        let applied = self.gateway.watch()?;
        let mut keys = vec![self.one_at_a_time(options, &applied)?];
        let listener = self.bed.tester.run(|| listen(peer_address(Role::Listener, 0)))?;
        let legs = self.gateway.calls(&self.client, options.calls, listener.local_addr()?)?;
        let server = self.gateway.fingerprint().clone();
        let mut media = self.bed.tester.run(|| Media::open(&self.client, &server, &legs.legs, listener))?;
        applied.take(options.calls)?;
        let pace = PACE * options.calls as f64;
        media.run(pace, WARM_UP)?;
        let (mut alone, mut beside, mut soon) = (Runs::default(), Runs::default(), Vec::new());
        for _ in 0..options.runs() {
            alone.add(media.run(pace, options.time())?, 0.0);
            let (heard, outcome) = self.beside(options, &mut media, pace)?;
            beside.add(heard, outcome.rate());
            soon.extend(applied.take(outcome.handshakes)?);
        }
        keys.push(key_row(format!("{:.0} a second, beside media", options.rate), soon));
        for row in &keys {
            eprintln!(
                "keys of {} handshakes, {}: in the worker after {:.0}/{:.0}/{:.0} µs (p50/p99/slowest)",
                row.handshakes, row.load, row.p50_us, row.p99_us, row.max_us
            );
        }
        Ok((vec![alone.row(pace)?, beside.row(pace)?], keys))
    }

    fn one_at_a_time(&mut self, options: &Options, applied: &Applied) -> Result<KeyRow> {
        let count = options.handshakes().min(500);
        let legs = self.gateway.legs(&self.client, count)?;
        let outcome = self.handshakes(&legs.legs, 1, None)?;
        let row = key_row("one at a time".into(), applied.take(outcome.handshakes)?);
        self.gateway.remove(legs)?;
        Ok(row)
    }

    /// Media while handshakes are made.
    fn beside(&mut self, options: &Options, media: &mut Media, pace: f64) -> Result<(Heard, Outcome)> {
        let count = (options.rate * options.time().as_secs_f64()).ceil() as usize;
        let legs = self.gateway.legs(&self.client, count)?;
        self.gateway.settle()?;
        let site = &*self;
        let done = std::thread::scope(|scope| {
            let handshakes = scope.spawn(|| site.handshakes(&legs.legs, CLIENTS, Some(options.rate)));
            let heard = media.run(pace, options.time());
            let Ok(outcome) = handshakes.join() else { bail!("the load has panicked") };
            Ok((heard?, outcome?))
        })?;
        self.gateway.remove(legs)?;
        Ok(done)
    }

    /// One handshake with each leg.
    fn handshakes(&self, legs: &[Leg], threads: usize, rate: Option<f64>) -> Result<Outcome> {
        let load = Load {
            client: &self.client,
            protocol: Protocol::Dtls12,
            target: Target::Legs(legs),
            server: self.gateway.fingerprint(),
            threads,
        };
        self.bed.tester.run(|| {
            // Of this thread, and those that it starts.
            setpriority_process(None, NICE).context("cannot stand back")?;
            load.run(legs.len(), &[], rate)
        })
    }
}

impl Runs {
    fn add(&mut self, heard: Heard, rate: f64) {
        let at = |quantile| heard.latency.value_at_quantile(quantile) as f64 / 1e3;
        eprintln!(
            "media beside {rate:.0} handshakes/s: {:.0}/{:.0}/{:.0} µs (p50/p99/p99.9), {} of {} packets lost",
            at(0.5),
            at(0.99),
            at(0.999),
            heard.lost,
            heard.sent
        );
        self.heard.push(heard);
        self.rates.push(rate);
    }

    fn row(&self, pace: f64) -> Result<MediaRow> {
        let times: Vec<Times> = self.heard.iter().map(|heard| (&heard.latency).into()).collect();
        let of = |time: fn(&Times) -> f64| median(times.iter().map(time).collect());
        let best = times.iter().map(|times| times.p99_us).min_by(f64::total_cmp);
        Ok(MediaRow {
            handshakes_per_second: median(self.rates.clone()),
            packets_per_second: pace,
            packets: self.heard.iter().map(|heard| heard.sent).sum(),
            lost: self.heard.iter().map(|heard| heard.lost).sum(),
            latency: Times {
                p50_us: of(|times| times.p50_us),
                p99_us: of(|times| times.p99_us),
                p999_us: of(|times| times.p999_us),
            },
            best_p99_us: best.context("no run")?,
        })
    }
}

fn key_row(load: String, mut microseconds: Vec<u64>) -> KeyRow {
    microseconds.sort_unstable();
    let at = |share: f64| {
        let place = (share * microseconds.len() as f64).ceil() as usize;
        microseconds.get(place.saturating_sub(1)).copied().unwrap_or_default() as f64
    };
    KeyRow { load, handshakes: microseconds.len(), p50_us: at(0.5), p99_us: at(0.99), max_us: at(1.0) }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_keys_one_is_later_than_p99() {
        let row = key_row("any".into(), (1..=100).rev().collect());
        assert_eq!((row.handshakes, row.p50_us, row.p99_us, row.max_us), (100, 50.0, 99.0, 100.0));
    }
}
