//! A conference of three who speak SRTP and share no code with us, mixed by a local application: each hears the other
//! two, under their own key, and not themselves.
//!
//! ```text
//! ffmpeg, GStreamer ─ SRTP ─▶ leg ─▶ ring ─▶ example mixer ─▶ ring ─▶ leg ─ SRTP ─▶ ffmpeg, GStreamer
//! ```

use std::env;
use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use sluice_proto::v1;
use sluice_srtp::Suite;
use sluice_tests::site;
use sluice_tools::demo::gateway::{Gateway, Key, Leg, Settings};
use sluice_tools::demo::process::Process;
use sluice_tools::demo::world::World;

const RATE: u32 = 8000;
/// Seconds of audio.
const LENGTH: u32 = 8;
const START: Duration = Duration::from_secs(20);
const SESSION: &str = "room";

/// One of the three: what is spoken, by whom, and the keys of both directions.
struct Peer {
    name: &'static str,
    tone: u32,
    program: Program,
    sends: Key,
    hears: Key,
    /// Where audio is sent to, and where it is received.
    leg: SocketAddr,
    at: SocketAddr,
    heard: PathBuf,
}

#[derive(Clone, Copy, PartialEq)]
enum Program {
    Ffmpeg,
    GStreamer,
}

#[test]
fn three_peers_hear_each_other_through_a_local_mixer_and_not_themselves() -> Result<()> {
    if !installed("ffmpeg", &["-version"]) || !installed("gst-inspect-1.0", &["--exists", "srtpenc"]) {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let world = World::loopback();
    let mut gateway = Gateway::start(&Settings {
        executable: site::executable()?,
        place: &world.gateway,
        directory: folder.path(),
        interfaces: Vec::new(),
        addresses: vec![world.gateway_address],
        datapath: "io_uring",
        workers: Some(1),
        shared_port: None,
        legs: None,
    })?;
    let session = v1::CreateSessionRequest { session: SESSION.into(), ..Default::default() };
    gateway.call(|client| client.create_session(session))?;
    let speakers = [
        ("alice", 500, Program::Ffmpeg),
        ("bob", 1100, Program::GStreamer),
        ("carol", 1900, Program::GStreamer),
    ];
    let mut peers = Vec::new();
    let mut tokens = String::new();
    for (name, tone, program) in speakers {
        let (peer, token) = join(&mut gateway, &world, folder.path(), (name, tone, program))?;
        writeln!(tokens, "{name}-mixed {token}")?;
        peers.push(peer);
    }
    let legs = folder.path().join("legs");
    fs::write(&legs, tokens)?;
    let mut mixer = Command::new(example()?);
    mixer.arg("--socket").arg(folder.path().join("sluice.sock.rings"));
    mixer.args(["--session", SESSION, "--delay", "5", "--legs"]).arg(&legs);
    let mut mixer = Process::spawn("mixer", mixer, folder.path())?;
    until(&mut mixer, "ready")?;
    let mut receivers = start_all(&peers, folder.path(), |peer| hear(peer, ssrc(&mixer, peer)?))?;
    for (receiver, peer) in receivers.iter_mut().zip(&peers) {
        receiver.wait_for_udp(peer.at.port(), START)?;
    }
    let mut senders = start_all(&peers, folder.path(), |peer| Ok(speak(peer)))?;
    for sender in &mut senders {
        sender.succeed(START + Duration::from_secs(LENGTH.into()))?;
    }
    thread::sleep(Duration::from_millis(500));
    for receiver in &mut receivers {
        receiver.stop(Signal::INT, Duration::from_secs(3));
    }
    for peer in &peers {
        judge(peer, &peers)
            .with_context(|| format!("{}; the mixer says: {}", peer.name, mixer.last_words()))?;
        let counted = gateway.leg(SESSION, &format!("{}-mixed", peer.name))?;
        let ring = counted.ring.context("a ring's counters")?;
        ensure!(ring.attached && ring.received > 300 && ring.sent > 300, "{ring:?}");
        ensure!(counted.path == "ring" && counted.received_rtp_packets > 300, "{counted:?}");
    }
    ensure!(mixer.finished()?.is_none(), "the mixer has ended: {}", mixer.last_words());
    // The room closes: the mixer is told, and has nothing more to do.
    gateway.delete_session(SESSION)?;
    mixer.succeed(Duration::from_secs(5))?;
    gateway.stop()
}

/// A peer's leg, and that of its mix: encrypted, and through a ring.
fn join(
    gateway: &mut Gateway,
    world: &World,
    folder: &Path,
    (name, tone, program): (&'static str, u32, Program),
) -> Result<(Peer, String)> {
    let suite = Suite::AesCm128HmacSha1_80;
    let (sends, hears, at) = (Key::random(suite)?, Key::random(suite)?, free_port()?);
    let local = SocketAddr::new(world.gateway_address, 0);
    let mut leg = Leg::new(name, local, at).inbound(&sends).outbound(&hears).rtcp_mux();
    // Each program has a socket for what it sends, and the peer another one.
    leg.config.latching = v1::Latching::Never.into();
    gateway.add_legs(SESSION, &[leg])?;
    let mixed = format!("{name}-mixed");
    let plain = v1::Protection::Plain.into();
    let config = v1::LegConfig { inbound: plain, outbound: plain, ring: true, ..Default::default() };
    let request = v1::CreateLegRequest { session: SESSION.into(), leg: mixed.clone(), config: Some(config) };
    let token = gateway.call(|client| client.create_leg(request))?.ring_token;
    gateway.add_routes(SESSION, &[(name, &mixed), (&mixed, name)])?;
    let request = v1::GetLegRequest { session: SESSION.into(), leg: name.into() };
    let leg = gateway.call(|client| client.get_leg(request))?.local_rtp.parse()?;
    let heard = folder.join(format!("{name}.s16"));
    Ok((Peer { name, tone, program, sends, hears, leg, at, heard }, token))
}

/// A tone in real time, as SRTP.
fn speak(peer: &Peer) -> Command {
    let (key, to) = (&peer.sends.material, peer.leg);
    match peer.program {
        Program::Ffmpeg => {
            let mut command = Command::new("ffmpeg");
            let tone = format!("sine=frequency={}:sample_rate={RATE}:duration={LENGTH}", peer.tone);
            command.args(["-nostdin", "-v", "warning", "-re", "-f", "lavfi", "-i", &tone]);
            command.args(["-c:a", "pcm_mulaw", "-f", "rtp", "-srtp_out_suite", "AES_CM_128_HMAC_SHA1_80"]);
            command.args(["-srtp_out_params", &BASE64.encode(key)]);
            command.arg(format!("srtp://{to}?pkt_size=172&rtcpport={}", to.port()));
            command
        }
        Program::GStreamer => {
            let mut command = Command::new("gst-launch-1.0");
            let buffers = LENGTH * 50;
            command.args(["-q", "audiotestsrc", "is-live=true", "samplesperbuffer=160", "volume=0.125"]);
            command.args([&format!("freq={}", peer.tone), &format!("num-buffers={buffers}")]);
            command.args(["!", &format!("audio/x-raw,rate={RATE},channels=1"), "!", "mulawenc"]);
            command.args(["!", "rtppcmupay", "min-ptime=20000000", "max-ptime=20000000"]);
            command.args(["!", "srtpenc", &format!("key={}", hex::encode(key))]);
            command.args(["!", "udpsink", &format!("host={}", to.ip()), &format!("port={}", to.port())]);
            command
        }
    }
}

/// What comes, decrypted under the peer's own key and decoded to 16 bits.
fn hear(peer: &Peer, ssrc: u32) -> Result<Command> {
    let (key, at) = (&peer.hears.material, peer.at);
    let output = peer.heard.to_str().context("a path that is UTF-8")?;
    if peer.program == Program::Ffmpeg {
        let description = peer.heard.with_extension("sdp");
        fs::write(
            &description,
            format!(
                "v=0\no=- 0 0 IN IP4 {ip}\ns=sluice\nc=IN IP4 {ip}\nt=0 0\nm=audio {port} RTP/SAVP 0\n\
                 a=rtpmap:0 PCMU/8000\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\n",
                ip = at.ip(),
                port = at.port(),
                key = BASE64.encode(key),
            ),
        )?;
        let mut command = Command::new("ffmpeg");
        command.args([
            "-nostdin",
            "-v",
            "warning",
            "-y",
            "-protocol_whitelist",
            "file,udp,rtp,srtp,crypto,data",
        ]);
        command.arg("-i").arg(&description);
        command.args(["-c:a", "pcm_s16le", "-flush_packets", "1", "-f", "s16le", output]);
        return Ok(command);
    }
    let caps = format!(
        "application/x-srtp,media=audio,encoding-name=PCMU,clock-rate={RATE},payload=0,ssrc=(uint){ssrc},\
         srtp-key=(buffer){},srtp-cipher=aes-128-icm,srtp-auth=hmac-sha1-80,srtcp-cipher=aes-128-icm,\
         srtcp-auth=hmac-sha1-80",
        hex::encode(key)
    );
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "udpsrc", &format!("address={}", at.ip()), &format!("port={}", at.port())]);
    command.args([&format!("caps={caps}"), "!", "srtpdec", "!", "rtppcmudepay", "!", "mulawdec"]);
    command.args(["!", "filesink", "buffer-mode=unbuffered", &format!("location={output}")]);
    Ok(command)
}

