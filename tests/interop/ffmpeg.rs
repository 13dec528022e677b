//! ffmpeg (libavformat's own SRTP), which has two suites.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sluice_srtp::{KeyOptions, Suite};
use sluice_tests::peer::Peer;
use sluice_tests::rtp::Source;
use sluice_tests::site::{PATIENCE, QUIET, stream};
use sluice_tools::demo::gateway::{Key, random};
use sluice_tools::demo::namespace::Namespace;
use sluice_tools::demo::process::Process;

use crate::{SSRC, START, at, namespace, needs, rtcp_packets};

/// Suites, ffmpeg's names for them, and whether it has SRTCP tags of 32 bits, too: under the name of RFC 4568
/// it has, against §6.2.2 there; under one like RFC 5764's it has not.
const SUITES: [(Suite, &str, bool); 3] = [
    (Suite::AesCm128HmacSha1_80, "AES_CM_128_HMAC_SHA1_80", false),
    (Suite::AesCm128HmacSha1_32, "AES_CM_128_HMAC_SHA1_32", true),
    (Suite::AesCm128HmacSha1_32, "SRTP_AES128_CM_HMAC_SHA1_32", false),
];
/// Sequence number of the first packet: the stream crosses the wrap.
const FIRST: u16 = 65_520;
/// Where RTP goes; RTCP goes to the port above.
const PORT: u16 = 5000;

#[test]
fn sluice_reads_what_ffmpeg_sends_under_every_suite() -> Result<()> {
    needs!("ffmpeg", "-version");
    for (suite, name, short_rtcp_tags) in SUITES {
        let options = KeyOptions { short_rtcp_tags, ..KeyOptions::default() };
        let (namespace, directory, key) = (namespace()?, tempfile::tempdir()?, Key::random(suite)?);
        let mut samples = vec![0; 6400];
        random(&mut samples)?;
        fs::write(directory.path().join("samples"), &samples)?;
        let mut rtp = Peer::with_options(namespace.udp(at(PORT))?, None, Some(&key), &options)?;
        let mut rtcp = Peer::with_options(namespace.udp(at(PORT + 1))?, None, Some(&key), &options)?;
        let command = sender(&namespace, name, &key, directory.path());
        Process::spawn("ffmpeg", command, directory.path())?.succeed(START)?;
        let packets = rtp.receive_all(QUIET).context(name)?;
        let received: Vec<u8> = packets.iter().flat_map(|packet| &packet[12..]).copied().collect();
        ensure!(received == samples, "{name}: {} octets came of {}", received.len(), samples.len());
        // One report with the first packet, one with a BYE at the end.
        let reports = rtcp.receive_all(QUIET).context(name)?;
        let expected = [SSRC, packets.len() as u32, samples.len() as u32].map(u32::to_be_bytes);
        ensure!(reports.len() == 2 && reports[1].len() >= 28, "{name}: {reports:02x?}");
        let last = &reports[1];
        ensure!([&last[4..8], &last[20..24], &last[24..28]] == expected, "{name}: {last:02x?}");
        ensure!(
            last.ends_with(&[&[0x81, 203, 0, 1][..], &SSRC.to_be_bytes()].concat()),
            "{name}: {last:02x?}"
        );
    }
    Ok(())
}

#[test]
fn ffmpeg_reads_what_sluice_sends_under_every_suite() -> Result<()> {
    needs!("ffmpeg", "-version");
    for (suite, name, short_rtcp_tags) in SUITES {
        let options = KeyOptions { short_rtcp_tags, ..KeyOptions::default() };
        let (namespace, directory, key) = (namespace()?, tempfile::tempdir()?, Key::random(suite)?);
        let mut rtp = Peer::with_options(namespace.udp(at(0))?, Some(&key), None, &options)?;
        let mut rtcp = Peer::with_options(namespace.udp(at(0))?, Some(&key), None, &options)?;
        let command = receiver(&namespace, name, &key, directory.path())?;
        let mut process = Process::spawn("ffmpeg", command, directory.path())?;
        process.wait_for_udp(PORT, START)?;
        process.wait_for_udp(PORT + 1, START)?;
        let sent = stream(&mut rtp, at(PORT), &mut Source::new(SSRC, FIRST), 40)?;
        // ffmpeg reads RTCP first: the BYE has to wait until it has all the media.
        thread::sleep(QUIET);
        for packet in rtcp_packets() {
            rtcp.send(at(PORT + 1), &packet)?;
        }
        // Nothing but the BYE, the encrypted end of the last report, ends ffmpeg before ten seconds are over.
        process.succeed(PATIENCE).context(name)?;
        let sent: Vec<u8> = sent.iter().flat_map(|packet| &packet[12..]).copied().collect();
        let received = fs::read(directory.path().join("received"))?;
        ensure!(received == sent, "{name}: {} octets came of {}", received.len(), sent.len());
    }
    Ok(())
}

/// Sends a file of samples as it is, without regard to time.
fn sender(place: &Namespace, suite: &str, key: &Key, directory: &Path) -> Command {
    let mut command = place.command("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-f", "mulaw", "-ar", "8000", "-ac", "1", "-i"]);
    command.arg(directory.join("samples"));
    command.args(["-c", "copy", "-f", "rtp", "-rtpflags", "send_bye"]);
    command.args(["-ssrc", &SSRC.cast_signed().to_string(), "-seq", &FIRST.to_string()]);
    command.args(["-srtp_out_suite", suite, "-srtp_out_params", &BASE64.encode(&key.material)]);
    // At most 160 samples and the RTP header in a packet.
    command.arg(format!("srtp://{}?pkt_size=172", at(PORT)));
    command
}

/// Writes the samples that come to a file as they are, until a BYE.
fn receiver(place: &Namespace, suite: &str, key: &Key, directory: &Path) -> Result<Command> {
    let key = BASE64.encode(&key.material);
    let description = directory.join("session.sdp");
    fs::write(
        &description,
        format!(
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {PORT} RTP/SAVP 0\n\
             a=rtpmap:0 PCMU/8000\na=crypto:1 {suite} inline:{key}\n"
        ),
    )?;
    let mut command = place.command("ffmpeg");
    // Without a queue for reordering, which loses its contents at the BYE.
    command.args(["-nostdin", "-v", "error", "-protocol_whitelist", "file,udp,rtp,srtp"]);
    command.args(["-max_delay", "0", "-reorder_queue_size", "0", "-i"]).arg(description);
    command.args(["-c", "copy", "-f", "mulaw"]).arg(directory.join("received"));
    Ok(command)
}
