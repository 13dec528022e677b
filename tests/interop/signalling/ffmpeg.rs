//! ffmpeg with its SDP in hand: as a caller it writes its own, as a callee it reads the one that Sluice made.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sluice_proto::v1::MediaSecurity::{self, BestEffort, Plain, Required};
use sluice_proto::v1::{CallSide, EarlyMedia, EarlyMediaMode, SessionPolicy};
use sluice_srtp::Suite;
use sluice_tests::signalling::Signalling;
use sluice_tests::site::Site;
use sluice_tests::{START, needs, tones};
use sluice_tools::demo::gateway::{Key, drops};
use sluice_tools::demo::process::Process;

use crate::{keys, policy, suites};

/// Where the caller sends from, and where the callee listens: RTP, and RTCP one above.
const CALLER: u16 = 4000;
const CALLEE: u16 = 5000;
const TONE: u32 = 640;
/// How long it is sent, and how much of it the callee takes.
const SECONDS: u32 = 4;
const HEARD: f64 = 2.5;
const SHA1_80: &str = "AES_CM_128_HMAC_SHA1_80";
const SHA1_32: &str = "AES_CM_128_HMAC_SHA1_32";

#[test]
fn ffmpeg_s_own_sdp_is_an_offer_and_sluice_s_offer_is_read_by_ffmpeg() -> Result<()> {
    needs!("ffmpeg", "-version");
    // RTP/AVP with a crypto line is what ffmpeg writes.
    call(Some(SHA1_80), SHA1_32, [Required, Required])?;
    call(Some(SHA1_32), SHA1_80, [BestEffort, Required])
}

#[test]
fn plain_rtp_of_ffmpeg_is_srtp_to_ffmpeg_and_the_other_way_round() -> Result<()> {
    needs!("ffmpeg", "-version");
    call(None, SHA1_80, [Plain, Required])?;
    call(Some(SHA1_80), "", [BestEffort, Plain])
}

#[test]
fn a_plain_announcement_of_ffmpeg_is_heard_by_ffmpeg_before_any_answer() -> Result<()> {
    needs!("ffmpeg", "-version");
    let mut site = Site::new()?;
    let directory = tempfile::tempdir()?;
    let mut api = Signalling::connect(&site.socket())?;
    let key = Key::random(Suite::AesCm128HmacSha1_80)?;
    let announcer = Caller { site: &site, suite: None, key: &key, directory: directory.path() };
    // Who calls listens, where it is written for the other one to.
    let offer = own_address(&site, &announcer.describe()?);
    let early_media = EarlyMedia { mode: EarlyMediaMode::Plain.into(), ..Default::default() };
    let policy = SessionPolicy { early_media: Some(early_media), ..policy(&[SHA1_80], BestEffort, Required) };
    let offered = api.offer("call", "", CallSide::Caller, &offer, Some(policy))?;
    ensure!(suites(&offered) == [SHA1_80], "the callee must have SRTP once it answers: {offered}");
    let heard = directory.path().join("heard.wav");
    let mut listener = Process::spawn("caller", listen(&site, &offer, &heard)?, directory.path())?;
    listener.wait_for_udp(CALLEE, START)?;
    let send = announcer.send(destination(&offered)?);
    Process::spawn("callee", send, directory.path())?.succeed(START)?;
    listener.succeed(START)?;
    tones::expect(&heard, TONE, HEARD - 0.3).with_context(|| listener.last_words())?;
    // A report that comes before a second packet of media is from nobody that is known yet.
    for (leg, besides) in [("main.callee.0", "unexpected_source"), ("main.caller.0", "")] {
        let leg = site.gateway.leg("call", leg)?;
        ensure!(drops(&leg, |reason| reason != besides) == 0, "{:?}", leg.drops);
    }
    api.end("call")?;
    Ok(())
}

/// One ffmpeg calls another, which has to hear its tone. `to` is the suite that the callee is offered first; none: no SRTP.
fn call(from: Option<&str>, to: &str, [calling, called]: [MediaSecurity; 2]) -> Result<()> {
    let mut site = Site::new()?;
    let directory = tempfile::tempdir()?;
    let mut api = Signalling::connect(&site.socket())?;
    let key = Key::random(Suite::AesCm128HmacSha1_80)?;
    let caller = Caller { site: &site, suite: from, key: &key, directory: directory.path() };
    let mut allowed = vec![SHA1_80, SHA1_32];
    allowed.sort_by_key(|suite| *suite != to);

    let offer = caller.describe()?;
    ensure!(suites(&offer) == from.into_iter().collect::<Vec<_>>(), "ffmpeg's own SDP: {offer}");
    let offered = api.offer("call", "", CallSide::Caller, &offer, Some(policy(&allowed, calling, called)))?;
    let first = suites(&offered).first().copied().unwrap_or_default();
    ensure!(first == to, "{to} was to be offered first: {offered}");

    let heard = directory.path().join("heard.wav");
    let mut callee = Process::spawn("callee", listen(&site, &offered, &heard)?, directory.path())?;
    callee.wait_for_udp(CALLEE, START)?;
    let answered = api.answer("call", "", &answer(&site, &offered)?, false)?;
    let mut sender = Process::spawn("caller", caller.send(destination(&answered)?), directory.path())?;
    sender.succeed(START)?;
    callee.succeed(START)?;
    tones::expect(&heard, TONE, HEARD - 0.3).with_context(|| callee.last_words())?;
    let leg = site.gateway.leg("call", "main.caller.0")?;
    // Under _32 ffmpeg has RTCP tags of 32 bits, against RFC 4568 section 6.2.2: a report, and one with the BYE.
    let of_rtcp = if from == Some(SHA1_32) { 2 } else { 0 };
    ensure!(drops(&leg, |_| true) == of_rtcp, "{:?}", leg.drops);
    api.end("call")?;
    Ok(())
}

