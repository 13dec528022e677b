//! The two calls and what is done to them while they last.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use sluice_srtp::Suite;

use crate::demo::adversary::{
    dtls_client_hello, forge, is_stun_answer, overheard, stun_binding_request, zrtp_hello,
};
use crate::demo::gateway::{Gateway, Key, Leg, random};
use crate::demo::interrupt;
use crate::demo::lane::{Lane, Lanes};
use crate::demo::media::{
    Comparison, Speech, ffmpeg_receiver, ffmpeg_sender, gstreamer_receiver, gstreamer_sender,
};
use crate::demo::process::Process;
use crate::demo::world::World;

/// The session that holds both calls.
pub(crate) const SESSION: &str = "demo";
/// The leg from ffmpeg, and the leg to it.
pub(crate) const DECRYPTED: (&str, &str) = ("ffmpeg-in", "ffmpeg-out");
/// The leg from GStreamer, and the leg to it.
pub(crate) const REENCRYPTED: (&str, &str) = ("gstreamer-in", "gstreamer-out");
/// Forged, and replayed, packets per call.
pub(crate) const ATTACKS: u64 = 25;
/// DTLS, and ZRTP, datagrams.
pub(crate) const GREETINGS: u64 = 3;

/// How long programs may take to come up, and to finish.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of the calls.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What ffmpeg received against what it should have.
    pub(crate) decrypted: Comparison,
    /// What GStreamer received against what it should have.
    pub(crate) reencrypted: Comparison,
    /// How long the STUN answer took; none: there was none.
    pub(crate) stun_answer: Option<Duration>,
}

/// The keys of both calls.
pub(crate) struct Keys {
    ffmpeg: Key,
    gstreamer_in: Key,
    gstreamer_out: Key,
}

impl Keys {
    /// Fresh random keys.
    pub(crate) fn random() -> Result<Self> {
        Ok(Self {
            ffmpeg: Key::random(Suite::AesCm128HmacSha1_80)?,
            gstreamer_in: Key::random(Suite::AeadAes256Gcm)?,
            gstreamer_out: Key::random(Suite::AesCm128HmacSha1_80)?,
        })
    }
}

/// Tells the gateway of both calls.
pub(crate) fn announce(gateway: &mut Gateway, lanes: &Lanes, keys: &Keys) -> Result<()> {
    let (one, two) = (&lanes.decrypted, &lanes.reencrypted);
    let legs = [
        Leg::new(DECRYPTED.0, one.into, one.caller).inbound(&keys.ffmpeg),
        Leg::new(DECRYPTED.1, one.out, one.listener),
        Leg::new(REENCRYPTED.0, two.into, two.caller).inbound(&keys.gstreamer_in).rtcp_mux(),
        Leg::new(REENCRYPTED.1, two.out, two.listener).outbound(&keys.gstreamer_out).rtcp_mux(),
    ];
    gateway.create_call(SESSION, &legs, &[DECRYPTED, REENCRYPTED])
}

/// Plays both calls to their end, with attacks and negotiation datagrams in between.
pub(crate) fn play(
    world: &World,
    lanes: &Lanes,
    keys: &Keys,
    speech: &Speech,
    directory: &std::path::Path,
) -> Result<Outcome> {
    let mut ssrc = [0; 4];
    random(&mut ssrc)?;
    let ssrc = u32::from_be_bytes(ssrc) >> 1;
    let (one, two) = (&lanes.decrypted, &lanes.reencrypted);
    let outputs = [directory.join("ffmpeg.received"), directory.join("gstreamer.received")];

    // Receivers first, and senders only when these listen: nothing may be lost at the start.
    let command = ffmpeg_receiver(&world.peers, one.receive_at, &outputs[0])?;
    let mut ffmpeg_in = Process::spawn("ffmpeg-receiver", command, directory)?;
    let key = &keys.gstreamer_out.material;
    let command = gstreamer_receiver(&world.peers, key, ssrc, two.receive_at, &outputs[1])?;
    let mut gstreamer_in = Process::spawn("gstreamer-receiver", command, directory)?;
    ffmpeg_in.wait_for_udp(one.receive_at.port(), PATIENCE)?;
    gstreamer_in.wait_for_udp(two.receive_at.port(), PATIENCE)?;

    let key = &keys.ffmpeg.material;
    let command = ffmpeg_sender(&world.peers, speech, key, one.send_from, one.send_to)?;
    let mut ffmpeg_out = Process::spawn("ffmpeg-sender", command, directory)?;
    let key = &keys.gstreamer_in.material;
    let command = gstreamer_sender(&world.peers, speech, key, ssrc, two.send_from, two.send_to)?;
    let mut gstreamer_out = Process::spawn("gstreamer-sender", command, directory)?;

    attack(lanes)?;
    let stun_answer = negotiate(lanes)?;

    ffmpeg_out.succeed(speech.duration + PATIENCE)?;
    gstreamer_out.succeed(speech.duration + PATIENCE)?;
    wait_for_file(&outputs[0], &speech.mulaw)?;
    wait_for_file(&outputs[1], &speech.linear)?;
    ffmpeg_in.stop(Signal::INT, Duration::from_secs(1));
    gstreamer_in.stop(Signal::INT, Duration::from_secs(1));
    Ok(Outcome {
        decrypted: Comparison::of(&speech.mulaw, &outputs[0])?,
        reencrypted: Comparison::of(&speech.linear, &outputs[1])?,
        stun_answer,
    })
}

