//! What runs in the guest: as many legs as a large gateway has, each with a port of its own, and what they cost.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::{self, Direction, Protection, leg_result};
use sluice_srtp::Suite;
use sluice_tests::peer::Peer;
use sluice_tests::rtp::Source;
use sluice_tests::site::executable;
use sluice_tools::demo::gateway::{Gateway, Key, Settings, key_install, random};
use sluice_tools::demo::world::Place;

/// Two: an address has 64 Ki ports.
const ADDRESSES: [&str; 2] = ["127.0.0.2", "127.0.0.3"];
const BATCH: u32 = 1000;
/// What a leg may cost the daemon, and the system with its socket: `docs/operations.md` says so.
const DAEMON_BYTES: u64 = 6 << 10;
const SYSTEM_BYTES: u64 = 16 << 10;
const PACKETS: usize = 20;

#[test]
#[ignore = "runs in a guest: see main.rs"]
fn each_has_its_port_and_media() -> Result<()> {
    let command_line = fs::read_to_string("/proc/cmdline")?;
    let legs = command_line.split_whitespace().find_map(|word| word.strip_prefix("legs="));
    let legs: u32 = legs.context("how many legs?")?.parse()?;
    let directory = tempfile::tempdir()?;
    let mut gateway = Gateway::start_with(
        &Settings {
            executable: executable()?,
            place: &Place::Here,
            directory: directory.path(),
            interfaces: Vec::new(),
            addresses: Vec::new(),
            datapath: "io_uring",
            workers: None,
            shared_port: None,
            legs: None,
        },
        &configuration(&directory.path().join("sluice.sock").to_string_lossy(), legs)?,
    )?;
    let before = Footprint::of(gateway.id())?;
    let batches = legs.div_ceil(BATCH);
    // First, last, and some in between by lot.
    let mut lot = [0; 3];
    random(&mut lot)?;
    let mut heard: Vec<u32> = lot.iter().map(|lot| u32::from(*lot) * batches / 256).collect();
    heard.extend([0, batches - 1]);
    let mut calls = Vec::new();
    let mut pace = Vec::new();
    for batch in 0..batches {
        let begun = Instant::now();
        let count = BATCH.min(legs - batch * BATCH);
        let call = if heard.contains(&batch) { Some(Call::new()?) } else { None };
        let locals = create(&mut gateway, batch, count, call.as_ref())?;
        calls.extend(call.map(|call| (batch, locals[0], call)));
        pace.push(begun.elapsed().as_secs_f64() / f64::from(count));
        if batch % 10 == 9 {
            println!("{} legs", (batch + 1) * BATCH);
        }
    }
    let after = Footprint::of(gateway.id())?;
    ensure!(after.descriptors - before.descriptors >= u64::from(legs), "{before:?} {after:?}");
    for (batch, local, call) in &mut calls {
        call.passes(&mut gateway, *batch, *local).with_context(|| format!("batch {batch}"))?;
    }
    let per_leg = |before: u64, after: u64| after.saturating_sub(before) / u64::from(legs);
    let (daemon, system) = (per_leg(before.daemon, after.daemon), per_leg(after.free, before.free));
    println!(
        "{legs} legs with a port each: {:.1} s; daemon {} MiB before and {} MiB after, {daemon} bytes a leg; \
         system {system} bytes a leg",
        pace.iter().sum::<f64>() * f64::from(BATCH.min(legs)),
        before.daemon >> 20,
        after.daemon >> 20
    );
    ensure!(daemon <= DAEMON_BYTES, "{daemon} bytes a leg are more than {DAEMON_BYTES}");
    ensure!(system <= SYSTEM_BYTES, "{system} bytes a leg are more than {SYSTEM_BYTES}");
    the_last_are_as_quick_as_the_first(&pace)?;
    let begun = Instant::now();
    for batch in 0..batches {
        ensure!(gateway.delete_session(&session(batch))?, "session {batch} is gone");
    }
    println!("deleted in {:.1} s", begun.elapsed().as_secs_f64());
    // Sockets are closed once the kernel lets go of them.
    let deadline = Instant::now() + Duration::from_mins(1);
    while Footprint::of(gateway.id())?.descriptors > before.descriptors + 8 {
        ensure!(Instant::now() < deadline, "sockets are left over: {:?}", Footprint::of(gateway.id())?);
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn configuration(socket: &str, legs: u32) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "[api]\nsocket = \"{socket}\"")?;
    writeln!(text, "[media]\naddresses = {ADDRESSES:?}\nports = \"2000-65535\"")?;
    writeln!(text, "[datapath]\nmode = \"io_uring\"\nworkers = 2")?;
    writeln!(text, "[limits]\nlegs = {}", legs.max(BATCH))?;
    Ok(text)
}

fn session(batch: u32) -> String {
    format!("batch-{batch}")
}