/// Who sends.
struct Caller<'a> {
    site: &'a Site,
    suite: Option<&'a str>,
    key: &'a Key,
    directory: &'a Path,
}

impl Caller<'_> {
    /// The SDP that ffmpeg writes of its stream, as if it went to where it comes from.
    fn describe(&self) -> Result<String> {
        let file = self.directory.join("offer.sdp");
        let mut command = self.ffmpeg(self.site.world.peers_at(CALLER), "0.02");
        command.arg("-sdp_file").arg(&file);
        // Nobody listens: it may mind.
        let _ = Process::spawn("describe", command, self.directory)?.wait(START)?;
        let sdp = fs::read_to_string(&file).context("ffmpeg wrote no SDP")?;
        Ok(sdp.replace("\r\n", "\n").replace('\n', "\r\n"))
    }

    fn send(&self, to: SocketAddr) -> Command {
        self.ffmpeg(to, &SECONDS.to_string())
    }

    fn ffmpeg(&self, to: SocketAddr, seconds: &str) -> Command {
        let mut command = self.site.peers_namespace().command("ffmpeg");
        let tone = format!("sine=frequency={TONE}:sample_rate=8000");
        command.args(["-nostdin", "-y", "-v", "error", "-re", "-f", "lavfi", "-i", &tone, "-t", seconds]);
        command.args(["-c:a", "pcm_mulaw", "-f", "rtp", "-rtpflags", "send_bye"]);
        let mut scheme = "rtp";
        if let Some(suite) = self.suite {
            scheme = "srtp";
            command.args(["-srtp_out_suite", suite, "-srtp_out_params", &BASE64.encode(&self.key.material)]);
        }
        // 20 ms a packet, from the ports of the offer.
        let from = if to.port() == CALLER {
            String::new()
        } else {
            format!("&localrtpport={CALLER}&localrtcpport={}", CALLER + 1)
        };
        command.arg(format!("{scheme}://{to}?pkt_size=172{from}"));
        command
    }
}

/// ffmpeg, listening with the SDP that it was offered, but for the address: ffmpeg takes the one in its SDP for its own.
fn listen(site: &Site, offered: &str, heard: &Path) -> Result<Command> {
    let description: PathBuf = heard.with_extension("sdp");
    fs::write(&description, own_address(site, offered))?;
    let mut command = site.peers_namespace().command("ffmpeg");
    command.args(["-nostdin", "-y", "-v", "error", "-protocol_whitelist", "file,udp,rtp,srtp", "-i"]);
    command.arg(description).args(["-c:a", "pcm_s16le", "-ar", "8000", "-ac", "1"]);
    // It ends by itself: a BYE does not come through where it has RTCP tags of its own.
    command.args(["-t", &HEARD.to_string()]).arg(heard);
    Ok(command)
}

/// The answer: as offered, with an address and, where there is one, a key of its own, for what is never sent.
fn answer(site: &Site, offered: &str) -> Result<String> {
    let answer = own_address(site, offered);
    let Some(theirs) = keys(offered).first().copied() else { return Ok(answer) };
    Ok(answer.replace(theirs, &BASE64.encode(&Key::random(Suite::AesCm128HmacSha1_80)?.material)))
}

/// An SDP with the callee's address, and of the crypto lines the first: one answers (RFC 4568 section 5.1.2).
fn own_address(site: &Site, sdp: &str) -> String {
    let first = sdp.lines().find(|line| line.starts_with("a=crypto:"));
    let lines = sdp.lines().filter(|line| !line.starts_with("a=crypto:") || Some(*line) == first);
    let lines = lines.map(|line| {
        let media = line.strip_prefix("m=audio ").and_then(|media| media.split_once(' '));
        if let Some((_, rest)) = media {
            format!("m=audio {CALLEE} {rest}\r\n")
        } else if line.starts_with("c=IN IP4 ") {
            format!("c=IN IP4 {}\r\n", site.world.peers_address)
        } else if line.starts_with("a=rtcp:") {
            String::new()
        } else {
            format!("{line}\r\n")
        }
    });
    lines.collect()
}

/// Where an SDP wants its media.
fn destination(sdp: &str) -> Result<SocketAddr> {
    let of = |name: &str| sdp.lines().rev().find_map(|line| line.strip_prefix(name)?.split(' ').next());
    let (address, port) = (of("c=IN IP4 ").context("no address")?, of("m=audio ").context("no audio")?);
    Ok(SocketAddr::new(address.parse()?, port.parse()?))
}