/// Forged and replayed packets into both calls, in the callers' names.
fn attack(lanes: &Lanes) -> Result<()> {
    /// A replayed packet lies this many packets back: taken long since, and inside the window.
    const BACK: usize = 10;
    /// A forged packet is this far ahead: its sequence number is not used yet.
    const AHEAD: u16 = 20;
    for lane in [lanes.decrypted, lanes.reencrypted] {
        wait_for_media(lanes, lane, 3 * BACK)?;
    }
    let mut forgeries = Vec::new();
    for _ in 0..ATTACKS {
        for lane in [lanes.decrypted, lanes.reencrypted] {
            let mut seen = overheard(&lanes.wire, lane.into);
            seen.retain(|packet| !forgeries.contains(&packet.payload));
            let old = seen.iter().rev().nth(BACK).context("media stopped")?;
            let forged = forge(seen.last().context("media stopped")?, AHEAD);
            lanes.injector.send(lane.caller, lane.into, &forged)?;
            lanes.injector.send(lane.caller, lane.into, &old.payload)?;
            forgeries.push(forged);
        }
        interrupt::sleep(Duration::from_millis(60))?;
    }
    Ok(())
}

/// STUN, DTLS and ZRTP to the port of a call that is going on; how long the STUN answer took.
fn negotiate(lanes: &Lanes) -> Result<Option<Duration>> {
    let Lane { caller, into, .. } = lanes.decrypted;
    let mut transaction = [0; 12];
    random(&mut transaction)?;
    lanes.injector.send(caller, into, &stun_binding_request(transaction))?;
    let request = lanes.wire.wait_for(PATIENCE / 10, |packet| {
        packet.destination == into && packet.payload.get(8..20) == Some(&transaction)
    });
    let answer = lanes.wire.wait_for(PATIENCE / 5, |packet| {
        packet.source == into && is_stun_answer(&packet.payload, transaction)
    });
    for _ in 0..GREETINGS {
        lanes.injector.send(caller, into, &dtls_client_hello())?;
        lanes.injector.send(caller, into, &zrtp_hello(1))?;
        interrupt::sleep(Duration::from_millis(20))?;
    }
    let asked = request.map_or(u64::MAX, |request| request.at);
    Ok(answer.map(|answer| Duration::from_nanos(answer.at.saturating_sub(asked))))
}

fn wait_for_media(lanes: &Lanes, lane: Lane, packets: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while overheard(&lanes.wire, lane.into).len() < packets {
        anyhow::ensure!(Instant::now() < deadline, "no media towards {}", lane.into);
        interrupt::sleep(Duration::from_millis(20))?;
    }
    Ok(())
}

/// Waits until a received file is as long as it should be, or has not grown for a second.
fn wait_for_file(received: &PathBuf, reference: &PathBuf) -> Result<()> {
    let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let (mut last, mut since) = (length(received), Instant::now());
    while last < length(reference) && since.elapsed() < Duration::from_secs(1) {
        interrupt::sleep(Duration::from_millis(20))?;
        let now = length(received);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    // One more moment, in which something surplus would arrive.
    interrupt::sleep(Duration::from_millis(100))
}
