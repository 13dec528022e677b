//! The demo: the gateway's main job on real media, between peers that share no code with it, in
//! network namespaces of its own; also the toolbox of the tests in network namespaces.

pub mod adversary;
mod calls;
pub mod gateway;
pub mod interrupt;
mod judge;
mod lane;
pub mod measure;
pub mod media;
pub mod namespace;
pub mod process;
mod report;
pub mod wire;
pub mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::demo::calls::Keys;
use crate::demo::gateway::{Gateway, Settings};
use crate::demo::lane::Lanes;
use crate::demo::media::Speech;
use crate::demo::report::Report;
use crate::demo::world::World;

/// What `sluice demo` may be told.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Send this audio file instead of the recordings of alsa-utils.
    #[arg(long, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    /// Use io_uring on loopback even as root.
    #[arg(long)]
    pub loopback: bool,
    /// Send no more than this many seconds of it.
    #[arg(long, value_name = "SECONDS", default_value_t = 12.0)]
    pub seconds: f32,
    /// Keep logs, received media and configuration in this directory.
    #[arg(long, value_name = "DIRECTORY")]
    pub keep: Option<PathBuf>,
}

/// Runs the demo with `executable` as the daemon; says whether every check held.
pub fn run(options: &Options, executable: &Path) -> Result<bool> {
    let started = Instant::now();
    let signals = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    interrupt::watch(&signals)?;
    need_programs()?;
    let scratch = tempfile::Builder::new().prefix("sluice-demo-").tempdir()?;
    let directory = match &options.keep {
        Some(keep) => {
            std::fs::create_dir_all(keep).with_context(|| keep.display().to_string())?;
            keep.canonicalize()?
        }
        None => scratch.path().to_owned(),
    };
    let mut report = perform(options, executable, &directory)?;
    report.took = started.elapsed();
    println!("{report}");
    Ok(report.passed())
}

fn perform(options: &Options, executable: &Path, directory: &Path) -> Result<Report> {
    let world = build_world(options)?;
    let speech = Speech::prepare(directory, options.audio.as_deref(), options.seconds)?;
    let mut gateway = Gateway::start(&Settings {
        executable,
        place: &world.gateway,
        directory,
        interfaces: world.interface.iter().cloned().collect(),
        addresses: vec![world.gateway_address],
        datapath: if world.interface.is_some() { "auto" } else { "io_uring" },
        workers: None,
        shared_port: None,
        legs: None,
    })?;
    let lanes = Lanes::open(&world, directory)?;
    let keys = Keys::random()?;
    calls::announce(&mut gateway, &lanes, &keys)?;
    let seconds = speech.duration.as_secs_f32();
    println!("  ffmpeg ──AES_CM_128_HMAC_SHA1_80──▶ sluice ──RTP──▶ ffmpeg");
    println!("  GStreamer ──AEAD_AES_256_GCM──▶ sluice ──AES_CM_128_HMAC_SHA1_80──▶ libsrtp");
    println!("  {seconds:.1} s of recorded speech, with forgeries, replays, STUN, DTLS and ZRTP …");
    let outcome = calls::play(&world, &lanes, &keys, &speech, directory)?;
    judge::judge(&world, &lanes, gateway, &outcome)
}

fn build_world(options: &Options) -> Result<World> {
    if options.loopback {
        println!("On loopback, as asked: no XDP, media goes by io_uring.");
        return Ok(World::loopback());
    }
    if !rustix::process::geteuid().is_root() {
        println!("Without root there are no network namespaces and no XDP:");
        println!("the same job by io_uring on loopback. As root it shows XDP.");
        return Ok(World::loopback());
    }
    println!("Two network namespaces joined by veth, the gateway in one, its peers in the other.");
    World::namespaces(1500)
}

/// Says what is missing before anything is begun.
fn need_programs() -> Result<()> {
    let mut missing = Vec::new();
    for (program, package) in
        [("ffmpeg", "ffmpeg"), ("gst-launch-1.0", "gstreamer1.0-tools"), ("setpriv", "util-linux")]
    {
        let mut command = Command::new(program);
        command.arg("--help").stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_err() {
            missing.push(package);
        }
    }
    let plugins = [
        ("srtpenc", "gstreamer1.0-plugins-bad"),
        ("rtpL16pay", "gstreamer1.0-plugins-good"),
        ("rawaudioparse", "gstreamer1.0-plugins-base"),
    ];
    if !missing.contains(&"gstreamer1.0-tools") {
        for (plugin, package) in plugins {
            let inspected = Command::new("gst-inspect-1.0").args(["--exists", plugin]).status();
            if !inspected.is_ok_and(|status| status.success()) {
                missing.push(package);
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "the demo's media peers are not installed. `./justw demo` installs them, or by hand: apt-get install {}",
        missing.join(" ")
    )
}
