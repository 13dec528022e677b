//! The relay's socket, its transactions, and what it wrote down.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use sluice_proto::v1::SessionPolicy;

use super::call::Call;
use super::desk::{Desk, Entry, Step};
use super::message::Message;
use crate::signalling::Signalling;

/// How long the relay looks at its socket before it looks whether it is to end.
const TURN: Duration = Duration::from_millis(20);

/// What becomes of every INVITE.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Whom it goes to, all at once.
    pub targets: Vec<Target>,
    /// What may be negotiated.
    pub policy: SessionPolicy,
}

/// Somebody to call.
#[derive(Clone, Debug)]
pub struct Target {
    /// The branch of the call that leads there.
    pub branch: String,
    /// The user in the request's URI.
    pub user: String,
    /// Where.
    pub at: SocketAddr,
}

/// What went through a relay.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// Sessions, in the order of the calls.
    pub sessions: Vec<String>,
    /// What Sluice was asked, in order.
    pub entries: Vec<Entry>,
    /// Statuses that callers were told of their first INVITE.
    pub told: Vec<u16>,
    /// Branches whose callees refused, and with what.
    pub rejections: Vec<(String, u16)>,
    /// Calls that ended.
    pub ended: usize,
    /// What should not have happened.
    pub errors: Vec<String>,
}

impl Transcript {
    /// The SDPs that came and went at a step of a branch, the last time.
    pub fn sdps(&self, step: Step, branch: &str) -> Option<(&str, &str)> {
        let of = |entry: &&Entry| entry.step == step && entry.branch == branch;
        let entry = self.entries.iter().rev().find(of)?;
        Some((&entry.got, entry.gave.as_deref().ok()?))
    }

    /// Every refusal of Sluice's, and every other thing that went wrong.
    pub fn trouble(&self) -> Vec<String> {
        let refusals = self.entries.iter().filter_map(|entry| {
            let refusal = entry.gave.as_ref().err()?;
            Some(format!("{:?} of {}: {refusal}, of\n{}", entry.step, entry.branch, entry.got))
        });
        refusals.chain(self.errors.iter().cloned()).collect()
    }
}

/// A running relay; dropped, it ends.
pub struct Relay {
    /// Where user agents reach it.
    pub at: SocketAddr,
    log: Arc<Mutex<Transcript>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts one on `socket` that works with the daemon at the Unix socket `api`.
    pub fn start(socket: UdpSocket, api: &Path, plan: Plan) -> Result<Self> {
        let at = socket.local_addr()?;
        socket.set_read_timeout(Some(TURN))?;
        let (log, ends) = (Arc::<Mutex<Transcript>>::default(), Arc::<AtomicBool>::default());
        let mut office = Office {
            own: at,
            socket,
            api: Signalling::connect(api)?,
            plan,
            calls: Vec::new(),
            answered: HashMap::new(),
            log: Arc::clone(&log),
        };
        let until = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                office.turn();
            }
        });
        Ok(Self { at, log, ends, thread: Some(thread) })
    }

    /// What went through so far.
    pub fn transcript(&self) -> Transcript {
        lock(&self.log).clone()
    }

    /// Waits until `wanted` is true of the transcript; an error with all trouble if it never is.
    pub fn wait(&self, limit: Duration, wanted: impl Fn(&Transcript) -> bool) -> Result<Transcript> {
        let deadline = Instant::now() + limit;
        loop {
            let transcript = self.transcript();
            if wanted(&transcript) {
                return Ok(transcript);
            }
            if Instant::now() >= deadline {
                let (told, trouble) = (&transcript.told, transcript.trouble());
                let steps: Vec<_> =
                    transcript.entries.iter().map(|entry| (entry.step, &entry.branch)).collect();
                bail!("after {limit:?} the caller was told {told:?} after {steps:?}; trouble: {trouble:#?}");
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a call was answered, and fails if Sluice refused anything.
    pub fn wait_for_answer(&self, limit: Duration) -> Result<Transcript> {
        let transcript =
            self.wait(limit, |transcript| transcript.told.iter().any(|status| *status >= 200))?;
        let trouble = transcript.trouble();
        if !trouble.is_empty() || transcript.told.last() != Some(&200) {
            bail!("the caller was told {:?}; trouble: {trouble:#?}", transcript.told);
        }
        Ok(transcript)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the relay's thread has.
struct Office {
    own: SocketAddr,
    socket: UdpSocket,
    api: Signalling,
    plan: Plan,
    calls: Vec<Call>,
    /// The last response to each request, by transaction and method: for when it comes again.
    answered: HashMap<(String, String), Message>,
    log: Arc<Mutex<Transcript>>,
}

impl Office {
    fn turn(&mut self) {
        let mut buffer = vec![0; 65_536];
        let Ok((length, from)) = self.socket.recv_from(&mut buffer) else { return };
        // Keep-alives of CRLF and of nothing are no messages.
        if buffer[..length].iter().all(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            return;
        }
        match Message::read(&buffer[..length]) {
            Ok(message) => self.take(message, from),
            Err(error) => lock(&self.log).errors.push(format!("{error:#}")),
        }
    }

    fn take(&mut self, message: Message, from: SocketAddr) {
        let key = message.method().map(|method| (message.transaction().to_owned(), method.to_owned()));
        if let Some(response) = key.as_ref().and_then(|key| self.answered.get(key)) {
            let _ = self.socket.send_to(&response.datagram(), from);
            return;
        }
        let mut desk = Desk { own: self.own, api: &mut self.api, log: &self.log, out: Vec::new() };
        let call_id = message.header("Call-ID").to_owned();
        let known = self.calls.iter_mut().find_map(|call| Some((call.side_of(&call_id)?, call)));
        match (known, message.method()) {
            (Some((side, call)), None) => call.response(side, &message, &mut desk),
            (Some((side, call)), Some(_)) => call.request(side, &message, from, &mut desk),
            (None, Some("INVITE")) => self.calls.extend(Call::begin(message, from, &self.plan, &mut desk)),
            (None, Some("ACK") | None) => {}
            (None, Some("OPTIONS")) => desk.out.push((from, Message::response(&message, 200, "OK"))),
            (None, Some(_)) => {
                let unknown = Message::response(&message, 481, "Call/Transaction Does Not Exist");
                desk.out.push((from, unknown));
            }
        }
        let out = desk.out;
        for (to, message) in out {
            self.send(to, message);
        }
    }

    fn send(&mut self, to: SocketAddr, message: Message) {
        if let Err(error) = self.socket.send_to(&message.datagram(), to) {
            lock(&self.log).errors.push(format!("to {to}: {error}"));
        }
        if message.method().is_none() {
            let key = (message.transaction().to_owned(), message.sequence().1.to_owned());
            self.answered.insert(key, message);
        }
    }
}

fn lock(log: &Mutex<Transcript>) -> MutexGuard<'_, Transcript> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
