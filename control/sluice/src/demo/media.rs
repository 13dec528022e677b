//! The media peers: ffmpeg and GStreamer, which share no code with Sluice (GStreamer's SRTP is
//! libsrtp), on a recording of real speech.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::demo::world::Place;

/// Where alsa-utils keeps its recordings of a speaker naming the loudspeakers.
const RECORDINGS: &str = "/usr/share/sounds/alsa";
/// Sampling rate of the 16-bit stream that GStreamer sends.
const LINEAR_RATE: u32 = 44_100;
/// RTP payload type of the 16-bit stream.
const LINEAR_TYPE: u8 = 96;

/// A recording, and what its payload bytes must be in the two encodings that are sent. The
/// encodings are made once, by ffmpeg, from the source: what receivers wrote is held against them.
#[derive(Debug)]
pub struct Speech {
    /// The source.
    pub wav: PathBuf,
    /// G.711 μ-law, 8 kHz (RTP payload type 0).
    pub mulaw: PathBuf,
    /// 16-bit big-endian, 44.1 kHz (RFC 3551 L16).
    pub linear: PathBuf,
    /// How long it is.
    pub duration: Duration,
}

impl Speech {
    /// Prepares `audio`, or else all of the recordings that alsa-utils brings, in `directory`;
    /// of it the first `seconds`.
    pub fn prepare(directory: &Path, audio: Option<&Path>, seconds: f32) -> Result<Self> {
        let list = directory.join("recordings.txt");
        fs::write(&list, concat_list(&recordings(audio)?)?)?;
        let mut speech = Self {
            wav: directory.join("speech.wav"),
            mulaw: directory.join("speech.mulaw"),
            linear: directory.join("speech.s16be"),
            duration: Duration::ZERO,
        };
        let linear_rate = LINEAR_RATE.to_string();
        let seconds = seconds.to_string();
        convert(
            &["-f", "concat", "-safe", "0", "-i", path(&list)?],
            &["-t", &seconds, "-ac", "1", "-c:a", "pcm_s16le", path(&speech.wav)?],
        )?;
        let wav = ["-i", path(&speech.wav)?];
        convert(&wav, &["-ar", "8000", "-c:a", "pcm_mulaw", "-f", "mulaw", path(&speech.mulaw)?])?;
        convert(&wav, &["-ar", &linear_rate, "-c:a", "pcm_s16be", "-f", "s16be", path(&speech.linear)?])?;
        // One byte for a sample, 8000 samples a second.
        speech.duration = Duration::from_millis(fs::metadata(&speech.mulaw)?.len() / 8);
        Ok(speech)
    }
}

/// ffmpeg, encoding the recording to μ-law in real time and sending it as SRTP
/// (AES_CM_128_HMAC_SHA1_80), RTCP to the port above.
pub fn ffmpeg_sender(
    place: &Place,
    speech: &Speech,
    key_salt: &[u8],
    from: SocketAddr,
    to: SocketAddr,
) -> Result<Command> {
    let mut command = place.command("ffmpeg");
    command.args(["-nostdin", "-v", "warning", "-re", "-i", path(&speech.wav)?]);
    command.args(["-ar", "8000", "-c:a", "pcm_mulaw", "-f", "rtp"]);
    command.args(["-srtp_out_suite", "AES_CM_128_HMAC_SHA1_80"]);
    command.args(["-srtp_out_params", &BASE64.encode(key_salt)]);
    // 172 bytes are 20 ms of μ-law and the RTP header.
    command.arg(format!(
        "srtp://{to}?pkt_size=172&localrtpport={}&localrtcpport={}",
        from.port(),
        from.port() + 1
    ));
    Ok(command)
}

/// ffmpeg, receiving plain RTP (μ-law) at `at` and writing the payload as it came.
pub fn ffmpeg_receiver(place: &Place, at: SocketAddr, output: &Path) -> Result<Command> {
    let description = output.with_extension("sdp");
    let family = if at.is_ipv4() { "IP4" } else { "IP6" };
    let (address, port) = (at.ip(), at.port());
    fs::write(
        &description,
        format!(
            "v=0\no=- 0 0 IN {family} {address}\ns=sluice\nc=IN {family} {address}\nt=0 0\n\
             m=audio {port} RTP/AVP 0\na=rtpmap:0 PCMU/8000\n"
        ),
    )?;
    let mut command = place.command("ffmpeg");
    command.args(["-nostdin", "-v", "warning", "-y"]);
    command.args(["-protocol_whitelist", "file,udp,rtp", "-i", path(&description)?]);
    // Written at once, so that the file can be watched for completeness.
    command.args(["-c", "copy", "-flush_packets", "1", "-f", "mulaw", path(output)?]);
    Ok(command)
}

