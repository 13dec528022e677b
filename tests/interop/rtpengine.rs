//! rtpengine in user space (its own SRTP on OpenSSL), as a gateway between plain RTP and SDES.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sluice_srtp::Suite;
use sluice_tests::peer::Peer;
use sluice_tools::demo::gateway::Key;
use sluice_tools::demo::namespace::Namespace;
use sluice_tools::demo::process::Process;
use tempfile::TempDir;

use crate::ng::ask;
use crate::{Lane, START, at, namespace, needs, rtcp_packets, rtp_packets};

/// The suites that rtpengine and Sluice both have, but for NULL_HMAC_SHA1_80 and _32, which lack a function that
/// rtpengine 10.5 calls at the first packet: it dies.
const SUITES: [Suite; 9] = [
    Suite::AesCm128HmacSha1_80,
    Suite::AesCm128HmacSha1_32,
    Suite::AesCm192HmacSha1_80,
    Suite::AesCm192HmacSha1_32,
    Suite::AesCm256HmacSha1_80,
    Suite::AesCm256HmacSha1_32,
    Suite::F8_128HmacSha1_80,
    Suite::AeadAes128Gcm,
    Suite::AeadAes256Gcm,
];
/// Where rtpengine is asked.
const CONTROL: u16 = 2223;
/// RTP ports of whom speaks plainly and of whom does not; RTCP is one above.
const PLAIN: u16 = 5000;
const KEYED: u16 = 6000;
/// rtpengine omits padding in its keys.
const UNPADDED_TOO: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[test]
fn sluice_reads_what_rtpengine_sends_under_every_suite() -> Result<()> {
    needs!("rtpengine", "--version");
    expect_through(|call, kind, [plain, keyed]| Lane { from: plain, to: at(call.plain + kind), at: keyed })
}

#[test]
fn rtpengine_reads_what_sluice_sends_under_every_suite() -> Result<()> {
    needs!("rtpengine", "--version");
    expect_through(|call, kind, [plain, keyed]| Lane { from: keyed, to: at(call.keyed + kind), at: plain })
}

/// Sends RTP and RTCP through a call under each suite, along the lane that `lane` makes of the call, the kind
/// of packet, and the peers that speak plainly and under the suite.
fn expect_through(lane: impl Fn(&Call, u16, [Peer; 2]) -> Lane) -> Result<()> {
    let engine = Engine::start()?;
    for suite in SUITES {
        let call = engine.call(suite)?;
        for (kind, packets) in (0..).zip([rtp_packets(0), rtcp_packets()]) {
            let mut lane = lane(&call, kind, call.peers(&engine, kind)?);
            lane.expect_through(&packets)
                .with_context(|| format!("{suite}; rtpengine says: {}", engine.process.last_words()))?;
        }
    }
    Ok(())
}

/// A running rtpengine.
struct Engine {
    // Dropped in this order: the process before its namespace.
    process: Process,
    namespace: Namespace,
    _directory: TempDir,
}

/// A call through it: its RTP ports to either side, the keys of either direction of the SRTP side.
struct Call {
    plain: u16,
    keyed: u16,
    theirs: Key,
    ours: Key,
}

impl Engine {
    fn start() -> Result<Self> {
        let (namespace, directory) = (namespace()?, tempfile::tempdir()?);
        let mut command = namespace.command("rtpengine");
        command.args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=5"]);
        command.args(["--interface=127.0.0.1", "--port-min=20000", "--port-max=20999"]);
        command
            .args(["--num-threads=1", "--media-num-threads=1"])
            .arg(format!("--listen-ng={}", at(CONTROL)));
        // Should it die, its core is nobody's to clean up.
        command.current_dir(directory.path());
        let mut process = Process::spawn("rtpengine", command, directory.path())?;
        process.wait_for_udp(CONTROL, START)?;
        Ok(Self { process, namespace, _directory: directory })
    }

    /// A call whose one side offers plain RTP, and whose other side takes up one suite of those that
    /// rtpengine offers it.
    fn call(&self, suite: Suite) -> Result<Call> {
        let control = self.namespace.udp(at(0))?;
        let negotiate = |command, more: [(&str, &str); 2], sdp: &str| -> Result<String> {
            let common =
                [("command", command), ("call-id", suite.name()), ("from-tag", "plain"), ("sdp", sdp)];
            let question = common.into_iter().chain(more).collect();
            ask(&control, at(CONTROL), &question)?.remove("sdp").context("an answer without SDP")
        };
        let to_keyed = [("transport-protocol", "RTP/SAVP"), ("DTLS", "off")];
        let offer = negotiate("offer", to_keyed, &sdp(PLAIN, "RTP/AVP", ""))?;
        let (tag, theirs) = offered_key(&offer, suite)?;
        let ours = Key::random(suite)?;
        let crypto = format!("a=crypto:{tag} {suite} inline:{}\r\n", BASE64.encode(&ours.material));
        let to_plain = [("to-tag", "keyed"), ("DTLS", "off")];
        let answer = negotiate("answer", to_plain, &sdp(KEYED, "RTP/SAVP", &crypto))?;
        Ok(Call { plain: media_port(&answer)?, keyed: media_port(&offer)?, theirs, ours })
    }
}

impl Call {
    /// Who speaks plain RTP (`kind` 0) or RTCP (1) with rtpengine, and who does not.
    fn peers(&self, engine: &Engine, kind: u16) -> Result<[Peer; 2]> {
        let plain = engine.namespace.udp(at(PLAIN + kind))?;
        let keyed = engine.namespace.udp(at(KEYED + kind))?;
        Ok([Peer::plain(plain), Peer::keyed(keyed, Some(&self.ours), Some(&self.theirs))?])
    }
}

fn sdp(port: u16, profile: &str, crypto: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} {profile} 0\r\na=rtpmap:0 PCMU/8000\r\n{crypto}"
    )
}

/// Tag and key of the `a=crypto` line for a suite (RFC 4568 §9.1).
fn offered_key(sdp: &str, suite: Suite) -> Result<(&str, Key)> {
    let lines = sdp.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    let found =
        lines.map(|line| line.splitn(3, ' ').collect::<Vec<_>>()).find(|words| words[1] == suite.name());
    let found = found.with_context(|| format!("rtpengine offers no {suite}: {sdp}"))?;
    let inline = found[2].strip_prefix("inline:").context("no inline key")?;
    let material = UNPADDED_TOO.decode(inline.split(['|', ' ']).next().unwrap_or(inline))?;
    let length = suite.key_len() + suite.salt_len();
    ensure!(material.len() == length, "{suite}: a key of {} octets, not {length}", material.len());
    Ok((found[0], Key { suite, material }))
}

fn media_port(sdp: &str) -> Result<u16> {
    let media = sdp.lines().find_map(|line| line.strip_prefix("m=audio ")).context("no media")?;
    Ok(media.split(' ').next().unwrap_or_default().parse()?)
}
