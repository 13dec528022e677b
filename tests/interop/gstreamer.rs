//! GStreamer's srtpenc and srtpdec (libsrtp 2.5).
//!
//! They stand between two UDP sockets each, so that every packet can be held against what was sent.

use std::process::Command;

use anyhow::{Context, Result};
use sluice_srtp::{KeyOptions, Mki, Omit, Suite};
use sluice_tests::peer::Peer;
use sluice_tools::demo::gateway::Key;
use sluice_tools::demo::namespace::Namespace;
use sluice_tools::demo::process::Process;

use crate::{Lane, SSRC, START, at, namespace, needs, rtcp_packets, rtp_packets};

/// Kinds of packets, the port where GStreamer takes each, and the port where it sends it on to.
pub(crate) const LANES: [(&str, u16, u16); 2] = [("rtp", 5000, 6000), ("rtcp", 5001, 6001)];
/// Any dynamic payload type: GStreamer looks at no payload here.
const PAYLOAD_TYPE: u8 = 96;

/// What GStreamer calls the protection of RTP, and of RTCP.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    cipher: [&'static str; 2],
    auth: [&'static str; 2],
}

/// Every suite that GStreamer has.
pub(crate) const SUITES: [(Suite, Names); 6] = [
    (Suite::AesCm128HmacSha1_80, names("aes-128-icm", ["hmac-sha1-80"; 2])),
    (Suite::AesCm128HmacSha1_32, names("aes-128-icm", ["hmac-sha1-32", "hmac-sha1-80"])),
    (Suite::AesCm256HmacSha1_80, names("aes-256-icm", ["hmac-sha1-80"; 2])),
    (Suite::AesCm256HmacSha1_32, names("aes-256-icm", ["hmac-sha1-32", "hmac-sha1-80"])),
    // The tag of GCM is the cipher's own.
    (Suite::AeadAes128Gcm, names("aes-128-gcm", ["null"; 2])),
    (Suite::AeadAes256Gcm, names("aes-256-gcm", ["null"; 2])),
];

impl Names {
    fn of_each_kind(self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        (0..2).map(move |kind| (LANES[kind].0, self.cipher[kind], self.auth[kind]))
    }
}

const fn names(cipher: &'static str, auth: [&'static str; 2]) -> Names {
    Names { cipher: [cipher; 2], auth }
}

#[test]
fn sluice_reads_what_gstreamer_sends_under_every_suite() -> Result<()> {
    needs!("gst-inspect-1.0", "--exists", "srtpenc");
    for (suite, names) in SUITES {
        Pipeline::start(Element::Srtpenc, suite, names, KeyOptions::default())?.expect_through()?;
    }
    Ok(())
}

#[test]
fn gstreamer_reads_what_sluice_sends_under_every_suite() -> Result<()> {
    needs!("gst-inspect-1.0", "--exists", "srtpdec");
    for (suite, names) in SUITES {
        Pipeline::start(Element::Srtpdec, suite, names, KeyOptions::default())?.expect_through()?;
    }
    Ok(())
}

#[test]
fn an_mki_is_where_gstreamer_has_it_both_ways() -> Result<()> {
    needs!("gst-inspect-1.0", "--exists", "srtpenc");
    let options = KeyOptions { mki: Mki::new(&[1, 2, 3, 4])?, ..KeyOptions::default() };
    for (suite, names) in SUITES {
        Pipeline::start(Element::Srtpenc, suite, names, options)?.expect_through()?;
        // libsrtp 2.5 looks for the MKI of SRTCP where the tag of SRTP would have it.
        if names.auth[0] == names.auth[1] {
            Pipeline::start(Element::Srtpdec, suite, names, options)?.expect_through()?;
        }
    }
    Ok(())
}

/// UNENCRYPTED_SRTP and UNENCRYPTED_SRTCP (RFC 4568 §6.3.2) are all that GStreamer has of the NULL cipher: with
/// no cipher for either, it wants a master key of no octets.
#[test]
fn what_is_not_encrypted_is_the_same_to_gstreamer_both_ways() -> Result<()> {
    needs!("gst-inspect-1.0", "--exists", "srtpenc");
    let (suite, auth) = (Suite::AesCm128HmacSha1_80, ["hmac-sha1-80"; 2]);
    for cipher in [["null", "aes-128-icm"], ["aes-128-icm", "null"]] {
        let [rtp_encryption, rtcp_encryption] = cipher.map(|cipher| cipher == "null");
        let omit = Omit { rtp_encryption, rtcp_encryption, ..Omit::default() };
        let options = KeyOptions { omit, ..KeyOptions::default() };
        Pipeline::start(Element::Srtpenc, suite, Names { cipher, auth }, options)?.expect_through()?;
        Pipeline::start(Element::Srtpdec, suite, Names { cipher, auth }, options)?.expect_through()?;
    }
    Ok(())
}