/// Creates a batch of legs in a session of its own; their local addresses. A call has the first and the last.
fn create(gateway: &mut Gateway, batch: u32, count: u32, call: Option<&Call>) -> Result<Vec<SocketAddr>> {
    let session = session(batch);
    let request = v1::CreateSessionRequest { session: session.clone(), ..Default::default() };
    gateway.call(|client| client.create_session(request))?;
    let leg = |number: u32| {
        let peer = call.and_then(|call| match number {
            0 => Some(&call.caller),
            last if last == count - 1 => Some(&call.listener),
            _ => None,
        });
        let remote = peer.map_or_else(|| "127.0.0.9:9".to_owned(), |peer| peer.1.to_string());
        let protection = if peer.is_some() { Protection::Srtp } else { Protection::Plain };
        v1::CreateLegRequest {
            session: session.clone(),
            leg: number.to_string(),
            config: Some(v1::LegConfig {
                local: ADDRESSES[(batch % 2) as usize].to_owned(),
                remote,
                rtcp_mux: true,
                inbound: protection.into(),
                outbound: protection.into(),
                ..Default::default()
            }),
        }
    };
    let request = v1::CreateLegsRequest { legs: (0..count).map(leg).collect() };
    let mut locals = Vec::new();
    for result in gateway.call(|client| client.create_legs(request))?.results {
        match result.result {
            Some(leg_result::Result::Leg(leg)) => locals.push(leg.local_rtp.parse()?),
            other => anyhow::bail!("after {} legs of batch {batch}: {other:?}", locals.len()),
        }
    }
    if let Some(call) = call {
        let (first, last) = ("0".to_owned(), (count - 1).to_string());
        gateway.install_keys(vec![
            key_install(&session, &first, "k", Direction::Inbound, &call.keys[0]),
            key_install(&session, &last, "k", Direction::Outbound, &call.keys[1]),
        ])?;
        gateway.add_routes(&session, &[(&first, &last)])?;
    }
    Ok(locals)
}

/// Media from the first leg of a batch to its last.
struct Call {
    caller: (UdpSocket, SocketAddr),
    listener: (UdpSocket, SocketAddr),
    keys: [Key; 2],
}

impl Call {
    fn new() -> Result<Self> {
        let socket = || -> Result<_> {
            let socket = UdpSocket::bind("127.0.0.9:0")?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        };
        let keys = [Key::random(Suite::AesCm128HmacSha1_80)?, Key::random(Suite::AeadAes256Gcm)?];
        Ok(Self { caller: socket()?, listener: socket()?, keys })
    }

    fn passes(&mut self, gateway: &mut Gateway, batch: u32, local: SocketAddr) -> Result<()> {
        let mut caller = Peer::keyed(self.caller.0.try_clone()?, Some(&self.keys[0]), None)?;
        let mut listener = Peer::keyed(self.listener.0.try_clone()?, None, Some(&self.keys[1]))?;
        let mut source = Source::new(batch + 1, 1);
        for number in 0..PACKETS {
            let packet = source.next_packet();
            caller.send(local, &packet)?;
            let heard = listener.receive(Duration::from_secs(10))?;
            ensure!(heard.as_ref() == Some(&packet), "packet {number} of session {}", session(batch));
        }
        let request = v1::GetStatisticsRequest { session: session(batch), ..Default::default() };
        let legs = gateway.call(|client| client.get_statistics(request))?.legs;
        let first = legs.iter().find(|leg| leg.leg == "0").context("no first leg")?;
        ensure!(first.received_rtp_packets == PACKETS as u64, "{first:?}");
        Ok(())
    }
}

/// Nothing that is done for a leg takes longer for those that are there already.
fn the_last_are_as_quick_as_the_first(pace: &[f64]) -> Result<()> {
    let few = (pace.len() / 10).max(1);
    // Of several the best: the host has other things to do.
    let best = |paces: &[f64]| paces.iter().copied().fold(f64::INFINITY, f64::min) * 1e6;
    let (first, last) = (best(&pace[..few]), best(&pace[pace.len() - few..]));
    println!("a leg takes {first:.0} us at first and {last:.0} us at last");
    ensure!(pace.len() < 5 || last < 4.0 * first, "legs take ever longer");
    Ok(())
}

/// What the daemon and the system use.
#[derive(Debug)]
struct Footprint {
    /// Bytes that the daemon has in memory.
    daemon: u64,
    /// Bytes that the system has free.
    free: u64,
    descriptors: u64,
}

impl Footprint {
    fn of(daemon: u32) -> Result<Self> {
        let field = |file: &str, name: &str| -> Result<u64> {
            let text = fs::read_to_string(file)?;
            let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such field")?;
            Ok(line.split_whitespace().next().context("no number")?.parse::<u64>()? << 10)
        };
        Ok(Self {
            daemon: field(&format!("/proc/{daemon}/status"), "VmRSS:")?,
            free: field("/proc/meminfo", "MemFree:")?,
            descriptors: fs::read_dir(format!("/proc/{daemon}/fd"))?.count() as u64,
        })
    }
}
