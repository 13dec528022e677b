//! Handshakes one after the other on several threads, as many as they can, or at a rate whatever becomes of it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use sluice_keying::dtls_srtp::Fingerprint;
use sluice_openssl_dtls::Resumable;

use super::client::{Client, Protocol, Shaken};
use crate::signalling::load::histogram;

/// Whom handshakes are made with.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// Legs, one handshake each, that stay.
    Legs(&'a [Leg]),
    /// Servers of which each thread has one to itself, and which speak with one client at a time.
    Servers(&'a [SocketAddr], SocketAddr),
}

/// A leg that awaits a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Leg {
    /// Where its peer is.
    pub peer: SocketAddr,
    /// Where the gateway is.
    pub gateway: SocketAddr,
}

/// What is to be done.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    /// By whom.
    pub client: &'a Client,
    /// In which version.
    pub protocol: Protocol,
    /// With whom.
    pub target: Target<'a>,
    /// The certificate of that.
    pub server: &'a Fingerprint,
    /// How many at a time.
    pub threads: usize,
}

/// What came of it. Every handshake was completed, or there is no outcome.
#[derive(Debug)]
pub struct Outcome {
    /// How many.
    pub handshakes: usize,
    /// From the first to the end of the last.
    pub elapsed: Duration,
    /// Nanoseconds of each; at a rate from when it was due.
    pub times: Histogram<u64>,
}

impl Outcome {
    /// Handshakes a second.
    pub fn rate(&self) -> f64 {
        self.handshakes as f64 / self.elapsed.as_secs_f64()
    }
}

impl Load<'_> {
    /// Makes so many, in full, or resuming what each thread has a session of. On a thread of the tester's end.
    pub fn run(&self, count: usize, sessions: &[Resumable], rate: Option<f64>) -> Result<Outcome> {
        let run = Run { load: self, count, sessions, rate, ..Run::new(self) };
        let done = run.all(|_, (): &mut ()| ())?;
        let elapsed = run.start.elapsed();
        let mut times = histogram()?;
        for ((), more) in done {
            times.add(more)?;
        }
        ensure!(times.len() as usize == count, "{} handshakes of {count} were made", times.len());
        Ok(Outcome { handshakes: count, elapsed, times })
    }

    /// One handshake of each thread, and the session that it leaves.
    pub fn sessions(&self) -> Result<Vec<Resumable>> {
        let run = Run { count: self.threads, one_each: true, ..Run::new(self) };
        let done = run.all(|shaken, sessions: &mut Vec<Resumable>| sessions.extend(shaken.session()))?;
        let sessions: Vec<_> = done.into_iter().flat_map(|(sessions, _)| sessions).collect();
        ensure!(
            sessions.len() == self.threads,
            "{} servers of {} gave a ticket",
            sessions.len(),
            self.threads
        );
        Ok(sessions)
    }

    fn socket(&self, thread: usize, number: usize) -> Result<UdpSocket> {
        let (local, remote) = match self.target {
            Target::Legs(legs) => {
                let leg = legs.get(number).with_context(|| format!("there are {} legs", legs.len()))?;
                (leg.peer, leg.gateway)
            }
            Target::Servers(servers, local) => {
                (local, *servers.get(thread).context("fewer servers than threads")?)
            }
        };
        let socket = UdpSocket::bind(local).with_context(|| format!("no socket at {local}"))?;
        socket.connect(remote)?;
        Ok(socket)
    }
}

struct Run<'a> {
    load: &'a Load<'a>,
    count: usize,
    sessions: &'a [Resumable],
    rate: Option<f64>,
    /// Whether a thread makes the handshake of its number and no other.
    one_each: bool,
    start: Instant,
    next: AtomicUsize,
    failed: AtomicBool,
}

impl<'a> Run<'a> {
    fn new(load: &'a Load<'a>) -> Self {
        Self {
            load,
            count: 0,
            sessions: &[],
            rate: None,
            one_each: false,
            start: Instant::now(),
            next: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        }
    }

    /// Has all threads work; what `look` has gathered of what they did, and how long each handshake took.
    fn all<T: Default + Send>(
        &self,
        look: impl Fn(&Shaken, &mut T) + Sync,
    ) -> Result<Vec<(T, Histogram<u64>)>> {
        let work = |thread| {
            let done = self.work(thread, &look);
            self.failed.fetch_or(done.is_err(), Ordering::Relaxed);
            done
        };
        let work = &work;
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..self.load.threads).map(|thread| scope.spawn(move || work(thread))).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(done) => done,
                Err(_) => bail!("a thread of the load has panicked"),
            };
            threads.into_iter().map(join).collect()
        })
    }

    fn work<T: Default>(
        &self,
        thread: usize,
        look: &impl Fn(&Shaken, &mut T),
    ) -> Result<(T, Histogram<u64>)> {
        let (mut gathered, mut times, mut sockets) = (T::default(), histogram()?, Vec::new());
        let load = self.load;
        while !self.failed.load(Ordering::Relaxed) {
            let taken = self.next.fetch_add(1, Ordering::Relaxed);
            if taken >= self.count || (self.one_each && times.len() == 1) {
                break;
            }
            let number = if self.one_each { thread } else { taken };
            let begun = self.due(number);
            let session = self.sessions.get(thread);
            let made = load
                .socket(thread, number)
                .and_then(|socket| load.client.shake(load.protocol, socket, load.server, session));
            let shaken = made.with_context(|| format!("handshake {number} of {}", self.count))?;
            times.saturating_record(begun.elapsed().as_nanos() as u64);
            let resumed = shaken.resumed;
            ensure!(resumed == session.is_some(), "handshake {number}: resumed is {resumed}");
            look(&shaken, &mut gathered);
            match load.target {
                Target::Servers(..) => shaken.close()?,
                Target::Legs(_) => sockets.push(shaken.leave()),
            }
        }
        Ok((gathered, times))
    }

    /// Waits until a handshake is due; when that was.
    fn due(&self, number: usize) -> Instant {
        let Some(rate) = self.rate else { return Instant::now() };
        let at = self.start + Duration::from_secs_f64(number as f64 / rate);
        thread::sleep(at.saturating_duration_since(Instant::now()));
        at
    }
}