/// Fails unless what the peer decoded is the tones of all others, and not its own.
fn judge(peer: &Peer, peers: &[Peer]) -> Result<()> {
    let octets = fs::read(&peer.heard)?;
    let samples: Vec<f64> =
        octets.as_chunks().0.iter().map(|two| f64::from(i16::from_le_bytes(*two))).collect();
    // From the loudest second on: where all three speak.
    let window = 2 * RATE as usize;
    let middle = samples
        .windows(window)
        .step_by(RATE as usize / 4)
        .max_by_key(|window| window.iter().map(|sample| sample * sample).sum::<f64>() as u64);
    let middle = middle.with_context(|| format!("only {} samples were decoded", samples.len()))?;
    let shares: Vec<(&str, f64)> =
        peers.iter().map(|other| (other.name, share(middle, other.tone))).collect();
    for (name, share) in &shares {
        if *name == peer.name {
            ensure!(*share < 0.01, "hears itself: {shares:?}");
        } else {
            ensure!((0.25..0.75).contains(share), "does not hear {name} as loud as the other: {shares:?}");
        }
    }
    Ok(())
}

/// How much of the energy is in a tone: Goertzel's algorithm under a Hann window.
fn share(samples: &[f64], tone: u32) -> f64 {
    let step = TAU * f64::from(tone) / f64::from(RATE);
    let (mut before, mut last, mut energy, mut weight) = (0.0, 0.0, 0.0, 0.0);
    for (place, sample) in samples.iter().enumerate() {
        let window = 0.5 - 0.5 * (TAU * place as f64 / samples.len() as f64).cos();
        let now = sample * window + 2.0 * step.cos() * last - before;
        (before, last) = (last, now);
        energy += sample * sample;
        weight += window;
    }
    let power = last * last + before * before - 2.0 * step.cos() * last * before;
    // Of a sine of amplitude a: power = (a × weight / 2)², and energy = a² / 2 for each sample.
    let amplitude = 2.0 * power.max(0.0).sqrt() / weight;
    amplitude * amplitude / 2.0 * samples.len() as f64 / energy.max(1.0)
}