/// A running gst-launch, and the test's sockets on either side of it.
struct Pipeline {
    // Dropped in this order: the process before its namespace.
    process: Process,
    lanes: Vec<Lane>,
    suite: Suite,
    _namespace: Namespace,
    _directory: tempfile::TempDir,
}

/// GStreamer's two elements of SRTP.
#[derive(Clone, Copy)]
enum Element {
    Srtpenc,
    Srtpdec,
}

impl Pipeline {
    fn start(element: Element, suite: Suite, names: Names, options: KeyOptions) -> Result<Self> {
        let (namespace, directory) = (namespace()?, tempfile::tempdir()?);
        let key = Key::random(suite)?;
        let (sends, receives, command) = match element {
            Element::Srtpenc => (None, Some(&key), srtpenc(&namespace, &key, names, options.mki)),
            Element::Srtpdec => (Some(&key), None, srtpdec(&namespace, &key, names, options.mki)),
        };
        let lanes = LANES.map(|(_, input, output)| -> Result<Lane> {
            let from = Peer::with_options(namespace.udp(at(0))?, sends, None, &options)?;
            let to = Peer::with_options(namespace.udp(at(output))?, None, receives, &options)?;
            Ok(Lane { from, to: at(input), at: to })
        });
        let lanes = lanes.into_iter().collect::<Result<Vec<_>>>()?;
        let mut process = Process::spawn("gst-launch", command, directory.path())?;
        LANES.into_iter().try_for_each(|(_, input, _)| process.wait_for_udp(input, START))?;
        Ok(Self { process, lanes, suite, _namespace: namespace, _directory: directory })
    }

    /// Fails unless RTP and RTCP come through as they were.
    fn expect_through(mut self) -> Result<()> {
        for (lane, packets) in self.lanes.iter_mut().zip([rtp_packets(PAYLOAD_TYPE), rtcp_packets()]) {
            lane.expect_through(&packets)
                .with_context(|| format!("{}; gst-launch says: {}", self.suite, self.process.last_words()))?;
        }
        Ok(())
    }
}

/// From plain packets to protected ones.
fn srtpenc(place: &Namespace, key: &Key, names: Names, mki: Mki) -> Command {
    let mut properties = vec![format!("key={}", hex::encode(&key.material))];
    for (kind, cipher, auth) in names.of_each_kind() {
        properties.extend([format!("{kind}-cipher={cipher}"), format!("{kind}-auth={auth}")]);
    }
    if mki != Mki::NONE {
        properties.push(format!("mki={}", hex::encode(mki.as_slice())));
    }
    let mut command = place.command("gst-launch-1.0");
    command.arg("-q");
    for (kind, input, output) in LANES {
        command.args(["srtpenc", &format!("name={kind}")]).args(&properties);
        between(&mut command, kind, "_0", &format!("application/x-{kind}"), [input, output]);
    }
    command
}

/// From protected packets to plain ones.
pub(crate) fn srtpdec(place: &Namespace, key: &Key, names: Names, mki: Mki) -> Command {
    let mut fields = vec![format!("ssrc=(uint){SSRC}")];
    fields.push(format!("srtp-key=(buffer){}", hex::encode(&key.material)));
    for (kind, cipher, auth) in names.of_each_kind() {
        fields.extend([format!("s{kind}-cipher={cipher}"), format!("s{kind}-auth={auth}")]);
    }
    if mki != Mki::NONE {
        fields.push(format!("mki=(buffer){}", hex::encode(mki.as_slice())));
    }
    let mut command = place.command("gst-launch-1.0");
    command.arg("-q");
    for (kind, input, output) in LANES {
        command.args(["srtpdec", &format!("name={kind}")]);
        let caps = format!("application/x-s{kind},{}", fields.join(","));
        between(&mut command, kind, "", &caps, [input, output]);
    }
    command
}

/// Puts the element of that name between two sockets; its pads are called after the kind of packet, too, and
/// perhaps numbered.
///
/// RTP and RTCP have an element each: with both in one, GStreamer 1.22 sets up its keys from two threads at
/// once, and now and then ends up with none.
fn between(command: &mut Command, kind: &str, number: &str, caps: &str, [input, output]: [u16; 2]) {
    command.args(["udpsrc", "address=127.0.0.1", &format!("port={input}"), &format!("caps={caps}")]);
    command.args(["!", &format!("{kind}.{kind}_sink{number}"), &format!("{kind}.{kind}_src{number}"), "!"]);
    command.args(["udpsink", "host=127.0.0.1", &format!("port={output}"), "sync=false", "async=false"]);
}
