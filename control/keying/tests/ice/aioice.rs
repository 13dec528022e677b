//! Against aioice, the ICE agent of aiortc, over real sockets and with a real clock: it connects with either role, its data
//! comes back to it, and consent goes on for both.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs};

use serde_json::{Value, json};
use sluice_keying::ice::{Agent, Candidate, Credentials, Event, Output, OwnIce, PeerIce};

const REQUIREMENTS: &str = "aioice==0.13.0\n";
const PROGRAM: &str = include_str!("aioice.py");
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn aioice_that_controls_connects_to_a_lite_agent() {
    connect(true, true, false);
}

#[test]
fn aioice_that_controls_connects_to_a_full_agent() {
    connect(true, false, false);
}

#[test]
fn aioice_that_is_controlled_connects_to_a_full_agent() {
    connect(false, false, true);
}

#[test]
fn aioice_and_a_full_agent_that_both_control_find_out_who_does() {
    connect(true, false, true);
}

fn connect(aioice_controls: bool, lite: bool, controls: bool) {
    let Some(python) = python() else { return };
    let mut peer = Peer::start(python, aioice_controls, lite);
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    let mut side = Side::new(socket, lite, controls);
    let hello = peer.read();
    peer.write(&side.describe());
    side.agent.set_peer(&peer_ice(&hello), Instant::now());
    let done = std::thread::spawn(move || {
        let last = peer.read();
        let status = peer.child.wait().unwrap();
        (last, status)
    });
    let end = Instant::now() + PATIENCE;
    while !done.is_finished() && Instant::now() < end {
        side.step();
    }
    let (last, status) = done.join().unwrap();
    assert!(status.success(), "aioice failed: {:?} {:?}", side.agent.state(), side.events);
    assert!(last["echoed"].as_u64() >= Some(58), "{last}");
    assert_ne!(last["controlling"].as_bool().unwrap(), side.agent.is_controlling());
    let selections = side.events.iter().filter(|event| matches!(event, Event::Selected { .. })).count();
    assert_eq!(selections, 1, "{:?}", side.events);
    let statistics = side.agent.statistics();
    // Its consent checks of one second, and ours of five.
    assert!(statistics.answered > 5, "{statistics:?}");
    assert!(lite || statistics.responses > 1, "{statistics:?}");
}

/// Our side, on a socket.
struct Side {
    agent: Agent,
    own: OwnIce,
    socket: UdpSocket,
    local: SocketAddr,
    events: Vec<Event>,
}

impl Side {
    fn new(socket: UdpSocket, lite: bool, controls: bool) -> Self {
        let local = socket.local_addr().unwrap();
        let mut seed = u64::from(local.port()) << 20 | u64::from(std::process::id());
        let mut random = |octets: &mut [u8]| {
            for octet in octets {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *octet = (seed >> 56) as u8;
            }
        };
        let credentials = Credentials::generate(&mut random);
        let own = OwnIce { credentials, candidates: vec![Candidate::host(1, local, 65535)], lite };
        let agent = Agent::new(&own, controls, Instant::now());
        Self { agent, own, socket, local, events: Vec::new() }
    }

    fn describe(&self) -> Value {
        let candidate = self.own.candidates[0].to_string();
        let credentials = &self.own.credentials;
        let candidate = candidate.trim_start_matches("candidate:");
        json!({ "ufrag": credentials.ufrag, "password": *credentials.password, "candidates": [candidate] })
    }

    /// Sends what there is to send, and waits for one datagram, or until something is due.
    fn step(&mut self) {
        let due = loop {
            match self.agent.poll() {
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.local, self.local);
                    self.socket.send_to(&transmit.bytes, transmit.remote).unwrap();
                }
                Output::Event(event) => self.events.push(event),
                Output::Timeout(due) => break due,
            }
        };
        let wait = due.map_or(PATIENCE, |due| due.saturating_duration_since(Instant::now()));
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(50));
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut buffer = [0; 2048];
        if let Ok((length, remote)) = self.socket.recv_from(&mut buffer) {
            self.take(remote, &buffer[..length]);
        }
        self.agent.handle_timeout(Instant::now());
    }

    fn take(&mut self, remote: SocketAddr, datagram: &[u8]) {
        // RFC 7983.
        if datagram[0] < 4 {
            let _ = self.agent.handle_datagram(Instant::now(), self.local, remote, 1, datagram);
            return;
        }
        assert!(self.agent.is_checked(1, remote), "data comes by ways that were checked");
        if let Some((_, to)) = self.agent.selected(1) {
            self.socket.send_to(datagram, to).unwrap();
        }
    }
}

/// aioice in a process of its own.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(python: &Path, controls: bool, peer_is_lite: bool) -> Self {
        let bit = |bit| if bit { "1" } else { "0" };
        let mut command = Command::new(python);
        command.args(["-c", PROGRAM, bit(controls), bit(peer_is_lite)]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_default()
    }

    fn write(&mut self, value: &Value) {
        writeln!(self.input, "{value}").unwrap();
    }
}

fn peer_ice(hello: &Value) -> PeerIce {
    let text = |name: &str| hello[name].as_str().unwrap();
    let lines = hello["candidates"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    PeerIce {
        credentials: Credentials::new(text("ufrag"), text("password")).unwrap(),
        candidates: Candidate::list(lines).unwrap(),
        lite: false,
        more: false,
    }
}

/// The Python of an environment with aioice: made once, in Cargo's directory for tests. `None`, loudly, where it cannot be
/// had.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON
        .get_or_init(|| make_environment().inspect_err(|error| eprintln!("SKIP: no aioice: {error}")).ok())
        .as_deref()
}

fn make_environment() -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aioice");
    let (done, python) = (home.join("done"), home.join("bin/python"));
    // One process for each test under nextest: the first one makes it, the others wait.
    let lock = fs::File::create(home.with_extension("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if fs::read_to_string(&done).is_ok_and(|made| made == REQUIREMENTS) {
        return Ok(python);
    }
    fs::remove_dir_all(&home)
        .or_else(|_| if home.exists() { Err(home.display().to_string()) } else { Ok(()) })?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    let wanted = home.join("requirements.txt");
    fs::write(&wanted, REQUIREMENTS).map_err(|error| error.to_string())?;
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "-r"])
        .arg(&wanted))?;
    fs::write(done, REQUIREMENTS).map_err(|error| error.to_string())?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", words.trim())) }
}
