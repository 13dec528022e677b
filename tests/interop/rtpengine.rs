//! rtpengine in user space (its own SRTP on OpenSSL), as a gateway between plain RTP and SDES.

use anyhow::{Context, Result};
use sluice_srtp::Suite;
use sluice_tests::peer::Peer;
use sluice_tools::demo::gateway::Key;
use sluice_tools::demo::namespace::Namespace;
use sluice_tools::peers::rtpengine::{self, Rtpengine, Side};
use tempfile::TempDir;

use crate::{Lane, at, namespace, needs, rtcp_packets, rtp_packets};

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
/// RTP ports of whom speaks plainly and of whom does not; RTCP is one above.
const PLAIN: u16 = 5000;
const KEYED: u16 = 6000;
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
                .with_context(|| format!("{suite}; rtpengine says: {}", engine.daemon.last_words()))?;
        }
    }
    Ok(())
}

/// A running rtpengine.
struct Engine {
    // Dropped in this order: the process before its namespace.
    daemon: Rtpengine,
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
        let command = |program: &str| namespace.command(program);
        let daemon = Rtpengine::start(&namespace, command, at(0).ip(), 20_000..=20_999, directory.path())?;
        Ok(Self { daemon, namespace, _directory: directory })
    }

    /// A call whose one side offers plain RTP, and whose other side takes up one suite of those that
    /// rtpengine offers it.
    fn call(&self, suite: Suite) -> Result<Call> {
        let ours = Key::random(suite)?;
        let plain = Side { at: at(PLAIN), key: None };
        let keyed = Side { at: at(KEYED), key: Some(ours.clone()) };
        let rtpengine::Call { to_caller, to_listener, listener_key, .. } =
            self.daemon.call(suite.name(), &plain, &keyed)?;
        let theirs = listener_key.context("a call without a key")?;
        Ok(Call { plain: to_caller, keyed: to_listener, theirs, ours })
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