/// GStreamer, sending 16-bit samples in real time as SRTP with AEAD_AES_256_GCM (RFC 7714).
pub fn gstreamer_sender(
    place: &Place,
    speech: &Speech,
    key_salt: &[u8],
    ssrc: u32,
    from: SocketAddr,
    to: SocketAddr,
) -> Result<Command> {
    let mut command = place.command("gst-launch-1.0");
    command.args(["-q", "filesrc", &format!("location={}", path(&speech.linear)?)]);
    command.args(["!", "rawaudioparse", "format=pcm", "pcm-format=s16be", "num-channels=1"]);
    command.arg(format!("sample-rate={LINEAR_RATE}"));
    command.args(["!", "rtpL16pay", "min-ptime=10000000", "max-ptime=10000000"]);
    command.args([&format!("pt={LINEAR_TYPE}"), &format!("ssrc={ssrc}")]);
    command.args(["!", "srtpenc", &format!("key={}", hex::encode(key_salt))]);
    command.args(["rtp-cipher=aes-256-gcm", "rtcp-cipher=aes-256-gcm"]);
    command.args(["rtp-auth=null", "rtcp-auth=null"]);
    command.args(["!", "udpsink", "sync=true", &format!("bind-port={}", from.port())]);
    command.args([&format!("host={}", to.ip()), &format!("port={}", to.port())]);
    Ok(command)
}

/// GStreamer, receiving SRTP with AES_CM_128_HMAC_SHA1_80 through libsrtp and writing the payload.
pub fn gstreamer_receiver(
    place: &Place,
    key_salt: &[u8],
    ssrc: u32,
    at: SocketAddr,
    output: &Path,
) -> Result<Command> {
    let key = hex::encode(key_salt);
    let caps = format!(
        "application/x-srtp,media=audio,encoding-name=L16,clock-rate={LINEAR_RATE},channels=1,\
         payload={LINEAR_TYPE},ssrc=(uint){ssrc},srtp-key=(buffer){key},\
         srtp-cipher=aes-128-icm,srtp-auth=hmac-sha1-80,\
         srtcp-cipher=aes-128-icm,srtcp-auth=hmac-sha1-80"
    );
    let mut command = place.command("gst-launch-1.0");
    command.args(["-q", "udpsrc", &format!("address={}", at.ip()), &format!("port={}", at.port())]);
    command.args([&format!("caps={caps}"), "!", "srtpdec", "!", "rtpL16depay"]);
    command.args(["!", "filesink", "buffer-mode=unbuffered"]);
    command.arg(format!("location={}", path(output)?));
    Ok(command)
}

/// What a comparison of a received file with its reference found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Length of what should have come.
    pub expected: usize,
    /// Length of what came.
    pub received: usize,
    /// Where they first differ, if they do within the common length.
    pub first_difference: Option<usize>,
}

impl Comparison {
    /// Compares two files byte for byte.
    pub fn of(reference: &Path, received: &Path) -> Result<Self> {
        let expected = fs::read(reference).with_context(|| reference.display().to_string())?;
        let received = fs::read(received).unwrap_or_default();
        let first_difference = expected.iter().zip(&received).position(|(a, b)| a != b);
        Ok(Self { expected: expected.len(), received: received.len(), first_difference })
    }

    /// Whether every byte arrived, and no other.
    pub fn identical(&self) -> bool {
        self.expected > 0 && self.expected == self.received && self.first_difference.is_none()
    }
}

fn recordings(audio: Option<&Path>) -> Result<Vec<PathBuf>> {
    if let Some(audio) = audio {
        ensure!(audio.is_file(), "no audio file at {}", audio.display());
        return Ok(vec![fs::canonicalize(audio)?]);
    }
    let entries = fs::read_dir(RECORDINGS)
        .with_context(|| format!("no recordings in {RECORDINGS}: install alsa-utils"))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| {
        file.extension().is_some_and(|extension| extension == "wav")
            && file.file_stem().is_some_and(|stem| stem != "Noise")
    });
    files.sort();
    ensure!(!files.is_empty(), "no recordings in {RECORDINGS}: install alsa-utils");
    Ok(files)
}

/// The list format of ffmpeg's concat demuxer.
fn concat_list(files: &[PathBuf]) -> Result<String> {
    files.iter().map(|file| Ok(format!("file '{}'\n", path(file)?.replace('\'', r"'\''")))).collect()
}

fn convert(input: &[&str], output: &[&str]) -> Result<()> {
    let result = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(input)
        .args(output)
        .output()
        .context("cannot run ffmpeg: install it (`./justw demo` does)")?;
    if !result.status.success() {
        bail!("ffmpeg cannot convert: {}", String::from_utf8_lossy(&result.stderr).trim());
    }
    Ok(())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