fn start_all(
    peers: &[Peer],
    folder: &Path,
    command: impl Fn(&Peer) -> Result<Command>,
) -> Result<Vec<Process>> {
    let each = peers.iter().map(|peer| {
        let command = command(peer)?;
        let name = format!("{}-{}", peer.name, fs::read_dir(folder)?.count());
        Process::spawn(&name, command, folder)
    });
    each.collect()
}

/// The SSRC under which the mixer says that it sends to a peer.
fn ssrc(mixer: &Process, peer: &Peer) -> Result<u32> {
    let said = mixer.output();
    let line = format!("{}-mixed sends SSRC 0x", peer.name);
    let ssrc = said.lines().find_map(|said| said.strip_prefix(&line)).context("the mixer's SSRC")?;
    Ok(u32::from_str_radix(ssrc, 16)?)
}

fn until(process: &mut Process, word: &str) -> Result<()> {
    let deadline = Instant::now() + START;
    while !process.output().contains(word) {
        if let Some(status) = process.finished()? {
            bail!("ended with {status}: {}", process.last_words());
        }
        ensure!(Instant::now() < deadline, "{word:?} was not said in time: {}", process.last_words());
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A port that was free a moment ago, and the one after it.
fn free_port() -> Result<SocketAddr> {
    for _ in 0..100 {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let at = socket.local_addr()?;
        let next = at.port().checked_add(1).filter(|_| at.port() % 2 == 0);
        if next.is_some_and(|next| UdpSocket::bind((Ipv4Addr::LOCALHOST, next)).is_ok()) {
            return Ok(at);
        }
    }
    bail!("no two free ports beside each other")
}

/// The example's executable, as fresh as the tests.
fn example() -> Result<PathBuf> {
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "-p", "sluice-mixer-client", "--example", "mixer"]);
    build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    // target/debug/deps/test-hash → target/debug/examples/mixer
    let test = env::current_exe()?;
    let built = test.parent().and_then(Path::parent).context("a target folder")?.join("examples/mixer");
    let built = env::var_os("SLUICE_MIXER").map_or(built, PathBuf::from);
    ensure!(env::var_os("SLUICE_MIXER").is_some() || build.status()?.success(), "the example does not build");
    ensure!(built.exists(), "{} is not there", built.display());
    Ok(built)
}

/// Whether a peer is installed; where not, says so on standard error, but in continuous integration, where `./justw`
/// has installed it.
fn installed(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let found = command.status().is_ok_and(|status| status.success());
    if !found {
        assert!(env::var_os("CI").is_none(), "{program} does not work, and this is CI");
        eprintln!("SKIP: {program} {} does not work here; `./justw test` installs it", arguments.join(" "));
    }
    found
}
